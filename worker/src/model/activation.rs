//! What comes after a layer: an activation, and for the convolutions a normalization before it.

use foldwise_shared::model::Activation;
use tch::{TchError, Tensor};

use super::Layout;
use super::convolution::Side;

/// Added to the variance, as PyTorch's `InstanceNorm2d` does.
const EPSILON: f64 = 1e-5;

/// The activation of each number.
pub(crate) fn activate(activation: Activation, x: &Tensor) -> Result<Tensor, TchError> {
    match activation {
        Activation::Relu => x.f_relu(),
        Activation::LeakyRelu => x.f_leaky_relu(),
        Activation::Elu => x.f_elu(),
        Activation::Gelu => x.f_gelu("none"),
        Activation::Silu => x.f_silu(),
        Activation::Tanh => x.f_tanh(),
    }
}

/// Instance normalization without weights (Ulyanov, Vedaldi and Lempitsky, 2016): each channel of each image minus its
/// mean, over its (biased) deviation.
pub(super) fn normalize(layout: Layout, side: Side, x: &Tensor) -> Result<Tensor, TchError> {
    let none = None::<&Tensor>;
    let (channels, area) = (side.channels, side.area());
    match layout {
        // One pass, where libtorch's own instance normalization takes the way over a batch normalization.
        Layout::ImagesFirst => {
            let rows = x.f_view([-1, channels, area])?;
            rows.f_layer_norm(area, none, none, EPSILON, false)?.f_flatten(1, -1)
        }
        // Each channel of each image is a column: a batch normalization of one image with as many channels as there are
        // columns, in libtorch's order of channels last.
        Layout::ImagesLast => {
            let images = x.size2()?.1;
            let pixels = x.f_view([1, area, 1, channels * images])?.f_permute([0, 3, 1, 2])?;
            let normal = pixels.f_batch_norm(none, none, none, none, true, 0.0, EPSILON, false)?;
            normal.f_permute([0, 2, 3, 1])?.f_reshape([-1, images])
        }
    }
}
