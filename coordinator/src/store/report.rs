//! What a report asks for: a whole study at once.

use foldwise_shared::artifact::ArtifactRecord;
use foldwise_shared::ids::{Epoch, FoldIndex, StudyId, TrialNumber};
use rusqlite::params;

use super::error::StoreError;
use super::query::{Reader, collect};
use super::value::count;

impl Reader {
    /// The names of the studies that came from a study: its fits, and their evaluations and transfers; oldest first.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn children(&self, study: StudyId) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM study WHERE parent_study = ?1 ORDER BY id";
        self.read(|tx| collect(tx, sql, [study.0], |row| row.get(0)))
    }

    /// The artifacts of a study but its checkpoints, by trial, fold, kind and epoch. What was made after an epoch that a newer
    /// attempt trains again is not among them.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn artifacts(
        &self,
        study: StudyId,
        limit: u32,
        offset: u32,
    ) -> Result<Vec<ArtifactRecord>, StoreError> {
        let sql = "SELECT trial.number, artifact.fold, artifact.kind, artifact.epoch, artifact.digest, artifact.bytes \
            FROM artifact JOIN trial ON trial.id = artifact.trial_id \
            WHERE artifact.study_id = ?1 AND artifact.kind <> 'checkpoint' \
            AND NOT EXISTS (SELECT 1 FROM attempt AS newer WHERE newer.trial_id = artifact.trial_id \
            AND newer.fold = artifact.fold AND newer.attempt > artifact.attempt AND newer.start_epoch < artifact.epoch) \
            ORDER BY trial.number, artifact.fold, artifact.kind, artifact.epoch, artifact.id LIMIT ?2 OFFSET ?3";
        self.read(|tx| {
            collect(tx, sql, params![study.0, limit, offset], |row| {
                Ok(ArtifactRecord {
                    trial: TrialNumber(row.get(0)?),
                    fold: FoldIndex(row.get::<_, Option<u32>>(1)?.unwrap_or_default()),
                    kind: row.get(2)?,
                    epoch: row.get::<_, Option<u32>>(3)?.map(Epoch),
                    digest: row.get(4)?,
                    bytes: count(row, 5)?,
                })
            })
        })
    }

    /// The length of an artifact of a study; none if the study has none of that digest.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn artifact_bytes(&self, study: StudyId, digest: &str) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT bytes FROM artifact WHERE study_id = ?1 AND digest = ?2 AND kind <> 'checkpoint'";
        self.read(|tx| Ok(collect(tx, sql, params![study.0, digest], |row| count(row, 0))?.pop()))
    }
}
