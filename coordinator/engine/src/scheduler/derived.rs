//! Params that the training finds by itself: a learning rate, by a range test on the first fold of a trial. Until the trial has
//! it, the other folds wait.

use foldwise_shared::ids::{AttemptKey, FoldIndex, SessionId};
use foldwise_shared::model::TrialSettings;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::{ParamValue, Params};

use super::Scheduler;
use super::command::{ToWorker, Write};
use super::study::Trial;

/// The param that the trials of a study find, if they find one.
pub(super) fn derived_param(spec: &StudySpec) -> Option<&'static str> {
    spec.finds_learning_rate().then_some("learning_rate")
}

impl Trial {
    /// Whether the first fold is still to find a param that the others need.
    pub fn is_finding(&self, spec: &StudySpec) -> bool {
        derived_param(spec).is_some_and(|name| !self.params.contains_key(name))
    }
}

/// What of a trial's params came with it: a trial that tries it once more finds the others afresh.
pub(super) fn without_derived(spec: &StudySpec, mut params: Params) -> Params {
    if let Some(name) = derived_param(spec) {
        params.remove(name);
    }
    params
}

impl Scheduler {
    /// An attempt found a param. The first value that comes stays, whoever says something else later.
    pub(super) fn derived(&mut self, session: SessionId, key: AttemptKey, name: String, value: ParamValue) {
        if self.stops_stuck(session, key) || !self.is_open(session, key) {
            return;
        }
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let spec = study.spec.clone();
        let Some(trial) = study.active.get_mut(&key.trial) else { return };
        let stays = derived_param(&spec) == Some(name.as_str()) && trial.params.contains_key(&name);
        if !stays {
            if let Err(message) = check(&spec, &trial.params, key.fold, &name, &value) {
                self.send(session, ToWorker::Revoked { key });
                self.give_back(key, FailureClass::Invalid, &message);
                return;
            }
            trial.params.insert(name.clone(), value.clone());
            self.write(Write::Derived { key, name: name.clone(), value, at: self.now });
        }
        self.progressed(key);
        self.send(session, ToWorker::ParamRecorded { key, name });
    }

    /// Takes the first fold of a trial back that ended without the param it was to find.
    pub(super) fn found_nothing(&mut self, key: AttemptKey) -> bool {
        let Some(study) = self.studies.get(&key.study) else { return false };
        let Some(trial) = study.active.get(&key.trial) else { return false };
        let Some(name) = derived_param(&study.spec).filter(|_| trial.is_finding(&study.spec)) else {
            return false;
        };
        let message = format!("it finished without the {name} that it was to find");
        self.give_back(key, FailureClass::Invalid, &message);
        true
    }
}

/// Whether a param can be what an attempt found.
fn check(
    spec: &StudySpec,
    params: &Params,
    fold: FoldIndex,
    name: &str,
    value: &ParamValue,
) -> Result<(), String> {
    let shown: String = name.chars().take(40).collect();
    if derived_param(spec) != Some(name) {
        return Err(format!("it found the param {shown:?}, which no trial of this study is to find"));
    }
    if fold != FoldIndex(0) {
        return Err(format!("it found {name} on fold {fold}; that is the first fold's to do"));
    }
    if value.as_f64().is_none() {
        return Err(format!("it found {name} = {value}, {}; it must be a number", value.kind()));
    }
    let mut params = params.clone();
    params.insert(name.to_owned(), value.clone());
    TrialSettings::resolve(spec, &params).map(drop)
}
