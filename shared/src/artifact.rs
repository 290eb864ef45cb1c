//! What is recorded about the files that workers stored, and about what they measured beside the losses.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, FoldIndex, TrialNumber};

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

/// Something that was measured in an epoch beside the losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// The trial.
    pub trial: TrialNumber,
    /// The fold.
    pub fold: FoldIndex,
    /// The epoch.
    pub epoch: Epoch,
    /// What it is called.
    pub name: String,
    /// The number; none if it was not finite.
    pub value: Option<f64>,
}
