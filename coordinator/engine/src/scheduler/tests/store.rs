//! A store in memory: applies writes as the real one does, and panics at one that is not legal.

use std::collections::{BTreeMap, BTreeSet};

use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::state::{AttemptState, FailureClass, Origin, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::super::*;
use foldwise_shared::spec::StudySpec;

use crate::replay::{self, Step};
use crate::sampler::{History, Outcome, Progress, Suggestion, suggest};

#[derive(Clone, Default)]
pub struct Store {
    pub studies: BTreeMap<StudyId, StudyRow>,
    last_lease: LeaseId,
    last_study: StudyId,
    workers: BTreeSet<String>,
    pub drained_workers: BTreeMap<String, DrainedWorker>,
    /// How long each lasts, and when it was granted or renewed.
    leases: BTreeMap<LeaseId, (Option<i64>, Millis)>,
    /// What workers were told is durable.
    pub acknowledged: BTreeSet<(AttemptKey, Epoch)>,
    /// Trials as they were when they finished.
    pub sealed: Seals,
    /// The files of artifacts, by digest.
    pub artifacts: BTreeSet<String>,
}

pub type Seals = BTreeMap<(StudyId, TrialNumber), TrialRow>;

#[derive(Clone)]
pub struct StudyRow {
    pub new: NewStudy,
    pub state: StudyState,
    pub message: Option<String>,
    pub running_ms: i64,
    /// It has ended and got a larger budget: the next write lets it go on.
    pub extended: bool,
    pub trials: Vec<TrialRow>,
    /// What a replay takes, in the order in which it was recorded.
    pub recording: replay::Recording,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TrialRow {
    pub params: Params,
    /// The params that it did not come with.
    pub derived: BTreeSet<String>,
    pub state: TrialState,
    pub ending: Option<TrialState>,
    pub value: Option<f64>,
    pub std: Option<f64>,
    pub reason: Option<String>,
    pub finished_at: Option<Millis>,
    pub parent: Option<TrialNumber>,
    pub folds: Vec<FoldRow>,
    /// Where it was pruned, and why.
    pub decisions: Vec<(FoldIndex, Option<Epoch>, Decision)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FoldRow {
    pub state: TrialState,
    pub value: Option<f64>,
    pub best_epoch: Option<Epoch>,
    pub attempts: Vec<AttemptRow>,
    pub checkpoint: Option<Checkpoint>,
    /// The digests of its results, by kind and epoch.
    pub results: BTreeMap<(String, Option<Epoch>), String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    pub lease: LeaseId,
    pub worker: WorkerInfo,
    pub state: AttemptState,
    pub failure: Option<FailureClass>,
    pub start_epoch: Epoch,
    pub epochs: Vec<EpochRecord>,
}

impl FoldRow {
    pub fn open(&self) -> Option<&AttemptRow> {
        self.attempts.iter().find(|attempt| attempt.state == AttemptState::Running)
    }

    /// The rows that no newer attempt trains again, as the view `curve` has them.
    pub fn live_rows(&self) -> Vec<EpochRecord> {
        let newer = |from: usize, row: &EpochRecord| {
            self.attempts[from + 1..].iter().any(|attempt| attempt.start_epoch < row.epoch)
        };
        let attempts = self.attempts.iter().enumerate();
        attempts
            .flat_map(|(index, attempt)| attempt.epochs.iter().filter(move |row| !newer(index, row)))
            .cloned()
            .collect()
    }
}

impl TrialRow {
    /// What a sampler learns from it.
    fn outcome(&self, spec: &StudySpec) -> Option<Outcome> {
        let better = |a: f64, b: f64| if spec.study.direction.is_better(b, a) { b } else { a };
        let live: Vec<_> = self.folds.iter().map(FoldRow::live_rows).collect();
        let diverged = |attempt: &AttemptRow| attempt.failure == Some(FailureClass::Diverged);
        match self.state {
            TrialState::Complete => self.value.map(Outcome::Complete),
            TrialState::Pruned => {
                let best = |rows: &Vec<EpochRecord>| {
                    rows.iter().filter_map(|row| row.validation_loss).reduce(better)
                };
                let best: Vec<f64> = live.iter().filter_map(best).collect();
                let value = (!best.is_empty()).then(|| best.iter().sum::<f64>() / best.len() as f64);
                let epochs = live.iter().map(|rows| rows.last().map_or(0, |row| row.epoch.0)).sum();
                Some(Outcome::Pruned(Progress { epochs, value }))
            }
            TrialState::Failed if self.folds.iter().flat_map(|fold| &fold.attempts).any(diverged) => {
                Some(Outcome::Diverged)
            }
            _ => None,
        }
    }
}

impl StudyRow {
    /// What the sampler gives the next trial, by what is recorded alone.
    fn suggestion(&self, next: TrialNumber) -> Option<Suggestion> {
        let spec = &self.new.spec;
        let mut history = History::new(&spec.space, spec.study.direction);
        for (number, trial) in self.trials.iter().enumerate() {
            if let (Some(outcome), Some(at)) = (trial.outcome(spec), trial.finished_at) {
                history.add(TrialNumber(number as u32), &trial.params, at, outcome);
            }
        }
        let running = self.trials.iter().filter(|trial| !trial.state.is_finished());
        suggest(spec, &mut history, &running.map(|trial| &trial.params).collect::<Vec<_>>(), next)
    }

    fn artifacts(&self) -> impl Iterator<Item = &String> {
        let folds = self.trials.iter().flat_map(|trial| &trial.folds);
        folds.flat_map(|fold| {
            fold.results.values().chain(fold.checkpoint.as_ref().map(|checkpoint| &checkpoint.digest))
        })
    }

    pub fn epochs(&self) -> u64 {
        let attempts = self.trials.iter().flat_map(|trial| &trial.folds).flat_map(|fold| &fold.attempts);
        attempts.map(|attempt| attempt.epochs.len() as u64).sum()
    }
}

impl Store {
    pub fn study(&mut self, id: StudyId) -> &mut StudyRow {
        self.studies.get_mut(&id).expect("a write about a study that exists")
    }

    pub fn trial(&mut self, study: StudyId, trial: TrialNumber) -> &mut TrialRow {
        self.study(study).trials.get_mut(trial.0 as usize).expect("a write about a trial that exists")
    }

    pub fn fold(&mut self, study: StudyId, trial: TrialNumber, fold: FoldIndex) -> &mut FoldRow {
        let trial = self.trial(study, trial);
        assert!(!trial.state.is_finished(), "a write about a finished trial");
        trial.folds.get_mut(fold.0 as usize).expect("a write about a fold that exists")
    }

    pub fn attempt(&self, key: AttemptKey) -> Option<&AttemptRow> {
        let fold =
            self.studies.get(&key.study)?.trials.get(key.trial.0 as usize)?.folds.get(key.fold.0 as usize)?;
        fold.attempts.get((key.attempt.0 as usize).checked_sub(1)?)
    }

    pub fn apply(&mut self, write: &Write) {
        if let Some((study, step)) = step(write) {
            self.study(study).recording.steps.push(step);
        }
        match write.clone() {
            Write::Study { id, study, at: _ } => {
                assert!(id > self.last_study, "study {id} is not new");
                self.last_study = id;
                let (state, running_ms) = (StudyState::Running, 0);
                self.studies.insert(
                    id,
                    StudyRow {
                        new: *study,
                        state,
                        message: None,
                        running_ms,
                        extended: false,
                        trials: Vec::new(),
                        recording: replay::Recording { exact: true, ..replay::Recording::default() },
                    },
                );
            }
            Write::StudyState { study, state, message, at: _ } => {
                let row = self.study(study);
                use StudyState::{Ended, Paused, Running, Stopping};
                let legal = matches!(
                    (row.state, state),
                    (Running, Paused)
                        | (Paused, Running)
                        | (Running | Paused, Stopping)
                        | (Running | Paused | Stopping, Ended)
                        | (Ended, Running)
                );
                let revived = row.state == Ended;
                assert!(
                    !revived || std::mem::take(&mut row.extended),
                    "study {study} went on without an extension"
                );
                assert!(legal, "study {study} went from {} to {state}", row.state);
                (row.state, row.message) = (state, message);
            }
            Write::StudyExtended { study, spec, before, at: _ } => {
                let row = self.study(study);
                let known = &mut row.new.spec;
                assert_eq!(known.budget, before);
                let grown = |more: bool| assert!(more, "the budget of study {study} shrank: {before:?}");
                grown(spec.budget.trials >= before.trials && spec.budget.total_epochs >= before.total_epochs);
                grown(spec.wall_time_ms() >= known.wall_time_ms());
                assert_ne!(spec.budget, before);
                known.budget = spec.budget.clone();
                assert_eq!(*known, *spec, "nothing but the budget changes");
                row.extended = row.state == StudyState::Ended;
            }
            Write::StudyDeleted { study, at: _ } => {
                assert!(self.studies.remove(&study).is_some(), "study {study} was deleted twice");
                self.acknowledged.retain(|(key, _)| key.study != study);
                self.sealed.retain(|(of, _), _| *of != study);
            }
            Write::WorkerDrained { name, handover, at } => {
                self.drained_workers.insert(name, DrainedWorker { handover, at });
            }
            Write::WorkerUndrained { name, at: _ } => {
                assert!(self.drained_workers.remove(&name).is_some(), "{name} was not drained");
            }
            Write::RunningTime { study, running_ms } => {
                let row = self.study(study);
                assert!(
                    running_ms >= row.running_ms && row.state != StudyState::Ended,
                    "running time of study {study}"
                );
                row.running_ms = running_ms;
            }
            Write::Worker { worker, at: _ } => drop(self.workers.insert(worker.incarnation)),
            Write::Trial { study, trial, params, origins, folds, parent, at: _ } => {
                let row = self.study(study);
                if let Some(parent) = parent {
                    let tried = &row.trials[parent.0 as usize];
                    assert!(
                        tried.state.is_finished() && tried.value.is_none(),
                        "trial {parent} is tried again"
                    );
                    let mut came = tried.params.clone();
                    came.retain(|name, _| !tried.derived.contains(name));
                    assert_eq!(came, params);
                }
                assert_eq!(trial.0 as usize, row.trials.len(), "trials are numbered from 0 without a gap");
                if origins.values().all(|origin| *origin != Origin::Enqueued) {
                    let suggestion = row.suggestion(trial).expect("the sampler has this trial");
                    assert_eq!((&params, &origins), (&suggestion.params, &suggestion.origins));
                } else {
                    row.new.spec.space.check(&params).expect("enqueued params are in the space");
                }
                assert_eq!(folds, row.new.spec.folds());
                let fold = FoldRow {
                    state: TrialState::Waiting,
                    value: None,
                    best_epoch: None,
                    attempts: Vec::new(),
                    checkpoint: None,
                    results: BTreeMap::new(),
                };
                row.trials.push(TrialRow {
                    params,
                    derived: BTreeSet::new(),
                    state: TrialState::Waiting,
                    ending: None,
                    value: None,
                    std: None,
                    reason: None,
                    finished_at: None,
                    parent,
                    folds: vec![fold; folds as usize],
                    decisions: Vec::new(),
                });
            }
            Write::TrialState { study, trial, state, ending, value, std, reason, at } => {
                let row = self.trial(study, trial);
                use TrialState::{Running, Stopping, Waiting};
                let legal = match (row.state, state) {
                    (Waiting, Running) | (Waiting | Running, Stopping) => true,
                    (Waiting | Running, end) => end.is_finished(),
                    (Stopping, end) => row.ending == Some(end),
                    _ => false,
                };
                assert!(legal, "trial {trial} of study {study} went from {} to {state}", row.state);
                if let Some(decided) = row.reason.as_ref().filter(|_| row.state == Stopping) {
                    assert_eq!(Some(decided), reason.as_ref(), "the reason of a decided end");
                }
                (row.state, row.ending, row.value, row.std, row.reason) = (state, ending, value, std, reason);
                row.finished_at = state.is_finished().then_some(at);
            }
            Write::FoldState { study, trial, fold, state, value, best_epoch, at: _ } => {
                let row = self.fold(study, trial, fold);
                assert!(!row.state.is_finished(), "fold {fold} of trial {trial} was finished");
                (row.state, row.value, row.best_epoch) = (state, value, best_epoch);
            }
            Write::Lease { lease, worker, lease_ms, at } => {
                assert!(
                    self.workers.contains(&worker.incarnation),
                    "lease {lease} went to a worker that never said hello"
                );
                assert!(lease > self.last_lease, "{lease} is not new");
                self.last_lease = lease;
                self.leases.insert(lease, (lease_ms, at));
            }
            Write::LeaseRenewed { lease, at } => {
                self.leases.get_mut(&lease).expect("a lease that was granted").1 = at;
            }
            Write::AttemptStarted { key, lease, worker, start_epoch, at: _ } => {
                assert!(self.leases.contains_key(&lease), "{key} has no lease");
                let row = self.fold(key.study, key.trial, key.fold);
                assert_eq!(key.attempt.0 as usize, row.attempts.len() + 1, "attempts are numbered from 1");
                assert_eq!(row.state, TrialState::Waiting, "{key} was leased");
                let known = row.checkpoint.as_ref().map(|checkpoint| checkpoint.epoch).unwrap_or_default();
                assert_eq!(start_epoch, known, "{key} goes on from what is stored");
                if self.study(key.study).new.spec.finds_learning_rate() && key.fold != FoldIndex(0) {
                    let trial = self.trial(key.study, key.trial);
                    assert!(trial.params.contains_key("learning_rate"), "{key} is what fold 0 finds for");
                }
                let row = self.fold(key.study, key.trial, key.fold);
                let (state, epochs) = (AttemptState::Running, Vec::new());
                row.attempts.push(AttemptRow { lease, worker, state, failure: None, start_epoch, epochs });
            }
            Write::AttemptEnded { key, state, failure, message: _, worker, value: _, epochs, at: _ } => {
                let row = self.fold(key.study, key.trial, key.fold);
                assert_eq!(epochs, row.live_rows().len() as u32, "{key}");
                let row = row.attempts.get_mut(key.attempt.0 as usize - 1).expect("an attempt that exists");
                assert_eq!(row.state, AttemptState::Running, "{key} ended twice");
                assert_eq!(failure.is_some(), state == AttemptState::Failed, "{key}");
                assert_eq!(worker, row.worker.name, "{key}");
                (row.state, row.failure) = (state, failure);
            }
            Write::Epoch { study, record, worker } => {
                let row =
                    self.fold(study, record.trial, record.fold).attempts.last_mut().expect("an attempt");
                assert_eq!((worker, row.state), (row.worker.name.clone(), AttemptState::Running));
                let before = row.epochs.last().map_or(row.start_epoch.0, |row| row.epoch.0);
                // Whoever asked for a trial may leave some out.
                let next = if row.worker.device == "external" {
                    before + 1..u32::MAX
                } else {
                    before + 1..before + 2
                };
                assert!(next.contains(&record.epoch.0), "an epoch is recorded once and in order");
                row.epochs.push(record);
            }
            Write::Checkpoint { key, checkpoint, at: _ } => {
                let row = self.fold(key.study, key.trial, key.fold);
                let open = row.open().expect("what makes a checkpoint runs");
                assert_eq!(key.attempt.0 as usize, row.attempts.len(), "{key} is the newest");
                let recorded = open.epochs.last().map_or(open.start_epoch, |row| row.epoch);
                assert!(checkpoint.epoch <= recorded, "a checkpoint of {key} from the future");
                let before = row.checkpoint.replace(checkpoint.clone());
                assert!(before.is_none_or(|before| before.epoch <= checkpoint.epoch), "{key} goes backwards");
            }
            Write::Result { key, result, at: _ } => {
                let row = self.fold(key.study, key.trial, key.fold);
                let open = row.open().expect("what makes a result runs");
                assert_eq!(key.attempt.0 as usize, row.attempts.len(), "{key} is the newest");
                let recorded = open.epochs.last().map_or(open.start_epoch, |row| row.epoch);
                assert!(
                    result.epoch.is_none_or(|epoch| epoch <= recorded),
                    "a result of {key} from the future"
                );
                row.results.insert((result.kind, result.epoch), result.file.digest);
            }
            Write::Derived { key, name, value, at: _ } => {
                assert_eq!(key.fold, FoldIndex(0), "{key} found {name}");
                let open = self.fold(key.study, key.trial, key.fold).open();
                assert!(open.is_some(), "what finds a param runs");
                let trial = self.trial(key.study, key.trial);
                assert!(trial.params.insert(name.clone(), value).is_none(), "{name} was found twice");
                trial.derived.insert(name);
            }
            Write::CheckpointDropped { study, trial, fold } => {
                let dropped = self.fold(study, trial, fold).checkpoint.take();
                assert!(dropped.is_some(), "fold {fold} of trial {trial} has no checkpoint");
            }
            Write::Decision { study, trial, fold, epoch, decision, at: _ } => {
                let external = self.study(study).new.spec.is_external();
                assert!(
                    external || decision.own.is_some_and(f64::is_finite),
                    "a training's NaN is not judged"
                );
                assert!(decision.threshold.is_none_or(f64::is_finite));
                self.trial(study, trial).decisions.push((fold, epoch, decision));
            }
        }
    }

    /// Removes the file of an artifact, unless something refers to it.
    pub fn discard(&mut self, digest: &str) {
        if !self.kept().contains(digest) {
            self.artifacts.remove(digest);
        }
    }

    /// The digests of the artifacts of one study.
    pub fn artifacts_of(&self, study: StudyId) -> Vec<String> {
        self.studies.get(&study).into_iter().flat_map(StudyRow::artifacts).cloned().collect()
    }

    /// The digest of the result that one of this kind and epoch would replace.
    pub fn result_before(&self, key: AttemptKey, kind: &str, epoch: Option<Epoch>) -> Option<String> {
        let trial = self.studies.get(&key.study)?.trials.get(key.trial.0 as usize)?;
        trial.folds.get(key.fold.0 as usize)?.results.get(&(kind.to_owned(), epoch)).cloned()
    }

    /// The digests of all artifacts that something refers to.
    pub fn kept(&self) -> BTreeSet<String> {
        self.studies.values().flat_map(StudyRow::artifacts).cloned().collect()
    }

    /// Removes every file that nothing refers to, as at a start.
    pub fn sweep(&mut self) {
        let kept = self.kept();
        self.artifacts.retain(|digest| kept.contains(digest));
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            studies: self.studies.iter().map(|(id, row)| self.study_snapshot(*id, row)).collect(),
            last_study: self.last_study,
            last_lease: self.last_lease,
            drained_workers: self.drained_workers.clone(),
        }
    }

    pub fn study_snapshot_of(&self, id: StudyId) -> StudySnapshot {
        self.study_snapshot(id, &self.studies[&id])
    }

    fn study_snapshot(&self, id: StudyId, row: &StudyRow) -> StudySnapshot {
        let trials = row.trials.iter().enumerate().map(|(number, trial)| TrialSnapshot {
            number: TrialNumber(number as u32),
            params: trial.params.clone(),
            state: trial.state,
            ending: trial.ending,
            value: trial.value,
            reason: trial.reason.clone(),
            finished_at: trial.finished_at,
            decision: trial.decisions.first().map(|(_, _, decision)| *decision),
            folds: trial.folds.iter().map(|fold| self.fold_snapshot(fold)).collect(),
        });
        StudySnapshot {
            id,
            spec: row.new.spec.clone(),
            data: row.new.data.clone(),
            state: row.state,
            running_ms: row.running_ms,
            epochs: row.epochs(),
            trials: trials.collect(),
        }
    }

    fn fold_snapshot(&self, row: &FoldRow) -> FoldSnapshot {
        let mut failures = BTreeMap::new();
        for class in row.attempts.iter().filter_map(|attempt| attempt.failure) {
            *failures.entry(class).or_insert(0) += 1;
        }
        FoldSnapshot {
            state: row.state,
            value: row.value,
            best_epoch: row.best_epoch,
            last_attempt: Attempt(row.attempts.len() as u32),
            failures,
            open: row.open().map(|open| {
                let (lease_ms, renewed_at) = self.leases[&open.lease];
                let (lease, worker, start_epoch) = (open.lease, open.worker.clone(), open.start_epoch);
                OpenAttempt { lease, worker, start_epoch, lease_ms, renewed_at }
            }),
            checkpoint: row.checkpoint.clone(),
            curve: curve(&row.live_rows()),
        }
    }
}

/// Epoch 1 first, none where one is missing.
fn curve(rows: &[EpochRecord]) -> Vec<Option<f64>> {
    let mut curve = Vec::new();
    for row in rows {
        curve.resize(row.epoch.0 as usize, None);
        curve[row.epoch.0 as usize - 1] = Some(row.validation_loss.unwrap_or(f64::NAN));
    }
    curve
}

/// What a replay has to know of a write.
fn step(write: &Write) -> Option<(StudyId, Step)> {
    Some(match *write {
        Write::AttemptStarted { key, start_epoch, .. } => {
            (key.study, Step::Started { trial: key.trial, fold: key.fold, after: start_epoch })
        }
        Write::Epoch { study, record: EpochRecord { trial, fold, epoch, validation_loss, .. }, .. } => {
            (study, Step::Epoch { trial, fold, epoch, value: validation_loss.unwrap_or(f64::NAN) })
        }
        Write::FoldState { study, trial, fold, state: TrialState::Complete, value: Some(value), .. } => {
            (study, Step::FoldEnded { trial, fold, value })
        }
        Write::TrialState { study, trial, state, ending, .. } if state.is_finished() || ending.is_some() => {
            (study, Step::Decided { trial, state: ending.unwrap_or(state) })
        }
        _ => return None,
    })
}
