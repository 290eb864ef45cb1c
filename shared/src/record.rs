//! What is recorded about a study, as every query shows it: from the database, over the wire, as JSON or CSV.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::ids::{Attempt, Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use crate::state::{AttemptState, Direction, FailureClass, Origin, Skip, StudyState, TrialState};
use crate::value::Params;

/// A study and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// Its row.
    pub id: StudyId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: StudyState,
    /// Why it is paused or ended, if there is more to say.
    pub message: Option<String>,
    /// What is better.
    pub direction: Direction,
    /// The effective spec as JSON text.
    pub spec: String,
    /// The study file as it was given.
    pub spec_text: String,
    /// SHA-256 of the data.
    pub data_digest: String,
    /// SHA-256 of the splits.
    pub splits_digest: String,
    /// Training images in use.
    pub images: u64,
    /// Rows of an image.
    pub height: u32,
    /// Columns of an image.
    pub width: u32,
    /// When it was created.
    pub created_at: Millis,
    /// Milliseconds in which at least one fold was in training.
    pub running_ms: i64,
    /// Trials by state; every state that occurs.
    pub trials: BTreeMap<TrialState, u32>,
    /// Epochs recorded, those of ended attempts included.
    pub epochs: u64,
    /// The best complete trial, if there is one.
    pub best: Option<Best>,
    /// The name of the study that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// The best complete trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its number.
    pub number: TrialNumber,
    /// Its value.
    pub value: f64,
}

/// A trial with its folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Its number.
    pub number: TrialNumber,
    /// Where it is in its life.
    pub state: TrialState,
    /// The mean of its fold values; complete trials only.
    pub value: Option<f64>,
    /// Their sample deviation; none for one fold.
    pub std: Option<f64>,
    /// Its params.
    pub params: Params,
    /// Where each param came from.
    pub origins: BTreeMap<String, Origin>,
    /// Why it ended as it did.
    pub reason: Option<String>,
    /// When it was suggested.
    pub created_at: Millis,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// Its folds, in order.
    pub folds: Vec<FoldRecord>,
    /// The trial that it tries once more.
    pub parent: Option<TrialNumber>,
}

/// A fold of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldRecord {
    /// Which.
    pub fold: FoldIndex,
    /// Where it is in its life.
    pub state: TrialState,
    /// Its best validation loss; complete folds only.
    pub value: Option<f64>,
    /// The epoch of that loss.
    pub best_epoch: Option<Epoch>,
    /// Epochs of its curve (live rows).
    pub epochs: u32,
    /// How often it was started.
    pub attempts: u32,
}

/// One execution of one fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The fold.
    pub fold: FoldIndex,
    /// Its number.
    pub attempt: Attempt,
    /// Where it is in its life.
    pub state: AttemptState,
    /// Why it failed, if it did.
    pub failure: Option<FailureClass>,
    /// What there is to say about its end.
    pub message: Option<String>,
    /// The worker's name.
    pub worker: String,
    /// The device it trained on.
    pub device: String,
    /// The epoch it started after.
    pub start_epoch: Epoch,
    /// Epochs it recorded.
    pub epochs: u32,
    /// When it was leased.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// What was measured in an epoch beside its losses, by name; all of it finite.
pub type Metrics = BTreeMap<String, f64>;

/// One epoch of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The trial.
    pub trial: TrialNumber,
    /// The fold.
    pub fold: FoldIndex,
    /// The attempt that trained it.
    pub attempt: Attempt,
    /// The epoch.
    pub epoch: Epoch,
    /// Mean loss over the training part; none if it was not finite.
    pub train_loss: Option<f64>,
    /// Mean loss over the validation part; none if it was not finite.
    pub validation_loss: Option<f64>,
    /// The step size in force, where a worker of ours trained it.
    pub learning_rate: Option<f64>,
    /// How long it took, where a worker of ours trained it.
    pub seconds: Option<f64>,
    /// Whether its loss was NaN or infinite.
    pub diverged: bool,
    /// When it was recorded.
    pub at: Millis,
    /// What else was measured.
    #[serde(default, skip_serializing_if = "Metrics::is_empty")]
    pub metrics: Metrics,
}

/// Why a trial was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The trial.
    pub trial: TrialNumber,
    /// The fold it was judged on.
    pub fold: FoldIndex,
    /// The epoch it was judged at; none if a finished fold was judged.
    pub epoch: Option<Epoch>,
    /// What the rule saw.
    #[serde(flatten)]
    pub decision: Decision,
    /// The event it belongs to.
    pub event_seq: i64,
}

/// A look of the pruner at a trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LookRecord {
    /// The fold that was looked at.
    pub fold: FoldIndex,
    /// The epoch; none if a finished fold was looked at.
    pub epoch: Option<Epoch>,
    /// Whether the trial was to be pruned.
    pub prune: bool,
    /// What the rule saw.
    #[serde(flatten)]
    pub decision: Decision,
}

/// Why a trial was pruned, or how near it came to that: computed again from what is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The trial.
    pub trial: TrialNumber,
    /// Where it is in its life.
    pub state: TrialState,
    /// Its value, if it is complete.
    pub value: Option<f64>,
    /// What is better.
    pub direction: Direction,
    /// The study's pruner, with all its settings, as JSON text.
    pub pruner: String,
    /// What was stored when it was pruned.
    pub stored: Option<DecisionRecord>,
    /// The look that pruned it or, of a trial that lived on, the closest call.
    pub call: Option<CallRecord>,
    /// Every look at it, in order.
    pub looks: Vec<LookRecord>,
    /// Why it was not judged where it was not: how often for which reason.
    pub skipped: BTreeMap<Skip, u32>,
    /// Whether the order of all its study's epochs is recorded. What an earlier version recorded within one millisecond is in
    /// a likely order.
    pub exact: bool,
}

/// A look at a trial, and whom the trial was compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The look.
    pub look: LookRecord,
    /// The trial's place among the others and itself, from 1, the best.
    pub place: u32,
    /// By how much its own number is worse than the threshold if it is to be pruned, and not worse if not.
    pub margin: Option<f64>,
    /// The others as they stood then, the best first, NaN last.
    pub peers: Vec<PeerRecord>,
}

/// A trial that another was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Its number.
    pub trial: TrialNumber,
    /// Its number in the comparison; none for NaN.
    pub value: Option<f64>,
}

/// What a pruner would have made of the recorded trials of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayRecord {
    /// What was asked for.
    pub name: String,
    /// The pruner, with all its settings, as JSON text.
    pub pruner: String,
    /// Trials with an epoch at least.
    pub trials: u32,
    /// Their epochs up to where each trial ended.
    pub recorded: u64,
    /// Those of them that the pruner would not have trained.
    pub saved: u64,
    /// Trials that it would have stopped, by number.
    pub stopped: Vec<StopRecord>,
    /// The best complete trials, best first, at most three, and whether each would have been trained to its end.
    pub best: Vec<BestRecord>,
    /// Trials that were pruned and that it would have let live on: what they would have become is not known.
    pub unknown: Vec<TrialNumber>,
    /// As in [`Explanation::exact`].
    pub exact: bool,
}

/// Where a pruner would have stopped a trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StopRecord {
    /// The trial.
    pub trial: TrialNumber,
    /// Where it is in its life.
    pub state: TrialState,
    /// Its recorded epochs that would not have been trained.
    pub saved: u64,
    /// The look that would have stopped it.
    #[serde(flatten)]
    pub look: LookRecord,
}

/// One of the best trials in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestRecord {
    /// Its number.
    pub trial: TrialNumber,
    /// Its value.
    pub value: f64,
    /// Whether it would have been trained to its end.
    pub lives: bool,
}

/// Something that happened in a study, in the order in which it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StudyEvent {
    /// A trial was suggested.
    TrialCreated {
        /// Its number.
        trial: TrialNumber,
        /// Its params.
        params: Params,
    },
    /// A fold was leased.
    AttemptStarted {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The attempt.
        attempt: Attempt,
        /// The worker's name.
        worker: String,
        /// The device it trains on.
        device: String,
    },
    /// An attempt is at something long that is no epoch.
    PhaseBegan {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The attempt.
        attempt: Attempt,
        /// The worker's name.
        worker: String,
        /// What, in a word or two.
        name: String,
    },
    /// An epoch was recorded.
    Epoch {
        /// What was reported.
        record: EpochRecord,
        /// The worker's name.
        worker: String,
    },
    /// An attempt ended without a result.
    AttemptFailed {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The attempt.
        attempt: Attempt,
        /// The worker's name.
        worker: String,
        /// Of what kind.
        class: FailureClass,
        /// What the worker said.
        message: String,
    },
    /// A fold has a value.
    FoldFinished {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The worker's name.
        worker: String,
        /// Its value.
        value: f64,
        /// Its epochs.
        epochs: u32,
    },
    /// An attempt was told to stop and did.
    AttemptStopped {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The worker's name.
        worker: String,
    },
    /// A trial is over.
    TrialFinished {
        /// Its number.
        trial: TrialNumber,
        /// How it ended.
        state: TrialState,
        /// Its value.
        value: Option<f64>,
        /// Why it ended as it did.
        reason: String,
    },
    /// The study changed its state.
    StudyChanged {
        /// The new state.
        state: StudyState,
        /// Why, if there is more to say.
        message: Option<String>,
    },
}
