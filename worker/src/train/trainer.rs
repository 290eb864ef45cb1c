//! The weights, the optimizer and the data of one fold, and what one epoch does with them.

use foldwise_shared::model::TrialSettings;
use tch::{Kind, Tensor};

use super::checkpoint::{Best, Checkpoint, CheckpointError};
use super::optimizer::{self, Optimizer, to_host};
use super::{StopperState, TrainError};
use crate::images::DeviceImages;
use crate::model::{self, Losses, Network, Parameters};

/// The state of one training. libtorch's generator is global: two trainings side by side in a process draw from it
/// in turn, and only one alone gives the same curve again.
pub struct Trainer<'a> {
    images: &'a DeviceImages,
    network: Box<dyn Network>,
    parameters: Parameters,
    optimizer: Box<dyn Optimizer>,
    train: Tensor,
    batch_size: usize,
    learning_rate: f64,
    beta: f64,
    seed: u64,
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
        let batch_size = usize::try_from(settings.batch_size).unwrap_or(0);
        if batch_size == 0 {
            return Err(TrainError::Invalid(format!(
                "batch_size is {}; it must be at least 1",
                settings.batch_size
            )));
        }
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
        let Some(learning_rate) = settings.learning_rate.fixed() else {
            return Err(TrainError::Invalid("the learning rate is still to be found".into()));
        };
        let device = images.device();
        let network = model::build(&settings.model, images.height(), images.width(), device)?;
        seed_generator(seed, 0);
        let parameters = Parameters::random(network.parameters(), device)?;
        let optimizer = optimizer::build(
            settings.optimizer,
            parameters.flat(),
            settings.weight_decay,
            settings.momentum,
        )?;
        let train = indices(images, "training", train)?;
        let beta = settings.model.beta;
        Ok(Trainer { images, network, parameters, optimizer, train, batch_size, learning_rate, beta, seed })
    }

    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Checked indices of `validation`, for [`Trainer::validate`].
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for no index at all, or one of no image.
    pub fn validation(&self, validation: &[i64]) -> Result<Tensor, TrainError> {
        indices(self.images, "validation", validation)
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
        seed_generator(self.seed, epoch);
        let device = self.images.device();
        let count = self.train.size1()?;
        let order = self.train.f_index_select(0, &Tensor::f_randperm(count, (Kind::Int64, device))?)?;
        // Summed on the device, so that a step never waits for its loss.
        let mut sum = Tensor::f_zeros(&[] as &[i64], (Kind::Double, device))?;
        for start in (0..count).step_by(self.batch_size) {
            if interrupt() {
                return Ok(None);
            }
            let length = (count - start).min(self.batch_size as i64);
            let batch = self.images.batch(&order.f_narrow(0, start, length)?, self.network.layout())?;
            let loss = self.step(&batch)?;
            sum = sum.f_add_(&loss.f_mul_scalar(length as f64)?)?;
        }
        Ok(Some(sum.f_double_value(&[])? / count as f64))
    }

    /// The loss over all images of `validation`, without dropout and draws.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn validate(&self, validation: &Tensor) -> Result<f64, TrainError> {
        let _guard = tch::no_grad_guard();
        let weights = self.parameters.views()?;
        let count = validation.size1()?;
        let most = self.network.layout().evaluation_batch();
        let mut sum = Tensor::f_zeros(&[] as &[i64], (Kind::Double, self.images.device()))?;
        for start in (0..count).step_by(most) {
            let part = validation.f_narrow(0, start, (count - start).min(most as i64))?;
            let batch = self.images.batch(&part, self.network.layout())?;
            let length = part.size1()? as f64;
            sum = sum.f_add_(&self.losses(&weights, &batch, false)?.total.f_mul_scalar(length)?)?;
        }
        Ok(sum.f_double_value(&[])? / count as f64)
    }

    fn losses(&self, weights: &[Tensor], batch: &Tensor, training: bool) -> Result<Losses, TrainError> {
        let reconstruction = self.network.forward(weights, batch, training)?;
        Ok(Losses::of(&reconstruction, batch, self.network.layout(), self.beta)?)
    }

    /// One optimizer step; the loss stays on the device.
    fn step(&mut self, batch: &Tensor) -> Result<Tensor, TrainError> {
        let loss = self.losses(&self.parameters.views()?, batch, true)?.total;
        let gradients = Tensor::f_run_backward(&[&loss], &[self.parameters.flat()], false, false)?;
        let _guard = tch::no_grad_guard();
        let mut weights = self.parameters.flat().shallow_clone();
        for gradient in gradients {
            self.optimizer.step(&mut weights, gradient, self.learning_rate)?;
        }
        Ok(loss.f_detach()?)
    }
}

/// Indices of images on the device of the images; CUDA would not say which one is wrong, so they are checked here.
fn indices(images: &DeviceImages, part: &str, indices: &[i64]) -> Result<Tensor, TrainError> {
    if indices.is_empty() {
        return Err(TrainError::Invalid(format!("the {part} part has no images")));
    }
    if let Some(index) = indices.iter().find(|index| !(0..images.len()).contains(index)) {
        let count = images.len();
        return Err(TrainError::Invalid(format!("the {part} part names image {index}; there are {count}")));
    }
    Ok(Tensor::f_from_slice(indices)?.f_to(images.device())?)
}

/// Seeds libtorch's generators for the first weights (`epoch` 0) or for an epoch, so that nothing depends on what
/// ran before. SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) keeps the streams of neighboring seeds apart.
fn seed_generator(seed: u64, epoch: u32) {
    let mut z = seed.wrapping_add((u64::from(epoch) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    tch::manual_seed((z ^ (z >> 31)).cast_signed());
}
