//! Images unpacked once into the cache and mapped from there by every process. Where the cache cannot be written,
//! they stay in the memory of the process.
//!
//! A file is a header of 64 bytes (magic, count, height and width as little-endian u64, SHA-256 of the images) and
//! the image bytes. It is named by the SHA-256 of the file it was unpacked from, because a path with its length and
//! time can stay the same while the content changes, and hashing the packed file takes only milliseconds. What came
//! from a folder of images is named by the SHA-256 of what the file system says of its files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::images::Bytes;
use crate::{DataError, Shape, digest, temporary};

const MAGIC: [u8; 8] = *b"FWIMAGE1";
const HEADER_BYTES: u64 = 64;

/// Images with their digest.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub shape: Shape,
    pub bytes: Bytes,
    pub digest: [u8; 32],
}

/// Maps the images named `key`, after making them where they are missing. `folder` is the cache for unpacked images.
/// The only errors are those of `make`.
pub(crate) fn open_or_make(
    folder: Option<&Path>,
    key: &str,
    make: impl FnOnce() -> Result<(Shape, Vec<u8>), DataError>,
) -> Result<Unpacked, DataError> {
    let Some(folder) = folder else { return in_memory(make()?) };
    let target = folder.join(format!("{key}.u8"));
    if let Ok(unpacked) = open(&target) {
        return Ok(unpacked);
    }
    let temporary_path = folder.join(format!("{key}.tmp"));
    let locked = fs::create_dir_all(folder).and_then(|()| temporary::lock(&temporary_path));
    let Ok(file) = locked else { return in_memory(make()?) };
    // Another process may have made it while this one waited.
    if let Ok(unpacked) = open(&target) {
        let _ = fs::remove_file(&temporary_path);
        return Ok(unpacked);
    }
    let made = make().inspect_err(|_| drop(fs::remove_file(&temporary_path)))?;
    let digest = digest::of_images(made.0, &made.1);
    let stored = write(&file, made.0, &digest, &made.1)
        .and_then(|()| temporary::publish(&file, &temporary_path, &target))
        .and_then(|()| open(&target));
    match stored {
        Ok(unpacked) => Ok(unpacked),
        Err(_) => {
            // A full disk, say: nothing is lost but the sharing.
            let _ = fs::remove_file(&temporary_path);
            Ok(Unpacked { shape: made.0, bytes: Bytes::Memory(made.1), digest })
        }
    }
}

fn in_memory((shape, bytes): (Shape, Vec<u8>)) -> Result<Unpacked, DataError> {
    let digest = digest::of_images(shape, &bytes);
    Ok(Unpacked { shape, bytes: Bytes::Memory(bytes), digest })
}

fn write(mut file: &File, shape: Shape, digest: &[u8; 32], bytes: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(&MAGIC)?;
    for size in [shape.count, shape.height, shape.width] {
        file.write_all(&(size as u64).to_le_bytes())?;
    }
    file.write_all(digest)?;
    file.write_all(bytes)
}

fn open(path: &Path) -> io::Result<Unpacked> {
    let mut file = File::open(path)?;
    let mut header = [0; HEADER_BYTES as usize];
    file.read_exact(&mut header)?;
    let size = |at: usize| {
        let bytes = header[at..at + 8].try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let (Some(count), Some(height), Some(width)) = (size(8), size(16), size(24)) else {
        return Err(invalid());
    };
    let shape = Shape { count, height, width, channels: 1 };
    let length = shape.total_bytes().filter(|length| *length > 0).ok_or_else(invalid)?;
    if header[..8] != MAGIC || file.metadata()?.len().checked_sub(HEADER_BYTES) != Some(length as u64) {
        return Err(invalid());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(&header[32..]);
    Ok(Unpacked { shape, bytes: Bytes::map(&file, HEADER_BYTES, length)?, digest })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SHAPE: Shape = Shape { count: 2, height: 1, width: 3, channels: 1 };

    fn six() -> Result<(Shape, Vec<u8>), DataError> {
        Ok((SHAPE, vec![1, 2, 3, 4, 5, 6]))
    }

    fn never() -> Result<(Shape, Vec<u8>), DataError> {
        panic!("made a second time")
    }

    #[test]
    fn the_second_opening_maps_what_the_first_made() {
        let folder = tempfile::tempdir().expect("a folder");
        open_or_make(Some(folder.path()), "key", six).expect("made");
        let second = open_or_make(Some(folder.path()), "key", never).expect("mapped");
        assert!(matches!(second.bytes, Bytes::Mapped(_)));
        assert_eq!(second.bytes.as_slice(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(second.shape, SHAPE);
        assert_eq!(second.digest, digest::of_images(SHAPE, &[1, 2, 3, 4, 5, 6]));
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_damaged_file_and_a_dead_writers_rest_are_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        open_or_make(Some(folder.path()), "key", six).expect("made");
        let target = folder.path().join("key.u8");
        let whole = fs::read(&target).expect("there");
        for damaged in [&whole[..whole.len() - 1], &whole[..30], b"", &[&b"x"[..], &whole[1..]].concat()] {
            fs::write(&target, damaged).expect("written");
            fs::write(folder.path().join("key.tmp"), [7; 500]).expect("written");
            let again = open_or_make(Some(folder.path()), "key", six).expect("made again");
            assert_eq!(again.bytes.as_slice(), [1, 2, 3, 4, 5, 6]);
            assert_eq!(fs::read(&target).expect("there"), whole);
        }
    }

    #[test]
    fn without_a_cache_the_bytes_stay_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        // A file where the folder should be: not even root can write below it.
        let blocked = folder.path().join("file");
        fs::write(&blocked, b"").expect("written");
        for cache in [None, Some(blocked.join("unpacked"))] {
            let unpacked = open_or_make(cache.as_deref(), "key", six).expect("made");
            assert!(matches!(unpacked.bytes, Bytes::Memory(_)));
            assert_eq!(unpacked.bytes.as_slice(), [1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn many_at_once_make_it_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let unpacked = open_or_make(Some(folder.path()), "key", || {
                        made.fetch_add(1, Ordering::Relaxed);
                        six()
                    });
                    assert_eq!(unpacked.expect("made").bytes.as_slice(), [1, 2, 3, 4, 5, 6]);
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
