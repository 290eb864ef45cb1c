//! Real processes and real faults at random moments, for a given time; then the record is held against what every worker
//! was told.

mod check;
mod crew;
mod fault;
mod harness;
mod head;
mod proxy;
mod report;
mod rights;
mod studies;
mod watcher;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::check::{Findings, check};
pub use self::fault::Fault;
pub use self::harness::run;
pub use self::report::{Report, into_page};
pub use self::watcher::View;

/// What to do, and for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For how long faults are done, at least: each comes at least once.
    pub time: Duration,
    /// Worker processes.
    pub workers: usize,
    /// Where the random moments come from.
    pub seed: u64,
    /// The coordinator is killed, or sent SIGTERM, about this often.
    pub restart_every: Duration,
    /// The lease time.
    pub lease: Duration,
    /// The mean time between two other faults.
    pub pause: Duration,
    /// Images in use: sets how long an epoch takes.
    pub limit: u64,
    /// Epochs of a fold.
    pub epochs: u32,
    /// Trials of a study.
    pub trials: u32,
    /// Megabytes of the disk under the database.
    pub disk: u32,
    /// How long nothing may be recorded after the last fault.
    pub patience: Duration,
}

/// The time of day as the database writes it.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
