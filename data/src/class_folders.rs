//! A data set as a folder of images by class: one folder a class, PNG or JPEG files in it, all of one size; or `train/`
//! and `test/` with such folders in each. Images become gray, one byte a pixel.
//!
//! Classes and files are taken in the order of their names, byte by byte, so that every machine sees the same images
//! under the same indices.

use std::fs::{self, DirEntry, File};
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader, Limits};
use sha2::{Digest, Sha256};

use crate::dataset::SourceFile;
use crate::unpacked::{self, Unpacked};
use crate::{DataError, Images, Shape, digest, idx};

/// A label is a byte.
const MAX_CLASSES: usize = 256;

/// More rows or columns than this are refused before anything is decoded.
const MAX_SIDE: u32 = 8192;

/// What decoding one image may take.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// A file larger than this is refused before it is read.
const MAX_FILE_BYTES: u64 = 256 << 20;

const WANTED_FILE: &str = "a PNG or JPEG file (files whose name starts with a dot are passed over)";

/// What was found in a folder of classes.
#[derive(Debug)]
pub(crate) struct ClassFolders {
    /// In the order of their labels.
    pub classes: Vec<String>,
    pub train: Part,
    pub test: Option<Part>,
}

/// The images of one part, listed but not read.
#[derive(Debug)]
pub(crate) struct Part {
    folder: PathBuf,
    /// By class, then by name; never empty.
    files: Vec<ImageFile>,
}

#[derive(Debug)]
struct ImageFile {
    path: PathBuf,
    label: u8,
    bytes: u64,
}

/// Lists the classes and their images; `None` where the folder has no folders in it. Not a byte of an image is read.
pub(crate) fn find(folder: &Path) -> Result<Option<ClassFolders>, DataError> {
    // A class may be called `train`: then its folder has images in it, not folders.
    let train_folder = folder.join("train");
    let train_classes = match train_folder.is_dir() {
        true => class_names(&train_folder)?,
        false => Vec::new(),
    };
    if train_classes.is_empty() {
        let classes = class_names(folder)?;
        if classes.is_empty() {
            return Ok(None);
        }
        let train = Part::list(folder, &classes, &classes)?;
        return Ok(Some(ClassFolders { classes, train, test: None }));
    }
    let train = Part::list(&train_folder, &train_classes, &train_classes)?;
    let test_folder = folder.join("test");
    let test = match test_folder.is_dir() {
        true => Some(Part::list(&test_folder, &class_names(&test_folder)?, &train_classes)?),
        false => None,
    };
    Ok(Some(ClassFolders { classes: train_classes, train, test }))
}

impl Part {
    /// Lists the images of the classes `present`, whose labels are their places in `all`.
    fn list(folder: &Path, present: &[String], all: &[String]) -> Result<Part, DataError> {
        if all.len() > MAX_CLASSES {
            return Err(malformed(
                folder,
                format!("{} classes", all.len()),
                format!("a folder for each class, at most {MAX_CLASSES}"),
            ));
        }
        let mut files = Vec::new();
        for class in present {
            let class_folder = folder.join(class);
            let label =
                all.iter().position(|known| known == class).and_then(|place| u8::try_from(place).ok());
            let Some(label) = label else {
                let expected = format!("a class that has training images too: {}", all.join(", "));
                return Err(malformed(&class_folder, "a class without training images".into(), expected));
            };
            let before = files.len();
            for entry in visible(&class_folder)? {
                let path = entry.path();
                let metadata = fs::metadata(&path).map_err(DataError::io("look at", &path))?;
                if !metadata.is_file() {
                    let found = if metadata.is_dir() { "a folder" } else { "neither a file nor a folder" };
                    return Err(malformed(&path, found.into(), WANTED_FILE.into()));
                }
                files.push(ImageFile { path, label, bytes: metadata.len() });
            }
            if files.len() == before {
                return Err(malformed(
                    &class_folder,
                    "a class without images".into(),
                    "at least one PNG or JPEG file in the folder of each class".into(),
                ));
            }
        }
        if files.is_empty() {
            return Err(DataError::NoTrainingImages { folder: folder.to_owned() });
        }
        Ok(Part { folder: folder.to_owned(), files })
    }

    /// The images, from the cache or from the files, and their digest.
    pub fn open(&self, cache: Option<&Path>) -> Result<(Images, [u8; 32]), DataError> {
        let fingerprint = self.fingerprint()?;
        let Unpacked { shape, bytes, digest } =
            unpacked::open_or_make(cache, &format!("classes-{}", digest::hex(&fingerprint)), || {
                let read = self.read()?;
                if self.fingerprint()? != fingerprint {
                    return Err(malformed(
                        &self.folder,
                        "images that changed while they were read".into(),
                        "images that stay as they are".into(),
                    ));
                }
                Ok(read)
            })?;
        if shape.count != self.files.len() {
            let found = format!("{} images in the cache", shape.count);
            return Err(malformed(&self.folder, found, format!("{}", self.files.len())));
        }
        let labels = self.files.iter().map(|file| file.label).collect();
        Ok((Images::new(shape, bytes, Some(labels)), digest))
    }

    /// What tells whether a file changed without reading it: name, length, and the times of the last change of its
    /// content and of its inode, of which the second cannot be set back.
    fn fingerprint(&self) -> Result<[u8; 32], DataError> {
        let mut hasher = Sha256::new();
        for file in &self.files {
            let name = file.path.strip_prefix(&self.folder).unwrap_or(&file.path).as_os_str().as_bytes();
            let metadata = fs::metadata(&file.path).map_err(DataError::io("look at", &file.path))?;
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            for number in [metadata.dev(), metadata.ino(), metadata.len()] {
                hasher.update(number.to_le_bytes());
            }
            for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
                hasher.update(number.to_le_bytes());
            }
        }
        Ok(hasher.finalize().into())
    }

    fn read(&self) -> Result<(Shape, Vec<u8>), DataError> {
        let mut bytes = Vec::new();
        let mut size = None;
        for file in &self.files {
            let gray = file.read(size, &self.files[0].path)?;
            if size.is_none() {
                let count = self.files.len();
                let total = gray.pixels.len() as u64 * count as u64;
                if total > idx::MAX_BYTES {
                    let found = format!("{count} images of {}x{}, {total} bytes", gray.height, gray.width);
                    let expected = format!("at most {} bytes of pixels", idx::MAX_BYTES);
                    return Err(malformed(&self.folder, found, expected));
                }
                size = Some((gray.height, gray.width));
            }
            bytes.extend_from_slice(&gray.pixels);
        }
        let (height, width) = size.unwrap_or_default();
        let shape =
            Shape { count: self.files.len(), height: height as usize, width: width as usize, channels: 1 };
        Ok((shape, bytes))
    }

    /// The images of this part must be as large as those of another.
    pub fn check_size_beside(
        &self,
        images: &Images,
        other: &Part,
        of_other: &Images,
    ) -> Result<(), DataError> {
        if (images.height(), images.width()) == (of_other.height(), of_other.width()) {
            return Ok(());
        }
        Err(malformed(
            &self.files[0].path,
            format!("an image of {}x{}", images.height(), images.width()),
            format!("{}x{} as in {}", of_other.height(), of_other.width(), other.files[0].path.display()),
        ))
    }

    pub fn source_files(&self) -> Vec<SourceFile> {
        self.files.iter().map(|file| SourceFile { path: file.path.clone(), bytes: file.bytes }).collect()
    }
}

struct Gray {
    height: u32,
    width: u32,
    pixels: Vec<u8>,
}

impl ImageFile {
    /// Decodes the image, which must have `size` (rows and columns) if the size is known already from `first`.
    fn read(&self, size: Option<(u32, u32)>, first: &Path) -> Result<Gray, DataError> {
        let path = &self.path;
        if self.bytes > MAX_FILE_BYTES {
            let expected = format!("an image file of at most {MAX_FILE_BYTES} bytes");
            return Err(malformed(path, format!("a file of {} bytes", self.bytes), expected));
        }
        let mut content = Vec::new();
        let file = File::open(path).map_err(DataError::io("open", path))?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(DataError::io("read", path))?;
        // The content says what it is; the ending of the name is not looked at.
        let format = match image::guess_format(&content) {
            Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
            Ok(other) => {
                let found = format!("an image in the format {}", other.to_mime_type());
                return Err(malformed(path, found, WANTED_FILE.into()));
            }
            Err(_) => return Err(malformed(path, "a file that is no image".into(), WANTED_FILE.into())),
        };
        let reader = || {
            let mut limits = Limits::default();
            limits.max_image_height = Some(MAX_SIDE);
            limits.max_image_width = Some(MAX_SIDE);
            limits.max_alloc = Some(MAX_DECODER_BYTES);
            let mut reader = ImageReader::with_format(Cursor::new(&content), format);
            reader.limits(limits);
            reader
        };
        let damaged = |error: image::ImageError| {
            malformed(path, format!("an image that cannot be read ({error})"), WANTED_FILE.into())
        };
        // The size is in the header: images that don't fit are refused before they are decoded.
        let (width, height) = reader().into_dimensions().map_err(damaged)?;
        if let Some((expected_height, expected_width)) = size
            && (height, width) != (expected_height, expected_width)
        {
            return Err(malformed(
                path,
                format!("an image of {height}x{width}"),
                format!("{expected_height}x{expected_width} as in {}", first.display()),
            ));
        }
        let pixels = reader().decode().map_err(damaged)?.into_luma8().into_raw();
        Ok(Gray { height, width, pixels })
    }
}

/// The names of the folders in a folder, sorted; hidden ones and files are passed over.
fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in visible(folder)? {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().map_err(|name| {
            malformed(&path, format!("a name that is no UTF-8 ({name:?})"), "a name of letters".into())
        })?;
        names.push(name);
    }
    Ok(names)
}

/// What is in a folder, sorted by the bytes of its name, without what is hidden.
fn visible(folder: &Path) -> Result<Vec<DirEntry>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let entry = entry.map_err(DataError::io("list", folder))?;
        if !entry.file_name().as_bytes().starts_with(b".") {
            entries.push(entry);
        }
    }
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

fn malformed(path: &Path, found: String, expected: String) -> DataError {
    DataError::Malformed { path: path.to_owned(), found, expected }
}

#[cfg(test)]
mod tests;
