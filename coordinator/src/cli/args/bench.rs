//! What can be written after `foldwise bench`.

use std::num::NonZero;

use clap::{Args, Subcommand};

use super::OutputArgs;
use crate::bench::{self, Problem, SAMPLERS};

/// `foldwise bench`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Search problems whose minimum is known, beside Optuna.
    Search(BenchSearchArgs),
    /// Time one suggestion.
    Suggest(BenchSuggestArgs),
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
