//! `foldwise study export`: all trials or epochs of a study, a row at a time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::{EpochRecord, StudyRecord};
use foldwise_shared::spec::StudySpec;
use serde_json::json;

use super::args::{ExportArgs, ExportFormat, ExportWhat};
use super::error::CliError;
use super::render::{self, EpochRows, TrialRows, json_line};
use super::say;
use super::source::Source;

/// `foldwise study export`
pub(super) fn execute(args: &ExportArgs) -> Result<(), CliError> {
    let source = Source::open(&args.source)?;
    let study = source.study(&args.name)?;
    let Some(path) = args.output.as_ref().filter(|path| path.as_os_str() != "-") else {
        return render::with_stdout(|out| write(&source, &study, args, out).map(drop));
    };
    let failed = |error: std::io::Error| CliError::Happened {
        message: format!("failed to write {}: {error}", path.display()),
        help: None,
    };
    let part = part_of(path);
    let written = File::create(&part).map_err(failed).and_then(|file| {
        let mut out = BufWriter::new(file);
        let rows = write(&source, &study, args, &mut out).map_err(|error| match error {
            CliError::Output(error) => failed(error),
            error => error,
        })?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&part, path).map_err(failed)?;
        Ok(rows)
    });
    match written {
        Ok(rows) => {
            say(&format!("{rows} rows in {}", path.display()));
            Ok(())
        }
        Err(error) => {
            // What is there is no export; if it cannot be removed, its name says what it is.
            let _ = std::fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Where a file grows until it is whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Writes all rows and says how many there were.
fn write(
    source: &Source,
    study: &StudyRecord,
    args: &ExportArgs,
    out: &mut dyn Write,
) -> Result<u64, CliError> {
    match args.what {
        ExportWhat::Trials => trials(source, study, args.format, out),
        ExportWhat::Epochs => epochs(source, study, args, out),
    }
}

fn trials(
    source: &Source,
    study: &StudyRecord,
    format: ExportFormat,
    out: &mut dyn Write,
) -> Result<u64, CliError> {
    let mut count = 0;
    if format == ExportFormat::Jsonl {
        source.each_trial(study, |trial| {
            count += 1;
            json_line(out, trial).map_err(CliError::Output)
        })?;
        return Ok(count);
    }
    let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let mut rows = TrialRows::new(spec.space.0.keys(), spec.folds() as usize, out);
    rows.header().map_err(CliError::Output)?;
    source.each_trial(study, |trial| {
        count += 1;
        rows.row(trial).map_err(CliError::Output)
    })?;
    rows.finish().map_err(CliError::Output)?;
    Ok(count)
}

fn epochs(
    source: &Source,
    study: &StudyRecord,
    args: &ExportArgs,
    out: &mut dyn Write,
) -> Result<u64, CliError> {
    let mut count = 0;
    if args.format == ExportFormat::Jsonl {
        each_row(source, study, args.all_attempts, |record, live| {
            count += 1;
            let mut json = json!(record);
            json["live"] = live.into();
            json_line(out, &json).map_err(CliError::Output)
        })?;
        return Ok(count);
    }
    let mut rows = EpochRows::new(out);
    rows.header().map_err(CliError::Output)?;
    each_row(source, study, args.all_attempts, |record, live| {
        count += 1;
        rows.row(record, live).map_err(CliError::Output)
    })?;
    rows.finish().map_err(CliError::Output)?;
    Ok(count)
}

/// Hands on the epochs, and whether each is live; the live ones alone without `all_attempts`.
fn each_row(
    source: &Source,
    study: &StudyRecord,
    all_attempts: bool,
    mut take: impl FnMut(&EpochRecord, bool) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if !all_attempts {
        return source.each_epoch(study, |record| take(&record, true));
    }
    // A trial at a time: its live rows, to know them among all of its rows.
    for number in 0..study.trials.values().sum() {
        let trial = Some(TrialNumber(number));
        let key = |row: &EpochRecord| (row.fold, row.attempt, row.epoch);
        let live: BTreeSet<_> = source.curve(study, trial, false)?.iter().map(key).collect();
        for row in source.curve(study, trial, true)? {
            take(&row, live.contains(&key(&row)))?;
        }
    }
    Ok(())
}
