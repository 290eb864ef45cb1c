//! What can be written after `foldwise`: every command, flag and variable.

mod bench;
mod external;
mod fit;
mod living;
mod report;
mod security;
mod serve;
mod words;

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::state::{StudyState, TrialState};

pub use self::bench::{
    BenchCommand, BenchImportanceArgs, BenchLoadArgs, BenchRestartArgs, BenchSearchArgs, BenchSuggestArgs,
};
pub use self::external::{AddArgs, AskArgs, AskedTrial, EnqueueArgs, ReportArgs, TellArgs};
pub use self::fit::{EvaluateArgs, FitArgs, OverlayArgs};
pub use self::living::{
    DeleteArgs, ExportArgs, ExportFormat, ExportWhat, ExtendArgs, SteeredTrial, WatchArgs, WorkerCommand,
    handover,
};
pub use self::report::ReportPageArgs;
pub use self::security::{CertsArgs, GateArgs, TlsArgs, TokenArgs};
pub use self::serve::ServeArgs;
pub use self::words::{Device, TrialOrder};

use super::log::LogFormat;
use super::render::Format;

/// The database where no other is named.
const DATABASE: &str = "./foldwise.db";

/// Search hyperparameters with many workers, fold by fold.
///
/// `foldwise run FILE` does everything on this machine: it keeps the database, starts one worker a GPU (or one a
/// core), shows the progress and ends with the best trial. `foldwise serve` keeps the database for workers on other
/// machines. Every other command looks into a database or asks a coordinator.
#[derive(Debug, Parser)]
#[command(name = "foldwise", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_long_help = "\
Examples:
  foldwise run deploy/studies/demo.toml --db demo.db
  foldwise fit demo --db demo.db
  foldwise trial list demo --db demo.db --state complete --sort value --limit 5
  foldwise curve demo --db demo.db --trial 3 -o csv > curve.csv
  foldwise best demo --coordinator http://head:7654
  foldwise trial explain demo 11 --db demo.db

Data goes to standard output, everything else to standard error. Every flag has a variable (FOLDWISE_*), named in its
help. NO_COLOR and RUST_LOG are honored.

Exit codes:
  0    done
  1    something happened: the disk, the network, a worker, a study that failed
  2    what was written cannot work: a flag, a study file, a name that does not exist
  130  interrupted; `foldwise resume` goes on")]
pub struct Cli {
    /// Say more on standard error.
    #[arg(short, long, global = true, env = "FOLDWISE_VERBOSE", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub verbose: bool,

    /// How the log on standard error is written: text, or json with an object a line.
    #[arg(long, global = true, value_name = "FORMAT", env = "FOLDWISE_LOG_FORMAT", default_value = "text")]
    pub log: LogFormat,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a study file on this machine until the study ends.
    Run(RunArgs),
    /// Go on with a study that was interrupted.
    Resume(ResumeArgs),
    /// Train the best params of a study once more, and keep and measure the model.
    Fit(FitArgs),
    /// Measure the model of a fit, or of a file, on the test images.
    Evaluate(EvaluateArgs),
    /// Keep a database for workers on other machines.
    Serve(ServeArgs),
    /// Create, look at and steer studies.
    #[command(subcommand)]
    Study(StudyCommand),
    /// Look at trials, and evaluate them with programs of your own.
    #[command(subcommand)]
    Trial(TrialCommand),
    /// List, drain and undrain workers.
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Watch a study that another process runs.
    Watch(WatchArgs),
    /// Show the best trial of a study.
    Best(BestArgs),
    /// Show the losses of a study, epoch by epoch.
    Curve(CurveArgs),
    /// Show what other pruners would have made of a study.
    Replay(ReplayArgs),
    /// Make a page with pictures of a study, or of a model.
    Report(ReportPageArgs),
    /// Print the JSON Schema of the study file.
    Schema,
    /// Fetch and look at data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Make certificates and tokens to try a coordinator with TLS.
    Certs(CertsArgs),
    /// See how good the samplers are, and how fast everything is.
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// `foldwise run`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The same file on the same database goes on with its study; a file that differs from the stored study is refused with
the differences. Ctrl-C lets the running epochs end and records them; a second one stops at once.
A fold that was running goes on after its last checkpoint when the study does; what is finished stays.

Examples:
  foldwise run deploy/studies/demo.toml
  foldwise run deploy/studies/mnist-random.toml --size laptop
  foldwise run study.toml --db study.db --workers 2 --set budget.trials=6 --set train.epochs=10")]
pub struct RunArgs {
    /// The study file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What is laid over it.
    #[command(flatten)]
    pub overlay: OverlayArgs,
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The workers.
    #[command(flatten)]
    pub workers: WorkersArgs,
}

/// `foldwise resume`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  foldwise resume
  foldwise resume mnist-random --db study.db")]
pub struct ResumeArgs {
    /// The study; may be left out where only one has not ended.
    #[arg(value_name = "STUDY")]
    pub study: Option<String>,
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The workers.
    #[command(flatten)]
    pub workers: WorkersArgs,
}

/// Which database a coordinator keeps.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// The database; `run` and `serve` make it if it is not there.
    #[arg(long = "db", value_name = "PATH", env = "FOLDWISE_DB", default_value = DATABASE)]
    pub path: PathBuf,
}

/// The workers that `run` and `resume` start.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// How many worker processes; without it one a GPU, or one a core on a CPU.
    #[arg(long = "workers", value_name = "N", env = "FOLDWISE_WORKERS")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub count: Option<u32>,
    /// What they train on: auto, cpu or cuda:N.
    #[arg(long, value_name = "DEVICE", env = "FOLDWISE_DEVICE", default_value_t = Device::Auto)]
    pub device: Device,
    /// Rehearse on N made-up devices in place of --device, with a worker each; the CPU does their work.
    #[arg(long, value_name = "N", env = "FOLDWISE_FAKE_DEVICES")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub fake_devices: Option<u32>,
    /// Show the progress as plain lines even on a terminal.
    #[arg(long, env = "FOLDWISE_PLAIN", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub plain: bool,
}

/// Where a query looks: into a database, or at a coordinator.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The database to read. [default: ./foldwise.db]
    #[arg(long, value_name = "PATH", env = "FOLDWISE_DB", conflicts_with = "coordinator")]
    pub db: Option<PathBuf>,
    /// The coordinator to ask in place of a database, such as http://head:7654 or https://head:7654.
    #[arg(long, value_name = "URL", env = "FOLDWISE_COORDINATOR")]
    pub coordinator: Option<String>,
    /// What to show it.
    #[command(flatten)]
    pub token: TokenArgs,
    /// What to know it by.
    #[command(flatten)]
    pub tls: TlsArgs,
}

impl SourceArgs {
    /// The database that is meant where no coordinator is.
    pub fn database(&self) -> PathBuf {
        self.db.clone().unwrap_or_else(|| DATABASE.into())
    }
}

/// How the answer is written.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How to write the answer.
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", env = "FOLDWISE_OUTPUT")]
    #[arg(default_value_t = Format::Table)]
    pub format: Format,
}

/// A query: where it looks and how it answers.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Where it looks.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How it answers.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `foldwise study`
#[derive(Debug, Subcommand)]
pub enum StudyCommand {
    /// Record the study of a file, for workers to begin with.
    Create {
        /// The study file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What is laid over it.
        #[command(flatten)]
        overlay: OverlayArgs,
        /// Where and how.
        #[command(flatten)]
        query: QueryArgs,
    },
    /// List the studies.
    List {
        /// Only studies in these states: running, paused, stopping, ended.
        #[arg(long = "state", value_name = "STATE", env = "FOLDWISE_STATE", value_delimiter = ',')]
        states: Vec<StudyState>,
        /// Where and how.
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Show a study: what it is, how far it is, its best trial.
    Show(NamedStudy),
    /// Give out no more folds; what runs finishes.
    Pause(NamedStudy),
    /// Let a paused study go on.
    Unpause(NamedStudy),
    /// End a study: what runs is stopped, its trials are cancelled.
    Stop(NamedStudy),
    /// Allow a study more trials, epochs or time; one that has ended goes on.
    Extend(ExtendArgs),
    /// Remove a study and all that is recorded of it.
    Delete(DeleteArgs),
    /// Write all trials or epochs of a study as CSV or JSON lines.
    Export(ExportArgs),
    /// Show the device time that a study used, wasted and saved.
    Ledger(NamedStudy),
}

/// A study by its name.
#[derive(Debug, Args)]
pub struct NamedStudy {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub name: String,
    /// Where and how.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// `foldwise trial`
#[derive(Debug, Subcommand)]
pub enum TrialCommand {
    /// List the trials of a study.
    #[command(after_long_help = "\
Examples:
  foldwise trial list demo --state complete,pruned
  foldwise trial list demo --sort value --limit 5 -o json")]
    List(TrialListArgs),
    /// Show a trial: its params, its folds, and why it was pruned.
    Show(NamedTrial),
    /// Show why a trial was pruned, or how near it came to that: the numbers, and the trials it was compared with.
    #[command(after_long_help = "\
Everything is computed again from what is recorded, as it stood when the trial was judged.

Examples:
  foldwise trial explain demo 7
  foldwise trial explain demo 7 -o csv               # the trials it was compared with
  foldwise trial explain demo 3 -o json              # every look at it, too")]
    Explain(NamedTrial),
    /// Ask for a trial to evaluate, in a study with an external objective.
    Ask(AskArgs),
    /// Report an intermediate value of a trial, and hear whether to go on.
    Report(ReportArgs),
    /// Tell what came of a trial.
    Tell(TellArgs),
    /// Keep the lease of a trial that has nothing to report yet.
    Renew(AskedTrial),
    /// Add a trial that was evaluated without being asked for.
    Add(AddArgs),
    /// Have params of your own tried next, in a study of any kind.
    Enqueue(EnqueueArgs),
    /// Try the params of a trial that failed, was pruned or cancelled once more, as a new trial.
    #[command(after_long_help = "\
The new trial goes before all that the sampler suggests, counts in budget.trials, and names the one that it tries again
(`trial show`). The study must not have ended; `foldwise study extend` lets one that has go on.

Example:
  foldwise trial retry demo 7")]
    Retry(SteeredTrial),
    /// Cancel one trial that waits or runs; the others go on.
    #[command(after_long_help = "\
What runs of it is stopped at once. The trial is cancelled: it has no value, and the sampler learns nothing from it.

Example:
  foldwise trial stop demo 7")]
    Stop(SteeredTrial),
}

/// A trial of a study.
#[derive(Debug, Args)]
pub struct NamedTrial {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// The trial's number, from 0.
    #[arg(value_name = "NUMBER", value_parser = trial_number)]
    pub number: TrialNumber,
    /// Where and how.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// `foldwise replay`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The recorded epochs are run through each pruner in the order in which they were recorded: whom it would have stopped, and
where. The trials stay those that were recorded; one that was pruned ends where it ended, whatever another pruner would
have let it do.

Examples:
  foldwise replay demo
  foldwise replay demo --pruner median --pruner sequential,alpha=0.1 --pruner hyperband
  foldwise replay demo --pruner median --pruner paired --set warmup_epochs=2
  foldwise replay demo --set startup_trials=8
  foldwise replay demo --pruner '{ kind = \"threshold\", upper = 0.08 }' -o json")]
pub struct ReplayArgs {
    /// The study.
    #[command(flatten)]
    pub study: NamedStudy,
    /// A pruner: KIND, KIND,key=value,... or a TOML table; repeat it for more. Without it the usual ones. In the
    /// variable: one a line.
    #[arg(long = "pruner", value_name = "PRUNER", env = "FOLDWISE_PRUNER", value_delimiter = '\n')]
    pub pruners: Vec<String>,
    /// A setting for each of them that has it; without --pruner, for the study's own. In the variable: one a line.
    #[arg(long = "set", value_name = "KEY=VALUE", env = "FOLDWISE_PRUNER_SET", value_delimiter = '\n')]
    pub sets: Vec<String>,
}

/// `foldwise trial list`
#[derive(Debug, Args)]
pub struct TrialListArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// Only trials in these states: waiting, running, stopping, complete, pruned, failed, cancelled.
    #[arg(long = "state", value_name = "STATE", env = "FOLDWISE_STATE", value_delimiter = ',')]
    pub states: Vec<TrialState>,
    /// By number, value, std, created or finished; a `-` in front turns it round. Trials without one come last.
    #[arg(
        long,
        value_name = "KEY",
        env = "FOLDWISE_SORT",
        default_value = "number",
        allow_hyphen_values = true
    )]
    pub sort: TrialOrder,
    /// At most so many.
    #[arg(long, value_name = "N", env = "FOLDWISE_LIMIT")]
    pub limit: Option<u32>,
    /// Where and how.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// `foldwise best`
#[derive(Debug, Args)]
pub struct BestArgs {
    /// The study.
    #[command(flatten)]
    pub study: NamedStudy,
}

/// `foldwise curve`
#[derive(Debug, Args)]
pub struct CurveArgs {
    /// The study.
    #[command(flatten)]
    pub study: NamedStudy,
    /// Only this trial.
    #[arg(long, value_name = "NUMBER", env = "FOLDWISE_TRIAL", value_parser = trial_number)]
    pub trial: Option<TrialNumber>,
    /// Also the epochs that a newer attempt has replaced.
    #[arg(long, env = "FOLDWISE_ALL_ATTEMPTS", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub all_attempts: bool,
}

/// `foldwise data`
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Bring published data sets into the download cache; those that are there are checked.
    Fetch {
        /// mnist, fashion-mnist; both without a name.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// How to write the answer.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show what a data set holds and a few of its images.
    Show {
        /// mnist, fashion-mnist, synthetic-digits, or a path to IDX files or to a folder of images by class.
        #[arg(value_name = "NAME")]
        name: String,
        /// How to write the answer.
        #[command(flatten)]
        output: OutputArgs,
    },
}

fn trial_number(text: &str) -> Result<TrialNumber, String> {
    text.parse().map(TrialNumber).map_err(|_| "a trial is named by its number, from 0".into())
}

impl Cli {
    /// The command line of this process; on a mistake, or for `--help`, prints and exits.
    pub fn read() -> Self {
        let matches = <Self as clap::CommandFactory>::command().get_matches();
        Self::of(&matches).unwrap_or_else(|error| error.exit())
    }

    fn of(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = <Self as clap::FromArgMatches>::from_arg_matches(matches)?;
        if let Command::Serve(args) = &mut cli.command
            && args.gate.tokens.is_some()
            && let Some(given) = matches.subcommand_matches("serve")
        {
            // They are a caller's, whose token must not become one that opens everything.
            let is_variable = |id| given.value_source(id) == Some(clap::parser::ValueSource::EnvVariable);
            if is_variable("token_file") {
                args.gate.token.token_file = None;
            }
            if is_variable("token") {
                args.gate.token.token = None;
            }
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use foldwise_shared::spec::FitOn;

    use super::*;
    use crate::store::TrialSort;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_flag_beside_tokens_stays() {
        let line = "foldwise serve --tokens tokens --token-file token";
        let matches = Cli::command().try_get_matches_from(line.split_whitespace()).expect("flags");
        let Command::Serve(args) = Cli::of(&matches).expect("flags").command else { panic!("it serves") };
        assert_eq!(args.gate.token.token_file, Some("token".into()));
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_that_kubernetes_does_not_set() {
        // What is measured or told is another thing at every call: no variable that lasts may say it.
        const SAID: [&str; 15] = [
            "epoch",
            "value",
            "fold",
            "last",
            "values",
            "failed",
            "diverged",
            "reported",
            "stopped",
            "trials",
            "epochs",
            "wall_time",
            "force",
            "now",
            "after_folds",
        ];
        fn check(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                let id = arg.get_id();
                if ["help", "version", "hand_back"].contains(&id.as_str()) || SAID.contains(&id.as_str()) {
                    continue;
                }
                let name =
                    arg.get_env().unwrap_or_else(|| panic!("{}: {id} has no variable", command.get_name()));
                let name = name.to_str().expect("UTF-8");
                assert!(name.starts_with("FOLDWISE_"), "{name}");
                assert!(!["_PORT", "_HOST", "_SERVICE"].iter().any(|end| name.ends_with(end)), "{name}");
                assert!(arg.get_help().is_some(), "{}: {id} has no help", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn a_run_with_everything() {
        let line = "foldwise run s.toml --db x.db --workers 3 --device cuda:1 --set a.b=1 --set c={x=1,y=2} --plain -v";
        let cli = parse(line).expect("a command line");
        assert!(cli.verbose);
        let Command::Run(run) = cli.command else { panic!("not a run") };
        assert_eq!((run.file, run.database.path), ("s.toml".into(), "x.db".into()));
        assert_eq!(run.overlay.sets, ["a.b=1", "c={x=1,y=2}"]);
        assert_eq!(
            (run.workers.count, run.workers.device, run.workers.plain),
            (Some(3), Device::Cuda(1), true)
        );
    }

    #[test]
    fn a_size_goes_under_the_settings() {
        let line = "foldwise run s.toml --set budget.trials=3 --size small --set study.seed=1";
        let Command::Run(run) = parse(line).expect("a line").command else { panic!("not a run") };
        assert_eq!(run.overlay.overrides(), ["size=small", "budget.trials=3", "study.seed=1"]);
        let line = "foldwise study create s.toml --size small";
        let Command::Study(StudyCommand::Create { overlay, .. }) = parse(line).expect("a line").command
        else {
            panic!("it creates")
        };
        assert_eq!(overlay.overrides(), ["size=small"]);
    }

    #[test]
    fn a_fit_with_everything() {
        let line = "foldwise fit s --trial 3 --on all --epochs 9 --name f --no-evaluation --out o --set a=1 --workers 1";
        let Command::Fit(fit) = parse(line).expect("a line").command else { panic!("not a fit") };
        assert_eq!((fit.target.as_str(), fit.trial, fit.epochs), ("s", Some(TrialNumber(3)), Some(9)));
        assert_eq!((fit.on, fit.no_evaluation, fit.out), (FitOn::All, true, Some("o".into())));
        assert_eq!((fit.name.as_deref(), fit.workers.count), (Some("f"), Some(1)));
    }

    #[test]
    fn a_rehearsal_takes_made_up_devices() {
        let Command::Run(run) = parse("foldwise run s.toml --fake-devices 3").expect("a line").command else {
            panic!("not a run")
        };
        assert_eq!((run.workers.fake_devices, run.workers.device), (Some(3), Device::Auto));
        assert!(parse("foldwise run s.toml --fake-devices 0").expect_err("none").contains("1..=1024"));
    }

    #[test]
    fn trial_list_takes_several_states_and_a_descending_order() {
        let cli = parse(
            "foldwise trial list s --state complete,pruned --state failed --sort -value --limit 5 -o json",
        );
        let Command::Trial(TrialCommand::List(list)) = cli.expect("a command line").command else {
            panic!("not a list")
        };
        assert_eq!(list.states, [TrialState::Complete, TrialState::Pruned, TrialState::Failed]);
        assert_eq!(list.sort, TrialOrder { key: TrialSort::Value, descending: true });
        assert_eq!(list.sort.to_string(), "-value");
        assert_eq!((list.limit, list.query.output.format), (Some(5), Format::Json));
        assert_eq!(list.query.source.database(), PathBuf::from("./foldwise.db"));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (line, part) in [
            ("foldwise run s.toml --workers 0", "1..=1024"),
            ("foldwise run s.toml --device gpu", "write auto, cpu or cuda:N"),
            ("foldwise run s.toml --device cuda:x", "cuda:0"),
            ("foldwise trial list s --state done", "expected one of waiting, running"),
            ("foldwise trial list s --sort size", "number, value, std, created or finished"),
            ("foldwise trial show s -- -1", "its number, from 0"),
            ("foldwise trial explain s x", "its number, from 0"),
            ("foldwise replay", "<STUDY>"),
            ("foldwise fit", "<STUDY|FILE.toml>"),
            ("foldwise fit s --on part", "expected one of split, all"),
            ("foldwise fit s --trial 1 --params p.toml", "cannot be used with"),
            ("foldwise best s --db a --coordinator http://b", "cannot be used with"),
            ("foldwise serve --listen 7654", "invalid socket address"),
            ("foldwise serve --tls-cert a.pem", "--tls-key"),
            ("foldwise serve --tls-client-ca a.pem", "--tls-cert"),
            ("foldwise certs", "<FOLDER>"),
            ("foldwise serve --lease 0", "use 0.1 to 86400 seconds"),
            ("foldwise serve --lease 30s", "a number of seconds, such as 30"),
            ("foldwise serve --lease nan", "use 0.1 to 86400 seconds"),
            ("foldwise stdy list", "study"),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line}\n  gave: {message}\n  want: {part}");
        }
    }
}
