//! SHA-256 as this crate writes it: lower-case hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::Shape;

/// The digest of a set of images: SHA-256 over count, height, width and channels (each as a little-endian u64) and
/// then all bytes.
pub(crate) fn of_images(shape: Shape, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for size in [shape.count, shape.height, shape.width, shape.channels] {
        hasher.update((size as u64).to_le_bytes());
    }
    hasher.update(bytes);
    hasher.finalize().into()
}

/// The digest of a file's bytes.
pub(crate) fn of_file(path: &Path) -> io::Result<[u8; 32]> {
    of_reader(File::open(path)?)
}

/// The digest of all that a reader gives.
pub(crate) fn of_reader(mut reader: impl Read) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// The digest of bytes in memory.
pub(crate) fn of_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_one_in_the_standard() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&of_bytes(b"abc")), expected);
        assert_eq!(hex(&of_reader(&b"abc"[..]).expect("memory can be read")), expected);
    }

    #[test]
    fn the_shape_counts() {
        let flat = Shape { count: 1, height: 1, width: 4, channels: 1 };
        let square = Shape { count: 1, height: 2, width: 2, channels: 1 };
        assert_ne!(of_images(flat, &[1, 2, 3, 4]), of_images(square, &[1, 2, 3, 4]));
    }
}
