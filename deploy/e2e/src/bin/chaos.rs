//! `chaos`: real processes, real faults at random moments, and the record held against what every worker was told.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use foldwise_e2e::Scene;
use foldwise_e2e::chaos::{Settings, into_page, run};
use tokio::signal::unix::{SignalKind, signal};

const AFTER_HELP: &str = "\
`foldwise` and `foldwise-worker` are looked for beside this program. FOLDWISE_DATA leads to MNIST; without it digits are
drawn. Run by an administrator it also takes down a worker's link and fills a small disk; what cannot be done is said in
the report.

The report goes to standard output, the progress to standard error. A seed gives the same faults in the same order; when
they hit what depends on the machine.

Exit codes:
  0    every check holds
  1    something is wrong; the folder with the database and all logs is kept and named
  2    a flag is wrong";

/// Disturb a coordinator and its workers in every way there is, and check that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, after_help = AFTER_HELP)]
struct Args {
    /// How long faults are done, at least; then what is left of the studies ends.
    #[arg(long, env = "FOLDWISE_CHAOS_SECONDS", default_value_t = 900, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: u64,
    /// Worker processes.
    #[arg(long, env = "FOLDWISE_CHAOS_WORKERS", default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// The seed of the faults. Default: the time.
    #[arg(long, env = "FOLDWISE_CHAOS_SEED", value_name = "N")]
    seed: Option<u64>,
    /// The coordinator is killed or closed this often, by turns, and started again.
    #[arg(long, env = "FOLDWISE_CHAOS_RESTART_EVERY", default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    restart_every: Duration,
    /// The mean time between two other faults.
    #[arg(long, env = "FOLDWISE_CHAOS_PAUSE", default_value = "2.5", value_name = "SECONDS", value_parser = seconds)]
    pause: Duration,
    /// The lease time.
    #[arg(long, env = "FOLDWISE_CHAOS_LEASE", default_value = "4", value_name = "SECONDS", value_parser = seconds)]
    lease: Duration,
    /// Images in use: sets how long an epoch takes.
    #[arg(long, env = "FOLDWISE_CHAOS_LIMIT", default_value_t = 600, value_name = "N", value_parser = clap::value_parser!(u64).range(30..=60_000))]
    limit: u64,
    /// Epochs of a fold.
    #[arg(long, env = "FOLDWISE_CHAOS_EPOCHS", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    epochs: u32,
    /// Trials of each study.
    #[arg(long, env = "FOLDWISE_CHAOS_TRIALS", default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: u32,
    /// Megabytes of the disk under the database.
    #[arg(long, env = "FOLDWISE_CHAOS_DISK", default_value_t = 192, value_name = "MEGABYTES", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    disk: u32,
    /// For how long nothing may be recorded when every fault is over.
    #[arg(long, env = "FOLDWISE_CHAOS_PATIENCE", default_value = "180", value_name = "SECONDS", value_parser = seconds)]
    patience: Duration,
    /// Also write the report there: between its two marks, if the file has them.
    #[arg(long, env = "FOLDWISE_CHAOS_REPORT", value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the folder with the logs even if nothing is wrong.
    #[arg(long, env = "FOLDWISE_CHAOS_KEEP", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    keep: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "write it as a number of seconds, such as 60".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if time >= Duration::from_millis(100) => Ok(time),
        _ => Err("use at least 0.1 seconds".to_owned()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match chaos(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chaos(args: Args) -> anyhow::Result<ExitCode> {
    let by_time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let settings = Settings {
        time: Duration::from_secs(args.seconds),
        workers: args.workers.into(),
        seed: args.seed.unwrap_or_else(by_time),
        restart_every: args.restart_every,
        lease: args.lease,
        pause: args.pause,
        limit: args.limit,
        epochs: args.epochs,
        trials: args.trials,
        disk: args.disk,
        patience: args.patience,
    };
    let scene = Scene::new();
    eprintln!("seed {}, folder {}", settings.seed, scene.path("").display());
    let report = match run(&settings, &scene, &on_interrupt()?) {
        Ok(report) => report,
        Err(error) => return Err(error.context(format!("the logs are in {}", scene.keep().display()))),
    };
    let page = report.markdown();
    print(&page)?;
    if let Some(path) = &args.report {
        let before = std::fs::read_to_string(path).unwrap_or_default();
        std::fs::write(path, into_page(&before, &page)).with_context(|| path.display().to_string())?;
    }
    if args.keep || !report.is_good() {
        eprintln!("the logs and the database are in {}", scene.keep().display());
    }
    for violation in &report.findings.violations {
        eprintln!("violation: {violation}");
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Becomes true at the first SIGINT or SIGTERM: faults end then, and everything that was mounted goes.
fn on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
            let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            told.store(true, Ordering::Relaxed);
        });
    });
    Ok(interrupted)
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("failed to write to standard output")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_a_variable_of_ours() {
        let command = Args::command();
        command.clone().debug_assert();
        for flag in
            command.get_arguments().filter(|flag| !["help", "version"].contains(&flag.get_id().as_str()))
        {
            let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(variable.starts_with("FOLDWISE_CHAOS_"), "{flag:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2_500)));
        for wrong in ["", "x", "-1", "0", "1e99", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
