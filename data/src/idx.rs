//! The IDX format: a magic number, the sizes as big-endian u32, then one byte a value
//! (<https://github.com/cvdfoundation/mnist>). No size in a header is believed before the bytes are there.

use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::{DataError, Shape};

/// More than this is refused, whatever a header promises.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What a file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Images,
    Labels,
}

impl Kind {
    /// Unsigned bytes (0x08) in three dimensions, or in one.
    fn magic(self) -> u32 {
        match self {
            Kind::Images => 0x0000_0803,
            Kind::Labels => 0x0000_0801,
        }
    }

    pub fn header_bytes(self) -> usize {
        match self {
            Kind::Images => 16,
            Kind::Labels => 8,
        }
    }

    fn of_magic(magic: u32) -> Option<&'static str> {
        match magic {
            0x0000_0803 => Some("an IDX file of images"),
            0x0000_0801 => Some("an IDX file of labels"),
            _ => None,
        }
    }
}

/// The sizes a header promises, all above zero and below [`MAX_BYTES`] together. Labels have height and width 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub shape: Shape,
    pub payload_bytes: usize,
}

/// Whether the bytes are a gzip stream and not an IDX file.
pub(crate) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&GZIP_MAGIC)
}

/// Reads the header from the first bytes of a plain IDX file.
pub(crate) fn parse_header(path: &Path, start: &[u8], kind: Kind) -> Result<Header, DataError> {
    let expected = format!("an IDX file of {} ({:#010x})", kind_name(kind), kind.magic());
    let Some(magic) = big_endian_u32(start, 0) else {
        return Err(malformed(path, format!("only {} bytes", start.len()), expected));
    };
    if magic != kind.magic() {
        let found = match Kind::of_magic(magic) {
            Some(other) => format!("{other} ({magic:#010x})"),
            None => format!("a file that starts with {magic:#010x}"),
        };
        return Err(malformed(path, found, expected));
    }
    let size = |index: usize| match kind {
        Kind::Labels if index > 0 => Some(1),
        _ => big_endian_u32(start, 4 + 4 * index).map(|size| size as usize),
    };
    let (Some(count), Some(height), Some(width)) = (size(0), size(1), size(2)) else {
        let found = format!("a header cut off after {} bytes", start.len());
        return Err(malformed(path, found, format!("a header of {} bytes", kind.header_bytes())));
    };
    let shape = Shape { count, height, width, channels: 1 };
    let promise = promise(shape, kind);
    match shape.total_bytes() {
        Some(0) => Err(malformed(path, format!("a header of {promise}"), "sizes above zero".to_owned())),
        Some(payload_bytes) if payload_bytes as u64 <= MAX_BYTES => Ok(Header { shape, payload_bytes }),
        _ => {
            let limit = format!("at most {} GiB", MAX_BYTES >> 30);
            Err(malformed(path, format!("a header of {promise}"), limit))
        }
    }
}

/// Decodes the bytes of a whole IDX file of images, plain or gzipped; `path` is for the error.
///
/// # Errors
/// What was found where and what would be right.
pub fn decode_images(path: &Path, packed: &[u8]) -> Result<(Shape, Vec<u8>), DataError> {
    decode(path, packed, Kind::Images).map(|(header, payload)| (header.shape, payload))
}

/// Decodes the bytes of a whole IDX file of labels, plain or gzipped, as [`decode_images`] does. Height and width are 1.
///
/// # Errors
/// See [`decode_images`].
pub fn decode_labels(path: &Path, packed: &[u8]) -> Result<(Shape, Vec<u8>), DataError> {
    decode(path, packed, Kind::Labels).map(|(header, payload)| (header.shape, payload))
}

/// Decodes a whole file, plain or gzipped. Memory grows with what is really there, and never past what the header
/// promises by more than a byte.
pub(crate) fn decode(path: &Path, packed: &[u8], kind: Kind) -> Result<(Header, Vec<u8>), DataError> {
    if is_gzip(packed) {
        // Decompression gives small pieces; a buffer of our own spares a copy a value.
        read(path, BufReader::with_capacity(1 << 16, MultiGzDecoder::new(packed)), kind)
    } else {
        read(path, packed, kind)
    }
}

/// The error for a file whose length does not fit its header. `found` and `promised` count the bytes after the header.
pub(crate) fn check_length(path: &Path, header: Header, kind: Kind, found: u64) -> Result<(), DataError> {
    let promised = header.payload_bytes as u64;
    let promise = promise(header.shape, kind);
    if found < promised {
        let found = format!("a file cut off {} bytes early", promised - found);
        return Err(malformed(path, found, format!("{promised} bytes after the header for {promise}")));
    }
    if found > promised {
        let found = "more bytes than the header promises".to_owned();
        return Err(malformed(path, found, format!("{promised} bytes after the header for {promise}")));
    }
    Ok(())
}

fn read(path: &Path, mut content: impl Read, kind: Kind) -> Result<(Header, Vec<u8>), DataError> {
    let mut start = Vec::new();
    let broken = |error: std::io::Error, after: usize| {
        malformed(
            path,
            format!("a gzip stream that breaks after {after} unzipped bytes ({error})"),
            format!("an IDX file of {}, whole, gzipped or plain", kind_name(kind)),
        )
    };
    let header_bytes = kind.header_bytes() as u64;
    content
        .by_ref()
        .take(header_bytes)
        .read_to_end(&mut start)
        .map_err(|error| broken(error, start.len()))?;
    let header = parse_header(path, &start, kind)?;

    let mut payload = Vec::with_capacity(header.payload_bytes.min(64 << 20));
    content
        .take(header.payload_bytes as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| broken(error, start.len() + payload.len()))?;
    check_length(path, header, kind, payload.len() as u64)?;
    Ok((header, payload))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Images => "images",
        Kind::Labels => "labels",
    }
}

fn promise(shape: Shape, kind: Kind) -> String {
    match kind {
        Kind::Images => format!("{} images of {}x{}", shape.count, shape.height, shape.width),
        Kind::Labels => format!("{} labels", shape.count),
    }
}

fn big_endian_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

fn malformed(path: &Path, found: String, expected: String) -> DataError {
    DataError::Malformed { path: path.to_owned(), found, expected }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn images_file(count: u32, height: u32, width: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = 0x0803_u32.to_be_bytes().to_vec();
        for size in [count, height, width] {
            bytes.extend(size.to_be_bytes());
        }
        bytes.extend(payload);
        bytes
    }

    pub(crate) fn labels_file(labels: &[u8]) -> Vec<u8> {
        let mut bytes = 0x0801_u32.to_be_bytes().to_vec();
        bytes.extend((labels.len() as u32).to_be_bytes());
        bytes.extend(labels);
        bytes
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    fn message(bytes: &[u8], kind: Kind) -> String {
        decode(Path::new("some/file"), bytes, kind).expect_err("a bad file").to_string()
    }

    #[test]
    fn plain_and_gzipped_files_give_the_same() {
        let file = images_file(2, 2, 3, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
        let shape = Shape { count: 2, height: 2, width: 3, channels: 1 };
        for bytes in [file.clone(), gzip(&file)] {
            let (header, payload) = decode(Path::new("x"), &bytes, Kind::Images).expect("a good file");
            assert_eq!(header.shape, shape);
            assert_eq!(payload, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
        }
        let (_, labels) =
            decode(Path::new("x"), &labels_file(&[7, 0, 9]), Kind::Labels).expect("a good file");
        assert_eq!(labels, [7, 0, 9]);
    }

    #[test]
    fn each_fault_says_what_was_found_and_what_would_be_right() {
        let good = images_file(2, 2, 2, &[9; 8]);
        let cases = [
            (
                good[..20].to_vec(),
                "some/file is not usable: found a file cut off 4 bytes early, expected 8 bytes after the header for 2 images of 2x2",
            ),
            ([&good[..], &[0]].concat(), "found more bytes than the header promises, expected 8 bytes"),
            (good[..9].to_vec(), "found a header cut off after 9 bytes, expected a header of 16 bytes"),
            (Vec::new(), "found only 0 bytes, expected an IDX file of images (0x00000803)"),
            (b"\x89PNG....".to_vec(), "found a file that starts with 0x89504e47"),
            (
                labels_file(&[1, 2]),
                "found an IDX file of labels (0x00000801), expected an IDX file of images",
            ),
            (images_file(0, 28, 28, &[]), "found a header of 0 images of 28x28, expected sizes above zero"),
            (images_file(u32::MAX, u32::MAX, u32::MAX, &[]), "expected at most 4 GiB"),
            (gzip(&good)[..12].to_vec(), "found a gzip stream that breaks after"),
            (gzip(&good[..20]), "found a file cut off 4 bytes early"),
            (
                [gzip(&good), b"tail".to_vec()].concat(),
                "found a gzip stream that breaks after 24 unzipped bytes",
            ),
        ];
        for (bytes, expected) in cases {
            let message = message(&bytes, Kind::Images);
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
        assert!(message(&good, Kind::Labels).contains("expected an IDX file of labels"));
    }

    #[test]
    fn a_gzip_bomb_stops_at_what_its_header_promises() {
        let bomb = gzip(&images_file(1, 2, 2, &vec![0; 64 << 20]));
        assert!(message(&bomb, Kind::Images).contains("more bytes than the header promises"));
    }

    #[test]
    fn a_hostile_header_reserves_little() {
        // 4 GiB promised, nothing there: must fail at once, in little memory.
        assert!(message(&images_file(1 << 20, 64, 64, &[1]), Kind::Images).contains("cut off"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0..3_usize) {
            let prefixes: [&[u8]; 3] = [&[], &[0, 0, 8, 3, 0, 0, 0], &GZIP_MAGIC];
            let bytes = [prefixes[start], &bytes].concat();
            let _ = decode(Path::new("x"), &bytes, Kind::Images);
            let _ = decode(Path::new("x"), &bytes, Kind::Labels);
        }

        #[test]
        fn a_damaged_file_is_never_taken_for_a_longer_one(at in 0..100_usize, value: u8, length in 0..100_usize) {
            let mut bytes = gzip(&images_file(3, 4, 2, &[200; 24]));
            let last = bytes.len() - 1;
            bytes[at.min(last)] = value;
            bytes.truncate(length.max(1));
            if let Ok((header, payload)) = decode(Path::new("x"), &bytes, Kind::Images) {
                prop_assert_eq!(header.payload_bytes, payload.len());
                prop_assert_eq!(payload, vec![200; 24]);
            }
        }
    }
}
