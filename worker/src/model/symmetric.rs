//! The "symmetric" autoencoder: convolutions of any number and kind, for images of any size.

use foldwise_shared::model::ModelSettings;
use tch::Device;

use super::autoencoder::{Autoencoder, Names};
use super::{BuildError, Layout};

/// The network with the convolutions, channels and units of the settings.
///
/// # Errors
/// [`BuildError::Shape`] for a layer that cannot be; the message names it.
pub(super) fn build(
    settings: &ModelSettings,
    image: (i64, i64),
    layout: Layout,
    device: Device,
) -> Result<Autoencoder, BuildError> {
    Autoencoder::new(settings, names(settings.convolutions.len()), image, layout, device)
}

/// Named as the modules of the same network in PyTorch, `convolutions` being an `nn.ModuleList`.
fn names(convolutions: usize) -> Names {
    let numbered =
        |side: &str| (0..convolutions).map(|layer| format!("{side}.convolutions.{layer}")).collect();
    Names {
        encoder: numbered("encoder"),
        linear: ["encoder.linear", "encoder.latent"],
        log_variance: "encoder.log_variance",
        mirrored: ["decoder.latent", "decoder.linear"],
        decoder: numbered("decoder"),
    }
}
