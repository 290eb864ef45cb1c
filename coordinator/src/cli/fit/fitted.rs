//! A fit that is finished: its value and its model.

use foldwise_shared::artifact::{Artifact, ArtifactRecord, MODEL};
use foldwise_shared::ids::{Epoch, TrialNumber};
use foldwise_shared::record::{StudyRecord, TrialRecord};
use foldwise_shared::spec::{Objective, StudySpec};
use foldwise_shared::state::{StudyState, TrialState};

use crate::cli::args::TrialOrder;
use crate::cli::error::CliError;
use crate::cli::source::Source;
use crate::store::TrialSort;

/// A fit that has a model.
pub(in crate::cli) struct Fitted {
    /// The study.
    pub study: StudyRecord,
    /// Its spec.
    pub spec: StudySpec,
    /// Its trial.
    pub trial: TrialNumber,
    /// What the worker found by itself, such as a learning rate, is among its params.
    pub record: TrialRecord,
    /// Its best validation loss.
    pub value: f64,
    /// The epoch of that.
    pub epoch: Epoch,
    /// The file of the model.
    pub model: Artifact,
}

impl Fitted {
    /// The model of a study that has ended.
    ///
    /// # Errors
    /// Its trial is not complete, or left no model.
    pub fn of(source: &Source, study: StudyRecord, place: &str) -> Result<Self, CliError> {
        let record = outcome(source, &study, "fit", place)?;
        let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
        let model = source
            .artifacts(&study)?
            .into_iter()
            .rfind(|artifact| artifact.kind == MODEL && artifact.trial == record.number);
        let Some(ArtifactRecord { digest, bytes, .. }) = model else {
            return Err(CliError::Happened {
                message: format!("the fit `{}` left no model", study.name),
                help: Some(
                    "were its workers of an earlier version? compare `foldwise-worker --version`".into(),
                ),
            });
        };
        let value = record.value.unwrap_or(f64::NAN);
        let epoch = record.folds.first().and_then(|fold| fold.best_epoch).unwrap_or_default();
        Ok(Self {
            trial: record.number,
            spec,
            study,
            record,
            value,
            epoch,
            model: Artifact { digest, bytes },
        })
    }
}

/// The one trial of a study that has ended.
///
/// # Errors
/// It is not complete; the message has the reason.
pub(in crate::cli) fn outcome(
    source: &Source,
    study: &StudyRecord,
    what: &str,
    place: &str,
) -> Result<TrialRecord, CliError> {
    let order = TrialOrder { key: TrialSort::Number, descending: false };
    let mut trials = source.trials(study, &[], order, None)?;
    if let Some(at) = trials.iter().position(|trial| trial.state == TrialState::Complete) {
        return Ok(trials.swap_remove(at));
    }
    let name = &study.name;
    let why = trials.pop().map(|trial| {
        let reason = trial.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("its trial is {}{reason}", trial.state)
    });
    let why = why.unwrap_or_else(|| "it has ended without a trial".into());
    Err(CliError::Happened {
        message: format!("the {what} `{name}` came to nothing: {why}"),
        help: Some(format!(
            "see more: foldwise trial show {name} 0{place}; once that is mended: foldwise study delete {name}{place}, and the \
             same command again"
        )),
    })
}

/// The fit that is meant by a name: the study itself, or the newest finished fit of it.
///
/// # Errors
/// There is none, or none that is finished.
pub(in crate::cli) fn find_fit(source: &Source, name: &str, place: &str) -> Result<Fitted, CliError> {
    let study = source.study(name)?;
    let spec_of = |study: &StudyRecord| StudySpec::from_json(&study.spec).ok();
    let is_fit = |study: &StudyRecord| spec_of(study).is_some_and(|spec| spec.fit.is_some());
    let is_training =
        |study: &StudyRecord| spec_of(study).is_some_and(|spec| spec.study.objective == Objective::Training);
    if is_fit(&study) {
        if study.state != StudyState::Ended {
            return Err(not_finished(&study, place));
        }
        return Fitted::of(source, study, place);
    }
    let studies = source.studies()?;
    let children = studies.iter().rev();
    let fits: Vec<&StudyRecord> =
        children.filter(|child| child.parent.as_deref() == Some(name) && is_fit(child)).collect();
    match (fits.iter().find(|fit| fit.best.is_some()), fits.first()) {
        (Some(fit), _) => Fitted::of(source, StudyRecord::clone(fit), place),
        (None, Some(fit)) => Err(not_finished(fit, place)),
        (None, None) => Err(CliError::Usage {
            message: format!("study `{name}` has no fit, so there is no model to measure"),
            help: is_training(&study).then(|| format!("make one: foldwise fit {name}{place}")),
        }),
    }
}

fn not_finished(fit: &StudyRecord, place: &str) -> CliError {
    CliError::Usage {
        message: format!("the fit `{}` is not finished, so there is no model yet", fit.name),
        help: Some(format!("go on with it: foldwise resume {}{place}", fit.name)),
    }
}
