//! Writes about the files that workers store: checkpoints, results, and the models that studies start from.

use foldwise_shared::artifact::{Artifact, CHECKPOINT, ResultFile, SOURCE};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::ids::{AttemptKey, FoldIndex, Millis, StudyId};
use rusqlite::{Connection, params};

use super::trial_id;
use crate::store::error::Fault;

/// Keeps the model that a study starts from among the artifacts for as long as the study is there.
pub(super) fn new_source(
    tx: &Connection,
    study: StudyId,
    source: &Artifact,
    at: Millis,
) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO artifact (study_id, kind, digest, bytes, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![study.0, SOURCE, source.digest, file_bytes(source.bytes)?, at.0])?;
    Ok(())
}

/// In the place of the one of the same kind and epoch that the fold had.
pub(super) fn new_result(
    tx: &Connection,
    key: AttemptKey,
    result: &ResultFile,
    at: Millis,
) -> Result<(), Fault> {
    let trial = trial_id(tx, key.study, key.trial)?;
    let ResultFile { kind, epoch, file } = result;
    let epoch = epoch.map(|epoch| epoch.0);
    tx.prepare_cached(
        "DELETE FROM artifact WHERE trial_id = ?1 AND fold = ?2 AND kind = ?3 AND epoch IS ?4",
    )?
    .execute(params![trial, key.fold.0, kind, epoch])?;
    insert(tx, key, trial, kind, file, epoch, at)
}

/// In the place of the one that the fold had.
pub(super) fn new_checkpoint(
    tx: &Connection,
    key: AttemptKey,
    checkpoint: &Checkpoint,
    at: Millis,
) -> Result<(), Fault> {
    let trial = trial_id(tx, key.study, key.trial)?;
    drop_checkpoint(tx, trial, key.fold)?;
    let Checkpoint { epoch, digest, bytes } = checkpoint.clone();
    insert(tx, key, trial, CHECKPOINT, &Artifact { digest, bytes }, Some(epoch.0), at)
}

fn insert(
    tx: &Connection,
    key: AttemptKey,
    trial: i64,
    kind: &str,
    file: &Artifact,
    epoch: Option<u32>,
    at: Millis,
) -> Result<(), Fault> {
    let bytes = file_bytes(file.bytes)?;
    tx.prepare_cached(
        "INSERT INTO artifact (study_id, trial_id, fold, attempt, kind, digest, bytes, created_at, epoch) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        key.study.0,
        trial,
        key.fold.0,
        key.attempt.0,
        kind,
        file.digest,
        bytes,
        at.0,
        epoch
    ])?;
    Ok(())
}

/// A length as SQLite has it.
fn file_bytes(bytes: u64) -> Result<i64, Fault> {
    i64::try_from(bytes).map_err(|_| Fault::Inconsistent(format!("a file of {bytes} bytes")))
}

pub(super) fn drop_checkpoint(tx: &Connection, trial: i64, fold: FoldIndex) -> Result<(), Fault> {
    tx.prepare_cached("DELETE FROM artifact WHERE trial_id = ?1 AND fold = ?2 AND kind = 'checkpoint'")?
        .execute(params![trial, fold.0])?;
    Ok(())
}
