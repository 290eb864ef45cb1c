//! The coordinator, and whoever starts it again on the same database.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::Signal;

use super::crew::{CHILDHOOD, Fate, GRACE, append, how, keep_log, tail};
use super::now_ms;
use super::proxy::Upstream;
use crate::process::Running;
use crate::scene::{Scene, url_in};

/// For how long after the disk had room again the coordinator may still end for want of it.
const AFTERMATH: Duration = Duration::from_secs(20);

/// The coordinator: most of the time a process.
pub struct Head {
    /// Where it listens.
    pub upstream: Upstream,
    /// What its process does.
    pub fate: Fate,
    /// How many processes it had.
    pub starts: u32,
    started: Instant,
    /// How often it ended by itself because the disk was full.
    pub ended_for_space: u32,
    /// When it was away, in UTC milliseconds from and to: not there, stopped, or without a disk.
    pub away: Vec<(i64, i64)>,
    words: String,
    running: Option<Running>,
    away_since: Option<i64>,
    disk_is_full: bool,
    room_since: Option<Instant>,
}

/// What became of the coordinator since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// It listens.
    Listens,
    /// It has ended, as it should, and has to be started.
    Ended,
}

impl Head {
    /// A coordinator without a process, to be started with these words.
    pub fn new(words: String) -> Self {
        Self {
            upstream: Upstream::default(),
            fate: Fate::Gone,
            starts: 0,
            started: Instant::now(),
            ended_for_space: 0,
            away: Vec::new(),
            words,
            running: None,
            away_since: Some(now_ms()),
            disk_is_full: false,
            room_since: None,
        }
    }

    /// Starts a process for it.
    pub fn start(&mut self, scene: &Scene) {
        self.running = Some(Running::start(scene.command(&self.words)));
        self.starts += 1;
        self.started = Instant::now();
        self.fate = Fate::Works;
    }

    /// Where it listens; none while it does not work.
    pub fn address(&self) -> Option<SocketAddr> {
        self.upstream.get().filter(|_| self.fate == Fate::Works)
    }

    /// Whether it is there and does not listen yet.
    pub fn is_starting(&self) -> bool {
        self.fate == Fate::Works && self.running.is_some() && self.upstream.get().is_none()
    }

    /// Sends its process a signal, with what that makes of it.
    pub fn signal(&mut self, signal: Signal, fate: Fate) {
        let Some(running) = &self.running else { return };
        running.signal(signal);
        self.fate = fate;
        if fate == Fate::Works {
            self.is_back();
        } else {
            self.is_away();
        }
    }

    /// The disk under its database is full from now on, or has room again.
    pub fn disk(&mut self, full: bool) {
        self.disk_is_full = full;
        if full {
            self.is_away();
        } else {
            self.room_since = Some(Instant::now());
            if self.address().is_some() {
                self.is_back();
            }
        }
    }

    fn is_away(&mut self) {
        self.away_since.get_or_insert_with(now_ms);
    }

    fn is_back(&mut self) {
        if let Some(since) = self.away_since.take_if(|_| !self.disk_is_full) {
            self.away.push((since, now_ms()));
        }
    }

    /// How often it has said that it could not record something.
    pub fn complaints(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.stderr().matches("a commit failed").count())
    }

    /// Looks whether it listens by now, and whether it has ended.
    ///
    /// # Errors
    /// It has ended otherwise than it should, or does not end though it should.
    pub fn tick(&mut self, logs: &Path) -> anyhow::Result<News> {
        let Some(running) = self.running.take_if(|running| !running.is_alive()) else {
            return self.alive();
        };
        let ended = running.finish();
        keep_log(logs, "coordinator", &ended)?;
        self.upstream.set(None);
        self.is_away();
        let fate = std::mem::replace(&mut self.fate, Fate::Gone);
        let without_room =
            self.disk_is_full || self.room_since.is_some_and(|since| since.elapsed() < AFTERMATH);
        let expected = match fate {
            Fate::Killed => ended.signal == Some(9),
            Fate::Asked(at) => {
                ended.code == Some(0)
                    || (ended.signal == Some(15) && at - self.started < CHILDHOOD)
                    || (without_room && ended.code == Some(1))
            }
            Fate::Works => without_room && ended.code == Some(1),
            Fate::Gone | Fate::Stopped => false,
        };
        if !expected {
            bail!("the coordinator ended with {} though {fate:?}:\n{}", how(&ended), tail(&ended.stderr));
        }
        self.ended_for_space += u32::from(fate == Fate::Works);
        Ok(News::Ended)
    }

    fn alive(&mut self) -> anyhow::Result<News> {
        let Some(running) = &self.running else { return Ok(News::None) };
        match self.fate {
            Fate::Asked(at) if at.elapsed() > GRACE => {
                bail!("the coordinator was sent SIGTERM {GRACE:?} ago and is still there: {running:?}");
            }
            Fate::Works if self.upstream.get().is_none() => {
                let said = running.stderr();
                let Some(url) = said.lines().find(|line| line.contains("listening on ")).and_then(url_in)
                else {
                    return Ok(News::None);
                };
                self.upstream.set(Some(url.trim_start_matches("http://").parse()?));
                self.is_back();
                Ok(News::Listens)
            }
            _ => Ok(News::None),
        }
    }

    /// Keeps what its process has said so far.
    ///
    /// # Errors
    /// What the system says.
    pub fn save_log(&self, logs: &Path) -> anyhow::Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| append(logs, "coordinator", &format!("{running:?}")))
    }
}
