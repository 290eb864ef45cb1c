//! The attempts of a trial, and of a whole study.

use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::record::AttemptRecord;
use rusqlite::{Row, params};

use super::error::StoreError;
use super::query::{Reader, collect};
use super::value::{optional_word, word};

/// The attempts of a study: what `attempt_record` reads, then the number of the trial.
const ATTEMPTS: &str = "SELECT a.fold, a.attempt, a.state, a.failure, a.message, a.worker, a.device, a.start_epoch, \
     (SELECT count(*) FROM epoch AS e WHERE e.trial_id = a.trial_id AND e.fold = a.fold \
     AND e.attempt = a.attempt), a.started_at, a.ended_at, trial.number \
     FROM trial JOIN attempt AS a ON a.trial_id = trial.id WHERE trial.study_id = ?1";

impl Reader {
    /// The attempts of a trial, by fold and number.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn attempts(&self, study: StudyId, trial: TrialNumber) -> Result<Vec<AttemptRecord>, StoreError> {
        let sql = format!("{ATTEMPTS} AND trial.number = ?2 ORDER BY a.fold, a.attempt");
        self.read(|tx| collect(tx, &sql, params![study.0, trial.0], attempt_record))
    }

    /// The attempts of all trials of a study, by trial, fold and number.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn all_attempts(&self, study: StudyId) -> Result<Vec<(TrialNumber, AttemptRecord)>, StoreError> {
        let sql = format!("{ATTEMPTS} ORDER BY trial.number, a.fold, a.attempt");
        self.read(|tx| {
            collect(tx, &sql, [study.0], |row| Ok((TrialNumber(row.get(11)?), attempt_record(row)?)))
        })
    }
}

fn attempt_record(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    Ok(AttemptRecord {
        fold: FoldIndex(row.get(0)?),
        attempt: Attempt(row.get(1)?),
        state: word(row, 2)?,
        failure: optional_word(row, 3)?,
        message: row.get(4)?,
        worker: row.get(5)?,
        device: row.get(6)?,
        start_epoch: Epoch(row.get(7)?),
        epochs: row.get(8)?,
        started_at: Millis(row.get(9)?),
        ended_at: row.get::<_, Option<i64>>(10)?.map(Millis),
    })
}
