//! Trials that people bring: params to be tried next.

use foldwise_shared::external::TrialNow;
use foldwise_shared::ids::StudyId;
use foldwise_shared::spec::SamplerKind;
use foldwise_shared::state::{Origin, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::Scheduler;
use super::command::Answer;
use super::refusal::{Refusal, RefusalKind};
use super::study::Study;
use crate::sampler::{Suggestion, completed};

impl Scheduler {
    /// A trial with these params, which goes before those the sampler will suggest.
    pub(super) fn enqueue(&mut self, id: StudyId, given: &Params) -> Result<Answer, Refusal> {
        let study = self.open_to_trials(id)?;
        if given.is_empty() {
            return RefusalKind::Invalid.because("no param is given; give at least one");
        }
        let params = completed(&study.spec, given, study.next_number);
        let mut suggestion = study.checked(params)?;
        for (name, origin) in &mut suggestion.origins {
            if *origin == Origin::Enqueued && !given.contains_key(name) {
                *origin = Origin::Sampled;
            }
        }
        let Some(trial) = self.add_trial(id, suggestion) else {
            return RefusalKind::WrongState.because(GONE);
        };
        Ok(Answer::Trial(TrialNow { trial, state: TrialState::Waiting, value: None, reason: None }))
    }

    /// A study that can get one more trial, whoever brings it.
    pub(super) fn open_to_trials(&self, id: StudyId) -> Result<&Study, Refusal> {
        let study = self.unended(id)?;
        let name = &study.spec.study.name;
        if study.trials_are_used_up() {
            return RefusalKind::UsedUp.because(format!(
                "study `{name}` has all of its {} trials; `foldwise study extend {name} --trials N` allows more",
                study.next_number
            ));
        }
        if study.spec.sampler.kind == SamplerKind::Grid {
            return RefusalKind::WrongState
                .because(format!("study `{name}` goes through a grid, which has all of its trials already"));
        }
        Ok(study)
    }

    /// A study that is neither over nor about to be.
    pub(super) fn unended(&self, id: StudyId) -> Result<&Study, Refusal> {
        match self.studies.get(&id) {
            Some(study) if study.state == StudyState::Stopping => {
                RefusalKind::WrongState.because(format!("study `{}` is being stopped", study.spec.study.name))
            }
            Some(study) => Ok(study),
            None => RefusalKind::WrongState.because(GONE),
        }
    }
}

pub(super) const GONE: &str = "the study has ended; `foldwise study extend STUDY --trials N` lets it go on";

impl Study {
    /// Params that a person brings, if they are in the space.
    pub(super) fn checked(&self, params: Params) -> Result<Suggestion, Refusal> {
        let params = self.spec.space.typed(params);
        match self.spec.space.check(&params) {
            Ok(()) => Ok(Suggestion::new(&self.spec.space, params, Origin::Enqueued)),
            Err(message) => RefusalKind::Invalid.because(message),
        }
    }
}
