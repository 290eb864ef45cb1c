//! Trials and epochs one by one, as rows of CSV or lines of JSON: what an export of any size is made of.

use std::collections::BTreeSet;
use std::io::{self, Write};

use csv::Writer;
use foldwise_shared::record::{EpochRecord, StudyEvent, TrialRecord};
use serde::Serialize;
use serde_json::Value;

use super::csv::{exact, io_error, optional};

/// The columns of an epoch.
const EPOCH: [&str; 10] = [
    "trial",
    "fold",
    "attempt",
    "epoch",
    "train_loss",
    "validation_loss",
    "learning_rate",
    "seconds",
    "diverged",
    "at",
];

/// Trials with these params and so many folds.
pub struct TrialRows<W: Write> {
    params: Vec<String>,
    folds: usize,
    csv: Writer<W>,
}

impl<W: Write> TrialRows<W> {
    /// Rows to be written.
    pub fn new<'a>(params: impl Iterator<Item = &'a String>, folds: usize, out: W) -> Self {
        Self { params: params.cloned().collect(), folds, csv: Writer::from_writer(out) }
    }

    /// The names of the columns.
    ///
    /// # Errors
    /// They cannot be written; so for the others.
    pub fn header(&mut self) -> io::Result<()> {
        let mut header: Vec<String> =
            ["number", "state", "value", "std", "reason", "created_at", "finished_at", "parent"]
                .map(str::to_owned)
                .into();
        header.extend(self.params.iter().map(|name| format!("param.{name}")));
        for fold in 0..self.folds {
            header.extend(
                ["state", "value", "best_epoch", "epochs", "attempts"]
                    .map(|column| format!("fold.{fold}.{column}")),
            );
        }
        self.csv.write_record(&header).map_err(io_error)
    }

    /// A trial as a row of CSV.
    pub fn row(&mut self, trial: &TrialRecord) -> io::Result<()> {
        let mut row = vec![
            trial.number.to_string(),
            trial.state.to_string(),
            optional(&trial.value),
            optional(&trial.std),
            optional(&trial.reason),
            trial.created_at.0.to_string(),
            optional(&trial.finished_at.map(|at| at.0)),
            optional(&trial.parent),
        ];
        let length = row.len() + self.params.len() + 5 * self.folds;
        row.extend(self.params.iter().map(|name| trial.params.get(name).map(exact).unwrap_or_default()));
        for fold in &trial.folds {
            row.extend([
                fold.state.to_string(),
                optional(&fold.value),
                optional(&fold.best_epoch),
                fold.epochs.to_string(),
                fold.attempts.to_string(),
            ]);
        }
        row.resize(length, String::new());
        self.csv.write_record(&row).map_err(io_error)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

/// Epochs.
pub struct EpochRows<W: Write> {
    csv: Writer<W>,
}

impl<W: Write> EpochRows<W> {
    /// Rows to be written.
    pub fn new(out: W) -> Self {
        Self { csv: Writer::from_writer(out) }
    }

    /// The names of the columns.
    ///
    /// # Errors
    /// They cannot be written; so for the others.
    pub fn header(&mut self) -> io::Result<()> {
        self.csv.write_record(EPOCH.iter().chain(&["live"])).map_err(io_error)
    }

    /// An epoch as a row of CSV, and whether no newer attempt has trained it again.
    pub fn row(&mut self, record: &EpochRecord, live: bool) -> io::Result<()> {
        let row = epoch(record).into_iter().chain([live.to_string()]);
        self.csv.write_record(row).map_err(io_error)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

pub(super) fn curve<W: Write>(records: &[EpochRecord], csv: &mut Writer<W>) -> csv::Result<()> {
    let metrics = metric_names(records);
    csv.write_record(EPOCH.into_iter().chain(metrics.iter().copied()))?;
    records.iter().try_for_each(|record| {
        let measured = metrics.iter().map(|name| optional(&record.metrics.get(*name)));
        csv.write_record(epoch(record).into_iter().chain(measured))
    })
}

/// The metrics that any of these epochs has, by name.
pub(super) fn metric_names(records: &[EpochRecord]) -> BTreeSet<&str> {
    records.iter().flat_map(|record| record.metrics.keys().map(String::as_str)).collect()
}

fn epoch(record: &EpochRecord) -> [String; 10] {
    [
        record.trial.to_string(),
        record.fold.to_string(),
        record.attempt.to_string(),
        record.epoch.to_string(),
        optional(&record.train_loss),
        optional(&record.validation_loss),
        optional(&record.learning_rate),
        optional(&record.seconds),
        record.diverged.to_string(),
        record.at.0.to_string(),
    ]
}

/// A line of JSON.
///
/// # Errors
/// It cannot be written.
pub fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// An event of a study as an object: its kind is `event`, such as `trial-finished`.
pub fn event_json(event: &StudyEvent) -> Value {
    let Ok(Value::Object(tagged)) = serde_json::to_value(event) else { return Value::Null };
    let Some((kind, mut fields)) = tagged.into_iter().next() else { return Value::Null };
    let mut name = String::new();
    for (position, letter) in kind.char_indices() {
        if letter.is_ascii_uppercase() && position > 0 {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    fields["event"] = name.into();
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use foldwise_shared::state::TrialState;

    #[test]
    fn an_event_is_an_object_with_its_kind() {
        let json = event_json(&samples::trial_finished(3, TrialState::Complete, Some(0.5)));
        assert_eq!(
            (&json["event"], &json["trial"], &json["value"]),
            (&"trial-finished".into(), &3.into(), &0.5.into())
        );
        assert_eq!(event_json(&samples::ended())["event"], "study-changed");
    }

    #[test]
    fn every_row_has_the_columns_of_the_header() {
        let mut text = Vec::new();
        let names = ["dropout".to_owned(), "nobody has this".to_owned()];
        let mut rows = TrialRows::new(names.iter(), 4, &mut text);
        rows.header().expect("written");
        for trial in samples::trials() {
            rows.row(&trial).expect("written");
        }
        rows.finish().expect("written");
        let mut read = ::csv::Reader::from_reader(text.as_slice());
        let width = read.headers().expect("a header").len();
        assert_eq!(width, 8 + 2 + 4 * 5);
        // A row of another width is an error of the reader.
        let rows = read.records().collect::<Result<Vec<_>, _>>().expect("rows");
        assert_eq!(rows.len(), samples::trials().len());
    }
}
