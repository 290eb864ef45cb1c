//! The loop: receive -> handle -> commit -> only then answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldwise_engine::scheduler::{self, Answer, Command, Event, OpenLeases, Scheduler, ToWorker, Write};
use foldwise_shared::ids::{AttemptKey, SessionId};
use foldwise_shared::record::StudyEvent;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::clock::Clock;
use super::outage::{Outage, not_recorded};
use super::publish::event_of;
use super::recall;
use super::{CoordinatorError, Input, Options, Published, Sessions};
use crate::artifacts::Janitor;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

/// Inputs that are handled before their writes are committed together.
const BATCH: usize = 512;
/// The loop looks at its clock at least this often; a longer gap means that the coordinator itself was away.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How much later than planned the loop may wake before it counts as having been away.
const OVERSLEPT: Duration = Duration::from_secs(2);

/// Where a loop says what others wait for.
pub(super) struct Outlets {
    /// What was recorded.
    pub published: broadcast::Sender<Published>,
    /// Whether nothing runs any more.
    pub drained: watch::Sender<bool>,
    /// Why nothing can be recorded, while that is so.
    pub outage: watch::Sender<Option<String>>,
}

pub(super) struct Running {
    /// Before the store: it reads the database until it is done.
    janitor: Janitor,
    store: Store,
    scheduler: Scheduler,
    options: Options,
    clock: Clock,
    sessions: Sessions,
    published: broadcast::Sender<Published>,
    drained: watch::Sender<bool>,
    outage: Outage,
    metrics: Arc<Metrics>,
    draining: bool,
}

/// Who waits for an answer.
type Asker = oneshot::Sender<Result<Answer, CoordinatorError>>;

/// What a batch does once it is durable.
#[derive(Default)]
struct Outcome {
    writes: Vec<Write>,
    sends: Vec<(SessionId, ToWorker)>,
    closes: Vec<SessionId>,
    /// Artifacts that nothing refers to any more.
    discards: Vec<String>,
    /// What attempts do now that is no epoch: said to watchers, and recorded nowhere.
    phases: Vec<Published>,
    drained: bool,
    answers: Vec<(Asker, Result<Answer, CoordinatorError>)>,
}

impl Outcome {
    /// Takes what is to be done; gives back what is to be answered.
    fn add(&mut self, commands: Vec<Command>) -> Result<Answer, CoordinatorError> {
        let mut answer = Ok(Answer::Done);
        for command in commands {
            match command {
                Command::Write(write) => self.writes.push(write),
                Command::Send { session, message } => self.sends.push((session, message)),
                Command::Close { session } => self.closes.push(session),
                Command::Reply(reply) => answer = reply.map_err(CoordinatorError::from),
                Command::Discard { digest } => self.discards.push(digest),
                Command::Phase { key, worker, name } => {
                    let AttemptKey { study, trial, fold, attempt } = key;
                    let event = StudyEvent::PhaseBegan { trial, fold, attempt, worker, name };
                    self.phases.push((study, Arc::new(event)));
                }
                Command::Drained => self.drained = true,
            }
        }
        answer
    }
}

impl Running {
    pub fn new(
        mut store: Store,
        options: Options,
        outlets: Outlets,
        janitor: Janitor,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let clock = Clock::start(store.latest()?);
        let scheduler = rebuild(&mut store, &options, clock, &janitor)?;
        let sessions = Sessions::new();
        Ok(Self {
            janitor,
            store,
            scheduler,
            options,
            clock,
            sessions,
            published: outlets.published,
            drained: outlets.drained,
            outage: Outage::new(outlets.outage),
            metrics,
            draining: false,
        })
    }

    pub fn run(mut self, mut inbox: mpsc::Receiver<Input>, runtime: &Runtime) -> Result<(), StoreError> {
        while self.step(&mut inbox, runtime)? {}
        Ok(())
    }

    /// Waits for what happens next and handles it; false when every handle is gone.
    fn step(&mut self, inbox: &mut mpsc::Receiver<Input>, runtime: &Runtime) -> Result<bool, StoreError> {
        if self.outage.is_on() {
            return self.wait(inbox, runtime);
        }
        let mut batch = Vec::new();
        let (slept_at, planned) = (Instant::now(), self.sleep());
        let open = runtime.block_on(async {
            tokio::select! {
                biased;
                received = inbox.recv_many(&mut batch, BATCH) => received > 0,
                () = tokio::time::sleep(planned) => true,
            }
        });
        if !open {
            return Ok(false);
        }
        self.notice_gap(slept_at.elapsed().saturating_sub(planned))?;
        let idle = batch.is_empty();
        let began = Instant::now();
        self.handle_batch(batch.into_iter())?;
        // Words that renew leases wait while a large study is deleted, say.
        self.notice_gap(began.elapsed())?;
        // The inbox comes first: a word that waits there may renew the lease that is about to expire. An inbox that
        // never empties must not keep a lease alive, though.
        if idle || inbox.is_empty() || self.overdue() > LONGEST_SLEEP {
            self.tick_if_due()?;
        }
        Ok(true)
    }

    /// Handles one event, after whatever was due before it, and ends.
    pub fn only(mut self, event: Event) -> Result<Answer, CoordinatorError> {
        self.tick_if_due()?;
        let (answer, mut answered) = oneshot::channel();
        self.handle_batch(std::iter::once(Input::Request { event, answer }))?;
        // Nobody waits here for better times.
        match self.outage.take() {
            Some(error) => Err(error.into()),
            None => answered.try_recv().map_err(|_| CoordinatorError::Closed)?,
        }
    }

    fn sleep(&self) -> Duration {
        let until = self.scheduler.next_deadline().map(|at| at.since(self.clock.now()).unsigned_abs());
        until.map_or(LONGEST_SLEEP, |left| Duration::from_millis(left).min(LONGEST_SLEEP))
    }

    /// A loop that woke late, because its process was stopped or its machine slept, blames nobody for the silence.
    fn notice_gap(&mut self, late: Duration) -> Result<(), StoreError> {
        if late < OVERSLEPT {
            return Ok(());
        }
        tracing::warn!(seconds = late.as_secs(), "the coordinator was away; every lease is extended by that");
        let gap = i64::try_from(late.as_millis()).unwrap_or(i64::MAX);
        self.handle_one(Event::Overslept { gap })
    }

    /// How long ago the next deadline was.
    fn overdue(&self) -> Duration {
        let late = self.scheduler.next_deadline().map_or(0, |at| self.clock.now().since(at));
        Duration::from_millis(late.unsigned_abs())
    }

    fn tick_if_due(&mut self) -> Result<(), StoreError> {
        match self.scheduler.next_deadline() {
            Some(at) if at <= self.clock.now() => self.handle_one(Event::Tick),
            _ => Ok(()),
        }
    }

    fn handle_one(&mut self, event: Event) -> Result<(), StoreError> {
        self.handle_batch(std::iter::once(Input::Event(event)))
    }

    fn handle_batch(&mut self, inputs: impl Iterator<Item = Input>) -> Result<(), StoreError> {
        let mut outcome = Outcome::default();
        for input in inputs {
            match input {
                input if self.outage.is_on() => self.refuse(input),
                Input::Attach { session, sender } => {
                    self.sessions.insert(session, sender);
                }
                // Who asked may be gone.
                Input::Census { answer } => drop(answer.send(self.scheduler.census(self.clock.now()))),
                Input::Event(event) => {
                    match &event {
                        Event::SessionClosed { session } => drop(self.sessions.remove(session)),
                        Event::Drain => self.draining = true,
                        _ => {}
                    }
                    let _nobody_asked = outcome.add(self.scheduler.handle(self.clock.now(), event));
                }
                Input::Request { event, answer } if recall::is_needed(&event) => {
                    // It is looked up in the store, so what comes before must be there.
                    self.commit(std::mem::take(&mut outcome))?;
                    if self.outage.is_on() {
                        drop(answer.send(Err(self.outage.refusal())));
                        continue;
                    }
                    match recall::recall(&mut self.store, event) {
                        Ok(event) => {
                            let reply = outcome.add(self.scheduler.handle(self.clock.now(), event));
                            outcome.answers.push((answer, reply));
                        }
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
                Input::Request { event, answer } => {
                    let reply = outcome.add(self.scheduler.handle(self.clock.now(), event));
                    outcome.answers.push((answer, reply));
                }
            }
        }
        self.commit(outcome)
    }

    fn commit(&mut self, outcome: Outcome) -> Result<(), StoreError> {
        if !outcome.writes.is_empty() {
            let began = Instant::now();
            if let Err(error) = self.store.commit(&outcome.writes) {
                self.metrics.commit_failed();
                let told = outcome.answers.into_iter().map(|(answer, _)| (answer, not_recorded(&error)));
                let told: Vec<_> = told.collect();
                // The engine ran ahead of what is recorded: it is asked nothing more until it is rebuilt, and every
                // worker connects again then and says what it holds.
                self.sessions.clear();
                // Known before it is told, so that whoever hears of it can see it.
                let lasting = self.outage.failed(error);
                for (answer, refusal) in told {
                    drop(answer.send(Err(refusal)));
                }
                return lasting;
            }
            self.outage.recorded();
            self.metrics.committed(&outcome.writes, began.elapsed());
        }
        outcome.writes.iter().for_each(say);
        // A watcher, a worker or a caller that is gone by now misses nothing it could use.
        if self.published.receiver_count() > 0 {
            for (study, event) in outcome.writes.iter().filter_map(event_of) {
                drop(self.published.send((study, Arc::new(event))));
            }
            for phase in outcome.phases {
                drop(self.published.send(phase));
            }
        }
        for (session, message) in outcome.sends {
            self.metrics.sent(&message);
            if let Some(sender) = self.sessions.get(&session) {
                drop(sender.send(message));
            }
        }
        for session in outcome.closes {
            self.sessions.remove(&session);
        }
        self.janitor.remove(outcome.discards);
        for (answer, reply) in outcome.answers {
            drop(answer.send(reply));
        }
        if outcome.drained {
            self.drained.send_replace(true);
        }
        Ok(())
    }

    /// Refuses what comes until the pause is over, and tries again; false when every handle is gone.
    fn wait(&mut self, inbox: &mut mpsc::Receiver<Input>, runtime: &Runtime) -> Result<bool, StoreError> {
        let until = tokio::time::Instant::now() + self.outage.pause();
        while let Ok(input) = runtime.block_on(async { tokio::time::timeout_at(until, inbox.recv()).await }) {
            match input {
                Some(input) => self.refuse(input),
                None => return self.outage.take().map_or(Ok(false), Err),
            }
        }
        self.try_again()?;
        Ok(true)
    }

    /// What comes while nothing can be recorded: whoever asks is told, and a worker's stream ends, so that it trains on
    /// and comes back.
    fn refuse(&mut self, input: Input) {
        match input {
            Input::Request { answer, .. } => drop(answer.send(Err(self.outage.refusal()))),
            Input::Census { answer } => drop(answer.send(self.scheduler.census(self.clock.now()))),
            Input::Event(Event::Drain) => self.draining = true,
            Input::Event(_) | Input::Attach { .. } => {}
        }
    }

    /// Rebuilds the engine from what is recorded, if the database takes changes again.
    fn try_again(&mut self) -> Result<(), StoreError> {
        let options = Options { open_leases: OpenLeases::Renewed, ..self.options.clone() };
        let rebuilt =
            self.store.probe().and_then(|()| rebuild(&mut self.store, &options, self.clock, &self.janitor));
        match rebuilt {
            Ok(scheduler) => {
                self.scheduler = scheduler;
                self.outage.over();
                if self.draining { self.handle_one(Event::Drain) } else { Ok(()) }
            }
            Err(error) => {
                self.outage.failed(error)?;
                if self.draining && self.outage.ends_a_drain() {
                    self.drained.send_replace(true);
                }
                Ok(())
            }
        }
    }
}

fn rebuild(
    store: &mut Store,
    options: &Options,
    clock: Clock,
    janitor: &Janitor,
) -> Result<Scheduler, StoreError> {
    let mut snapshot = store.snapshot()?;
    if let Some(only) = &options.only {
        snapshot.studies.retain(|study| study.spec.study.name == *only);
        // Those are workers of a coordinator that serves, whatever ours are called.
        snapshot.drained_workers.clear();
    }
    let defaults = scheduler::Options::default();
    let engine_options = scheduler::Options {
        lease_ms: options.lease_ms.unwrap_or(defaults.lease_ms),
        open_leases: options.open_leases,
    };
    let (scheduler, commands) = Scheduler::restore(snapshot, engine_options, clock.now());
    let mut outcome = Outcome::default();
    let _nobody_asked = outcome.add(commands);
    if !outcome.writes.is_empty() {
        store.commit(&outcome.writes)?;
    }
    janitor.remove(outcome.discards);
    Ok(scheduler)
}

/// What the log says of the workers: who is there, and what they lost.
fn say(write: &Write) {
    match write {
        Write::Worker { worker, .. } => {
            tracing::info!(worker = worker.name, device = worker.device, "a worker connected");
        }
        Write::AttemptEnded { key, failure: Some(class), message, worker, .. } => {
            let message = message.as_deref().unwrap_or_default();
            tracing::warn!(worker, failure = class.as_str(), "{key} ended without a result: {message}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
