//! Answers queries over a read-only connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::record::{Best, DecisionRecord, EpochRecord, FoldRecord, StudyRecord, TrialRecord};
use foldwise_shared::spec::BudgetSection;
use foldwise_shared::state::{Direction, StudyState, TrialState, UnknownWord};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql, params};

use super::Store;
use super::error::{Fault, StoreError};
use super::open::{self, Found};
use super::schema;
use super::value::{DECISION, count, decision, param, word};

/// Which trials, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrialQuery {
    /// In one of these states; in any state if there is none.
    pub states: Vec<TrialState>,
    /// Sorted by this; by number among equals.
    pub sort: TrialSort,
    /// From the largest down. Trials without the value in question come last either way.
    pub descending: bool,
    /// So many at most.
    pub limit: Option<u32>,
    /// Without the first ones.
    pub offset: u32,
}

/// What trials are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrialSort {
    /// Their number.
    #[default]
    Number,
    /// Their value.
    Value,
    /// The deviation of their fold values.
    Std,
    /// When they were suggested.
    Created,
    /// When they ended.
    Finished,
}

impl TrialSort {
    /// Every one of them.
    pub const ALL: &'static [Self] = &[Self::Number, Self::Value, Self::Std, Self::Created, Self::Finished];

    /// The spelling on the command line and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Value => "value",
            Self::Std => "std",
            Self::Created => "created",
            Self::Finished => "finished",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Created => "created_at",
            Self::Finished => "finished_at",
            Self::Number | Self::Value | Self::Std => self.as_str(),
        }
    }
}

impl FromStr for TrialSort {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.iter().copied().find(|sort| sort.as_str() == text).ok_or_else(|| UnknownWord {
            text: text.to_owned(),
            known: Self::ALL.iter().map(|sort| sort.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// A read-only connection. Every answer is consistent in itself.
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

/// True for the live rows of `epoch AS e`; the view `curve` says the same.
const LIVE: &str = "NOT EXISTS (SELECT 1 FROM attempt AS newer WHERE newer.trial_id = e.trial_id \
    AND newer.fold = e.fold AND newer.attempt > e.attempt AND newer.start_epoch < e.epoch)";

impl Reader {
    /// Opens a database that is there, after it was brought up to date or a crash in it was put right, if need be.
    ///
    /// # Errors
    /// As [`Reader::open`] and, in that case, as [`Store::open`].
    pub fn open_mended(path: &Path) -> Result<Self, StoreError> {
        match Self::open(path) {
            Err(StoreError::Older { .. } | StoreError::Interrupted { .. }) => Store::open(path)?.reader(),
            other => other,
        }
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a database that is there.
    ///
    /// # Errors
    /// No such file, another kind of file, another schema version, a damaged file, or no permission.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let real = match open::resolve(path) {
            Err(StoreError::NoFolder { path, .. }) => return Err(StoreError::NotFound { path }),
            other => other?,
        };
        let path = path.to_owned();
        match open::inspect(&real, &path)? {
            Found::Nothing => Err(StoreError::NotFound { path }),
            Found::Empty => Err(StoreError::Empty { path }),
            Found::Interrupted => Err(StoreError::Interrupted { path }),
            Found::Version(found) if found < schema::VERSION => {
                Err(StoreError::Older { path, found, known: schema::VERSION })
            }
            Found::Version(_) => Self::connect(&real, &path),
        }
    }

    pub(super) fn connect(real: &Path, path: &Path) -> Result<Self, StoreError> {
        let db = open::connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|fault| fault.at(path))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// All studies, oldest first.
    ///
    /// # Errors
    /// As for every query: a damaged database, or one that another program keeps locked.
    pub fn studies(&self) -> Result<Vec<StudyRecord>, StoreError> {
        self.read(|tx| studies(tx, None))
    }

    /// One study by its exact name.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn study(&self, name: &str) -> Result<Option<StudyRecord>, StoreError> {
        self.read(|tx| Ok(studies(tx, Some(name))?.pop()))
    }

    /// The id of a study; none if there is none of that name.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn study_id(&self, name: &str) -> Result<Option<StudyId>, StoreError> {
        self.read(|tx| {
            let mut query = tx.prepare_cached("SELECT id FROM study WHERE name = ?1")?;
            Ok(query.query_row([name], |row| row.get(0)).optional()?.map(StudyId))
        })
    }

    /// Where the study with this id is in its life; none if there is none.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn study_state(&self, study: StudyId) -> Result<Option<StudyState>, StoreError> {
        let sql = "SELECT state FROM study WHERE id = ?1";
        self.read(|tx| Ok(collect(tx, sql, [study.0], |row| word(row, 0))?.pop()))
    }

    /// The names of all studies, oldest first.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn study_names(&self) -> Result<Vec<String>, StoreError> {
        self.read(|tx| collect(tx, "SELECT name FROM study ORDER BY id", [], |row| row.get(0)))
    }

    /// The trials of a study.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn trials(&self, study: StudyId, query: &TrialQuery) -> Result<Vec<TrialRecord>, StoreError> {
        let states: Vec<String> = query.states.iter().map(|state| format!("'{state}'")).collect();
        let filter =
            if states.is_empty() { String::new() } else { format!("AND state IN ({})", states.join(", ")) };
        let order = format!(
            "{} {} NULLS LAST, number",
            query.sort.column(),
            if query.descending { "DESC" } else { "ASC" }
        );
        let limit = query.limit.map_or(-1, i64::from);
        self.read(|tx| trials(tx, &filter, &order, params![study.0, limit, query.offset]))
    }

    /// One trial.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn trial(&self, study: StudyId, number: TrialNumber) -> Result<Option<TrialRecord>, StoreError> {
        self.read(|tx| Ok(trials(tx, "AND number = ?4", "number", params![study.0, 1, 0, number.0])?.pop()))
    }

    /// The epochs of a study or of one trial: by trial, fold and epoch the live rows, or with `all_attempts` by trial,
    /// fold, attempt and epoch every row.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn curve(
        &self,
        study: StudyId,
        trial: Option<TrialNumber>,
        all_attempts: bool,
    ) -> Result<Vec<EpochRecord>, StoreError> {
        let live = if all_attempts { "true" } else { LIVE };
        let order = if all_attempts { "e.attempt, e.epoch" } else { "e.epoch" };
        let sql = format!(
            "SELECT trial.number, e.fold, e.attempt, e.epoch, e.train_loss, e.value, e.learning_rate, e.seconds, \
             e.diverged, e.at FROM trial JOIN epoch AS e ON e.trial_id = trial.id \
             WHERE trial.study_id = ?1 AND (?2 IS NULL OR trial.number = ?2) AND {live} \
             ORDER BY trial.number, e.fold, {order}"
        );
        let metrics = format!(
            "SELECT trial.number, e.fold, e.attempt, e.epoch, e.name, e.value \
             FROM trial JOIN metric AS e ON e.trial_id = trial.id \
             WHERE trial.study_id = ?1 AND (?2 IS NULL OR trial.number = ?2) AND e.value IS NOT NULL AND {live} \
             ORDER BY trial.number, e.fold, {order}"
        );
        self.read(|tx| {
            let columns = params![study.0, trial.map(|number| number.0)];
            let mut epochs = collect(tx, &sql, columns, epoch_record)?;
            attach_metrics(&mut epochs, collect(tx, &metrics, columns, metric)?);
            Ok(epochs)
        })
    }

    /// Why trials of a study, or one of them, were pruned; in the order in which they were.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn decisions(
        &self,
        study: StudyId,
        trial: Option<TrialNumber>,
    ) -> Result<Vec<DecisionRecord>, StoreError> {
        let sql = format!(
            "SELECT trial.number, d.fold, d.epoch, d.event_seq, {DECISION} \
             FROM trial JOIN decision AS d ON d.trial_id = trial.id \
             WHERE trial.study_id = ?1 AND (?2 IS NULL OR trial.number = ?2) ORDER BY d.event_seq"
        );
        self.read(|tx| collect(tx, &sql, params![study.0, trial.map(|number| number.0)], decision_record))
    }

    /// The budgets that a study had before it was extended, oldest first.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn earlier_budgets(&self, study: StudyId) -> Result<Vec<BudgetSection>, StoreError> {
        let sql = "SELECT detail ->> '$.before' FROM event WHERE study_id = ?1 AND kind = 'study-extended' ORDER BY seq";
        self.read(|tx| {
            let texts: Vec<String> = collect(tx, sql, [study.0], |row| row.get(0))?;
            let budget = |text: &String| {
                serde_json::from_str(text)
                    .map_err(|error| Fault::Damaged(format!("an earlier budget of study {study}: {error}")))
            };
            texts.iter().map(budget).collect()
        })
    }

    /// Runs several queries on one state of the database.
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let run = || query(&*self.db.unchecked_transaction()?);
        run().map_err(|fault| fault.at(&self.path))
    }
}

fn studies(tx: &Connection, name: Option<&str>) -> Result<Vec<StudyRecord>, Fault> {
    let sql = "SELECT study.id, study.name, state, message, direction, spec, spec_text, data_digest, splits_digest, \
        images, height, width, created_at, running_ms, \
        (SELECT parent.name FROM study AS parent WHERE parent.id = study.parent_study) \
        FROM study JOIN objective ON objective.study_id = study.id AND objective.idx = 0 \
        WHERE ?1 IS NULL OR study.name = ?1 ORDER BY study.id";
    let mut studies = collect(tx, sql, [name], study_record)?;
    for study in &mut studies {
        let id = study.id.0;
        let counts = "SELECT state, count(*) FROM trial WHERE study_id = ?1 GROUP BY state";
        study.trials =
            collect(tx, counts, [id], |row| Ok((word(row, 0)?, row.get(1)?)))?.into_iter().collect();
        study.epochs = tx
            .prepare_cached(
                "SELECT count(*) FROM trial JOIN epoch ON epoch.trial_id = trial.id WHERE trial.study_id = ?1",
            )?
            .query_row([id], |row| count(row, 0))?;
        let order = match study.direction {
            Direction::Minimize => "ASC",
            Direction::Maximize => "DESC",
        };
        study.best = tx
            .prepare_cached(&format!(
                "SELECT number, value FROM trial WHERE study_id = ?1 AND state = 'complete' \
                 ORDER BY value {order}, number LIMIT 1"
            ))?
            .query_row([id], |row| Ok(Best { number: TrialNumber(row.get(0)?), value: row.get(1)? }))
            .optional()?;
    }
    Ok(studies)
}

/// The trials with their params and folds. `columns` starts with study, limit and offset.
fn trials(
    tx: &Connection,
    filter: &str,
    order: &str,
    columns: &[&dyn ToSql],
) -> Result<Vec<TrialRecord>, Fault> {
    let picked = format!(
        "WITH picked AS (SELECT * FROM trial WHERE study_id = ?1 {filter} ORDER BY {order} LIMIT ?2 OFFSET ?3)"
    );
    let sql = format!(
        "{picked} SELECT id, number, state, value, std, reason, created_at, finished_at, \
         (SELECT parent.number FROM trial AS parent WHERE parent.id = picked.parent_trial) \
         FROM picked ORDER BY {order}"
    );
    let mut trials = collect(tx, &sql, columns, |row| Ok((row.get::<_, i64>(0)?, trial_record(row)?)))?;
    let places: BTreeMap<i64, usize> =
        trials.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
    let mut attach = |sql: &str, add: fn(&mut TrialRecord, &Row<'_>) -> rusqlite::Result<()>| {
        let mut query = tx.prepare_cached(&format!("{picked} {sql}"))?;
        let mut rows = query.query(columns)?;
        while let Some(row) = rows.next()? {
            if let Some(place) = places.get(&row.get(0)?) {
                add(&mut trials[*place].1, row)?;
            }
        }
        Ok::<_, Fault>(())
    };
    attach(
        "SELECT param.trial_id, param.name, param.origin, param.kind, param.value \
         FROM picked JOIN param ON param.trial_id = picked.id",
        |trial, row| {
            let name: String = row.get(1)?;
            trial.origins.insert(name.clone(), word(row, 2)?);
            trial.params.insert(name, param(row, 3)?);
            Ok(())
        },
    )?;
    attach(
        &format!(
            "SELECT fold.trial_id, fold.fold, fold.state, fold.value, fold.best_epoch, fold.attempts, \
             (SELECT count(*) FROM epoch AS e WHERE e.trial_id = fold.trial_id AND e.fold = fold.fold \
             AND (e.attempt = fold.attempts OR {LIVE})) \
             FROM picked JOIN fold ON fold.trial_id = picked.id ORDER BY fold.trial_id, fold.fold"
        ),
        |trial, row| {
            trial.folds.push(fold_record(row)?);
            Ok(())
        },
    )?;
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

pub(super) fn collect<T>(
    tx: &Connection,
    sql: &str,
    columns: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Fault> {
    let mut query = tx.prepare_cached(sql)?;
    Ok(query.query_map(columns, read)?.collect::<Result<_, _>>()?)
}

fn study_record(row: &Row<'_>) -> rusqlite::Result<StudyRecord> {
    Ok(StudyRecord {
        id: StudyId(row.get(0)?),
        name: row.get(1)?,
        state: word(row, 2)?,
        message: row.get(3)?,
        direction: word(row, 4)?,
        spec: row.get(5)?,
        spec_text: row.get(6)?,
        data_digest: row.get(7)?,
        splits_digest: row.get(8)?,
        images: count(row, 9)?,
        height: row.get(10)?,
        width: row.get(11)?,
        created_at: Millis(row.get(12)?),
        running_ms: row.get(13)?,
        trials: BTreeMap::new(),
        epochs: 0,
        best: None,
        parent: row.get(14)?,
    })
}

fn trial_record(row: &Row<'_>) -> rusqlite::Result<TrialRecord> {
    Ok(TrialRecord {
        number: TrialNumber(row.get(1)?),
        state: word(row, 2)?,
        value: row.get(3)?,
        std: row.get(4)?,
        params: BTreeMap::new(),
        origins: BTreeMap::new(),
        reason: row.get(5)?,
        created_at: Millis(row.get(6)?),
        finished_at: row.get::<_, Option<i64>>(7)?.map(Millis),
        folds: Vec::new(),
        parent: row.get::<_, Option<u32>>(8)?.map(TrialNumber),
    })
}

fn fold_record(row: &Row<'_>) -> rusqlite::Result<FoldRecord> {
    Ok(FoldRecord {
        fold: FoldIndex(row.get(1)?),
        state: word(row, 2)?,
        value: row.get(3)?,
        best_epoch: row.get::<_, Option<u32>>(4)?.map(Epoch),
        epochs: row.get(6)?,
        attempts: row.get(5)?,
    })
}

fn epoch_record(row: &Row<'_>) -> rusqlite::Result<EpochRecord> {
    Ok(EpochRecord {
        trial: TrialNumber(row.get(0)?),
        fold: FoldIndex(row.get(1)?),
        attempt: Attempt(row.get(2)?),
        epoch: Epoch(row.get(3)?),
        train_loss: row.get(4)?,
        validation_loss: row.get(5)?,
        learning_rate: row.get(6)?,
        seconds: row.get(7)?,
        diverged: row.get(8)?,
        at: Millis(row.get(9)?),
        metrics: BTreeMap::new(),
    })
}

/// A metric, and the trial, fold, attempt and epoch that it is of.
type Metric = ((TrialNumber, FoldIndex, Attempt, Epoch), String, f64);

fn metric(row: &Row<'_>) -> rusqlite::Result<Metric> {
    let place = (TrialNumber(row.get(0)?), FoldIndex(row.get(1)?), Attempt(row.get(2)?), Epoch(row.get(3)?));
    Ok((place, row.get(4)?, row.get(5)?))
}

/// Gives each epoch its metrics; both are in the same order.
fn attach_metrics(epochs: &mut [EpochRecord], metrics: Vec<Metric>) {
    let mut epochs = epochs.iter_mut().peekable();
    for (place, name, value) in metrics {
        let is_it = |epoch: &EpochRecord| (epoch.trial, epoch.fold, epoch.attempt, epoch.epoch) == place;
        while epochs.next_if(|epoch| !is_it(epoch)).is_some() {}
        if let Some(epoch) = epochs.peek_mut() {
            epoch.metrics.insert(name, value);
        }
    }
}

fn decision_record(row: &Row<'_>) -> rusqlite::Result<DecisionRecord> {
    Ok(DecisionRecord {
        trial: TrialNumber(row.get(0)?),
        fold: FoldIndex(row.get(1)?),
        epoch: row.get::<_, Option<u32>>(2)?.map(Epoch),
        event_seq: row.get(3)?,
        decision: decision(row, 4)?,
    })
}
