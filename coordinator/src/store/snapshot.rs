//! Loads what the scheduler is rebuilt from, on all cores where there is much of it. Of studies that have ended, which nothing
//! goes on with, only their rows.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use foldwise_engine::scheduler::{
    DataInfo, DrainedWorker, FoldSnapshot, OpenAttempt, Snapshot, StudySnapshot, TrialSnapshot, WorkerInfo,
};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::ids::{Attempt, Epoch, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{AttemptState, FailureClass};
use rusqlite::Connection;

use super::curves::{Rows, Span, all_rows};
use super::error::Fault;
use super::value::{DECISION, count, decision, optional_word, param, word};

/// True for the rows of `trial` that belong to a study that goes on.
const GOES_ON: &str = "study_id IN (SELECT id FROM study WHERE state <> 'ended')";

/// Loads everything, or with `only` one study, in whatever state it is; the caller holds a transaction on the file `real`,
/// and is the only one who writes to it.
pub(super) fn load(tx: &Connection, real: &Path, only: Option<StudyId>) -> Result<Snapshot, Fault> {
    let trials = only.map_or_else(|| GOES_ON.to_owned(), |study| format!("study_id = {study}"));
    let filter = format!("trial_id IN (SELECT id FROM trial WHERE {trials})");
    let mut loader = Loader { studies: studies(tx, only)?, places: HashMap::new(), filter };
    loader.trials(tx, &trials)?;
    loader.params(tx)?;
    loader.decisions(tx)?;
    loader.folds(tx)?;
    let attempts = loader.attempts(tx)?;
    loader.epochs(tx, real, &attempts)?;
    loader.checkpoints(tx)?;
    Ok(Snapshot {
        studies: loader.studies,
        last_study: StudyId(last_id(tx, "study")?),
        last_lease: LeaseId(last_id(tx, "lease")?),
        drained_workers: drained_workers(tx)?,
    })
}

struct Loader {
    studies: Vec<StudySnapshot>,
    /// Trial row -> positions of its study and of itself therein.
    places: HashMap<i64, (usize, usize)>,
    /// A condition on the column `trial_id` of a table: which of its rows are wanted.
    filter: String,
}

fn drained_workers(tx: &Connection) -> Result<BTreeMap<String, DrainedWorker>, Fault> {
    let mut query = tx.prepare("SELECT name, handover, drained_at FROM drained_worker")?;
    let rows = query.query_map([], |row| {
        Ok((row.get(0)?, DrainedWorker { handover: word(row, 1)?, at: Millis(row.get(2)?) }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn studies(tx: &Connection, only: Option<StudyId>) -> Result<Vec<StudySnapshot>, Fault> {
    let mut query = tx.prepare(
        "SELECT id, spec, data_digest, splits_digest, images, height, width, state, running_ms \
         FROM study WHERE ?1 IS NULL OR id = ?1 ORDER BY id",
    )?;
    let mut rows = query.query([only.map(|study| study.0)])?;
    let mut studies = Vec::new();
    while let Some(row) = rows.next()? {
        let id = StudyId(row.get(0)?);
        let spec = StudySpec::from_json(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|error| Fault::Damaged(format!("study {id}: {error}")))?;
        studies.push(StudySnapshot {
            id,
            spec,
            data: DataInfo {
                data_digest: row.get(2)?,
                splits_digest: row.get(3)?,
                images: count(row, 4)?,
                height: row.get(5)?,
                width: row.get(6)?,
            },
            state: word(row, 7)?,
            running_ms: row.get(8)?,
            epochs: 0,
            trials: Vec::new(),
        });
    }
    Ok(studies)
}

impl Loader {
    fn trials(&mut self, tx: &Connection, wanted: &str) -> Result<(), Fault> {
        let places: HashMap<i64, usize> =
            self.studies.iter().enumerate().map(|(place, study)| (study.id.0, place)).collect();
        let mut query = tx.prepare(&format!(
            "SELECT id, study_id, number, state, ending, value, reason, finished_at \
             FROM trial WHERE {wanted} ORDER BY study_id, number",
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let study = *places.get(&row.get(1)?).ok_or_else(|| orphan("trial", id))?;
            let trials = &mut self.studies[study].trials;
            self.places.insert(id, (study, trials.len()));
            trials.push(TrialSnapshot {
                number: TrialNumber(row.get(2)?),
                params: BTreeMap::new(),
                state: word(row, 3)?,
                ending: optional_word(row, 4)?,
                value: row.get(5)?,
                reason: row.get(6)?,
                finished_at: row.get::<_, Option<i64>>(7)?.map(Millis),
                decision: None,
                folds: Vec::new(),
            });
        }
        Ok(())
    }

    fn params(&mut self, tx: &Connection) -> Result<(), Fault> {
        let mut query =
            tx.prepare(&format!("SELECT trial_id, name, kind, value FROM param WHERE {}", self.filter))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            self.trial("param", row.get(0)?)?.params.insert(row.get(1)?, param(row, 2)?);
        }
        Ok(())
    }

    fn decisions(&mut self, tx: &Connection) -> Result<(), Fault> {
        let mut query = tx.prepare(&format!(
            "SELECT d.trial_id, {DECISION} FROM decision AS d WHERE {} ORDER BY d.event_seq",
            self.filter
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            self.trial("decision", row.get(0)?)?.decision.get_or_insert(decision(row, 1)?);
        }
        Ok(())
    }

    fn folds(&mut self, tx: &Connection) -> Result<(), Fault> {
        let mut query = tx.prepare(&format!(
            "SELECT trial_id, fold, state, value, best_epoch, attempts FROM fold WHERE {} ORDER BY trial_id, fold",
            self.filter
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let folds = &mut self.trial("fold", id)?.folds;
            if row.get::<_, u32>(1)? as usize != folds.len() {
                return Err(Fault::Damaged(format!("the folds of the trial with id {id} have a gap")));
            }
            folds.push(FoldSnapshot {
                state: word(row, 2)?,
                value: row.get(3)?,
                best_epoch: row.get::<_, Option<u32>>(4)?.map(Epoch),
                last_attempt: Attempt(row.get(5)?),
                failures: BTreeMap::new(),
                open: None,
                checkpoint: None,
                curve: Vec::new(),
            });
        }
        Ok(())
    }

    /// The failures and the open attempts; returns what is live, in the order of the rows.
    fn attempts(&mut self, tx: &Connection) -> Result<Vec<Span>, Fault> {
        let mut query = tx.prepare(&format!(
            "SELECT attempt.trial_id, attempt.fold, attempt.attempt, attempt.start_epoch, attempt.state, \
             attempt.failure, attempt.lease_id, attempt.worker, attempt.device, lease.incarnation, \
             lease.lease_ms, coalesce(lease.renewed_at, lease.granted_at) \
             FROM attempt JOIN lease ON lease.id = attempt.lease_id WHERE {} \
             ORDER BY attempt.trial_id DESC, attempt.fold DESC, attempt.attempt DESC",
            self.filter
        ))?;
        let mut rows = query.query([])?;
        let mut spans: Vec<Span> = Vec::new();
        // The newest attempt of a fold comes first, and each one says how much the older ones keep.
        let mut newer = (0, 0);
        let mut live_until = u32::MAX;
        while let Some(row) = rows.next()? {
            let (trial, fold) = (row.get(0)?, row.get(1)?);
            if (trial, fold) != newer {
                newer = (trial, fold);
                live_until = u32::MAX;
            }
            let planned = self.place("attempt", trial).map(|(study, _)| self.studies[study].spec.epochs())?;
            spans.push(Span { trial, fold, attempt: row.get(2)?, live_until, planned });
            live_until = live_until.min(row.get(3)?);

            let snapshot = self.fold("attempt", trial, fold)?;
            if word::<AttemptState>(row, 4)? == AttemptState::Running {
                snapshot.open = Some(OpenAttempt {
                    lease: LeaseId(row.get(6)?),
                    start_epoch: Epoch(row.get(3)?),
                    worker: WorkerInfo { name: row.get(7)?, device: row.get(8)?, incarnation: row.get(9)? },
                    lease_ms: row.get(10)?,
                    renewed_at: Millis(row.get(11)?),
                });
            }
            if let Some(class) = optional_word::<FailureClass>(row, 5)? {
                *snapshot.failures.entry(class).or_default() += 1;
            }
        }
        spans.reverse();
        Ok(spans)
    }

    /// The curves, each attempt over what the older ones left.
    fn epochs(&mut self, tx: &Connection, real: &Path, attempts: &[Span]) -> Result<(), Fault> {
        for (span, Rows { count, curve }) in attempts.iter().zip(all_rows(tx, real, attempts)?) {
            let (study, place) = self.place("epoch", span.trial)?;
            let study = &mut self.studies[study];
            study.epochs += count;
            let folds = &mut study.trials[place].folds;
            let fold = folds.get_mut(span.fold as usize).ok_or_else(|| orphan("epoch", span.trial))?;
            if fold.curve.is_empty() {
                fold.curve = curve;
                continue;
            }
            if fold.curve.len() < curve.len() {
                fold.curve.resize(curve.len(), None);
            }
            for (place, value) in fold.curve.iter_mut().zip(curve) {
                *place = value.or(*place);
            }
        }
        Ok(())
    }

    fn checkpoints(&mut self, tx: &Connection) -> Result<(), Fault> {
        let mut query = tx.prepare(&format!(
            "SELECT trial_id, fold, epoch, digest, bytes FROM artifact WHERE {} \
             AND kind = 'checkpoint' AND trial_id IS NOT NULL AND fold IS NOT NULL AND epoch IS NOT NULL",
            self.filter
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let checkpoint =
                Checkpoint { epoch: Epoch(row.get(2)?), digest: row.get(3)?, bytes: count(row, 4)? };
            self.fold("artifact", row.get(0)?, row.get(1)?)?.checkpoint = Some(checkpoint);
        }
        Ok(())
    }

    fn place(&self, what: &str, trial: i64) -> Result<(usize, usize), Fault> {
        self.places.get(&trial).copied().ok_or_else(|| orphan(what, trial))
    }

    fn trial(&mut self, what: &str, trial: i64) -> Result<&mut TrialSnapshot, Fault> {
        let (study, place) = self.place(what, trial)?;
        Ok(&mut self.studies[study].trials[place])
    }

    fn fold(&mut self, what: &str, trial: i64, fold: u32) -> Result<&mut FoldSnapshot, Fault> {
        self.trial(what, trial)?.folds.get_mut(fold as usize).ok_or_else(|| orphan(what, trial))
    }
}

fn orphan(what: &str, trial: i64) -> Fault {
    Fault::Damaged(format!("a row of `{what}` belongs to nothing (trial id {trial})"))
}

/// The largest row id that a table ever had, deleted ones included.
fn last_id(tx: &Connection, table: &str) -> Result<i64, Fault> {
    Ok(tx.query_row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1", [table], |row| {
        row.get(0)
    })?)
}
