//! The binary `foldwise-worker`: reads the flags, starts the agent, and turns what comes of it into an exit code.

mod args;
mod log;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use foldwise_data::{Dataset, Locations};
use foldwise_worker::agent::{AckLog, Agent, AgentError, Identity, SessionError, Shutdown};
use foldwise_worker::bench::{BenchSettings, bench};
use foldwise_worker::device::{self, DeviceInfo};
use foldwise_worker::images::DeviceImages;
use foldwise_worker::objective::FoldObjective;
use tch::Device;
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { WRONG_CONFIG.into() } else { ExitCode::SUCCESS };
        }
    };
    log::start(if cli.work.is_spawned() { "warn" } else { "info" }, cli.log);
    let result = match cli.command {
        Some(Command::Devices(args)) => show_devices(&args),
        Some(Command::Bench(args)) => run_bench(&args),
        None => cli
            .work
            .check(std::env::var("FOLDWISE_TOKEN").ok())
            .map_err(|error| Failure::new(WRONG_CONFIG, error))
            .and_then(work),
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
    let device = config.device.resolve().map_err(|error| Failure::new(WRONG_CONFIG, error))?;
    device::set_threads(config.threads);
    let ack_log = config.ack_log.map(|path| AckLog::open(&path, &config.name)).transpose();
    let ack_log = ack_log.map_err(|error| Failure::new(WRONG_CONFIG, format!("failed to open {error}")))?;
    let identity = Identity {
        name: config.name,
        incarnation: uuid::Uuid::new_v4().to_string(),
        device: device_name(device),
        slots: config.slots,
    };
    let objective = Arc::new(FoldObjective::new(device, Locations::from_env()));
    let agent = Agent::new(config.target, identity, objective, ack_log);

    // The training threads do the work; this one only talks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(TRY_AGAIN, error))?;
    let ended = runtime.block_on(async {
        let (shutdown, asked) = watch::channel(Shutdown::No);
        tokio::spawn(listen_for_signals(shutdown));
        agent.run(asked).await
    });
    // It may hold a name look-up that nobody waits for.
    runtime.shutdown_background();
    ended.map_err(|error| match &error {
        AgentError::Session(SessionError::Refused { .. }) => Failure::new(WRONG_CONFIG, error),
        AgentError::Session(SessionError::GaveUp { .. }) | AgentError::AckLog(_) => {
            Failure::new(TRY_AGAIN, error)
        }
        AgentError::Interrupted => Failure::new(INTERRUPTED, error),
    })
}

/// The first signal drains, the second ends.
async fn listen_for_signals(shutdown: watch::Sender<Shutdown>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        tracing::warn!("signals cannot be caught here; they end this worker at once");
        return;
    };
    for asked in [Shutdown::Drain, Shutdown::Now] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        let _ = shutdown.send(asked);
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

/// The name of a device for the coordinator: a GPU's own one besides its index, since every job on a node sees index 0.
fn device_name(device: Device) -> String {
    let Device::Cuda(index) = device else { return "cpu".to_owned() };
    let known = device::devices().into_iter().find(|info| info.kind == "cuda" && info.index == index);
    match known.and_then(|info| info.uuid) {
        Some(uuid) => format!("cuda:{index} {uuid}"),
        None => format!("cuda:{index}"),
    }
}

fn show_devices(args: &DevicesArgs) -> Result<(), Failure> {
    let devices = device::devices();
    let text = if args.json {
        serde_json::to_string_pretty(&devices).map_err(|error| Failure::new(TRY_AGAIN, error))?
    } else {
        devices.iter().map(device_line).collect::<Vec<_>>().join("\n")
    };
    print(&text)
}

fn device_line(info: &DeviceInfo) -> String {
    let device = if info.kind == "cuda" { format!("cuda:{}", info.index) } else { info.kind.to_owned() };
    let memory = info.memory.map(|bytes| format!(", {:.1} GiB", bytes as f64 / f64::from(1u32 << 30)));
    let uuid = info.uuid.as_ref().map(|uuid| format!(", {uuid}"));
    format!("{device}  {}{}{}", info.name, memory.unwrap_or_default(), uuid.unwrap_or_default())
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
