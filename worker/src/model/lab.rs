//! The "lab" autoencoder for 28x28 images: three strided convolutions and two linear layers, mirrored.

use foldwise_shared::model::{LAB_CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS, ModelSettings};
use tch::Device;

use super::autoencoder::{Autoencoder, Names};
use super::{BuildError, Layout};

/// Encoder: convolutions to 8, 16 and 32 channels, 288 -> 64 -> latent.
///
/// # Errors
/// [`BuildError::Shape`] for other images, or settings of another network.
pub(super) fn build(
    settings: &ModelSettings,
    (height, width): (i64, i64),
    layout: Layout,
    device: Device,
) -> Result<Autoencoder, BuildError> {
    if (height, width) != (28, 28) {
        return Err(BuildError::Shape(format!(
            "images of {height}x{width}: the lab network is for 28x28; the symmetric one takes any size"
        )));
    }
    let ModelSettings { convolutions, channels, linear_units, .. } = settings;
    if convolutions[..] != LAB_CONVOLUTIONS || channels[..] != LAB_CHANNELS || *linear_units != LAB_UNITS {
        return Err(BuildError::Shape(format!(
            "the lab network has convolutions {LAB_CONVOLUTIONS:?}, channels {LAB_CHANNELS:?} and {LAB_UNITS} linear units, \
             not {convolutions:?}, {channels:?} and {linear_units}"
        )));
    }
    Autoencoder::new(settings, names(), (height, width), layout, device)
}

/// Named as the modules of the same network in PyTorch, `enc` and `dec` being its two `nn.Sequential`; the layer of a
/// variational one's log-variance stands beside them.
fn names() -> Names {
    Names {
        encoder: [0, 2, 4].map(|layer| format!("enc.{layer}")).into(),
        linear: ["enc.7", "enc.10"],
        log_variance: "log_variance",
        mirrored: ["dec.0", "dec.3"],
        decoder: [6, 8, 10].map(|layer| format!("dec.{layer}")).into(),
    }
}
