//! What was recorded in a study, in the order in which it was: what a replay takes.

use std::collections::BTreeMap;

use foldwise_engine::replay::{Recording, Step};
use foldwise_shared::ids::{Epoch, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::state::TrialState;
use rusqlite::{Connection, Row};

use super::error::{Fault, StoreError};
use super::query::{Reader, collect};
use super::value::{optional_word, word};

/// The place of a step: a number that events and epochs share; within the same one, the epochs of which none is known
/// come first, by their time and then by trial, fold and epoch.
type Place = (i64, u8, i64, TrialNumber, FoldIndex, u32);

/// An event that a replay needs.
struct Event {
    seq: i64,
    at: i64,
    kind: String,
    trial: TrialNumber,
    fold: FoldIndex,
    attempt: u32,
    /// The epoch that an attempt starts after.
    after: u32,
    state: Option<TrialState>,
    ending: Option<TrialState>,
}

impl Reader {
    /// The recording of a study.
    ///
    /// # Errors
    /// See [`Reader::studies`].
    pub fn recording(&self, study: StudyId) -> Result<Recording, StoreError> {
        self.read(|tx| recording(tx, study))
    }
}

fn recording(tx: &Connection, study: StudyId) -> Result<Recording, Fault> {
    let sql = "SELECT trial.number, fold.fold, fold.value FROM trial JOIN fold ON fold.trial_id = trial.id \
        WHERE trial.study_id = ?1 AND fold.state = 'complete' AND fold.value IS NOT NULL";
    let fold = |row: &Row<'_>| Ok(((TrialNumber(row.get(0)?), FoldIndex(row.get(1)?)), row.get(2)?));
    let values: BTreeMap<_, f64> = collect(tx, sql, [study.0], fold)?.into_iter().collect();

    let sql = "SELECT seq, at, kind, trial, coalesce(fold, 0), coalesce(attempt, 0), detail ->> 'state', \
        detail ->> 'ending', coalesce(detail ->> 'start_epoch', 0) FROM event WHERE study_id = ?1 \
        AND kind IN ('attempt-started', 'fold-state', 'trial-state') ORDER BY seq";
    let events = collect(tx, sql, [study.0], event)?;
    let mut steps: Vec<(Place, Step)> = Vec::new();
    let mut starts = BTreeMap::new();
    for (position, event) in events.iter().enumerate() {
        let Event { trial, fold, attempt, .. } = *event;
        let step = match (event.kind.as_str(), event.state, event.ending) {
            ("attempt-started", _, _) => {
                starts.insert((trial, fold, attempt), position);
                Step::Started { trial, fold, after: Epoch(event.after) }
            }
            ("fold-state", Some(TrialState::Complete), _) => match values.get(&(trial, fold)) {
                Some(value) => Step::FoldEnded { trial, fold, value: *value },
                None => continue,
            },
            ("trial-state", _, Some(state)) => Step::Decided { trial, state },
            ("trial-state", Some(state), None) if state.is_finished() => Step::Decided { trial, state },
            _ => continue,
        };
        steps.push(((event.seq, 1, 0, trial, fold, 0), step));
    }

    let sql = "SELECT trial.number, e.fold, e.attempt, e.epoch, e.value, e.at, e.seq \
        FROM trial JOIN epoch AS e ON e.trial_id = trial.id WHERE trial.study_id = ?1";
    let mut exact = true;
    let mut query = tx.prepare_cached(sql)?;
    let mut rows = query.query([study.0])?;
    while let Some(row) = rows.next()? {
        let (trial, fold) = (TrialNumber(row.get(0)?), FoldIndex(row.get(1)?));
        let (attempt, epoch): (u32, u32) = (row.get(2)?, row.get(3)?);
        let at: i64 = row.get(5)?;
        let seq = match row.get(6)? {
            Some(seq) => seq,
            None => {
                // It came before whatever happened in the same millisecond but after the start of its attempt.
                exact = false;
                let started = starts.get(&(trial, fold, attempt)).map_or(0, |start| start + 1);
                let later = events.get(started..).unwrap_or_default();
                later.get(later.partition_point(|event| event.at < at)).map_or(i64::MAX, |event| event.seq)
            }
        };
        let value = row.get::<_, Option<f64>>(4)?.unwrap_or(f64::NAN);
        let step = Step::Epoch { trial, fold, epoch: Epoch(epoch), value };
        steps.push(((seq, 0, at, trial, fold, epoch), step));
    }
    steps.sort_by_key(|(place, _)| *place);
    Ok(Recording { steps: steps.into_iter().map(|(_, step)| step).collect(), exact })
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let kind: String = row.get(2)?;
    // The state of an attempt, which other kinds have, is another set of words.
    let has_state = kind != "attempt-started";
    Ok(Event {
        seq: row.get(0)?,
        at: row.get(1)?,
        trial: TrialNumber(row.get(3)?),
        fold: FoldIndex(row.get(4)?),
        attempt: row.get(5)?,
        state: if has_state { Some(word(row, 6)?) } else { None },
        ending: optional_word(row, 7)?,
        after: row.get(8)?,
        kind,
    })
}
