//! A count of what there is now: for whoever watches, never for a decision.

use foldwise_shared::ids::{Millis, StudyId};
use foldwise_shared::state::{StudyState, TrialState};

use super::{LEASE_HOLDER, Scheduler};

/// What there is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Folds that wait to be leased, of studies that are not paused.
    pub folds_waiting: u64,
    /// Folds in training.
    pub folds_running: u64,
    /// Folds whose attempt was told to stop.
    pub folds_stopping: u64,
    /// Workers whose stream is open and that were heard of within their lease.
    pub workers_connected: u64,
    /// Workers that hold an attempt or a stream, and of which nothing was heard.
    pub workers_silent: u64,
    /// Attempts that the connected workers can run side by side.
    pub slots: u64,
    /// Those of them that are free.
    pub slots_free: u64,
    /// Leases that are open: one an attempt of a worker, one a trial of a program that asked.
    pub leases: u64,
    /// The studies that have not ended, oldest first.
    pub studies: Vec<StudyCensus>,
}

/// What there is of one study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyCensus {
    /// Its row.
    pub id: StudyId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: StudyState,
    /// Epochs recorded, those of ended attempts included.
    pub epochs: u64,
    /// Its attempts that are open and whose lease has not expired.
    pub training: u32,
    /// How long at least one of its folds was in training, in milliseconds.
    pub running_ms: i64,
}

impl Scheduler {
    /// Counts what there is at `now`.
    pub fn census(&self, now: Millis) -> Census {
        let mut census = Census::default();
        for study in self.studies.values().filter(|study| study.state != StudyState::Ended) {
            for fold in study.active.values().flat_map(|trial| &trial.folds) {
                match fold.state {
                    TrialState::Waiting if study.state == StudyState::Running => census.folds_waiting += 1,
                    TrialState::Running => census.folds_running += 1,
                    TrialState::Stopping => census.folds_stopping += 1,
                    _ => {}
                }
            }
            census.studies.push(StudyCensus {
                id: study.id,
                name: study.spec.study.name.clone(),
                state: study.state,
                epochs: study.spent,
                training: study.training,
                running_ms: study.running_ms,
            });
        }
        for (incarnation, worker) in &self.workers {
            if incarnation.starts_with(LEASE_HOLDER) {
                // A program that asked for a trial: one lease over all of its folds.
                census.leases += u64::from(!worker.attempts.is_empty());
                continue;
            }
            let held = worker.busy() as u64;
            census.leases += held;
            if worker.hears(now) {
                census.workers_connected += 1;
                census.slots += u64::from(worker.slots);
                census.slots_free += u64::from(worker.slots).saturating_sub(held);
            } else {
                census.workers_silent += 1;
            }
        }
        census
    }
}
