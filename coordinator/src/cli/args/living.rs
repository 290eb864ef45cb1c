//! What can be written to steer and watch studies and workers that live: `foldwise study extend`, `delete` and `export`,
//! `foldwise trial retry` and `stop`, `foldwise worker`, `foldwise watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand, ValueEnum};
use foldwise_shared::fleet::{Handover, WorkerState};
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::spec::Extension;

use super::{OutputArgs, QueryArgs, SourceArgs, trial_number};

/// `foldwise study extend`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Each adds to what the study's budget says; a budget that it does not have cannot be extended. A study that has ended goes
on: its finished trials stay as they are, and the sampler and the pruner know them. A study that goes through a grid can be
extended up to its number of combinations. The study's own file still goes on with it: `foldwise run FILE` takes the
budget that is stored.

Examples:
  foldwise study extend demo --trials 10
  foldwise study extend demo --trials 10 --wall-time 2h --coordinator http://head:7654")]
#[command(group = clap::ArgGroup::new("more").required(true).multiple(true))]
pub struct ExtendArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub name: String,
    /// So many more trials: budget.trials grows by them.
    #[arg(long, value_name = "N", group = "more", value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: Option<u32>,
    /// So many more epochs: budget.total_epochs grows by them.
    #[arg(long, value_name = "N", group = "more", value_parser = clap::value_parser!(u64).range(1..))]
    pub epochs: Option<u64>,
    /// So much more time, such as 45m or 2h: budget.wall_time grows by it.
    #[arg(long = "wall-time", value_name = "TIME", group = "more", value_parser = more_time)]
    pub wall_time: Option<Duration>,
    /// Where and how.
    #[command(flatten)]
    pub query: QueryArgs,
}

impl ExtendArgs {
    /// How much more.
    pub fn more(&self) -> Extension {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Extension { trials: self.trials, epochs: self.epochs, wall_time_ms: self.wall_time.map(millis) }
    }
}

/// `foldwise study delete`
#[derive(Debug, Args)]
#[command(after_long_help = "\
All that is recorded of the study goes: its trials, epochs, decisions and its view, and the files of its checkpoints. What
the table `event` says of it stays. Only a study that has ended, or is paused with nothing in training, is deleted; with
--force any: what its workers train is stopped first. There is no way back; `foldwise study export` keeps what matters.

Examples:
  foldwise study export old --output old.csv && foldwise study delete old
  foldwise study delete old --yes --coordinator http://head:7654")]
pub struct DeleteArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub name: String,
    /// Do not ask; needed where nobody can be asked.
    #[arg(long, short, env = "FOLDWISE_YES", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub yes: bool,
    /// Even if it is not over: stop what runs.
    #[arg(long, action = clap::ArgAction::SetTrue)]
    pub force: bool,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportWhat {
    /// A row a trial, with a column a param, and the value of each fold.
    Trials,
    /// A row an epoch, with its losses.
    Epochs,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// With a header; empty where there is none.
    Csv,
    /// One JSON object a line; null where there is none.
    Jsonl,
}

/// `foldwise study export`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The rows come as they are read, so that a study of any size needs little memory. Times are milliseconds since 1970 UTC. A
file is there whole or not at all.

Examples:
  foldwise study export demo > trials.csv
  foldwise study export demo --what epochs --format jsonl --output epochs.jsonl
  foldwise study export demo --what epochs --all-attempts --coordinator http://head:7654 > epochs.csv")]
pub struct ExportArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub name: String,
    /// What to export.
    #[arg(long, value_enum, value_name = "WHAT", env = "FOLDWISE_EXPORT_WHAT", default_value_t = ExportWhat::Trials)]
    pub what: ExportWhat,
    /// How to write it.
    #[arg(long, short = 'o', value_enum, value_name = "FORMAT", env = "FOLDWISE_EXPORT_FORMAT")]
    #[arg(default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
    /// Write to this file in place of standard output; `-` is standard output.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_EXPORT_OUTPUT")]
    pub output: Option<PathBuf>,
    /// Of the epochs, also those that a newer attempt has trained again (`live` is false then).
    #[arg(long, env = "FOLDWISE_ALL_ATTEMPTS", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub all_attempts: bool,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `foldwise trial retry` and `foldwise trial stop`
#[derive(Debug, Args)]
pub struct SteeredTrial {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// The trial's number, from 0.
    #[arg(value_name = "NUMBER", value_parser = trial_number)]
    pub number: TrialNumber,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `foldwise watch`
#[derive(Debug, Args)]
#[command(after_long_help = "\
On a terminal there is a bar for the study and a line a worker, elsewhere a line for each fold and trial that ends (with
--verbose for each epoch, too). At the end comes the best trial. When the coordinator goes away, it is called until it is
back. A database is looked at every second; what an epoch gave is not shown then. Exit code 0 when the study has ended.

Examples:
  foldwise watch --coordinator http://head:7654
  foldwise watch demo --coordinator http://head:7654 -o json | jq -c 'select(.event == \"trial-finished\")'")]
pub struct WatchArgs {
    /// The study; may be left out where only one has not ended.
    #[arg(value_name = "STUDY")]
    pub study: Option<String>,
    /// Show plain lines even on a terminal.
    #[arg(long, env = "FOLDWISE_PLAIN", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub plain: bool,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How; json gives a line an event.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `foldwise worker`
#[derive(Debug, Subcommand)]
pub enum WorkerCommand {
    /// List the workers: where each is, and what it trains.
    #[command(after_long_help = "\
connected: it gets folds. silent: nothing was heard of it for a lease time. draining: it gets no more folds and hands back
those it has. drained: it has none any more. gone: it is not there. A database does not know who is connected.

Examples:
  foldwise worker list --coordinator http://head:7654
  foldwise worker list --state connected,draining --coordinator http://head:7654 -o json")]
    List {
        /// Only workers in these states: connected, silent, draining, drained, gone.
        #[arg(long = "state", value_name = "STATE", env = "FOLDWISE_STATE", value_delimiter = ',')]
        states: Vec<WorkerState>,
        /// Where and how.
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Give a worker no more folds, and others those that it has.
    #[command(after_long_help = "\
Its folds end after the epoch that runs, with a checkpoint, and others go on with them; that costs no retry. With
--after-folds they are trained to their end first; with --now they are stopped at once, and others go on from the last
checkpoint. The drain holds for all workers of the name, also for those that connect later and after a restart of the
coordinator, until `foldwise worker undrain`.

Examples:
  foldwise worker drain gpu7 --coordinator http://head:7654
  foldwise worker drain gpu7 --after-folds --coordinator http://head:7654")]
    Drain {
        /// The worker's name.
        #[arg(value_name = "NAME")]
        name: String,
        /// Stop its folds at once; the epoch that runs is lost.
        #[arg(long, conflicts_with = "after_folds", action = clap::ArgAction::SetTrue)]
        now: bool,
        /// Let it train its folds to their end.
        #[arg(long = "after-folds", action = clap::ArgAction::SetTrue)]
        after_folds: bool,
        /// Where and how.
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Give a drained worker folds again.
    Undrain {
        /// The worker's name.
        #[arg(value_name = "NAME")]
        name: String,
        /// Where and how.
        #[command(flatten)]
        query: QueryArgs,
    },
}

/// What the flags of a drain mean.
pub fn handover(now: bool, after_folds: bool) -> Handover {
    match (now, after_folds) {
        (true, _) => Handover::Now,
        (_, true) => Handover::AfterFolds,
        _ => Handover::AfterEpoch,
    }
}

fn more_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.as_millis() > 0 => Ok(time),
        Ok(_) => Err("0 more changes nothing; write 45m or 2h".into()),
        Err(problem) => Err(format!("it is no time ({problem}); write 45m or 2h")),
    }
}
