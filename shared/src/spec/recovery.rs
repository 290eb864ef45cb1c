//! `[checkpoint]` and `[retry]`: what an interruption costs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validate::error;
use super::{SpecError, StudySpec};
use crate::state::{FailureClass, words};

/// Attempts of one class that a fold may lose at most, in any study.
const MAX_RETRIES: u32 = 1_000_000;

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// A worker stores a checkpoint after an epoch once this many seconds have passed since the last, 0 for every epoch;
    /// or after `every_epochs`, whichever is sooner. Default: 10.
    #[serde(default = "every_seconds")]
    pub every_seconds: f64,
    /// A worker stores a checkpoint every this many epochs, or after `every_seconds`, whichever is sooner. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_epochs: Option<u32>,
    /// Which of them are kept. Default: unfinished.
    #[serde(default)]
    pub keep: Keep,
}

words!(
    /// Which checkpoints are kept.
    #[derive(Default)]
    Keep {
        /// None is ever made; an interrupted fold starts again.
        None = "none",
        /// The latest of each fold that is not finished.
        #[default]
        Unfinished = "unfinished",
        /// That, and the last of each complete fold with its best weights.
        All = "all",
    }
);

fn every_seconds() -> f64 {
    10.0
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every_seconds: every_seconds(), every_epochs: None, keep: Keep::default() }
    }
}

/// `[retry]`: after so many failed attempts of a class a fold is tried again, after one more its trial fails. A fold that
/// diverged or whose settings are invalid is never tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySection {
    /// The worker fell silent or died. Default: 3.
    pub lost: u32,
    /// The worker was drained or preempted and handed the fold back. Default: 1,000.
    pub preempted: u32,
    /// The device had no memory left; the worker trains fewer folds of that shape side by side from then on. Default: 2.
    pub out_of_memory: u32,
    /// Anything else went wrong. Default: 1.
    pub error: u32,
}

impl Default for RetrySection {
    fn default() -> Self {
        Self { lost: 3, preempted: 1_000, out_of_memory: 2, error: 1 }
    }
}

impl RetrySection {
    /// How often a fold is tried again after failures of this class.
    pub fn of(&self, class: FailureClass) -> u32 {
        match class {
            FailureClass::Lost => self.lost,
            FailureClass::Preempted => self.preempted,
            FailureClass::OutOfMemory => self.out_of_memory,
            FailureClass::Error => self.error,
            FailureClass::Diverged | FailureClass::Invalid => 0,
        }
    }
}

pub(super) fn check_recovery(spec: &StudySpec) -> Result<(), SpecError> {
    let CheckpointSection { every_seconds, every_epochs, keep: _ } = spec.checkpoint;
    if !(every_seconds >= 0.0 && every_seconds.is_finite()) {
        return error("checkpoint.every_seconds", format!("use 0 or more seconds, not {every_seconds}"));
    }
    if every_epochs == Some(0) {
        return error("checkpoint.every_epochs", "use at least 1, or `keep = \"none\"` for no checkpoints");
    }
    let RetrySection { lost, preempted, out_of_memory, error: other } = spec.retry;
    let retries =
        [("lost", lost), ("preempted", preempted), ("out_of_memory", out_of_memory), ("error", other)];
    match retries.into_iter().find(|(_, retries)| *retries > MAX_RETRIES) {
        Some((name, retries)) => {
            error(&format!("retry.{name}"), format!("{retries} retries are too many; use 0 to {MAX_RETRIES}"))
        }
        None => Ok(()),
    }
}
