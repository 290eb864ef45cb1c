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
use foldwise_worker::agent::{AckLog, Agent, AgentError, DRAIN, Identity, SessionError, Shutdown};
use foldwise_worker::bench::{BenchSettings, bench};
use foldwise_worker::device::{self, DeviceError, DeviceInfo};
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
    report(result).into()
}

/// Says what went wrong, if anything did, and gives the exit code.
fn report(result: Result<(), Failure>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(Failure { code, message }) => {
            log::fail(&message);
            code
        }
    }
}

fn work(config: Config) -> Result<(), Failure> {
    if config.exit_with_stdin {
        std::thread::spawn(end_with_stdin);
    }
    // The training threads do the work; this one only talks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(TRY_AGAIN, error))?;
    // CUDA takes seconds to start, and a signal in that time is to drain as well.
    let (shutdown, asked) = watch::channel(Shutdown::No);
    let listening = {
        let _context = runtime.enter();
        listen_for_signals(shutdown, config.grace)
    };
    let choice = config.device;
    let choosing = runtime.spawn_blocking(move || choice.choose());
    let mut in_haste = asked.clone();
    let chosen = runtime.block_on(async {
        tokio::spawn(listening);
        tokio::select! {
            chosen = choosing => Some(chosen),
            Ok(_) = in_haste.wait_for(|asked| *asked == Shutdown::Now) => None,
        }
    });
    let Some(chosen) = chosen else {
        end_at_once(report(Err(Failure::new(INTERRUPTED, AgentError::Interrupted))));
    };
    let device = chosen.map_err(|error| Failure::new(TRY_AGAIN, error))?.map_err(no_device)?;
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
    let agent = Agent::new(config.target, identity, objective.clone(), ack_log)
        .with_device_use(device.follow_use())
        .with_grace(config.grace);

    let ended = runtime.block_on(agent.run(asked));
    // It may hold a name look-up that nobody waits for.
    runtime.shutdown_background();
    let ended = ended.map_err(|error| match &error {
        AgentError::Session(SessionError::Refused { .. } | SessionError::Untrusted { .. }) => {
            Failure::new(WRONG_CONFIG, error)
        }
        AgentError::Session(SessionError::GaveUp { .. }) | AgentError::AckLog(_) => {
            Failure::new(TRY_AGAIN, error)
        }
        AgentError::Interrupted => Failure::new(INTERRUPTED, error),
    });
    // The agent is gone, so whoever else holds it is a thread that still trains.
    if Arc::strong_count(&objective) > 1 {
        end_at_once(report(ended));
    }
    ended
}

/// Ends the process without the clean-up at an exit: libtorch does not like it while threads use it.
#[expect(unsafe_code, reason = "the standard library has no exit without clean-up that gives a code")]
fn end_at_once(code: u8) -> ! {
    // SAFETY: this is POSIX's `_exit`, which takes any number and touches no memory of ours.
    unsafe extern "C" {
        safe fn _exit(code: std::ffi::c_int) -> !;
    }
    _exit(code.into())
}

/// A worker process for each device, until all have ended.
fn supervise(config: Config, devices: &Devices, variables: Vec<(OsString, OsString)>) -> Result<(), Failure> {
    if config.exit_with_stdin {
        std::thread::spawn(end_with_stdin);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(TRY_AGAIN, error))?;
    let (shutdown, asked) = watch::channel(Shutdown::No);
    let listening = {
        let _context = runtime.enter();
        supervisor::listen_for_signals(shutdown)
    };
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
    let ends = runtime.block_on(async {
        tokio::spawn(listening);
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
/// schedulers send TERM two or three times for one drain. They are caught from the call on, which must be within a runtime;
/// what is returned passes them on.
fn listen_for_signals(
    shutdown: watch::Sender<Shutdown>,
    grace: Duration,
) -> impl Future<Output = ()> + Send + 'static {
    // Without any grace a drain still waits for its acknowledgements.
    let patience = grace.max(DRAIN);
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let caught = kinds.map(signal);
    async move {
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = caught else {
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
                Some(since) if by_hand || since.elapsed() >= patience => {
                    let _ = shutdown.send(Shutdown::Now);
                    break;
                }
                Some(_) => tracing::info!("it is draining already"),
            }
        }
        // A sender that is gone says nothing more; this one must stay.
        shutdown.closed().await;
    }
}

/// A GPU that cannot be used just now may be usable later; one that can never be there is a wrong flag.
fn no_device(error: DeviceError) -> Failure {
    let code = if matches!(error, DeviceError::Unusable { .. }) { TRY_AGAIN } else { WRONG_CONFIG };
    Failure::new(code, error)
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
    let device = args.device.resolve().map_err(no_device)?;
    device::set_threads(args.threads);
    let dataset = Dataset::open(&args.dataset, &Locations::from_env());
    let dataset = dataset.map_err(|error| Failure::new(WRONG_CONFIG, error))?;
    let images = DeviceImages::training(Arc::new(dataset), device);
    let images = images.map_err(|error| Failure::new(TRY_AGAIN, error))?;
    let BenchArgs { network, epochs, images: count, batch_size, .. } = *args;
    let settings = BenchSettings { network, epochs, images: count, batch_size };
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
