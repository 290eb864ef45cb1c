//! Steering a study whose coordinator does not run: the same engine, for one event.

use std::path::Path;

use foldwise_data::Locations;
use foldwise_engine::scheduler::Event;
use foldwise_shared::record::StudyRecord;
use foldwise_shared::state::StudyState;
use tokio::sync::{broadcast, watch};

use super::running::Running;
use super::{CoordinatorError, Options, find_study, prepare};
use crate::store::{Reader, Store};

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
            let study = prepare(&text, &overrides, &Locations::from_env())?;
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
    let store = Store::open(database)?;
    // Whatever its workers still train, a study that is stopped does not want it.
    let forget_workers = matches!(event, Event::StopStudy(_));
    let options = Options { forget_workers, only: Some(name.clone()), lease_ms: None };
    let running = Running::new(store, options, broadcast::channel(1).0, watch::channel(false).0)?;
    running.only(event)?;
    find_study(&Reader::open(database)?, &name)
}

fn steer(
    database: &Path,
    name: String,
    event: fn(foldwise_shared::ids::StudyId) -> Event,
) -> Result<(String, Event), CoordinatorError> {
    let study = find_study(&Reader::open_mended(database)?, &name)?;
    if study.state == StudyState::Ended {
        return Err(CoordinatorError::Ended(name));
    }
    Ok((name, event(study.id)))
}
