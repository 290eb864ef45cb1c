//! The names and shapes of a network's weights, as arithmetic: enough to tell whose a file of weights is without libtorch.

use super::{Layer, ModelSettings, Network, layers};

/// A weight or a bias of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Its name in PyTorch, such as `enc.0.weight`.
    pub name: String,
    /// Its shape in PyTorch.
    pub shape: Vec<i64>,
}

/// What the layers are called.
struct Names {
    encoder: Vec<String>,
    linear: [&'static str; 2],
    log_variance: &'static str,
    mirrored: [&'static str; 2],
    decoder: Vec<String>,
}

fn names(settings: &ModelSettings) -> Names {
    match settings.network {
        Network::Lab => Names {
            encoder: [0, 2, 4].map(|layer| format!("enc.{layer}")).into(),
            linear: ["enc.7", "enc.10"],
            log_variance: "log_variance",
            mirrored: ["dec.0", "dec.3"],
            decoder: [6, 8, 10].map(|layer| format!("dec.{layer}")).into(),
        },
        Network::Symmetric => {
            let numbered = |side: &str| {
                (0..settings.convolutions.len()).map(|layer| format!("{side}.convolutions.{layer}")).collect()
            };
            Names {
                encoder: numbered("encoder"),
                linear: ["encoder.linear", "encoder.latent"],
                log_variance: "encoder.log_variance",
                mirrored: ["decoder.latent", "decoder.linear"],
                decoder: numbered("decoder"),
            }
        }
    }
}

/// Every weight and bias of the network for images of `height` x `width`, in the order of use.
///
/// # Errors
/// A layer that such images do not fit; the message names it.
pub fn weights(settings: &ModelSettings, height: i64, width: i64) -> Result<Vec<Weight>, String> {
    let ModelSettings { latent_dim, linear_units, variational, .. } = *settings;
    let names = names(settings);
    let layers = layers(&settings.convolutions, height, width)?;
    let mut weights = Vec::new();
    let mut layer = |name: &str, shape: Vec<i64>, biases: i64| {
        weights.push(Weight { name: format!("{name}.weight"), shape });
        weights.push(Weight { name: format!("{name}.bias"), shape: vec![biases] });
    };
    // Kernels of [small channels, large channels, k, k], for a convolution and for its mirror image.
    let mut kernels = Vec::new();
    let mut channels = 1;
    for (Layer { shape, .. }, next) in layers.iter().zip(&settings.channels) {
        kernels.push([*next, channels, shape.kernel, shape.kernel]);
        channels = *next;
    }
    let (rows, columns) = layers.last().map_or((height, width), |last| last.output);
    let features = channels.saturating_mul(rows).saturating_mul(columns);
    for (name, kernel) in names.encoder.iter().zip(&kernels) {
        layer(name, kernel.to_vec(), kernel[0]);
    }
    layer(names.linear[0], vec![linear_units, features], linear_units);
    layer(names.linear[1], vec![latent_dim, linear_units], latent_dim);
    if variational {
        layer(names.log_variance, vec![latent_dim, linear_units], latent_dim);
    }
    layer(names.mirrored[0], vec![linear_units, latent_dim], linear_units);
    layer(names.mirrored[1], vec![features, linear_units], features);
    for (name, kernel) in names.decoder.iter().zip(kernels.iter().rev()) {
        layer(name, kernel.to_vec(), kernel[1]);
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, LAB_CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS};

    fn lab() -> ModelSettings {
        ModelSettings {
            network: Network::Lab,
            latent_dim: 6,
            dropout: 0.0,
            convolutions: LAB_CONVOLUTIONS.to_vec(),
            channels: LAB_CHANNELS.to_vec(),
            linear_units: LAB_UNITS,
            instance_norm: false,
            activation: Activation::Relu,
            variational: false,
            beta: 1.0,
        }
    }

    fn listed(settings: &ModelSettings, height: i64, width: i64) -> Vec<String> {
        let weights = weights(settings, height, width).expect("it fits");
        weights.iter().map(|Weight { name, shape }| format!("{name} {shape:?}")).collect()
    }

    #[test]
    fn the_lab_network() {
        let found = listed(&lab(), 28, 28);
        assert_eq!(found.len(), 20);
        for line in [
            "enc.0.weight [8, 1, 3, 3]",
            "enc.7.weight [64, 288]",
            "enc.10.bias [6]",
            "dec.0.weight [64, 6]",
            "dec.3.bias [288]",
            "dec.6.weight [32, 16, 3, 3]",
            "dec.10.bias [1]",
        ] {
            assert!(found.iter().any(|there| there == line), "{line} is not in {found:?}");
        }
    }

    #[test]
    fn a_variational_network_has_a_layer_more() {
        let found = listed(&ModelSettings { variational: true, ..lab() }, 28, 28);
        assert_eq!(found.len(), 22);
        assert!(found.contains(&"log_variance.weight [6, 64]".to_owned()), "{found:?}");
    }

    #[test]
    fn a_symmetric_network_for_images_that_are_no_squares() {
        let settings = ModelSettings {
            network: Network::Symmetric,
            convolutions: vec![[5, 2, 2], [3, 1, 0]],
            channels: vec![4, 10],
            linear_units: 20,
            ..lab()
        };
        // 20x11 -> 10x6 -> 8x4
        assert_eq!(
            listed(&settings, 20, 11),
            [
                "encoder.convolutions.0.weight [4, 1, 5, 5]",
                "encoder.convolutions.0.bias [4]",
                "encoder.convolutions.1.weight [10, 4, 3, 3]",
                "encoder.convolutions.1.bias [10]",
                "encoder.linear.weight [20, 320]",
                "encoder.linear.bias [20]",
                "encoder.latent.weight [6, 20]",
                "encoder.latent.bias [6]",
                "decoder.latent.weight [20, 6]",
                "decoder.latent.bias [20]",
                "decoder.linear.weight [320, 20]",
                "decoder.linear.bias [320]",
                "decoder.convolutions.0.weight [10, 4, 3, 3]",
                "decoder.convolutions.0.bias [4]",
                "decoder.convolutions.1.weight [4, 1, 5, 5]",
                "decoder.convolutions.1.bias [1]",
            ]
        );
        assert!(weights(&settings, 2, 2).is_err());
    }
}
