//! A process that trains nothing itself: it keeps one worker process for each device, because libtorch's random numbers
//! are global to a process, and a driver that crashes then takes one device's folds and no others.
//!
//! Each child holds a pipe from us and ends at its end of file, so that a supervisor that dies leaves none behind;
//! each is in a process group of its own, so that a Ctrl-C is ours to pass on, once.

mod child;
mod inherit;
mod placement;
mod signals;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::child::End;
pub use self::inherit::variables;
pub use self::placement::{Devices, DevicesError, Placement};
pub use self::signals::listen_for_signals;

use crate::agent::Shutdown;

/// How every child is started.
#[derive(Debug, Clone)]
pub struct Order {
    /// The worker's binary.
    pub program: PathBuf,
    /// Words before the flags that we add; none for the worker's binary.
    pub words: Vec<OsString>,
    /// Variables that a child gets besides our own ones.
    pub variables: Vec<(OsString, OsString)>,
    /// The name that each child gets with its device behind it.
    pub name: String,
    /// Whether a child that found no coordinator has looked for one long enough.
    pub gives_up: bool,
    /// When a child is started again.
    pub pace: Pace,
}

/// When a child that died is started again.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Before the first time; every other waits twice as long as the one before it.
    pub first: Duration,
    /// Before any time.
    pub longest: Duration,
    /// A child that lived this long died of something new.
    pub healthy: Duration,
    /// How often in a row a child may die sooner than that.
    pub deaths: u32,
    /// How long a child that is to end at once may take.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            healthy: Duration::from_secs(60),
            deaths: 6,
            grace: Duration::from_secs(3),
        }
    }
}

/// Keeps a child for each placement until all have ended for good; says how, in the order of the placements.
/// `shutdown` drains them, and then ends them at once.
pub async fn supervise(
    order: Order,
    placements: Vec<Placement>,
    shutdown: watch::Receiver<Shutdown>,
) -> Vec<End> {
    let mut tasks = JoinSet::new();
    let mut ends = vec![End::Failed; placements.len()];
    for (index, placement) in placements.into_iter().enumerate() {
        let (order, shutdown) = (order.clone(), shutdown.clone());
        tasks.spawn(async move { (index, child::keep(&order, &placement, shutdown).await) });
    }
    while let Some(ended) = tasks.join_next().await {
        if let Ok((index, end)) = ended
            && let Some(place) = ends.get_mut(index)
        {
            *place = end;
        }
    }
    ends
}

/// What all ends together come to: drained or misconfigured only if all are.
pub fn together(ends: &[End]) -> End {
    match ends.split_first() {
        _ if ends.contains(&End::Interrupted) => End::Interrupted,
        Some((first, rest)) if rest.iter().all(|end| end == first) => *first,
        _ => End::Failed,
    }
}
