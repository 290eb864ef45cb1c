//! How attempts end: when their end may be told, and as what.

use foldwise_shared::ids::AttemptKey;
use foldwise_shared::state::FailureClass;
use tokio::time::Instant;

use super::outbox::Report;
use super::work::Outcome;
use super::{Agent, HOLD, Link};

/// The end of an attempt that trained to its end and did not get to store all its results. As finished its fold would be
/// complete for good without them; this way another attempt makes them, from the last checkpoint if there is one.
pub(super) const HANDED_BACK: Outcome = Outcome::Finished { stopped: true };

impl Agent {
    /// An attempt has ended. Where another is to go on from a checkpoint of it, that must be there before, and so must its
    /// results: with its end acknowledged, the attempt is no more, and neither is its right to store something.
    pub(super) fn end(&mut self, key: AttemptKey, outcome: Outcome, interrupted: bool, link: &Link) {
        let outcome = match self.results.refused(key).map_or(outcome, refused) {
            Outcome::Finished { stopped: false } if interrupted && self.results.are_missing(key) => {
                HANDED_BACK
            }
            outcome => outcome,
        };
        let results = self.results.is_busy(key);
        let wants = match &outcome {
            Outcome::Finished { stopped: true } => {
                !interrupted && (results || self.uploads.is_busy(key, false))
            }
            Outcome::Finished { stopped: false } => results || self.uploads.is_busy(key, true),
            Outcome::Failed { class, .. } => {
                let hopeless = matches!(class, FailureClass::Diverged | FailureClass::Invalid);
                results || !hopeless && self.uploads.is_busy(key, false)
            }
            Outcome::Declined { .. } => false,
        };
        self.ends.put(key, outcome, Instant::now() + HOLD, self.sent(key));
        if !wants {
            self.tell_end(key, link);
        }
    }

    /// How much of what an attempt stores has been sent: it changes while that gets on.
    pub(super) fn sent(&self, key: AttemptKey) -> usize {
        self.uploads.sent(key).wrapping_add(self.results.sent(key))
    }

    /// A result that the coordinator does not take fails its attempt: trying again would end the same way.
    pub(super) fn fail_if_refused(&mut self, key: AttemptKey) {
        if let Some(message) = self.results.refused(key) {
            self.ends.replace(key, refused(message));
            self.attempts.stop(key, false);
        }
    }

    /// Tells of an end whose files have arrived, or will not.
    pub(super) fn tell_end_if_free(&mut self, key: AttemptKey, link: &Link) {
        let complete = self.ends.is_complete(key);
        if !self.uploads.is_busy(key, complete) && !self.results.is_busy(key) {
            self.tell_end(key, link);
        }
    }

    /// Tells of the end of an attempt, if it waits to be told.
    pub(super) fn tell_end(&mut self, key: AttemptKey, link: &Link) {
        if let Some(outcome) = self.ends.take(key) {
            self.uploads.forget(key);
            self.results.forget(key);
            self.say(key, Report::End(outcome), link);
        }
    }
}

/// How an attempt ends of which a result is not taken.
fn refused(message: &str) -> Outcome {
    Outcome::Failed { class: FailureClass::Invalid, message: message.to_owned() }
}
