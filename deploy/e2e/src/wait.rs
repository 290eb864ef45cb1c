//! Waiting for something to become true, never for time to pass.

use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked again.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `look` finds something.
///
/// # Panics
/// It does not within two minutes.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// As [`until`], with another limit.
///
/// # Panics
/// It does not within `limit`.
pub fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(PAUSE);
    }
}
