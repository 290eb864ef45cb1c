//! A convolution and its mirror image, the transposed convolution, in either layout.

use foldwise_shared::model::ConvShape;
use tch::{Device, TchError, Tensor};

use super::Layout;

/// The geometry between a large image and a small one: [`Convolution::down`] goes from large to small,
/// [`Convolution::up`] is the adjoint and goes back. Both take weights of `[small channels, large channels, k, k]`,
/// which is PyTorch's shape for either.
pub(super) struct Convolution {
    large: Side,
    small: Side,
    shape: ConvShape,
    output_padding: i64,
    taps: Option<Taps>,
}

/// One side of a convolution: square images of some channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub channels: i64,
    pub length: i64,
}

impl Side {
    fn features(self) -> i64 {
        self.channels * self.length * self.length
    }
}

/// For [`Layout::ImagesLast`]: which feature of the large image each factor of the matrix product is.
struct Taps {
    /// The feature of (large channel, kernel row, kernel column, small row, small column), flattened; one past the
    /// last feature stands for the padding.
    features: Tensor,
    padded: bool,
}

impl Convolution {
    pub fn new(
        large: Side,
        small_channels: i64,
        shape: ConvShape,
        layout: Layout,
        device: Device,
    ) -> Result<Self, TchError> {
        let length = (large.length + 2 * shape.padding - shape.kernel) / shape.stride + 1;
        let small = Side { channels: small_channels, length };
        let taps = match layout {
            Layout::ImagesFirst => None,
            Layout::ImagesLast => Some(Taps::new(large, small, shape, device)?),
        };
        let output_padding = large.length - shape.transposed(length);
        Ok(Convolution { large, small, shape, output_padding, taps })
    }

    pub fn small(&self) -> Side {
        self.small
    }

    /// The shape of the weights.
    pub fn weight_shape(&self) -> Vec<i64> {
        vec![self.small.channels, self.large.channels, self.shape.kernel, self.shape.kernel]
    }

    /// The convolution of a batch of large images; `bias` is one number a small channel.
    pub fn down(&self, batch: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TchError> {
        let ConvShape { stride, padding, .. } = self.shape;
        let Side { channels, length } = self.large;
        let Some(taps) = &self.taps else {
            return batch
                .f_view([-1, channels, length, length])?
                .f_conv2d(weight, Some(bias), stride, padding, 1, 1)?
                .f_flatten(1, -1);
        };
        let columns = self.columns(&taps.gather(batch)?)?;
        let product = bias.f_unsqueeze(1)?.f_addmm(&weight.f_view([self.small.channels, -1])?, &columns)?;
        product.f_view([self.small.features(), -1])
    }

    /// The transposed convolution of a batch of small images; `bias` is one number a large channel.
    pub fn up(&self, batch: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TchError> {
        let ConvShape { stride, padding, .. } = self.shape;
        let Side { channels, length } = self.small;
        let Some(taps) = &self.taps else {
            return batch
                .f_view([-1, channels, length, length])?
                .f_conv_transpose2d(weight, Some(bias), stride, padding, self.output_padding, 1, 1)?
                .f_flatten(1, -1);
        };
        let images = batch.size2()?.1;
        let columns = weight.f_view([channels, -1])?.f_tr()?.f_mm(&batch.f_view([channels, -1])?)?;
        let area = self.large.length * self.large.length;
        let bias = bias.f_unsqueeze(1)?.f_expand([self.large.channels, area], false)?.f_reshape([-1])?;
        taps.scatter_add(&bias, &columns.f_view([-1, images])?)
    }

    /// Gathered rows as the right factor of the product: `[large channels * k * k, small positions * images]`.
    fn columns(&self, rows: &Tensor) -> Result<Tensor, TchError> {
        rows.f_view([self.large.channels * self.shape.kernel * self.shape.kernel, -1])
    }
}

impl Taps {
    fn new(large: Side, small: Side, shape: ConvShape, device: Device) -> Result<Self, TchError> {
        let mut features = Vec::new();
        let padding = large.features();
        for channel in 0..large.channels {
            for (kernel_row, kernel_column) in grid(shape.kernel) {
                for (row, column) in grid(small.length) {
                    let row = row * shape.stride - shape.padding + kernel_row;
                    let column = column * shape.stride - shape.padding + kernel_column;
                    let inside = (0..large.length).contains(&row) && (0..large.length).contains(&column);
                    let feature = (channel * large.length + row) * large.length + column;
                    features.push(if inside { feature } else { padding });
                }
            }
        }
        let padded = features.contains(&padding);
        Ok(Taps { features: Tensor::f_from_slice(&features)?.f_to(device)?, padded })
    }

    /// The rows of `batch` that the taps name, zero for the padding.
    fn gather(&self, batch: &Tensor) -> Result<Tensor, TchError> {
        if self.padded {
            return batch.f_constant_pad_nd([0, 0, 0, 1])?.f_index_select(0, &self.features);
        }
        batch.f_index_select(0, &self.features)
    }

    /// `start`, one number a feature, plus each row of `rows` at the feature its tap names.
    fn scatter_add(&self, start: &Tensor, rows: &Tensor) -> Result<Tensor, TchError> {
        let images = rows.size2()?.1;
        let count = start.size1()?;
        let padded = if self.padded { start.f_constant_pad_nd([0, 1])? } else { start.shallow_clone() };
        padded
            .f_unsqueeze(1)?
            .f_expand([-1, images], false)?
            .f_contiguous()?
            .f_index_add_(0, &self.features, rows)?
            .f_narrow(0, 0, count)
    }
}

/// All (row, column) of a square, row by row.
fn grid(length: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..length).flat_map(move |row| (0..length).map(move |column| (row, column)))
}
