//! The worker's binary: where it is and which devices it sees.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

const NAME: &str = "foldwise-worker";

/// Why no worker can be started here.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The binary is nowhere.
    #[error("there is no `{NAME}` beside this program nor on the PATH; `cargo build --release` builds both")]
    NotFound,
    /// The binary does not run.
    #[error("`{} {arguments}` failed: {message}", path.display())]
    Failed {
        /// The binary.
        path: PathBuf,
        /// What it was asked.
        arguments: &'static str,
        /// What it said.
        message: String,
    },
}

/// The worker's binary.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
}

/// A device as the worker's binary names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Device {
    kind: String,
    index: Option<u32>,
}

impl Program {
    /// Looks beside our own binary, then on the PATH.
    ///
    /// # Errors
    /// It is in neither place.
    pub fn find() -> Result<Self, LocalError> {
        let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.join(NAME)));
        let on_path = env::var_os("PATH").unwrap_or_default();
        beside
            .into_iter()
            .chain(env::split_paths(&on_path).map(|folder| folder.join(NAME)))
            .find(|path| path.is_file())
            .map(|path| Self { path })
            .ok_or(LocalError::NotFound)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The devices to train on, one worker each: those asked for, or every GPU, or the CPU once a core.
    ///
    /// # Errors
    /// The binary does not run, or does not answer as it should.
    pub async fn devices(&self, wanted: &str, workers: Option<u32>) -> Result<Vec<String>, LocalError> {
        let devices = match wanted {
            "auto" => {
                let gpus: Vec<String> = self
                    .list()
                    .await?
                    .into_iter()
                    .filter(|device| device.kind == "cuda")
                    .map(|device| format!("cuda:{}", device.index.unwrap_or(0)))
                    .collect();
                if gpus.is_empty() { vec!["cpu".to_owned()] } else { gpus }
            }
            device => vec![device.to_owned()],
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let default = if devices == ["cpu"] { cores } else { devices.len() };
        let count = workers.map_or(default, |count| count as usize);
        Ok(devices.into_iter().cycle().take(count).collect())
    }

    async fn list(&self) -> Result<Vec<Device>, LocalError> {
        const ARGUMENTS: &str = "devices --json";
        let failed =
            |message: String| LocalError::Failed { path: self.path.clone(), arguments: ARGUMENTS, message };
        let output = tokio::process::Command::new(&self.path)
            .args(ARGUMENTS.split(' '))
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("{}: {}", output.status, said.trim())));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
    }
}
