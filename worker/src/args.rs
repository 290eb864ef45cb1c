//! The command line: flags and variables become one checked struct, and nothing else reads them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use foldwise_proto::convert::{WireError, check_name};
use foldwise_proto::dial::{Address, DialError, Tls, TlsFiles};
use foldwise_shared::model::Network;
use foldwise_worker::agent::{Patience, Target};
use foldwise_worker::device::DeviceChoice;
use foldwise_worker::supervisor::Devices;
use tonic::metadata::AsciiMetadataValue;

use crate::log::LogFormat;

/// Longer is for ever, and no sum with a time overflows.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

const AFTER_HELP: &str = "\
Environment:
  FOLDWISE_TOKEN  The coordinator's token, instead of --token-file
  FOLDWISE_DATA   A folder with mnist/ and fashion-mnist/
  FOLDWISE_CACHE  Where `foldwise data fetch` keeps data, instead of the user's cache folder
  RUST_LOG        What is logged to stderr, such as `debug`; NO_COLOR turns colors off

Signals:
  TERM, INT and HUP drain: running epochs have the time of --grace to end and are reported; how far each fold is, is
  stored with the coordinator; the folds are handed back, and another worker goes on from there. What has not ended by
  then goes back to its last checkpoint. The worker ends within --grace and 3 seconds more for the acknowledgements.
  A second INT (Ctrl-C) ends it at once. TERM and HUP may be repeated, as some schedulers do; one that comes later than
  --grace (3 seconds at least) ends it at once. CONT changes nothing. With --devices only a second INT ends them at
  once, however late the others come, and every worker is told once.

Exit codes:
  0    done: it was drained
  75   try again later: the coordinator did not answer (--give-up-after), the system refused something, or CUDA is there
       but no GPU can be used right now
  78   do not try again: a flag is wrong, or the coordinator refuses this worker (token, version), or it is not safe to
       talk to (certificates)
  130  a second INT, or a TERM after --grace, ended it at once
  With --devices: 0 if every worker was drained, 78 if every one is misconfigured, 130, or 75.";

/// Trains folds for a Foldwise coordinator until it is told to stop.
#[derive(Debug, Parser)]
#[command(name = "foldwise-worker", version, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    /// Something else than to work.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to work.
    #[command(flatten)]
    pub work: WorkArgs,
    /// How the log on standard error is written: text, or json with an object a line.
    #[arg(long, global = true, value_name = "FORMAT", env = "FOLDWISE_LOG_FORMAT", default_value = "text")]
    pub log: LogFormat,
}

/// Something else than to work.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the devices there are to train on.
    Devices(DevicesArgs),
    /// Measure how long an epoch takes on this machine.
    Bench(BenchArgs),
}

/// How to show the devices.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// As a list in JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to measure; the result is a line of JSON.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The device: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "FOLDWISE_DEVICE", default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceChoice,
    /// Threads of one operation on a CPU.
    #[arg(long, env = "FOLDWISE_THREADS", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
    /// The network, under the settings of its published study: lab, or symmetric.
    #[arg(long, env = "FOLDWISE_BENCH_NETWORK", default_value = "lab", value_name = "NETWORK", value_parser = network)]
    pub network: Network,
    /// The data: mnist, fashion-mnist, synthetic-digits, or a path.
    #[arg(long, env = "FOLDWISE_BENCH_DATASET", default_value = "synthetic-digits", value_name = "NAME")]
    pub dataset: String,
    /// Epochs; the fastest counts.
    #[arg(long, env = "FOLDWISE_BENCH_EPOCHS", default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Use the first N images.
    #[arg(long, env = "FOLDWISE_BENCH_IMAGES", default_value_t = 60_000, value_name = "N")]
    pub images: usize,
    /// Images a step.
    #[arg(long, env = "FOLDWISE_BENCH_BATCH_SIZE", default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub batch_size: i64,
}

/// How to work.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// The coordinator, such as https://head-node:7654; http:// may be left out.
    #[arg(long, env = "FOLDWISE_COORDINATOR", value_name = "URL", required = true)]
    coordinator: Option<Address>,
    /// The device to train on: auto (the first GPU, else the CPU), cpu, cuda or cuda:N.
    #[arg(long, env = "FOLDWISE_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
    /// Devices to train on, in place of --device, each with a worker process of its own that is started again when it
    /// dies: all (every GPU), or a list such as cuda:0,cuda:2 or 0,2. --slots and --threads count for each. The worker
    /// on cuda:2 is called NAME/cuda:2.
    #[arg(long, env = "FOLDWISE_DEVICES", value_name = "DEVICES", conflicts_with = "fake_devices")]
    devices: Option<Devices>,
    /// As --devices, with N made-up devices, fake:0 to fake:N-1, for tests and rehearsals: each has a UUID and 8 GiB that
    /// are invented, and trains on the CPU in earnest.
    #[arg(long, env = "FOLDWISE_FAKE_DEVICES", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    fake_devices: Option<u16>,
    /// Folds to train side by side. On a CPU, start more workers instead.
    #[arg(long, env = "FOLDWISE_SLOTS", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(foldwise_proto::MAX_SLOTS)))]
    slots: u32,
    /// Threads of one operation on a CPU; one worker a core with one thread each gets most done.
    #[arg(long, env = "FOLDWISE_THREADS", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// What people call this worker. Default: the host's name and the process id.
    #[arg(long, env = "FOLDWISE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// A file with the coordinator's token. Default: the variable FOLDWISE_TOKEN.
    #[arg(long, env = "FOLDWISE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate of the CA that signed the coordinator's, in PEM; for https://.
    #[arg(long, env = "FOLDWISE_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A certificate of this worker's own, for a coordinator that asks for one (mutual TLS).
    #[arg(long, env = "FOLDWISE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert.
    #[arg(long, env = "FOLDWISE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Send the token to another machine over http://, where everybody on the way can read it.
    #[arg(long, env = "FOLDWISE_INSECURE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure: bool,
    /// Append a line of JSON for everything the coordinator acknowledges; in a folder, to a file of this process.
    #[arg(long, env = "FOLDWISE_ACK_LOG", value_name = "FILE")]
    ack_log: Option<PathBuf>,
    /// Give up when the coordinator does not answer for this long. Default: never.
    #[arg(long, env = "FOLDWISE_GIVE_UP_AFTER", value_name = "SECONDS", value_parser = seconds)]
    give_up_after: Option<Duration>,
    /// How long running epochs have to end when the worker is drained, in seconds; give the scheduler 5 seconds more.
    #[arg(long, env = "FOLDWISE_GRACE", default_value = "20", value_name = "SECONDS", value_parser = seconds)]
    grace: Duration,
    /// End at once at the end of standard input: whoever started this worker is gone.
    #[arg(long, env = "FOLDWISE_EXIT_WITH_STDIN", value_parser = clap::builder::FalseyValueParser::new())]
    exit_with_stdin: bool,
}

/// How to work, checked.
#[derive(Debug)]
pub struct Config {
    /// The coordinator.
    pub target: Target,
    /// The device to train on.
    pub device: DeviceChoice,
    /// Folds side by side.
    pub slots: u32,
    /// Threads of one operation.
    pub threads: u16,
    /// What people call this worker.
    pub name: String,
    /// Where acknowledgements are logged.
    pub ack_log: Option<PathBuf>,
    /// How long running epochs have to end when the worker is drained.
    pub grace: Duration,
    /// Whether to end with standard input.
    pub exit_with_stdin: bool,
}

/// What is wrong with the flags and variables.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No coordinator.
    #[error("no coordinator is given; use --coordinator URL or the variable FOLDWISE_COORDINATOR")]
    NoCoordinator,
    /// A token file that cannot be read.
    #[error("failed to read the token file {}: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token that no request can carry.
    #[error("the token from {from} must be one line of printable ASCII, and not empty")]
    Token {
        /// The file or variable.
        from: String,
    },
    /// A coordinator that cannot be called like this.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A name that nobody could read.
    #[error("--name: {0}")]
    Name(WireError),
}

impl WorkArgs {
    /// Whether another program started this worker and watches it.
    pub fn is_spawned(&self) -> bool {
        self.exit_with_stdin
    }

    /// The devices that get a process each, if several were asked for.
    pub fn several(&self) -> Option<Devices> {
        let fake = || self.fake_devices.map(|count| Devices::fake(usize::from(count)));
        self.devices.clone().or_else(fake)
    }

    /// Checks what clap cannot; `token` is the variable `FOLDWISE_TOKEN`.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn check(self, token: Option<String>) -> Result<Config, ConfigError> {
        let token = match self.token_file {
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(bearer(&text, &path.display().to_string())?),
                Err(source) => return Err(ConfigError::TokenFile { path, source }),
            },
            None => token
                .filter(|token| !token.is_empty())
                .map(|token| bearer(&token, "FOLDWISE_TOKEN"))
                .transpose()?,
        };
        let address = self.coordinator.ok_or(ConfigError::NoCoordinator)?;
        let files = TlsFiles { ca: self.tls_ca, cert: self.tls_cert, key: self.tls_key };
        let tls = Tls::read(&address, token.is_some(), &files, self.insecure)?;
        let name = self.name.filter(|name| !name.is_empty()).unwrap_or_else(default_name);
        check_name("name", &name).map_err(ConfigError::Name)?;
        let patience = Patience { give_up_after: self.give_up_after, ..Patience::default() };
        Ok(Config {
            target: Target { address, token, tls, patience },
            device: self.device,
            slots: self.slots,
            threads: self.threads,
            name,
            ack_log: self.ack_log.filter(|path| !path.as_os_str().is_empty()),
            grace: self.grace.min(LONGEST_GRACE),
            exit_with_stdin: self.exit_with_stdin,
        })
    }
}

fn bearer(text: &str, from: &str) -> Result<AsciiMetadataValue, ConfigError> {
    let wrong = || ConfigError::Token { from: from.to_owned() };
    let text = text.trim();
    if text.is_empty() || !text.chars().all(|letter| letter.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut value: AsciiMetadataValue = format!("Bearer {text}").parse().map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(value)
}

fn default_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}-{}", std::process::id())
}

fn network(text: &str) -> Result<Network, String> {
    match text {
        "lab" => Ok(Network::Lab),
        "symmetric" => Ok(Network::Symmetric),
        _ => Err("there are lab and symmetric".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "write it as a number of seconds, such as 60".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|_| "it must be 0 or more, and not too large".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn work(flags: &[&str]) -> Result<WorkArgs, clap::Error> {
        Cli::try_parse_from(["foldwise-worker"].iter().chain(flags)).map(|cli| cli.work)
    }

    #[test]
    fn clap_is_content() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_of_ours() {
        let command = Cli::command();
        let bench = command.find_subcommand("bench").expect("bench");
        for flag in command.get_arguments().chain(bench.get_arguments()) {
            if ["help", "version"].contains(&flag.get_id().as_str()) {
                continue;
            }
            let variable = flag.get_env().expect("a variable").to_str().expect("text");
            assert!(variable.starts_with("FOLDWISE_"), "{variable}");
            // Kubernetes injects these.
            assert!(!variable.ends_with("_PORT") && !variable.ends_with("_HOST"), "{variable}");
        }
    }

    #[test]
    fn flags_become_a_config() {
        let args = work(&[
            "--coordinator",
            "head:7654",
            "--slots",
            "2",
            "--device",
            "cuda:1",
            "--give-up-after",
            "1.5",
            "--insecure",
        ]);
        let config = args.expect("flags").check(Some("secret".into())).expect("a config");
        assert_eq!(config.target.address.to_string(), "http://head:7654");
        assert_eq!(config.target.token.expect("a token").to_str().expect("text"), "Bearer secret");
        assert_eq!(config.target.patience.give_up_after, Some(Duration::from_millis(1500)));
        assert_eq!((config.slots, config.device, config.threads), (2, DeviceChoice::Cuda(1), 1));
        assert!(config.name.ends_with(&format!("-{}", std::process::id())), "{}", config.name);
        assert!(!config.exit_with_stdin);
        assert_eq!(config.grace, foldwise_worker::agent::GRACE);
        let args = work(&["--coordinator", "head:7654", "--grace", "1e15"]).expect("flags");
        assert_eq!(args.check(None).expect("a config").grace, LONGEST_GRACE);
    }

    #[test]
    fn wrong_flags_are_refused() {
        for flags in [
            ["--coordinator", "grpc://head:7654"],
            ["--coordinator", "head"],
            ["--slots", "0"],
            ["--device", "gpu"],
            ["--give-up-after", "soon"],
            ["--give-up-after", "1e30"],
            ["--grace", "a while"],
            ["--threads", "0"],
            ["--devices", "gpu"],
            ["--devices", "0,0"],
            ["--fake-devices", "0"],
        ] {
            let good = ["--coordinator", "head:7654"];
            let flags: Vec<&str> =
                if flags[0] == good[0] { flags.to_vec() } else { good.into_iter().chain(flags).collect() };
            assert_eq!(
                work(&flags).expect_err("refused").kind(),
                clap::error::ErrorKind::ValueValidation,
                "{flags:?}"
            );
        }
    }

    #[test]
    fn several_devices_are_asked_for() {
        let several =
            |flags: &[&str]| work(&[&["--coordinator", "head:1"], flags].concat()).map(|args| args.several());
        assert_eq!(several(&[]).expect("flags"), None);
        assert_eq!(several(&["--devices", "all"]).expect("flags"), Some(Devices::All));
        assert_eq!(several(&["--fake-devices", "2"]).expect("flags"), Some(Devices::fake(2)));
        let error = several(&["--devices", "all", "--fake-devices", "2"]).expect_err("both");
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
    }

    #[test]
    fn a_coordinator_is_needed_to_work_and_for_nothing_else() {
        // Holds unless the variable is set for the test itself.
        if std::env::var_os("FOLDWISE_COORDINATOR").is_none() {
            let error = work(&[]).expect_err("refused");
            assert_eq!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument);
            assert!(error.to_string().contains("--coordinator"), "{error}");
        }
        let cli = Cli::try_parse_from(["foldwise-worker", "devices", "--json"]).expect("flags");
        assert!(matches!(cli.command, Some(Command::Devices(DevicesArgs { json: true }))));
    }

    #[test]
    fn tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let token = |content: &str| {
            std::fs::write(&path, content).expect("written");
            let file = path.to_str().expect("text");
            let args = work(&["--coordinator", "127.0.0.1:1", "--token-file", file]).expect("flags");
            args.check(Some("other".into())).map(|config| config.target.token)
        };
        let value = token("from-file\n").expect("a config").expect("a token");
        assert_eq!(value.to_str().expect("text"), "Bearer from-file");
        assert!(value.is_sensitive());
        for content in ["", "\n", "two words", "two\nlines", "käse"] {
            assert!(matches!(token(content), Err(ConfigError::Token { .. })), "{content:?}");
        }
        std::fs::remove_file(&path).expect("removed");
        let args = work(&["--coordinator", "127.0.0.1:1", "--token-file", path.to_str().expect("text")])
            .expect("flags");
        assert!(matches!(args.check(None), Err(ConfigError::TokenFile { .. })));
        let args = work(&["--coordinator", "head:1"]).expect("flags");
        assert!(args.check(Some(String::new())).expect("a config").target.token.is_none());
    }

    #[test]
    fn a_coordinator_is_called_safely_or_not_at_all() {
        let check = |flags: &[&str], token: Option<&str>| {
            let args = work(flags).expect("flags");
            args.check(token.map(str::to_owned)).map(|config| config.target.tls.is_some())
        };
        for (flags, token, words) in [
            (&["--coordinator", "http://head:1"][..], Some("secret"), "--insecure"),
            (&["--coordinator", "https://head:1"], Some("secret"), "needs --tls-ca FILE"),
            (
                &["--coordinator", "https://head:1", "--tls-ca", "/nowhere.pem"],
                None,
                "/nowhere.pem cannot be read",
            ),
            (&["--coordinator", "head:1", "--name", "a\nb"], None, "control character"),
        ] {
            let error = check(flags, token).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(matches!(check(&["--coordinator", "http://head:1"], None), Ok(false)));
        assert!(matches!(check(&["--coordinator", "http://localhost:1"], Some("secret")), Ok(false)));
    }
}
