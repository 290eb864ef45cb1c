//! The errors of a model over many images.

use foldwise_shared::spec::Corruption;
use tch::{Kind, Tensor};

use super::{Halt, Watch};
use crate::corruption;
use crate::fitted::FittedModel;
use crate::images::DeviceImages;
use crate::model::Losses;

/// What a model comes to, each a mean over the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Errors {
    /// The squared error per pixel.
    pub mse: f64,
    /// The KL divergence of the codes, for a variational network.
    pub kl: Option<f64>,
    /// What the training made small.
    pub loss: f64,
}

/// The errors of the images that `indices` name, whose input goes through `steps`; what it is held against does not.
/// libtorch's generator is the caller's to seed.
pub(super) fn errors(
    model: &FittedModel,
    images: &DeviceImages,
    indices: &Tensor,
    steps: &[Corruption],
    watch: &Watch<'_>,
) -> Result<Errors, Halt> {
    let _guard = tch::no_grad_guard();
    let layout = model.network.layout();
    let count = indices.size1()?;
    let most = images.evaluation_batch(layout);
    let zero = || Tensor::f_zeros(&[] as &[i64], (Kind::Double, images.device()));
    let (mut mse, mut loss, mut kl) = (zero()?, zero()?, None);
    for start in (0..count).step_by(most) {
        watch.go_on()?;
        let length = (count - start).min(most as i64);
        let batch = images.batch(&indices.f_narrow(0, start, length)?, layout)?;
        let input = corruption::apply(steps, &batch, layout, images.height(), images.width())?;
        let reconstruction = model.network.forward(&model.weights, &input, false)?;
        let losses = Losses::of(&reconstruction, &batch, layout, model.settings.beta)?;
        let length = length as f64;
        mse = mse.f_add_(&losses.mse.f_mul_scalar(length)?)?;
        loss = loss.f_add_(&losses.total.f_mul_scalar(length)?)?;
        if let Some(divergence) = losses.kl {
            let sum = kl.take().map_or_else(zero, Ok)?;
            kl = Some(sum.f_add(&divergence.f_mul_scalar(length)?)?);
        }
    }
    let mean = |sum: &Tensor| Ok::<_, Halt>(sum.f_double_value(&[])? / count as f64);
    Ok(Errors { mse: mean(&mse)?, loss: mean(&loss)?, kl: kl.as_ref().map(mean).transpose()? })
}
