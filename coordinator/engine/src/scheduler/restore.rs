//! Rebuilds the scheduler from what the store knows.

use std::collections::BTreeSet;

use foldwise_shared::ids::{AttemptKey, FoldIndex, Millis, TrialNumber};
use foldwise_shared::state::{FailureClass, StudyState, TrialState};

use super::command::Command;
use super::ending::is_setting_error;
use super::pace::Pace;
use super::snapshot::{Snapshot, StudySnapshot, TrialSnapshot};
use super::study::{Fold, Open, StopOrder, Study, Trial};
use super::worker::Worker;
use super::{FAILED_IN_A_ROW, OpenLeases, Options, Scheduler};
use crate::pruner::FoundFold;

impl Scheduler {
    /// A scheduler that goes on where the store ends. What becomes of open leases is among the options. The commands
    /// are to be carried out before the first event.
    pub fn restore(snapshot: Snapshot, options: Options, now: Millis) -> (Self, Vec<Command>) {
        let mut scheduler = Self {
            options,
            studies: Default::default(),
            workers: Default::default(),
            sessions: Default::default(),
            drained_workers: snapshot.drained_workers,
            last_study: snapshot.last_study,
            last_lease: snapshot.last_lease,
            draining: false,
            drained: false,
            now,
            writes: Vec::new(),
            sends: Vec::new(),
        };
        let mut open = Vec::new();
        for study in snapshot.studies {
            scheduler.restore_study(study, &mut open);
        }
        if options.open_leases == OpenLeases::Ended {
            for key in open {
                scheduler.give_back(key, FailureClass::Preempted, "the coordinator was restarted");
            }
            scheduler.workers.clear();
        }
        scheduler.finish_idle_trials();
        scheduler.end_by_time();
        scheduler.end_studies();
        let commands = scheduler.take_commands();
        (scheduler, commands)
    }

    pub(super) fn restore_study(&mut self, snapshot: StudySnapshot, open: &mut Vec<AttemptKey>) {
        if snapshot.state == StudyState::Ended {
            return;
        }
        let mut study = Study::new(snapshot.id, snapshot.spec, snapshot.data);
        study.state = snapshot.state;
        study.running_ms = snapshot.running_ms;
        study.recorded_ms = snapshot.running_ms;
        study.spent = snapshot.epochs;
        // So many pause the study; if it runs, a person let it go on and the count began anew.
        study.failed_in_a_row = failed_in_a_row(&snapshot.trials) % FAILED_IN_A_ROW;
        study.next_number = snapshot
            .trials
            .iter()
            .map(|trial| TrialNumber(trial.number.0.saturating_add(1)))
            .max()
            .unwrap_or_default();
        let mut expired = Vec::new();
        let planned = u64::from(study.spec.epochs());
        for trial in snapshot.trials {
            let folds: Vec<FoundFold> = trial
                .folds
                .iter()
                .map(|fold| FoundFold {
                    curve: &fold.curve,
                    value: fold.value.filter(|_| fold.state == TrialState::Complete),
                })
                .collect();
            study.pruner.restore(trial.number, &folds, trial.decision.as_ref());
            let number = trial.number;
            let mut folds = Vec::with_capacity(trial.folds.len());
            for (index, fold) in trial.folds.into_iter().enumerate() {
                let attempt = fold.last_attempt;
                let key =
                    AttemptKey { study: snapshot.id, trial: number, fold: FoldIndex(index as u32), attempt };
                let recorded = fold.curve.iter().flatten().count() as u64;
                let holder = fold.open.map(|holder| {
                    let incarnation = holder.worker.incarnation.clone();
                    let heard_at = match (self.options.open_leases, holder.lease_ms) {
                        (OpenLeases::AsRecorded, Some(_)) => holder.renewed_at.min(self.now),
                        _ => self.now,
                    };
                    let lease_ms = holder.lease_ms.unwrap_or(self.options.lease_ms);
                    let worker = self
                        .workers
                        .entry(incarnation.clone())
                        .or_insert_with(|| Worker::new(holder.worker, heard_at, lease_ms));
                    worker.attempts.insert(key);
                    open.push(key);
                    study.training += 1;
                    study.reserved += planned.saturating_sub(recorded);
                    let stopping = trial.ending.map(|_| StopOrder::Now);
                    let (start, pace) = (holder.start_epoch, Pace::new(self.now, false));
                    let kinds = BTreeSet::new();
                    Open { attempt, incarnation, start, pace, kinds, expired: false, stopping }
                });
                if holder.is_some() && fold.state == TrialState::Waiting {
                    expired.push(key);
                }
                folds.push(Fold {
                    state: fold.state,
                    value: fold.value,
                    best_epoch: fold.best_epoch,
                    last_attempt: attempt,
                    failures: fold.failures,
                    open: holder,
                    checkpoint: fold.checkpoint,
                    curve: fold.curve,
                });
            }
            let ending = trial.ending.map(|state| (state, trial.reason.unwrap_or_default()));
            let (state, value, finished_at) = (trial.state, trial.value, trial.finished_at);
            let trial = Trial { params: trial.params, state, ending, folds };
            if state.is_finished() {
                study.learn(number, &trial, state, value, finished_at.unwrap_or_default());
            } else {
                study.active.insert(number, trial);
            }
        }
        self.studies.insert(study.id, study);
        // A lease that had expired is open again, with a full lease time.
        for key in expired {
            self.set_fold_state(key, TrialState::Running);
        }
    }

    fn finish_idle_trials(&mut self) {
        let ending: Vec<_> = self
            .studies
            .values()
            .flat_map(|study| study.active.keys().map(|number| (study.id, *number)))
            .collect();
        for (study, number) in ending {
            self.finish_trial_if_idle(study, number);
        }
    }
}

/// How many of the latest trials failed one after the other because of a setting.
fn failed_in_a_row(trials: &[TrialSnapshot]) -> u32 {
    let mut finished: Vec<&TrialSnapshot> = trials.iter().filter(|trial| trial.state.is_finished()).collect();
    finished.sort_by_key(|trial| (trial.finished_at, trial.number));
    let failed = |trial: &&&TrialSnapshot| {
        trial.state == TrialState::Failed && trial.reason.as_deref().is_some_and(is_setting_error)
    };
    finished.iter().rev().take_while(failed).count() as u32
}
