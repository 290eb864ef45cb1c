//! Time for the engine: UTC milliseconds that never go backwards, whatever happens to the system's clock.
//!
//! While a coordinator runs, a jump of the system's clock does nothing at all; its next start takes a jump forward as time
//! that passed, and a jump back as none.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foldwise_shared::ids::Millis;

/// How far the system's clock may be behind the record without a word: two machines differ by that.
const UNSAID: i64 = 5_000;

/// The system's time at its start, and a monotonic clock from there.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at: Millis,
    started: Instant,
}

impl Clock {
    /// A clock that starts now, but not before the latest time that is `recorded`.
    pub fn start(recorded: Millis) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::start_at(Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)), recorded)
    }

    fn start_at(system: Millis, recorded: Millis) -> Self {
        let behind = recorded.since(system);
        if behind > UNSAID {
            tracing::warn!(
                seconds = behind / 1_000,
                "the system's clock is behind what is recorded; times go on from there until it has caught up and the \
                 coordinator is started again"
            );
        }
        Self { started_at: system.max(recorded), started: Instant::now() }
    }

    /// What time it is.
    pub fn now(&self) -> Millis {
        self.started_at.plus(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_clock_never_starts_before_what_is_recorded() {
        let recorded = Millis(1_700_000_000_000);
        for (jump, start) in [(-HOUR, 0), (-1, 0), (0, 0), (24 * HOUR, 24 * HOUR)] {
            let clock = Clock::start_at(recorded.plus(jump), recorded);
            let first = clock.now();
            assert!((0..60_000).contains(&first.since(recorded.plus(start))), "{jump}: {first:?}");
            assert!(clock.now() >= first);
        }
    }

    #[test]
    fn a_clock_takes_the_systems_time() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
        assert!((0..60_000).contains(&Clock::start(Millis(0)).now().since(Millis(since))));
    }
}
