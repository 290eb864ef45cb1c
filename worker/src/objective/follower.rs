//! What a training of any kind starts from, and how what comes of it is passed on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use foldwise_shared::ids::Epoch;
use foldwise_shared::state::FailureClass;

use super::fitting::Fitting;
use crate::agent::{Draft, EpochReport, FoldWork, Outcome, Progress};
use crate::model::ParameterSpec;
use crate::train::{Best, Checkpoint, EpochResult, Flow, Listener, LossParts, Start, TrainError, Trainer};

/// What an attempt goes on from: the checkpoint that its work names, whose content `file` is.
pub(super) fn start_of<'a>(
    work: &FoldWork,
    file: Option<Vec<u8>>,
    identity: &'a str,
) -> Result<Option<Start<'a>>, Outcome> {
    match (&work.start, file) {
        (None, _) => Ok(None),
        (Some(point), Some(file)) => Ok(Some(Start { file, epoch: point.epoch.0, identity })),
        (Some(_), None) => {
            let message = "the checkpoint to go on from is missing".to_owned();
            Err(Outcome::Failed { class: FailureClass::Error, message })
        }
    }
}

/// Passes on what comes of a training.
pub(super) struct Follower<'a> {
    progress: &'a mut dyn Progress,
    identity: &'a str,
    /// Whether checkpoints are wanted.
    pub keeps: bool,
    /// If the model is to be kept.
    pub fitting: Option<Fitting>,
    /// The last epoch.
    pub last: Option<EpochResult>,
    /// What the training came to, once it is at its end.
    pub best: Option<Best>,
    /// Why the model could not be kept.
    pub trouble: Option<TrainError>,
}

impl<'a> Follower<'a> {
    /// One that has heard of nothing, wants every checkpoint and keeps no model.
    pub fn new(progress: &'a mut dyn Progress, identity: &'a str) -> Self {
        Self { progress, identity, keeps: true, fitting: None, last: None, best: None, trouble: None }
    }
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
        if let Some(fitting) = &self.fitting {
            self.trouble = fitting.model(&best, specs, self.progress).err();
        }
        self.best = Some(best);
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, specs: &[ParameterSpec], last: bool) {
        if !self.keeps {
            return;
        }
        let (identity, specs) = (self.identity.to_owned(), specs.to_vec());
        let epoch = Epoch(checkpoint.epoch);
        let write = move || checkpoint.to_bytes(&identity, &specs).map_err(|error| error.to_string());
        self.progress.checkpoint(Draft { epoch, last, write: Box::new(write) });
    }
}

fn report(result: &EpochResult) -> EpochReport {
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
