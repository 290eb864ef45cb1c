//! Trains an autoencoder on one fold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use foldwise_shared::ids::Epoch;
use foldwise_shared::model::{LearningRate, Schedule, TrialSettings};
use foldwise_shared::split::Scheme;
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::ParamValue;
use sha2::{Digest, Sha256};

use super::fitting::Fitting;
use super::{FoldObjective, Prepared, failed};
use crate::agent::{Control, Draft, EpochReport, FoldWork, Outcome, Progress};
use crate::model::ParameterSpec;
use crate::train::{
    Best, Checkpoint, Ending, EpochResult, FitTask, Flow, Listener, LossParts, RangeTest, Start, TrainError,
    Trainer, fit, range_test,
};

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
        let start = match (&work.start, start) {
            (None, _) => None,
            (Some(point), Some(file)) => Some(Start { file, epoch: point.epoch.0, identity: &identity }),
            (Some(_), None) => {
                let message = "the checkpoint to go on from is missing".to_owned();
                return Err(Outcome::Failed { class: FailureClass::Error, message });
            }
        };
        let fitting = |fit| {
            // What the range test has found is a param too.
            let mut params = work.params.clone();
            if let (LearningRate::Fixed(rate), true) = (settings.learning_rate, spec.finds_learning_rate()) {
                params.insert("learning_rate".to_owned(), ParamValue::Float(rate));
            }
            Fitting::new(fit, &opened.dataset, &validation, &settings.model, &params, &spec.study.name)
        };
        let fitting = spec.fit.map(fitting).transpose().map_err(|error| failed(&error))?;
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
        let mut follower = Follower { progress, identity: &identity, fitting, last: None, trouble: None };
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

/// Passes on what comes of a training.
struct Follower<'a> {
    progress: &'a mut dyn Progress,
    identity: &'a str,
    /// If the model is to be kept.
    fitting: Option<Fitting>,
    last: Option<EpochResult>,
    /// Why the model could not be kept.
    trouble: Option<TrainError>,
}

impl Listener for Follower<'_> {
    fn epoch(&mut self, result: &EpochResult) -> Flow {
        self.last = Some(*result);
        match self.progress.epoch(report(result)) {
            ControlFlow::Continue(()) => Flow::Continue,
            ControlFlow::Break(()) => Flow::Stop,
        }
    }

    fn trained(&mut self, epoch: u32, trainer: &Trainer<'_>) -> Result<(), TrainError> {
        let Some(fitting) = &self.fitting else { return Ok(()) };
        fitting.picture(Epoch(epoch), trainer, self.progress)
    }

    fn finished(&mut self, best: Best, specs: &[ParameterSpec]) {
        let Some(fitting) = &self.fitting else { return };
        self.trouble = fitting.model(&best, specs, self.progress).err();
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, specs: &[ParameterSpec], last: bool) {
        let (identity, specs) = (self.identity.to_owned(), specs.to_vec());
        let epoch = Epoch(checkpoint.epoch);
        let write = move || checkpoint.to_bytes(&identity, &specs).map_err(|error| error.to_string());
        self.progress.checkpoint(Draft { epoch, last, write: Box::new(write) });
    }
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

pub(super) fn report(result: &EpochResult) -> EpochReport {
    EpochReport {
        epoch: Epoch(result.epoch),
        train_loss: result.train_loss,
        validation_loss: result.validation_loss,
        learning_rate: result.learning_rate,
        seconds: result.seconds,
        metrics: metrics(result),
    }
}

/// What else was measured: what the loss of a variational network is made of, or what a classifier found.
fn metrics(result: &EpochResult) -> BTreeMap<String, f64> {
    let parts = result.parts.map(|LossParts { mse, kl }| [("mse".to_owned(), mse), ("kl".to_owned(), kl)]);
    let accuracy = result.accuracy.map(|accuracy| ("accuracy".to_owned(), accuracy));
    parts.into_iter().flatten().chain(accuracy).collect()
}

pub(super) fn diverged(last: Option<&EpochResult>) -> String {
    last.map_or_else(String::new, |last| {
        format!(
            "epoch {}: the training loss is {} and the validation loss {}",
            last.epoch, last.train_loss, last.validation_loss
        )
    })
}
