//! What the scheduler is told.

use foldwise_shared::artifact::{Artifact, ResultFile};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::device::DeviceUse;
use foldwise_shared::external::{Told, TrialReport};
use foldwise_shared::fleet::Handover;
use foldwise_shared::ids::{AttemptKey, Epoch, LeaseId, SessionId, StudyId, TrialNumber};
use foldwise_shared::record::Metrics;
use foldwise_shared::spec::{Extension, StudySpec};
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::{ParamValue, Params};

use super::snapshot::StudySnapshot;
use super::steer::RecordedTrial;

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A person created a study; its spec and data were checked.
    CreateStudy(Box<NewStudy>),
    /// A person wants no new leases; what runs finishes.
    PauseStudy(StudyId),
    /// A person lets a paused study go on.
    UnpauseStudy(StudyId),
    /// A person ends a study; what runs is stopped.
    StopStudy(StudyId),
    /// A worker opened a stream.
    Hello {
        /// Its stream.
        session: SessionId,
        /// Who it is.
        worker: WorkerInfo,
        /// The attempts it holds.
        held: Vec<AttemptKey>,
    },
    /// A worker says how many attempts it can run side by side.
    Ready {
        /// Its stream.
        session: SessionId,
        /// The absolute number of slots, those in use included.
        slots: u32,
    },
    /// A worker is alive.
    Heartbeat {
        /// Its stream.
        session: SessionId,
        /// How busy its device is, where it can tell.
        device_use: Option<DeviceUse>,
    },
    /// A checkpoint of an attempt lies among the artifacts, whole. Has a [`super::Command::Reply`]; it may be forgotten if that
    /// is a refusal.
    Checkpoint {
        /// The worker's incarnation.
        incarnation: String,
        /// The attempt.
        key: AttemptKey,
        /// What was stored.
        checkpoint: Checkpoint,
    },
    /// A result of an attempt lies among the artifacts, whole. Has a [`super::Command::Reply`], as a checkpoint has.
    Result {
        /// The worker's incarnation.
        incarnation: String,
        /// The attempt.
        key: AttemptKey,
        /// What was stored.
        result: ResultFile,
        /// The digest of the one of the same kind and epoch that it replaces, as the record has it.
        before: Option<String>,
    },
    /// An attempt found a param of its trial.
    Derived {
        /// Its stream.
        session: SessionId,
        /// The attempt.
        key: AttemptKey,
        /// The param.
        name: String,
        /// What it is.
        value: ParamValue,
    },
    /// An attempt does something long that is no epoch.
    Phase {
        /// Its stream.
        session: SessionId,
        /// The attempt.
        key: AttemptKey,
        /// What, in a word or two.
        name: String,
    },
    /// A worker finished an epoch.
    Epoch {
        /// Its stream.
        session: SessionId,
        /// The attempt.
        key: AttemptKey,
        /// What it measured.
        report: EpochReport,
    },
    /// An attempt ended as planned.
    Finished {
        /// Its stream.
        session: SessionId,
        /// The attempt.
        key: AttemptKey,
        /// Whether it was told to stop before its end.
        stopped: bool,
    },
    /// An attempt ended without a result.
    Failed {
        /// Its stream.
        session: SessionId,
        /// The attempt.
        key: AttemptKey,
        /// Of what kind.
        class: FailureClass,
        /// What the worker says.
        message: String,
    },
    /// A worker cannot train this study at all: its data differs or is not there.
    Declined {
        /// Its stream.
        session: SessionId,
        /// The attempt it hands back.
        key: AttemptKey,
        /// What the worker says.
        message: String,
    },
    /// A stream closed; the worker may come back.
    SessionClosed {
        /// The stream.
        session: SessionId,
    },
    /// A worker's process is known to be dead.
    WorkerDied {
        /// The name it was started with.
        name: String,
    },
    /// A deadline passed.
    Tick,
    /// The coordinator itself slept: no lease may expire for that.
    Overslept {
        /// For how many milliseconds.
        gap: i64,
    },
    /// The coordinator wants to end: no new leases; running epochs end and are recorded.
    Drain,
    /// A program asks for a trial of a study with an external objective. This and what follows has a
    /// [`super::Command::Reply`].
    Ask {
        /// The study.
        study: StudyId,
        /// What the program calls itself.
        asker: String,
        /// How long its lease is to last without a word.
        lease_ms: i64,
    },
    /// What it measured on the way.
    Report {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The lease; without it, the trial's newest.
        lease: Option<LeaseId>,
        /// The measurement.
        report: TrialReport,
    },
    /// What came of the trial.
    Tell {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The lease; without it, the trial's newest.
        lease: Option<LeaseId>,
        /// The outcome.
        told: Told,
    },
    /// It is still at it.
    Renew {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// The lease; without it, the trial's newest.
        lease: Option<LeaseId>,
    },
    /// A person wants these params to be tried next, in a study of any kind.
    Enqueue {
        /// The study.
        study: StudyId,
        /// The params; those that are left out are drawn at random.
        params: Params,
    },
    /// A person knows what comes of these params, in a study with an external objective.
    AddTrial {
        /// The study.
        study: StudyId,
        /// Who says so.
        asker: String,
        /// All params.
        params: Params,
        /// What came of them.
        told: Told,
    },
    /// A person allows a study more; one that has ended goes on. This and what follows has a [`super::Command::Reply`].
    ExtendStudy {
        /// The study.
        study: StudyId,
        /// How much more.
        more: Extension,
        /// What the record has of it, if it has ended.
        ended: Option<Box<StudySnapshot>>,
    },
    /// A person wants a study and all that is recorded of it to be gone. The record has it.
    DeleteStudy {
        /// The study.
        study: StudyId,
        /// Even if it is not over.
        force: bool,
        /// The digests of the artifacts that belong to it alone.
        artifacts: Vec<String>,
    },
    /// A person wants the params of a trial that came to nothing to be tried once more.
    RetryTrial {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
        /// What the record has of it; none if there is no such trial.
        found: Option<RecordedTrial>,
    },
    /// A person cancels a trial.
    StopTrial {
        /// The study.
        study: StudyId,
        /// The trial.
        trial: TrialNumber,
    },
    /// Who is there?
    ListWorkers,
    /// A person wants the workers of this name to get no more folds.
    DrainWorker {
        /// The name.
        name: String,
        /// What becomes of the folds they train.
        handover: Handover,
    },
    /// A person wants them to get folds again.
    UndrainWorker {
        /// The name.
        name: String,
    },
}

/// A study that was checked and is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStudy {
    /// The effective spec.
    pub spec: StudySpec,
    /// The study file as it was given.
    pub spec_text: String,
    /// The data it is about.
    pub data: DataInfo,
    /// The study that it came from.
    pub parent: Option<StudyId>,
    /// The model that its training starts from, as `source.model` of its spec names it; it stays among the artifacts for as
    /// long as the study does.
    pub source: Option<Artifact>,
}

/// The data of a study; nothing at all for an external objective.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataInfo {
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
}

/// Who a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// What a person calls it.
    pub name: String,
    /// Made at the start of its process; no two processes share one.
    pub incarnation: String,
    /// The device it trains on.
    pub device: String,
}

/// What a worker measured in an epoch.
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
    /// What else it measured.
    pub metrics: Metrics,
}
