//! The checkpoints on their way to the coordinator. Each attempt has a task of its own that makes the file, sends it, and
//! tries again; nothing else ever waits for it but the end of an attempt whose last checkpoint this is.
//!
//! What waits is bounded: of each attempt the oldest and the newest of those whose epoch is not acknowledged, one that is
//! next to be sent, and one that is sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldwise_shared::ids::{AttemptKey, Epoch};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time;
use tracing::{debug, info, warn};

use super::artifacts::{Artifacts, File, Trouble};
use super::session::random;
use super::work::Draft;

/// Everything that is on its way.
pub(super) struct Uploads {
    artifacts: Artifacts,
    /// Says of an attempt which of its checkpoints is stored, or given up.
    done: UnboundedSender<(AttemptKey, Epoch)>,
    of: BTreeMap<AttemptKey, Upload>,
}

/// The checkpoints of one attempt.
#[derive(Default)]
struct Upload {
    /// Their epochs are not acknowledged: at most the oldest and the newest, so that one is sent however late the
    /// acknowledgements come.
    waiting: Vec<Draft>,
    sending: Option<Sending>,
}

struct Sending {
    next: Arc<Next>,
    task: JoinHandle<()>,
    /// The last one that the task was given, while it is not done with it.
    given: Option<Given>,
}

#[derive(Clone, Copy)]
struct Given {
    epoch: Epoch,
    last: bool,
}

/// What the task sends next; a newer one takes the place of one that waits here.
#[derive(Default)]
struct Next {
    draft: Mutex<Option<Draft>>,
    changed: Notify,
    /// Bytes of the one that is sent now.
    sent: Arc<AtomicUsize>,
}

impl Next {
    fn take(&self) -> Option<Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_there(&self) -> bool {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn put(&self, draft: Draft) {
        *self.draft.lock().unwrap_or_else(PoisonError::into_inner) = Some(draft);
        self.changed.notify_one();
    }
}

impl Uploads {
    pub fn new(artifacts: Artifacts, done: UnboundedSender<(AttemptKey, Epoch)>) -> Self {
        Self { artifacts, done, of: BTreeMap::new() }
    }

    /// Takes a checkpoint; it is sent once its epoch is acknowledged.
    pub fn offer(&mut self, key: AttemptKey, draft: Draft, acknowledged: Epoch) {
        let upload = self.of.entry(key).or_default();
        upload.waiting.truncate(1);
        upload.waiting.push(draft);
        self.acknowledged(key, acknowledged);
    }

    /// All epochs of an attempt up to this one are acknowledged.
    pub fn acknowledged(&mut self, key: AttemptKey, epoch: Epoch) {
        let Some(upload) = self.of.get_mut(&key) else { return };
        let ready = upload.waiting.iter().filter(|draft| draft.epoch <= epoch).count();
        let Some(draft) = upload.waiting.drain(..ready).next_back() else { return };
        let given = Given { epoch: draft.epoch, last: draft.last };
        let sending = upload.sending.get_or_insert_with(|| {
            let next = Arc::new(Next::default());
            let send = send(self.artifacts.clone(), key, Arc::clone(&next), self.done.clone());
            Sending { next, task: tokio::spawn(send), given: None }
        });
        sending.given = Some(given);
        sending.next.put(draft);
    }

    /// The task of an attempt is done with the checkpoint of this epoch.
    pub fn is_done(&mut self, key: AttemptKey, epoch: Epoch) {
        if let Some(sending) = self.of.get_mut(&key).and_then(|upload| upload.sending.as_mut())
            && sending.given.is_some_and(|given| given.epoch <= epoch)
        {
            sending.given = None;
        }
    }

    /// Whether a checkpoint of an attempt is on its way; with `last` only the one of a complete fold counts.
    pub fn is_busy(&self, key: AttemptKey, last: bool) -> bool {
        let Some(upload) = self.of.get(&key) else { return false };
        let given = upload.sending.as_ref().and_then(|sending| sending.given);
        upload.waiting.iter().any(|draft| draft.last || !last)
            || given.is_some_and(|given| given.last || !last)
    }

    /// How far the one is that is sent now, in bytes.
    pub fn sent(&self, key: AttemptKey) -> usize {
        let sending = self.of.get(&key).and_then(|upload| upload.sending.as_ref());
        sending.map_or(0, |sending| sending.next.sent.load(Ordering::Relaxed))
    }

    /// Nobody wants the checkpoints of this attempt any more.
    pub fn forget(&mut self, key: AttemptKey) {
        if let Some(sending) = self.of.remove(&key).and_then(|upload| upload.sending) {
            sending.task.abort();
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        for sending in self.of.values().filter_map(|upload| upload.sending.as_ref()) {
            sending.task.abort();
        }
    }
}

/// Sends whatever is put into `next`, one after the other.
async fn send(
    artifacts: Artifacts,
    key: AttemptKey,
    next: Arc<Next>,
    done: UnboundedSender<(AttemptKey, Epoch)>,
) {
    loop {
        let Some(draft) = next.take() else {
            next.changed.notified().await;
            continue;
        };
        let epoch = draft.epoch;
        let made =
            spawn_blocking(move || (draft.write)().map(|content| (epoch, File::checkpoint(epoch, content))))
                .await;
        match made {
            Ok(Ok(file)) => patiently(&artifacts, key, &file, &next).await,
            Ok(Err(error)) => warn!("{key} has no checkpoint after epoch {epoch}: {error}"),
            Err(error) => warn!("{key} has no checkpoint after epoch {epoch}: {error}"),
        }
        if done.send((key, epoch)).is_err() {
            return;
        }
    }
}

/// Until it is stored, refused, or a newer one waits.
async fn patiently(artifacts: &Artifacts, key: AttemptKey, (epoch, file): &(Epoch, File), next: &Next) {
    next.sent.store(0, Ordering::Relaxed);
    let mut failed = 0;
    loop {
        let trouble = match artifacts.put(key, file, &next.sent).await {
            Ok(()) => {
                debug!("the checkpoint of {key} after epoch {epoch} is stored");
                return;
            }
            Err(trouble) => trouble,
        };
        let reason = trouble.message();
        if matches!(trouble, Trouble::Refused(_)) {
            info!("the coordinator takes no checkpoint of {key} after epoch {epoch}: {reason}");
            return;
        }
        if failed == 0 {
            warn!("the checkpoint of {key} after epoch {epoch} is not stored: {reason}; trying again");
        } else {
            debug!("the checkpoint of {key} after epoch {epoch} is not stored: {reason}");
        }
        let delay = artifacts.target().patience.delay(failed, random());
        failed = failed.saturating_add(1);
        let newer = async {
            while !next.is_there() {
                next.changed.notified().await;
            }
        };
        if time::timeout(delay, newer).await.is_ok() {
            return;
        }
    }
}
