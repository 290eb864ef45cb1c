//! The log of a study as its watchers see it, for those who look into the file.

use foldwise_shared::ids::{Attempt, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::record::StudyEvent;
use foldwise_shared::state::{AttemptState, TrialState};
use rusqlite::{Connection, Row};
use serde_json::Value;

use super::error::{Fault, StoreError};
use super::query::{Reader, collect};

/// A row of the log.
struct Logged {
    seq: i64,
    kind: String,
    trial: TrialNumber,
    fold: FoldIndex,
    attempt: Attempt,
    detail: String,
}

impl Reader {
    /// The number of the last event.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn last_event(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(seq), 0) FROM event";
        self.read(|tx| Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
    }

    /// What happened in a study after an event, with the number of each; epochs are not among it.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn events_since(&self, study: StudyId, seq: i64) -> Result<Vec<(i64, StudyEvent)>, StoreError> {
        self.read(|tx| events_since(tx, study, seq))
    }
}

fn events_since(tx: &Connection, study: StudyId, seq: i64) -> Result<Vec<(i64, StudyEvent)>, Fault> {
    let sql = "SELECT seq, kind, coalesce(trial, 0), coalesce(fold, 0), coalesce(attempt, 0), detail FROM event \
        WHERE seq > ?1 AND study_id = ?2 ORDER BY seq";
    let logged = |row: &Row<'_>| {
        Ok(Logged {
            seq: row.get(0)?,
            kind: row.get(1)?,
            trial: TrialNumber(row.get(2)?),
            fold: FoldIndex(row.get(3)?),
            attempt: Attempt(row.get(4)?),
            detail: row.get(5)?,
        })
    };
    let mut events = Vec::new();
    for row in collect(tx, sql, (seq, study.0), logged)? {
        let seq = row.seq;
        if let Some(event) = event(row).map_err(|error| Fault::Damaged(format!("event {seq}: {error}")))? {
            events.push((seq, event));
        }
    }
    Ok(events)
}

/// None for what watchers are not told.
fn event(row: Logged) -> serde_json::Result<Option<StudyEvent>> {
    let Logged { kind, trial, fold, attempt, detail, .. } = row;
    let mut detail: Value = serde_json::from_str(&detail)?;
    let mut take = |name: &str| detail.get_mut(name).map(Value::take).unwrap_or_default();
    let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Some(match kind.as_str() {
        "trial-created" => {
            StudyEvent::TrialCreated { trial, params: serde_json::from_value(take("params"))? }
        }
        "attempt-started" => {
            let (worker, device) = (text(take("worker")), text(take("device")));
            StudyEvent::AttemptStarted { trial, fold, attempt, worker, device }
        }
        "attempt-ended" => {
            let worker = text(take("worker"));
            let state: AttemptState = serde_json::from_value(take("state"))?;
            match (state, take("failure"), take("value").as_f64()) {
                (AttemptState::Complete, _, Some(value)) => {
                    let epochs = take("epochs").as_u64().and_then(|epochs| u32::try_from(epochs).ok());
                    StudyEvent::FoldFinished {
                        trial,
                        fold,
                        worker,
                        value,
                        epochs: epochs.unwrap_or_default(),
                    }
                }
                (AttemptState::Failed, class, _) => {
                    let (class, message) = (serde_json::from_value(class)?, text(take("message")));
                    StudyEvent::AttemptFailed { trial, fold, attempt, worker, class, message }
                }
                _ => StudyEvent::AttemptStopped { trial, fold, worker },
            }
        }
        "trial-state" => {
            let state: TrialState = serde_json::from_value(take("state"))?;
            if !state.is_finished() {
                return Ok(None);
            }
            let (value, reason) = (take("value").as_f64(), text(take("reason")));
            StudyEvent::TrialFinished { trial, state, value, reason }
        }
        "study-state" => {
            let message = take("message").as_str().map(str::to_owned);
            StudyEvent::StudyChanged { state: serde_json::from_value(take("state"))?, message }
        }
        "study-deleted" => StudyEvent::StudyChanged {
            state: foldwise_shared::state::StudyState::Ended,
            message: Some("it was deleted".into()),
        },
        _ => return Ok(None),
    }))
}
