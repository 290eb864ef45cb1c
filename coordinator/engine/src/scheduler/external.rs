//! External objectives: a program asks for a trial, reports what it measures on the way, and tells what came of it.
//!
//! To the rest of the scheduler such a program is a worker without a stream, which holds one lease: of all the folds of
//! its trial that have no value yet. So it is also that a program that dies frees its trial.

use foldwise_shared::external::{Asked, DEFAULT_ASKER, Told, TrialNow, TrialReport};
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, StudyId, TrialNumber};
use foldwise_shared::state::{AttemptState, FailureClass, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::Scheduler;
use super::command::{Answer, Write};
use super::enqueue::GONE;
use super::event::{EpochReport, WorkerInfo};
use super::refusal::{Refusal, RefusalKind};
use super::study::{Fold, Study};
use super::worker::Worker;

/// How long a lease may last without a word: from a second to a month.
const LEASE_MS: std::ops::RangeInclusive<i64> = 1_000..=31 * 24 * 3_600_000;

/// The longest name of a program that asks for trials, in bytes.
const NAME_LENGTH: usize = 256;

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
        let incarnation = incarnation_of(LeaseId(self.last_lease.0 + 1));
        let info = WorkerInfo { name: asker, incarnation: incarnation.clone(), device: DEVICE.into() };
        self.write(Write::Worker { worker: info.clone(), at: self.now });
        self.workers.insert(incarnation.clone(), Worker::new(info, self.now, lease_ms));
        let Some(lease) = self.grant(&incarnation, Some(lease_ms)) else {
            return RefusalKind::WrongState.because(GONE);
        };
        let Some(study) = self.studies.get(&id) else { return RefusalKind::WrongState.because(GONE) };
        let epochs = study.spec.epochs();
        let Some(found) = study.active.get(&trial) else { return RefusalKind::WrongState.because(GONE) };
        let (params, folds) = (found.params.clone(), unfinished(&found.folds));
        for fold in &folds {
            let place = AttemptKey { study: id, trial, fold: *fold, attempt: Attempt(0) };
            self.bury_expired(place);
            self.open_attempt(place, lease, &incarnation);
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
        };
        self.record_epoch(key, epoch);
        // Where the fold is over anyway, a stop would save nothing of it.
        self.judge_epoch(key, !report.last);
        if report.last {
            self.end_as_planned(key, false);
        }
        Ok(Answer::Trial(self.trial_now(id, trial)))
    }

    /// The attempt that a report is of, if it can be recorded.
    fn reportable(
        &self,
        id: StudyId,
        trial: TrialNumber,
        lease: LeaseId,
        report: &TrialReport,
    ) -> Result<AttemptKey, Refusal> {
        let study = self.external(id)?;
        let (folds, epochs) = (study.spec.folds(), study.spec.epochs());
        let TrialReport { fold, epoch, value, last } = *report;
        if fold.0 >= folds {
            let range = if folds == 1 { "only fold 0".into() } else { format!("folds 0 to {}", folds - 1) };
            return RefusalKind::OutOfRange.because(format!("there is no fold {fold}; a trial has {range}"));
        }
        if !(1..=epochs).contains(&epoch.0) {
            return RefusalKind::OutOfRange.because(format!(
                "there is no epoch {epoch}; epochs go from 1 to {epochs} (train.epochs in the study file)"
            ));
        }
        let place = AttemptKey { study: id, trial, fold, attempt: Attempt(0) };
        let incarnation = incarnation_of(lease);
        let Some(found) = study.fold(place) else { return RefusalKind::WrongState.because(GONE) };
        let Some(open) = found.open.as_ref().filter(|open| open.incarnation == incarnation) else {
            return RefusalKind::WrongState.because(format!(
                "fold {fold} of trial {trial} is {}; nothing more is to be said of it",
                found.state
            ));
        };
        let recorded = found.curve.get(epoch.0 as usize - 1).copied().flatten();
        if let Some(recorded) = recorded {
            let same = recorded == value || !(recorded.is_finite() || value.is_finite());
            let what = if same {
                format!("epoch {epoch} was reported already")
            } else {
                format!("epoch {epoch} was reported already, as {recorded}, which stays so")
            };
            let go_on = if self.trial_now(id, trial).is_to_stop() { "the trial is to stop" } else { "go on" };
            return RefusalKind::Repeated.because(format!("{what}; {go_on}"));
        }
        if (epoch.0 as usize) < found.curve.len() {
            let latest = found.curve.len();
            return RefusalKind::WrongState.because(format!(
                "epoch {epoch} comes too late: epoch {latest} was reported already; report epochs in their order"
            ));
        }
        if last && !value.is_finite() && found.best(&study.spec).is_none() {
            return RefusalKind::Invalid.because(format!(
                "fold {fold} cannot end so: none of its values is finite; tell that the trial has diverged"
            ));
        }
        Ok(AttemptKey { attempt: open.attempt, ..place })
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

    /// Whether what is told of a trial can be.
    fn check_told(&self, id: StudyId, number: TrialNumber, told: &Told) -> Result<(), Refusal> {
        let study = self.external(id)?;
        let Some(trial) = study.active.get(&number) else { return RefusalKind::WrongState.because(GONE) };
        match told {
            Told::Values(values) => {
                check_values(&study.spec, values)?;
                for (index, (fold, value)) in trial.folds.iter().zip(values).enumerate() {
                    if let Some(known) = fold.value.filter(|known| known != value) {
                        return RefusalKind::Invalid.because(format!(
                            "fold {index} of trial {number} is complete with {known}, so it cannot get {value}"
                        ));
                    }
                }
                Ok(())
            }
            Told::Reported if trial.ending.is_none() => {
                let nothing = |fold: &Fold| fold.value.is_none() && fold.best(&study.spec).is_none();
                match trial.folds.iter().position(nothing) {
                    Some(fold) => RefusalKind::WrongState.because(format!(
                        "no finite value of fold {fold} of trial {number} was reported; tell its value, or that it failed"
                    )),
                    None => Ok(()),
                }
            }
            Told::Stopped if trial.ending.is_none() => RefusalKind::WrongState.because(format!(
                "nobody has told trial {number} to stop; tell its value, that it failed, or hand it back"
            )),
            _ => Ok(()),
        }
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

    /// A study whose trials are asked for, unless it is over.
    fn external(&self, id: StudyId) -> Result<&Study, Refusal> {
        let Some(study) = self.studies.get(&id) else { return RefusalKind::WrongState.because(GONE) };
        if !study.spec.is_external() {
            return RefusalKind::WrongState.because(format!(
                "the trials of study `{}` are trained by workers; only those of a study with objective = \"external\" \
                 are asked for and told",
                study.spec.study.name
            ));
        }
        Ok(study)
    }

    /// The lease of a trial that is not finished, if it is the named one.
    fn held(&self, id: StudyId, trial: TrialNumber, lease: Option<LeaseId>) -> Result<LeaseId, Refusal> {
        let study = self.external(id)?;
        let name = &study.spec.study.name;
        if trial >= study.next_number {
            let there = match study.next_number.0 {
                0 => "it has none yet".into(),
                1 => "it has trial 0 alone".into(),
                count => format!("its trials are 0 to {}", count - 1),
            };
            return RefusalKind::NotFound.because(format!("study `{name}` has no trial {trial}: {there}"));
        }
        let Some(active) = study.active.get(&trial) else {
            return RefusalKind::WrongState.because(format!(
                "trial {trial} of study `{name}` is finished; a finished trial never changes"
            ));
        };
        let current = active.folds.iter().find_map(|fold| lease_of(&fold.open.as_ref()?.incarnation));
        match (lease, current) {
            (Some(lease), Some(current)) if lease == current => Ok(current),
            (None, Some(current)) => Ok(current),
            (None, None) => RefusalKind::WrongState
                .because(format!("nobody has trial {trial} of study `{name}`; ask for it first")),
            (Some(lease), _) => self.not_held(study, trial, lease),
        }
    }

    /// Why a trial is not held by that lease.
    fn not_held(&self, study: &Study, trial: TrialNumber, lease: LeaseId) -> Result<LeaseId, Refusal> {
        let name = &study.spec.study.name;
        if !(1..=self.last_lease.0).contains(&lease.0) {
            return RefusalKind::NotFound.because(format!("there is no lease {lease}"));
        }
        let other = self.workers.get(&incarnation_of(lease)).and_then(|holder| holder.attempts.first());
        match other {
            Some(key) if key.study == study.id => RefusalKind::Invalid
                .because(format!("lease {lease} is one of trial {}, not of trial {trial}", key.trial)),
            Some(_) => RefusalKind::Invalid
                .because(format!("lease {lease} is one of another study than `{name}`")),
            None => RefusalKind::LeaseGone.because(format!(
                "lease {lease} is over: its trial has ended, waits or is with another; trial {trial} needs another lease"
            )),
        }
    }

    /// Where a trial is after this event.
    fn trial_now(&self, id: StudyId, trial: TrialNumber) -> TrialNow {
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

/// What a program that asks calls itself: it stands in tables and lines.
fn checked_name(name: String) -> Result<String, Refusal> {
    if name.len() > NAME_LENGTH || name.chars().any(char::is_control) {
        return RefusalKind::Invalid.because(format!(
            "this is no name of a program; use at most {NAME_LENGTH} bytes without control characters"
        ));
    }
    Ok(if name.is_empty() { DEFAULT_ASKER.into() } else { name })
}

fn check_lease(lease_ms: i64) -> Result<(), Refusal> {
    if LEASE_MS.contains(&lease_ms) {
        return Ok(());
    }
    RefusalKind::Invalid.because(format!("a lease of {lease_ms} ms cannot be; use a second to 31 days"))
}

/// The values of all folds must be there and finite.
fn check_values(spec: &foldwise_shared::spec::StudySpec, values: &[f64]) -> Result<(), Refusal> {
    let folds = spec.folds() as usize;
    if values.len() != folds {
        let wanted = if folds == 1 { "one value".into() } else { format!("{folds} values, one a fold") };
        return RefusalKind::Invalid
            .because(format!("a trial of this study has {wanted}; {} were told", values.len()));
    }
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => RefusalKind::Invalid
            .because(format!("the value is {value}; tell a finite number, or that the trial has diverged")),
        None => Ok(()),
    }
}
