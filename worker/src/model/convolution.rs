//! A convolution and its mirror image, the transposed convolution, in either layout.

use foldwise_shared::model::{ConvShape, Layer};
use tch::{Device, TchError, Tensor};

use super::Layout;

/// The geometry between a large image and a small one: [`Convolution::down`] goes from large to small,
/// [`Convolution::up`] is the adjoint and goes back. Both take weights of `[small channels, large channels, k, k]`,
/// which is PyTorch's shape for either.
pub(super) struct Convolution {
    large: Side,
    small: Side,
    shape: ConvShape,
    output_padding: (i64, i64),
    taps: Option<Taps>,
}

/// One side of a convolution: images of some channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub channels: i64,
    pub height: i64,
    pub width: i64,
}

impl Side {
    /// Pixels of one channel.
    pub fn area(self) -> i64 {
        self.height * self.width
    }

    /// Pixels of all channels.
    pub fn features(self) -> i64 {
        self.channels * self.area()
    }
}

/// For [`Layout::ImagesLast`]: which pixel of the large image each factor of the matrix product is.
struct Taps {
    /// The pixel of (small row, small column, kernel row, kernel column), flattened; one past the last pixel stands for
    /// the padding.
    pixels: Tensor,
    padded: bool,
}

impl Convolution {
    pub fn new(
        layer: Layer,
        (large_channels, small_channels): (i64, i64),
        layout: Layout,
        device: Device,
    ) -> Result<Self, TchError> {
        let Layer { shape, input, output, output_padding } = layer;
        let side = |channels, (height, width)| Side { channels, height, width };
        let (large, small) = (side(large_channels, input), side(small_channels, output));
        let taps = match layout {
            Layout::ImagesFirst => None,
            Layout::ImagesLast => Some(Taps::new(large, small, shape, device)?),
        };
        Ok(Convolution { large, small, shape, output_padding, taps })
    }

    pub fn large(&self) -> Side {
        self.large
    }

    pub fn small(&self) -> Side {
        self.small
    }

    /// The shape of the weights.
    pub fn weight_shape(&self) -> Vec<i64> {
        vec![self.small.channels, self.large.channels, self.shape.kernel, self.shape.kernel]
    }

    /// The convolution of a batch of large images; `bias` is one number a small channel.
    pub fn down(&self, batch: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
        let ConvShape { stride, padding, .. } = self.shape;
        let Side { channels, height, width } = self.large;
        let Some(taps) = &self.taps else {
            return batch
                .f_view([-1, channels, height, width])?
                .f_conv2d(weight, bias, stride, padding, 1, 1)?
                .f_flatten(1, -1);
        };
        let images = batch.size2()?.1;
        let area = self.small.area();
        // The kernel's axes before the channels', as the taps have them.
        let factor = weight.f_permute([0, 2, 3, 1])?.f_reshape([1, self.small.channels, -1])?;
        let factor = factor.f_expand([area, -1, -1], false)?;
        let rows = taps.gather(&batch.f_view([-1, channels * images])?)?;
        let columns = rows.f_view([area, -1, images])?;
        let product = match bias {
            Some(bias) => bias.f_view([1, -1, 1])?.f_baddbmm(&factor, &columns, 1, 1)?,
            None => factor.f_bmm(&columns)?,
        };
        product.f_view([-1, images])
    }

    /// The transposed convolution of a batch of small images; `bias` is one number a large channel.
    pub fn up(&self, batch: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
        let ConvShape { stride, padding, .. } = self.shape;
        let Side { channels, height, width } = self.small;
        let Some(taps) = &self.taps else {
            let (rows, columns) = self.output_padding;
            return batch
                .f_view([-1, channels, height, width])?
                .f_conv_transpose2d(weight, bias, stride, padding, [rows, columns], 1, 1)?
                .f_flatten(1, -1);
        };
        let images = batch.size2()?.1;
        let area = self.small.area();
        let factor = weight.f_permute([2, 3, 1, 0])?.f_reshape([1, -1, channels])?;
        let factor = factor.f_expand([area, -1, -1], false)?;
        let columns = factor.f_bmm(&batch.f_view([area, channels, images])?)?;
        let Side { channels, .. } = self.large;
        let row = match bias {
            Some(bias) => bias.f_unsqueeze(1)?.f_expand([-1, images], false)?.f_reshape([1, -1])?,
            None => columns.f_new_zeros([1, channels * images], (columns.kind(), columns.device()))?,
        };
        let pixels = taps.scatter_add(&row, self.large.area(), &columns.f_view([-1, channels * images])?)?;
        pixels.f_view([-1, images])
    }
}

impl Taps {
    fn new(large: Side, small: Side, shape: ConvShape, device: Device) -> Result<Self, TchError> {
        let mut pixels = Vec::new();
        let padding = large.area();
        for (row, column) in grid(small.height, small.width) {
            for (kernel_row, kernel_column) in grid(shape.kernel, shape.kernel) {
                let row = row * shape.stride - shape.padding + kernel_row;
                let column = column * shape.stride - shape.padding + kernel_column;
                let inside = (0..large.height).contains(&row) && (0..large.width).contains(&column);
                pixels.push(if inside { row * large.width + column } else { padding });
            }
        }
        let padded = pixels.contains(&padding);
        Ok(Taps { pixels: Tensor::f_from_slice(&pixels)?.f_to(device)?, padded })
    }

    /// The rows of `pixels` that the taps name, zero for the padding.
    fn gather(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        if self.padded {
            return pixels.f_constant_pad_nd([0, 0, 0, 1])?.f_index_select(0, &self.pixels);
        }
        pixels.f_index_select(0, &self.pixels)
    }

    /// `start` for each of `count` pixels, plus each row of `rows` at the pixel its tap names.
    fn scatter_add(&self, start: &Tensor, count: i64, rows: &Tensor) -> Result<Tensor, TchError> {
        start
            .f_expand([count + i64::from(self.padded), -1], false)?
            .f_contiguous()?
            .f_index_add_(0, &self.pixels, rows)?
            .f_narrow(0, 0, count)
    }
}

/// All (row, column) of a rectangle, row by row.
fn grid(height: i64, width: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..height).flat_map(move |row| (0..width).map(move |column| (row, column)))
}
