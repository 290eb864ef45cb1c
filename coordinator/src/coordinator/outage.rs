//! When the database takes nothing, on a full disk for instance: what is waited for, how long, and what is said of it.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::CoordinatorError;
use crate::store::StoreError;

/// The pause before the first new try; it doubles with every try in vain, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the log says that an outage lasts.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Failures in a row of a kind that no waiting mends before the loop gives up: the same engine, rebuilt, may not come
/// to the same change again.
const FAILURES: u32 = 5;
/// Tries in vain after which nobody who drains is kept waiting for what cannot be recorded.
const TRIES_OF_A_DRAIN: u32 = 3;

/// The outages of a loop, one at a time.
pub(super) struct Outage {
    now: Option<StoreError>,
    /// Failures since something was recorded.
    tries: u32,
    /// Those among them that no waiting mends.
    lasting: u32,
    since: Instant,
    said: Instant,
    /// What others are told.
    published: watch::Sender<Option<String>>,
}

impl Outage {
    pub fn new(published: watch::Sender<Option<String>>) -> Self {
        let now = Instant::now();
        Self { now: None, tries: 0, lasting: 0, since: now, said: now, published }
    }

    /// Whether nothing can be recorded now.
    pub fn is_on(&self) -> bool {
        self.now.is_some()
    }

    /// Why, if nothing can; for whoever ends in the middle of it.
    pub fn take(&mut self) -> Option<StoreError> {
        self.now.take()
    }

    /// Something could not be recorded, or again not.
    ///
    /// # Errors
    /// There is no use in waiting.
    pub fn failed(&mut self, error: StoreError) -> Result<(), StoreError> {
        if matches!(error, StoreError::Damaged { .. }) {
            return Err(error);
        }
        self.lasting += u32::from(!error.may_pass());
        if self.lasting >= FAILURES {
            return Err(error);
        }
        let now = Instant::now();
        if self.tries == 0 {
            self.since = now;
            tracing::error!(
                %error,
                "a change could not be recorded; nothing of it was sent. Workers train on, and it is tried again"
            );
            self.said = now;
        } else if now.duration_since(self.said) >= SAY_AGAIN {
            let seconds = now.duration_since(self.since).as_secs();
            tracing::error!(%error, seconds, tries = self.tries, "still nothing can be recorded; it is tried again");
            self.said = now;
        }
        self.tries = self.tries.saturating_add(1);
        self.published.send_replace(Some(error.to_string()));
        self.now = Some(error);
        Ok(())
    }

    /// How long to wait before the next try.
    pub fn pause(&self) -> Duration {
        let doubled = 1 << self.tries.saturating_sub(1).min(8);
        FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
    }

    /// The database can be read and written again.
    pub fn over(&mut self) {
        self.now = None;
        self.published.send_replace(None);
    }

    /// Something was recorded.
    pub fn recorded(&mut self) {
        if self.tries > 0 {
            let seconds = self.since.elapsed().as_secs();
            tracing::warn!(seconds, tries = self.tries, "changes are recorded again");
            (self.tries, self.lasting) = (0, 0);
        }
    }

    /// Whether one who drains has waited long enough: what cannot be recorded, its workers still owe.
    pub fn ends_a_drain(&self) -> bool {
        self.is_on() && self.tries > TRIES_OF_A_DRAIN
    }

    /// What somebody is told who asks for something meanwhile.
    pub fn refusal(&self) -> CoordinatorError {
        match &self.now {
            Some(error) => not_recorded(error),
            None => CoordinatorError::Closed,
        }
    }
}

/// Nothing of what was asked for happened, because of `error`.
pub(super) fn not_recorded(error: &StoreError) -> CoordinatorError {
    if error.may_pass() {
        CoordinatorError::Outage(error.to_string())
    } else {
        CoordinatorError::NotRecorded(error.to_string())
    }
}
