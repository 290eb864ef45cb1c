//! What the engine has to be told of the record besides: it forgets what is over.

use foldwise_engine::scheduler::{Event, RecordedTrial};
use foldwise_shared::ids::StudyId;
use foldwise_shared::state::StudyState;

use super::CoordinatorError;
use crate::store::Store;

/// Whether [`recall`] has something to add or to check; then everything before must be recorded.
pub(super) fn is_needed(event: &Event) -> bool {
    matches!(
        event,
        Event::CreateStudy(_)
            | Event::ExtendStudy { .. }
            | Event::DeleteStudy { .. }
            | Event::RetryTrial { .. }
            | Event::DrainWorker { .. }
            | Event::Result { .. }
    )
}

/// An event with what the record says of its subject.
///
/// # Errors
/// It is about what is not there, or is there already.
pub(super) fn recall(store: &mut Store, event: Event) -> Result<Event, CoordinatorError> {
    Ok(match event {
        Event::CreateStudy(study) => {
            let name = &study.spec.study.name;
            if store.reader()?.study_id(name)?.is_some() {
                return Err(CoordinatorError::NameTaken(name.clone()));
            }
            if let Some(parent) = study.parent
                && store.reader()?.study_state(parent)?.is_none()
            {
                return Err(gone(parent));
            }
            Event::CreateStudy(study)
        }
        Event::ExtendStudy { study, more, .. } => {
            let state = store.reader()?.study_state(study)?.ok_or_else(|| gone(study))?;
            // What has not ended, the engine knows.
            let ended = if state == StudyState::Ended { store.study_snapshot(study)? } else { None };
            Event::ExtendStudy { study, more, ended: ended.map(Box::new) }
        }
        Event::DeleteStudy { study, force, .. } => {
            let reader = store.reader()?;
            if reader.study_state(study)?.is_none() {
                return Err(gone(study));
            }
            Event::DeleteStudy { study, force, artifacts: reader.artifacts_of(study)? }
        }
        Event::RetryTrial { study, trial, .. } => {
            let found = store.reader()?.trial(study, trial)?;
            let found = found.map(|found| RecordedTrial { state: found.state, params: found.params });
            Event::RetryTrial { study, trial, found }
        }
        Event::Result { incarnation, key, result, .. } => {
            let before = store.reader()?.result_before(key, &result.kind, result.epoch)?;
            Event::Result { incarnation, key, result, before }
        }
        Event::DrainWorker { name, handover } => {
            let known = store.reader()?.worker_names()?;
            if !known.contains(&name) {
                return Err(CoordinatorError::NoWorker { name, known });
            }
            Event::DrainWorker { name, handover }
        }
        other => other,
    })
}

/// It was there a moment ago, when its name was looked up.
fn gone(study: StudyId) -> CoordinatorError {
    CoordinatorError::NoStudy { name: format!("with the id {study}"), known: Vec::new() }
}
