//! The agent: gets folds from the coordinator, has them trained, and reports every epoch until it is acknowledged,
//! over as many streams as that takes. It knows nothing of libtorch.

mod ack_log;
mod artifacts;
mod attempts;
mod ending;
mod ends;
mod fetch;
mod outbox;
mod results;
mod session;
#[cfg(test)]
mod tests;
mod uploads;
mod wire;
mod work;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use foldwise_proto::{WIRE_VERSION, v1};
use foldwise_shared::ids::{AttemptKey, Epoch};
use foldwise_shared::state::FailureClass;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

pub use self::ack_log::AckLog;
pub use self::outbox::{Outbox, Report};
pub use self::session::{Patience, Readings, SessionError, Target};
pub use self::work::{
    Control, Draft, EpochReport, FoldWork, Objective, Outcome, Progress, StartPoint, StudyWork,
};

use self::artifacts::Artifacts;
use self::attempts::{Attempts, Said};
use self::ending::HANDED_BACK;
use self::ends::Ends;
use self::results::Results;
use self::session::{Broken, Session};
use self::uploads::Uploads;
use self::wire::Told;

/// Who this worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For people.
    pub name: String,
    /// Made at the start of the process; no two processes share one.
    pub incarnation: String,
    /// The device it trains on.
    pub device: String,
    /// How many attempts it runs side by side, at least 1.
    pub slots: u32,
}

/// What the agent is asked from outside; it only ever gets more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Shutdown {
    /// Go on.
    #[default]
    No,
    /// Let running epochs end within the grace time, store checkpoints, hand the folds back, and end once that is
    /// acknowledged.
    Drain,
    /// End at once.
    Now,
}

/// Why the agent ended without having been drained.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no coordinator for it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// An acknowledgement could not be logged.
    #[error("failed to write {0}")]
    AckLog(#[from] io::Error),
    /// It was told to end at once.
    #[error("interrupted")]
    Interrupted,
}

/// How long running epochs have to end when a worker is drained, unless it is told otherwise.
pub const GRACE: Duration = Duration::from_secs(20);
/// For how long a drained worker waits for its acknowledgements.
pub const DRAIN: Duration = Duration::from_secs(3);
/// For how long an end waits for its checkpoint, with a coordinator that is there and while nothing of it gets there.
const HOLD: Duration = Duration::from_secs(30);
/// For how long a worker that ends at once waits for its threads to leave libtorch.
const HALT: Duration = Duration::from_millis(500);

/// A worker's side of the wire.
pub struct Agent {
    target: Arc<Target>,
    identity: Identity,
    ack_log: Option<AckLog>,
    device_use: Option<Readings>,
    attempts: Attempts,
    outbox: Outbox,
    uploads: Uploads,
    results: Results,
    /// What has ended and is not told yet: a checkpoint or results must be there before.
    ends: Ends,
    said: UnboundedReceiver<(AttemptKey, Said)>,
    uploaded: UnboundedReceiver<(AttemptKey, Epoch)>,
    stored: UnboundedReceiver<(AttemptKey, Result<(), String>)>,
    grace: Duration,
    draining: bool,
    /// While draining: when running epochs had their time, and what has not ended goes back to its last checkpoint.
    grace_ends: Option<Instant>,
    /// While draining: when the last attempt had ended, and `DRAIN` more.
    leave_at: Option<Instant>,
}

/// The stream, or the hope for one.
enum Link {
    Connecting(Pin<Box<dyn Future<Output = Result<Session, SessionError>> + Send>>),
    Connected(Box<Session>),
}

enum LinkEvent {
    Connected,
    Told(Told),
    Broken(Broken),
}

impl Link {
    /// What happens next on the stream. May be dropped and called again.
    async fn next(&mut self) -> Result<LinkEvent, SessionError> {
        match self {
            Link::Connecting(session) => {
                *self = Link::Connected(Box::new(session.as_mut().await?));
                Ok(LinkEvent::Connected)
            }
            Link::Connected(session) => Ok(match session.next().await {
                Ok(told) => LinkEvent::Told(told),
                Err(broken) => LinkEvent::Broken(broken),
            }),
        }
    }

    fn send(&self, message: v1::FromWorker) {
        if let Link::Connected(session) = self {
            session.send(message);
        }
    }
}

impl Agent {
    /// An agent without attempts; [`Agent::run`] makes it work.
    pub fn new(
        target: Target,
        identity: Identity,
        objective: Arc<dyn Objective>,
        ack_log: Option<AckLog>,
    ) -> Self {
        let (sender, said) = unbounded_channel();
        let (done, uploaded) = unbounded_channel();
        let (result_done, stored) = unbounded_channel();
        let target = Arc::new(target);
        let artifacts = Artifacts::new(Arc::clone(&target), identity.incarnation.clone());
        Self {
            target,
            attempts: Attempts::new(identity.slots, objective, artifacts.clone(), sender),
            identity,
            ack_log,
            device_use: None,
            outbox: Outbox::default(),
            uploads: Uploads::new(artifacts.clone(), done),
            results: Results::new(artifacts, result_done),
            ends: Ends::default(),
            said,
            uploaded,
            stored,
            grace: GRACE,
            draining: false,
            grace_ends: None,
            leave_at: None,
        }
    }

    /// Lets its heartbeats tell how busy the device is.
    #[must_use]
    pub fn with_device_use(self, readings: Readings) -> Self {
        Self { device_use: Some(readings), ..self }
    }

    /// Gives running epochs another time than [`GRACE`] to end when the worker is drained.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Works until it is drained.
    ///
    /// # Errors
    /// [`AgentError`]; all training threads were told to stop, and had half a second for it.
    pub async fn run(mut self, mut shutdown: watch::Receiver<Shutdown>) -> Result<(), AgentError> {
        let result = self.work(&mut shutdown).await;
        if result.is_err() {
            self.halt().await;
        }
        result
    }

    async fn work(&mut self, shutdown: &mut watch::Receiver<Shutdown>) -> Result<(), AgentError> {
        let mut link = self.connect(None);
        loop {
            if self.has_left() {
                return Ok(());
            }
            let leave_at = self.leave_at.unwrap_or_else(Instant::now);
            let grace_ends = self.grace_ends.unwrap_or_else(Instant::now);
            let hold_ends = self.ends.deadline();
            let connected = matches!(link, Link::Connected(_));
            tokio::select! {
                event = link.next() => match event? {
                    LinkEvent::Connected => self.greet(&link),
                    LinkEvent::Told(told) => self.told(told, &link)?,
                    // It was opened safely, so what is wrong with it now may pass.
                    LinkEvent::Broken(Broken::Away(reason) | Broken::Untrusted(reason)) => link = self.connect(Some(reason)),
                    LinkEvent::Broken(Broken::Refused(reason)) => {
                        let address = self.target.address.to_string();
                        return Err(SessionError::Refused { address, reason }.into());
                    }
                },
                Some((key, said)) = self.said.recv() => self.hear(key, said, &link),
                Some((key, epoch)) = self.uploaded.recv() => {
                    self.uploads.is_done(key, epoch);
                    self.tell_end_if_free(key, &link);
                }
                Some((key, stored)) = self.stored.recv() => {
                    self.results.is_done(key, stored, self.outbox.acknowledged_epoch(key));
                    self.fail_if_refused(key);
                    self.tell_end_if_free(key, &link);
                }
                Ok(()) = shutdown.changed() => {
                    let asked = *shutdown.borrow_and_update();
                    match asked {
                        Shutdown::No => {}
                        Shutdown::Drain => self.drain(&link),
                        Shutdown::Now => return Err(AgentError::Interrupted),
                    }
                }
                // Without a coordinator there is nobody to tell either.
                () = time::sleep_until(hold_ends.unwrap_or_else(Instant::now)), if hold_ends.is_some() && connected => {
                    for key in self.ends.overdue(Instant::now()) {
                        if self.ends.gets_on(key, self.sent(key), Instant::now() + HOLD) {
                            continue;
                        }
                        if self.ends.is_finished(key) && self.results.is_busy(key) {
                            // Without them it is not finished; whoever has no patience with that takes the fold back.
                            self.ends.wait(key, Instant::now() + HOLD);
                            continue;
                        }
                        warn!("what {key} was to store is given up, and its end told");
                        self.tell_end(key, &link);
                    }
                }
                () = time::sleep_until(grace_ends), if self.grace_ends.is_some() => self.end_grace(&link),
                () = time::sleep_until(leave_at), if self.leave_at.is_some() => {
                    warn!("the coordinator has not acknowledged the last reports; leaving without");
                    self.halt().await;
                    return Ok(());
                }
            }
        }
    }

    fn connect(&self, lost: Option<String>) -> Link {
        let Identity { name, incarnation, device, slots } = self.identity.clone();
        let mut held = self.attempts.keys();
        held.extend(self.outbox.keys());
        held.extend(self.ends.keys());
        let held = held.into_iter().map(|key| wire::held(key, self.outbox.acknowledged_epoch(key))).collect();
        // It stays right until the welcome: an attempt comes and goes only by what a coordinator says.
        let slots = if self.draining { 0 } else { slots };
        let hello = v1::Hello { wire_version: WIRE_VERSION, name, incarnation, device, slots, held };
        let (target, device_use) = (Arc::clone(&self.target), self.device_use.clone());
        Link::Connecting(Box::pin(async move {
            let mut session = session::connect(target, hello, lost).await?;
            if let Some(readings) = device_use {
                session.report_use(readings);
            }
            Ok(session)
        }))
    }

    /// On a new stream: first what is owed, so that the coordinator knows it when it hands out more.
    fn greet(&mut self, link: &Link) {
        self.ends.extend(Instant::now() + HOLD);
        for (key, report) in self.outbox.to_send() {
            link.send(wire::report(key, report));
        }
        link.send(wire::ready(if self.draining { 0 } else { self.identity.slots }));
    }

    fn told(&mut self, told: Told, link: &Link) -> io::Result<()> {
        match told {
            Told::Welcome { .. } => debug!("a second welcome is ignored"),
            Told::Assign { tasks, unusable } => {
                for (key, message) in unusable {
                    self.say(
                        key,
                        Report::End(Outcome::Failed { class: FailureClass::Invalid, message }),
                        link,
                    );
                }
                for work in tasks {
                    self.assign(work, link);
                }
            }
            Told::Stop { key, after_epoch } => {
                if self.attempts.stop(key, after_epoch) {
                    self.say(key, Report::End(Outcome::Finished { stopped: true }), link);
                }
                if !after_epoch {
                    // Nobody goes on with it.
                    self.uploads.forget(key);
                    self.results.forget(key);
                    self.tell_end(key, link);
                }
            }
            Told::EpochRecorded { key, epoch } => {
                if let (Some(report), Some(log)) =
                    (self.outbox.acknowledge_epoch(key, epoch), &mut self.ack_log)
                {
                    log.epoch(key, &report)?;
                }
                let acknowledged = self.outbox.acknowledged_epoch(key);
                self.uploads.acknowledged(key, acknowledged);
                self.results.acknowledged(key, acknowledged);
            }
            Told::ParamRecorded { key, name } => {
                self.outbox.acknowledge_derived(key, &name);
            }
            Told::EndRecorded { key } => {
                if let (Some(outcome), Some(log)) = (self.outbox.acknowledge_end(key), &mut self.ack_log) {
                    log.end(key, &outcome)?;
                }
            }
            Told::Revoked { key } => {
                info!("{key} is revoked");
                self.attempts.revoke(key);
                self.outbox.revoke(key);
                self.uploads.forget(key);
                self.results.forget(key);
                self.ends.take(key);
            }
        }
        Ok(())
    }

    fn assign(&mut self, work: FoldWork, link: &Link) {
        let key = work.key;
        let known = [self.attempts.keys(), self.outbox.keys(), self.ends.keys()];
        if known.iter().any(|keys| keys.contains(&key)) {
            debug!("{key} was assigned again");
        } else if self.draining {
            self.say(key, Report::End(Outcome::Finished { stopped: true }), link);
        } else {
            match &work.start {
                Some(point) => info!("{key} goes on after epoch {}", point.epoch),
                None => info!("{key} starts"),
            }
            self.attempts.assign(work);
        }
    }

    fn hear(&mut self, key: AttemptKey, said: Said, link: &Link) {
        let interrupted = self.attempts.is_interrupted(key);
        if !self.attempts.heard(key, &said) {
            return;
        }
        match said {
            Said::Report(Report::End(outcome)) => self.end(key, outcome, interrupted, link),
            Said::Report(report) => self.say(key, report, link),
            Said::Phase(name) => {
                info!("{key}: {name}");
                link.send(wire::phase(key, name));
            }
            Said::Result(_) if interrupted => self.results.lose(key),
            Said::Result(result) => {
                let reported = self.outbox.reported_epoch(key);
                self.results.offer(key, result, reported, self.outbox.acknowledged_epoch(key));
                self.fail_if_refused(key);
            }
            Said::Checkpoint(_) if interrupted => {}
            Said::Checkpoint(draft) => {
                self.uploads.offer(key, draft, self.outbox.acknowledged_epoch(key));
            }
        }
    }

    fn say(&mut self, key: AttemptKey, report: Report, link: &Link) {
        match &report {
            Report::Epoch(report) => {
                debug!("{key} epoch {}: validation loss {}", report.epoch, report.validation_loss);
            }
            Report::Derived { name, value } => info!("{key} has found {name} = {value}"),
            Report::End(Outcome::Finished { stopped }) => {
                info!("{key} {}", if *stopped { "stopped" } else { "finished" });
            }
            Report::End(Outcome::Failed { class, message }) => warn!("{key} failed ({class}): {message}"),
            Report::End(Outcome::Declined { message }) => warn!("{key} declined: {message}"),
        }
        link.send(wire::report(key, &report));
        self.outbox.push(key, report);
    }

    fn drain(&mut self, link: &Link) {
        if self.draining {
            return;
        }
        info!(
            "draining: running epochs have {:.0} s to end and are stored, then this worker ends",
            self.grace.as_secs_f64()
        );
        self.draining = true;
        self.grace_ends = Some(Instant::now() + self.grace);
        link.send(wire::ready(0));
        for key in self.attempts.stop_all() {
            self.say(key, Report::End(Outcome::Finished { stopped: true }), link);
        }
    }

    /// What has not ended by now goes back to its last checkpoint, and what is not stored by now is not stored.
    fn end_grace(&mut self, link: &Link) {
        self.grace_ends = None;
        if !self.attempts.are_idle() {
            warn!("the grace time is over; epochs that still run are lost");
        }
        self.attempts.interrupt_all();
        for key in self.ends.keys() {
            if self.ends.is_complete(key) && self.results.are_missing(key) {
                self.ends.replace(key, HANDED_BACK);
            }
            self.tell_end(key, link);
        }
        self.leave_at.get_or_insert_with(|| Instant::now() + DRAIN);
    }

    /// Whether the drain is done; sets the time to leave when only acknowledgements are missing.
    fn has_left(&mut self) -> bool {
        if !self.draining || !self.attempts.are_idle() || !self.ends.is_empty() {
            return false;
        }
        self.leave_at.get_or_insert_with(|| Instant::now() + DRAIN);
        self.outbox.is_empty()
    }

    /// Gets the training threads out of libtorch, if they are quick: it does not like to be unloaded under them.
    async fn halt(&mut self) {
        self.attempts.interrupt_all();
        let ended = async {
            while !self.attempts.are_idle() {
                let Some((key, said)) = self.said.recv().await else { return };
                self.attempts.heard(key, &said);
            }
        };
        let _ = time::timeout(HALT, ended).await;
    }
}
