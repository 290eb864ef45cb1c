//! The seam between the agent and whatever trains: what is to be done, how it may be stopped, how it may end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use foldwise_shared::ids::{AttemptKey, Epoch};
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::{ParamValue, Params};

/// What the folds of one lease have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyWork {
    /// The effective spec as JSON.
    pub spec: String,
    /// SHA-256 of the data it is about.
    pub data_digest: String,
    /// SHA-256 of its splits.
    pub splits_digest: String,
    /// Training images in use.
    pub images: u64,
    /// SHA-256 of the model that its training starts from.
    pub source: Option<String>,
}

/// One fold to train.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldWork {
    /// The attempt.
    pub key: AttemptKey,
    /// The study.
    pub study: Arc<StudyWork>,
    /// The trial's params.
    pub params: Params,
    /// The seed of the fold's weights and batch order.
    pub seed: u64,
    /// The checkpoint to go on from; none for a start with the first epoch.
    pub start: Option<StartPoint>,
    /// The model that the study starts from, whole and checked against its digest; there when the objective runs, if the
    /// study names one.
    pub source: Option<Arc<Vec<u8>>>,
}

/// A checkpoint that lies with the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartPoint {
    /// The epoch after which it was made, at least 1.
    pub epoch: Epoch,
    /// SHA-256 of the file.
    pub digest: String,
}

/// A checkpoint that is still to become a file.
pub struct Draft {
    /// The epoch after which it was made.
    pub epoch: Epoch,
    /// Whether the fold is complete with it: such a one is stored all the same.
    pub last: bool,
    /// Makes the file; called on another thread than the training's.
    pub write: Box<dyn FnOnce() -> Result<Vec<u8>, String> + Send>,
}

/// What one epoch came to.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: Epoch,
    /// Mean loss over the training part; may be NaN or infinite.
    pub train_loss: f64,
    /// Mean loss over the validation part; may be NaN or infinite.
    pub validation_loss: f64,
    /// The step size in force.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
    /// What else was measured, by its name: `[a-z0-9_]{1,32}`, at most 16. What is not finite is not stored.
    pub metrics: BTreeMap<String, f64>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As planned: its last epoch, early stopping, or a stop.
    Finished {
        /// Whether it was told to stop before its end.
        stopped: bool,
    },
    /// Without a result.
    Failed {
        /// Of what kind.
        class: FailureClass,
        /// What a person should know.
        message: String,
    },
    /// This worker cannot train the study at all; another may.
    Declined {
        /// What a person should know.
        message: String,
    },
}

/// Something that trains folds. It runs on a thread of its own, once for each slot in use, and may panic: that ends
/// the attempt and not the worker.
pub trait Objective: Send + Sync + 'static {
    /// Trains one fold, from the checkpoint in the file `start` if its work says so. Reports every epoch to `progress` and
    /// ends as [`Outcome::Finished`] with `stopped` soon after that answers [`ControlFlow::Break`] or
    /// [`Control::interrupted`] says so. A checkpoint that is of no use is an [`Outcome::Failed`] of class error, whatever
    /// is wrong with it: the fold is then started afresh.
    /// The file is the objective's own, to be dropped as soon as it is read: it may be as large as the memory is scarce.
    fn run(
        &self,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Outcome;
}

/// Hears what comes of an attempt while it runs; never keeps it waiting.
pub trait Progress {
    /// An epoch is done.
    fn epoch(&mut self, report: EpochReport) -> ControlFlow<()>;

    /// A checkpoint was made, after the epoch that was reported last.
    fn checkpoint(&mut self, draft: Draft);

    /// A param was found by the training itself, before the first epoch: it is a param of the trial from now on, which the
    /// other folds and the next attempts get among theirs. The first value that is recorded stays.
    fn derived(&mut self, name: &str, value: ParamValue);

    /// Something long begins that is no epoch, named in a word or two (`range test`). The attempt is not taken for hung until
    /// an hour has passed without an epoch or another phase.
    fn phase(&mut self, name: &str);

    /// A result to store beside the trial: of this kind, `[a-z0-9-]{1,32}`, after this epoch or of the whole attempt. One of
    /// the same kind and epoch takes the place of the one before. The attempt ends only when all of them are stored.
    fn artifact(&mut self, kind: &str, epoch: Option<Epoch>, bytes: Vec<u8>);
}

/// Tells a running attempt to stop; it only ever gets more urgent.
#[derive(Debug, Default)]
pub struct Control(AtomicU8);

const AFTER_EPOCH: u8 = 1;
const NOW: u8 = 2;

impl Control {
    /// Whether to stop between two batches. Ask often.
    pub fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= NOW
    }

    /// Whether to train no other epoch.
    pub(super) fn ends_after_epoch(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= AFTER_EPOCH
    }

    pub(super) fn end_after_epoch(&self) {
        self.0.fetch_max(AFTER_EPOCH, Ordering::Relaxed);
    }

    pub(crate) fn interrupt(&self) {
        self.0.fetch_max(NOW, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_only_gets_more_urgent() {
        let control = Control::default();
        assert!(!control.ends_after_epoch() && !control.interrupted());
        control.end_after_epoch();
        assert!(control.ends_after_epoch() && !control.interrupted());
        control.interrupt();
        control.end_after_epoch();
        assert!(control.ends_after_epoch() && control.interrupted());
    }
}
