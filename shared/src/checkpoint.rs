//! How far a fold is, stored so that it can go on elsewhere.

use serde::{Deserialize, Serialize};

use crate::ids::Epoch;

/// A stored checkpoint of a fold; the file itself lies among the artifacts, under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The epoch after which it was made: whoever goes on from it starts with the next.
    pub epoch: Epoch,
    /// SHA-256 of the file, in 64 lower-case hexadecimal digits.
    pub digest: String,
    /// The length of the file.
    pub bytes: u64,
}

/// Whether a text is the digest of an artifact: 64 lower-case hexadecimal digits, and so a name that leads nowhere else.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
