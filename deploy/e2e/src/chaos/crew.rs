//! The workers, and whoever starts them again when they are gone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::proxy::{Line, Proxy, Upstream};
use super::rights::Namespace;
use crate::process::{Ended, Running};
use crate::scene::Scene;

/// For how long a worker may drain, and a coordinator close, on a machine that does much else.
pub const GRACE: Duration = Duration::from_secs(120);
/// For how long after its start a process may not listen for signals yet.
pub const CHILDHOOD: Duration = Duration::from_secs(15);

/// What a process does, as far as we had a hand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not there; it will be started.
    Gone,
    /// It works.
    Works,
    /// It was sent SIGSTOP.
    Stopped,
    /// It was sent SIGKILL.
    Killed,
    /// It was sent SIGTERM at that time.
    Asked(Instant),
}

/// One of the workers: a name, a way to the coordinator, and most of the time a process.
pub struct Member {
    /// Its name, which all its processes share.
    pub name: String,
    /// Its way to the coordinator.
    pub proxy: Proxy,
    /// What its process does.
    pub fate: Fate,
    /// Whether its link is down.
    pub link_is_down: bool,
    /// How many processes it had.
    pub starts: u32,
    started: Instant,
    running: Option<Running>,
}

impl Member {
    /// A worker without a process; its network is reached by our address in it.
    ///
    /// # Errors
    /// There is no port for its proxy.
    pub fn new(index: usize, upstream: Upstream, ip: Option<IpAddr>) -> io::Result<Self> {
        let proxy = Proxy::start(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), upstream)?;
        let name = format!("w{index}");
        Ok(Self {
            name,
            proxy,
            fate: Fate::Gone,
            link_is_down: false,
            starts: 0,
            started: Instant::now(),
            running: None,
        })
    }

    /// Starts a process for it.
    pub fn start(&mut self, scene: &Scene, namespace: Option<&Namespace>) {
        let words =
            format!("--coordinator http://{} --name {} --ack-log acks", self.proxy.address(), self.name);
        let command = scene.worker_command(&words);
        let command = match namespace {
            Some(namespace) => namespace.wrap(&command),
            None => command,
        };
        self.running = Some(Running::start(command));
        self.starts += 1;
        self.started = Instant::now();
        self.fate = Fate::Works;
    }

    /// Whether a fault can be done to its process.
    pub fn is_well(&self) -> bool {
        self.fate == Fate::Works && self.running.is_some()
    }

    /// Whether nothing is wrong with its network.
    pub fn is_reachable(&self) -> bool {
        self.proxy.line() == Line::Open && !self.link_is_down
    }

    /// Sends its process a signal, with what that makes of it.
    pub fn signal(&mut self, signal: Signal, fate: Fate) {
        if let Some(running) = &self.running {
            running.signal(signal);
            self.fate = fate;
        }
    }

    /// Looks whether its process has ended; true if it has, as it should.
    ///
    /// # Errors
    /// It has ended otherwise, or does not end though it should.
    pub fn tick(&mut self, logs: &Path) -> anyhow::Result<bool> {
        let Some(running) = self.running.take_if(|running| !running.is_alive()) else {
            if let (Fate::Asked(at), Some(running)) = (self.fate, &self.running)
                && at.elapsed() > GRACE
            {
                bail!("{} was sent SIGTERM {GRACE:?} ago and is still there: {running:?}", self.name);
            }
            return Ok(false);
        };
        let ended = running.finish();
        keep_log(logs, &self.name, &ended)?;
        let fate = std::mem::replace(&mut self.fate, Fate::Gone);
        let expected = match fate {
            Fate::Killed => ended.signal == Some(9),
            Fate::Asked(at) => {
                ended.code == Some(0) || (ended.signal == Some(15) && at - self.started < CHILDHOOD)
            }
            Fate::Gone | Fate::Works | Fate::Stopped => false,
        };
        if !expected {
            bail!("{} ended with {} though {fate:?}:\n{}", self.name, how(&ended), tail(&ended.stderr));
        }
        Ok(true)
    }

    /// Its process, if there is one.
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Keeps what its process has said so far.
    ///
    /// # Errors
    /// What the system says.
    pub fn save_log(&self, logs: &Path) -> anyhow::Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| append(logs, &self.name, &format!("{running:?}")))
    }
}

/// How a process ended.
pub fn how(ended: &Ended) -> String {
    match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "neither an exit code nor a signal".to_owned(),
    }
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Appends what a process said to the log of its name.
///
/// # Errors
/// What the system says.
pub fn keep_log(logs: &Path, name: &str, ended: &Ended) -> anyhow::Result<()> {
    append(logs, name, &format!("{}\n{}{}\n", ended.line, ended.stderr, how(ended)))
}

/// Appends a text to the log of a name.
///
/// # Errors
/// What the system says.
pub fn append(logs: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = logs.join(format!("{name}.log"));
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    writeln!(file, "{text}").with_context(|| path.display().to_string())
}
