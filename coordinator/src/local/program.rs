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

/// The devices that a run wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Every GPU that is visible and that the worker can train on, or the CPU where there is none.
    Auto,
    /// This one.
    One(String),
    /// So many made-up ones, for a rehearsal.
    Fake(u32),
}

/// A device as the worker's binary names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Device {
    kind: String,
    /// None for a GPU that is hidden from us.
    index: Option<u32>,
    usable: bool,
}

/// The name of each GPU that can be trained on, for `--device`.
fn gpus(devices: &[Device]) -> Vec<String> {
    let usable = devices.iter().filter(|device| device.kind == "cuda" && device.usable);
    usable.filter_map(|device| Some(format!("cuda:{}", device.index?))).collect()
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

    /// The devices to train on, one worker each: those wanted, or the CPU once a core.
    ///
    /// # Errors
    /// The binary does not run, or does not answer as it should.
    pub async fn devices(&self, wanted: Wanted, workers: Option<u32>) -> Result<Vec<String>, LocalError> {
        let devices = match wanted {
            Wanted::Auto => {
                let gpus = gpus(&self.list().await?);
                if gpus.is_empty() { vec!["cpu".to_owned()] } else { gpus }
            }
            Wanted::One(device) => vec![device],
            Wanted::Fake(count) => (0..count).map(|index| format!("fake:{index}")).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gpus_that_can_be_used_get_a_worker() {
        let json = r#"[
            {"kind": "cuda", "index": 0, "name": "A", "visible": true, "usable": true},
            {"kind": "cuda", "index": 1, "name": "B", "visible": true, "usable": true},
            {"kind": "cuda", "index": null, "name": "C", "visible": false, "usable": false},
            {"kind": "cpu", "index": 0, "name": "D", "visible": true, "usable": true}
        ]"#;
        let devices: Vec<Device> = serde_json::from_str(json).expect("devices");
        assert_eq!(gpus(&devices), ["cuda:0", "cuda:1"]);
        let json = json.replace("true", "false");
        let devices: Vec<Device> = serde_json::from_str(&json).expect("devices");
        assert_eq!(gpus(&devices), [""; 0]);
    }

    #[tokio::test]
    async fn a_rehearsal_needs_no_list_of_devices() {
        let program = Program { path: "/nowhere/at/all".into() };
        let devices = program.devices(Wanted::Fake(3), None).await.expect("made up");
        assert_eq!(devices, ["fake:0", "fake:1", "fake:2"]);
        let devices = program.devices(Wanted::Fake(2), Some(3)).await.expect("made up");
        assert_eq!(devices, ["fake:0", "fake:1", "fake:0"]);
        let devices = program.devices(Wanted::One("cuda:1".into()), Some(2)).await.expect("as asked");
        assert_eq!(devices, ["cuda:1", "cuda:1"]);
        assert!(program.devices(Wanted::Auto, None).await.is_err());
    }
}
