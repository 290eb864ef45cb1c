//! The agent: gets folds from the coordinator, has them trained, and reports every epoch until it is acknowledged,
//! over as many streams as that takes. It knows nothing of libtorch.

mod ack_log;
mod attempts;
mod outbox;
mod session;
#[cfg(test)]
mod tests;
mod wire;
mod work;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use foldwise_proto::{WIRE_VERSION, v1};
use foldwise_shared::ids::AttemptKey;
use foldwise_shared::state::FailureClass;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

pub use self::ack_log::AckLog;
pub use self::outbox::{Outbox, Report};
pub use self::session::{Patience, Readings, SessionError, Target};
pub use self::work::{Control, EpochReport, FoldWork, Objective, Outcome, StudyWork};

use self::attempts::Attempts;
use self::session::{Broken, Session};
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
    /// Let running epochs end, hand the folds back, and end once that is acknowledged.
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

/// For how long a drained worker waits for its acknowledgements.
const DRAIN: Duration = Duration::from_secs(3);
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
    reports: UnboundedReceiver<(AttemptKey, Report)>,
    draining: bool,
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
        let (sender, reports) = unbounded_channel();
        Self {
            target: Arc::new(target),
            attempts: Attempts::new(identity.slots, objective, sender),
            identity,
            ack_log,
            device_use: None,
            outbox: Outbox::default(),
            reports,
            draining: false,
            leave_at: None,
        }
    }

    /// Lets its heartbeats tell how busy the device is.
    #[must_use]
    pub fn with_device_use(self, readings: Readings) -> Self {
        Self { device_use: Some(readings), ..self }
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
                Some((key, report)) = self.reports.recv() => {
                    if self.attempts.reported(key, &report) {
                        self.say(key, report, &link);
                    }
                }
                Ok(()) = shutdown.changed() => {
                    let asked = *shutdown.borrow_and_update();
                    match asked {
                        Shutdown::No => {}
                        Shutdown::Drain => self.drain(&link),
                        Shutdown::Now => return Err(AgentError::Interrupted),
                    }
                }
                () = time::sleep_until(leave_at), if self.leave_at.is_some() => {
                    warn!("the coordinator has not acknowledged the last reports; leaving without");
                    return Ok(());
                }
            }
        }
    }

    fn connect(&self, lost: Option<String>) -> Link {
        let Identity { name, incarnation, device, slots } = self.identity.clone();
        let mut held = self.attempts.keys();
        held.extend(self.outbox.keys());
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
    fn greet(&self, link: &Link) {
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
            }
            Told::EpochRecorded { key, epoch } => {
                if let (Some(report), Some(log)) =
                    (self.outbox.acknowledge_epoch(key, epoch), &mut self.ack_log)
                {
                    log.epoch(key, &report)?;
                }
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
            }
        }
        Ok(())
    }

    fn assign(&mut self, work: FoldWork, link: &Link) {
        let key = work.key;
        if self.attempts.keys().contains(&key) || self.outbox.keys().contains(&key) {
            debug!("{key} was assigned again");
        } else if self.draining {
            self.say(key, Report::End(Outcome::Finished { stopped: true }), link);
        } else {
            info!("{key} starts");
            self.attempts.assign(work);
        }
    }

    fn say(&mut self, key: AttemptKey, report: Report, link: &Link) {
        match &report {
            Report::Epoch(report) => {
                debug!("{key} epoch {}: validation loss {}", report.epoch, report.validation_loss);
            }
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
        info!("draining: running epochs end, then this worker does");
        self.draining = true;
        link.send(wire::ready(0));
        for key in self.attempts.stop_all() {
            self.say(key, Report::End(Outcome::Finished { stopped: true }), link);
        }
    }

    /// Whether the drain is done; sets the time to leave when only acknowledgements are missing.
    fn has_left(&mut self) -> bool {
        if !self.draining || !self.attempts.are_idle() {
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
                let Some((key, report)) = self.reports.recv().await else { return };
                self.attempts.reported(key, &report);
            }
        };
        let _ = time::timeout(HALT, ended).await;
    }
}
