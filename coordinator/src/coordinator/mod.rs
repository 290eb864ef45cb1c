//! The coordinator: one loop that tells the engine what happened, records what it decides, and only then answers.
//!
//! Invariant: nothing is sent to a worker, a caller or a watcher before the writes that led to it are durable.

mod clock;
mod create;
mod data_paths;
mod health;
mod offline;
mod outage;
mod publish;
mod recall;
mod running;
mod source;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use foldwise_engine::scheduler::{Answer, Census, Event, NewStudy, OpenLeases, Refusal, ToWorker};
use foldwise_shared::ids::{SessionId, StudyId};
use foldwise_shared::record::{StudyEvent, StudyRecord};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use self::create::{CreateError, prepare, prepare_within};
pub use self::data_paths::{DataPaths, DataRootError};
pub use self::offline::{Change, offline, request_offline};
pub use self::source::Sources;
use crate::artifacts::{Artifacts, Janitor};
use crate::hindsight::HindsightError;
use crate::metrics::Metrics;
use crate::store::{Reader, Store, StoreError};

/// Events that wait to be handled; senders wait when it is full.
const INBOX: usize = 4_096;
/// Events that a watcher may fall behind before it is cut off.
const WATCH: usize = 16_384;

/// What goes wrong with a coordinator.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A new study that cannot be.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// There is no such study.
    #[error("there is no study named `{name}`{}", list(.known))]
    NoStudy {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is one of that name already.
    #[error("there is a study named `{0}` already; give this one another name")]
    NameTaken(String),
    /// The study is over.
    #[error("the study `{0}` has ended; `foldwise study extend {0} --trials N` lets it go on")]
    Ended(String),
    /// There is no such worker.
    #[error("there has never been a worker named `{name}`{}", list(.known))]
    NoWorker {
        /// What was asked for.
        name: String,
        /// Who there was.
        known: Vec<String>,
    },
    /// What was asked for cannot be; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The batch this event was in could not be recorded; nothing of it happened.
    #[error("it could not be recorded, and nothing of it happened: {0}")]
    NotRecorded(String),
    /// Nothing can be recorded now; nothing of it happened.
    #[error("nothing can be recorded now, and nothing of it happened; try again once that is mended: {0}")]
    Outage(String),
    /// The system does not let the loop run.
    #[error("failed to start the coordinator's thread: {0}")]
    Start(#[from] std::io::Error),
    /// The loop ended by a mistake of ours.
    #[error("the coordinator's thread panicked; what was answered is recorded")]
    Panicked,
    /// What cannot be seen of a study that is recorded.
    #[error(transparent)]
    Hindsight(#[from] HindsightError),
    /// The loop is gone.
    #[error("the coordinator is shutting down")]
    Closed,
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "; there is none at all".into()
    } else {
        format!("; there are: {}", names.join(", "))
    }
}

/// How a coordinator is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How long a lease lasts without a word from the worker.
    pub lease_ms: Option<i64>,
    /// What becomes of the leases that are open in the database.
    pub open_leases: OpenLeases,
    /// Give out folds of this study only, or, if it is not there yet, of those created from now on.
    pub only: Option<String>,
    /// The largest artifact that is taken, in bytes.
    pub max_artifact: Option<u64>,
}

/// What the loop is told.
pub(crate) enum Input {
    /// Something happened.
    Event(Event),
    /// Something is to happen; the answer comes when it is durable.
    Request { event: Event, answer: oneshot::Sender<Result<Answer, CoordinatorError>> },
    /// A worker opened a stream: where its messages go.
    Attach { session: SessionId, sender: mpsc::UnboundedSender<ToWorker> },
    /// Somebody wants to know what there is now.
    Census { answer: oneshot::Sender<Census> },
}

/// What was recorded in a study.
pub type Published = (StudyId, Arc<StudyEvent>);

/// A running coordinator; a handle that can be cloned. Its loop ends when every handle is gone.
#[derive(Clone)]
pub struct Coordinator {
    inbox: mpsc::Sender<Input>,
    published: broadcast::Sender<Published>,
    drained: watch::Receiver<bool>,
    outage: watch::Receiver<Option<String>>,
    database: Arc<Path>,
    artifacts: Arc<Artifacts>,
    metrics: Arc<Metrics>,
    last_health: health::LastHealth,
}

/// The thread of a coordinator's loop; its result is why it ended.
pub type LoopThread = JoinHandle<Result<(), StoreError>>;

impl Coordinator {
    /// Starts the loop on a thread of its own.
    ///
    /// # Errors
    /// What the store knows cannot be read, or the first writes cannot be recorded.
    pub fn start(
        store: Store,
        database: &Path,
        options: Options,
    ) -> Result<(Self, LoopThread), CoordinatorError> {
        let (inbox, receiver) = mpsc::channel(INBOX);
        let (published, _) = broadcast::channel(WATCH);
        let (drained_sender, drained) = watch::channel(false);
        let (outage_sender, outage) = watch::channel(None);
        let artifacts = Arc::new(Artifacts::of(database, options.max_artifact));
        let metrics = Arc::new(Metrics::new(database));
        let running = running::Running::new(
            store,
            options,
            running::Outlets { published: published.clone(), drained: drained_sender, outage: outage_sender },
            Janitor::start(Arc::clone(&artifacts))?,
            Arc::clone(&metrics),
        )?;
        let coordinator = Self {
            inbox,
            published,
            drained,
            outage,
            database: database.into(),
            artifacts,
            metrics,
            last_health: Default::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name("coordinator".into())
            .spawn(move || running.run(receiver, &runtime))?;
        Ok((coordinator, thread))
    }

    /// The database, for readers.
    pub fn database(&self) -> PathBuf {
        self.database.to_path_buf()
    }

    /// Why nothing can be recorded at the moment, if nothing can: a full disk, say. It is tried again and again.
    pub fn outage(&self) -> Option<String> {
        self.outage.borrow().clone()
    }

    /// The files beside the database.
    pub fn artifacts(&self) -> &Arc<Artifacts> {
        &self.artifacts
    }

    /// Everything that is recorded from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Published> {
        self.published.subscribe()
    }

    /// Tells the loop that something happened.
    ///
    /// # Errors
    /// The loop is gone.
    pub async fn tell(&self, event: Event) -> Result<(), CoordinatorError> {
        self.inbox.send(Input::Event(event)).await.map_err(|_| CoordinatorError::Closed)
    }

    /// Asks for something and waits until what is answered is durable.
    ///
    /// # Errors
    /// It could not be recorded, it cannot be, or the loop is gone.
    pub async fn request(&self, event: Event) -> Result<Answer, CoordinatorError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Input::Request { event, answer }).await.map_err(|_| CoordinatorError::Closed)?;
        answered.await.map_err(|_| CoordinatorError::Closed)?
    }

    /// Names the place where messages to a worker go; before its hello.
    ///
    /// # Errors
    /// The loop is gone.
    pub async fn attach(
        &self,
        session: SessionId,
        sender: mpsc::UnboundedSender<ToWorker>,
    ) -> Result<(), CoordinatorError> {
        self.inbox.send(Input::Attach { session, sender }).await.map_err(|_| CoordinatorError::Closed)
    }

    /// Records a checked study and gives back its record.
    ///
    /// # Errors
    /// Its name is taken, or it could not be recorded.
    pub async fn create(&self, study: NewStudy) -> Result<StudyRecord, CoordinatorError> {
        let name = study.spec.study.name.clone();
        self.request(Event::CreateStudy(Box::new(study))).await?;
        self.study(&name).await
    }

    /// The record of a study.
    ///
    /// # Errors
    /// There is none, or the database cannot be read.
    pub async fn study(&self, name: &str) -> Result<StudyRecord, CoordinatorError> {
        let name = name.to_owned();
        self.read(move |reader| find_study(reader, &name)).await
    }

    /// Runs a query beside the loop.
    ///
    /// # Errors
    /// What the query says.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, CoordinatorError> + Send + 'static,
    ) -> Result<T, CoordinatorError> {
        let database = self.database();
        let task = tokio::task::spawn_blocking(move || query(&Reader::open(&database)?));
        task.await.map_err(|_| CoordinatorError::Closed)?
    }

    /// Lets running epochs end, gives out nothing more, and waits until all is recorded; not for long if nothing can be
    /// recorded, which workers owe then.
    ///
    /// # Errors
    /// The loop is gone.
    pub async fn drain(&self) -> Result<(), CoordinatorError> {
        self.tell(Event::Drain).await?;
        let mut drained = self.drained.clone();
        drained.wait_for(|drained| *drained).await.map_err(|_| CoordinatorError::Closed)?;
        Ok(())
    }
}

/// Waits for a loop whose handles are gone; what it recorded is in one file at rest then.
///
/// # Errors
/// Why the loop ended before its handles were gone.
pub fn join(thread: LoopThread) -> Result<(), CoordinatorError> {
    match thread.join() {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(CoordinatorError::Panicked),
    }
}

/// A study by its name, or an error that lists the names there are.
///
/// # Errors
/// There is none of that name, or the database cannot be read.
pub fn find_study(reader: &Reader, name: &str) -> Result<StudyRecord, CoordinatorError> {
    match reader.study(name)? {
        Some(study) => Ok(study),
        None => {
            let known = reader.studies()?.into_iter().map(|study| study.name).collect();
            Err(CoordinatorError::NoStudy { name: name.to_owned(), known })
        }
    }
}

/// The id of a study by its name: little work, for what is asked often.
///
/// # Errors
/// As [`find_study`].
pub fn find_study_id(reader: &Reader, name: &str) -> Result<StudyId, CoordinatorError> {
    match reader.study_id(name)? {
        Some(id) => Ok(id),
        None => find_study(reader, name).map(|study| study.id),
    }
}

/// Where messages to workers go.
type Sessions = HashMap<SessionId, mpsc::UnboundedSender<ToWorker>>;
