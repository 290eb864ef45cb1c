//! A worker that is alive and makes no progress: noticed from the time that its own epochs take.

use foldwise_shared::ids::{AttemptKey, FoldIndex, Millis, SessionId};
use foldwise_shared::state::FailureClass;

use super::Scheduler;
use super::command::{Command, ToWorker};
use super::study::Study;

/// An epoch may take this many times as long as the slowest before it.
const FACTOR: i64 = 20;
/// And so long in any case.
const LEAST_MS: i64 = 5 * 60_000;
/// And so long for something that is no epoch, and what comes after it.
const PHASE_MS: i64 = 60 * 60_000;
/// And so long for the first epoch of a study on a worker: data is fetched, a device wakes up.
const FIRST_MS: i64 = 60 * 60_000;

/// How an attempt comes along.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// When it started or last reported an epoch.
    progress_at: Millis,
    /// The longest epoch that it reported, in milliseconds; 0 if none.
    slowest_ms: i64,
    /// It is at something that is no epoch, or was since its last one.
    phase: bool,
    /// Its worker has trained an epoch of the study before: there is nothing to fetch first.
    warm: bool,
}

/// Milliseconds of an epoch that is said to have taken so many seconds; 0 where that is no time.
pub(super) fn pace_ms(seconds: f64) -> i64 {
    // A cast of what is out of range ends at the range's end, and of NaN at 0.
    (seconds * 1_000.0).max(0.0) as i64
}

impl Pace {
    pub fn new(now: Millis, warm: bool) -> Self {
        Self { progress_at: now, slowest_ms: 0, phase: false, warm }
    }

    /// An epoch was reported.
    pub fn progressed(&mut self, now: Millis, seconds: f64) {
        self.progress_at = now;
        self.phase = false;
        self.slowest_ms = self.slowest_ms.max(pace_ms(seconds));
    }

    /// Something came of it that is no epoch.
    pub fn lives(&mut self, now: Millis) {
        self.progress_at = now;
    }

    /// Something begins that is no epoch: nobody knows how long that takes.
    pub fn phase(&mut self, now: Millis) {
        self.progress_at = now;
        self.phase = true;
    }

    /// The coordinator was away, and what was reported meanwhile is still to be read.
    pub fn overslept(&mut self, gap: i64, now: Millis) {
        self.progress_at = self.progress_at.plus(gap).min(now);
    }

    /// When it is to have reported another epoch.
    fn deadline(&self, study: &Study) -> Millis {
        let known = if self.warm { study.slowest_ms } else { 0 };
        let slowest = self.slowest_ms.max(known);
        let patience = if slowest == 0 { FIRST_MS } else { slowest.saturating_mul(FACTOR).max(LEAST_MS) };
        let patience = if self.phase { patience.max(PHASE_MS) } else { patience };
        self.progress_at.plus(patience)
    }
}

impl Scheduler {
    /// When the next attempt is to have made progress.
    pub(super) fn pace_deadline(&self) -> Option<Millis> {
        let studies = self.studies.values().filter(|study| study.training > 0 && !study.spec.is_external());
        studies.flat_map(|study| paces(study).map(|(_, deadline)| deadline)).min()
    }

    /// Takes what makes no progress from its worker, which is told to stop it and gets nothing in its place until it has.
    pub(super) fn stop_stuck_attempts(&mut self) {
        let now = self.now;
        let studies = self.studies.values().filter(|study| study.training > 0 && !study.spec.is_external());
        let stuck: Vec<AttemptKey> = studies
            .flat_map(|study| paces(study).filter(|(_, deadline)| *deadline <= now).map(|(key, _)| key))
            .collect();
        for key in stuck {
            self.send_to_holder(key, ToWorker::Stop { key, after_epoch: false });
            let open = self.studies.get(&key.study).and_then(|study| study.fold(key)?.open.as_ref());
            let Some(open) = open else { continue };
            let waited = now.since(open.pace.progress_at) / 1_000;
            let slowest = open.pace.slowest_ms as f64 / 1_000.0;
            let message = match open.pace.slowest_ms {
                0 => format!("no first epoch for {waited} s, though its worker is alive"),
                _ => format!(
                    "no epoch for {waited} s, though its worker is alive; none took longer than {slowest:.1} s before"
                ),
            };
            let incarnation = open.incarnation.clone();
            if let Some(worker) = self.workers.get_mut(&incarnation) {
                worker.stuck.insert(key);
            }
            self.give_back(key, FailureClass::Lost, &message);
        }
    }

    /// An attempt has something to show that is no epoch.
    pub(super) fn progressed(&mut self, key: AttemptKey) {
        let now = self.now;
        let fold = self.studies.get_mut(&key.study).and_then(|study| study.fold_mut(key));
        if let Some(open) = fold.and_then(|fold| fold.open.as_mut()) {
            open.pace.lives(now);
        }
    }

    /// An attempt begins something long that is no epoch.
    pub(super) fn phase(&mut self, session: SessionId, key: AttemptKey, name: String) {
        if self.stops_stuck(session, key) || !self.is_open(session, key) {
            return;
        }
        let now = self.now;
        let fold = self.studies.get_mut(&key.study).and_then(|study| study.fold_mut(key));
        if let Some(open) = fold.and_then(|fold| fold.open.as_mut()) {
            open.pace.phase(now);
        }
        let worker = self.worker_of(session).map(|worker| worker.info.name.clone()).unwrap_or_default();
        self.sends.push(Command::Phase { key, worker, name });
    }

    /// An attempt that made no progress has ended after all.
    pub(super) fn unstick(&mut self, session: SessionId, key: AttemptKey) {
        if let Some(worker) = self.worker_of(session) {
            worker.stuck.remove(&key);
        }
    }

    /// Whether an attempt was taken from a worker because it made no progress.
    pub(super) fn is_stuck(&self, incarnation: &str, key: AttemptKey) -> bool {
        self.workers.get(incarnation).is_some_and(|worker| worker.stuck.contains(&key))
    }
}

/// The attempts in training, and when each is to have made progress: also those that were told to stop, for a driver that
/// hangs does not hear it.
fn paces(study: &Study) -> impl Iterator<Item = (AttemptKey, Millis)> {
    study.active.iter().flat_map(move |(number, trial)| {
        let folds = (0..).map(FoldIndex).zip(&trial.folds);
        folds.filter_map(move |(fold, found)| {
            let open = found.open.as_ref().filter(|open| !open.expired)?;
            let key = AttemptKey { study: study.id, trial: *number, fold, attempt: open.attempt };
            Some((key, open.pace.deadline(study)))
        })
    })
}
