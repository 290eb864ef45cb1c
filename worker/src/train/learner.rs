//! What a trainer trains: weights, and the loss of images that are named by their indices.

use foldwise_shared::model::ModelSettings;
use foldwise_shared::spec::{Corruption, CorruptionSection};
use tch::{Device, Tensor};

use super::optimizer::to_host;
use super::{Draws, Picture, TrainError};
use crate::corruption;
use crate::images::DeviceImages;
use crate::model::{self, Losses, Network, Parameters};

/// Something with weights that learns from images. The trainer knows its losses, not what they are of.
pub trait Learner {
    /// The device its weights and images are on.
    fn device(&self) -> Device;

    /// How many images there are; each has an index from 0.
    fn images(&self) -> i64;

    /// The weights before the first epoch; what is drawn of them comes from libtorch's generator.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    fn first_weights(&self) -> Result<Parameters, TrainError>;

    /// Images a step where nothing is learned.
    fn evaluation_batch(&self) -> usize;

    /// What a batch comes to; gradients flow through its loss. `training` turns on what is drawn in training only.
    ///
    /// # Errors
    /// What libtorch says.
    fn measure(&self, weights: &[Tensor], indices: &Tensor, training: bool) -> Result<Measured, TrainError>;

    /// What becomes of one image, `[1, pixels]` in `[0, 1]`; `seed` is the fold's.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] if it makes no images; or what libtorch says.
    fn reconstruct(&self, weights: &[Tensor], image: &Tensor, seed: u64) -> Result<Picture, TrainError>;
}

/// What a batch comes to, each a tensor of one number and a mean over the images.
pub struct Measured {
    /// What is made small.
    pub loss: Tensor,
    /// For a variational network: the error per pixel and the KL divergence that its loss is made of.
    pub parts: Option<[Tensor; 2]>,
    /// For a classifier: the share of images whose class it finds.
    pub accuracy: Option<Tensor>,
}

/// An autoencoder that learns the images of a data set.
pub struct ImageLearner<'a> {
    images: &'a DeviceImages,
    network: Box<dyn Network>,
    corruption: Vec<Corruption>,
    beta: f64,
}

impl<'a> ImageLearner<'a> {
    /// The network with these settings, for those images, with its input corrupted.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for settings or images that cannot work.
    pub fn new(
        images: &'a DeviceImages,
        settings: &ModelSettings,
        corruption: &CorruptionSection,
    ) -> Result<Self, TrainError> {
        let network = model::build(settings, images.height(), images.width(), images.device())?;
        Ok(Self { images, network, corruption: corruption.steps(), beta: settings.beta })
    }

    fn corrupt(&self, batch: &Tensor) -> Result<Tensor, TrainError> {
        let (height, width) = (self.images.height(), self.images.width());
        Ok(corruption::apply(&self.corruption, batch, self.network.layout(), height, width)?)
    }
}

impl Learner for ImageLearner<'_> {
    fn device(&self) -> Device {
        self.images.device()
    }

    fn images(&self) -> i64 {
        self.images.len()
    }

    fn first_weights(&self) -> Result<Parameters, TrainError> {
        Ok(Parameters::random(self.network.parameters(), self.device())?)
    }

    fn evaluation_batch(&self) -> usize {
        self.images.evaluation_batch(self.network.layout())
    }

    /// The batch itself is what the network is to give; its input is the batch as it is corrupted.
    fn measure(&self, weights: &[Tensor], indices: &Tensor, training: bool) -> Result<Measured, TrainError> {
        let layout = self.network.layout();
        let batch = self.images.batch(indices, layout)?;
        let reconstruction = if self.corruption.is_empty() {
            self.network.forward(weights, &batch, training)?
        } else {
            self.network.forward(weights, &self.corrupt(&batch)?, training)?
        };
        let Losses { total, mse, kl } = Losses::of(&reconstruction, &batch, layout, self.beta)?;
        Ok(Measured { loss: total, parts: kl.map(|kl| [mse, kl]), accuracy: None })
    }

    fn reconstruct(&self, weights: &[Tensor], image: &Tensor, seed: u64) -> Result<Picture, TrainError> {
        let batch = self.network.layout().arrange(image.f_to(self.device())?)?;
        let corrupted = if self.corruption.is_empty() {
            None
        } else {
            Draws::Picture.seed(seed);
            Some(self.corrupt(&batch)?)
        };
        let output = self.network.forward(weights, corrupted.as_ref().unwrap_or(&batch), false)?.pixels;
        Ok(Picture {
            input: to_host(&batch)?,
            corrupted: corrupted.as_ref().map(to_host).transpose()?,
            output: to_host(&output)?,
        })
    }
}
