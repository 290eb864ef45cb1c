//! Applies one change of the record, and logs it as an event.

mod artifact;
mod steer;

use std::collections::BTreeMap;

use foldwise_engine::scheduler::{NewStudy, WorkerInfo, Write};
use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{AttemptKey, Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::state::{AttemptState, FailureClass, Origin, StudyState, TrialState};
use foldwise_shared::value::{ParamValue, Params};
use rusqlite::{Connection, OptionalExtension, Params as Columns, named_params, params};
use serde_json::json;

use self::artifact::{drop_checkpoint, new_checkpoint, new_result, new_source};
use super::error::Fault;
use super::value::param_columns;
use super::view;

/// Applies `writes` in their order; the caller holds a transaction.
pub(super) fn apply_all(tx: &Connection, writes: &[Write]) -> Result<(), Fault> {
    let mut numbers = Numbers::default();
    for write in writes {
        apply(tx, write, &mut numbers)?;
    }
    numbers.settle(tx)
}

/// The numbers that epochs take from those of `event`. Of epochs that follow each other only the last is brought into the
/// table where SQLite keeps them.
#[derive(Default)]
struct Numbers {
    last: Option<i64>,
}

impl Numbers {
    fn next(&mut self, tx: &Connection) -> Result<i64, Fault> {
        let last = match self.last {
            Some(last) => last,
            None => tx
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'event'")?
                .query_row([], |row| row.get(0))?,
        };
        self.last = Some(last + 1);
        Ok(last + 1)
    }

    fn settle(&mut self, tx: &Connection) -> Result<(), Fault> {
        if let Some(last) = self.last.take() {
            tx.prepare_cached("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'event'")?.execute([last])?;
        }
        Ok(())
    }
}

fn apply(tx: &Connection, write: &Write, numbers: &mut Numbers) -> Result<(), Fault> {
    if !matches!(write, Write::Epoch { .. }) {
        // What else is written takes the next number by itself.
        numbers.settle(tx)?;
    }
    match write {
        Write::Study { id, study, at } => new_study(tx, *id, study, *at),
        Write::StudyState { study, state, message, at } => {
            study_state(tx, *study, *state, message.as_deref(), *at)
        }
        Write::RunningTime { study, running_ms } => {
            one(tx, "UPDATE study SET running_ms = ?2 WHERE id = ?1", params![study.0, running_ms], || {
                format!("there is no study {study}")
            })
        }
        Write::Worker { worker, at } => seen_worker(tx, worker, *at),
        Write::Trial { study, trial, params, origins, folds, parent, at } => {
            new_trial(tx, (*study, *trial), params, origins, (*folds, *parent), *at)
        }
        Write::TrialState { study, trial, state, ending, value, std, reason, at } => {
            trial_state(tx, (*study, *trial), (*state, *ending), (*value, *std), reason.as_deref(), *at)
        }
        Write::FoldState { study, trial, fold, state, value, best_epoch, at } => {
            fold_state(tx, (*study, *trial, *fold), *state, (*value, *best_epoch), *at)
        }
        Write::Lease { lease, worker, lease_ms, at } => new_lease(tx, *lease, worker, *lease_ms, *at),
        Write::LeaseRenewed { lease, at } => {
            one(tx, "UPDATE lease SET renewed_at = ?2 WHERE id = ?1", params![lease.0, at.0], || {
                format!("there is no lease {lease}")
            })
        }
        Write::AttemptStarted { key, lease, worker, start_epoch, at } => {
            attempt_started(tx, *key, *lease, worker, *start_epoch, *at)
        }
        Write::AttemptEnded { key, state, failure, message, worker, value, epochs, at } => {
            let detail = json!({ "state": state, "failure": failure, "message": message, "worker": worker,
                "value": value, "epochs": epochs });
            attempt_ended(tx, *key, (*state, *failure), message.as_deref(), *at)?;
            log(tx, *at, "attempt-ended", key.into(), &detail).map(drop)
        }
        Write::Epoch { study, record, worker: _ } => epoch(tx, *study, record, numbers.next(tx)?),
        Write::Checkpoint { key, checkpoint, at } => new_checkpoint(tx, *key, checkpoint, *at),
        Write::Result { key, result, at } => new_result(tx, *key, result, *at),
        Write::Derived { key, name, value, at } => derived(tx, *key, name, value, *at),
        Write::CheckpointDropped { study, trial, fold } => {
            drop_checkpoint(tx, trial_id(tx, *study, *trial)?, *fold)
        }
        Write::Decision { study, trial, fold, epoch, decision, at } => {
            decide(tx, (*study, *trial, *fold), *epoch, decision, *at)
        }
        Write::StudyExtended { study, spec, before, at } => steer::extend(tx, *study, spec, before, *at),
        Write::StudyDeleted { study, at } => steer::delete(tx, *study, *at),
        Write::WorkerDrained { name, handover, at } => steer::drain(tx, name, *handover, *at),
        Write::WorkerUndrained { name, at } => steer::undrain(tx, name, *at),
    }
}

fn new_study(tx: &Connection, id: StudyId, study: &NewStudy, at: Millis) -> Result<(), Fault> {
    let NewStudy { spec, spec_text, data, parent, source } = study;
    let images = i64::try_from(data.images).map_err(|_| Fault::Inconsistent("too many images".into()))?;
    tx.prepare_cached(
        "INSERT INTO study (id, name, state, images, height, width, data_digest, splits_digest, created_at, \
         spec, spec_text, parent_study) \
         VALUES (:id, :name, :state, :images, :height, :width, :data, :splits, :at, :spec, :text, :parent)",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":name": spec.study.name,
        ":state": StudyState::Running.as_str(),
        ":images": images,
        ":height": data.height,
        ":width": data.width,
        ":data": data.data_digest,
        ":splits": data.splits_digest,
        ":at": at.0,
        ":spec": spec.to_json(),
        ":text": spec_text,
        ":parent": parent.map(|parent| parent.0),
    })?;
    tx.prepare_cached("INSERT INTO objective (study_id, idx, name, direction) VALUES (?1, 0, 'value', ?2)")?
        .execute(params![id.0, spec.study.direction.as_str()])?;
    if let Some(source) = source {
        new_source(tx, id, source, at)?;
    }
    view::create(tx, id, spec)?;
    let mut detail = json!({ "name": spec.study.name });
    if let Some(parent) = parent {
        detail["parent"] = json!(parent);
    }
    log(tx, at, "study-created", Subject::study(id), &detail).map(drop)
}

fn study_state(
    tx: &Connection,
    study: StudyId,
    state: StudyState,
    message: Option<&str>,
    at: Millis,
) -> Result<(), Fault> {
    one(
        tx,
        "UPDATE study SET state = ?2, message = ?3 WHERE id = ?1",
        params![study.0, state.as_str(), message],
        || format!("there is no study {study}"),
    )?;
    let detail = json!({ "state": state, "message": message });
    log(tx, at, "study-state", Subject::study(study), &detail).map(drop)
}

fn seen_worker(tx: &Connection, worker: &WorkerInfo, at: Millis) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO worker (name, incarnation, device, first_seen_at, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?4) \
         ON CONFLICT (incarnation) DO UPDATE SET name = ?1, device = ?3, last_seen_at = ?4",
    )?
    .execute(params![worker.name, worker.incarnation, worker.device, at.0])?;
    let detail = json!({ "worker": worker.name, "incarnation": worker.incarnation, "device": worker.device });
    log(tx, at, "worker-connected", Subject::default(), &detail).map(drop)
}

fn new_trial(
    tx: &Connection,
    (study, number): (StudyId, TrialNumber),
    params: &Params,
    origins: &BTreeMap<String, Origin>,
    (folds, parent): (u32, Option<TrialNumber>),
    at: Millis,
) -> Result<(), Fault> {
    let waiting = TrialState::Waiting.as_str();
    let parent_id = parent.map(|parent| trial_id(tx, study, parent)).transpose()?;
    let trial = tx
        .prepare_cached(
            "INSERT INTO trial (study_id, number, state, created_at, parent_trial) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .insert(params![study.0, number.0, waiting, at.0, parent_id])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO param (trial_id, name, kind, value, origin) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (name, value) in params {
        let origin = origins.get(name).ok_or_else(|| {
            Fault::Inconsistent(format!("the param `{name}` of trial {number} has no origin"))
        })?;
        let (kind, value) = param_columns(value);
        insert.execute(params![trial, name, kind, value, origin.as_str()])?;
    }
    let mut insert = tx.prepare_cached("INSERT INTO fold (trial_id, fold, state) VALUES (?1, ?2, ?3)")?;
    for fold in 0..folds {
        insert.execute(params![trial, fold, waiting])?;
    }
    let detail = json!({ "params": params, "folds": folds, "parent": parent });
    log(tx, at, "trial-created", Subject::trial(study, number), &detail).map(drop)
}

fn trial_state(
    tx: &Connection,
    (study, number): (StudyId, TrialNumber),
    (state, ending): (TrialState, Option<TrialState>),
    (value, std): (Option<f64>, Option<f64>),
    reason: Option<&str>,
    at: Millis,
) -> Result<(), Fault> {
    let trial = trial_id(tx, study, number)?;
    one(
        tx,
        "UPDATE trial SET state = ?2, ending = ?3, value = ?4, std = ?5, reason = ?6, finished_at = ?7 \
         WHERE id = ?1 AND finished_at IS NULL",
        params![
            trial,
            state.as_str(),
            ending.map(TrialState::as_str),
            value,
            std,
            reason,
            state.is_finished().then_some(at.0)
        ],
        || format!("trial {number} of study {study} is finished, so it cannot become {state}"),
    )?;
    if let Some(value) = value {
        tx.prepare_cached("INSERT INTO trial_value (trial_id, idx, value) VALUES (?1, 0, ?2)")?
            .execute(params![trial, value])?;
    }
    let detail = json!({ "state": state, "ending": ending, "value": value, "std": std, "reason": reason });
    log(tx, at, "trial-state", Subject::trial(study, number), &detail).map(drop)
}

fn fold_state(
    tx: &Connection,
    (study, trial, fold): (StudyId, TrialNumber, FoldIndex),
    state: TrialState,
    (value, best_epoch): (Option<f64>, Option<Epoch>),
    at: Millis,
) -> Result<(), Fault> {
    one(
        tx,
        "UPDATE fold SET state = ?3, value = ?4, best_epoch = ?5 WHERE trial_id = ?1 AND fold = ?2",
        params![trial_id(tx, study, trial)?, fold.0, state.as_str(), value, best_epoch.map(|epoch| epoch.0)],
        || format!("trial {trial} of study {study} has no fold {fold}"),
    )?;
    let detail = json!({ "state": state, "value": value, "best_epoch": best_epoch });
    log(tx, at, "fold-state", Subject::fold(study, trial, fold), &detail).map(drop)
}

fn new_lease(
    tx: &Connection,
    lease: LeaseId,
    worker: &WorkerInfo,
    lease_ms: Option<i64>,
    at: Millis,
) -> Result<(), Fault> {
    one(
        tx,
        "INSERT INTO lease (id, worker_id, incarnation, state, granted_at, lease_ms) \
         SELECT ?1, id, incarnation, 'active', ?3, ?4 FROM worker WHERE incarnation = ?2",
        params![lease.0, worker.incarnation, at.0, lease_ms],
        || format!("the worker {} of lease {lease} was never seen", worker.name),
    )
}

fn attempt_started(
    tx: &Connection,
    key: AttemptKey,
    lease: LeaseId,
    worker: &WorkerInfo,
    start_epoch: Epoch,
    at: Millis,
) -> Result<(), Fault> {
    let trial = trial_id(tx, key.study, key.trial)?;
    one(
        tx,
        "UPDATE fold SET attempts = ?3 WHERE trial_id = ?1 AND fold = ?2 AND attempts < ?3",
        params![trial, key.fold.0, key.attempt.0],
        || format!("{key} is not newer than the fold's newest attempt"),
    )?;
    tx.prepare_cached(
        "INSERT INTO attempt (trial_id, fold, attempt, lease_id, worker, device, state, start_epoch, started_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        trial,
        key.fold.0,
        key.attempt.0,
        lease.0,
        worker.name,
        worker.device,
        AttemptState::Running.as_str(),
        start_epoch.0,
        at.0
    ])?;
    let detail = json!({ "lease": lease, "worker": worker.name, "device": worker.device,
        "start_epoch": start_epoch });
    log(tx, at, "attempt-started", (&key).into(), &detail).map(drop)
}

fn attempt_ended(
    tx: &Connection,
    key: AttemptKey,
    (state, failure): (AttemptState, Option<FailureClass>),
    message: Option<&str>,
    at: Millis,
) -> Result<(), Fault> {
    let trial = trial_id(tx, key.study, key.trial)?;
    let (fold, attempt) = (key.fold.0, key.attempt.0);
    one(
        tx,
        "UPDATE attempt SET state = ?4, failure = ?5, message = ?6, ended_at = ?7 \
         WHERE trial_id = ?1 AND fold = ?2 AND attempt = ?3 AND ended_at IS NULL",
        params![trial, fold, attempt, state.as_str(), failure.map(FailureClass::as_str), message, at.0],
        || format!("{key} does not run"),
    )?;
    // With the last attempt of a lease ends the lease.
    tx.prepare_cached(
        "UPDATE lease SET state = 'ended', ended_at = ?4 WHERE id = \
         (SELECT lease_id FROM attempt WHERE trial_id = ?1 AND fold = ?2 AND attempt = ?3) \
         AND NOT EXISTS (SELECT 1 FROM attempt WHERE lease_id = lease.id AND ended_at IS NULL)",
    )?
    .execute(params![trial, fold, attempt, at.0])?;
    Ok(())
}

fn epoch(tx: &Connection, study: StudyId, record: &EpochRecord, seq: i64) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO epoch \
         (trial_id, fold, attempt, epoch, value, train_loss, learning_rate, seconds, diverged, at, seq) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        trial_id(tx, study, record.trial)?,
        record.fold.0,
        record.attempt.0,
        record.epoch.0,
        record.validation_loss,
        record.train_loss,
        record.learning_rate,
        record.seconds,
        record.diverged,
        record.at.0,
        seq
    ])?;
    if record.metrics.is_empty() {
        return Ok(());
    }
    let trial = trial_id(tx, study, record.trial)?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO metric (trial_id, fold, attempt, epoch, name, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (name, value) in &record.metrics {
        insert.execute(params![trial, record.fold.0, record.attempt.0, record.epoch.0, name, value])?;
    }
    Ok(())
}

/// A param that its training found; the trial must not have it yet.
fn derived(
    tx: &Connection,
    key: AttemptKey,
    name: &str,
    value: &ParamValue,
    at: Millis,
) -> Result<(), Fault> {
    let (kind, column) = param_columns(value);
    tx.prepare_cached("INSERT INTO param (trial_id, name, kind, value, origin) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            trial_id(tx, key.study, key.trial)?,
            name,
            kind,
            column,
            Origin::Derived.as_str()
        ])?;
    log(tx, at, "param-derived", (&key).into(), &json!({ "name": name, "value": value })).map(drop)
}

fn decide(
    tx: &Connection,
    (study, trial, fold): (StudyId, TrialNumber, FoldIndex),
    epoch: Option<Epoch>,
    decision: &Decision,
    at: Millis,
) -> Result<(), Fault> {
    let mut detail = json!(decision);
    detail["epoch"] = json!(epoch);
    let event = log(tx, at, "decision", Subject::fold(study, trial, fold), &detail)?;
    tx.prepare_cached(
        "INSERT INTO decision (trial_id, fold, epoch, rule, own, threshold, peers, percentile, bracket, rung, kept, \
         against, alpha, standard_error, degrees, patience, event_seq) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        trial_id(tx, study, trial)?,
        fold.0,
        epoch.map(|epoch| epoch.0),
        decision.rule.as_str(),
        decision.own,
        decision.threshold,
        decision.peers,
        decision.percentile,
        decision.bracket,
        decision.rung,
        decision.kept,
        decision.against.map(|trial| trial.0),
        decision.alpha,
        decision.standard_error,
        decision.degrees,
        decision.patience,
        event
    ])?;
    Ok(())
}

/// What an event is about.
#[derive(Default)]
struct Subject {
    study: Option<i64>,
    trial: Option<u32>,
    fold: Option<u32>,
    attempt: Option<u32>,
}

impl Subject {
    fn study(study: StudyId) -> Self {
        Self { study: Some(study.0), ..Self::default() }
    }

    fn trial(study: StudyId, trial: TrialNumber) -> Self {
        Self { trial: Some(trial.0), ..Self::study(study) }
    }

    fn fold(study: StudyId, trial: TrialNumber, fold: FoldIndex) -> Self {
        Self { fold: Some(fold.0), ..Self::trial(study, trial) }
    }
}

impl From<&AttemptKey> for Subject {
    fn from(key: &AttemptKey) -> Self {
        Self { attempt: Some(key.attempt.0), ..Self::fold(key.study, key.trial, key.fold) }
    }
}

/// Appends an event and returns its number.
fn log(
    tx: &Connection,
    at: Millis,
    kind: &str,
    subject: Subject,
    detail: &serde_json::Value,
) -> Result<i64, Fault> {
    let Subject { study, trial, fold, attempt } = subject;
    Ok(tx
        .prepare_cached(
            "INSERT INTO event (at, kind, study_id, trial, fold, attempt, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .insert(params![at.0, kind, study, trial, fold, attempt, detail.to_string()])?)
}

fn trial_id(tx: &Connection, study: StudyId, number: TrialNumber) -> Result<i64, Fault> {
    tx.prepare_cached("SELECT id FROM trial WHERE study_id = ?1 AND number = ?2")?
        .query_row(params![study.0, number.0], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Fault::Inconsistent(format!("study {study} has no trial {number}")))
}

/// Runs a statement that must change exactly one row, so that a lost write is noticed.
fn one(
    tx: &Connection,
    sql: &str,
    columns: impl Columns,
    what: impl FnOnce() -> String,
) -> Result<(), Fault> {
    match tx.prepare_cached(sql)?.execute(columns)? {
        1 => Ok(()),
        _ => Err(Fault::Inconsistent(what())),
    }
}
