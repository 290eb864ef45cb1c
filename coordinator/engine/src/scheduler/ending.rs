//! How folds, trials and studies end.

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{AttemptKey, Epoch, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::state::{FailureClass, StudyState, TrialState};

use super::command::{Command, ToWorker, Write};
use super::event::NewStudy;
use super::study::{StopOrder, Study};
use super::{FAILED_IN_A_ROW, Scheduler};
use crate::pruner::Standing;

/// What becomes of the unfinished folds of a trial that ends this way.
pub(super) fn fold_end(trial: TrialState) -> TrialState {
    if trial == TrialState::Pruned { TrialState::Pruned } else { TrialState::Cancelled }
}

impl Scheduler {
    pub(super) fn create_study(&mut self, study: NewStudy) {
        let id = StudyId(self.last_study.0 + 1);
        self.last_study = id;
        self.studies.insert(id, Study::new(id, study.spec.clone(), study.data.clone()));
        self.write(Write::Study { id, study: Box::new(study), at: self.now });
    }

    pub(super) fn change_state(&mut self, study: StudyId, from: StudyState, to: StudyState) {
        if self.studies.get(&study).is_some_and(|found| found.state == from) {
            if let Some(study) = self.studies.get_mut(&study) {
                study.failed_in_a_row = 0;
            }
            for worker in self.workers.values_mut() {
                worker.unfit.remove(&study);
            }
            self.set_study_state(study, to, None);
        }
    }

    pub(super) fn stop_study(&mut self, study: StudyId) {
        if self
            .studies
            .get(&study)
            .is_some_and(|found| matches!(found.state, StudyState::Running | StudyState::Paused))
        {
            self.cancel_all(study, "the study was stopped");
        }
    }

    /// Ends a study whose time is up.
    pub(super) fn end_by_time(&mut self) {
        let late: Vec<StudyId> = self
            .studies
            .values()
            .filter(|study| matches!(study.state, StudyState::Running | StudyState::Paused))
            .filter(|study| study.time_left().is_some_and(|left| left <= 0))
            .map(|study| study.id)
            .collect();
        for study in late {
            self.cancel_all(study, "budget.wall_time is used up");
        }
    }

    fn cancel_all(&mut self, id: StudyId, reason: &str) {
        self.set_study_state(id, StudyState::Stopping, Some(reason.to_owned()));
        let Some(study) = self.studies.get(&id) else { return };
        let trials: Vec<TrialNumber> = study.active.keys().copied().collect();
        for trial in trials {
            self.end_trial(id, trial, TrialState::Cancelled, reason.to_owned());
        }
    }

    pub(super) fn set_study_state(&mut self, id: StudyId, state: StudyState, message: Option<String>) {
        let Some(study) = self.studies.get_mut(&id) else { return };
        study.state = state;
        study.paused_as_unfit = false;
        self.write(Write::StudyState { study: id, state, message, at: self.now });
    }

    pub(super) fn set_fold_state(&mut self, key: AttemptKey, state: TrialState) {
        if state.is_finished() && !self.keeps_checkpoint(key, state) {
            self.drop_checkpoint(key);
        }
        let at = self.now;
        let Some(fold) = self.studies.get_mut(&key.study).and_then(|study| study.fold_mut(key)) else {
            return;
        };
        fold.state = state;
        let (value, best_epoch) = (fold.value, fold.best_epoch);
        self.write(Write::FoldState {
            study: key.study,
            trial: key.trial,
            fold: key.fold,
            state,
            value,
            best_epoch,
            at,
        });
    }

    pub(super) fn prune(&mut self, key: AttemptKey, epoch: Option<Epoch>, decision: Decision) {
        let (study, trial, fold, at) = (key.study, key.trial, key.fold, self.now);
        self.write(Write::Decision { study, trial, fold, epoch, decision, at });
        self.end_trial(study, trial, TrialState::Pruned, decision.reason(fold, epoch));
    }

    /// A fold has its value: the pruner gets it, and judges the trial if it is `judged` and this was not the last one.
    pub(super) fn complete_fold(
        &mut self,
        key: AttemptKey,
        value: f64,
        best_epoch: Option<Epoch>,
        judged: bool,
    ) {
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let Some(trial) = study.active.get_mut(&key.trial) else { return };
        let Some(fold) = trial.folds.get_mut(key.fold.0 as usize) else { return };
        fold.value = Some(value);
        fold.best_epoch = best_epoch;
        fold.state = TrialState::Complete;
        let finished = trial.finished();
        let whole = finished.len() == trial.folds.len();
        let Some(fold) = trial.folds.get(key.fold.0 as usize) else { return };
        let standing = Standing {
            number: key.trial,
            fold: key.fold,
            curve: &fold.curve,
            finished: &finished,
            judged: judged && !whole,
        };
        let decision = study.pruner.fold_end(&standing).prune();
        let (trial_value, std) = trial.value();
        self.set_fold_state(key, TrialState::Complete);
        if whole {
            self.finish_trial(
                key.study,
                key.trial,
                TrialState::Complete,
                Some(trial_value),
                std,
                "every fold is complete".into(),
            );
        } else if let Some(decision) = decision {
            self.prune(key, None, decision);
        }
    }

    /// Decides how a trial ends: folds that wait are dropped, folds that run are stopped.
    pub(super) fn end_trial(&mut self, id: StudyId, number: TrialNumber, state: TrialState, reason: String) {
        let Some(trial) = self.studies.get_mut(&id).and_then(|study| study.active.get_mut(&number)) else {
            return;
        };
        if trial.ending.is_some() {
            return;
        }
        trial.ending = Some((state, reason.clone()));
        let mut keys = Vec::new();
        for (index, fold) in trial.folds.iter_mut().enumerate() {
            let fold_index = FoldIndex(index as u32);
            let key = AttemptKey { study: id, trial: number, fold: fold_index, attempt: fold.last_attempt };
            match &mut fold.open {
                Some(open) if !open.expired => {
                    open.stopping = Some(StopOrder::Now);
                    keys.push((key, Some(false)));
                }
                Some(_) => keys.push((key, Some(true))),
                None if !fold.state.is_finished() => keys.push((key, None)),
                None => {}
            }
        }
        for (key, open) in keys {
            match open {
                Some(false) => {
                    self.send_to_holder(key, ToWorker::Stop { key, after_epoch: false });
                    self.set_fold_state(key, TrialState::Stopping);
                }
                Some(true) => {
                    self.end_silent(key);
                    self.set_fold_state(key, fold_end(state));
                }
                None => self.set_fold_state(key, fold_end(state)),
            }
        }
        if !self.finish_trial_if_idle(id, number) {
            self.set_trial_state(id, number, TrialState::Stopping, Some(state), Some(reason));
        }
    }

    pub(super) fn set_trial_state(
        &mut self,
        study: StudyId,
        number: TrialNumber,
        state: TrialState,
        ending: Option<TrialState>,
        reason: Option<String>,
    ) {
        let Some(trial) = self.studies.get_mut(&study).and_then(|study| study.active.get_mut(&number)) else {
            return;
        };
        trial.state = state;
        let at = self.now;
        self.write(Write::TrialState {
            study,
            trial: number,
            state,
            ending,
            value: None,
            std: None,
            reason,
            at,
        });
    }

    /// Finishes a trial whose end is decided and of which nothing runs any more.
    pub(super) fn finish_trial_if_idle(&mut self, id: StudyId, number: TrialNumber) -> bool {
        let Some(trial) = self.studies.get(&id).and_then(|study| study.active.get(&number)) else {
            return false;
        };
        let Some((state, reason)) = trial.ending.clone().filter(|_| !trial.has_open()) else { return false };
        self.finish_trial(id, number, state, None, None, reason);
        true
    }

    fn finish_trial(
        &mut self,
        study: StudyId,
        trial: TrialNumber,
        state: TrialState,
        value: Option<f64>,
        std: Option<f64>,
        reason: String,
    ) {
        let at = self.now;
        let burns_budget = state == TrialState::Failed && is_setting_error(&reason);
        let message = format!("{FAILED_IN_A_ROW} trials in a row failed; the last: {reason}");
        self.write(Write::TrialState {
            study,
            trial,
            state,
            ending: None,
            value,
            std,
            reason: Some(reason),
            at,
        });
        let Some(found) = self.studies.get_mut(&study) else { return };
        if let Some(finished) = found.active.remove(&trial) {
            found.learn(trial, &finished, state, value, at);
        }
        found.failed_in_a_row = if burns_budget { found.failed_in_a_row + 1 } else { 0 };
        if found.failed_in_a_row >= FAILED_IN_A_ROW && found.state == StudyState::Running {
            self.set_study_state(study, StudyState::Paused, Some(message));
        }
    }

    /// Ends every study that has nothing left to do.
    pub(super) fn end_studies(&mut self) {
        let live: Vec<StudyId> = self
            .studies
            .values()
            .filter(|study| study.state != StudyState::Ended)
            .map(|study| study.id)
            .collect();
        for id in live {
            self.cancel_if_out_of_epochs(id);
            let Some(study) = self.studies.get(&id).filter(|study| study.active.is_empty()) else { continue };
            let message = match study.state {
                StudyState::Stopping => None,
                StudyState::Running if study.has_epochs() && study.has_next() => continue,
                StudyState::Paused if study.has_epochs() && !study.trials_are_used_up() => continue,
                _ => Some(study.end_reason()),
            };
            self.end_study(id, message);
        }
        self.studies.retain(|_, study| study.state != StudyState::Ended);
    }

    fn end_study(&mut self, id: StudyId, message: Option<String>) {
        // What Stopping said of the reason is still true at the end.
        let message = message.or_else(|| self.studies.get(&id)?.stop_reason());
        self.set_study_state(id, StudyState::Ended, message);
    }

    /// Nothing runs and not even one fold's epochs are left: what waits will never run.
    fn cancel_if_out_of_epochs(&mut self, id: StudyId) {
        let Some(study) = self.studies.get(&id) else { return };
        if study.training > 0
            || study.reserved > 0
            || study.has_epochs()
            || study.waiting(false).next().is_some()
            || study.state != StudyState::Running
        {
            return;
        }
        let waiting: Vec<TrialNumber> = study.active.keys().copied().collect();
        for trial in waiting {
            self.end_trial(id, trial, TrialState::Cancelled, "budget.total_epochs is used up".into());
        }
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.drained = false;
        let mut stopped = Vec::new();
        // Who asked for a trial goes on with it until the next coordinator is there.
        for study in self.studies.values_mut().filter(|study| !study.spec.is_external()) {
            for (number, trial) in &mut study.active {
                for (index, fold) in trial.folds.iter_mut().enumerate() {
                    let Some(open) = fold.open.as_mut().filter(|open| open.stopping.is_none()) else {
                        continue;
                    };
                    open.stopping = Some(StopOrder::AfterEpoch);
                    let fold = FoldIndex(index as u32);
                    stopped.push(AttemptKey { study: study.id, trial: *number, fold, attempt: open.attempt });
                }
            }
        }
        for key in stopped {
            self.send_to_holder(key, ToWorker::Stop { key, after_epoch: true });
        }
    }

    pub(super) fn notice_drained(&mut self) {
        let busy =
            self.workers.values().any(|worker| worker.session.is_some() && !worker.attempts.is_empty());
        if self.draining && !self.drained && !busy {
            self.drained = true;
            self.sends.push(Command::Drained);
        }
    }
}

/// Whether a reason, which starts with its class, tells of a wrong setting rather than bad luck.
pub(super) fn is_setting_error(reason: &str) -> bool {
    [FailureClass::Invalid, FailureClass::Error]
        .iter()
        .any(|class| reason.starts_with(&format!("{class} on fold")))
}

impl Study {
    pub(super) fn trials_are_used_up(&self) -> bool {
        self.spec.budget.trials.is_some_and(|trials| self.next_number.0 >= trials)
    }

    pub(super) fn end_reason(&self) -> String {
        if !self.has_epochs() {
            "budget.total_epochs is used up".into()
        } else if self.trials_are_used_up() {
            "budget.trials is used up".into()
        } else {
            "the grid is done".into()
        }
    }

    fn stop_reason(&self) -> Option<String> {
        let timed_out = self.time_left().is_some_and(|left| left <= 0);
        Some(if timed_out { "budget.wall_time is used up" } else { "the study was stopped" }.into())
    }
}
