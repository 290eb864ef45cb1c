//! External objectives: a program asks for a trial, reports what it measures on the way, and tells what came of it.
//!
//! To the rest of the scheduler such a program is a worker without a stream, which holds one lease: of all the folds of
//! its trial that have no value yet. So it is also that a program that dies frees its trial.

mod check;

use foldwise_shared::external::{Asked, Told, TrialNow, TrialReport};
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, StudyId, TrialNumber};
use foldwise_shared::record::Metrics;
use foldwise_shared::state::{AttemptState, FailureClass, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::Scheduler;
use super::command::{Answer, Write};
use super::enqueue::GONE;
use super::event::{EpochReport, WorkerInfo};
use super::refusal::{Refusal, RefusalKind};
use super::study::{Fold, Study};
use super::worker::Worker;

use self::check::{LEASE_MS, check_lease, check_values, checked_name};

/// What stands for the device of a program that is none of our workers.
const DEVICE: &str = "external";

/// How the incarnations begin that stand for the holders of leases; no worker may have such a one.
pub const LEASE_HOLDER: &str = "lease-";

/// The incarnation of the worker that stands for the holder of a lease.
fn incarnation_of(lease: LeaseId) -> String {
    format!("{LEASE_HOLDER}{lease}")
}

impl Scheduler {
    /// Gives out the oldest trial that waits, or else a new one.
    pub(super) fn ask(&mut self, id: StudyId, asker: String, lease_ms: i64) -> Result<Answer, Refusal> {
        if self.draining {
            return RefusalKind::Draining
                .because("the coordinator is shutting down; ask again when it is back");
        }
        if self.studies.get(&id).is_none_or(|study| study.state == StudyState::Stopping) {
            return RefusalKind::UsedUp.because(GONE);
        }
        let study = self.external(id)?;
        if study.state == StudyState::Paused {
            let name = &study.spec.study.name;
            return RefusalKind::WrongState
                .because(format!("study `{name}` is paused (`foldwise study show {name}` says why); `foldwise study unpause {name}` lets it go on"));
        }
        check_lease(lease_ms)?;
        let asker = checked_name(asker)?;
        self.free_epochs(id);
        let trial = match self.waiting_trial(id)? {
            Some(trial) => trial,
            None => match self.create_trial(id) {
                Some(trial) => trial,
                None => return self.nothing_left(id),
            },
        };
        self.give_out(id, trial, asker, lease_ms).map(Answer::Asked)
    }

    /// The trial that is to be given out before any new one.
    fn waiting_trial(&self, id: StudyId) -> Result<Option<TrialNumber>, Refusal> {
        let study = self.external(id)?;
        if !study.has_epochs() {
            return self.nothing_left(id);
        }
        let mut trials = study.active.iter();
        let waiting =
            trials.find(|(_, trial)| trial.ending.is_none() && !trial.folds.iter().any(Fold::is_training));
        Ok(waiting.map(|(number, _)| *number))
    }

    fn nothing_left<T>(&self, id: StudyId) -> Result<T, Refusal> {
        let study = self.external(id)?;
        let name = &study.spec.study.name;
        let out = match study.active.len() {
            0 => String::new(),
            1 => "; one of its trials is not finished yet".into(),
            count => format!("; {count} of its trials are not finished yet"),
        };
        RefusalKind::UsedUp
            .because(format!("study `{name}` has no trial to give: {}{out}", study.end_reason()))
    }

    fn give_out(
        &mut self,
        id: StudyId,
        trial: TrialNumber,
        asker: String,
        lease_ms: i64,
    ) -> Result<Asked, Refusal> {
        let study = self.external(id)?;
        let epochs = study.spec.epochs();
        let Some(found) = study.active.get(&trial) else { return RefusalKind::WrongState.because(GONE) };
        let (params, folds) = (found.params.clone(), unfinished(&found.folds));
        let incarnation = incarnation_of(LeaseId(self.last_lease.0 + 1));
        let info = WorkerInfo { name: asker, incarnation: incarnation.clone(), device: DEVICE.into() };
        self.write(Write::Worker { worker: info.clone(), at: self.now });
        self.workers.insert(incarnation.clone(), Worker::new(info, self.now, lease_ms));
        let Some(lease) = self.grant(&incarnation, Some(lease_ms)) else {
            return RefusalKind::WrongState.because(GONE);
        };
        for fold in &folds {
            let place = AttemptKey { study: id, trial, fold: *fold, attempt: Attempt(0) };
            self.bury_expired(place);
            self.open_attempt(place, lease, &incarnation, Epoch(0));
        }
        Ok(Asked { trial, lease, lease_ms, params, folds, epochs })
    }

    /// An intermediate value: recorded, judged, and answered with whether the trial is to go on.
    pub(super) fn report(
        &mut self,
        id: StudyId,
        trial: TrialNumber,
        lease: Option<LeaseId>,
        report: TrialReport,
    ) -> Result<Answer, Refusal> {
        let lease = self.held(id, trial, lease)?;
        let key = self.reportable(id, trial, lease, &report)?;
        self.renew_lease(lease);
        // What a worker would know besides is not known here.
        let unknown = f64::NAN;
        let epoch = EpochReport {
            epoch: report.epoch,
            train_loss: unknown,
            validation_loss: report.value,
            learning_rate: unknown,
            seconds: unknown,
            metrics: Metrics::new(),
        };
        self.record_epoch(key, epoch);
        // Where the fold is over anyway, a stop would save nothing of it.
        self.judge_epoch(key, !report.last);
        if report.last {
            self.end_as_planned(key, false);
        }
        Ok(Answer::Trial(self.trial_now(id, trial)))
    }

    /// The end of a trial, as whoever asked for it tells it.
    pub(super) fn tell(
        &mut self,
        id: StudyId,
        trial: TrialNumber,
        lease: Option<LeaseId>,
        told: &Told,
    ) -> Result<Answer, Refusal> {
        let lease = self.held(id, trial, lease)?;
        let told = &self.with_known(id, trial, told);
        self.check_told(id, trial, told)?;
        let keys: Vec<AttemptKey> = match self.workers.get(&incarnation_of(lease)) {
            Some(holder) => holder.attempts.iter().copied().collect(),
            None => Vec::new(),
        };
        self.renew_leases(&incarnation_of(lease));
        let is_ending = |study: &Study| study.active.get(&trial).is_some_and(|trial| trial.ending.is_some());
        if self.studies.get(&id).is_some_and(is_ending) {
            // Its end is decided; all that can be told is that nothing of it runs any more.
            self.stop_all(&keys);
            return Ok(Answer::Trial(self.trial_now(id, trial)));
        }
        match told {
            Told::Values(values) => {
                for key in keys {
                    let value = values.get(key.fold.0 as usize).copied().unwrap_or(f64::NAN);
                    self.end_attempt(key, AttemptState::Complete, None, None, Some(value));
                    self.complete_fold(key, value, None, false);
                }
            }
            Told::Reported => {
                for key in keys {
                    let Some((value, epoch)) = self.best_of(key) else { continue };
                    self.end_attempt(key, AttemptState::Complete, None, None, Some(value));
                    self.complete_fold(key, value, Some(epoch), false);
                }
            }
            Told::Failed { diverged, message } => self.fail(&keys, *diverged, message, None),
            Told::HandedBack => {
                for key in keys {
                    self.give_back(key, FailureClass::Preempted, "it was handed back");
                }
            }
            Told::Stopped => self.stop_all(&keys),
        }
        Ok(Answer::Trial(self.trial_now(id, trial)))
    }

    /// Values of those folds alone that had none, as they were given out, with the known ones in their places.
    fn with_known(&self, id: StudyId, trial: TrialNumber, told: &Told) -> Told {
        let folds =
            self.studies.get(&id).and_then(|study| study.active.get(&trial)).map(|trial| &trial.folds);
        match (told, folds) {
            (Told::Values(values), Some(folds))
                if values.len() < folds.len()
                    && values.len() == folds.iter().filter(|fold| fold.value.is_none()).count() =>
            {
                let mut values = values.iter().copied();
                Told::Values(folds.iter().filter_map(|fold| fold.value.or_else(|| values.next())).collect())
            }
            _ => told.clone(),
        }
    }

    fn best_of(&self, key: AttemptKey) -> Option<(f64, Epoch)> {
        let study = self.studies.get(&key.study)?;
        study.fold(key)?.best(&study.spec)
    }

    fn stop_all(&mut self, keys: &[AttemptKey]) {
        for key in keys {
            self.end_attempt(*key, AttemptState::Stopped, None, None, None);
            self.after_stop(*key);
        }
    }

    /// The first of the attempts takes the blame, whoever told so has decided: it is not tried again.
    /// `reason` stands in the place of the usual one.
    fn fail(&mut self, keys: &[AttemptKey], diverged: bool, message: &str, reason: Option<String>) {
        let Some((first, others)) = keys.split_first() else { return };
        let class = if diverged { FailureClass::Diverged } else { FailureClass::Error };
        let message = if message.is_empty() { "its program said so" } else { message };
        self.end_attempt(*first, AttemptState::Failed, Some(class), Some(message.to_owned()), None);
        let fold = self.studies.get_mut(&first.study).and_then(|study| study.fold_mut(*first));
        let failures = fold.map(|fold| fold.failures.entry(class).or_insert(0));
        let tries = failures.map_or(1, |failures| {
            *failures = failures.saturating_add(1);
            *failures
        });
        match reason {
            Some(reason) => {
                self.set_fold_state(*first, TrialState::Failed);
                self.end_trial(first.study, first.trial, TrialState::Failed, reason);
            }
            None => self.fail_fold(*first, class, tries, message),
        }
        self.stop_all(others);
    }

    /// The holder of a lease is still at it.
    pub(super) fn renew(
        &mut self,
        id: StudyId,
        trial: TrialNumber,
        lease: Option<LeaseId>,
    ) -> Result<Answer, Refusal> {
        let lease = self.held(id, trial, lease)?;
        self.renew_lease(lease);
        Ok(Answer::Trial(self.trial_now(id, trial)))
    }

    fn renew_lease(&mut self, lease: LeaseId) {
        self.renew_leases(&incarnation_of(lease));
        self.write(Write::LeaseRenewed { lease, at: self.now });
    }

    /// A trial that was never asked for, with what came of it.
    pub(super) fn add_told(
        &mut self,
        id: StudyId,
        asker: String,
        params: Params,
        told: &Told,
    ) -> Result<Answer, Refusal> {
        self.external(id)?;
        let asker = checked_name(asker)?;
        let study = self.open_to_trials(id)?;
        let suggestion = study.checked(params)?;
        match told {
            Told::Values(values) => check_values(&study.spec, values)?,
            Told::Failed { .. } => {}
            Told::Reported | Told::Stopped | Told::HandedBack => {
                return RefusalKind::Invalid.because(
                    "a trial that was never asked for has values, or it failed; tell one of the two",
                );
            }
        }
        if !study.has_epochs() {
            return self.nothing_left(id);
        }
        let Some(trial) = self.add_trial(id, suggestion) else {
            return RefusalKind::WrongState.because(GONE);
        };
        let asked = self.give_out(id, trial, asker, *LEASE_MS.start())?;
        if let Told::Failed { diverged, message } = told {
            let place = |fold| AttemptKey { study: id, trial, fold, attempt: Attempt(1) };
            let keys: Vec<AttemptKey> = asked.folds.into_iter().map(place).collect();
            // What failed elsewhere says nothing of this study: with this reason it is not among those that pause it.
            let reason = Some(format!("added as failed: {message}").trim_end_matches([' ', ':']).to_owned());
            self.fail(&keys, *diverged, message, reason);
            return Ok(Answer::Trial(self.trial_now(id, trial)));
        }
        self.tell(id, trial, Some(asked.lease), told)
    }

    /// Where a trial is after this event.
    pub(super) fn trial_now(&self, id: StudyId, trial: TrialNumber) -> TrialNow {
        if let Some(active) = self.studies.get(&id).and_then(|study| study.active.get(&trial)) {
            let reason = active.ending.as_ref().map(|(_, reason)| reason.clone());
            return TrialNow { trial, state: active.state, value: None, reason };
        }
        // It has just ended, so its end is among what is to be recorded.
        let end = self.writes.iter().rev().find_map(|command| match command {
            super::Command::Write(Write::TrialState {
                study, trial: number, state, value, reason, ..
            }) if (*study, *number) == (id, trial) => {
                Some(TrialNow { trial, state: *state, value: *value, reason: reason.clone() })
            }
            _ => None,
        });
        end.unwrap_or(TrialNow { trial, state: TrialState::Cancelled, value: None, reason: None })
    }
}

fn lease_of(incarnation: &str) -> Option<LeaseId> {
    incarnation.strip_prefix(LEASE_HOLDER)?.parse().ok().map(LeaseId)
}

fn unfinished(folds: &[Fold]) -> Vec<FoldIndex> {
    let folds = (0..).map(FoldIndex).zip(folds);
    folds.filter(|(_, fold)| !fold.state.is_finished()).map(|(index, _)| index).collect()
}
