//! Whether what a program asks, reports or tells can be; where not, why. Nothing here changes anything.

use foldwise_shared::external::{DEFAULT_ASKER, Told, TrialReport};
use foldwise_shared::ids::{Attempt, AttemptKey, LeaseId, StudyId, TrialNumber};
use foldwise_shared::spec::StudySpec;

use super::super::Scheduler;
use super::super::enqueue::GONE;
use super::super::refusal::{Refusal, RefusalKind};
use super::super::study::{Fold, Study};
use super::{incarnation_of, lease_of};

/// How long a lease may last without a word: from a second to a month.
pub(super) const LEASE_MS: std::ops::RangeInclusive<i64> = 1_000..=31 * 24 * 3_600_000;

/// The longest name of a program that asks for trials, in bytes.
const NAME_LENGTH: usize = 256;

impl Scheduler {
    /// The attempt that a report is of, if it can be recorded.
    pub(super) fn reportable(
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

    /// Whether what is told of a trial can be.
    pub(super) fn check_told(&self, id: StudyId, number: TrialNumber, told: &Told) -> Result<(), Refusal> {
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

    /// A study whose trials are asked for, unless it is over.
    pub(super) fn external(&self, id: StudyId) -> Result<&Study, Refusal> {
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
    pub(super) fn held(
        &self,
        id: StudyId,
        trial: TrialNumber,
        lease: Option<LeaseId>,
    ) -> Result<LeaseId, Refusal> {
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
}

/// What a program that asks calls itself: it stands in tables and lines.
pub(super) fn checked_name(name: String) -> Result<String, Refusal> {
    if name.len() > NAME_LENGTH || name.chars().any(char::is_control) {
        return RefusalKind::Invalid.because(format!(
            "this is no name of a program; use at most {NAME_LENGTH} bytes without control characters"
        ));
    }
    Ok(if name.is_empty() { DEFAULT_ASKER.into() } else { name })
}

pub(super) fn check_lease(lease_ms: i64) -> Result<(), Refusal> {
    if LEASE_MS.contains(&lease_ms) {
        return Ok(());
    }
    RefusalKind::Invalid.because(format!("a lease of {lease_ms} ms cannot be; use a second to 31 days"))
}

/// The values of all folds must be there and finite.
pub(super) fn check_values(spec: &StudySpec, values: &[f64]) -> Result<(), Refusal> {
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
