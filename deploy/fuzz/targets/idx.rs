//! What an IDX file may do to its reader: nothing but be refused in words, or give exactly what it promises.

use std::path::Path;

use foldwise_data::{DataError, Shape, decode_images, decode_labels};

/// Reads `bytes` as a file of images and as one of labels.
pub fn check(bytes: &[u8]) {
    let path = Path::new("fuzzed");
    check_one(decode_images(path, bytes));
    check_one(decode_labels(path, bytes));
}

fn check_one(decoded: Result<(Shape, Vec<u8>), DataError>) {
    match decoded {
        Ok((shape, payload)) => {
            assert_eq!(shape.total_bytes(), Some(payload.len()), "{shape:?}");
            assert!(!payload.is_empty());
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("fuzzed") && text.contains("expected"), "{text}");
        }
    }
}
