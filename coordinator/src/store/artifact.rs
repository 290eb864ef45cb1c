//! Which artifacts the record refers to, and who may have them.

use std::collections::BTreeSet;

use foldwise_shared::artifact::{Artifact, SOURCE};
use foldwise_shared::ids::{AttemptKey, Epoch, StudyId};
use rusqlite::{OptionalExtension, Row, params};

use super::error::StoreError;
use super::query::{Reader, collect};
use super::value::count;

impl Reader {
    /// The digests of the artifacts that belong to a study and to no other.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn artifacts_of(&self, study: StudyId) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT digest FROM artifact AS own WHERE study_id = ?1 AND NOT EXISTS \
            (SELECT 1 FROM artifact AS other WHERE other.digest = own.digest AND other.study_id <> ?1) ORDER BY digest";
        self.read(|tx| collect(tx, sql, [study.0], |row| row.get(0)))
    }

    /// Whether anything refers to the artifact of this digest.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn refers_to_artifact(&self, digest: &str) -> Result<bool, StoreError> {
        self.read(|tx| {
            let mut query = tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM artifact WHERE digest = ?1)")?;
            Ok(query.query_row([digest], |row| row.get(0))?)
        })
    }

    /// The digests of all artifacts that something refers to.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn artifact_digests(&self) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT DISTINCT digest FROM artifact";
        let digests: Vec<String> = self.read(|tx| collect(tx, sql, [], |row| row.get(0)))?;
        Ok(digests.into_iter().collect())
    }

    /// Whether an attempt runs, with this worker.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn runs(&self, incarnation: &str, key: AttemptKey) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM trial \
            JOIN attempt ON attempt.trial_id = trial.id AND attempt.fold = ?3 AND attempt.attempt = ?4 \
            JOIN lease ON lease.id = attempt.lease_id \
            WHERE trial.study_id = ?1 AND trial.number = ?2 AND attempt.state = 'running' \
            AND lease.incarnation = ?5)";
        self.read(|tx| {
            let AttemptKey { study, trial, fold, attempt } = key;
            let columns = params![study.0, trial.0, fold.0, attempt.0, incarnation];
            Ok(tx.prepare_cached(sql)?.query_row(columns, |row| row.get(0))?)
        })
    }

    /// The length of the checkpoint of this digest, if `key` is a running attempt of the worker that goes on from it.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn checkpoint_for(
        &self,
        incarnation: &str,
        key: AttemptKey,
        digest: &str,
    ) -> Result<Option<(u32, u64)>, StoreError> {
        let sql = "SELECT artifact.epoch, artifact.bytes FROM trial \
            JOIN attempt ON attempt.trial_id = trial.id AND attempt.fold = ?3 AND attempt.attempt = ?4 \
            JOIN lease ON lease.id = attempt.lease_id \
            JOIN artifact ON artifact.trial_id = trial.id AND artifact.fold = attempt.fold \
            WHERE trial.study_id = ?1 AND trial.number = ?2 AND attempt.state = 'running' \
            AND lease.incarnation = ?5 AND artifact.kind = 'checkpoint' AND artifact.digest = ?6 \
            AND artifact.epoch = attempt.start_epoch";
        self.read(|tx| {
            let AttemptKey { study, trial, fold, attempt } = key;
            let columns = params![study.0, trial.0, fold.0, attempt.0, incarnation, digest];
            let mut query = tx.prepare_cached(sql)?;
            let found =
                query.query_row(columns, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
            Ok(found.map(|(epoch, bytes)| (epoch, bytes.unsigned_abs())))
        })
    }

    /// The model that an attempt's study starts from, if its digest is this one and the attempt runs, with this worker.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn source_for(
        &self,
        incarnation: &str,
        key: AttemptKey,
        digest: &str,
    ) -> Result<Option<Artifact>, StoreError> {
        if !self.runs(incarnation, key)? {
            return Ok(None);
        }
        Ok(self.source_of(key.study)?.filter(|source| source.digest == digest))
    }

    /// The model that a study starts from, if it starts from one.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn source_of(&self, study: StudyId) -> Result<Option<Artifact>, StoreError> {
        let sql = "SELECT digest, bytes FROM artifact WHERE study_id = ?1 AND trial_id IS NULL AND kind = ?2";
        let artifact = |row: &Row<'_>| Ok(Artifact { digest: row.get(0)?, bytes: count(row, 1)? });
        self.read(|tx| Ok(collect(tx, sql, params![study.0, SOURCE], artifact)?.pop()))
    }

    /// The digest of the result of an attempt's fold that one of this kind and epoch would replace.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn result_before(
        &self,
        key: AttemptKey,
        kind: &str,
        epoch: Option<Epoch>,
    ) -> Result<Option<String>, StoreError> {
        let sql = "SELECT artifact.digest FROM trial JOIN artifact ON artifact.trial_id = trial.id \
            WHERE trial.study_id = ?1 AND trial.number = ?2 AND artifact.fold = ?3 AND artifact.kind = ?4 \
            AND artifact.epoch IS ?5";
        let AttemptKey { study, trial, fold, .. } = key;
        let columns = params![study.0, trial.0, fold.0, kind, epoch.map(|epoch| epoch.0)];
        self.read(|tx| Ok(collect(tx, sql, columns, |row| row.get(0))?.pop()))
    }
}
