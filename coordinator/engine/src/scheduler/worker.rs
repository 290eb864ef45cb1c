//! Workers: their streams, their leases, and what happens when they fall silent, come back or die.

use std::collections::{BTreeMap, BTreeSet};

use foldwise_shared::device::DeviceUse;
use foldwise_shared::ids::{AttemptKey, Millis, SessionId, StudyId};
use foldwise_shared::state::{AttemptState, FailureClass, TrialState};

use super::Scheduler;
use super::command::{Command, ToWorker, Write};
use super::event::WorkerInfo;
use super::room::Shape;
use super::study::StopOrder;

/// For how many lease times a worker that left is remembered if its device was full or hung.
const ABSENT_LEASES: i64 = 20;

const SILENT: &str = "its worker fell silent";

pub(super) struct Worker {
    pub info: WorkerInfo,
    pub session: Option<SessionId>,
    /// The absolute number of slots; 0 until it said so on this stream.
    pub slots: u32,
    pub heard_at: Millis,
    /// How long its leases last without a word.
    pub lease_ms: i64,
    /// Its open attempts.
    pub attempts: BTreeSet<AttemptKey>,
    /// The studies it cannot train, and why.
    pub unfit: BTreeMap<StudyId, String>,
    /// Attempts that were taken from it because they made no progress, and that may still use a slot each.
    pub stuck: BTreeSet<AttemptKey>,
    /// How many folds it can train side by side while one of this shape is among them, where memory was short once.
    pub room: BTreeMap<Shape, usize>,
    /// The studies of which it has reported an epoch.
    pub trained: BTreeSet<StudyId>,
    /// How busy its device is, as it said last.
    pub device_use: Option<DeviceUse>,
}

impl Worker {
    pub fn new(info: WorkerInfo, heard_at: Millis, lease_ms: i64) -> Self {
        Self {
            info,
            session: None,
            slots: 0,
            heard_at,
            lease_ms,
            attempts: BTreeSet::new(),
            unfit: BTreeMap::new(),
            stuck: BTreeSet::new(),
            room: BTreeMap::new(),
            trained: BTreeSet::new(),
            device_use: None,
        }
    }

    /// It has no stream, holds nothing, and nothing has to be remembered of its device.
    fn is_over(&self) -> bool {
        self.session.is_none() && self.attempts.is_empty() && self.stuck.is_empty() && self.room.is_empty()
    }

    /// Nothing was heard of it for a whole lease time.
    pub fn is_silent(&self, now: Millis) -> bool {
        self.heard_at.plus(self.lease_ms) <= now
    }

    /// Whether what it is told arrives, as far as one can know: a silent worker's stream only looks open.
    pub fn hears(&self, now: Millis) -> bool {
        self.session.is_some() && !self.is_silent(now)
    }

    /// Whether it can take one more attempt.
    pub fn is_free(&self, now: Millis) -> bool {
        self.busy() < self.slots as usize && self.hears(now)
    }

    /// The slots that are in use, as far as one can know.
    pub fn busy(&self) -> usize {
        self.attempts.len() + self.stuck.len()
    }

    /// The part of its slots that is in use.
    pub fn load(&self) -> f64 {
        self.busy() as f64 / f64::from(self.slots.max(1))
    }
}

impl Scheduler {
    pub(super) fn hello(&mut self, session: SessionId, info: WorkerInfo, held: &[AttemptKey]) {
        let incarnation = info.incarnation.clone();
        self.write(Write::Worker { worker: info.clone(), at: self.now });
        let (now, lease_ms) = (self.now, self.options.lease_ms);
        let worker = self
            .workers
            .entry(incarnation.clone())
            .or_insert_with(|| Worker::new(info.clone(), now, lease_ms));
        worker.info = info;
        worker.slots = 0;
        let replaced = worker.session.replace(session);
        if let Some(replaced) = replaced.filter(|replaced| *replaced != session) {
            self.sessions.remove(&replaced);
            self.sends.push(Command::Close { session: replaced });
        }
        self.sessions.insert(session, incarnation.clone());
        self.send(session, ToWorker::Welcome { lease_ms, heartbeat_ms: (lease_ms / 3).max(1) });
        self.heard(session);

        let open = self.workers.get(&incarnation).map(|worker| worker.attempts.clone()).unwrap_or_default();
        for key in open.iter().filter(|key| !held.contains(key)) {
            self.give_back(*key, FailureClass::Preempted, "the worker does not hold it any more");
        }
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            worker.stuck.retain(|key| held.contains(key));
        }
        self.order_handovers_of(&incarnation);
        for key in held {
            if self.is_stuck(&incarnation, *key) {
                self.send(session, ToWorker::Stop { key: *key, after_epoch: false });
            } else if !open.contains(key) {
                self.send(session, ToWorker::Revoked { key: *key });
            } else if let Some(order) = self.stop_order(*key) {
                self.send(session, ToWorker::Stop { key: *key, after_epoch: order == StopOrder::AfterEpoch });
            }
        }
    }

    fn stop_order(&self, key: AttemptKey) -> Option<StopOrder> {
        self.studies.get(&key.study)?.fold(key)?.open.as_ref()?.stopping
    }

    pub(super) fn ready(&mut self, session: SessionId, slots: u32) {
        self.heard(session);
        if let Some(worker) = self.worker_of(session) {
            worker.slots = slots;
        }
        if slots > 0 {
            self.unpause_for(session);
        }
    }

    pub(super) fn worker_of(&mut self, session: SessionId) -> Option<&mut Worker> {
        self.workers.get_mut(self.sessions.get(&session)?)
    }

    pub(super) fn heard(&mut self, session: SessionId) {
        if let Some(incarnation) = self.sessions.get(&session).cloned() {
            self.renew_leases(&incarnation);
        }
    }

    pub(super) fn heartbeat(&mut self, session: SessionId, device_use: Option<DeviceUse>) {
        self.heard(session);
        if let Some(worker) = self.worker_of(session)
            && device_use.is_some()
        {
            worker.device_use = device_use;
        }
    }

    /// Any word of a worker renews its leases, expired ones too.
    pub(super) fn renew_leases(&mut self, incarnation: &str) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(incarnation) else { return };
        worker.heard_at = now;
        let attempts: Vec<AttemptKey> = worker.attempts.iter().copied().collect();
        for key in attempts {
            let Some(study) = self.studies.get_mut(&key.study) else { continue };
            let Some(open) = study.fold_mut(key).and_then(|fold| fold.open.as_mut()) else { continue };
            if std::mem::take(&mut open.expired) {
                study.training += 1;
                self.set_fold_state(key, TrialState::Running);
            }
        }
    }

    pub(super) fn session_closed(&mut self, session: SessionId) {
        let Some(incarnation) = self.sessions.remove(&session) else { return };
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        worker.session = None;
        self.forget_if_over(&incarnation);
    }

    /// Forgets a worker without a stream of which there is nothing to know any more.
    pub(super) fn forget_if_over(&mut self, incarnation: &str) {
        if self.workers.get(incarnation).is_some_and(Worker::is_over) {
            self.workers.remove(incarnation);
        }
    }

    /// What is known of a worker's device is of no use once it has been away for long.
    fn forget_the_absent(&mut self) {
        let now = self.now;
        self.workers.retain(|_, worker| {
            let absent = worker.session.is_none() && worker.attempts.is_empty();
            let span = worker.lease_ms.saturating_mul(ABSENT_LEASES);
            !(absent && worker.heard_at.plus(span) <= now)
        });
    }

    pub(super) fn worker_died(&mut self, name: &str) {
        let dead: Vec<String> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.info.name == name)
            .map(|(incarnation, _)| incarnation.clone())
            .collect();
        for incarnation in dead {
            let attempts =
                self.workers.get(&incarnation).map(|worker| worker.attempts.clone()).unwrap_or_default();
            for key in attempts {
                self.give_back(key, FailureClass::Lost, "its worker's process ended");
            }
            if let Some(session) = self.workers.remove(&incarnation).and_then(|worker| worker.session) {
                self.sessions.remove(&session);
                // Should its process live after all, it sees this and opens another.
                self.sends.push(Command::Close { session });
            }
        }
    }

    /// Ends an attempt from this side and queues its fold again, or fails its trial if that was once too often.
    pub(super) fn give_back(&mut self, key: AttemptKey, class: FailureClass, message: &str) {
        self.end_attempt(key, AttemptState::Failed, Some(class), Some(message.to_owned()), None);
        self.after_failure(key, class, message);
    }

    pub(super) fn has_unexpired(&self, worker: &Worker) -> bool {
        worker.attempts.iter().any(|key| {
            self.studies
                .get(&key.study)
                .and_then(|study| study.fold(*key))
                .is_some_and(|fold| fold.is_training())
        })
    }

    pub(super) fn expire_leases(&mut self) {
        let silent: Vec<AttemptKey> = self
            .workers
            .values()
            .filter(|worker| worker.is_silent(self.now))
            .flat_map(|worker| worker.attempts.iter().copied())
            .collect();
        for key in silent {
            self.expire(key);
        }
        self.forget_the_absent();
    }

    /// The lease of an attempt ran out: its fold is queued again, but until somebody takes it the worker may come
    /// back. Where there is nothing to come back to, the attempt ends.
    fn expire(&mut self, key: AttemptKey) {
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let Some(trial) = study.active.get(&key.trial) else { return };
        let Some(fold) = trial.folds.get(key.fold.0 as usize) else { return };
        let Some(open) = fold.open.as_ref().filter(|open| !open.expired) else { return };
        let lost = fold.failures.get(&FailureClass::Lost).copied().unwrap_or(0);
        if trial.ending.is_some() || open.stopping.is_some() || lost >= study.spec.retry.lost {
            self.end_silent(key);
            self.after_failure(key, FailureClass::Lost, SILENT);
            return;
        }
        if let Some(open) = study.fold_mut(key).and_then(|fold| fold.open.as_mut()) {
            open.expired = true;
        }
        study.training -= 1;
        self.set_fold_state(key, TrialState::Waiting);
    }

    /// Ends an attempt whose worker fell silent, and tells the worker for the case that its stream still works: it is
    /// to stop before it gets another.
    pub(super) fn end_silent(&mut self, key: AttemptKey) {
        self.send_to_holder(key, ToWorker::Revoked { key });
        self.end_attempt(key, AttemptState::Failed, Some(FailureClass::Lost), Some(SILENT.to_owned()), None);
    }

    /// The coordinator itself was away: nobody else is to blame for the silence.
    pub(super) fn extend_leases(&mut self, gap: i64) {
        for worker in self.workers.values_mut() {
            worker.heard_at = worker.heard_at.plus(gap).min(self.now);
        }
        let trials = self.studies.values_mut().flat_map(|study| study.active.values_mut());
        for open in trials.flat_map(|trial| &mut trial.folds).filter_map(|fold| fold.open.as_mut()) {
            open.pace.overslept(gap, self.now);
        }
    }

    pub(super) fn send(&mut self, session: SessionId, message: ToWorker) {
        self.sends.push(Command::Send { session, message });
    }

    /// Sends to whoever holds an attempt, if it is connected.
    pub(super) fn send_to_holder(&mut self, key: AttemptKey, message: ToWorker) {
        let session = self
            .studies
            .get(&key.study)
            .and_then(|study| study.fold(key)?.open.as_ref())
            .and_then(|open| self.workers.get(&open.incarnation)?.session);
        if let Some(session) = session {
            self.send(session, message);
        }
    }
}
