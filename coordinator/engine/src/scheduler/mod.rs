//! The scheduler: a state machine that turns events into commands.
//!
//! [`Scheduler::handle`] is told what happened and when; it answers with what to record and what to send.
//! [`Scheduler::next_deadline`] says when it wants a [`Event::Tick`] at the latest.
//!
//! Invariant: a message of an attempt that is not open changes nothing and is answered with Revoked.

mod attempt;
mod census;
mod checkpoint;
mod command;
mod derived;
mod dispatch;
mod ending;
mod enqueue;
mod event;
mod external;
mod fleet;
mod pace;
mod refusal;
mod restore;
mod result;
mod room;
mod snapshot;
mod steer;
mod study;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use foldwise_shared::ids::{LeaseId, Millis, SessionId, StudyId};
use foldwise_shared::state::StudyState;

pub use self::census::{Census, StudyCensus};
pub use self::command::{Answer, Assignment, Command, ToWorker, Write};
pub use self::event::{DataInfo, EpochReport, Event, NewStudy, WorkerInfo};
pub use self::external::LEASE_HOLDER;
pub use self::fleet::DrainedWorker;
pub use self::refusal::{Refusal, RefusalKind};
pub use self::snapshot::{FoldSnapshot, OpenAttempt, Snapshot, StudySnapshot, TrialSnapshot};
pub use self::steer::RecordedTrial;
use self::study::Study;
use self::worker::Worker;

/// What a scheduler is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long a lease lasts without a word from the worker.
    pub lease_ms: i64,
    /// What becomes of the leases that are open when a scheduler is restored.
    pub open_leases: OpenLeases,
}

impl Default for Options {
    fn default() -> Self {
        Self { lease_ms: 30_000, open_leases: OpenLeases::Renewed }
    }
}

/// What becomes of the leases that are open when a scheduler is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenLeases {
    /// Each gets a full lease time: nobody could renew one while no coordinator was there.
    #[default]
    Renewed,
    /// The same, but one that says itself how long it lasts does so: for a coordinator that is there for one event only.
    AsRecorded,
    /// Their holders can never come back, so what they held is free at once.
    Ended,
}

/// How often running time is recorded.
const RUNNING_TIME_STEP_MS: i64 = 1_000;

/// Failed trials in a row of class invalid or error that pause a study.
const FAILED_IN_A_ROW: u32 = 5;

/// Everything that is decided, for all studies and workers of one coordinator.
pub struct Scheduler {
    options: Options,
    studies: BTreeMap<StudyId, Study>,
    /// By incarnation.
    workers: BTreeMap<String, Worker>,
    /// The incarnation behind each stream.
    sessions: BTreeMap<SessionId, String>,
    /// The names whose workers get no more folds.
    drained_workers: BTreeMap<String, DrainedWorker>,
    last_study: StudyId,
    last_lease: LeaseId,
    draining: bool,
    drained: bool,
    now: Millis,
    writes: Vec<Command>,
    /// Everything else; it goes out after the writes.
    sends: Vec<Command>,
}

impl Scheduler {
    /// Tells the scheduler what happened at `now`, which never goes backwards, and gets what is to be done.
    pub fn handle(&mut self, now: Millis, event: Event) -> Vec<Command> {
        if let Event::Overslept { gap } = event {
            // What the coordinator slept through is no running time of a study.
            self.now = self.now.plus(gap).min(now);
        }
        self.advance(now);
        match event {
            Event::CreateStudy(study) => self.create_study(*study),
            Event::PauseStudy(study) => self.change_state(study, StudyState::Running, StudyState::Paused),
            Event::UnpauseStudy(study) => self.change_state(study, StudyState::Paused, StudyState::Running),
            Event::StopStudy(study) => self.stop_study(study),
            Event::Hello { session, worker, held } => self.hello(session, worker, &held),
            Event::Ready { session, slots } => self.ready(session, slots),
            Event::Heartbeat { session, device_use } => self.heartbeat(session, device_use),
            Event::Checkpoint { incarnation, key, checkpoint } => {
                let answer = self.keep_checkpoint(&incarnation, key, checkpoint);
                self.reply(answer);
            }
            Event::Result { incarnation, key, result, before } => {
                let answer = self.keep_result(&incarnation, key, result, before);
                self.reply(answer);
            }
            Event::Derived { session, key, name, value } => self.derived(session, key, name, value),
            Event::Phase { session, key, name } => self.phase(session, key, name),
            Event::Epoch { session, key, report } => self.epoch(session, key, report),
            Event::Finished { session, key, stopped } => self.finished(session, key, stopped),
            Event::Failed { session, key, class, message } => self.failed(session, key, class, message),
            Event::Declined { session, key, message } => self.declined(session, key, message),
            Event::SessionClosed { session } => self.session_closed(session),
            Event::WorkerDied { name } => self.worker_died(&name),
            Event::Tick => {
                self.expire_leases();
                self.stop_stuck_attempts();
            }
            Event::Overslept { gap } => self.extend_leases(gap),
            Event::Drain => self.drain(),
            Event::Ask { study, asker, lease_ms } => {
                let answer = self.ask(study, asker, lease_ms);
                self.reply(answer);
            }
            Event::Report { study, trial, lease, report } => {
                let answer = self.report(study, trial, lease, report);
                self.reply(answer);
            }
            Event::Tell { study, trial, lease, told } => {
                let answer = self.tell(study, trial, lease, &told);
                self.reply(answer);
            }
            Event::Renew { study, trial, lease } => {
                let answer = self.renew(study, trial, lease);
                self.reply(answer);
            }
            Event::Enqueue { study, params } => {
                let answer = self.enqueue(study, &params);
                self.reply(answer);
            }
            Event::AddTrial { study, asker, params, told } => {
                let answer = self.add_told(study, asker, params, &told);
                self.reply(answer);
            }
            Event::ExtendStudy { study, more, ended } => {
                let answer = self.extend(study, &more, ended.map(|ended| *ended));
                self.reply(answer);
            }
            Event::DeleteStudy { study, force, artifacts } => {
                let answer = self.delete_study(study, force, artifacts);
                self.reply(answer);
            }
            Event::RetryTrial { study, trial, found } => {
                let answer = self.retry_trial(study, trial, found);
                self.reply(answer);
            }
            Event::StopTrial { study, trial } => {
                let answer = self.stop_trial(study, trial);
                self.reply(answer);
            }
            Event::ListWorkers => self.reply(Ok(Answer::Workers(self.workers_now()))),
            Event::DrainWorker { name, handover } => {
                let answer = self.drain_worker(name, handover);
                self.reply(answer);
            }
            Event::UndrainWorker { name } => {
                let answer = self.undrain_worker(name);
                self.reply(answer);
            }
        }
        self.end_by_time();
        self.dispatch();
        self.pause_unfit_studies();
        self.record_running_time();
        self.end_studies();
        self.notice_drained();
        self.take_commands()
    }

    /// When something happens by itself: a lease expires, or a study's time is up.
    pub fn next_deadline(&self) -> Option<Millis> {
        let leases = self
            .workers
            .values()
            .filter(|worker| self.has_unexpired(worker))
            .map(|worker| worker.heard_at.plus(worker.lease_ms));
        let budgets = self
            .studies
            .values()
            .filter(|study| study.training > 0 && study.state != StudyState::Stopping)
            .filter_map(|study| study.time_left().map(|left| self.now.plus(left.max(0))));
        leases.chain(budgets).chain(self.pace_deadline()).min()
    }

    fn reply(&mut self, answer: Result<Answer, Refusal>) {
        self.sends.push(Command::Reply(answer));
    }

    fn write(&mut self, write: Write) {
        self.writes.push(Command::Write(write));
    }

    fn take_commands(&mut self) -> Vec<Command> {
        self.writes.append(&mut self.sends);
        std::mem::take(&mut self.writes)
    }

    /// Lets time pass: the running time of every study with a fold in training grows.
    fn advance(&mut self, now: Millis) {
        let passed = now.since(self.now);
        for study in self.studies.values_mut().filter(|study| study.training > 0) {
            study.running_ms += passed;
        }
        self.now = self.now.max(now);
    }

    fn record_running_time(&mut self) {
        for study in self.studies.values_mut() {
            let news = study.running_ms - study.recorded_ms;
            if news >= RUNNING_TIME_STEP_MS || (news > 0 && study.training == 0) {
                study.recorded_ms = study.running_ms;
                self.writes.push(Command::Write(Write::RunningTime {
                    study: study.id,
                    running_ms: study.running_ms,
                }));
            }
        }
    }
}
