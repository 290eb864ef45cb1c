//! The ends of attempts that are not told yet, because a checkpoint or results must be stored before.

use std::collections::{BTreeMap, BTreeSet};

use foldwise_shared::ids::AttemptKey;
use tokio::time::Instant;

use super::work::Outcome;

/// An end that is not told.
#[derive(Debug)]
struct End {
    outcome: Outcome,
    deadline: Instant,
    /// How much of its files had been sent when the deadline was set.
    sent: usize,
}

/// What has ended and is not told. Each has a time after which it is told in any case.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<AttemptKey, End>);

impl Ends {
    /// An attempt has ended; it is told by `deadline`, unless more than `sent` of its checkpoint has been sent by then.
    pub fn put(&mut self, key: AttemptKey, outcome: Outcome, deadline: Instant, sent: usize) {
        self.0.insert(key, End { outcome, deadline, sent });
    }

    /// The end of an attempt, if it is not told; from now on it is.
    pub fn take(&mut self, key: AttemptKey) -> Option<Outcome> {
        self.0.remove(&key).map(|end| end.outcome)
    }

    /// Whether the fold of an attempt is complete with it.
    pub fn is_complete(&self, key: AttemptKey) -> bool {
        matches!(self.0.get(&key), Some(End { outcome: Outcome::Finished { stopped: false }, .. }))
    }

    /// Whether an attempt has ended as planned.
    pub fn is_finished(&self, key: AttemptKey) -> bool {
        matches!(self.0.get(&key), Some(End { outcome: Outcome::Finished { .. }, .. }))
    }

    /// The attempt ended in another way than it said, if its end is not told.
    pub fn replace(&mut self, key: AttemptKey, outcome: Outcome) {
        if let Some(end) = self.0.get_mut(&key) {
            end.outcome = outcome;
        }
    }

    /// The end of this attempt is not told before this time.
    pub fn wait(&mut self, key: AttemptKey, deadline: Instant) {
        if let Some(end) = self.0.get_mut(&key) {
            end.deadline = deadline;
        }
    }

    /// None is told before this time.
    pub fn extend(&mut self, deadline: Instant) {
        for end in self.0.values_mut() {
            end.deadline = deadline;
        }
    }

    /// Whether the checkpoint of an overdue end has got further since its deadline was set; then `deadline` is its new one.
    pub fn gets_on(&mut self, key: AttemptKey, sent: usize, deadline: Instant) -> bool {
        let Some(end) = self.0.get_mut(&key).filter(|end| end.sent != sent) else { return false };
        (end.sent, end.deadline) = (sent, deadline);
        true
    }

    /// When the next is to be told.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|end| end.deadline).min()
    }

    /// Those that are to be told by now.
    pub fn overdue(&self, now: Instant) -> Vec<AttemptKey> {
        self.0.iter().filter(|(_, end)| end.deadline <= now).map(|(key, _)| *key).collect()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use foldwise_shared::ids::{Attempt, FoldIndex, StudyId, TrialNumber};

    use super::*;

    #[test]
    fn an_upload_that_gets_on_is_waited_for() {
        let key =
            AttemptKey { study: StudyId(1), trial: TrialNumber(2), fold: FoldIndex(3), attempt: Attempt(4) };
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(30));
        let mut ends = Ends::default();
        ends.put(key, Outcome::Finished { stopped: true }, now, 0);
        assert_eq!(ends.overdue(now), [key]);
        assert!(ends.gets_on(key, 7, later));
        assert!(ends.overdue(now).is_empty());
        assert_eq!(ends.overdue(later), [key]);
        assert!(!ends.gets_on(key, 7, later), "nothing more was sent");
    }
}
