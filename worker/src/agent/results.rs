//! The results on their way to the coordinator: of each attempt in the order in which they were made, none of them dropped,
//! one after the other. A fold is finished only with the last of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldwise_proto::MAX_ARTIFACT;
use foldwise_shared::artifact::{MAX_KINDS, is_kind};
use foldwise_shared::ids::{AttemptKey, Epoch};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time;
use tracing::{debug, warn};

use super::artifacts::{Artifacts, File, Trouble};
use super::session::random;

/// A result that is still to be stored.
pub struct NewResult {
    /// What it is.
    pub kind: String,
    /// The epoch after which it was made; none for one of the whole attempt.
    pub epoch: Option<Epoch>,
    /// The content.
    pub content: Vec<u8>,
}

/// Everything that is on its way.
pub(super) struct Results {
    artifacts: Artifacts,
    /// Says of an attempt that the result that was sent is stored, or why it never will be.
    done: UnboundedSender<(AttemptKey, Result<(), String>)>,
    of: BTreeMap<AttemptKey, Queue>,
}

/// The results of one attempt.
#[derive(Default)]
struct Queue {
    /// Each with the epoch that was reported before it was made: until that is recorded, the coordinator does not know what
    /// it is a result of.
    waiting: VecDeque<(Epoch, NewResult)>,
    sending: Option<JoinHandle<()>>,
    /// Bytes of the one that is sent now: one that fails at the same place again and again does not get on.
    sent: Arc<AtomicUsize>,
    /// Bytes of those before it.
    done: usize,
    kinds: BTreeSet<String>,
    /// Whether one of them was made too late to be sent.
    lost: bool,
    /// Why the attempt has failed with one of them; the others are not sent.
    refused: Option<String>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some(task) = &self.sending {
            task.abort();
        }
    }
}

impl Results {
    pub fn new(artifacts: Artifacts, done: UnboundedSender<(AttemptKey, Result<(), String>)>) -> Self {
        Self { artifacts, done, of: BTreeMap::new() }
    }

    /// Takes a result, made after `reported` was the last epoch of its attempt.
    pub fn offer(&mut self, key: AttemptKey, result: NewResult, reported: Epoch, acknowledged: Epoch) {
        let queue = self.of.entry(key).or_default();
        if queue.refused.is_some() {
            return;
        }
        queue.kinds.insert(result.kind.clone());
        match check(&result, queue.kinds.len()) {
            Ok(()) => queue.waiting.push_back((reported, result)),
            Err(message) => queue.refuse(message),
        }
        self.acknowledged(key, acknowledged);
    }

    /// A result of an attempt is not taken: its time is over.
    pub fn lose(&mut self, key: AttemptKey) {
        self.of.entry(key).or_default().lost = true;
    }

    /// All epochs of an attempt up to this one are acknowledged.
    pub fn acknowledged(&mut self, key: AttemptKey, epoch: Epoch) {
        let Some(queue) = self.of.get_mut(&key).filter(|queue| queue.sending.is_none()) else { return };
        let Some((_, result)) = queue.waiting.pop_front_if(|(reported, _)| *reported <= epoch) else {
            return;
        };
        queue.sent = Arc::default();
        let send = send(self.artifacts.clone(), key, result, Arc::clone(&queue.sent), self.done.clone());
        queue.sending = Some(tokio::spawn(send));
    }

    /// The result of an attempt that was sent is stored, or refused.
    pub fn is_done(&mut self, key: AttemptKey, stored: Result<(), String>, acknowledged: Epoch) {
        let Some(queue) = self.of.get_mut(&key) else { return };
        queue.sending = None;
        queue.done = queue.done.wrapping_add(queue.sent.load(Ordering::Relaxed));
        if let Err(message) = stored {
            queue.refuse(message);
        }
        self.acknowledged(key, acknowledged);
    }

    /// Whether results of an attempt are on their way.
    pub fn is_busy(&self, key: AttemptKey) -> bool {
        self.of.get(&key).is_some_and(|queue| queue.sending.is_some() || !queue.waiting.is_empty())
    }

    /// Whether not all results of an attempt are stored.
    pub fn are_missing(&self, key: AttemptKey) -> bool {
        self.is_busy(key) || self.of.get(&key).is_some_and(|queue| queue.lost)
    }

    /// Why an attempt has failed with one of its results, if it has.
    pub fn refused(&self, key: AttemptKey) -> Option<&str> {
        self.of.get(&key)?.refused.as_deref()
    }

    /// How much was sent of the results of an attempt, in bytes.
    pub fn sent(&self, key: AttemptKey) -> usize {
        self.of.get(&key).map_or(0, |queue| queue.done.wrapping_add(queue.sent.load(Ordering::Relaxed)))
    }

    /// Nobody wants the results of this attempt any more.
    pub fn forget(&mut self, key: AttemptKey) {
        self.of.remove(&key);
    }
}

impl Queue {
    fn refuse(&mut self, message: String) {
        self.waiting.clear();
        self.refused = Some(message);
    }
}

/// Whether a result can be stored at all, as one of so many kinds.
fn check(result: &NewResult, kinds: usize) -> Result<(), String> {
    let NewResult { kind, content, .. } = result;
    if !is_kind(kind) {
        return Err(format!(
            "{kind:?} is no kind of result; use 1 to 32 letters a-z, digits and `-`, like `range-test`"
        ));
    }
    if kinds > MAX_KINDS {
        return Err(format!(
            "a result of kind {kind} is one kind too many; an attempt has at most {MAX_KINDS}"
        ));
    }
    match content.len() as u64 {
        0 => Err(format!("a result of kind {kind} is empty; an artifact has at least one byte")),
        bytes if bytes > MAX_ARTIFACT => {
            Err(format!("a result of kind {kind} has {bytes} bytes; at most {MAX_ARTIFACT} are taken"))
        }
        _ => Ok(()),
    }
}

/// Sends a result until it is stored or refused.
async fn send(
    artifacts: Artifacts,
    key: AttemptKey,
    result: NewResult,
    sent: Arc<AtomicUsize>,
    done: UnboundedSender<(AttemptKey, Result<(), String>)>,
) {
    let what = match result.epoch {
        Some(epoch) => format!("the result `{}` of {key} after epoch {epoch}", result.kind),
        None => format!("the result `{}` of {key}", result.kind),
    };
    let file = File::result(result.kind, result.epoch, result.content);
    let mut failed = 0;
    let stored = loop {
        let trouble = match artifacts.put(key, &file, &sent).await {
            Ok(()) => break Ok(()),
            Err(trouble) => trouble,
        };
        let reason = trouble.message();
        if matches!(trouble, Trouble::Refused(_)) {
            break Err(format!("the coordinator does not take {what}: {reason}"));
        }
        if failed == 0 {
            warn!("{what} is not stored: {reason}; trying again");
        } else {
            debug!("{what} is not stored: {reason}");
        }
        time::sleep(artifacts.target().patience.delay(failed, random())).await;
        failed = failed.saturating_add(1);
    };
    if stored.is_ok() {
        debug!("{what} is stored");
    }
    // An agent that is gone wants to know nothing.
    let _ = done.send((key, stored));
}
