//! Trains an autoencoder on one fold.

use foldwise_shared::model::{LearningRate, Schedule, TrialSettings, settings_of};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::split::Scheme;
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::{ParamValue, Params};
use sha2::{Digest, Sha256};

use super::fitting::Fitting;
use super::follower::{Follower, diverged, start_of};
use super::{FoldObjective, Prepared, failed};
use crate::agent::{Control, FoldWork, Outcome, Progress};
use crate::train::{Ending, FitTask, RangeTest, TrainError, fit, range_test};

impl FoldObjective {
    pub(super) fn train(
        &self,
        prepared: Prepared,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, Outcome> {
        let Prepared { spec, opened, mut settings, train, validation } = prepared;
        let fitting =
            |fit| Fitting::new(fit, &opened.dataset, &validation, &settings.model, &spec.study.name);
        // Before the range test, which would be for nothing if there is no such image to watch.
        let mut fitting = spec.fit.map(fitting).transpose().map_err(|error| failed(&error))?;
        let images = self.images(&opened)?;
        if settings.learning_rate == LearningRate::Find {
            let test =
                |interrupt: &dyn Fn() -> bool| range_test(&images, &train, &settings, work.seed, interrupt);
            match find_rate(test, work, control, progress)? {
                Some(rate) => settings.learning_rate = LearningRate::Fixed(rate),
                None => return Ok(Outcome::Finished { stopped: true }),
            }
        }
        let identity = identity(work, &settings);
        let start = start_of(work, start, &identity)?;
        if let Some(fitting) = &mut fitting {
            // What the range test has found is a param too.
            let found = settings.learning_rate.fixed().filter(|_| spec.finds_learning_rate());
            fitting.params = params(&spec, work, found);
        }
        let task = FitTask {
            images: &images,
            train: &train,
            validation: &validation,
            settings: &settings,
            seed: work.seed,
            checkpoints: &spec.checkpoint,
            last_is_best: spec.scheme() == Scheme::Whole,
            start,
        };
        let mut follower = Follower::new(progress, &identity);
        follower.fitting = fitting;
        let ending = fit(task, &|| control.interrupted(), &mut follower);
        let Follower { last, trouble, .. } = follower;
        let ending = trouble.map_or(ending, Err).map_err(|error| failed(&error))?;
        Ok(match ending {
            Ending::Completed | Ending::EarlyStopped => Outcome::Finished { stopped: false },
            Ending::Stopped => Outcome::Finished { stopped: true },
            Ending::Diverged => {
                Outcome::Failed { class: FailureClass::Diverged, message: diverged(last.as_ref()) }
            }
        })
    }
}

/// The settings of a training that its study fixes or its trial has, and the learning rate that was found.
fn params(spec: &StudySpec, work: &FoldWork, found: Option<f64>) -> Params {
    let fixed = settings_of(spec).iter().map(|setting| setting.name);
    let mut params: Params =
        fixed.filter_map(|name| Some((name.to_owned(), spec.fixed_setting(name)?))).collect();
    params.extend(work.params.clone());
    params.extend(found.map(|rate| ("learning_rate".to_owned(), ParamValue::Float(rate))));
    params
}

/// Finds the learning rate of a trial, on its first fold, and tells it; none if it was told to stop.
pub(super) fn find_rate(
    test: impl FnOnce(&dyn Fn() -> bool) -> Result<Option<RangeTest>, TrainError>,
    work: &FoldWork,
    control: &Control,
    progress: &mut dyn Progress,
) -> Result<Option<f64>, Outcome> {
    if work.key.fold.0 != 0 {
        let fold = work.key.fold.0;
        let message = format!(
            "fold {fold} has no learning rate: the range test of fold 0 finds it for all folds of a trial, and it is not among \
             the params"
        );
        return Err(Outcome::Failed { class: FailureClass::Error, message });
    }
    progress.phase("range test");
    let found = test(&|| control.interrupted()).map_err(|error| failed(&error))?;
    let Some(found) = found else { return Ok(None) };
    let file = serde_json::to_vec(&found).map_err(|error| {
        let message = format!("failed to write the range test: {error}");
        Outcome::Failed { class: FailureClass::Error, message }
    })?;
    progress.derived("learning_rate", ParamValue::Float(found.chosen));
    progress.artifact("range-test", None, file);
    Ok(Some(found.chosen))
}

/// What decides the curve of a fold, as a digest: a checkpoint is for a training of the same only. How many epochs there may
/// be at most changes nothing of those before.
pub(super) fn identity(work: &FoldWork, settings: &TrialSettings) -> String {
    let TrialSettings {
        model,
        corruption,
        optimizer,
        learning_rate,
        momentum,
        weight_decay,
        batch_size,
        schedule,
        epochs,
        early_stopping,
    } = settings;
    // Where the learning rate follows a plan, how many epochs there are changes all of them.
    let planned = (*schedule != Schedule::Constant).then_some(epochs);
    let text = serde_json::json!([
        work.study.data_digest,
        work.study.splits_digest,
        work.key.fold,
        work.seed,
        model,
        corruption,
        optimizer,
        learning_rate,
        momentum,
        weight_decay,
        batch_size,
        schedule,
        planned,
        early_stopping,
    ]);
    Sha256::digest(text.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}
