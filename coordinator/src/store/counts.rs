//! How many there are of what: little work, for who asks every few seconds.

use std::collections::BTreeMap;

use foldwise_shared::ids::StudyId;
use foldwise_shared::state::{StudyState, TrialState};

use super::error::StoreError;
use super::query::{Reader, collect};
use super::value::{optional_word, word};

/// A study's trials by state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyCounts {
    /// The study.
    pub id: StudyId,
    /// Where it is in its life.
    pub state: StudyState,
    /// Every state that occurs.
    pub trials: BTreeMap<TrialState, u64>,
}

impl Reader {
    /// Every study with its trials by state, oldest first.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn counts(&self) -> Result<Vec<StudyCounts>, StoreError> {
        let sql = "SELECT study.id, study.state, trial.state, count(trial.id) FROM study \
            LEFT JOIN trial ON trial.study_id = study.id GROUP BY study.id, trial.state ORDER BY study.id";
        let rows: Vec<(StudyId, StudyState, Option<TrialState>, u64)> = self.read(|tx| {
            collect(tx, sql, [], |row| {
                let count: i64 = row.get(3)?;
                Ok((StudyId(row.get(0)?), word(row, 1)?, optional_word(row, 2)?, count.unsigned_abs()))
            })
        })?;
        let mut studies: Vec<StudyCounts> = Vec::new();
        for (id, state, trial, count) in rows {
            if studies.last().is_none_or(|last| last.id != id) {
                studies.push(StudyCounts { id, state, trials: BTreeMap::new() });
            }
            if let (Some(study), Some(trial)) = (studies.last_mut(), trial) {
                study.trials.insert(trial, count);
            }
        }
        Ok(studies)
    }
}
