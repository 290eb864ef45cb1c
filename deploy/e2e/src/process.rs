//! Processes under test: started, listened to, killed with all they started, and never left behind.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// A process by its id and the time of its start, which together are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    id: u32,
    started: u64,
}

impl Process {
    /// A process that has not ended, and its parent.
    fn find(id: u32) -> Option<(Self, u32)> {
        let (process, parent, state) = Self::stat(id)?;
        (!matches!(state, 'Z' | 'X')).then_some((process, parent))
    }

    fn stat(id: u32) -> Option<(Self, u32, char)> {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name stands in parentheses and may hold anything: what follows the last one is well-formed.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
        let process = Self { id, started: started.parse().ok()? };
        Some((process, parent.parse().ok()?, state.chars().next()?))
    }

    /// This process itself.
    ///
    /// # Panics
    /// There is no /proc.
    pub fn own() -> Self {
        Self::stat(std::process::id()).expect("this process in /proc").0
    }

    /// Its id, as people know it.
    pub fn id(self) -> u32 {
        self.id
    }

    /// Whether it is still there; a zombie is not.
    pub fn is_alive(self) -> bool {
        Self::find(self.id).is_some_and(|(found, _)| found == self)
    }

    /// The words it was started with.
    pub fn words(self) -> Vec<String> {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Sends it a signal, if it is still there.
    pub fn signal(self, signal: Signal) {
        if let Some(id) = Pid::from_raw(self.id as i32).filter(|_| self.is_alive()) {
            // It may have ended just now.
            let _ = kill_process(id, signal);
        }
    }

    /// All that it started, and what those started.
    pub fn descendants(self) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let all: Vec<(Self, u32)> =
            entries.filter_map(|entry| Self::find(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect();
        let mut family = BTreeSet::from([self.id]);
        let mut found = Vec::new();
        loop {
            let more: Vec<Self> = all
                .iter()
                .filter(|(process, parent)| family.contains(parent) && !family.contains(&process.id))
                .map(|(process, _)| *process)
                .collect();
            if more.is_empty() {
                return found;
            }
            family.extend(more.iter().map(|process| process.id));
            found.extend(more);
        }
    }
}

/// A process that was started, and what it has written.
pub struct Running {
    child: Child,
    process: Process,
    line: String,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<()>>,
    said: Arc<Mutex<String>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})\n{}", self.line, self.child.id(), self.stderr())
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// What was run.
    pub line: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// Demands an exit code.
    ///
    /// # Panics
    /// It is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{}\nsignal {:?}\n{}\n{}",
            self.line,
            self.signal,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Demands these words on standard error.
    ///
    /// # Panics
    /// One is missing.
    #[track_caller]
    pub fn expect_stderr(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{}\nlacks `{word}`:\n{}", self.line, self.stderr);
        }
        self
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}\n{}", self.line, self.stdout, self.stderr))
    }
}

impl Running {
    /// Starts a program.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(mut command: Command) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // What was read before an error is all there is.
                let _ = pipe.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let stderr = child.stderr.take().map(|pipe| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push_str(&line);
                    said.push('\n');
                }
            })
        });
        // Until we wait for it, it is there, if only as a zombie.
        let (process, ..) = Process::stat(child.id()).expect("a child in /proc");
        Self { child, process, line, stdout, stderr, said }
    }

    /// The process itself.
    pub fn process(&self) -> Process {
        self.process
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line with these words on standard error.
    ///
    /// # Panics
    /// It does not come.
    pub fn until_stderr(&self, words: &str) -> String {
        until(&format!("`{words}` from {}", self.line), || {
            let said = self.stderr();
            let found = said.lines().find(|line| line.contains(words)).map(str::to_owned);
            assert!(found.is_some() || self.is_alive(), "it ended without `{words}`: {self:?}");
            found
        })
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The worker of that name among those it started; waits until there is one.
    ///
    /// # Panics
    /// There is none.
    pub fn worker(&self, name: &str) -> Process {
        until(&format!("worker {name}"), || {
            let is_it = |process: &Process| process.words().windows(2).any(|pair| pair == ["--name", name]);
            self.process.descendants().into_iter().find(is_it)
        })
    }

    /// `kill -9` of it and all that it started.
    pub fn kill_tree(self) -> Ended {
        self.end_tree();
        self.finish()
    }

    fn end_tree(&self) {
        if !self.is_alive() {
            return;
        }
        // Stopped, it cannot start another while we look.
        self.process.signal(Signal::STOP);
        let family = self.process.descendants();
        self.process.signal(Signal::KILL);
        for process in &family {
            process.signal(Signal::KILL);
        }
        for process in family {
            until("a killed process to be gone", || (!process.is_alive()).then_some(()));
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end.
    pub fn finish(mut self) -> Ended {
        let status = until(&format!("the end of {}", self.line), || {
            self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.line))
        });
        let stdout = self.stdout.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if let Some(thread) = self.stderr.take() {
            // A thread that failed has said so.
            let _ = thread.join();
        }
        let (line, stderr) = (std::mem::take(&mut self.line), self.stderr());
        Ended { line, code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_tree();
        // Already waited for, if it was finished.
        let _ = self.child.wait();
        if std::thread::panicking() && !self.line.is_empty() {
            eprintln!("{self:?}");
        }
    }
}
