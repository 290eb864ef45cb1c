//! Images as bytes: mapped read-only from a file, or in memory where nothing can be mapped.

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

use crate::digest;

/// How many images there are, and how large each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Values of a pixel; 1 for everything this crate reads.
    pub channels: usize,
}

impl Shape {
    /// The length of all images in bytes, or `None` where no machine could hold them.
    pub fn total_bytes(&self) -> Option<usize> {
        self.count.checked_mul(self.height)?.checked_mul(self.width)?.checked_mul(self.channels)
    }
}

/// A part of a data set: images, and labels where there are some.
#[derive(Debug)]
pub struct Images {
    shape: Shape,
    bytes: Bytes,
    labels: Option<Vec<u8>>,
}

impl Images {
    /// The caller has checked that there are as many bytes and labels as the shape says.
    pub(crate) fn new(shape: Shape, bytes: Bytes, labels: Option<Vec<u8>>) -> Images {
        debug_assert_eq!(shape.total_bytes(), Some(bytes.as_slice().len()));
        Images { shape, bytes, labels }
    }

    /// Number of images; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set without images is refused when it is read")]
    pub fn len(&self) -> usize {
        self.shape.count
    }

    /// Rows of an image.
    pub fn height(&self) -> usize {
        self.shape.height
    }

    /// Columns of an image.
    pub fn width(&self) -> usize {
        self.shape.width
    }

    /// Values of a pixel: 1.
    pub fn channels(&self) -> usize {
        self.shape.channels
    }

    /// All four sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The gray values of all images, row by row: `len * channels * height * width` bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The bytes of one image, or `None` past the end.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.bytes().chunks_exact(self.shape.height * self.shape.width * self.shape.channels).nth(index)
    }

    /// The class of each image, where the data set tells.
    pub fn labels(&self) -> Option<&[u8]> {
        self.labels.as_deref()
    }

    /// The classes that occur and how many images each has, in the order of the classes.
    pub fn class_counts(&self) -> Option<Vec<(u8, usize)>> {
        let mut counts = [0; 256];
        for &label in self.labels()? {
            counts[usize::from(label)] += 1;
        }
        Some((0..=255).zip(counts).filter(|(_, count)| *count > 0).collect())
    }

    /// Whether the bytes are mapped from a file, and so shared with every process that maps it too.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        digest::of_images(self.shape, self.bytes())
    }
}

/// Bytes that nobody changes.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Memory(Vec<u8>),
}

impl Bytes {
    /// Maps `length` bytes of a file from `offset` on; the caller has checked that the file is that long.
    ///
    /// # Safety
    /// A map is sound while nobody changes the file. Files of the cache are written under another name, published
    /// by a rename, and never opened for writing again. A plain IDX file belongs to the user, who must not
    /// change it in place while a study reads it; replacing it by a rename is harmless, since the map keeps the old
    /// one. Every bit pattern is a valid byte.
    #[expect(unsafe_code, reason = "the one place where a file is mapped into memory")]
    pub fn map(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file)? };
        Ok(Bytes::Mapped(map))
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Memory(bytes) => bytes,
        }
    }
}
