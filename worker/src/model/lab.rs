//! The "lab" autoencoder for 28x28 images: three strided convolutions and two linear layers, mirrored.

use foldwise_shared::model::{LAB_CHANNELS as CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS as UNITS};
use tch::{Device, TchError, Tensor};

use super::convolution::{Convolution, Side};
use super::{Layout, Network, ParameterSpec};

const SIDE: i64 = 28;
const FEATURE_SIDE: i64 = 3;

/// Encoder: convolutions to 8, 16 and 32 channels, 288 -> 64 -> latent. The decoder mirrors it and ends in a sigmoid.
/// ReLU in between; dropout after both layers of 64 units.
pub struct Lab {
    convolutions: Vec<Convolution>,
    latent_dim: i64,
    dropout: f64,
    layout: Layout,
}

impl Lab {
    /// The network for codes of `latent_dim` numbers; `dropout` is the fraction of units dropped, in `[0, 1)`.
    ///
    /// # Errors
    /// What libtorch says when it makes the tables of the layout.
    pub fn new(latent_dim: i64, dropout: f64, layout: Layout, device: Device) -> Result<Self, TchError> {
        let mut large = Side { channels: 1, length: SIDE };
        let mut convolutions = Vec::new();
        for (channels, shape) in CHANNELS.into_iter().zip(LAB_CONVOLUTIONS) {
            let convolution = Convolution::new(large, channels, shape.into(), layout, device)?;
            large = convolution.small();
            convolutions.push(convolution);
        }
        Ok(Lab { convolutions, latent_dim, dropout, layout })
    }

    fn drop_units(&self, batch: Tensor, training: bool) -> Result<Tensor, TchError> {
        if training && self.dropout > 0.0 { batch.f_dropout(self.dropout, true) } else { Ok(batch) }
    }
}

impl Network for Lab {
    /// Named as the modules of the same network in PyTorch, `enc` and `dec` being its two `nn.Sequential`.
    fn parameters(&self) -> Vec<ParameterSpec> {
        let features = CHANNELS[2] * FEATURE_SIDE * FEATURE_SIDE;
        let mut specs = Vec::new();
        for (layer, convolution) in [0, 2, 4].into_iter().zip(&self.convolutions) {
            let shape = convolution.weight_shape();
            specs.extend(ParameterSpec::layer(&format!("enc.{layer}"), &shape, shape[0]));
        }
        let linear = [
            ("enc.7", UNITS, features),
            ("enc.10", self.latent_dim, UNITS),
            ("dec.0", UNITS, self.latent_dim),
            ("dec.3", features, UNITS),
        ];
        for (name, outputs, inputs) in linear {
            specs.extend(ParameterSpec::layer(name, &[outputs, inputs], outputs));
        }
        for (layer, convolution) in [6, 8, 10].into_iter().zip(self.convolutions.iter().rev()) {
            let shape = convolution.weight_shape();
            specs.extend(ParameterSpec::layer(&format!("dec.{layer}"), &shape, shape[1]));
        }
        specs
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn forward(&self, weights: &[Tensor], batch: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let mut layers = weights.chunks_exact(2);
        let mut next = || match layers.next() {
            Some([weight, bias]) => Ok((weight, bias)),
            _ => Err(TchError::Shape(format!("the lab network has 20 weights, not {}", weights.len()))),
        };
        let mut x = batch.shallow_clone();
        for convolution in &self.convolutions {
            let (weight, bias) = next()?;
            x = convolution.down(&x, weight, bias)?.f_relu()?;
        }
        let mut linear = |x: &Tensor| -> Result<Tensor, TchError> {
            let (weight, bias) = next()?;
            self.layout.linear(x, weight, bias)
        };
        x = self.drop_units(linear(&x)?.f_relu()?, training)?;
        let codes = linear(&x)?;
        x = self.drop_units(linear(&codes)?.f_relu()?, training)?;
        x = linear(&x)?.f_relu()?;
        let [first, second, third] = &self.convolutions[..] else {
            return Err(TchError::Shape("the lab network has three convolutions".into()));
        };
        for convolution in [third, second] {
            let (weight, bias) = next()?;
            x = convolution.up(&x, weight, bias)?.f_relu()?;
        }
        let (weight, bias) = next()?;
        first.up(&x, weight, bias)?.f_sigmoid()
    }
}
