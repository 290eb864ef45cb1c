//! What can be written after `foldwise bench`.

use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};

use super::{OutputArgs, TlsArgs, TokenArgs};
use crate::bench::{self, Problem, SAMPLERS};

/// `foldwise bench`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Search problems whose minimum is known, beside Optuna.
    Search(BenchSearchArgs),
    /// Time one suggestion.
    Suggest(BenchSuggestArgs),
    /// Time the importance of params over trials from a file.
    Importance(BenchImportanceArgs),
    /// Put a coordinator under many workers.
    Load(BenchLoadArgs),
    /// Time a restart on a large database, until the first lease.
    Restart(BenchRestartArgs),
}

/// `foldwise bench search`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Every search is one of a problem, a sampler, a number of trials at a time and a seed; the trial that began first is the
first to finish. The regret of a search is the best value it found less the minimum of the problem. Beside ours stand the
regrets of Optuna 5.0 that are stored in this program: 15 searches with TPESampler() (tpe) and 15 with
TPESampler(multivariate=False, constant_liar=False) (tpe_classic), 1 and 8 trials at a time, after 25, 50, 100 and 150.
The reference is the better of the two by median, for the sampler tpe always Optuna's tpe.
All of it takes about an hour of one core; the same seeds give the same figures on every machine.

Examples:
  foldwise bench search
  foldwise bench search --problem hartmann6,branches --sampler auto --seeds 10
  foldwise bench search --sampler tpe,sobol --parallel 8 --trials 100 -o csv > search.csv")]
pub struct BenchSearchArgs {
    /// auto, gp, tpe, random or sobol; several with commas between.
    #[arg(long = "sampler", value_name = "NAME", env = "FOLDWISE_BENCH_SAMPLER", value_delimiter = ',')]
    #[arg(value_parser = sampler, default_value = "auto,tpe,random")]
    pub samplers: Vec<String>,
    /// Only these problems; several with commas between. A name that does not exist brings the list.
    #[arg(long = "problem", value_name = "NAME", env = "FOLDWISE_BENCH_PROBLEM", value_delimiter = ',')]
    #[arg(value_parser = problem)]
    pub problems: Vec<String>,
    /// Searches of each kind.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_SEEDS", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,
    /// How many trials run at a time.
    #[arg(
        long,
        value_name = "N",
        env = "FOLDWISE_BENCH_PARALLEL",
        value_delimiter = ',',
        default_value = "1,8"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub parallel: Vec<u32>,
    /// After how many finished trials the best value is taken.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_TRIALS", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000), default_value = "50,100,150")]
    pub trials: Vec<u32>,
    /// Searches at a time; without it one a core. The figures do not depend on it.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_THREADS")]
    pub threads: Option<NonZero<usize>>,
    /// How to write the answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `foldwise bench suggest`
#[derive(Debug, Args)]
#[command(after_long_help = "\
A study is set up in memory: so many finished trials, drawn at random, and as many as are told that run. Then, again and
again, the oldest of those that run finishes, the history takes it up, and the sampler suggests the next: that is timed,
500 times in 20 studies (fewer where they take more than a minute). The space is that of deploy/bench/suggest.toml: real
numbers and whole ones, with steps and logarithms, choices, bools and a condition.

Examples:
  foldwise bench suggest
  foldwise bench suggest --sampler auto --trials 1000 --running 8 -o json
  foldwise bench suggest --sampler tpe --trials 100000   # the last column: memory of the whole process")]
pub struct BenchSuggestArgs {
    /// auto, gp, tpe, random or sobol; several with commas between.
    #[arg(long = "sampler", value_name = "NAME", env = "FOLDWISE_BENCH_SAMPLER", value_delimiter = ',')]
    #[arg(value_parser = sampler, default_value = "auto,tpe,random")]
    pub samplers: Vec<String>,
    /// After how many finished trials.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_TRIALS", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value = "100,1000,10000")]
    pub trials: Vec<u32>,
    /// How many trials run meanwhile.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_RUNNING", default_value = "64")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub running: u32,
    /// How many params a trial has.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_PARAMS", default_value_t = bench::suggest::MOST_PARAMS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(bench::suggest::MOST_PARAMS)))]
    pub params: u32,
    /// How to write the answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `foldwise bench importance`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The file is JSON: { \"columns\": [{ \"values\": [...], \"categories\": N }, ...], \"targets\": [...] }, with values from 0 to 1, or
the index of a category where \"categories\" is there. The answer is JSON, too. `deploy/bench/optuna_importance.py` writes such a
file and gives the same trials to Optuna.")]
pub struct BenchImportanceArgs {
    /// The trials.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How often it is done; the middle of the times counts.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_RUNS", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub runs: u32,
}

/// `foldwise bench load`
#[derive(Debug, Args)]
#[command(after_long_help = "\
A coordinator is started as a process of its own, on a new database that is removed afterwards, with a study that does not
end. So many workers connect to it, each by a connection of its own. They train nothing: each takes a fold and reports its
100 epochs, as fast as they are acknowledged or as often as is asked for, and so on with the next. Everything that was
acknowledged must be in the database afterwards, or the command fails.
With --coordinator the study is made at a coordinator that is there, and stopped afterwards; use one without other workers.
--db-folder should be on the disk that is in question: where /tmp is memory, every write is durable at once.

Examples:
  foldwise bench load --workers 1000 --seconds 30
  foldwise bench load --workers 1000 --seconds 30 --reports-per-second 1000
  foldwise bench load --workers 1000 --seconds 60 --idle
  foldwise bench load --workers 200 --seconds 3600 --reports-per-second 1000 -o json > hour.json   # memory over an hour")]
pub struct BenchLoadArgs {
    /// How many workers.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_WORKERS", default_value = "1000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub workers: u32,
    /// How long it is measured.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_SECONDS", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Reports a second of all workers together; without it as many as are acknowledged.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_REPORTS_PER_SECOND")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub reports_per_second: Option<u32>,
    /// The workers are connected and there is no study for them.
    #[arg(long, env = "FOLDWISE_BENCH_IDLE", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue, conflicts_with = "reports_per_second")]
    pub idle: bool,
    /// A coordinator that is there, in place of one of our own, such as http://127.0.0.1:7654.
    #[arg(long, value_name = "URL", env = "FOLDWISE_BENCH_COORDINATOR")]
    pub coordinator: Option<String>,
    /// What to show it.
    #[command(flatten)]
    pub token: TokenArgs,
    /// What to know it by.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Where our own has its database.
    #[command(flatten)]
    pub place: BenchPlaceArgs,
    /// How to write the answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `foldwise bench restart`
#[derive(Debug, Args)]
#[command(after_long_help = "\
A new database is filled with complete trials, as a coordinator writes them. Then a coordinator is started on it as a process
of its own and a worker connects as soon as it listens: the time from the start until the worker has a fold.

Examples:
  foldwise bench restart --trials 10000 --folds 5 --epochs 100
  foldwise bench restart --set pruner.kind=none")]
pub struct BenchRestartArgs {
    /// Complete trials in the database.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_RESTART_TRIALS", default_value = "10000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub trials: u32,
    /// Folds of each trial.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_FOLDS", default_value = "5")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100))]
    pub folds: u32,
    /// Epochs of each fold.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_EPOCHS", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: u32,
    /// How often the coordinator is started.
    #[arg(long, value_name = "N", env = "FOLDWISE_BENCH_ROUNDS", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Where the database is.
    #[command(flatten)]
    pub place: BenchPlaceArgs,
    /// How to write the answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The database of a measurement, and its study.
#[derive(Debug, Args)]
pub struct BenchPlaceArgs {
    /// The folder in which the database is made, and removed afterwards.
    #[arg(long, value_name = "FOLDER", env = "FOLDWISE_BENCH_DB_FOLDER", default_value = ".")]
    pub db_folder: PathBuf,
    /// Lay one setting over the study; repeat it for more. In the variable: one a line.
    #[arg(long = "set", value_name = "KEY=VALUE", env = "FOLDWISE_SET", value_delimiter = '\n')]
    pub sets: Vec<String>,
}

fn sampler(text: &str) -> Result<String, String> {
    if text == "grid" {
        return Err("a grid goes through a space in order and cannot be judged by chance searches; \
                    use auto, gp, tpe, random or sobol"
            .into());
    }
    known("sampler", text, &SAMPLERS)
}

fn problem(text: &str) -> Result<String, String> {
    known("problem", text, &Problem::all().iter().map(|problem| problem.name).collect::<Vec<_>>())
}

/// A word that is known; otherwise all those that are, the most alike first.
fn known(what: &str, text: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let mut words = words.to_vec();
    words.sort_by(|a, b| strsim::jaro_winkler(text, b).total_cmp(&strsim::jaro_winkler(text, a)));
    Err(format!("there is no such {what}; there is: {}", words.join(", ")))
}
