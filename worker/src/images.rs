//! The images of a data set on the device, as bytes, once for a process; batches become floats there.

use std::fmt;
use std::sync::Arc;

use tch::{Device, Kind, TchError, Tensor};

use crate::model::Layout;

/// Memory that holds the gray values of images and never changes.
pub trait ImageBytes: Send + Sync + 'static {
    /// All values, image by image and row by row; the same slice at every call.
    fn bytes(&self) -> &[u8];
}

impl ImageBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The training images.
impl ImageBytes for foldwise_data::Dataset {
    fn bytes(&self) -> &[u8] {
        self.train().bytes()
    }
}

/// The test images of a data set that has some.
struct TestBytes(Arc<foldwise_data::Dataset>);

impl ImageBytes for TestBytes {
    fn bytes(&self) -> &[u8] {
        self.0.test().map_or(&[], foldwise_data::Images::bytes)
    }
}

/// Images of one channel on a device. [`DeviceImages::share`] gives another thread a handle on the same memory.
pub struct DeviceImages {
    /// `[images, height * width]` bytes; on a CPU a view of `_memory`.
    pixels: Tensor,
    count: i64,
    height: i64,
    width: i64,
    /// Dropped after `pixels`, which may point into it: fields are dropped in this order.
    _memory: Option<Arc<dyn ImageBytes>>,
}

impl fmt::Debug for DeviceImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceImages { count, height, width, .. } = self;
        write!(f, "DeviceImages({count} of {height}x{width} on {:?})", self.device())
    }
}

/// Why images could not be put on a device.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The bytes do not fit the shape.
    #[error("{bytes} bytes are not {count} images of {height}x{width}")]
    Size {
        /// Bytes there are.
        bytes: usize,
        /// Images there should be.
        count: usize,
        /// Rows of each.
        height: usize,
        /// Columns of each.
        width: usize,
    },
    /// libtorch failed.
    #[error("failed to put the images on the device")]
    Torch(#[from] TchError),
}

impl DeviceImages {
    /// Another handle on the same memory, for another thread; nothing is copied.
    pub fn share(&self) -> Self {
        let DeviceImages { pixels, count, height, width, _memory } = self;
        Self {
            pixels: pixels.shallow_clone(),
            count: *count,
            height: *height,
            width: *width,
            _memory: _memory.clone(),
        }
    }

    /// Puts `count` images of `height` x `width` on `device`. On a CPU nothing is copied: processes that map the same
    /// file share its pages.
    ///
    /// # Errors
    /// [`ImagesError::Size`] if there are not `count * height * width` bytes.
    pub fn new(
        memory: Arc<dyn ImageBytes>,
        count: usize,
        height: usize,
        width: usize,
        device: Device,
    ) -> Result<Self, ImagesError> {
        let size = |bytes| ImagesError::Size { bytes, count, height, width };
        let bytes = memory.bytes();
        let expected = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(count));
        if expected != Some(bytes.len()) || bytes.is_empty() {
            return Err(size(bytes.len()));
        }
        let signed = |value: usize| i64::try_from(value).map_err(|_| size(bytes.len()));
        let (count, height, width) = (signed(count)?, signed(height)?, signed(width)?);
        let host = borrow(bytes, &[count, height * width])?;
        let (pixels, memory) =
            if device == Device::Cpu { (host, Some(memory)) } else { (host.f_to(device)?, None) };
        Ok(DeviceImages { pixels, count, height, width, _memory: memory })
    }

    /// Puts the training images of a data set on `device`.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn training(dataset: Arc<foldwise_data::Dataset>, device: Device) -> Result<Self, ImagesError> {
        let shape = dataset.train().shape();
        DeviceImages::new(dataset, shape.count, shape.height, shape.width, device)
    }

    /// Puts the test images of a data set on `device`; none if it has no test images.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn test(dataset: &Arc<foldwise_data::Dataset>, device: Device) -> Result<Option<Self>, ImagesError> {
        let Some(shape) = dataset.test().map(foldwise_data::Images::shape) else { return Ok(None) };
        let memory = Arc::new(TestBytes(Arc::clone(dataset)));
        DeviceImages::new(memory, shape.count, shape.height, shape.width, device).map(Some)
    }

    /// The device they are on.
    pub fn device(&self) -> Device {
        self.pixels.device()
    }

    /// Number of images; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set without images is refused")]
    pub fn len(&self) -> i64 {
        self.count
    }

    /// Rows of an image.
    pub fn height(&self) -> i64 {
        self.height
    }

    /// Columns of an image.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// How many of them a step takes where nothing is learned.
    pub(crate) fn evaluation_batch(&self, layout: Layout) -> usize {
        layout.evaluation_batch(self.height * self.width)
    }

    /// The images that `indices` name (64-bit integers on the same device), as floats in `[0, 1]`: a fresh tensor
    /// of `[images, pixels]` or `[pixels, images]`.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn batch(&self, indices: &Tensor, layout: Layout) -> Result<Tensor, TchError> {
        let bytes = layout.arrange(self.pixels.f_index_select(0, indices)?)?;
        bytes.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)
    }
}

/// A tensor over memory that somebody else owns.
#[expect(unsafe_code, reason = "the one place where a tensor borrows memory: no copy of a data set on a CPU")]
fn borrow(bytes: &[u8], shape: &[i64]) -> Result<Tensor, TchError> {
    // SAFETY: the caller keeps the memory alive as long as the tensor (`DeviceImages` owns both, never hands out the
    // tensor itself, and only reads through it), and the shape's product is the slice's length.
    unsafe { Tensor::f_from_blob(bytes.as_ptr(), shape, &[], Kind::Uint8, Device::Cpu) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_chosen_images_scaled() {
        let bytes: Vec<u8> = vec![0, 51, 102, 153, 204, 255];
        let images = DeviceImages::new(Arc::new(bytes), 3, 1, 2, Device::Cpu).expect("it fits");
        let chosen = Tensor::from_slice(&[2_i64, 0]);
        let values = |layout| {
            let batch = images.batch(&chosen, layout).expect("they are there");
            (batch.size(), Vec::<f32>::try_from(batch.reshape([-1])).expect("floats"))
        };
        assert_eq!(values(Layout::ImagesFirst), (vec![2, 2], vec![0.8, 1.0, 0.0, 0.2]));
        assert_eq!(values(Layout::ImagesLast), (vec![2, 2], vec![0.8, 0.0, 1.0, 0.2]));
    }

    #[test]
    fn a_cpu_borrows_the_memory_and_keeps_it() {
        let memory: Arc<dyn ImageBytes> = Arc::new(vec![7_u8; 12]);
        let address = memory.bytes().as_ptr();
        let images = DeviceImages::new(memory.clone(), 3, 2, 2, Device::Cpu).expect("it fits");
        assert_eq!(images.pixels.data_ptr().cast_const().cast(), address);
        assert_eq!(Arc::strong_count(&memory), 2);
        drop(images);
        assert_eq!(Arc::strong_count(&memory), 1);
    }

    #[test]
    fn wrong_sizes_are_errors() {
        for (bytes, count) in [(11, 3), (0, 0), (12, usize::MAX)] {
            let error =
                DeviceImages::new(Arc::new(vec![0_u8; bytes]), count, 2, 2, Device::Cpu).expect_err("no");
            assert!(error.to_string().contains("are not"), "{error}");
        }
    }
}
