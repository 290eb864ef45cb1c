//! The folder of a test and the programs that are started in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::database::Database;
use crate::process::{Ended, Running};

/// A folder that goes when the test does. Every program runs in it, so that paths are short.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// A new folder.
    ///
    /// # Panics
    /// There is no room for one.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// What a file in the folder holds.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A database in the folder.
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.path(name))
    }

    /// `foldwise` with these words behind it, to be started.
    pub fn command(&self, words: &str) -> Command {
        self.prepare("foldwise", words)
    }

    /// Runs `foldwise` to its end.
    pub fn foldwise(&self, words: &str) -> Ended {
        self.start(words).finish()
    }

    /// Starts `foldwise`.
    pub fn start(&self, words: &str) -> Running {
        Running::start(self.command(words))
    }

    /// Starts `foldwise-worker` on the CPU.
    pub fn worker(&self, words: &str) -> Running {
        Running::start(self.worker_command(words))
    }

    /// Starts `foldwise serve` on a free port and waits until it listens.
    pub fn serve(&self, words: &str) -> Server {
        let running = self.start(&format!("serve --listen 127.0.0.1:0 {words}"));
        let line = running.until_stderr("listening on http");
        Server { url: url_in(&line).expect("an address"), running }
    }

    /// `foldwise-worker` on the CPU with these words behind it, to be started.
    pub fn worker_command(&self, words: &str) -> Command {
        self.prepare("foldwise-worker", words)
    }

    /// Leaves the folder where it is, for somebody to look at.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// A program that knows nothing of the environment but where the downloads and drawn digits are.
    fn prepare(&self, program: &str, words: &str) -> Command {
        let target = target();
        let mut command = Command::new(built(&target, program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FOLDWISE_") && name != "FOLDWISE_DATA" {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG");
        command
            .env("NO_COLOR", "1")
            .env("FOLDWISE_DEVICE", "cpu")
            .env("FOLDWISE_CACHE", target.join("e2e-cache"));
        command.args(words.split_whitespace()).current_dir(self.folder.path());
        command
    }
}

/// A coordinator on a socket of its own.
#[derive(Debug)]
pub struct Server {
    /// Where it is, such as `http://127.0.0.1:40000`; `https://` where it speaks TLS.
    pub url: String,
    /// Its process.
    pub running: Running,
}

/// Where a coordinator says that it listens, such as `http://127.0.0.1:40000`.
pub fn url_in(line: &str) -> Option<String> {
    line.split(['\u{20}', ',']).find(|word| word.starts_with("http")).map(str::to_owned)
}

/// The folder of the profile that this program was built with: `target/debug`; a test lies in `deps` below it.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.parent().expect("a program lies in a folder");
    let is_test = folder.file_name().is_some_and(|name| name == "deps");
    folder.parent().filter(|_| is_test).unwrap_or(folder).to_owned()
}

fn built(target: &Path, program: &str) -> PathBuf {
    let path = target.join(program);
    assert!(
        path.is_file(),
        "{} is not there; build the programs first: cargo build --workspace --bins",
        path.display()
    );
    path
}
