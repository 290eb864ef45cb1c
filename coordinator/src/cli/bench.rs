//! `foldwise bench`: how good the samplers are, and how fast everything is.

use std::num::NonZero;
use std::thread::available_parallelism;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{
    BenchCommand, BenchImportanceArgs, BenchLoadArgs, BenchRestartArgs, BenchSearchArgs, BenchSuggestArgs,
};
use super::error::CliError;
use super::remote;
use super::render::{self, Answer, Format};
use crate::bench::{BenchError, Problem, importance, load, restart, search, suggest};
use crate::open_files;

/// Does what a `foldwise bench` command says.
///
/// # Errors
/// What is measured does not work, or the answer cannot be written.
pub fn execute(command: BenchCommand) -> Result<(), CliError> {
    match command {
        BenchCommand::Search(args) => search(args),
        BenchCommand::Suggest(args) => suggest(args),
        BenchCommand::Importance(args) => importance(&args),
        BenchCommand::Load(args) => load(args),
        BenchCommand::Restart(args) => restart(args),
    }
}

fn search(args: BenchSearchArgs) -> Result<(), CliError> {
    let format = args.output.format;
    let bar = Bar::new("searches");
    let comparison = plan(args).run(&|all| bar.advance(all)).map_err(other)?;
    bar.finish();
    render::print(Answer::Search(&comparison), format)?;
    if format == Format::Table {
        super::say(HOW_TO_READ_SEARCH);
    }
    Ok(())
}

const HOW_TO_READ_SEARCH: &str = "
regret: the best value less the minimum; median (quartiles) over the seeds. tpe and classic: Optuna's, as stored.
ratio: our median over that of the better of Optuna's two; for tpe over Optuna's tpe. Below 1 is better than Optuna.
p worse: how easily chance alone makes regrets so much larger than Optuna's (Mann-Whitney); below 0.05 is worse.
next:
  foldwise bench suggest       # what a suggestion costs
  foldwise bench search --help # one problem, other samplers";

fn plan(args: BenchSearchArgs) -> search::Plan {
    let mut problems = Problem::all();
    problems
        .retain(|problem| args.problems.is_empty() || args.problems.iter().any(|name| name == problem.name));
    search::Plan {
        problems,
        samplers: once_each(args.samplers),
        parallel: once_each(args.parallel),
        trials: once_each(args.trials),
        seeds: args.seeds,
        threads: args.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN),
    }
}

fn suggest(args: BenchSuggestArgs) -> Result<(), CliError> {
    let plan = suggest::Plan {
        samplers: once_each(args.samplers),
        trials: once_each(args.trials),
        running: args.running,
        params: args.params,
    };
    let bar = Bar::new("rows");
    let timings = plan.run(&|all| bar.advance(all)).map_err(other)?;
    bar.finish();
    render::print(Answer::Suggest(&timings), args.output.format)?;
    if args.output.format == Format::Table {
        super::say(HOW_TO_READ_SUGGEST);
    }
    Ok(())
}

fn importance(args: &BenchImportanceArgs) -> Result<(), CliError> {
    let figures =
        importance::run(&args.file, args.runs).map_err(|error| CliError::usage(error.to_string()))?;
    render::to_stdout(|out| {
        serde_json::to_writer(&mut *out, &figures)?;
        writeln!(out)
    })
}

const HOW_TO_READ_SUGGEST: &str = "
one suggestion and taking up the trial that finished before it, in milliseconds; memory is that of the whole process.
next:
  foldwise bench search        # how good the suggestions are
  deploy/bench/compare.py suggest  # the same beside Optuna";

fn load(args: BenchLoadArgs) -> Result<(), CliError> {
    open_files::allow_many();
    let coordinator = match args.coordinator {
        Some(url) => {
            let token = args.token.read()?;
            let (_, _, endpoint) = remote::callable(&url, token.is_some(), &args.tls)?;
            Some((endpoint, token))
        }
        None => None,
    };
    let plan = load::Plan {
        workers: args.workers,
        seconds: args.seconds,
        reports_per_second: args.reports_per_second,
        idle: args.idle,
        coordinator,
        folder: args.place.db_folder,
        sets: args.place.sets,
    };
    let load = plan.run().map_err(other)?;
    render::print(Answer::Load(&load), args.output.format)
}

fn restart(args: BenchRestartArgs) -> Result<(), CliError> {
    let plan = restart::Plan {
        trials: args.trials,
        folds: args.folds,
        epochs: args.epochs,
        rounds: args.rounds,
        folder: args.place.db_folder,
        sets: args.place.sets,
    };
    let bar = Bar::new("trials");
    let rounds = plan.run(&|filled| bar.reach(filled, args.trials)).map_err(other)?;
    bar.finish();
    render::print(Answer::Restart(&rounds), args.output.format)
}

/// Each once, in the order of their first places.
fn once_each<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut kept = Vec::new();
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

fn other(error: BenchError) -> CliError {
    if error.is_user_error() { CliError::usage(error.to_string()) } else { CliError::Other(error.into()) }
}

/// The progress on standard error: a bar on a terminal, else a line for every tenth.
struct Bar {
    bar: ProgressBar,
    what: &'static str,
}

impl Bar {
    fn new(what: &'static str) -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{bar:24.green/dim} {pos} of {len} {msg}, {eta} left")
        {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar, what }
    }

    /// One more of `all` is done.
    fn advance(&self, all: usize) {
        let all = all as u64;
        self.bar.set_length(all);
        self.bar.inc(1);
        let done = self.bar.position();
        if self.bar.is_hidden() && (done * 10 / all) > ((done - 1) * 10 / all) {
            super::say(&format!("{done} of {all} {}", self.what));
        }
    }

    /// So many of `all` are done; says nothing where there is no terminal.
    fn reach(&self, done: u32, all: u32) {
        self.bar.set_length(all.into());
        self.bar.set_position(done.into());
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;

    fn parse(line: &str) -> Result<BenchCommand, String> {
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Bench(command) => Ok(command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_search_from_the_command_line_to_its_table() {
        let line = "foldwise bench search --problem steps3,branin --sampler random,sobol --sampler random \
                    --seeds 3 --parallel 1 --trials 25 --threads 2";
        let Ok(BenchCommand::Search(args)) = parse(line) else { panic!("not a search") };
        let plan = plan(args);
        assert_eq!(plan.samplers, ["random", "sobol"]);
        let comparison = plan.run(&|_| {}).expect("it runs");
        let rows: Vec<(&str, &str)> =
            comparison.cells.iter().map(|cell| (&*cell.problem, &*cell.sampler)).collect();
        assert_eq!(
            rows,
            [("branin", "random"), ("branin", "sobol"), ("steps3", "random"), ("steps3", "sobol")]
        );
        execute(parse(line).expect("a search")).expect("it prints");
    }

    #[test]
    fn without_flags_everything_is_searched() {
        let Ok(BenchCommand::Search(args)) = parse("foldwise bench search") else { panic!("not a search") };
        let plan = plan(args);
        assert_eq!((plan.problems.len(), plan.seeds), (19, 30));
        assert_eq!(plan.samplers, ["auto", "tpe", "random"]);
        assert_eq!((plan.parallel, plan.trials), (vec![1, 8], vec![50, 100, 150]));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (line, part) in [
            ("search --problem hartman6", "there is no such problem; there is: hartmann6, hartmann3"),
            ("search --sampler tpee", "there is no such sampler; there is: tpe, "),
            ("search --sampler grid", "a grid goes through a space in order"),
            ("suggest --sampler tpe,grid", "use auto, gp, tpe, random or sobol"),
            ("search --seeds 0", "0 is not in 1..=10000"),
            ("search --parallel 0", "0 is not in 1..=1024"),
            ("search --threads 0", "number would be zero"),
            ("suggest --params 21", "21 is not in 1..=20"),
            ("suggest --trials ,", "cannot parse integer"),
            ("load --workers 0", "0 is not in 1..=100000"),
            ("load --idle --reports-per-second 5", "cannot be used with"),
            ("restart --folds 1", "1 is not in 2..=100"),
        ] {
            let message = parse(&format!("foldwise bench {line}")).map(|_| ()).expect_err(line);
            assert!(message.contains(part), "{line}\n  gave: {message}\n  want: {part}");
        }
    }
}
