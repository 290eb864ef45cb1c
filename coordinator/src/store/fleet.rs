//! Workers, as far as the tables know them.

use std::collections::BTreeMap;

use foldwise_shared::fleet::{FoldInTraining, WorkerRecord};
use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, TrialNumber};
use rusqlite::{Connection, Row};

use super::error::{Fault, StoreError};
use super::query::{Reader, collect};

/// The device of programs that ask for trials, which are no workers of ours.
const EXTERNAL: &str = "external";

impl Reader {
    /// The newest process of each name, by name, with the attempts that are not over.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        self.read(workers)
    }

    /// The names of all workers that were ever there, in order.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn worker_names(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT name FROM worker WHERE device <> ?1 ORDER BY name";
        self.read(|tx| collect(tx, sql, [EXTERNAL], |row| row.get(0)))
    }
}

fn workers(tx: &Connection) -> Result<Vec<WorkerRecord>, Fault> {
    let sql = "SELECT a.worker_id, study.name, trial.number, a.fold, a.attempt, \
        (SELECT coalesce(max(epoch), a.start_epoch) FROM epoch AS e \
        WHERE e.trial_id = a.trial_id AND e.fold = a.fold AND e.attempt = a.attempt) \
        FROM (SELECT attempt.*, lease.worker_id FROM lease JOIN attempt ON attempt.lease_id = lease.id \
        WHERE lease.state = 'active' AND attempt.ended_at IS NULL) AS a \
        JOIN trial ON trial.id = a.trial_id JOIN study ON study.id = trial.study_id \
        ORDER BY study.id, trial.number, a.fold";
    let fold = |row: &Row<'_>| {
        let fold = FoldInTraining {
            study: row.get(1)?,
            trial: TrialNumber(row.get(2)?),
            fold: FoldIndex(row.get(3)?),
            attempt: Attempt(row.get(4)?),
            epoch: Epoch(row.get(5)?),
        };
        Ok((row.get::<_, i64>(0)?, fold))
    };
    let mut folds: BTreeMap<i64, Vec<FoldInTraining>> = BTreeMap::new();
    for (worker, fold) in collect(tx, sql, [], fold)? {
        folds.entry(worker).or_default().push(fold);
    }
    let sql = "SELECT worker.id, worker.name, incarnation, device, last_seen_at, drained_at, \
        row_number() OVER (PARTITION BY worker.name ORDER BY last_seen_at DESC, worker.id DESC) AS place \
        FROM worker LEFT JOIN drained_worker ON drained_worker.name = worker.name \
        WHERE device <> ?1 ORDER BY worker.name, place";
    let mut query = tx.prepare_cached(sql)?;
    let mut rows = query.query([EXTERNAL])?;
    let mut workers = Vec::new();
    while let Some(row) = rows.next()? {
        let held = folds.remove(&row.get(0)?).unwrap_or_default();
        // An older process of the name counts only while it holds something.
        if row.get::<_, i64>(6)? > 1 && held.is_empty() {
            continue;
        }
        workers.push(WorkerRecord {
            name: row.get(1)?,
            incarnation: row.get(2)?,
            device: row.get(3)?,
            state: None,
            slots: None,
            free: None,
            folds: held,
            heard_at: Millis(row.get(4)?),
            drained_at: row.get::<_, Option<i64>>(5)?.map(Millis),
            device_use: None,
        });
    }
    Ok(workers)
}
