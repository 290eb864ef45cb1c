//! Looking back at a study: why a trial was pruned, and what other pruners would have done.

use foldwise_engine::replay::{Subject, explain as explain_trial, replay as replay_pruner};
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::{Explanation, ReplayRecord, StudyRecord};
use foldwise_shared::spec::{SpecError, StudySpec, pruners_with, with_pruner};
use foldwise_shared::state::TrialState;

use crate::store::{Reader, StoreError, TrialQuery};

/// Beside the study's own pruner, where none is asked for.
const USUAL: [&str; 7] = [
    "median",
    "percentile,percentile=25",
    "paired",
    "sequential",
    "successive-halving",
    "hyperband",
    "patience,patience=5",
];

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum HindsightError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A pruner that could not work in the study.
    #[error("`{given}`: {error}")]
    Pruner {
        /// What was asked for.
        given: String,
        /// What is wrong with it.
        error: SpecError,
    },
    /// A study of which the spec cannot be read.
    #[error("{0}")]
    Spec(SpecError),
}

/// Why a trial was pruned, or how near it came to that; none if there is no such trial.
///
/// # Errors
/// The database cannot be read.
pub fn explain(
    reader: &Reader,
    study: &StudyRecord,
    number: TrialNumber,
) -> Result<Option<Explanation>, HindsightError> {
    let spec = spec(study)?;
    let Some(trial) = reader.trial(study.id, number)? else { return Ok(None) };
    let stored = reader.decisions(study.id, Some(number))?.into_iter().next();
    let recording = reader.recording(study.id)?;
    let subject = Subject { trial: number, state: trial.state, value: trial.value, stored };
    Ok(Some(explain_trial(&spec, &recording, subject)))
}

/// What pruners would have made of the trials of a study: its own first, then those asked for. These are `pruners` (see
/// [`with_pruner`]); without any its own with the `overrides`, or without those either the usual ones.
///
/// # Errors
/// A pruner that could not work, or the database cannot be read.
pub fn replay(
    reader: &Reader,
    study: &StudyRecord,
    pruners: &[String],
    overrides: &[String],
) -> Result<Vec<ReplayRecord>, HindsightError> {
    let spec = spec(study)?;
    let all = asked_for(&spec, pruners, overrides)?;
    let recording = reader.recording(study.id)?;
    let complete = TrialQuery { states: vec![TrialState::Complete], ..TrialQuery::default() };
    let trials = reader.trials(study.id, &complete)?;
    let values: Vec<(TrialNumber, f64)> =
        trials.iter().filter_map(|trial| Some((trial.number, trial.value?))).collect();
    Ok(all.iter().map(|(name, spec)| replay_pruner(spec, name, &recording, &values)).collect())
}

/// The names of pruners, and the study with each.
fn asked_for(
    spec: &StudySpec,
    pruners: &[String],
    overrides: &[String],
) -> Result<Vec<(String, StudySpec)>, HindsightError> {
    let mut all = vec![(format!("{} (its own)", spec.pruner.kind), spec.clone())];
    if pruners.is_empty() && overrides.is_empty() {
        // Those that do not fit are left out: one fold has nothing for `sequential`.
        let usual = |name: &&str| Some(((*name).to_owned(), with_pruner(spec, name, &[]).ok()?));
        all.extend(USUAL.iter().filter_map(usual).filter(|(_, other)| other.pruner != spec.pruner));
        return Ok(all);
    }
    let wrong = |given: &str, error| HindsightError::Pruner { given: given.to_owned(), error };
    if pruners.is_empty() {
        let section: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&spec.pruner_json()).unwrap_or_default();
        let settings: Vec<String> = section.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let name = format!("{},{}", spec.pruner.kind, overrides.join(","));
        let other = with_pruner(spec, &settings.join(","), overrides);
        all.push((name.clone(), other.map_err(|error| wrong(&name, error))?));
    }
    for given in pruners {
        let other = with_pruner(spec, given, overrides).map_err(|error| wrong(given, error))?;
        all.push((given.clone(), other));
    }
    for set in overrides {
        let key = set.split('=').next().unwrap_or_default().trim();
        let kinds = pruners_with(key);
        if !all.iter().skip(1).any(|(_, spec)| kinds.contains(&spec.pruner.kind)) {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            let message = match kinds.as_slice() {
                [] => "it is no setting of a pruner; name the kind by --pruner".to_owned(),
                kinds => {
                    format!("none of the pruners asked for has this key; these have it: {}", kinds.join(", "))
                }
            };
            return Err(wrong(set, SpecError::new(format!("pruner.{key}"), message)));
        }
    }
    Ok(all)
}

fn spec(study: &StudyRecord) -> Result<StudySpec, HindsightError> {
    StudySpec::from_json(&study.spec).map_err(HindsightError::Spec)
}
