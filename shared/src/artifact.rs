//! Files that a study stores: what goes on from where, and what came of it.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::ids::{Epoch, FoldIndex, TrialNumber};

/// The kind of a checkpoint's row, which no result may have.
pub const CHECKPOINT: &str = "checkpoint";

/// The kind of the row that says which model a study starts from, which no result may have.
pub const SOURCE: &str = "source";

/// The kind of the result that is a trained model.
pub const MODEL: &str = "model";

/// The longest name of a kind or a metric, in bytes.
const NAME: usize = 32;

/// The kinds of results that an attempt may store at most.
pub const MAX_KINDS: usize = 32;

/// The metrics that an epoch may have at most.
pub const MAX_METRICS: usize = 16;

/// A file among the artifacts, which lies under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// SHA-256 of the file, in 64 lower-case hexadecimal digits.
    pub digest: String,
    /// The length of the file.
    pub bytes: u64,
}

/// What an attempt made, beside its losses: a picture, a model, a table of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// What it is; see [`is_kind`].
    pub kind: String,
    /// The epoch after which it was made; none for a result of the whole attempt.
    pub epoch: Option<Epoch>,
    /// The file.
    pub file: Artifact,
}

/// What a worker stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// What its fold can go on from.
    Checkpoint(Checkpoint),
    /// What came of it.
    Result(ResultFile),
}

impl Upload {
    /// The file.
    pub fn file(&self) -> Artifact {
        match self {
            Self::Checkpoint(Checkpoint { digest, bytes, .. }) => {
                Artifact { digest: digest.clone(), bytes: *bytes }
            }
            Self::Result(result) => result.file.clone(),
        }
    }
}

/// A file that a worker stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// The trial it is of.
    pub trial: TrialNumber,
    /// The fold it is of.
    pub fold: FoldIndex,
    /// What it is: `checkpoint`, `model`, `reconstruction`, ...
    pub kind: String,
    /// The epoch after which it was made, if it belongs to one.
    pub epoch: Option<Epoch>,
    /// SHA-256 of the file.
    pub digest: String,
    /// The length of the file.
    pub bytes: u64,
}

/// Whether a text can be the kind of a result: `[a-z0-9-]{1,32}`, and no word that means something else.
pub fn is_kind(text: &str) -> bool {
    let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=NAME).contains(&text.len()) && text.bytes().all(letter) && !matches!(text, CHECKPOINT | SOURCE)
}

/// Whether a text can be the name of a metric: `[a-z0-9_]{1,32}`.
pub fn is_metric(text: &str) -> bool {
    let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=NAME).contains(&text.len()) && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["model", "range-test", "0", &"k".repeat(32)] {
            assert!(is_kind(good), "{good}");
        }
        for bad in ["", "Model", "a_b", "../x", "é", "checkpoint", "source", &"k".repeat(33)] {
            assert!(!is_kind(bad), "{bad}");
        }
        assert!(is_metric("kl") && is_metric("top_5") && is_metric(&"m".repeat(32)));
        assert!(!is_metric("") && !is_metric("a-b") && !is_metric("KL") && !is_metric(&"m".repeat(33)));
    }
}
