//! What a report asks for: a whole study at once.

use foldwise_shared::artifact::{ArtifactRecord, MetricRecord};
use foldwise_shared::ids::{Epoch, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::record::AttemptRecord;
use rusqlite::params;

use super::error::StoreError;
use super::query::{LIVE, Reader, attempt_record, collect};
use super::value::count;

impl Reader {
    /// The attempts of all trials of a study, by trial, fold and number.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn all_attempts(&self, study: StudyId) -> Result<Vec<(TrialNumber, AttemptRecord)>, StoreError> {
        let sql = "SELECT a.fold, a.attempt, a.state, a.failure, a.message, a.worker, a.device, a.start_epoch, \
            (SELECT count(*) FROM epoch AS e WHERE e.trial_id = a.trial_id AND e.fold = a.fold \
             AND e.attempt = a.attempt), a.started_at, a.ended_at, trial.number \
            FROM trial JOIN attempt AS a ON a.trial_id = trial.id WHERE trial.study_id = ?1 \
            ORDER BY trial.number, a.fold, a.attempt";
        self.read(|tx| {
            collect(tx, sql, [study.0], |row| Ok((TrialNumber(row.get(11)?), attempt_record(row)?)))
        })
    }

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

    /// What was measured beside the losses in the live epochs of a trial, by fold, epoch and name.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn metrics(&self, study: StudyId, trial: TrialNumber) -> Result<Vec<MetricRecord>, StoreError> {
        let sql = format!(
            "SELECT trial.number, e.fold, e.epoch, metric.name, metric.value \
             FROM trial JOIN epoch AS e ON e.trial_id = trial.id \
             JOIN metric ON metric.trial_id = e.trial_id AND metric.fold = e.fold \
             AND metric.attempt = e.attempt AND metric.epoch = e.epoch \
             WHERE trial.study_id = ?1 AND trial.number = ?2 AND {LIVE} ORDER BY e.fold, e.epoch, metric.name"
        );
        self.read(|tx| {
            collect(tx, &sql, params![study.0, trial.0], |row| {
                Ok(MetricRecord {
                    trial: TrialNumber(row.get(0)?),
                    fold: FoldIndex(row.get(1)?),
                    epoch: Epoch(row.get(2)?),
                    name: row.get(3)?,
                    value: row.get(4)?,
                })
            })
        })
    }
}
