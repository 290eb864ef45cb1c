//! The worker processes of one run.
//!
//! Each holds a pipe from us and ends at its end of file, so that a coordinator that is killed leaves no worker
//! behind; each is in a process group of its own, so that a Ctrl-C is ours to handle.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::program::Program;

/// How long a worker may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(3);
/// How long the last lines of a worker that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A worker that lived this long was no failure to start.
const HEALTHY: Duration = Duration::from_secs(60);
/// How often in a row a worker is started again without having lived long.
const RESTARTS: u32 = 5;
/// The worker's exit code for a setting that cannot work.
const CONFIGURATION: i32 = 78;

/// What happens to the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A worker wrote a line.
    Line {
        /// Which.
        worker: String,
        /// What.
        line: String,
    },
    /// A worker's process ended; what it held is free.
    Died {
        /// Which.
        worker: String,
        /// How.
        how: String,
    },
    /// A worker cannot be kept running.
    GaveUp {
        /// Which.
        worker: String,
        /// Why.
        why: String,
    },
}

/// The running workers. Dropping it kills them.
pub struct Crew {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    happenings: mpsc::UnboundedReceiver<Happening>,
}

/// What every worker of a crew is started with.
#[derive(Debug, Clone)]
struct Order {
    program: Program,
    url: String,
    token: String,
}

impl Crew {
    /// Starts one worker a device: w0, w1, ...
    pub fn start(program: &Program, url: &str, token: &str, devices: &[String]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (sender, happenings) = mpsc::unbounded_channel();
        let order = Order { program: program.clone(), url: url.to_owned(), token: token.to_owned() };
        let mut tasks = JoinSet::new();
        for (index, device) in devices.iter().enumerate() {
            let name = format!("w{index}");
            tasks.spawn(keep_running(order.clone(), name, device.clone(), sender.clone(), stopped.clone()));
        }
        Self { tasks, stop, happenings }
    }

    /// What happens next to one of them; none when all are gone for good.
    pub async fn next(&mut self) -> Option<Happening> {
        self.happenings.recv().await
    }

    /// Ends them all: closes their pipes, waits a little, then kills.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn keep_running(
    order: Order,
    name: String,
    device: String,
    happenings: mpsc::UnboundedSender<Happening>,
    mut stop: watch::Receiver<bool>,
) {
    let mut failures = 0;
    // If nobody listens to the happenings any more, there is nobody to tell.
    let tell = |happening| drop(happenings.send(happening));
    loop {
        let started = Instant::now();
        let mut child = match spawn(&order, &name, &device) {
            Ok(child) => child,
            Err(error) => {
                let why = format!("failed to start {}: {error}", order.program.path().display());
                return tell(Happening::GaveUp { worker: name, why });
            }
        };
        let pipe = child.stdin.take();
        let mut lines = child.stderr.take().map(|stderr| BufReader::new(stderr).split(b'\n'));
        let mut last = String::new();
        let mut say = |line: String| {
            last.clone_from(&line);
            tell(Happening::Line { worker: name.clone(), line });
        };
        let status = loop {
            tokio::select! {
                line = next_line(&mut lines) => match line {
                    Some(line) => say(line),
                    None => lines = None,
                },
                status = child.wait() => {
                    // Its last words say why.
                    let rest = async {
                        while let Some(line) = if lines.is_some() { next_line(&mut lines).await } else { None } {
                            say(line);
                        }
                    };
                    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
                    break status;
                }
                () = told(&mut stop) => {
                    drop(pipe);
                    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                        // It may have ended just now.
                        drop(child.kill().await);
                    }
                    return;
                }
            }
        };
        let how = status.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        tell(Happening::Died { worker: name.clone(), how: how.clone() });
        failures = if started.elapsed() > HEALTHY { 1 } else { failures + 1 };
        let hopeless = status.is_ok_and(|status: ExitStatus| status.code() == Some(CONFIGURATION));
        if hopeless || failures > RESTARTS {
            let why = if last.is_empty() { how } else { format!("{how}: {last}") };
            return tell(Happening::GaveUp { worker: name, why });
        }
        tokio::time::sleep(Duration::from_millis(200 << failures.min(5))).await;
    }
}

/// Waits until the crew is told to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    // A crew that is gone wants an end as well.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn next_line(
    lines: &mut Option<tokio::io::Split<BufReader<tokio::process::ChildStderr>>>,
) -> Option<String> {
    match lines {
        Some(lines) => {
            let line = lines.next_segment().await.ok().flatten()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        }
        None => std::future::pending().await,
    }
}

fn spawn(order: &Order, name: &str, device: &str) -> std::io::Result<Child> {
    Command::new(order.program.path())
        .args(["--coordinator", &order.url, "--device", device, "--name", name, "--exit-with-stdin"])
        .env("FOLDWISE_TOKEN", &order.token)
        .env_remove("FOLDWISE_TOKEN_FILE")
        // Each has one device, whatever is set for workers that are started by hand.
        .env_remove("FOLDWISE_DEVICES")
        .env_remove("FOLDWISE_FAKE_DEVICES")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
