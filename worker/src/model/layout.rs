//! How a batch lies in memory, and the layers that depend on nothing else.

use tch::{Device, TchError, Tensor};

use super::convolution::Side;

/// Pixels of an image of 28x28.
const SMALL: usize = 784;

/// The order of a batch's two axes. A feature is one pixel of one channel, or one unit of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[images, features]`, PyTorch's order: convolutions are libtorch's own.
    ImagesFirst,
    /// `[features, images]`: a shift of the image is a move of whole rows, so that a convolution is a gather of rows
    /// and matrix products. For these small images it is faster than libtorch's convolutions on a CPU. Between the
    /// convolutions the features lie pixel by pixel, all channels of one after the other; in PyTorch's order, which that
    /// of the linear layers' weights is, they lie channel by channel.
    ImagesLast,
}

impl Layout {
    /// The layout that trains fastest.
    pub fn fastest_on(device: Device) -> Layout {
        match device {
            Device::Cpu => Layout::ImagesLast,
            _ => Layout::ImagesFirst,
        }
    }

    /// Images a step where nothing is learned: a GPU wants many; a CPU as many as its cache holds with all that is
    /// gathered from them (256 were 1.3 times as fast as 2,048). Of larger images than 28x28 fewer, so that a step takes no
    /// more memory.
    pub(crate) fn evaluation_batch(self, pixels: i64) -> usize {
        let most = match self {
            Layout::ImagesFirst => 2048,
            Layout::ImagesLast => 256,
        };
        let pixels = usize::try_from(pixels).unwrap_or_default();
        (most * SMALL / pixels.max(SMALL)).max(1)
    }

    /// A batch of this layout from `[images, features]`.
    pub(crate) fn arrange(self, batch: Tensor) -> Result<Tensor, TchError> {
        match self {
            Layout::ImagesFirst => Ok(batch),
            Layout::ImagesLast => batch.f_tr()?.f_contiguous(),
        }
    }

    /// `weight * batch + bias` for each image; `weight` is `[outputs, inputs]`.
    pub(crate) fn linear(self, batch: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Layout::ImagesFirst => batch.f_linear(weight, Some(bias)),
            Layout::ImagesLast => bias.f_unsqueeze(1)?.f_addmm(weight, batch),
        }
    }

    /// A batch as `[images, features]`: the opposite of [`Layout::arrange`].
    pub(crate) fn images_first(self, batch: Tensor) -> Result<Tensor, TchError> {
        self.arrange(batch)
    }

    /// How many images a batch has.
    pub(crate) fn images(self, batch: &Tensor) -> Result<i64, TchError> {
        let (rows, columns) = batch.size2()?;
        Ok(if self == Layout::ImagesFirst { rows } else { columns })
    }

    /// How many features each image of a batch has.
    pub(crate) fn features(self, batch: &Tensor) -> Result<i64, TchError> {
        let (rows, columns) = batch.size2()?;
        Ok(if self == Layout::ImagesFirst { columns } else { rows })
    }

    /// What the convolutions gave, for a linear layer.
    pub(super) fn channel_by_channel(self, x: &Tensor, side: Side) -> Result<Tensor, TchError> {
        self.swap(x, side.area(), side.channels)
    }

    /// What a linear layer gave, for the convolutions.
    pub(super) fn pixel_by_pixel(self, x: &Tensor, side: Side) -> Result<Tensor, TchError> {
        self.swap(x, side.channels, side.area())
    }

    fn swap(self, x: &Tensor, outer: i64, inner: i64) -> Result<Tensor, TchError> {
        if self == Layout::ImagesFirst {
            return Ok(x.shallow_clone());
        }
        let images = x.size2()?.1;
        x.f_view([outer, inner, images])?.f_transpose(0, 1)?.f_reshape([-1, images])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_large_images_fewer_are_evaluated_at_once() {
        for (layout, most) in [(Layout::ImagesFirst, 2048), (Layout::ImagesLast, 256)] {
            assert_eq!([1, 784].map(|pixels| layout.evaluation_batch(pixels)), [most; 2]);
            assert_eq!(layout.evaluation_batch(4 * 784), most / 4);
            assert_eq!(layout.evaluation_batch(1 << 28), 1);
        }
    }
}
