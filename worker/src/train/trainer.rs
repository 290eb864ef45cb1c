//! The weights, the optimizer and the data of one fold, and what one epoch does with them.

use foldwise_shared::model::{Schedule, TrialSettings};
use tch::{Device, Kind, TchError, Tensor};

use super::checkpoint::{Best, Checkpoint, CheckpointError};
use super::optimizer::{self, Optimizer, to_host};
use super::{Draws, ImageLearner, Learner, Measured, StopperState, TrainError, schedule};
use crate::images::DeviceImages;
use crate::model::Parameters;

/// The state of one training. libtorch's generator is global: two trainings side by side in a process draw from it
/// in turn, and only one alone gives the same curve again.
pub struct Trainer<'a> {
    learner: Box<dyn Learner + 'a>,
    parameters: Parameters,
    optimizer: Box<dyn Optimizer>,
    train: Tensor,
    batch_size: usize,
    learning_rate: f64,
    schedule: Schedule,
    epochs: u32,
    seed: u64,
}

/// What a validation came to, each a mean over the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validated {
    /// What the training makes small: the squared error per pixel, or the whole loss of a variational network.
    pub loss: f64,
    /// For a variational network, what its loss is made of.
    pub parts: Option<LossParts>,
    /// For a classifier, the share of images whose class it finds.
    pub accuracy: Option<f64>,
}

/// One image, row by row, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The image.
    pub input: Vec<f32>,
    /// What the network was given in its place, which may leave `[0, 1]`.
    pub corrupted: Option<Vec<f32>>,
    /// What it made of that.
    pub output: Vec<f32>,
}

/// What the loss of a variational network is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossParts {
    /// The mean squared error per pixel.
    pub mse: f64,
    /// The KL divergence of the codes from the standard normal distribution, summed over the code.
    pub kl: f64,
}

impl<'a> Trainer<'a> {
    /// First weights and no epoch yet. `train` are the indices of the images to learn from.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for settings or images that cannot work.
    pub fn new(
        images: &'a DeviceImages,
        train: &[i64],
        settings: &TrialSettings,
        seed: u64,
    ) -> Result<Self, TrainError> {
        if !(0.0..1.0).contains(&settings.model.dropout) {
            return Err(TrainError::Invalid(format!(
                "dropout is {}; it must be in [0, 1)",
                settings.model.dropout
            )));
        }
        if settings.model.latent_dim < 1 {
            return Err(TrainError::Invalid(format!(
                "latent_dim is {}; it must be at least 1",
                settings.model.latent_dim
            )));
        }
        let learner = ImageLearner::new(images, &settings.model, &settings.corruption)?;
        Self::of(Box::new(learner), train, settings, seed)
    }

    /// As [`Trainer::new`], of anything that learns.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for settings or images that cannot work.
    pub fn of(
        learner: Box<dyn Learner + 'a>,
        train: &[i64],
        settings: &TrialSettings,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let batch_size = usize::try_from(settings.batch_size).unwrap_or(0);
        if batch_size == 0 {
            return Err(TrainError::Invalid(format!(
                "batch_size is {}; it must be at least 1",
                settings.batch_size
            )));
        }
        let Some(learning_rate) = settings.learning_rate.fixed() else {
            return Err(TrainError::Invalid("the learning rate is still to be found".into()));
        };
        Draws::Weights.seed(seed);
        let parameters = learner.first_weights()?;
        let optimizer = optimizer::build(
            settings.optimizer,
            parameters.flat(),
            settings.weight_decay,
            settings.momentum,
        )?;
        let train = checked_indices("training", train, learner.images(), learner.device())?;
        Ok(Trainer {
            learner,
            parameters,
            optimizer,
            train,
            batch_size,
            learning_rate,
            schedule: settings.schedule,
            epochs: settings.epochs,
            seed,
        })
    }

    /// The step size at the start of an epoch, from 1.
    pub fn learning_rate(&self, epoch: u32) -> f64 {
        self.rate_of(epoch, 0)
    }

    /// The step size of a batch, from 0, of an epoch, from 1.
    fn rate_of(&self, epoch: u32, batch: u64) -> f64 {
        let batches = (self.train.numel() as u64).div_ceil(self.batch_size as u64);
        let step = u64::from(epoch.saturating_sub(1)) * batches + batch;
        schedule::learning_rate(self.schedule, self.learning_rate, step, u64::from(self.epochs) * batches)
    }

    /// Checked indices of `validation`, for [`Trainer::validate`].
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for no index at all, or one of no image.
    pub fn validation(&self, validation: &[i64]) -> Result<Tensor, TrainError> {
        checked_indices("validation", validation, self.learner.images(), self.learner.device())
    }

    /// The weights.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What another trainer of the same fold needs to go on after `epoch`, copied to the host.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn checkpoint(
        &self,
        epoch: u32,
        best: Best,
        stopper: Option<StopperState>,
    ) -> Result<Checkpoint, TrainError> {
        let weights = to_host(self.parameters.flat())?;
        Ok(Checkpoint { epoch, weights, optimizer: self.optimizer.state()?, best, stopper })
    }

    /// Goes on from a checkpoint of the same fold.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if it does not fit; the trainer cannot be used then.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        self.optimizer.restore(&checkpoint.optimizer)?;
        let _guard = tch::no_grad_guard();
        let mut flat = self.parameters.flat().shallow_clone();
        if checkpoint.weights.len() != flat.numel() {
            let (there, here) = (checkpoint.weights.len(), flat.numel());
            return Err(CheckpointError(format!("it has {there} weights, not {here}")).into());
        }
        Ok(flat.f_copy_(&Tensor::f_from_slice(&checkpoint.weights)?)?)
    }

    /// One pass over the training images in an order of its own; `epoch` counts from 1. The mean training loss over
    /// the images, which need not be finite, or none if `interrupt` (asked before each batch) said so.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn train_epoch(
        &mut self,
        epoch: u32,
        interrupt: &dyn Fn() -> bool,
    ) -> Result<Option<f64>, TrainError> {
        Draws::Epoch(epoch).seed(self.seed);
        let order = self.shuffle()?;
        let count = order.size1()?;
        // Summed on the device, so that a step never waits for its loss.
        let mut sum = Tensor::f_zeros(&[] as &[i64], (Kind::Double, self.learner.device()))?;
        for (number, start) in (0..).zip((0..count).step_by(self.batch_size)) {
            if interrupt() {
                return Ok(None);
            }
            let batch = self.batch(&order, start)?;
            let length = (count - start).min(self.batch_size as i64);
            let loss = self.step(&batch, self.rate_of(epoch, number))?;
            sum = sum.f_add_(&loss.f_mul_scalar(length as f64)?)?;
        }
        Ok(Some(sum.f_double_value(&[])? / count as f64))
    }

    /// The indices of the training images in an order that is drawn.
    pub(super) fn shuffle(&self) -> Result<Tensor, TrainError> {
        let draw = (Kind::Int64, self.learner.device());
        Ok(self.train.f_index_select(0, &Tensor::f_randperm(self.train.size1()?, draw)?)?)
    }

    /// The indices of one batch of `order`, from its place `start` on.
    pub(super) fn batch(&self, order: &Tensor, start: i64) -> Result<Tensor, TrainError> {
        let length = (order.size1()? - start).min(self.batch_size as i64);
        Ok(order.f_narrow(0, start, length)?)
    }

    /// How many images a step takes.
    pub(super) fn batch_size(&self) -> i64 {
        self.batch_size as i64
    }

    /// The loss over all images of `validation`, without dropout and drawn codes. What is corrupted in training is corrupted here
    /// too, in the same way every time.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn validate(&self, validation: &Tensor) -> Result<Validated, TrainError> {
        let _guard = tch::no_grad_guard();
        Draws::Validation.seed(self.seed);
        let weights = self.parameters.views()?;
        let count = validation.size1()?;
        let most = self.learner.evaluation_batch();
        let zero = || Tensor::f_zeros(&[] as &[i64], (Kind::Double, self.learner.device()));
        let add = |sum: Option<Tensor>, mean: &Tensor, length: f64| -> Result<Option<Tensor>, TchError> {
            Ok(Some(sum.map_or_else(zero, Ok)?.f_add_(&mean.f_mul_scalar(length)?)?))
        };
        let (mut loss, mut mse, mut kl, mut accuracy) = (Some(zero()?), None, None, None);
        for start in (0..count).step_by(most) {
            let part = validation.f_narrow(0, start, (count - start).min(most as i64))?;
            let length = part.size1()? as f64;
            let measured = self.learner.measure(&weights, &part, false)?;
            loss = add(loss, &measured.loss, length)?;
            if let Some([error, divergence]) = &measured.parts {
                (mse, kl) = (add(mse, error, length)?, add(kl, divergence, length)?);
            }
            if let Some(share) = &measured.accuracy {
                accuracy = add(accuracy, share, length)?;
            }
        }
        let mean = |sum: Option<Tensor>| -> Result<Option<f64>, TrainError> {
            Ok(sum.map(|sum| sum.f_double_value(&[])).transpose()?.map(|sum| sum / count as f64))
        };
        let parts = mean(mse)?.zip(mean(kl)?).map(|(mse, kl)| LossParts { mse, kl });
        Ok(Validated { loss: mean(loss)?.unwrap_or(f64::NAN), parts, accuracy: mean(accuracy)? })
    }

    /// What the network makes of one image, `[1, pixels]` in `[0, 1]`, and what it was given instead if the training
    /// corrupts its input, the same every time.
    ///
    /// # Errors
    /// What libtorch says; [`TrainError::Invalid`] if it makes no images.
    pub fn reconstruct(&self, image: &Tensor) -> Result<Picture, TrainError> {
        let _guard = tch::no_grad_guard();
        self.learner.reconstruct(&self.parameters.views()?, image, self.seed)
    }

    /// One optimizer step; the loss stays on the device.
    pub(super) fn step(&mut self, batch: &Tensor, learning_rate: f64) -> Result<Tensor, TrainError> {
        let Measured { loss, .. } = self.learner.measure(&self.parameters.views()?, batch, true)?;
        let gradients = Tensor::f_run_backward(&[&loss], &[self.parameters.flat()], false, false)?;
        let _guard = tch::no_grad_guard();
        let mut weights = self.parameters.flat().shallow_clone();
        for gradient in gradients {
            self.optimizer.step(&mut weights, gradient, learning_rate)?;
        }
        Ok(loss.f_detach()?)
    }
}

/// Indices of a part of so many images, on their device; CUDA would not say which one is wrong, so they are checked here.
pub(crate) fn checked_indices(
    part: &str,
    indices: &[i64],
    images: i64,
    device: Device,
) -> Result<Tensor, TrainError> {
    if indices.is_empty() {
        return Err(TrainError::Invalid(format!("the {part} part has no images")));
    }
    if let Some(index) = indices.iter().find(|index| !(0..images).contains(*index)) {
        return Err(TrainError::Invalid(format!("the {part} part names image {index}; there are {images}")));
    }
    Ok(Tensor::f_from_slice(indices)?.f_to(device)?)
}
