//! What is done to an autoencoder's input: flips, noise, and pieces set to 0, each for a share of the images.
//!
//! Everything is drawn by libtorch's generator on the batch's device, a number an image, and done to the whole batch at once:
//! a piece of an image is a comparison of row and column numbers with where it begins and ends.

#[cfg(test)]
mod tests;

use foldwise_shared::spec::{Corruption, Erasing, Gaussian, Occlusion};
use tch::{Device, Kind, TchError, Tensor};

use crate::model::Layout;

/// How often a place for an erased rectangle is drawn before an image is left whole; as torchvision.
const ERASING_TRIES: i64 = 10;

/// A batch after one corruption after another. `batch` is one of images of one channel, `height` x `width`, in `layout`, and
/// is left as it is. The same generator state gives the same images in either layout.
///
/// # Errors
/// What libtorch says, such as a lack of memory or a batch of another shape.
pub fn apply(
    steps: &[Corruption],
    batch: &Tensor,
    layout: Layout,
    height: i64,
    width: i64,
) -> Result<Tensor, TchError> {
    let shape = batch.size();
    let (first, last) = batch.size2()?;
    let (images, view) = match layout {
        Layout::ImagesFirst => (first, [first, height, width]),
        Layout::ImagesLast => (last, [height, width, last]),
    };
    let frame = Frame { layout, images, height, width, device: batch.device() };
    let mut pixels = batch.f_view(view)?;
    for step in steps {
        if step.probability() > 0.0 {
            pixels = frame.corrupt(step, &pixels)?;
        }
    }
    pixels.f_reshape(shape)
}

/// The shape of a batch whose pixels are `[images, height, width]` or `[height, width, images]`.
struct Frame {
    layout: Layout,
    images: i64,
    height: i64,
    width: i64,
    device: Device,
}

/// A rectangle an image, each side a number an image: from `top` and `left`, this high and wide.
struct Rectangles {
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
}

impl Frame {
    fn corrupt(&self, step: &Corruption, pixels: &Tensor) -> Result<Tensor, TchError> {
        let chosen = self.chosen(step.probability())?;
        let (rows, columns) = match self.layout {
            Layout::ImagesFirst => (1, 2),
            Layout::ImagesLast => (0, 1),
        };
        match step {
            Corruption::HorizontalFlip(_) => choose(chosen, &pixels.f_flip([columns])?, pixels),
            Corruption::VerticalFlip(_) => choose(chosen, &pixels.f_flip([rows])?, pixels),
            Corruption::Gaussian(Gaussian { deviation, .. }) => {
                let mut noise = self.normal()?.f_mul_scalar_(*deviation)?;
                choose(chosen, &noise.f_add_(pixels)?, pixels)
            }
            Corruption::Occlusion(occlusion) => self.clear(pixels, self.squares(occlusion)?, chosen),
            Corruption::Erasing(erasing) => {
                let (rectangles, found) = self.rectangles(erasing)?;
                let found = self.spread(&found)?;
                let chosen =
                    chosen.map_or(Ok(found.shallow_clone()), |chosen| chosen.f_logical_and(&found))?;
                self.clear(pixels, rectangles, Some(chosen))
            }
        }
    }

    /// Which images are changed, spread over their pixels; none if all are.
    fn chosen(&self, probability: f64) -> Result<Option<Tensor>, TchError> {
        if probability >= 1.0 {
            return Ok(None);
        }
        self.spread(&self.uniform(&[self.images])?.f_lt(probability)?).map(Some)
    }

    /// Numbers from `[0, 1)`.
    fn uniform(&self, shape: &[i64]) -> Result<Tensor, TchError> {
        Tensor::f_rand(shape, (Kind::Float, self.device))
    }

    /// Numbers from the standard normal distribution, one a pixel, drawn image by image.
    fn normal(&self) -> Result<Tensor, TchError> {
        let drawn = Tensor::f_randn([self.images, self.height * self.width], (Kind::Float, self.device))?;
        let arranged = self.layout.arrange(drawn)?;
        match self.layout {
            Layout::ImagesFirst => arranged.f_view([self.images, self.height, self.width]),
            Layout::ImagesLast => arranged.f_view([self.height, self.width, self.images]),
        }
    }

    /// A number an image, to be broadcast over its pixels.
    fn spread(&self, numbers: &Tensor) -> Result<Tensor, TchError> {
        match self.layout {
            Layout::ImagesFirst => numbers.f_view([-1, 1, 1]),
            Layout::ImagesLast => numbers.f_view([1, 1, -1]),
        }
    }

    /// A whole number an image, uniform from 0 to `most` (a number or one an image) with both ends.
    fn places(&self, most: &Tensor) -> Result<Tensor, TchError> {
        let drawn = self.uniform(&[self.images])?.f_mul(&most.f_add_scalar(1.0)?)?.f_floor()?;
        drawn.f_minimum(most)
    }

    /// Squares of a share of the pixels, wholly within the images. In images that are no squares they are as long in height as
    /// in width by share, so that any share up to 1 fits.
    fn squares(&self, occlusion: &Occlusion) -> Result<Rectangles, TchError> {
        let side = |length: i64| (occlusion.fraction.sqrt() * length as f64).round().min(length as f64);
        let (height, width) = (side(self.height), side(self.width));
        let number = |number: f64| Tensor::f_full([1], number, (Kind::Float, self.device));
        Ok(Rectangles {
            top: self.places(&number(self.height as f64 - height)?)?,
            left: self.places(&number(self.width as f64 - width)?)?,
            height: number(height)?,
            width: number(width)?,
        })
    }

    /// Rectangles as torchvision's `RandomErasing` (Zhong et al., Random Erasing Data Augmentation, 2017) draws them: a share of
    /// the area that is uniform, a height by width whose logarithm is; the first of ten that is smaller than the image in
    /// both directions. Beside them, which images have found one.
    fn rectangles(&self, erasing: &Erasing) -> Result<(Rectangles, Tensor), TchError> {
        let between = |low: f64, high: f64| -> Result<Tensor, TchError> {
            self.uniform(&[ERASING_TRIES, self.images])?.f_mul_scalar_(high - low)?.f_add_scalar_(low)
        };
        let Erasing { area: (least, most), aspect: (flat, tall), .. } = *erasing;
        let pixels = (self.height * self.width) as f64;
        let areas = between(least * pixels, most * pixels)?;
        let aspects = between(flat.ln(), tall.ln())?.f_exp()?;
        let heights = areas.f_mul(&aspects)?.f_sqrt()?.f_round()?;
        let widths = areas.f_div(&aspects)?.f_sqrt()?.f_round()?;
        let fits = heights.f_lt(self.height as f64)?.f_logical_and(&widths.f_lt(self.width as f64)?)?;
        // The first that fits has the greatest number.
        let countdown = Tensor::f_arange_start_step(ERASING_TRIES, 0, -1, (Kind::Int64, self.device))?;
        let ranks = fits.f_to_kind(Kind::Int64)?.f_mul(&countdown.f_unsqueeze(1)?)?;
        let first = ranks.f_argmax(0, true)?;
        let pick = |tries: &Tensor| tries.f_gather(0, &first, false)?.f_view([self.images]);
        let (height, width, found) = (pick(&heights)?, pick(&widths)?, pick(&fits)?);
        let room = |length: i64, taken: &Tensor| taken.f_neg()?.f_add_scalar(length as f64);
        let top = self.places(&room(self.height, &height)?)?;
        let left = self.places(&room(self.width, &width)?)?;
        Ok((Rectangles { top, left, height, width }, found))
    }

    /// Pixels within the rectangles of the chosen images set to 0.
    fn clear(
        &self,
        pixels: &Tensor,
        rectangles: Rectangles,
        chosen: Option<Tensor>,
    ) -> Result<Tensor, TchError> {
        let Rectangles { top, left, height, width } = rectangles;
        let within = |numbers: Tensor, start: &Tensor, length: &Tensor| {
            let end = self.spread(&start.f_add(length)?)?;
            numbers.f_ge_tensor(&self.spread(start)?)?.f_logical_and(&numbers.f_lt_tensor(&end)?)
        };
        let numbers = |length: i64| Tensor::f_arange(length, (Kind::Float, self.device));
        let (rows, columns) = match self.layout {
            Layout::ImagesFirst => ([1, -1, 1], [1, 1, -1]),
            Layout::ImagesLast => ([-1, 1, 1], [1, -1, 1]),
        };
        let rows = within(numbers(self.height)?.f_view(rows)?, &top, &height)?;
        let columns = within(numbers(self.width)?.f_view(columns)?, &left, &width)?;
        let mut mask = rows.f_logical_and(&columns)?;
        if let Some(chosen) = chosen {
            mask = mask.f_logical_and(&chosen)?;
        }
        pixels.f_masked_fill(&mask, 0.0)
    }
}

/// The changed pixels of the chosen images, the old ones of the others.
fn choose(chosen: Option<Tensor>, changed: &Tensor, pixels: &Tensor) -> Result<Tensor, TchError> {
    match chosen {
        Some(chosen) => changed.f_where_self(&chosen, pixels),
        None => Ok(changed.shallow_clone()),
    }
}
