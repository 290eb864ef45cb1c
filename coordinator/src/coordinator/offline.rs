//! Steering a study whose coordinator does not run: the same engine, for one event.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldwise_data::Locations;
use foldwise_engine::scheduler::{Answer, Event, OpenLeases, Refusal, RefusalKind};
use foldwise_shared::ids::StudyId;
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::StudyState;
use tokio::sync::{broadcast, watch};

use super::running::{Outlets, Running};
use super::{CoordinatorError, Options, Sources, find_study, prepare};
use crate::artifacts::{Artifacts, Janitor};
use crate::metrics::Metrics;
use crate::store::{Reader, Store, StoreError};

/// How long a command waits for others on the same database, and between two looks.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What a person wants of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Create it.
    Create {
        /// The study file.
        text: String,
        /// a.b=value, laid over it.
        overrides: Vec<String>,
    },
    /// No new leases; what runs finishes.
    Pause(String),
    /// Go on.
    Unpause(String),
    /// End it; what runs is stopped.
    Stop(String),
}

/// Carries out a change on a database that no coordinator holds, and gives back the study.
///
/// # Errors
/// There is no such database or study, the study has ended, a coordinator holds the database, or it cannot be
/// recorded.
pub fn offline(database: &Path, change: Change) -> Result<StudyRecord, CoordinatorError> {
    let (name, event) = match change {
        Change::Create { text, overrides } => {
            let study = prepare(&text, &overrides, &Locations::from_env(), &Sources::of(database))?;
            let name = study.spec.study.name.clone();
            // A reader looks first, so that a refusal finds the database untouched.
            let taken = |reader: Reader| reader.study(&name).is_ok_and(|study| study.is_some());
            if Reader::open(database).is_ok_and(taken) {
                return Err(CoordinatorError::NameTaken(name));
            }
            (name, Event::CreateStudy(Box::new(study)))
        }
        Change::Pause(name) => steer(database, name, Event::PauseStudy)?,
        Change::Unpause(name) => steer(database, name, Event::UnpauseStudy)?,
        Change::Stop(name) => steer(database, name, Event::StopStudy)?,
    };
    handle(database, &name, event)?;
    find_study(&Reader::open(database)?, &name)
}

/// Asks for something about a study of a database that no coordinator holds.
///
/// # Errors
/// As [`offline`], or it is refused.
pub fn request_offline(
    database: &Path,
    name: &str,
    event: impl FnOnce(StudyId) -> Event,
) -> Result<Answer, CoordinatorError> {
    let study = find_study(&Reader::open_mended(database)?, name)?;
    let event = event(study.id);
    let spec = StudySpec::from_json(&study.spec).ok();
    if matches!(event, Event::Ask { .. }) && spec.is_some_and(|spec| spec.budget.wall_time.is_some()) {
        // Nobody is there between two commands to measure it.
        return Err(CoordinatorError::Refused(Refusal {
            kind: RefusalKind::WrongState,
            message: format!(
                "budget.wall_time of `{name}` is for a coordinator to watch: ask one (`foldwise serve`)"
            ),
        }));
    }
    // Another command like this one is done in a moment.
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match handle(database, name, event.clone()) {
            Err(CoordinatorError::Store(StoreError::Held { .. })) if Instant::now() < patience => {
                std::thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn handle(database: &Path, name: &str, event: Event) -> Result<Answer, CoordinatorError> {
    let store = Store::open(database)?;
    // Whatever its workers still train, a study that is stopped does not want it.
    let unwanted = matches!(event, Event::StopStudy(_) | Event::DeleteStudy { force: true, .. });
    let open_leases = if unwanted { OpenLeases::Ended } else { OpenLeases::AsRecorded };
    let options = Options { open_leases, only: Some(name.to_owned()), ..Options::default() };
    let outlets = Outlets {
        published: broadcast::channel(1).0,
        drained: watch::channel(false).0,
        outage: watch::channel(None).0,
    };
    let janitor = Janitor::start(Arc::new(Artifacts::of(database, None)))?;
    let running = Running::new(store, options, outlets, janitor, Arc::new(Metrics::new(database)))?;
    running.only(event)
}

fn steer(
    database: &Path,
    name: String,
    event: fn(StudyId) -> Event,
) -> Result<(String, Event), CoordinatorError> {
    let study = find_study(&Reader::open_mended(database)?, &name)?;
    if study.state == StudyState::Ended {
        return Err(CoordinatorError::Ended(name));
    }
    Ok((name, event(study.id)))
}
