//! Workers as a person sees them.

use serde::{Deserialize, Serialize};

use crate::device::DeviceUse;
use crate::ids::{Attempt, Epoch, FoldIndex, Millis, TrialNumber};
use crate::state::words;

words!(
    /// Where a worker is, as far as its coordinator knows.
    WorkerState {
        /// It is heard of, and gets folds.
        Connected = "connected",
        /// Nothing was heard of it for a lease time, or its stream is closed.
        Silent = "silent",
        /// It gets no more folds, and some of its folds are not handed back yet.
        Draining = "draining",
        /// It gets no more folds, and has none.
        Drained = "drained",
        /// It is not there.
        Gone = "gone",
    }
);

words!(
    /// What becomes of the folds of a worker that is drained.
    #[derive(Default)]
    Handover {
        /// Their running epochs end, and then others go on with them.
        #[default]
        AfterEpoch = "after-epoch",
        /// They are stopped at once; others go on from the last checkpoints.
        Now = "now",
        /// They are trained to their end.
        AfterFolds = "after-folds",
    }
);

/// A worker: the newest process of its name, or each that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// What people call it.
    pub name: String,
    /// Its process.
    pub incarnation: String,
    /// The device it trains on.
    pub device: String,
    /// Where it is; none where no coordinator was asked.
    pub state: Option<WorkerState>,
    /// How many folds it can train side by side; none where that is not known.
    pub slots: Option<u32>,
    /// How many of them are free; none where that is not known.
    pub free: Option<u32>,
    /// What it trains.
    pub folds: Vec<FoldInTraining>,
    /// When it was last heard of: by a coordinator at any word, in the tables at its last hello.
    pub heard_at: Millis,
    /// Since when it gets no more folds; none if it does.
    pub drained_at: Option<Millis>,
    /// How busy its device is, as it said last.
    pub device_use: Option<DeviceUse>,
}

/// A fold that a worker trains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldInTraining {
    /// The study's name.
    pub study: String,
    /// The trial.
    pub trial: TrialNumber,
    /// The fold.
    pub fold: FoldIndex,
    /// The attempt.
    pub attempt: Attempt,
    /// The last epoch that is recorded; 0 before the first.
    pub epoch: Epoch,
}
