//! One device's worker process: started, listened to, told to end, and started again when it dies.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::{Order, Placement};
use crate::agent::Shutdown;

/// The worker's exit code for: the coordinator did not answer, or the system refused something.
const TRY_AGAIN: i32 = 75;
/// The worker's exit code for a setting that cannot work.
const WRONG_CONFIG: i32 = 78;
/// How long the last lines of a child that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a device's worker ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was drained.
    Drained,
    /// Its configuration is wrong, or the coordinator refuses it.
    Misconfigured,
    /// It died and is not started again.
    Failed,
    /// It was told to end at once.
    Interrupted,
}

/// Keeps a worker on the device until it ends for good.
pub(super) async fn keep(
    order: &Order,
    placement: &Placement,
    mut shutdown: watch::Receiver<Shutdown>,
) -> End {
    let label = &placement.label;
    // Quick ones in a row.
    let mut deaths = 0;
    let mut has_died = false;
    loop {
        match asked(&shutdown) {
            Shutdown::No => {}
            // What died and was to come back was not drained.
            Shutdown::Drain => return if has_died { End::Failed } else { End::Drained },
            Shutdown::Now => return End::Interrupted,
        }
        let started = Instant::now();
        let (happened, lived) = match start(order, placement) {
            Ok(child) => {
                let Ended { status, last } = watch_over(child, order, placement, &mut shutdown).await;
                let code = status.as_ref().ok().and_then(ExitStatus::code);
                match code {
                    Some(0) => {
                        info!("{label}: drained");
                        return End::Drained;
                    }
                    _ if asked(&shutdown) == Shutdown::Now => return End::Interrupted,
                    Some(WRONG_CONFIG) => {
                        error!("{label}: its worker is not started again: {last}");
                        return End::Misconfigured;
                    }
                    Some(TRY_AGAIN) if order.gives_up => {
                        error!("{label}: its worker has given up: {last}");
                        return End::Failed;
                    }
                    _ => {}
                }
                let how = how(status, &last);
                if asked(&shutdown) == Shutdown::Drain {
                    warn!("{label}: its worker ended {how} instead of being drained");
                    return End::Failed;
                }
                (format!("ended {how}"), started.elapsed() >= order.pace.healthy)
            }
            // Too many processes, or a program that is being replaced: that may pass.
            Err(reason) => (format!("could not be started ({}: {reason})", order.program.display()), false),
        };
        has_died = true;
        deaths = if lived { 0 } else { deaths + 1 };
        if deaths >= order.pace.deaths {
            error!(
                "{label}: its worker {happened}, {deaths} times in a row within {:?} of its start; nothing trains on \
                 this device any more",
                order.pace.healthy
            );
            return End::Failed;
        }
        let pause = order
            .pace
            .first
            .saturating_mul(1 << u32::saturating_sub(deaths, 1).min(16))
            .min(order.pace.longest);
        warn!("{label}: its worker {happened}; it is started again in {:.1} s", pause.as_secs_f64());
        tokio::select! {
            () = sleep(pause) => {}
            // A sender that is gone asks for no more.
            _ = shutdown.wait_for(|asked| *asked != Shutdown::No) => {}
        }
    }
}

fn asked(shutdown: &watch::Receiver<Shutdown>) -> Shutdown {
    *shutdown.borrow()
}

fn how(status: std::io::Result<ExitStatus>, last: &str) -> String {
    let how = match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("by signal {signal}"),
            (None, Some(code)) => format!("with code {code}"),
            (None, None) => format!("with {status}"),
        },
        Err(error) => format!("unobserved ({error})"),
    };
    if last.is_empty() { how } else { format!("{how} (`{last}`)") }
}

struct Ended {
    status: std::io::Result<ExitStatus>,
    /// The last line it wrote.
    last: String,
}

fn start(order: &Order, placement: &Placement) -> std::io::Result<Child> {
    let mut command = Command::new(&order.program);
    command
        .args(&order.words)
        .arg("--device")
        .arg(placement.device.to_string())
        .arg("--name")
        .arg(format!("{}/{}", order.name, placement.label))
        .arg("--exit-with-stdin")
        .envs(order.variables.iter().map(|(name, value)| (name, value)))
        // A child is no supervisor.
        .env_remove("FOLDWISE_DEVICES")
        .env_remove("FOLDWISE_FAKE_DEVICES")
        .env_remove("FOLDWISE_DEVICE")
        .env_remove("FOLDWISE_NAME")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(visible) = &placement.visible {
        command.env("CUDA_VISIBLE_DEVICES", visible);
    }
    // A worker that another program watches says less.
    if std::env::var_os("RUST_LOG").is_none_or(|filter| filter.is_empty()) {
        command.env("RUST_LOG", "info");
    }
    command.spawn()
}

async fn watch_over(
    mut child: Child,
    order: &Order,
    placement: &Placement,
    shutdown: &mut watch::Receiver<Shutdown>,
) -> Ended {
    let Placement { label, about, .. } = placement;
    let id = child.id();
    let about = if about.is_empty() { String::new() } else { format!(" ({about})") };
    info!("{label}{about}: process {} is its worker", id.unwrap_or_default());
    // Taken, because to wait for a child closes its pipe, and this one says that we live.
    let _pipe = child.stdin.take();
    let mut lines = child.stderr.take().map(|stderr| BufReader::new(stderr).split(b'\n'));
    let mut last = String::new();
    // It may be asked before it starts, and every order is passed on once.
    let mut told = Shutdown::No;
    let mut kill_at = None;
    let status = loop {
        tokio::select! {
            line = next_line(&mut lines) => match line {
                Some(line) => say(label, line, &mut last),
                None => lines = None,
            },
            status = child.wait() => break status,
            Ok(wanted) = changed(shutdown, told) => {
                told = wanted;
                let signal = if wanted == Shutdown::Drain { Signal::TERM } else { Signal::INT };
                send(id, signal);
                if wanted == Shutdown::Now {
                    kill_at = Some(Instant::now() + order.pace.grace);
                }
            }
            () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                kill_at = None;
                // It may have ended just now.
                let _ = child.start_kill();
            }
        }
    };
    let rest = async {
        while lines.is_some() {
            let Some(line) = next_line(&mut lines).await else { break };
            say(label, line, &mut last);
        }
    };
    let _ = timeout(LAST_WORDS, rest).await;
    Ended { status, last }
}

/// What is asked beyond what was told already; an error once nobody can ask any more.
async fn changed(
    shutdown: &mut watch::Receiver<Shutdown>,
    told: Shutdown,
) -> Result<Shutdown, watch::error::RecvError> {
    shutdown.wait_for(|asked| *asked > told).await.map(|asked| *asked)
}

fn send(id: Option<u32>, signal: Signal) {
    // A child that has been waited for has no id; the system gives it to no other before.
    if let Some(id) = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

async fn next_line(lines: &mut Option<tokio::io::Split<BufReader<ChildStderr>>>) -> Option<Vec<u8>> {
    match lines {
        Some(lines) => lines.next_segment().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Passes a line on, with the device in front.
fn say(label: &str, line: Vec<u8>, last: &mut String) {
    let line = String::from_utf8_lossy(&line).into_owned();
    let _ = writeln!(std::io::stderr(), "{}", labelled(label, &line));
    if !line.trim().is_empty() {
        *last = line;
    }
}

/// A line of JSON stays one.
fn labelled(label: &str, line: &str) -> String {
    match line.strip_prefix("{\"") {
        Some(rest) => format!("{{\"device\":\"{label}\",\"{rest}"),
        None => format!("{label}: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_device() {
        assert_eq!(labelled("cuda:2", "INFO connected"), "cuda:2: INFO connected");
        let json = labelled("cuda:2", r#"{"level":"INFO"}"#);
        assert_eq!(json, r#"{"device":"cuda:2","level":"INFO"}"#);
        assert_eq!(labelled("cpu", "{}"), "cpu: {}");
    }
}
