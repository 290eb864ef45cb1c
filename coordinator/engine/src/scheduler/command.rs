//! What the scheduler wants done: first everything that is to be recorded, then what may be sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldwise_shared::artifact::ResultFile;
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::decision::Decision;
use foldwise_shared::external::{Asked, TrialNow};
use foldwise_shared::fleet::{Handover, WorkerRecord};
use foldwise_shared::ids::{
    Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, SessionId, StudyId, TrialNumber,
};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::spec::{BudgetSection, StudySpec};
use foldwise_shared::state::{AttemptState, FailureClass, Origin, StudyState, TrialState};
use foldwise_shared::value::{ParamValue, Params};

use super::event::{DataInfo, NewStudy, WorkerInfo};
use super::refusal::Refusal;

/// Something to do, in the order given. Nothing is sent before every write that came before it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Record this.
    Write(Write),
    /// Tell a worker.
    Send {
        /// Its stream.
        session: SessionId,
        /// What.
        message: ToWorker,
    },
    /// Close a stream: another has replaced it, or its worker is said to be dead.
    Close {
        /// The stream.
        session: SessionId,
    },
    /// Nothing refers to this artifact any more: its file may go, once the writes before are durable.
    Discard {
        /// Its digest.
        digest: String,
    },
    /// The answer to [`super::Event::Ask`] and the others that have one, at most one an event.
    Reply(Result<Answer, Refusal>),
    /// Watchers may know: an attempt does something long that is no epoch. It is recorded nowhere.
    Phase {
        /// The attempt.
        key: AttemptKey,
        /// The worker's name.
        worker: String,
        /// What, in a word or two.
        name: String,
    },
    /// After [`super::Event::Drain`]: nothing runs any more.
    Drained,
}

/// One change of the record. `at` is when it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new study; its id was never used before.
    Study {
        /// Its row.
        id: StudyId,
        /// What it is.
        study: Box<NewStudy>,
        /// When.
        at: Millis,
    },
    /// A study changed its state.
    StudyState {
        /// The study.
        study: StudyId,
        /// The new state.
        state: StudyState,
        /// Why, if there is more to say; replaces what was there.
        message: Option<String>,
        /// When.
        at: Millis,
    },
    /// A study has a larger budget from now on.
    StudyExtended {
        /// The study.
        study: StudyId,
        /// Its spec, in which nothing but the budget is new.
        spec: Box<StudySpec>,
        /// The budget that it had.
        before: BudgetSection,
        /// When.
        at: Millis,
    },
    /// Nothing of a study is to be left but what the log says of it.
    StudyDeleted {
        /// The study.
        study: StudyId,
        /// When.
        at: Millis,
    },
    /// How long at least one fold of a study has been in training.
    RunningTime {
        /// The study.
        study: StudyId,
        /// Milliseconds in all.
        running_ms: i64,
    },
    /// A worker opened a stream.
    Worker {
        /// Who it is.
        worker: WorkerInfo,
        /// When.
        at: Millis,
    },
    /// Workers of this name get no more folds.
    WorkerDrained {
        /// The name.
        name: String,
        /// What becomes of the folds they train.
        handover: Handover,
        /// When.
        at: Millis,
    },
    /// Workers of this name get folds again.
    WorkerUndrained {
        /// The name.
        name: String,
        /// When.
        at: Millis,
    },
    /// A new trial in state Waiting, with all its folds Waiting.
    Trial {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// Its params.
        params: Params,
        /// Where each came from.
        origins: BTreeMap<String, Origin>,
        /// How many folds it has.
        folds: u32,
        /// The trial that it tries once more.
        parent: Option<TrialNumber>,
        /// When.
        at: Millis,
    },
    /// A trial changed its state.
    TrialState {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The new state.
        state: TrialState,
        /// The finished state it is on its way to, if it is Stopping.
        ending: Option<TrialState>,
        /// The mean of its fold values, if it is Complete.
        value: Option<f64>,
        /// Their sample deviation, if it is Complete and has several folds.
        std: Option<f64>,
        /// Why it ended as it did; every finished state has one.
        reason: Option<String>,
        /// When.
        at: Millis,
    },
    /// A fold changed its state.
    FoldState {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The new state.
        state: TrialState,
        /// Its best validation loss, if it is Complete.
        value: Option<f64>,
        /// The epoch of that loss.
        best_epoch: Option<Epoch>,
        /// When.
        at: Millis,
    },
    /// A new lease, for attempts that start now; it ends with the last of them.
    Lease {
        /// The lease.
        lease: LeaseId,
        /// Who got it.
        worker: WorkerInfo,
        /// How long it lasts without a word; none for a worker's.
        lease_ms: Option<i64>,
        /// When.
        at: Millis,
    },
    /// Whoever asked for a trial was heard of.
    LeaseRenewed {
        /// The lease.
        lease: LeaseId,
        /// When.
        at: Millis,
    },
    /// A fold was leased: a new attempt, which is now the fold's newest.
    AttemptStarted {
        /// The attempt.
        key: AttemptKey,
        /// The lease.
        lease: LeaseId,
        /// Who got it.
        worker: WorkerInfo,
        /// The epoch it starts after; 0 for a fresh start.
        start_epoch: Epoch,
        /// When.
        at: Millis,
    },
    /// An attempt ended, and its lease if it was the last of it.
    AttemptEnded {
        /// The attempt.
        key: AttemptKey,
        /// How.
        state: AttemptState,
        /// Why, if it failed.
        failure: Option<FailureClass>,
        /// What there is to say about it.
        message: Option<String>,
        /// The worker's name.
        worker: String,
        /// The fold's value, if this attempt completed it.
        value: Option<f64>,
        /// Epochs it recorded.
        epochs: u32,
        /// When.
        at: Millis,
    },
    /// An attempt finished an epoch. Its key (trial, fold, attempt, epoch) is new.
    Epoch {
        /// The study.
        study: StudyId,
        /// What was reported.
        record: EpochRecord,
        /// The worker's name.
        worker: String,
    },
    /// A fold has a checkpoint, in the place of the one it had.
    Checkpoint {
        /// The attempt that made it.
        key: AttemptKey,
        /// What was stored.
        checkpoint: Checkpoint,
        /// When.
        at: Millis,
    },
    /// A fold has a result, in the place of one of the same kind and epoch. It stays for as long as its study does.
    Result {
        /// The attempt that made it.
        key: AttemptKey,
        /// What was stored.
        result: ResultFile,
        /// When.
        at: Millis,
    },
    /// A trial has one more param, which it did not have before.
    Derived {
        /// The attempt that found it.
        key: AttemptKey,
        /// The param.
        name: String,
        /// What it is.
        value: ParamValue,
        /// When.
        at: Millis,
    },
    /// The checkpoint of a fold is not needed any more.
    CheckpointDropped {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
    },
    /// A trial was pruned.
    Decision {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The fold it was judged on.
        fold: FoldIndex,
        /// The epoch; none if a finished fold was judged.
        epoch: Option<Epoch>,
        /// Why.
        decision: Decision,
        /// When.
        at: Millis,
    },
}

/// What a worker is told.
#[derive(Debug, Clone, PartialEq)]
pub enum ToWorker {
    /// The answer to a hello.
    Welcome {
        /// How long a lease lasts without a word.
        lease_ms: i64,
        /// How often to send one.
        heartbeat_ms: i64,
    },
    /// Train this fold.
    Assign(Box<Assignment>),
    /// Stop an attempt, then say that it finished.
    Stop {
        /// The attempt.
        key: AttemptKey,
        /// Let the running epoch end and report it first.
        after_epoch: bool,
    },
    /// An epoch is durable.
    EpochRecorded {
        /// The attempt.
        key: AttemptKey,
        /// The epoch.
        epoch: Epoch,
    },
    /// A param of the trial is durable, with the value that an attempt said or with one that came before.
    ParamRecorded {
        /// The attempt.
        key: AttemptKey,
        /// The param.
        name: String,
    },
    /// The end of an attempt is durable.
    EndRecorded {
        /// The attempt.
        key: AttemptKey,
    },
    /// This attempt is dead: stop it and send nothing more of it.
    Revoked {
        /// The attempt.
        key: AttemptKey,
    },
}

/// A lease of one fold.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The lease.
    pub lease: LeaseId,
    /// The attempt.
    pub key: AttemptKey,
    /// The trial's params.
    pub params: Params,
    /// The effective spec.
    pub spec: Arc<StudySpec>,
    /// What the data must be.
    pub data: Arc<DataInfo>,
    /// The seed of the fold's weights and batch order.
    pub seed: u64,
    /// What to go on from; none for a fresh start.
    pub checkpoint: Option<Checkpoint>,
}

impl Assignment {
    /// The epoch to start after; 0 for a fresh start.
    pub fn start_epoch(&self) -> Epoch {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.epoch).unwrap_or_default()
    }

    /// Which execution of the fold it is.
    pub fn attempt(&self) -> Attempt {
        self.key.attempt
    }
}

/// What is answered to an event that asks for something.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is done.
    Done,
    /// A trial to evaluate.
    Asked(Asked),
    /// Where the trial is now.
    Trial(TrialNow),
    /// Who is there.
    Workers(Vec<WorkerRecord>),
}
