//! Fetches the checkpoint that an attempt starts from, for a training thread that waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use foldwise_shared::ids::AttemptKey;
use tokio::task::JoinHandle;
use tokio::time;
use tracing::{debug, warn};

use super::artifacts::{Artifacts, Trouble};
use super::session::random;
use super::work::{Control, StartPoint};

/// Tries before a checkpoint counts as lost; those that do not reach the coordinator do not count.
const TRIES: u32 = 3;
/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// A checkpoint on its way. Dropping it ends that.
pub(super) struct Fetch {
    receiver: Receiver<Result<Vec<u8>, String>>,
    task: JoinHandle<()>,
}

impl Fetch {
    /// Begins to fetch; within the agent's runtime.
    pub fn begin(artifacts: Artifacts, key: AttemptKey, point: StartPoint) -> Self {
        let (sender, receiver) = channel();
        let task = tokio::spawn(async move {
            // The thread may have stopped waiting.
            drop(sender.send(patiently(&artifacts, key, &point).await));
        });
        Self { receiver, task }
    }

    /// Blocks until the file is there; none if the attempt is to stop before that.
    pub fn wait(self, control: &Control) -> Result<Option<Vec<u8>>, String> {
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
async fn patiently(artifacts: &Artifacts, key: AttemptKey, point: &StartPoint) -> Result<Vec<u8>, String> {
    let (mut failed, mut tries) = (0, 0);
    loop {
        let trouble = match artifacts.get(key, point).await {
            Ok(content) => return Ok(content),
            Err(trouble) => trouble,
        };
        match &trouble {
            Trouble::Away(reason) => debug!("the checkpoint of {key} waits for the coordinator: {reason}"),
            Trouble::Refused(reason) => return Err(reason.clone()),
            Trouble::Failed(reason) => {
                tries += 1;
                if tries >= TRIES {
                    return Err(format!("{reason} ({TRIES} tries)"));
                }
                warn!("the checkpoint of {key} did not come: {reason}; trying again");
            }
        }
        time::sleep(artifacts.target().patience.delay(failed, random())).await;
        failed = failed.saturating_add(1);
    }
}
