//! What a person does with a study that lives, or did: extend it, delete it, try a trial again, stop one.

use std::sync::Arc;

use foldwise_shared::ids::{AttemptKey, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::spec::{Extension, SamplerKind, StudySpec};
use foldwise_shared::state::{AttemptState, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::Scheduler;
use super::command::{Answer, Command, ToWorker, Write};
use super::derived::without_derived;
use super::enqueue::GONE;
use super::refusal::{Refusal, RefusalKind};
use super::snapshot::StudySnapshot;
use super::study::Study;
use crate::sampler::grid_len;

/// A trial as the record has it, which is more than the scheduler remembers of one that is finished.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedTrial {
    /// Where it is in its life.
    pub state: TrialState,
    /// Its params.
    pub params: Params,
}

impl Scheduler {
    /// A larger budget. A study that has ended goes on with it, from what the record has of it.
    pub(super) fn extend(
        &mut self,
        id: StudyId,
        more: &Extension,
        ended: Option<StudySnapshot>,
    ) -> Result<Answer, Refusal> {
        let revived = !self.studies.contains_key(&id);
        if let (true, Some(snapshot)) = (revived, ended) {
            self.revive(snapshot);
        }
        let spec = match self.unended(id).and_then(|study| larger(study, more, revived)) {
            Ok(spec) => spec,
            Err(refusal) => {
                if revived {
                    self.studies.remove(&id);
                }
                return Err(refusal);
            }
        };
        let Some(study) = self.studies.get_mut(&id) else { return RefusalKind::WrongState.because(GONE) };
        let before = study.spec.budget.clone();
        study.wall_time_ms = spec.wall_time_ms();
        study.spec = Arc::new(spec.clone());
        self.write(Write::StudyExtended { study: id, spec: Box::new(spec), before, at: self.now });
        if revived {
            self.set_study_state(id, StudyState::Running, None);
        }
        Ok(Answer::Done)
    }

    /// Knows a study again that had ended; whether it may go on is to be seen.
    fn revive(&mut self, snapshot: StudySnapshot) {
        // A study that has ended has no open attempt.
        self.restore_study(StudySnapshot { state: StudyState::Running, ..snapshot }, &mut Vec::new());
    }

    /// Forgets a study and has its rows removed. With `force` also one that is not over: what runs is stopped, and what its
    /// workers still say of it is answered with Revoked.
    pub(super) fn delete_study(
        &mut self,
        id: StudyId,
        force: bool,
        artifacts: Vec<String>,
    ) -> Result<Answer, Refusal> {
        if let Some(study) = self.studies.get(&id) {
            let open = study.open_attempts();
            if !force {
                may_be_deleted(study, open.len())?;
            }
            for key in open {
                self.send_to_holder(key, ToWorker::Revoked { key });
                let message = Some("its study was deleted".to_owned());
                self.end_attempt(key, AttemptState::Stopped, None, message, None);
            }
            self.studies.remove(&id);
        }
        for worker in self.workers.values_mut() {
            worker.unfit.remove(&id);
        }
        self.write(Write::StudyDeleted { study: id, at: self.now });
        self.sends.extend(artifacts.into_iter().map(|digest| Command::Discard { digest }));
        Ok(Answer::Done)
    }

    /// A new trial with the params of one that came to nothing.
    pub(super) fn retry_trial(
        &mut self,
        id: StudyId,
        number: TrialNumber,
        found: Option<RecordedTrial>,
    ) -> Result<Answer, Refusal> {
        let study = self.unended(id)?;
        let name = &study.spec.study.name;
        let Some(found) = found else { return no_trial(study, number) };
        match found.state {
            TrialState::Failed | TrialState::Cancelled | TrialState::Pruned => {}
            TrialState::Complete => {
                return RefusalKind::WrongState.because(format!(
                    "trial {number} of study `{name}` is complete; to try its params once more all the same, enqueue them"
                ));
            }
            state => {
                return RefusalKind::WrongState.because(format!(
                    "trial {number} of study `{name}` is {state}; it can be tried again once it is over"
                ));
            }
        }
        let study = self.open_to_trials(id)?;
        let suggestion = study.checked(without_derived(&study.spec, found.params))?;
        let Some(trial) = self.add_child(id, suggestion, Some(number)) else {
            return RefusalKind::WrongState.because(GONE);
        };
        Ok(Answer::Trial(self.trial_now(id, trial)))
    }

    /// Cancels a trial that is not finished.
    pub(super) fn stop_trial(&mut self, id: StudyId, number: TrialNumber) -> Result<Answer, Refusal> {
        let study = self.unended(id)?;
        let name = &study.spec.study.name;
        if number >= study.next_number {
            return no_trial(study, number);
        }
        match study.active.get(&number) {
            None => RefusalKind::WrongState.because(format!(
                "trial {number} of study `{name}` is finished; a finished trial never changes"
            )),
            Some(trial) if trial.ending.is_some() => RefusalKind::WrongState
                .because(format!("trial {number} of study `{name}` is being stopped already")),
            Some(_) => {
                self.end_trial(id, number, TrialState::Cancelled, "stopped by a person".into());
                Ok(Answer::Trial(self.trial_now(id, number)))
            }
        }
    }
}

/// The spec of a study with a larger budget, if the study can use it.
fn larger(study: &Study, more: &Extension, revived: bool) -> Result<StudySpec, Refusal> {
    let name = &study.spec.study.name;
    let spec = match more.of(&study.spec) {
        Ok(spec) => spec,
        Err(message) => return RefusalKind::Invalid.because(format!("study `{name}`: {message}")),
    };
    if let Some(trials) =
        spec.budget.trials.filter(|_| spec.sampler.kind == SamplerKind::Grid && more.trials.is_some())
        && u64::from(trials) > grid_len(&spec)
    {
        let (all, there) = (grid_len(&spec), study.spec.budget.trials.unwrap_or_default());
        return RefusalKind::Invalid.because(format!(
            "study `{name}` goes through a grid of {all} combinations and may try {there} of them: at most {} more",
            all.saturating_sub(u64::from(there))
        ));
    }
    if !revived {
        return Ok(spec);
    }
    let wanted = study.spent + u64::from(spec.lease_epochs());
    let used_up = if spec.budget.trials.is_some_and(|trials| study.next_number.0 >= trials) {
        "budget.trials is used up; add --trials"
    } else if spec.budget.total_epochs.is_some_and(|total| wanted > total) {
        "what is left of budget.total_epochs is too little for one fold; add --epochs, or more of them"
    } else if spec.wall_time_ms().is_some_and(|time| study.running_ms >= time) {
        "budget.wall_time is used up; add --wall-time, or more of it"
    } else if !crate::sampler::has_more(&spec, study.next_number) {
        "its grid is done, and there is no other combination"
    } else {
        return Ok(spec);
    };
    RefusalKind::WrongState
        .because(format!("study `{name}` has ended and could not go on with that: {used_up}"))
}

fn may_be_deleted(study: &Study, open: usize) -> Result<(), Refusal> {
    let (name, state) = (&study.spec.study.name, study.state);
    if state != StudyState::Paused {
        return RefusalKind::WrongState.because(format!(
            "study `{name}` is {state}; stop it first (`foldwise study stop {name}`), or delete it with --force"
        ));
    }
    if open > 0 {
        let folds = if open == 1 { "a fold is".to_owned() } else { format!("{open} folds are") };
        return RefusalKind::WrongState.because(format!(
            "study `{name}` is paused, but {folds} still in training; wait for that, or delete it with --force"
        ));
    }
    Ok(())
}

fn no_trial<T>(study: &Study, number: TrialNumber) -> Result<T, Refusal> {
    let name = &study.spec.study.name;
    let there = match study.next_number.0 {
        0 => "it has none yet".into(),
        1 => "it has trial 0 alone".into(),
        count => format!("its trials are 0 to {}", count - 1),
    };
    RefusalKind::NotFound.because(format!("study `{name}` has no trial {number}: {there}"))
}

impl Study {
    /// Every attempt that is not over.
    fn open_attempts(&self) -> Vec<AttemptKey> {
        let folds = self.active.iter().flat_map(|(number, trial)| {
            (0..).map(FoldIndex).zip(&trial.folds).map(move |(fold, found)| (*number, fold, found))
        });
        folds
            .filter_map(|(trial, fold, found)| {
                let attempt = found.open.as_ref()?.attempt;
                Some(AttemptKey { study: self.id, trial, fold, attempt })
            })
            .collect()
    }
}
