//! Answers on standard output: the same records as a table, as JSON or as CSV.

mod bench;
mod csv;
mod fleet;
mod hindsight;
mod json;
mod rows;
mod table;

use std::io::{self, BufWriter, Write};
use std::time::{Duration, UNIX_EPOCH};

use clap::ValueEnum;
use foldwise_shared::fleet::WorkerRecord;
use foldwise_shared::ids::Millis;
use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{
    AttemptRecord, DecisionRecord, EpochRecord, Explanation, ReplayRecord, StudyRecord, TrialRecord,
};

pub(in crate::cli) use self::fleet::{LEDGER_NOTE, account};
pub(in crate::cli) use self::hindsight::LIMITS as REPLAY_LIMITS;
pub(in crate::cli) use self::rows::{EpochRows, TrialRows, event_json, json_line};
pub(in crate::cli) use self::table::{best as best_table, counts};
use super::data::{DataSummary, FetchedRow};
use super::error::CliError;
use crate::bench::load::Load;
use crate::bench::restart::Restarted;
use crate::bench::search::Comparison;
use crate::bench::suggest::Timing;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: aligned columns, short numbers.
    Table,
    /// For programs: every field, every digit, times in milliseconds since 1970 UTC.
    Json,
    /// For spreadsheets: one row a thing, one column a param.
    Csv,
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// Several studies.
    Studies(&'a [StudyRecord]),
    /// One study.
    Study(&'a StudyRecord),
    /// Several trials.
    Trials(&'a [TrialRecord]),
    /// One study, and what it cost.
    Shown(&'a StudyRecord, &'a Ledger),
    /// One trial, the decisions about it, and its attempts.
    Trial(&'a TrialRecord, &'a [DecisionRecord], &'a [AttemptRecord]),
    /// Workers.
    Workers(&'a [WorkerRecord]),
    /// What a study cost.
    Ledger(&'a Ledger),
    /// The best trial of a study.
    Best(&'a StudyRecord, &'a TrialRecord),
    /// Losses.
    Curve(&'a [EpochRecord]),
    /// Why a trial was pruned.
    Explanation(&'a Explanation),
    /// Pruners side by side.
    Replays(&'a [ReplayRecord]),
    /// The files of fetched data sets.
    Fetched(&'a [FetchedRow]),
    /// A data set.
    Data(&'a DataSummary),
    /// Samplers beside Optuna.
    Search(&'a Comparison),
    /// How long suggestions take.
    Suggest(&'a [Timing]),
    /// A coordinator under load.
    Load(&'a Load),
    /// How long restarts take.
    Restart(&'a [Restarted]),
}

/// Writes an answer to standard output.
///
/// # Errors
/// The output cannot be written; a closed pipe is told apart by [`CliError::report`].
pub fn print(answer: Answer<'_>, format: Format) -> Result<(), CliError> {
    to_stdout(|out| write(answer, format, out))
}

/// With [`with_stdout`] the one place that writes to standard output.
///
/// # Errors
/// As [`print`].
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(CliError::Output)
}

/// The same for an answer that is made while it is written.
///
/// # Errors
/// Whatever kept it from being made or written.
pub fn with_stdout(write: impl FnOnce(&mut dyn Write) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    out.flush().map_err(CliError::Output)
}

fn write(answer: Answer<'_>, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Table => table::write(answer, out),
        Format::Json => json::write(answer, out),
        Format::Csv => csv::write(answer, out),
    }
}

/// A moment as a person reads it, in UTC.
pub(in crate::cli) fn moment(at: Millis) -> String {
    let after = Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    match UNIX_EPOCH.checked_add(after) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string().replace('T', " "),
        None => at.0.to_string(),
    }
}

/// A span as a person reads it, to the second.
pub(in crate::cli) fn span(millis: i64) -> String {
    humantime::format_duration(Duration::from_secs(u64::try_from(millis).unwrap_or(0) / 1000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_are_readable() {
        assert_eq!(moment(Millis(1_700_000_000_999)), "2023-11-14 22:13:20Z");
        assert_eq!(moment(Millis(-5)), "1970-01-01 00:00:00Z");
        assert_eq!(span(3_723_999), "1h 2m 3s");
        assert_eq!(span(-1), "0s");
    }
}

#[cfg(test)]
mod snapshots;
