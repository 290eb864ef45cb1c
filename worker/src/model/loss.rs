//! What a network is trained to make small.

use tch::{Reduction, TchError, Tensor};

use super::{Gaussian, Layout, Reconstruction};

/// The losses of one batch, each a tensor of one number that gradients flow through, averaged over its images: the
/// mean over several batches is that of these, weighted by their images.
#[derive(Debug)]
pub struct Losses {
    /// What is made small: the `mse` of a plain network; the squared error summed over the pixels plus beta times the
    /// `kl` of a variational one.
    pub total: Tensor,
    /// The mean squared error per pixel.
    pub mse: Tensor,
    /// For a variational network: the KL divergence of the code's distribution from the standard normal one, summed over
    /// the code.
    pub kl: Option<Tensor>,
}

impl Losses {
    /// Of a reconstruction of `target`, both in `layout`; `beta` counts only for a variational network. With the mean over
    /// the pixels in place of their sum the code would collapse for any beta near 1.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn of(
        reconstruction: &Reconstruction,
        target: &Tensor,
        layout: Layout,
        beta: f64,
    ) -> Result<Self, TchError> {
        let mse = reconstruction.pixels.f_mse_loss(target, Reduction::Mean)?;
        let Some(latent) = &reconstruction.latent else {
            return Ok(Self { total: mse.shallow_clone(), mse, kl: None });
        };
        let kl = latent.kl(layout)?;
        let pixels = layout.features(target)?;
        let total = mse.f_mul_scalar(pixels as f64)?.f_add(&kl.f_mul_scalar(beta)?)?;
        Ok(Self { total, mse, kl: Some(kl) })
    }
}

impl Gaussian {
    /// The KL divergence from the standard normal distribution, summed over the code and averaged over the images
    /// (Kingma and Welling, Auto-Encoding Variational Bayes, 2014, appendix B).
    fn kl(&self, layout: Layout) -> Result<Tensor, TchError> {
        let Gaussian { mean, log_variance } = self;
        let terms = mean.f_square()?.f_add(&log_variance.f_exp()?)?.f_sub(log_variance)?.f_sub_scalar(1.0)?;
        terms.f_sum(None)?.f_mul_scalar(0.5 / layout.images(mean)? as f64)
    }
}
