//! The attempts this worker was given: those that train, each on a thread of its own, and those that wait for a slot.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use foldwise_shared::artifact::{MAX_METRICS, is_metric};
use foldwise_shared::ids::{AttemptKey, Epoch};
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::ParamValue;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use super::artifacts::{Artifacts, Wanted};
use super::fetch::Fetch;
use super::outbox::Report;
use super::results::NewResult;
use super::work::{Control, Draft, EpochReport, FoldWork, Objective, Outcome, Progress};

/// What a training thread has to say.
pub enum Said {
    /// Something for the coordinator.
    Report(Report),
    /// A checkpoint, after the epoch that was reported last.
    Checkpoint(Draft),
    /// What it does now, which is no epoch.
    Phase(String),
    /// A result.
    Result(NewResult),
}

/// What runs and what waits. What all threads say goes into one channel; an attempt runs until its
/// [`Report::End`] has been handed back to [`Attempts::heard`].
pub struct Attempts {
    slots: usize,
    objective: Arc<dyn Objective>,
    artifacts: Artifacts,
    said: UnboundedSender<(AttemptKey, Said)>,
    running: BTreeMap<AttemptKey, Running>,
    waiting: VecDeque<FoldWork>,
}

struct Running {
    control: Arc<Control>,
    /// It still uses its slot, but nobody wants to hear of it.
    revoked: bool,
}

impl Attempts {
    /// None yet.
    pub fn new(
        slots: u32,
        objective: Arc<dyn Objective>,
        artifacts: Artifacts,
        said: UnboundedSender<(AttemptKey, Said)>,
    ) -> Self {
        let slots = usize::try_from(slots).unwrap_or(usize::MAX).max(1);
        Self { slots, objective, artifacts, said, running: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Starts an attempt as soon as there is a slot.
    pub fn assign(&mut self, work: FoldWork) {
        self.waiting.push_back(work);
        self.fill();
    }

    /// Stops an attempt; one that waits is dropped, and true says that somebody must report its end.
    pub fn stop(&mut self, key: AttemptKey, after_epoch: bool) -> bool {
        if let Some(running) = self.running.get(&key) {
            if after_epoch {
                running.control.end_after_epoch();
            } else {
                running.control.interrupt();
            }
            return false;
        }
        let before = self.waiting.len();
        self.waiting.retain(|work| work.key != key);
        self.waiting.len() < before
    }

    /// Lets every running epoch end and stops then; gives the attempts that only waited, which are dropped.
    pub fn stop_all(&mut self) -> Vec<AttemptKey> {
        for running in self.running.values() {
            running.control.end_after_epoch();
        }
        self.waiting.drain(..).map(|work| work.key).collect()
    }

    /// Stops everything between two batches.
    pub fn interrupt_all(&mut self) {
        self.waiting.clear();
        for running in self.running.values() {
            running.control.interrupt();
        }
    }

    /// Stops an attempt that nobody wants to hear of any more.
    pub fn revoke(&mut self, key: AttemptKey) {
        self.waiting.retain(|work| work.key != key);
        if let Some(running) = self.running.get_mut(&key) {
            running.control.interrupt();
            running.revoked = true;
        }
    }

    /// Takes note of what came from the channel; says whether anybody wants it.
    pub fn heard(&mut self, key: AttemptKey, said: &Said) -> bool {
        let Some(running) = self.running.get(&key) else { return false };
        let wanted = !running.revoked;
        if matches!(said, Said::Report(Report::End(_))) {
            self.running.remove(&key);
            self.fill();
        }
        wanted
    }

    /// Whether an attempt was told to stop between two batches: nobody goes on with it.
    pub fn is_interrupted(&self, key: AttemptKey) -> bool {
        self.running.get(&key).is_some_and(|running| running.control.interrupted())
    }

    /// The attempts that run or wait, without revoked ones.
    pub fn keys(&self) -> BTreeSet<AttemptKey> {
        let running = self.running.iter().filter(|(_, running)| !running.revoked).map(|(key, _)| *key);
        running.chain(self.waiting.iter().map(|work| work.key)).collect()
    }

    /// Whether no thread runs.
    pub fn are_idle(&self) -> bool {
        self.running.is_empty()
    }

    fn fill(&mut self) {
        while self.running.len() < self.slots {
            let Some(work) = self.waiting.pop_front() else { return };
            let control = Arc::new(Control::default());
            self.running.insert(work.key, Running { control: Arc::clone(&control), revoked: false });
            self.start(work, control);
        }
    }

    fn start(&self, mut work: FoldWork, control: Arc<Control>) {
        let key = work.key;
        let objective = Arc::clone(&self.objective);
        let begin = |wanted| Fetch::begin(self.artifacts.clone(), key, wanted);
        let source = work.study.source.clone().map(|digest| begin(Wanted::Source(digest)));
        let start = work.start.clone().map(|point| begin(Wanted::Checkpoint(point)));
        let mut voice = Voice { key, said: self.said.clone(), control: Arc::clone(&control) };
        let body = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                work.source = match arrived(source, &control) {
                    Ok(source) => source.map(Arc::new),
                    Err(outcome) => return outcome,
                };
                let start = match arrived(start, &control) {
                    Ok(start) => start,
                    Err(outcome) => return outcome,
                };
                objective.run(&work, start, &control, &mut voice)
            }))
            .unwrap_or_else(|panic| error(format!("the training panicked: {}", panic_message(&*panic))));
            voice.say(Said::Report(Report::End(outcome)));
        };
        if let Err(refused) =
            thread::Builder::new().name(format!("fold {}.{}", key.trial, key.fold)).spawn(body)
        {
            let outcome = error(format!("the system gives no thread to train on: {refused}"));
            let _ = self.said.send((key, Said::Report(Report::End(outcome))));
        }
    }
}

/// The file that is fetched, if one is; the attempt ends without it.
fn arrived(fetch: Option<Fetch>, control: &Control) -> Result<Option<Vec<u8>>, Outcome> {
    let Some(fetch) = fetch else { return Ok(None) };
    match fetch.wait(control) {
        Ok(Some(file)) => Ok(Some(file)),
        Ok(None) => Err(Outcome::Finished { stopped: true }),
        Err(message) => Err(error(message)),
    }
}

/// The end of the channel on a training thread.
struct Voice {
    key: AttemptKey,
    said: UnboundedSender<(AttemptKey, Said)>,
    control: Arc<Control>,
}

impl Voice {
    /// False if nobody listens any more: the worker ends.
    fn say(&self, said: Said) -> bool {
        self.said.send((self.key, said)).is_ok()
    }
}

impl Progress for Voice {
    fn epoch(&mut self, mut report: EpochReport) -> ControlFlow<()> {
        keep_metrics(&mut report.metrics);
        let heard = self.say(Said::Report(Report::Epoch(report)));
        if heard && !self.control.ends_after_epoch() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn checkpoint(&mut self, draft: Draft) {
        self.say(Said::Checkpoint(draft));
    }

    fn derived(&mut self, name: &str, value: ParamValue) {
        self.say(Said::Report(Report::Derived { name: name.to_owned(), value }));
    }

    fn phase(&mut self, name: &str) {
        self.say(Said::Phase(name.to_owned()));
    }

    fn artifact(&mut self, kind: &str, epoch: Option<Epoch>, content: Vec<u8>) {
        self.say(Said::Result(NewResult { kind: kind.to_owned(), epoch, content }));
    }
}

/// What cannot be stored is left out: a number that is none, a name that is none, more than fit.
fn keep_metrics(metrics: &mut BTreeMap<String, f64>) {
    metrics.retain(|_, value| value.is_finite());
    let mut kept = 0;
    metrics.retain(|name, _| {
        kept += usize::from(is_metric(name));
        let keep = is_metric(name) && kept <= MAX_METRICS;
        if !keep {
            warn!("the metric {name:?} is not stored: names have 1 to 32 of a-z, 0-9 and `_`, and an epoch has {MAX_METRICS}");
        }
        keep
    });
}

fn error(message: String) -> Outcome {
    Outcome::Failed { class: FailureClass::Error, message }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
