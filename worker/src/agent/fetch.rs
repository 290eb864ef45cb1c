//! Fetches what an attempt starts from, a checkpoint or a model, for a training thread that waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use foldwise_shared::ids::AttemptKey;
use tokio::task::JoinHandle;
use tokio::time;
use tracing::{debug, warn};

use super::artifacts::{Artifacts, Trouble, Wanted};
use super::session::random;
use super::work::Control;

/// Tries before a file counts as lost; those that do not reach the coordinator do not count.
const TRIES: u32 = 3;
/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// A file on its way. Dropping it ends that.
pub(super) struct Fetch {
    what: &'static str,
    receiver: Receiver<Result<Vec<u8>, String>>,
    task: JoinHandle<()>,
}

impl Fetch {
    /// Begins to fetch; within the agent's runtime.
    pub fn begin(artifacts: Artifacts, key: AttemptKey, wanted: Wanted) -> Self {
        let what = wanted.what();
        let (sender, receiver) = channel();
        let task = tokio::spawn(async move {
            // The thread may have stopped waiting.
            drop(sender.send(patiently(&artifacts, key, &wanted).await));
        });
        Self { what, receiver, task }
    }

    /// Blocks until the file is there; none if the attempt is to stop before that.
    pub fn wait(self, control: &Control) -> Result<Option<Vec<u8>>, String> {
        self.arrived(control).map_err(|message| format!("the {} cannot be fetched: {message}", self.what))
    }

    fn arrived(&self, control: &Control) -> Result<Option<Vec<u8>>, String> {
        loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(fetched) => return fetched.map(Some),
                Err(RecvTimeoutError::Disconnected) => return Err("the worker ends".into()),
                Err(RecvTimeoutError::Timeout) if control.ends_after_epoch() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for a coordinator that is away, as a worker does anyway, and tries a few times where it is there.
async fn patiently(artifacts: &Artifacts, key: AttemptKey, wanted: &Wanted) -> Result<Vec<u8>, String> {
    let what = wanted.what();
    let (mut failed, mut tries) = (0, 0);
    loop {
        let trouble = match artifacts.get(key, wanted).await {
            Ok(content) => return Ok(content),
            Err(trouble) => trouble,
        };
        match &trouble {
            Trouble::Away(reason) => debug!("the {what} of {key} waits for the coordinator: {reason}"),
            Trouble::Refused(reason) => return Err(reason.clone()),
            Trouble::Failed(reason) => {
                tries += 1;
                if tries >= TRIES {
                    return Err(format!("{reason} ({TRIES} tries)"));
                }
                warn!("the {what} of {key} did not come: {reason}; trying again");
            }
        }
        time::sleep(artifacts.target().patience.delay(failed, random())).await;
        failed = failed.saturating_add(1);
    }
}
