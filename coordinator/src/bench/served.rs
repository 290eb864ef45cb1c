//! A coordinator for a measurement: `foldwise serve` as a process of its own on a database that goes with it, and what the
//! system says of that process.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::BenchError;

/// How long it may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(20);
/// The unit of the times in /proc: a hundredth of a second on every Linux that we know.
const TICKS_A_SECOND: f64 = 100.0;
/// What a coordinator of ours keeps of the environment: nothing that would set it up in another way.
const KEPT: [&str; 2] = ["FOLDWISE_DATA", "FOLDWISE_CACHE"];

/// A folder that goes when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder in `parent`.
    pub fn new(parent: &Path) -> Result<Self, BenchError> {
        let path = parent.join(format!("foldwise-bench-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&path).map_err(BenchError::system(format!(
            "failed to make a folder for the database in {}",
            parent.display()
        )))?;
        Ok(Self(path))
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("bench.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is not worth failing for.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A coordinator that runs; ended by KILL when it is dropped.
pub(super) struct Served {
    child: Child,
    pub url: String,
}

impl Served {
    /// Starts one on a database and waits until it listens.
    pub fn start(database: &Path) -> Result<Self, BenchError> {
        let program = env::current_exe().map_err(BenchError::system("failed to find this program"))?;
        let mut command = Command::new(&program);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("FOLDWISE_") && !KEPT.contains(&name.as_ref()) {
                command.env_remove(name.as_ref());
            }
        }
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--db"])
            .arg(database)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(BenchError::system(format!("failed to start {}", program.display())))?;
        let mut lines = BufReader::new(child.stderr.take().ok_or_else(|| {
            BenchError::Coordinator("the coordinator was started without standard error".into())
        })?);
        let mut served = Self { child, url: String::new() };
        let mut said = String::new();
        while served.url.is_empty() {
            let start = said.len();
            if lines.read_line(&mut said).unwrap_or(0) == 0 {
                return Err(BenchError::Coordinator(format!(
                    "the coordinator did not start: {}",
                    said.trim()
                )));
            }
            let line = said.get(start..).unwrap_or_default();
            let url = line.split([' ', ',']).find(|word| word.starts_with("http://"));
            served.url = url.filter(|_| line.contains("listening on")).unwrap_or_default().to_owned();
        }
        // What else it says is for whoever measures. The thread ends with the process.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok).filter(|line| is_trouble(line)) {
                let _ = writeln!(std::io::stderr(), "the coordinator: {line}");
            }
        });
        Ok(served)
    }

    /// What the system says of it.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.child.id())
    }

    /// Ends it as a person would.
    pub fn end(mut self) -> Result<(), BenchError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Should it be gone already, its status says so.
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(BenchError::Coordinator(format!("the coordinator ended with {status}")));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(source) => return Err(BenchError::system("failed to wait for the coordinator")(source)),
            }
        }
        Err(BenchError::Coordinator(format!("the coordinator did not end within {GRACE:?}")))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_trouble(line: &str) -> bool {
    ["WARN", "ERROR", "error", "panicked"].iter().any(|word| line.contains(word))
}

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// Seconds of CPU, in user and system mode.
    pub cpu_seconds: f64,
    /// Memory now, in MiB.
    pub memory_mib: f64,
    /// The most memory it ever had, in MiB.
    pub peak_mib: f64,
}

impl Usage {
    /// Of the process with this id, where the system tells.
    pub fn of(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name stands in parentheses and may hold anything: what follows the last one is well-formed.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
        };
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_A_SECOND,
            memory_mib: mib("VmRSS")?,
            peak_mib: mib("VmHWM")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_has_used() {
        let now = || Usage::of(std::process::id()).expect("Linux tells");
        let (before, started) = (now().cpu_seconds, Instant::now());
        // Where others work too, time alone says nothing.
        while now().cpu_seconds < before + 0.05 {
            assert!(started.elapsed() < Duration::from_secs(60), "no time was given to this test");
        }
        let usage = now();
        assert!(usage.memory_mib > 1.0 && usage.peak_mib >= usage.memory_mib, "{usage:?}");
        assert_eq!(Usage::of(u32::MAX), None);
    }

    #[test]
    fn a_folder_goes_with_what_is_in_it() {
        let folder = Folder::new(&env::temp_dir()).expect("a folder");
        let path = folder.0.clone();
        fs::write(folder.database(), "x").expect("a file");
        drop(folder);
        assert!(!path.exists());
        let message = Folder::new(Path::new("/proc/nowhere")).err().expect("no folder").to_string();
        assert!(message.contains("in /proc/nowhere"), "{message}");
    }
}
