//! What happens in a study, as a watcher sees it.

use foldwise_shared::ids::{Attempt, FoldIndex, TrialNumber};
use foldwise_shared::record::StudyEvent;

use super::{WireError, failure, failure_from, params, params_from};
use crate::v1::{self, study_event::Event as Wire};

impl From<StudyEvent> for v1::StudyEvent {
    fn from(event: StudyEvent) -> Self {
        let event = match event {
            StudyEvent::TrialCreated { trial, params: chosen } => {
                Wire::TrialCreated(v1::TrialCreated { trial: trial.0, params: params(&chosen) })
            }
            StudyEvent::AttemptStarted { trial, fold, attempt, worker, device } => {
                Wire::AttemptStarted(v1::AttemptStarted {
                    trial: trial.0,
                    fold: fold.0,
                    attempt: attempt.0,
                    worker,
                    device,
                })
            }
            StudyEvent::PhaseBegan { trial, fold, attempt, worker, name } => {
                Wire::PhaseBegan(v1::PhaseBegan {
                    trial: trial.0,
                    fold: fold.0,
                    attempt: attempt.0,
                    worker,
                    name,
                })
            }
            StudyEvent::Epoch { record, worker } => {
                Wire::Epoch(v1::EpochRecorded { record: Some(record.into()), worker })
            }
            StudyEvent::AttemptFailed { trial, fold, attempt, worker, class, message } => {
                Wire::AttemptFailed(v1::AttemptFailed {
                    trial: trial.0,
                    fold: fold.0,
                    attempt: attempt.0,
                    worker,
                    failure: failure(class),
                    message,
                })
            }
            StudyEvent::FoldFinished { trial, fold, worker, value, epochs } => {
                Wire::FoldFinished(v1::FoldFinished { trial: trial.0, fold: fold.0, worker, value, epochs })
            }
            StudyEvent::AttemptStopped { trial, fold, worker } => {
                Wire::AttemptStopped(v1::AttemptStopped { trial: trial.0, fold: fold.0, worker })
            }
            StudyEvent::TrialFinished { trial, state, value, reason } => {
                Wire::TrialFinished(v1::TrialFinished {
                    trial: trial.0,
                    state: state.to_string(),
                    value,
                    reason,
                })
            }
            StudyEvent::StudyChanged { state, message } => {
                Wire::StudyChanged(v1::StudyChanged { state: state.to_string(), message })
            }
        };
        Self { event: Some(event) }
    }
}

impl TryFrom<v1::StudyEvent> for StudyEvent {
    type Error = WireError;

    fn try_from(wire: v1::StudyEvent) -> Result<Self, WireError> {
        Ok(match wire.event.ok_or(WireError::Missing("event"))? {
            Wire::TrialCreated(event) => {
                Self::TrialCreated { trial: TrialNumber(event.trial), params: params_from(event.params)? }
            }
            Wire::AttemptStarted(event) => Self::AttemptStarted {
                trial: TrialNumber(event.trial),
                fold: FoldIndex(event.fold),
                attempt: Attempt(event.attempt),
                worker: event.worker,
                device: event.device,
            },
            Wire::PhaseBegan(event) => Self::PhaseBegan {
                trial: TrialNumber(event.trial),
                fold: FoldIndex(event.fold),
                attempt: Attempt(event.attempt),
                worker: event.worker,
                name: event.name,
            },
            Wire::Epoch(event) => Self::Epoch {
                record: event.record.ok_or(WireError::Missing("record"))?.into(),
                worker: event.worker,
            },
            Wire::AttemptFailed(event) => Self::AttemptFailed {
                trial: TrialNumber(event.trial),
                fold: FoldIndex(event.fold),
                attempt: Attempt(event.attempt),
                worker: event.worker,
                class: failure_from(event.failure)?,
                message: event.message,
            },
            Wire::FoldFinished(event) => Self::FoldFinished {
                trial: TrialNumber(event.trial),
                fold: FoldIndex(event.fold),
                worker: event.worker,
                value: event.value,
                epochs: event.epochs,
            },
            Wire::AttemptStopped(event) => Self::AttemptStopped {
                trial: TrialNumber(event.trial),
                fold: FoldIndex(event.fold),
                worker: event.worker,
            },
            Wire::TrialFinished(event) => Self::TrialFinished {
                trial: TrialNumber(event.trial),
                state: event.state.parse().map_err(|error| WireError::wrong("state", error))?,
                value: event.value,
                reason: event.reason,
            },
            Wire::StudyChanged(event) => Self::StudyChanged {
                state: event.state.parse().map_err(|error| WireError::wrong("state", error))?,
                message: event.message,
            },
        })
    }
}
