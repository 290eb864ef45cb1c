//! What people do to studies and workers: a larger budget, a study that goes, a name that gets no more folds.

use foldwise_shared::fleet::Handover;
use foldwise_shared::ids::{Millis, StudyId};
use foldwise_shared::spec::{BudgetSection, StudySpec};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::super::error::Fault;
use super::super::view;
use super::{Subject, log, one};

pub(super) fn extend(
    tx: &Connection,
    study: StudyId,
    spec: &StudySpec,
    before: &BudgetSection,
    at: Millis,
) -> Result<(), Fault> {
    one(tx, "UPDATE study SET spec = ?2 WHERE id = ?1", params![study.0, spec.to_json()], || {
        format!("there is no study {study} to extend")
    })?;
    let detail = json!({ "before": before, "budget": spec.budget });
    log(tx, at, "study-extended", Subject::study(study), &detail).map(drop)
}

/// All that belongs to the study goes with its row; the log stays, and so do the workers. The file shrinks at the next VACUUM;
/// until then the room is used for what is recorded next.
pub(super) fn delete(tx: &Connection, study: StudyId, at: Millis) -> Result<(), Fault> {
    let name: Option<String> = tx
        .prepare_cached("SELECT name FROM study WHERE id = ?1")?
        .query_row([study.0], |row| row.get(0))
        .optional()?;
    let Some(name) = name else {
        return Err(Fault::Inconsistent(format!("there is no study {study} to delete")));
    };
    view::remove(tx, study)?;
    // Others that came from it stand on their own from now on.
    tx.execute("UPDATE study SET parent_study = NULL WHERE parent_study = ?1", [study.0])?;
    tx.execute(
        "UPDATE trial SET parent_trial = NULL \
         WHERE study_id <> ?1 AND parent_trial IN (SELECT id FROM trial WHERE study_id = ?1)",
        [study.0],
    )?;
    // A lease belongs to nothing but its attempts, which keep it for as long as they are there.
    let leases: Vec<i64> = tx
        .prepare(
            "SELECT DISTINCT a.lease_id FROM trial JOIN attempt AS a ON a.trial_id = trial.id WHERE trial.study_id = ?1",
        )?
        .query_map([study.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    one(tx, "DELETE FROM study WHERE id = ?1", [study.0], || format!("there is no study {study} to delete"))?;
    let unused = "DELETE FROM lease WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM attempt WHERE lease_id = ?1)";
    let mut delete = tx.prepare(unused)?;
    for lease in leases {
        delete.execute([lease])?;
    }
    log(tx, at, "study-deleted", Subject::study(study), &json!({ "name": name })).map(drop)
}

pub(super) fn drain(tx: &Connection, name: &str, handover: Handover, at: Millis) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO drained_worker (name, handover, drained_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET handover = ?2, drained_at = ?3",
    )?
    .execute(params![name, handover.as_str(), at.0])?;
    let detail = json!({ "worker": name, "handover": handover });
    log(tx, at, "worker-drained", Subject::default(), &detail).map(drop)
}

pub(super) fn undrain(tx: &Connection, name: &str, at: Millis) -> Result<(), Fault> {
    one(tx, "DELETE FROM drained_worker WHERE name = ?1", [name], || {
        format!("worker {name} is not drained")
    })?;
    log(tx, at, "worker-undrained", Subject::default(), &json!({ "worker": name })).map(drop)
}
