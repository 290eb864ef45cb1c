//! Workers, attempts and what a study cost, as tables and as CSV.

use std::io::Write;

use csv::Writer;
use foldwise_shared::device::DeviceUse;
use foldwise_shared::fleet::{FoldInTraining, WorkerRecord};
use foldwise_shared::ledger::{Account, Ledger};
use foldwise_shared::record::AttemptRecord;

use super::csv::optional;
use super::table::{Grid, text};
use super::{moment, span};

/// What the numbers of a ledger mean.
pub(in crate::cli) const LEDGER_NOTE: &str = "
used: from the lease of each attempt to its end. wasted: the part of it that led to nothing: what failed attempts trained
after the last epoch that others went on from, `repeated` epochs that were trained once more, and all of a failed trial.
saved: the epochs that pruned trials were not trained for, each as long as an epoch of that trial took on average.";

pub(super) fn workers(records: &[WorkerRecord]) -> String {
    let mut grid = Grid::new(&[
        "<worker",
        "<state",
        "<device",
        ">slots",
        ">free",
        "<trains",
        "<heard of",
        ">memory",
        ">busy",
    ]);
    for worker in records {
        let state = match (worker.state, worker.drained_at) {
            (Some(state), _) => state.to_string(),
            (None, Some(_)) => "drained".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let trains: Vec<String> = worker.folds.iter().map(trained).collect();
        let device = worker.device_use;
        grid.row([
            worker.name.clone(),
            state,
            worker.device.clone(),
            text(worker.slots),
            text(worker.free),
            if trains.is_empty() { "-".to_owned() } else { trains.join(", ") },
            moment(worker.heard_at),
            text(device.map(memory)),
            text(device.and_then(|device| device.utilization).map(|part| format!("{:.0} %", part * 100.0))),
        ]);
    }
    grid.finish()
}

fn trained(fold: &FoldInTraining) -> String {
    format!("{} trial {} fold {} epoch {}", fold.study, fold.trial, fold.fold, fold.epoch)
}

fn memory(device: DeviceUse) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    format!("{:.1} of {:.1} GiB", gib(device.memory_used), gib(device.memory_total))
}

pub(super) fn workers_csv<W: Write>(records: &[WorkerRecord], csv: &mut Writer<W>) -> csv::Result<()> {
    csv.write_record([
        "name",
        "incarnation",
        "device",
        "state",
        "slots",
        "free",
        "trains",
        "heard_at",
        "drained_at",
        "memory_used",
        "memory_total",
        "utilization",
    ])?;
    for worker in records {
        let device = worker.device_use;
        csv.write_record([
            worker.name.clone(),
            worker.incarnation.clone(),
            worker.device.clone(),
            optional(&worker.state),
            optional(&worker.slots),
            optional(&worker.free),
            worker.folds.iter().map(trained).collect::<Vec<_>>().join(", "),
            worker.heard_at.0.to_string(),
            optional(&worker.drained_at.map(|at| at.0)),
            optional(&device.map(|device| device.memory_used)),
            optional(&device.map(|device| device.memory_total)),
            optional(&device.and_then(|device| device.utilization)),
        ])?;
    }
    Ok(())
}

pub(super) fn attempts(records: &[AttemptRecord]) -> String {
    let mut grid = Grid::new(&[
        ">fold", ">attempt", "<state", "<worker", "<device", ">after", ">epochs", "<started", ">took",
        "<message",
    ]);
    for attempt in records {
        let state = match attempt.failure {
            Some(class) => class.to_string(),
            None => attempt.state.to_string(),
        };
        grid.row([
            attempt.fold.to_string(),
            attempt.attempt.to_string(),
            state,
            attempt.worker.clone(),
            attempt.device.clone(),
            attempt.start_epoch.to_string(),
            attempt.epochs.to_string(),
            moment(attempt.started_at),
            text(attempt.ended_at.map(|ended| span(ended.since(attempt.started_at)))),
            text(attempt.message.as_ref()),
        ]);
    }
    grid.finish()
}

pub(super) fn ledger(ledger: &Ledger) -> String {
    let mut grid = Grid::new(&["<device", "<account", "<cause", ">count", ">epochs", ">seconds"]);
    for row in &ledger.rows {
        grid.row([
            row.device.clone(),
            row.account.to_string(),
            text(row.cause.as_ref()),
            row.count.to_string(),
            row.epochs.to_string(),
            format!("{:.1}", row.seconds),
        ]);
    }
    for account in Account::ALL {
        let seconds = format!("{:.1}", ledger.seconds(*account));
        let none = String::new;
        grid.row(["all".to_owned(), account.to_string(), none(), none(), none(), seconds]);
    }
    grid.finish()
}

/// The ledger in one line.
pub(in crate::cli) fn account(ledger: &Ledger) -> String {
    let mut line = format!("{} used", short_span(ledger.seconds(Account::Used)));
    let causes = ledger.causes(Account::Wasted);
    let shown: Vec<String> =
        causes.iter().map(|(cause, seconds)| format!("{cause} {}", short_span(*seconds))).collect();
    if !shown.is_empty() {
        let wasted = short_span(ledger.seconds(Account::Wasted));
        line.push_str(&format!(", {wasted} of it wasted ({})", shown.join(", ")));
    }
    let saved = ledger.seconds(Account::Saved);
    if saved > 0.0 {
        line.push_str(&format!(", {} saved by pruning", short_span(saved)));
    }
    line
}

/// Below a minute with a tenth of a second.
fn short_span(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1}s") } else { span((seconds * 1_000.0) as i64) }
}

pub(super) fn ledger_csv<W: Write>(ledger: &Ledger, csv: &mut Writer<W>) -> csv::Result<()> {
    csv.write_record(["device", "account", "cause", "count", "epochs", "seconds"])?;
    for row in &ledger.rows {
        csv.write_record([
            row.device.clone(),
            row.account.to_string(),
            optional(&row.cause),
            row.count.to_string(),
            row.epochs.to_string(),
            row.seconds.to_string(),
        ])?;
    }
    Ok(())
}
