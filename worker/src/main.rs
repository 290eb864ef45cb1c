//! The binary `foldwise-worker`: reads the flags, starts the agent, and turns what comes of it into an exit code.

mod args;
mod log;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{CommandFactory, FromArgMatches};
use foldwise_data::{Dataset, Locations};
use foldwise_worker::agent::{AckLog, Agent, AgentError, Identity, SessionError, Shutdown};
use foldwise_worker::bench::{BenchSettings, bench};
use foldwise_worker::device::{self, DeviceInfo};
use foldwise_worker::images::DeviceImages;
use foldwise_worker::objective::FoldObjective;
use foldwise_worker::supervisor::{self, Devices, End};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::args::{BenchArgs, Cli, Command, Config, DevicesArgs};

/// Try again later (EX_TEMPFAIL).
const TRY_AGAIN: u8 = 75;
/// Do not try again: the configuration is wrong (EX_CONFIG).
const WRONG_CONFIG: u8 = 78;
/// What a shell says of a program that ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Why the worker ends, and what its exit code should tell.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, error: impl std::fmt::Display) -> Self {
        Self { code, message: error.to_string() }
    }
}

fn main() -> ExitCode {
    let command = Cli::command();
    let parsed = command.clone().try_get_matches();
    let (cli, matches) = match parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { WRONG_CONFIG.into() } else { ExitCode::SUCCESS };
        }
    };
    log::start(if cli.work.is_spawned() { "warn" } else { "info" }, cli.log);
    let result = match cli.command {
        Some(Command::Devices(args)) => show_devices(&args),
        Some(Command::Bench(args)) => run_bench(&args),
        None => {
            let several = cli.work.several();
            let config = cli.work.check(std::env::var("FOLDWISE_TOKEN").ok());
            config.map_err(|error| Failure::new(WRONG_CONFIG, error)).and_then(|config| match several {
                Some(devices) => supervise(config, &devices, supervisor::variables(&command, &matches)),
                None => work(config),
            })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            log::fail(&message);
            code.into()
        }
    }
}

fn work(config: Config) -> Result<(), Failure> {
    if config.exit_with_stdin {
        std::thread::spawn(end_with_stdin);
    }
    let device = config.device.choose().map_err(|error| Failure::new(WRONG_CONFIG, error))?;
    device::set_threads(config.threads);
    let ack_log = config.ack_log.map(|path| AckLog::open(&path, &config.name)).transpose();
    let ack_log = ack_log.map_err(|error| Failure::new(WRONG_CONFIG, format!("failed to open {error}")))?;
    let identity = Identity {
        name: config.name,
        incarnation: uuid::Uuid::new_v4().to_string(),
        device: device.name.clone(),
        slots: config.slots,
    };
    let objective = Arc::new(FoldObjective::new(device.device, Locations::from_env()));
    let agent = Agent::new(config.target, identity, objective, ack_log)
        .with_device_use(device.follow_use())
        .with_grace(config.grace);

    // The training threads do the work; this one only talks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(TRY_AGAIN, error))?;
    let ended = runtime.block_on(async {
        let (shutdown, asked) = watch::channel(Shutdown::No);
        tokio::spawn(listen_for_signals(shutdown, config.grace));
        agent.run(asked).await
    });
    // It may hold a name look-up that nobody waits for.
    runtime.shutdown_background();
    ended.map_err(|error| match &error {
        AgentError::Session(SessionError::Refused { .. } | SessionError::Untrusted { .. }) => {
            Failure::new(WRONG_CONFIG, error)
        }
        AgentError::Session(SessionError::GaveUp { .. }) | AgentError::AckLog(_) => {
            Failure::new(TRY_AGAIN, error)
        }
        AgentError::Interrupted => Failure::new(INTERRUPTED, error),
    })
}

/// A worker process for each device, until all have ended.
fn supervise(config: Config, devices: &Devices, variables: Vec<(OsString, OsString)>) -> Result<(), Failure> {
    if config.exit_with_stdin {
        std::thread::spawn(end_with_stdin);
    }
    let placements = devices.place(device::visible_gpus);
    let placements = placements.map_err(|error| Failure::new(WRONG_CONFIG, error))?;
    let order = supervisor::Order {
        program: std::env::current_exe().map_err(|error| Failure::new(TRY_AGAIN, error))?,
        words: Vec::new(),
        variables,
        name: config.name,
        gives_up: config.target.patience.give_up_after.is_some(),
        pace: supervisor::Pace::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ends = runtime.map_err(|error| Failure::new(TRY_AGAIN, error))?.block_on(async {
        let (shutdown, asked) = watch::channel(Shutdown::No);
        tokio::spawn(supervisor::listen_for_signals(shutdown));
        supervisor::supervise(order, placements, asked).await
    });
    match supervisor::together(&ends) {
        End::Drained => Ok(()),
        End::Misconfigured => Err(Failure::new(WRONG_CONFIG, "no worker can work as it is configured")),
        End::Failed => Err(Failure::new(TRY_AGAIN, "not every worker was drained")),
        End::Interrupted => Err(Failure::new(INTERRUPTED, "interrupted")),
    }
}

/// The first signal drains. Another one ends at once if a person pressed Ctrl-C, or if it comes after the grace time:
/// schedulers send TERM two or three times for one drain.
async fn listen_for_signals(shutdown: watch::Sender<Shutdown>, grace: Duration) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        tracing::warn!("signals cannot be caught here; they end this worker at once");
        return;
    };
    let mut drained: Option<Instant> = None;
    loop {
        let by_hand = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => true,
            _ = hangup.recv() => false,
        };
        match drained {
            None => {
                drained = Some(Instant::now());
                let _ = shutdown.send(Shutdown::Drain);
            }
            Some(since) if by_hand || since.elapsed() >= grace => {
                let _ = shutdown.send(Shutdown::Now);
                break;
            }
            Some(_) => tracing::info!("it is draining already"),
        }
    }
    // A sender that is gone says nothing more; this one must stay.
    shutdown.closed().await;
}

/// Waits for the end of standard input and ends the process, without the clean-up at an exit: libtorch does not like
/// it while threads train, and nobody is there to read an exit code.
fn end_with_stdin() {
    let mut buffer = [0; 256];
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

fn show_devices(args: &DevicesArgs) -> Result<(), Failure> {
    let devices = device::devices();
    let text = if args.json {
        serde_json::to_string_pretty(&devices).map_err(|error| Failure::new(TRY_AGAIN, error))?
    } else {
        devices.iter().map(DeviceInfo::line).collect::<Vec<_>>().join("\n")
    };
    print(&text)
}

fn run_bench(args: &BenchArgs) -> Result<(), Failure> {
    let device = args.device.resolve().map_err(|error| Failure::new(WRONG_CONFIG, error))?;
    device::set_threads(args.threads);
    let dataset = Dataset::open(&args.dataset, &Locations::from_env());
    let dataset = dataset.map_err(|error| Failure::new(WRONG_CONFIG, error))?;
    let images = DeviceImages::training(Arc::new(dataset), device);
    let images = images.map_err(|error| Failure::new(TRY_AGAIN, error))?;
    let settings = BenchSettings { epochs: args.epochs, images: args.images, batch_size: args.batch_size };
    let result = bench(&images, settings).map_err(|error| Failure::new(TRY_AGAIN, error))?;
    print(&serde_json::to_string(&result).map_err(|error| Failure::new(TRY_AGAIN, error))?)
}

/// To stdout; a reader that has seen enough is no error.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(TRY_AGAIN, error)),
        _ => Ok(()),
    }
}
