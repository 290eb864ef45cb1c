//! What the scheduler is rebuilt from after a restart: what the store knows, in the scheduler's own terms.

use std::collections::BTreeMap;

use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{Attempt, Epoch, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{FailureClass, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::event::{DataInfo, WorkerInfo};
use super::fleet::DrainedWorker;

/// Everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The studies, by id.
    pub studies: Vec<StudySnapshot>,
    /// The largest study id ever used; 0 if none.
    pub last_study: StudyId,
    /// The largest lease id ever used; 0 if none.
    pub last_lease: LeaseId,
    /// The names whose workers get no more folds.
    pub drained_workers: BTreeMap<String, DrainedWorker>,
}

/// A study.
#[derive(Debug, Clone, PartialEq)]
pub struct StudySnapshot {
    /// Its row.
    pub id: StudyId,
    /// The effective spec.
    pub spec: StudySpec,
    /// The data it is about.
    pub data: DataInfo,
    /// Where it is in its life.
    pub state: StudyState,
    /// Milliseconds in which at least one fold was in training.
    pub running_ms: i64,
    /// Epochs recorded, those of ended attempts included.
    pub epochs: u64,
    /// Its trials, by number.
    pub trials: Vec<TrialSnapshot>,
}

/// A trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialSnapshot {
    /// Its number.
    pub number: TrialNumber,
    /// Its params.
    pub params: Params,
    /// Where it is in its life.
    pub state: TrialState,
    /// The finished state it is on its way to, if it is Stopping.
    pub ending: Option<TrialState>,
    /// Its value, if it is Complete.
    pub value: Option<f64>,
    /// Why it ended, if the end is decided.
    pub reason: Option<String>,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// What its pruner saw, if it was pruned.
    pub decision: Option<Decision>,
    /// Its folds, in order.
    pub folds: Vec<FoldSnapshot>,
}

/// A fold.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldSnapshot {
    /// Where it is in its life.
    pub state: TrialState,
    /// Its value, if it is Complete.
    pub value: Option<f64>,
    /// The epoch of its value.
    pub best_epoch: Option<Epoch>,
    /// Its newest attempt; 0 if it never had one.
    pub last_attempt: Attempt,
    /// Failed attempts by class.
    pub failures: BTreeMap<FailureClass, u32>,
    /// The attempt that is not over, if there is one.
    pub open: Option<OpenAttempt>,
    /// What it can go on from.
    pub checkpoint: Option<Checkpoint>,
    /// The validation losses of its live rows: epoch 1 first, none where missing, NaN where not finite.
    pub curve: Vec<Option<f64>>,
}

/// An attempt that is not over.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAttempt {
    /// Its lease.
    pub lease: LeaseId,
    /// Who holds it.
    pub worker: WorkerInfo,
    /// The epoch it started after.
    pub start_epoch: Epoch,
    /// How long the lease lasts without a word; none for a worker's.
    pub lease_ms: Option<i64>,
    /// When it was granted or last renewed, as far as that is recorded.
    pub renewed_at: Millis,
}
