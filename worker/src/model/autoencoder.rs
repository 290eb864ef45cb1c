//! The symmetric autoencoder that every network here is: convolutions, a linear layer, a code, and all of it mirrored.

use foldwise_shared::model::{Activation, ModelSettings, layers};
use tch::{Device, TchError, Tensor};

use super::activation::{activate, normalize};
use super::convolution::{Convolution, Side};
use super::{BuildError, Gaussian, Layout, Network, ParameterSpec, Reconstruction};

/// Encoder: convolutions, each with an instance normalization (if set) and an activation; a linear layer with an
/// activation and dropout; a linear layer to the code. The decoder mirrors it and ends in a sigmoid, with nothing else
/// after its last convolution. In a variational network a second layer beside the code's gives its log-variance.
pub struct Autoencoder {
    names: Names,
    convolutions: Vec<Convolution>,
    linear_units: i64,
    latent_dim: i64,
    dropout: f64,
    instance_norm: bool,
    activation: Activation,
    variational: bool,
    layout: Layout,
}

/// What the layers are called in a file of weights.
pub(super) struct Names {
    /// The encoder's convolutions, in the order of use.
    pub encoder: Vec<String>,
    /// The encoder's linear layers: the first, and that of the code.
    pub linear: [&'static str; 2],
    /// The layer of a variational network that gives the log-variance.
    pub log_variance: &'static str,
    /// The decoder's linear layers, in the order of use.
    pub mirrored: [&'static str; 2],
    /// The decoder's convolutions, in the order of use.
    pub decoder: Vec<String>,
}

/// Weight and bias of one layer after the other.
struct Layers<'a>(std::slice::ChunksExact<'a, Tensor>);

impl<'a> Layers<'a> {
    fn next(&mut self) -> Result<(&'a Tensor, &'a Tensor), TchError> {
        match self.0.next() {
            Some([weight, bias]) => Ok((weight, bias)),
            _ => Err(TchError::Shape("the network has more layers than there are weights".into())),
        }
    }
}

impl Autoencoder {
    /// The network with these settings, and names, for images of `height` x `width`.
    ///
    /// # Errors
    /// [`BuildError::Shape`] for a layer that cannot be; the message names it.
    pub(super) fn new(
        settings: &ModelSettings,
        names: Names,
        (height, width): (i64, i64),
        layout: Layout,
        device: Device,
    ) -> Result<Self, BuildError> {
        let ModelSettings { latent_dim, dropout, linear_units, .. } = *settings;
        check(settings, height, width)?;
        let layers = layers(&settings.convolutions, height, width).map_err(BuildError::Shape)?;
        let mut channels = 1;
        let mut convolutions = Vec::with_capacity(layers.len());
        for (layer, next) in layers.into_iter().zip(&settings.channels) {
            convolutions.push(Convolution::new(layer, (channels, *next), layout, device)?);
            channels = *next;
        }
        if settings.instance_norm
            && let Some(number) = convolutions.iter().position(|convolution| convolution.small().area() == 1)
        {
            return Err(BuildError::Shape(format!(
                "images of {height}x{width}: convolution {} gives a single pixel, of which an instance normalization leaves \
                 nothing; use fewer or smaller convolutions, or instance_norm = false",
                number + 1
            )));
        }
        Ok(Autoencoder {
            names,
            convolutions,
            linear_units,
            latent_dim,
            dropout,
            instance_norm: settings.instance_norm,
            activation: settings.activation,
            variational: settings.variational,
            layout,
        })
    }

    /// What the encoder's last convolution gives.
    fn last(&self) -> Side {
        self.convolutions.last().map_or(Side { channels: 0, height: 0, width: 0 }, Convolution::small)
    }

    /// How many layers have weights before the decoder's.
    fn encoder_layers(&self) -> usize {
        self.convolutions.len() + 2 + usize::from(self.variational)
    }

    fn layers<'a>(&self, weights: &'a [Tensor]) -> Result<Layers<'a>, TchError> {
        let expected = 2 * (self.encoder_layers() + 2 + self.convolutions.len());
        if weights.len() != expected {
            let found = weights.len();
            return Err(TchError::Shape(format!(
                "the network has {expected} weights and biases, not {found}"
            )));
        }
        Ok(Layers(weights.chunks_exact(2)))
    }

    /// The bias of a convolution that an instance normalization follows does nothing: it is taken away with the mean. It
    /// is there because PyTorch's layer has it, and is left out of the sums.
    fn useful<'a>(&self, bias: &'a Tensor) -> Option<&'a Tensor> {
        (!self.instance_norm).then_some(bias)
    }

    fn follow(&self, side: Side, x: &Tensor) -> Result<Tensor, TchError> {
        if self.instance_norm {
            return activate(self.activation, &normalize(self.layout, side, x)?);
        }
        activate(self.activation, x)
    }

    fn linear(&self, layers: &mut Layers<'_>, x: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = layers.next()?;
        self.layout.linear(x, weight, bias)
    }

    /// A linear layer of units, which may be dropped.
    fn units(&self, layers: &mut Layers<'_>, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let units = activate(self.activation, &self.linear(layers, x)?)?;
        if training && self.dropout > 0.0 { units.f_dropout(self.dropout, true) } else { Ok(units) }
    }

    /// The encoder's convolutions; what they give in PyTorch's order, channel by channel.
    fn convolve(&self, layers: &mut Layers<'_>, batch: &Tensor) -> Result<Tensor, TchError> {
        let mut x = batch.shallow_clone();
        for convolution in &self.convolutions {
            let (weight, bias) = layers.next()?;
            x = self.follow(convolution.small(), &convolution.down(&x, weight, self.useful(bias))?)?;
        }
        self.layout.channel_by_channel(&x, self.last())
    }

    /// The code, or the distribution it is drawn from, of what the convolutions gave.
    fn code(
        &self,
        layers: &mut Layers<'_>,
        features: &Tensor,
        training: bool,
    ) -> Result<(Tensor, Option<Tensor>), TchError> {
        let units = self.units(layers, features, training)?;
        let mean = self.linear(layers, &units)?;
        let log_variance = self.variational.then(|| self.linear(layers, &units)).transpose()?;
        Ok((mean, log_variance))
    }

    fn reconstruct(
        &self,
        layers: &mut Layers<'_>,
        codes: &Tensor,
        training: bool,
    ) -> Result<Tensor, TchError> {
        let units = self.units(layers, codes, training)?;
        let features = activate(self.activation, &self.linear(layers, &units)?)?;
        let mut x = self.layout.pixel_by_pixel(&features, self.last())?;
        let Some((first, others)) = self.convolutions.split_first() else { return Ok(x) };
        for convolution in others.iter().rev() {
            let (weight, bias) = layers.next()?;
            x = self.follow(convolution.large(), &convolution.up(&x, weight, self.useful(bias))?)?;
        }
        let (weight, bias) = layers.next()?;
        first.up(&x, weight, Some(bias))?.f_sigmoid()
    }

    /// The code in training: drawn anew for each image. The draws are the same in either layout.
    pub(super) fn draw(&self, mean: &Tensor, log_variance: &Tensor) -> Result<Tensor, TchError> {
        let shape = [self.layout.images(mean)?, self.latent_dim];
        let draws = Tensor::f_randn(shape, (mean.kind(), mean.device()))?;
        let deviation = log_variance.f_mul_scalar(0.5)?.f_exp()?;
        mean.f_add(&deviation.f_mul(&self.layout.arrange(draws)?)?)
    }
}

impl Network for Autoencoder {
    fn parameters(&self) -> Vec<ParameterSpec> {
        let features = self.last().features();
        let mut specs = Vec::new();
        for (name, convolution) in self.names.encoder.iter().zip(&self.convolutions) {
            let shape = convolution.weight_shape();
            specs.extend(ParameterSpec::layer(name, &shape, shape[0]));
        }
        let mut linear = |name: &str, outputs: i64, inputs: i64| {
            specs.extend(ParameterSpec::layer(name, &[outputs, inputs], outputs));
        };
        let [first, code] = self.names.linear;
        linear(first, self.linear_units, features);
        linear(code, self.latent_dim, self.linear_units);
        if self.variational {
            linear(self.names.log_variance, self.latent_dim, self.linear_units);
        }
        let [code, last] = self.names.mirrored;
        linear(code, self.linear_units, self.latent_dim);
        linear(last, features, self.linear_units);
        for (name, convolution) in self.names.decoder.iter().zip(self.convolutions.iter().rev()) {
            let shape = convolution.weight_shape();
            specs.extend(ParameterSpec::layer(name, &shape, shape[1]));
        }
        specs
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn forward(
        &self,
        weights: &[Tensor],
        batch: &Tensor,
        training: bool,
    ) -> Result<Reconstruction, TchError> {
        let mut layers = self.layers(weights)?;
        let features = self.convolve(&mut layers, batch)?;
        let (mean, log_variance) = self.code(&mut layers, &features, training)?;
        let Some(log_variance) = log_variance else {
            let pixels = self.reconstruct(&mut layers, &mean, training)?;
            return Ok(Reconstruction { pixels, latent: None });
        };
        let codes = if training { self.draw(&mean, &log_variance)? } else { mean.shallow_clone() };
        let pixels = self.reconstruct(&mut layers, &codes, training)?;
        Ok(Reconstruction { pixels, latent: Some(Gaussian { mean, log_variance }) })
    }

    fn encode(&self, weights: &[Tensor], batch: &Tensor) -> Result<Tensor, TchError> {
        let mut layers = self.layers(weights)?;
        let features = self.convolve(&mut layers, batch)?;
        let units = self.units(&mut layers, &features, false)?;
        self.layout.images_first(self.linear(&mut layers, &units)?)
    }

    fn decode(&self, weights: &[Tensor], codes: &Tensor) -> Result<Tensor, TchError> {
        let mut layers = self.layers(weights)?;
        for _ in 0..self.encoder_layers() {
            layers.next()?;
        }
        let codes = self.layout.arrange(codes.shallow_clone())?;
        self.layout.images_first(self.reconstruct(&mut layers, &codes, false)?)
    }

    fn features(&self, weights: &[Tensor], batch: &Tensor) -> Result<Tensor, TchError> {
        self.layout.images_first(self.convolve(&mut self.layers(weights)?, batch)?)
    }

    fn feature_count(&self) -> i64 {
        self.last().features()
    }

    fn first_linear(&self) -> (usize, usize) {
        let weight = 2 * self.convolutions.len();
        (weight, weight + 1)
    }
}

/// Refuses what no layer can be; that the convolutions fit the images is checked where their shapes are computed.
fn check(settings: &ModelSettings, height: i64, width: i64) -> Result<(), BuildError> {
    let wrong = |message: String| Err(BuildError::Shape(message));
    let ModelSettings { convolutions, channels, latent_dim, linear_units, dropout, .. } = settings;
    if height < 1 || width < 1 {
        return wrong(format!("images of {height}x{width} have no pixels"));
    }
    if convolutions.is_empty() || convolutions.len() != channels.len() {
        let (layers, widths) = (convolutions.len(), channels.len());
        return wrong(format!(
            "{layers} convolutions and {widths} numbers of channels; there must be one at least, and one number for each"
        ));
    }
    for (number, ([kernel, stride, padding], channels)) in (1..).zip(convolutions.iter().zip(channels)) {
        if *kernel < 1 || *stride < 1 || *padding < 0 || *channels < 1 {
            return wrong(format!(
                "convolution {number}: kernel {kernel}, stride {stride}, padding {padding}, {channels} channels; all must \
                 be 1 at least, the padding 0"
            ));
        }
    }
    if *linear_units < 1 {
        return wrong(format!("linear_units is {linear_units}; it must be at least 1"));
    }
    if *latent_dim < 1 {
        return wrong(format!("latent_dim is {latent_dim}; it must be at least 1"));
    }
    if !(0.0..1.0).contains(dropout) {
        return wrong(format!("dropout is {dropout}; it must be in [0, 1)"));
    }
    Ok(())
}
