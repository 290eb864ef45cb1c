//! What watchers see of what is recorded.

use foldwise_engine::scheduler::Write;
use foldwise_shared::ids::StudyId;
use foldwise_shared::record::StudyEvent;
use foldwise_shared::state::{AttemptState, StudyState};

/// The event that a write is to a watcher, if it is one.
pub fn event_of(write: &Write) -> Option<(StudyId, StudyEvent)> {
    Some(match write {
        Write::Trial { study, trial, params, .. } => {
            (*study, StudyEvent::TrialCreated { trial: *trial, params: params.clone() })
        }
        Write::AttemptStarted { key, worker, .. } => (
            key.study,
            StudyEvent::AttemptStarted {
                trial: key.trial,
                fold: key.fold,
                attempt: key.attempt,
                worker: worker.name.clone(),
                device: worker.device.clone(),
            },
        ),
        Write::Epoch { study, record, worker } => {
            (*study, StudyEvent::Epoch { record: record.clone(), worker: worker.clone() })
        }
        Write::AttemptEnded { key, state, failure, message, worker, value, epochs, .. } => {
            let (trial, fold, worker) = (key.trial, key.fold, worker.clone());
            let event = match (state, failure, value) {
                (AttemptState::Complete, _, Some(value)) => {
                    StudyEvent::FoldFinished { trial, fold, worker, value: *value, epochs: *epochs }
                }
                (AttemptState::Failed, Some(class), _) => StudyEvent::AttemptFailed {
                    trial,
                    fold,
                    attempt: key.attempt,
                    worker,
                    class: *class,
                    message: message.clone().unwrap_or_default(),
                },
                _ => StudyEvent::AttemptStopped { trial, fold, worker },
            };
            (key.study, event)
        }
        Write::TrialState { study, trial, state, value, reason, .. } if state.is_finished() => (
            *study,
            StudyEvent::TrialFinished {
                trial: *trial,
                state: *state,
                value: *value,
                reason: reason.clone().unwrap_or_default(),
            },
        ),
        Write::StudyState { study, state, message, .. } => {
            (*study, StudyEvent::StudyChanged { state: *state, message: message.clone() })
        }
        // For a watcher there is nothing more to come.
        Write::StudyDeleted { study, .. } => (
            *study,
            StudyEvent::StudyChanged { state: StudyState::Ended, message: Some("it was deleted".into()) },
        ),
        _ => return None,
    })
}
