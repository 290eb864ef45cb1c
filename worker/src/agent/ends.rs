//! The ends of attempts that are not told yet, because a checkpoint must be stored before.

use std::collections::{BTreeMap, BTreeSet};

use foldwise_shared::ids::AttemptKey;
use tokio::time::Instant;

use super::work::Outcome;

/// What has ended and is not told. Each has a time after which it is told in any case.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<AttemptKey, (Outcome, Instant)>);

impl Ends {
    /// An attempt has ended; it is told by `deadline`.
    pub fn put(&mut self, key: AttemptKey, outcome: Outcome, deadline: Instant) {
        self.0.insert(key, (outcome, deadline));
    }

    /// The end of an attempt, if it is not told; from now on it is.
    pub fn take(&mut self, key: AttemptKey) -> Option<Outcome> {
        self.0.remove(&key).map(|(outcome, _)| outcome)
    }

    /// Whether the fold of an attempt is complete with it.
    pub fn is_complete(&self, key: AttemptKey) -> bool {
        matches!(self.0.get(&key), Some((Outcome::Finished { stopped: false }, _)))
    }

    /// None is told before this time.
    pub fn extend(&mut self, deadline: Instant) {
        for (_, own) in self.0.values_mut() {
            *own = deadline;
        }
    }

    /// When the next is to be told.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|(_, deadline)| *deadline).min()
    }

    /// Those that are to be told by now.
    pub fn overdue(&self, now: Instant) -> Vec<AttemptKey> {
        self.0.iter().filter(|(_, (_, deadline))| *deadline <= now).map(|(key, _)| *key).collect()
    }

    /// The attempts that have ended.
    pub fn keys(&self) -> BTreeSet<AttemptKey> {
        self.0.keys().copied().collect()
    }

    /// Whether all is told.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
