//! The networks, as functions of their weights and a batch: no network owns its weights, so the trainer can keep
//! them in one flat buffer.

mod activation;
mod autoencoder;
mod convolution;
mod lab;
mod layout;
mod loss;
mod parameter_spec;
mod parameters;
mod symmetric;

use foldwise_shared::model::{self, ModelSettings};
use tch::{Device, TchError, Tensor};

pub(crate) use activation::activate;
pub use autoencoder::Autoencoder;
pub use layout::Layout;
pub use loss::Losses;
pub use parameter_spec::ParameterSpec;
pub use parameters::Parameters;

/// An autoencoder: images in, images of the same shape out.
///
/// `weights` are always shaped as [`Network::parameters`] says, and a `batch` is one of pixels in `[0, 1]` in the
/// network's layout. Every method fails with what libtorch says, such as a lack of memory.
pub trait Network {
    /// The weights in the order in which all methods expect them, with PyTorch's names, shapes and first values.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// How the batches it takes and gives lie in memory.
    fn layout(&self) -> Layout;

    /// The reconstruction of a batch. `training` turns dropout on, and draws the codes of a variational network from
    /// libtorch's generator, where otherwise the mean is the code.
    ///
    /// # Errors
    /// What libtorch says.
    fn forward(&self, weights: &[Tensor], batch: &Tensor, training: bool)
    -> Result<Reconstruction, TchError>;

    /// The codes of a batch as `[images, latent]`, whatever the layout; the means of a variational network.
    ///
    /// # Errors
    /// What libtorch says.
    fn encode(&self, weights: &[Tensor], batch: &Tensor) -> Result<Tensor, TchError>;

    /// The pixels of `codes` (`[images, latent]`) as `[images, height * width]`, whatever the layout.
    ///
    /// # Errors
    /// What libtorch says.
    fn decode(&self, weights: &[Tensor], codes: &Tensor) -> Result<Tensor, TchError>;

    /// What the encoder's convolutions make of a batch, after the last activation, as `[images, features]` in PyTorch's
    /// order (channels, rows, columns), whatever the layout.
    ///
    /// # Errors
    /// What libtorch says.
    fn features(&self, weights: &[Tensor], batch: &Tensor) -> Result<Tensor, TchError>;

    /// How many features [`Network::features`] gives an image.
    fn feature_count(&self) -> i64;

    /// Which of the parameters are the weight (`[units, features]`) and the bias of the first linear layer.
    fn first_linear(&self) -> (usize, usize);
}

/// What a network makes of a batch, in its layout.
#[derive(Debug)]
pub struct Reconstruction {
    /// Pixels in `[0, 1]`, in the shape of the batch.
    pub pixels: Tensor,
    /// The distribution of the codes, for a variational network.
    pub latent: Option<Gaussian>,
}

/// A normal distribution for each number of each code, in the network's layout.
#[derive(Debug)]
pub struct Gaussian {
    /// Its mean.
    pub mean: Tensor,
    /// The logarithm of its variance.
    pub log_variance: Tensor,
}

/// Builds a network for images of `height` x `width` on `device`, in the layout that is fastest there.
///
/// # Errors
/// [`BuildError::Shape`] for images or settings of which no such network can be made.
pub fn build(
    settings: &ModelSettings,
    height: i64,
    width: i64,
    device: Device,
) -> Result<Box<dyn Network>, BuildError> {
    Ok(Box::new(build_in(settings, (height, width), Layout::fastest_on(device), device)?))
}

/// As [`build`], in a layout of one's own.
fn build_in(
    settings: &ModelSettings,
    image: (i64, i64),
    layout: Layout,
    device: Device,
) -> Result<Autoencoder, BuildError> {
    match settings.network {
        model::Network::Lab => lab::build(settings, image, layout, device),
        model::Network::Symmetric => symmetric::build(settings, image, layout, device),
    }
}

/// Why a network could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no such network, or not for images of that shape; the message says which layer cannot be.
    #[error("{0}")]
    Shape(String),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TchError),
}

#[cfg(test)]
mod tests;
