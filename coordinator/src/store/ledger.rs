//! What a study cost, from the rows of its attempts and their epochs. `docs/operating.md` says how each number is made.

use std::collections::{BTreeMap, BTreeSet};

use foldwise_shared::ids::StudyId;
use foldwise_shared::ledger::{Account, Ledger, LedgerRow};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{AttemptState, FailureClass, TrialState};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{Fault, StoreError};
use super::query::Reader;
use super::value::{count, optional_word, word};

/// What was wasted on epochs that a newer attempt trained again.
const REPEATED: &str = "repeated";
/// What was wasted on the other attempts of a trial that failed.
const FAILED_TRIAL: &str = "failed-trial";
/// What was saved by pruning.
const PRUNED: &str = "pruned";

/// An attempt, and what of its epochs is live.
struct Attempt {
    trial: i64,
    trial_state: TrialState,
    device: String,
    state: AttemptState,
    failure: Option<FailureClass>,
    /// From its lease to its end; of one that runs, to its last epoch.
    seconds: f64,
    epochs: u64,
    epoch_seconds: f64,
    live: u64,
    live_seconds: f64,
}

/// By device, account and cause.
type Rows = BTreeMap<(String, Account, Option<String>), (u64, u64, f64)>;

impl Reader {
    /// The ledger of a study.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn ledger(&self, study: StudyId) -> Result<Ledger, StoreError> {
        self.read(|tx| ledger(tx, study))
    }
}

fn ledger(tx: &Connection, study: StudyId) -> Result<Ledger, Fault> {
    let spec = tx
        .prepare_cached("SELECT spec FROM study WHERE id = ?1")?
        .query_row([study.0], |row| row.get::<_, String>(0))
        .optional()?;
    let Some(spec) = spec else { return Ok(Ledger::default()) };
    let spec =
        StudySpec::from_json(&spec).map_err(|error| Fault::Damaged(format!("study {study}: {error}")))?;
    // Epochs up to the start of every newer attempt are live, as in the view `curve`.
    let mut query = tx.prepare_cached(
        "WITH span AS (
             SELECT a.*, trial.state AS trial_state,
                 min(a.start_epoch) OVER (
                     PARTITION BY a.trial_id, a.fold ORDER BY a.attempt ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
                 ) AS live_until
             FROM trial JOIN attempt AS a ON a.trial_id = trial.id WHERE trial.study_id = ?1
         )
         SELECT s.trial_id, s.trial_state, s.device, s.state, s.failure,
             max(coalesce(s.ended_at, max(e.at), s.started_at) - s.started_at, 0) / 1000.0,
             count(e.epoch), total(e.seconds),
             coalesce(sum(s.live_until IS NULL OR e.epoch <= s.live_until), 0),
             total(CASE WHEN s.live_until IS NULL OR e.epoch <= s.live_until THEN e.seconds END)
         FROM span AS s
         LEFT JOIN epoch AS e ON e.trial_id = s.trial_id AND e.fold = s.fold AND e.attempt = s.attempt
         GROUP BY s.trial_id, s.fold, s.attempt ORDER BY s.trial_id, s.fold, s.attempt",
    )?;
    let mut rows = query.query([study.0])?;
    let mut account = Rows::new();
    let mut trial: Vec<Attempt> = Vec::new();
    while let Some(row) = rows.next()? {
        let attempt = attempt(row)?;
        if trial.first().is_some_and(|first| first.trial != attempt.trial) {
            book(&mut account, &trial, u64::from(spec.whole_epochs()));
            trial.clear();
        }
        trial.push(attempt);
    }
    book(&mut account, &trial, u64::from(spec.whole_epochs()));
    let row = |((device, account, cause), (count, epochs, seconds))| LedgerRow {
        device,
        account,
        cause,
        count,
        epochs,
        seconds,
    };
    Ok(Ledger { rows: account.into_iter().map(row).collect() })
}

/// Adds what a trial cost.
fn book(rows: &mut Rows, attempts: &[Attempt], whole: u64) {
    let Some(last) = attempts.last() else { return };
    let mut add = |device: &str, account, cause: Option<&str>, epochs, seconds: f64| {
        let row = rows.entry((device.to_owned(), account, cause.map(str::to_owned))).or_default();
        *row = (row.0 + 1, row.1 + epochs, row.2 + seconds);
    };
    // A trial that diverged has told something; one that failed otherwise has not, whatever was trained of it.
    let classes: BTreeSet<FailureClass> = attempts.iter().filter_map(|attempt| attempt.failure).collect();
    let in_vain = last.trial_state == TrialState::Failed && !classes.contains(&FailureClass::Diverged);
    for attempt in attempts {
        let Attempt { device, seconds, epochs, epoch_seconds, live, live_seconds, .. } = attempt;
        add(device, Account::Used, None, *epochs, *seconds);
        let repeated = epoch_seconds - live_seconds;
        if epochs > live {
            add(device, Account::Wasted, Some(REPEATED), epochs - live, repeated);
        }
        // Neither what is repeated, which is counted above, nor, as a rule, what others went on from.
        let kept = if in_vain { 0.0 } else { *live_seconds };
        let rest = (seconds - repeated - kept).max(0.0);
        let lost_epochs = if in_vain { *live } else { 0 };
        match attempt.failure {
            Some(FailureClass::Diverged) => {}
            Some(class) => add(device, Account::Wasted, Some(class.as_str()), lost_epochs, rest),
            None if in_vain && attempt.state != AttemptState::Running => {
                add(device, Account::Wasted, Some(FAILED_TRIAL), lost_epochs, rest);
            }
            None => {}
        }
    }
    if last.trial_state == TrialState::Pruned {
        let trained: u64 = attempts.iter().map(|attempt| attempt.live).sum();
        let (all, spent) = attempts
            .iter()
            .fold((0, 0.0), |(all, spent), attempt| (all + attempt.epochs, spent + attempt.epoch_seconds));
        let skipped = whole.saturating_sub(trained);
        let mean = if all == 0 { 0.0 } else { spent / all as f64 };
        add(&last.device, Account::Saved, Some(PRUNED), skipped, skipped as f64 * mean);
    }
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        trial: row.get(0)?,
        trial_state: word(row, 1)?,
        device: row.get(2)?,
        state: word(row, 3)?,
        failure: optional_word(row, 4)?,
        seconds: row.get(5)?,
        epochs: count(row, 6)?,
        epoch_seconds: row.get(7)?,
        live: count(row, 8)?,
        live_seconds: row.get(9)?,
    })
}
