//! The networks, as functions of their weights and a batch: no network owns its weights, so the trainer can keep
//! them in one flat buffer.

mod convolution;
mod lab;
mod layout;
mod parameter_spec;
mod parameters;

use foldwise_shared::model::{self, ModelSettings};
use tch::{Device, TchError, Tensor};

pub use lab::Lab;
pub use layout::Layout;
pub use parameter_spec::ParameterSpec;
pub use parameters::Parameters;

/// An autoencoder: images in, images of the same shape out.
pub trait Network {
    /// The weights in the order [`Network::forward`] expects them, with PyTorch's names, shapes and first values.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// How the batches it takes and gives lie in memory.
    fn layout(&self) -> Layout;

    /// The reconstruction of a batch of pixels in `[0, 1]`, in the shape of the batch.
    ///
    /// `weights` are shaped as [`Network::parameters`] says; `training` turns dropout on.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    fn forward(&self, weights: &[Tensor], batch: &Tensor, training: bool) -> Result<Tensor, TchError>;
}

/// Builds a network for images of `height` x `width` on `device`, in the layout that is fastest there.
///
/// # Errors
/// [`BuildError::Shape`] for images that this network cannot take.
pub fn build(
    settings: &ModelSettings,
    height: i64,
    width: i64,
    device: Device,
) -> Result<Box<dyn Network>, BuildError> {
    match settings.network {
        model::Network::Lab if (height, width) == (28, 28) => {
            Ok(Box::new(Lab::new(settings.latent_dim, settings.dropout, Layout::fastest_on(device), device)?))
        }
        model::Network::Lab => {
            Err(BuildError::Shape(format!("images of {height}x{width}: the lab network is for 28x28")))
        }
        model::Network::Symmetric => {
            Err(BuildError::Shape("the symmetric network cannot be built yet".into()))
        }
    }
}

/// Why a network could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The network cannot take images of that shape.
    #[error("{0}")]
    Shape(String),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TchError),
}

#[cfg(test)]
mod tests;
