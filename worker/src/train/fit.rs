//! The loop over the epochs of one fold: train, validate, report, and end for one of four reasons.

use std::time::Instant;

use foldwise_shared::model::TrialSettings;
use foldwise_shared::spec::CheckpointSection;

use super::keeper::Keeper;
use super::{Best, Checkpoint, CheckpointError, EarlyStopper, LossParts, TrainError, Trainer, Validated};
use crate::images::DeviceImages;
use crate::model::ParameterSpec;

/// One fold of one trial.
#[derive(Debug, Clone)]
pub struct FitTask<'a> {
    /// All training images of the data set.
    pub images: &'a DeviceImages,
    /// The images to learn from.
    pub train: &'a [i64],
    /// The images to judge by.
    pub validation: &'a [i64],
    /// The network and how it is trained.
    pub settings: &'a TrialSettings,
    /// Decides the first weights, the order of the batches and the dropped units.
    pub seed: u64,
    /// After which epochs a checkpoint is made.
    pub checkpoints: &'a CheckpointSection,
    /// Whether the best weights are always the last: for a training without images to judge by.
    pub last_is_best: bool,
    /// What to go on from; none for a fresh start.
    pub start: Option<Start<'a>>,
}

/// What to go on from.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The file, which goes as soon as it is read.
    pub file: Vec<u8>,
    /// The epoch after which it was made.
    pub epoch: u32,
    /// What it must be a checkpoint of.
    pub identity: &'a str,
}

impl Start<'_> {
    fn read(&self, specs: &[ParameterSpec], settings: &TrialSettings) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::from_bytes(&self.file, self.identity, specs)?;
        if checkpoint.epoch != self.epoch || checkpoint.epoch > settings.epochs {
            let (there, epochs) = (checkpoint.epoch, settings.epochs);
            let message = format!("it is of epoch {there}, not of epoch {} of {epochs}", self.epoch);
            return Err(CheckpointError(message));
        }
        if checkpoint.stopper.is_some() != settings.early_stopping.is_some() {
            return Err(CheckpointError("it knows nothing of early stopping, or too much".into()));
        }
        Ok(checkpoint)
    }
}

/// Hears of a training. Called on the training thread, which waits for it.
pub trait Listener {
    /// An epoch is done, a diverged one too. The answer says whether to go on.
    fn epoch(&mut self, result: &EpochResult) -> Flow;

    /// A look at the network as it is after the epoch that was reported last, if its losses are finite.
    ///
    /// # Errors
    /// What libtorch says of what is done with the network; it ends the training.
    fn trained(&mut self, epoch: u32, trainer: &Trainer<'_>) -> Result<(), TrainError> {
        let _ = (epoch, trainer);
        Ok(())
    }

    /// The training has come to its end, by its last epoch or early stopping: its best weights, if checkpoints are made at all.
    fn finished(&mut self, best: Best, specs: &[ParameterSpec]) {
        let _ = (best, specs);
    }

    /// A checkpoint was made; `specs` say what its weights are. `last` says that no epoch will follow.
    fn checkpoint(&mut self, checkpoint: Checkpoint, specs: &[ParameterSpec], last: bool);
}

/// What one epoch came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochResult {
    /// From 1.
    pub epoch: u32,
    /// The mean of the training loss over the epoch's images, while the weights changed and units were dropped.
    pub train_loss: f64,
    /// The loss over all validation images, after the epoch: the mean squared error per pixel, or the whole loss of a
    /// variational network.
    pub validation_loss: f64,
    /// For a variational network, what the validation loss is made of.
    pub parts: Option<LossParts>,
    /// For a classifier, the share of validation images whose class it finds.
    pub accuracy: Option<f64>,
    /// The step size at the start of the epoch.
    pub learning_rate: f64,
    /// How long it took, validation included.
    pub seconds: f64,
}

impl EpochResult {
    /// Whether both losses are numbers.
    pub fn is_finite(&self) -> bool {
        self.train_loss.is_finite() && self.validation_loss.is_finite()
    }
}

/// The answer to an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Train the next one.
    Continue,
    /// Train no more.
    Stop,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Completed,
    /// The validation loss got no better.
    EarlyStopped,
    /// Somebody said so.
    Stopped,
    /// A loss is infinite or no number.
    Diverged,
}

/// Trains one fold to its end. `interrupt` is asked between batches whether to stop at once.
///
/// # Errors
/// [`TrainError`]; nothing here panics on what libtorch does.
pub fn fit(
    task: FitTask<'_>,
    interrupt: &dyn Fn() -> bool,
    listener: &mut dyn Listener,
) -> Result<Ending, TrainError> {
    let FitTask { images, train, validation, settings, seed, checkpoints, last_is_best, start } = task;
    let trainer = Trainer::new(images, train, settings, seed)?;
    let plan = Plan { validation, settings, checkpoints, last_is_best, start };
    run(trainer, plan, interrupt, listener)
}

/// How the training of anything goes on.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The images to judge by.
    pub validation: &'a [i64],
    /// How it is trained.
    pub settings: &'a TrialSettings,
    /// After which epochs a checkpoint is made.
    pub checkpoints: &'a CheckpointSection,
    /// Whether the best weights are always the last: for a training without images to judge by.
    pub last_is_best: bool,
    /// What to go on from; none for a fresh start.
    pub start: Option<Start<'a>>,
}

/// As [`fit`], with a trainer that has not begun.
///
/// # Errors
/// As [`fit`].
pub fn run(
    mut trainer: Trainer<'_>,
    plan: Plan<'_>,
    interrupt: &dyn Fn() -> bool,
    listener: &mut dyn Listener,
) -> Result<Ending, TrainError> {
    let Plan { validation, settings, checkpoints, last_is_best, start } = plan;
    let validation = trainer.validation(validation)?;
    let from = start.map(|start| start.read(trainer.parameters().specs(), settings)).transpose()?;
    if let Some(checkpoint) = &from {
        trainer.restore(checkpoint)?;
    }
    let seen = from.as_ref().and_then(|checkpoint| checkpoint.stopper);
    let mut stopper = settings.early_stopping.map(|settings| match seen {
        Some(seen) => EarlyStopper::restore(settings, seen),
        None => EarlyStopper::new(settings),
    });
    let mut keeper = Keeper::new(checkpoints, last_is_best, from.as_ref(), &trainer)?;
    if stopper.as_ref().is_some_and(EarlyStopper::is_done) {
        finish(&keeper, &trainer, listener)?;
        return Ok(Ending::EarlyStopped);
    }
    for epoch in from.map_or(0, |checkpoint| checkpoint.epoch) + 1..=settings.epochs {
        let started = Instant::now();
        let Some(train_loss) = trainer.train_epoch(epoch, interrupt)? else { return Ok(Ending::Stopped) };
        let Validated { loss: validation_loss, parts, accuracy } = trainer.validate(&validation)?;
        let result = EpochResult {
            epoch,
            train_loss,
            validation_loss,
            parts,
            accuracy,
            learning_rate: trainer.learning_rate(epoch),
            seconds: started.elapsed().as_secs_f64(),
        };
        let flow = listener.epoch(&result);
        if !result.is_finite() {
            return Ok(Ending::Diverged);
        }
        keeper.observe(&result, &trainer)?;
        listener.trained(epoch, &trainer)?;
        let stops_early = stopper.as_mut().is_some_and(|stopper| stopper.observe(validation_loss));
        // Told to stop with the last epoch done, a fold is complete all the same.
        let last = stops_early || epoch == settings.epochs;
        let due = if last {
            keeper.is_due_at_the_end()
        } else if flow == Flow::Stop {
            keeper.is_due_at_a_stop() && !interrupt()
        } else {
            keeper.is_due(epoch)
        };
        if due && let Some(checkpoint) = keeper.make(epoch, &trainer, stopper.as_ref())? {
            listener.checkpoint(checkpoint, trainer.parameters().specs(), last);
        }
        if stops_early {
            finish(&keeper, &trainer, listener)?;
            return Ok(Ending::EarlyStopped);
        }
        if flow == Flow::Stop && !last {
            return Ok(Ending::Stopped);
        }
    }
    finish(&keeper, &trainer, listener)?;
    Ok(Ending::Completed)
}

fn finish(keeper: &Keeper<'_>, trainer: &Trainer<'_>, listener: &mut dyn Listener) -> Result<(), TrainError> {
    if let Some(best) = keeper.best()? {
        listener.finished(best, trainer.parameters().specs());
    }
    Ok(())
}
