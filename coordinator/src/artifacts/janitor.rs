//! Removes files that nothing refers to any more, on a thread of its own: nobody waits for a disk to forget.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::Artifacts;

/// The thread that removes. Dropping it waits until all is removed that it was told of.
pub(crate) struct Janitor {
    digests: Option<Sender<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    /// Begins with what an earlier coordinator left.
    pub fn start(artifacts: Arc<Artifacts>) -> std::io::Result<Self> {
        let (digests, receiver) = channel::<Vec<String>>();
        let thread = std::thread::Builder::new().name("artifacts".into()).spawn(move || {
            if let Err(error) = artifacts.sweep() {
                tracing::warn!(%error, "artifacts that nobody needs are not removed");
            }
            while let Ok(mut digests) = receiver.recv() {
                digests.extend(receiver.try_iter().flatten());
                artifacts.tidy(&digests);
            }
        })?;
        Ok(Self { digests: Some(digests), thread: Some(thread) })
    }

    /// Removes these unless something refers to them; does not wait for it.
    pub fn remove(&self, digests: Vec<String>) {
        if let Some(sender) = self.digests.as_ref().filter(|_| !digests.is_empty()) {
            // A thread that is gone leaves them for the next start.
            let _ = sender.send(digests);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.digests.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was printed.
            let _ = thread.join();
        }
    }
}
