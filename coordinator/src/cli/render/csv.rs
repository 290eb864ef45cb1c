//! Answers as CSV: one row a thing, a column a param (`param.NAME`), empty where there is none.

use std::collections::BTreeSet;
use std::io::{self, Write};

use csv::Writer;
use foldwise_shared::record::{Explanation, ReplayRecord, StudyRecord, TrialRecord};
use foldwise_shared::state::TrialState;
use foldwise_shared::value::ParamValue;

use super::hindsight::{Line, lines};
use super::rows::{TrialRows, curve};
use super::{Answer, bench, fleet};
use crate::cli::data::{DataSummary, FetchedRow};

pub(super) fn write(answer: Answer<'_>, out: &mut dyn Write) -> io::Result<()> {
    match answer {
        Answer::Trials(records) => return trials(records, out),
        Answer::Trial(record, ..) | Answer::Best(_, record) => {
            return trials(std::slice::from_ref(record), out);
        }
        _ => {}
    }
    let mut csv = Writer::from_writer(out);
    match answer {
        Answer::Studies(records) => studies(records, &mut csv),
        Answer::Study(record) | Answer::Shown(record, _) => studies(std::slice::from_ref(record), &mut csv),
        Answer::Trials(_) | Answer::Trial(..) | Answer::Best(..) => Ok(()),
        Answer::Workers(records) => fleet::workers_csv(records, &mut csv),
        Answer::Ledger(ledger) => fleet::ledger_csv(ledger, &mut csv),
        Answer::Curve(records) => curve(records, &mut csv),
        Answer::Explanation(explanation) => compared(explanation, &mut csv),
        Answer::Replays(records) => replays(records, &mut csv),
        Answer::Fetched(rows) => fetched(rows, &mut csv),
        Answer::Data(summary) => data(summary, &mut csv),
        Answer::Search(comparison) => bench::search_csv(comparison, &mut csv),
        Answer::Suggest(timings) => timings.iter().try_for_each(|timing| csv.serialize(timing)),
        Answer::Load(load) => csv.serialize(&load.figures),
        Answer::Restart(rounds) => rounds.iter().try_for_each(|round| csv.serialize(round)),
    }
    .map_err(io_error)?;
    csv.flush()
}

/// Of the kind it was, which the conversion of the crate loses.
pub(super) fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn studies<W: Write>(records: &[StudyRecord], csv: &mut Writer<W>) -> csv::Result<()> {
    let mut header: Vec<String> =
        ["id", "name", "state", "message", "direction", "images"].map(str::to_owned).into();
    header.extend(TrialState::ALL.iter().map(|state| format!("trials.{state}")));
    header.extend(["epochs", "running_ms", "created_at", "best.number", "best.value"].map(str::to_owned));
    csv.write_record(&header)?;
    for record in records {
        let mut row = vec![
            record.id.to_string(),
            record.name.clone(),
            record.state.to_string(),
            optional(&record.message),
            record.direction.to_string(),
            record.images.to_string(),
        ];
        row.extend(
            TrialState::ALL.iter().map(|state| record.trials.get(state).copied().unwrap_or(0).to_string()),
        );
        row.extend([
            record.epochs.to_string(),
            record.running_ms.to_string(),
            record.created_at.0.to_string(),
            optional(&record.best.map(|best| best.number)),
            optional(&record.best.map(|best| best.value)),
        ]);
        csv.write_record(&row)?;
    }
    Ok(())
}

fn trials<W: Write>(records: &[TrialRecord], out: W) -> io::Result<()> {
    let params: BTreeSet<&String> = records.iter().flat_map(|trial| trial.params.keys()).collect();
    let folds = records.iter().map(|trial| trial.folds.len()).max().unwrap_or(0);
    let mut rows = TrialRows::new(params.into_iter(), folds, out);
    rows.header()?;
    records.iter().try_for_each(|trial| rows.row(trial))?;
    rows.finish()
}

/// Whom a trial was compared with, the best first, itself and the threshold in their places.
fn compared<W: Write>(explanation: &Explanation, csv: &mut Writer<W>) -> csv::Result<()> {
    csv.write_record(["what", "place", "trial", "value"])?;
    for line in lines(explanation) {
        let (what, place, trial, value) = match line {
            Line::Peer { place, trial, value } => ("peer", Some(place), Some(trial), value),
            Line::Own { place, value } => ("own", Some(place), Some(explanation.trial), value),
            Line::Threshold(value) => ("threshold", None, None, Some(value)),
            Line::Gap(_) => continue,
        };
        csv.write_record([what.to_owned(), optional(&place), optional(&trial), optional(&value)])?;
    }
    Ok(())
}

fn replays<W: Write>(records: &[ReplayRecord], csv: &mut Writer<W>) -> csv::Result<()> {
    let best = records.iter().map(|record| record.best.len()).max().unwrap_or(0);
    let mut header: Vec<String> =
        ["name", "pruner", "trials", "stopped", "epochs", "saved", "unknown"].map(str::to_owned).into();
    for place in 1..=best {
        header.extend(["trial", "value", "lives"].map(|column| format!("best.{place}.{column}")));
    }
    csv.write_record(&header)?;
    for record in records {
        let mut row = vec![
            record.name.clone(),
            record.pruner.clone(),
            record.trials.to_string(),
            record.stopped.len().to_string(),
            record.recorded.to_string(),
            record.saved.to_string(),
            record.unknown.len().to_string(),
        ];
        for best in &record.best {
            row.extend([best.trial.to_string(), best.value.to_string(), best.lives.to_string()]);
        }
        row.resize(header.len(), String::new());
        csv.write_record(&row)?;
    }
    Ok(())
}

fn fetched<W: Write>(rows: &[FetchedRow], csv: &mut Writer<W>) -> csv::Result<()> {
    csv.write_record(["dataset", "path", "bytes", "downloaded_from"])?;
    for row in rows {
        csv.write_record([
            row.dataset.clone(),
            row.path.clone(),
            optional(&row.bytes),
            optional(&row.downloaded_from),
        ])?;
    }
    Ok(())
}

fn data<W: Write>(summary: &DataSummary, csv: &mut Writer<W>) -> csv::Result<()> {
    csv.write_record(["name", "origin", "train_images", "test_images", "height", "width", "digest"])?;
    csv.write_record([
        summary.name.clone(),
        summary.origin.clone(),
        summary.train_images.to_string(),
        optional(&summary.test_images),
        summary.height.to_string(),
        summary.width.to_string(),
        summary.digest.clone(),
    ])
}

pub(super) fn optional<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A param with every digit.
pub(super) fn exact(value: &ParamValue) -> String {
    match value {
        ParamValue::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}
