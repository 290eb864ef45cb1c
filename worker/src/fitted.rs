//! A model that somebody trained: its network, with its weights on a device.

use foldwise_shared::model::ModelSettings;
use tch::{Device, Tensor};

use crate::model::{self, Network, Parameters};
use crate::train::TrainError;

/// A network that has learned what it will.
pub struct FittedModel {
    /// The network.
    pub network: Box<dyn Network>,
    /// Its weights, as the network's methods take them; no gradients flow through them.
    pub weights: Vec<Tensor>,
    /// The settings it was built with.
    pub settings: ModelSettings,
}

impl FittedModel {
    /// The network of these settings for images of `height` x `width`, with `weights` in a row.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for settings that no such network can have, or weights of another one.
    pub fn new(
        settings: &ModelSettings,
        (height, width): (i64, i64),
        weights: &[f32],
        device: Device,
    ) -> Result<Self, TrainError> {
        let network = model::build(settings, height, width, device)?;
        let specs = network.parameters();
        let expected: i64 = specs.iter().map(model::ParameterSpec::count).sum();
        if i64::try_from(weights.len()) != Ok(expected) {
            let found = weights.len();
            return Err(TrainError::Invalid(format!(
                "the model has {found} weights, and its network for images of {height}x{width} {expected}"
            )));
        }
        let flat = Tensor::f_from_slice(weights)?.f_to(device)?;
        let weights = Parameters::of(specs, flat).views()?;
        Ok(Self { network, weights, settings: settings.clone() })
    }
}
