//! The loop over the epochs of one fold: train, validate, report, and end for one of four reasons.

use std::time::Instant;

use foldwise_shared::model::TrialSettings;

use super::{EarlyStopper, TrainError, Trainer};
use crate::images::DeviceImages;

/// One fold of one trial.
#[derive(Debug, Clone, Copy)]
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
}

/// What one epoch came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochResult {
    /// From 1.
    pub epoch: u32,
    /// The mean of the training loss over the epoch's images, while the weights changed and units were dropped.
    pub train_loss: f64,
    /// The mean squared error per pixel over all validation images, after the epoch.
    pub validation_loss: f64,
    /// The step size.
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

/// Trains one fold to its end. `interrupt` is asked between batches whether to stop at once; `on_epoch` gets every
/// finished epoch, a diverged one too, and says whether to go on.
///
/// # Errors
/// [`TrainError`]; nothing here panics on what libtorch does.
pub fn fit(
    task: FitTask<'_>,
    interrupt: &dyn Fn() -> bool,
    on_epoch: &mut dyn FnMut(&EpochResult) -> Flow,
) -> Result<Ending, TrainError> {
    let FitTask { images, train, validation, settings, seed } = task;
    let mut trainer = Trainer::new(images, train, settings, seed)?;
    let validation = trainer.validation(validation)?;
    let mut stopper = settings.early_stopping.map(EarlyStopper::new);
    for epoch in 1..=settings.epochs {
        let started = Instant::now();
        let Some(train_loss) = trainer.train_epoch(epoch, interrupt)? else { return Ok(Ending::Stopped) };
        let validation_loss = trainer.validate(&validation)?;
        let result = EpochResult {
            epoch,
            train_loss,
            validation_loss,
            learning_rate: trainer.learning_rate(),
            seconds: started.elapsed().as_secs_f64(),
        };
        let flow = on_epoch(&result);
        if !result.is_finite() {
            return Ok(Ending::Diverged);
        }
        if stopper.as_mut().is_some_and(|stopper| stopper.observe(validation_loss)) {
            return Ok(Ending::EarlyStopped);
        }
        // Told to stop with the last epoch done, a fold is complete all the same.
        if flow == Flow::Stop && epoch < settings.epochs {
            return Ok(Ending::Stopped);
        }
    }
    Ok(Ending::Completed)
}
