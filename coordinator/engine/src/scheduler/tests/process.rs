//! A worker process as it should be: it trains what it is given, keeps what is not acknowledged, and sends it again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foldwise_shared::ids::{AttemptKey, Epoch, SessionId, StudyId};
use foldwise_shared::record::Metrics;
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::ParamValue;

use super::super::*;
use super::plan::Nature;

pub struct Process {
    pub info: WorkerInfo,
    pub slots: u32,
    pub epoch_ms: i64,
    pub session: Option<SessionId>,
    pub tasks: BTreeMap<AttemptKey, Task>,
    /// What is not acknowledged, in order.
    pub outbox: VecDeque<Message>,
    /// Studies whose data it lacks.
    pub declines: BTreeSet<StudyId>,
}

pub struct Task {
    pub nature: Nature,
    epochs: u32,
    /// Whether early stopping ends it one epoch sooner.
    eager: bool,
    trained: u32,
    /// It is to find its learning rate first.
    finds: bool,
    stop_after_epoch: bool,
    /// It makes no progress any more, until it is told to stop.
    pub hung: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub key: AttemptKey,
    pub word: Say,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    Epoch(EpochReport),
    /// Its learning rate.
    Found(f64),
    Finished {
        stopped: bool,
    },
    Failed(FailureClass),
    Declined,
}

impl Message {
    pub fn on(&self, session: SessionId) -> Event {
        let key = self.key;
        match &self.word {
            Say::Epoch(report) => Event::Epoch { session, key, report: report.clone() },
            Say::Found(rate) => {
                let (name, value) = ("learning_rate".into(), ParamValue::Float(*rate));
                Event::Derived { session, key, name, value }
            }
            Say::Finished { stopped } => Event::Finished { session, key, stopped: *stopped },
            Say::Failed(class) => {
                Event::Failed { session, key, class: *class, message: "it went wrong".into() }
            }
            Say::Declined => Event::Declined { session, key, message: "the data is not here".into() },
        }
    }
}

impl Process {
    pub fn new(name: &str, incarnation: u64, slots: u32, epoch_ms: i64) -> Self {
        let (name, incarnation, device) =
            (name.to_owned(), format!("{name}-{incarnation:06}"), "cpu".to_owned());
        Self {
            info: WorkerInfo { name, incarnation, device },
            slots,
            epoch_ms,
            session: None,
            tasks: BTreeMap::new(),
            outbox: VecDeque::new(),
            declines: BTreeSet::new(),
        }
    }

    /// The attempts it names in its hello.
    pub fn held(&self) -> Vec<AttemptKey> {
        let owed = self.outbox.iter().map(|message| message.key);
        self.tasks.keys().copied().chain(owed).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Takes what the coordinator says; what it has to say in return is in the outbox from `already` on.
    pub fn hear(&mut self, message: ToWorker) {
        match message {
            ToWorker::Welcome { .. } => {}
            ToWorker::Assign(assignment) => {
                let key = assignment.key;
                assert!(self.tasks.len() < self.slots as usize, "{} got more than its slots", self.info.name);
                if self.declines.contains(&key.study) {
                    self.outbox.push_back(Message { key, word: Say::Declined });
                    return;
                }
                let nature = Nature::of(&assignment.spec, key.trial);
                let epochs = assignment.spec.epochs();
                let eager = epochs > 1 && (key.trial.0 + key.fold.0).is_multiple_of(4);
                let trained = assignment.start_epoch().0;
                assert!(trained <= epochs, "{key} goes on after its end");
                let known = assignment.params.contains_key("learning_rate");
                let finds = assignment.spec.finds_learning_rate() && !known;
                assert!(!finds || key.fold.0 == 0, "{key} has no learning rate");
                let (stop_after_epoch, hung) = (false, false);
                let task = Task { nature, epochs, eager, trained, finds, stop_after_epoch, hung };
                self.tasks.insert(key, task);
            }
            ToWorker::Stop { key, after_epoch: false } => self.end(key, Say::Finished { stopped: true }),
            ToWorker::Stop { key, after_epoch: true } => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    task.stop_after_epoch = true;
                }
            }
            ToWorker::EpochRecorded { key, epoch } => {
                let recorded = |word: &Say| matches!(word, Say::Epoch(report) if report.epoch == epoch);
                self.outbox.retain(|message| message.key != key || !recorded(&message.word));
            }
            ToWorker::ParamRecorded { key, .. } => {
                self.outbox.retain(|message| message.key != key || !matches!(message.word, Say::Found(_)));
            }
            ToWorker::EndRecorded { key } | ToWorker::Revoked { key } => {
                self.tasks.remove(&key);
                self.outbox.retain(|message| message.key != key);
            }
        }
    }

    /// Ends a task that still runs.
    pub fn end(&mut self, key: AttemptKey, word: Say) {
        if self.tasks.remove(&key).is_some() {
            self.outbox.push_back(Message { key, word });
        }
    }

    /// Trains one more epoch; false if the task is over or gone.
    pub fn train(&mut self, key: AttemptKey) -> bool {
        let Some(task) = self.tasks.get_mut(&key) else { return false };
        if task.hung {
            return false;
        }
        if std::mem::take(&mut task.finds) {
            // Each attempt finds another one.
            let rate = 1e-3 * f64::from(key.attempt.0);
            self.outbox.push_back(Message { key, word: Say::Found(rate) });
            return true;
        }
        let enough = if task.eager { task.epochs - 1 } else { task.epochs };
        if task.trained >= enough {
            // Its checkpoint was stored and its end was not.
            self.end(key, Say::Finished { stopped: false });
            return false;
        }
        task.trained += 1;
        let validation_loss = task.nature.loss(key.fold, task.trained);
        let epoch = Epoch(task.trained);
        let report = EpochReport {
            epoch,
            train_loss: 0.5,
            validation_loss,
            learning_rate: 0.1,
            seconds: 1.0,
            metrics: Metrics::new(),
        };
        let last = task.trained == enough;
        let stopped = task.stop_after_epoch && !last;
        self.outbox.push_back(Message { key, word: Say::Epoch(report) });
        if validation_loss.is_nan() && key.fold.0.is_multiple_of(2) {
            self.end(key, Say::Failed(FailureClass::Diverged));
        } else if validation_loss.is_nan() || last || stopped {
            self.end(key, Say::Finished { stopped });
        }
        self.tasks.contains_key(&key)
    }
}
