//! Time for the engine: UTC milliseconds that never go backwards, whatever happens to the system's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foldwise_shared::ids::Millis;

/// The system's time at its start, and a monotonic clock from there.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at: Millis,
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            started_at: Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            started: Instant::now(),
        }
    }

    /// What time it is.
    pub fn now(&self) -> Millis {
        self.started_at.plus(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
