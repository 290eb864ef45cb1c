//! Trains an autoencoder on one fold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use foldwise_shared::ids::Epoch;
use foldwise_shared::model::{Schedule, TrialSettings};
use foldwise_shared::split::Scheme;
use foldwise_shared::state::FailureClass;
use sha2::{Digest, Sha256};

use super::{FoldObjective, Prepared, failed};
use crate::agent::{Control, Draft, EpochReport, FoldWork, Outcome, Progress};
use crate::model::ParameterSpec;
use crate::train::{Checkpoint, Ending, EpochResult, FitTask, Flow, Listener, LossParts, Start, fit};

impl FoldObjective {
    pub(super) fn train(
        &self,
        prepared: Prepared,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, Outcome> {
        let Prepared { spec, opened, settings, train, validation } = prepared;
        let identity = identity(work, &settings);
        let start = match (&work.start, start) {
            (None, _) => None,
            (Some(point), Some(file)) => Some(Start { file, epoch: point.epoch.0, identity: &identity }),
            (Some(_), None) => {
                let message = "the checkpoint to go on from is missing".to_owned();
                return Err(Outcome::Failed { class: FailureClass::Error, message });
            }
        };
        let images = self.images(&opened)?;
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
        let mut follower = Follower { progress, identity: &identity, last: None };
        let ending = fit(task, &|| control.interrupted(), &mut follower);
        let last = follower.last;
        Ok(match ending.map_err(|error| failed(&error))? {
            Ending::Completed | Ending::EarlyStopped => Outcome::Finished { stopped: false },
            Ending::Stopped => Outcome::Finished { stopped: true },
            Ending::Diverged => {
                Outcome::Failed { class: FailureClass::Diverged, message: diverged(last.as_ref()) }
            }
        })
    }
}

/// Passes on what comes of a training.
struct Follower<'a> {
    progress: &'a mut dyn Progress,
    identity: &'a str,
    last: Option<EpochResult>,
}

impl Listener for Follower<'_> {
    fn epoch(&mut self, result: &EpochResult) -> Flow {
        self.last = Some(*result);
        match self.progress.epoch(report(result)) {
            ControlFlow::Continue(()) => Flow::Continue,
            ControlFlow::Break(()) => Flow::Stop,
        }
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
