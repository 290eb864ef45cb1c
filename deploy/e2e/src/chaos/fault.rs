//! The faults there are, and the deck they are drawn from.

use std::collections::VecDeque;
use std::fmt;

use crate::random::Random;

/// What is done to a running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a worker.
    WorkerKill,
    /// SIGTERM to a worker: it drains.
    WorkerDrain,
    /// A worker stands still for less than its lease.
    WorkerShortStop,
    /// A worker stands still for longer than its lease.
    WorkerLongStop,
    /// `kill -9` of the coordinator.
    CoordinatorKill,
    /// SIGTERM to the coordinator.
    CoordinatorTerm,
    /// The coordinator stands still for less than a lease.
    CoordinatorShortStop,
    /// The coordinator stands still for longer than a lease.
    CoordinatorLongStop,
    /// Both sides see their connection end, and no new one comes about for a while.
    Cut,
    /// Nothing passes while the connection stays open; then all of it arrives.
    Held,
    /// What is sent is swallowed while the connection stays open; then it ends.
    Swallowed,
    /// What the worker says is held back; what it is told arrives.
    DeafCoordinator,
    /// What the worker is told is held back; what it says arrives.
    DeafWorker,
    /// Everything arrives late.
    Late,
    /// The link of a worker's own network is taken down.
    LinkDown,
    /// The disk under the database is full.
    DiskFull,
}

/// What a fault is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A worker's process.
    Worker,
    /// The coordinator's process.
    Coordinator,
    /// The way between one worker and the coordinator.
    Network,
    /// The link of the one worker with a network of its own.
    Link,
    /// The disk under the database.
    Disk,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::WorkerKill,
        Self::WorkerDrain,
        Self::WorkerShortStop,
        Self::WorkerLongStop,
        Self::CoordinatorKill,
        Self::CoordinatorTerm,
        Self::CoordinatorShortStop,
        Self::CoordinatorLongStop,
        Self::Cut,
        Self::Held,
        Self::Swallowed,
        Self::DeafCoordinator,
        Self::DeafWorker,
        Self::Late,
        Self::LinkDown,
        Self::DiskFull,
    ];

    /// What it is done to.
    pub fn subject(self) -> Subject {
        match self {
            Self::WorkerKill | Self::WorkerDrain | Self::WorkerShortStop | Self::WorkerLongStop => {
                Subject::Worker
            }
            Self::CoordinatorKill
            | Self::CoordinatorTerm
            | Self::CoordinatorShortStop
            | Self::CoordinatorLongStop => Subject::Coordinator,
            Self::Cut
            | Self::Held
            | Self::Swallowed
            | Self::DeafCoordinator
            | Self::DeafWorker
            | Self::Late => Subject::Network,
            Self::LinkDown => Subject::Link,
            Self::DiskFull => Subject::Disk,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WorkerKill => "worker: kill -9",
            Self::WorkerDrain => "worker: SIGTERM (drain)",
            Self::WorkerShortStop => "worker: SIGSTOP, shorter than its lease",
            Self::WorkerLongStop => "worker: SIGSTOP, longer than its lease",
            Self::CoordinatorKill => "coordinator: kill -9",
            Self::CoordinatorTerm => "coordinator: SIGTERM",
            Self::CoordinatorShortStop => "coordinator: SIGSTOP, shorter than a lease",
            Self::CoordinatorLongStop => "coordinator: SIGSTOP, longer than a lease",
            Self::Cut => "network: cut, both sides closed",
            Self::Held => "network: half-open, delivered afterwards",
            Self::Swallowed => "network: half-open, bytes swallowed",
            Self::DeafCoordinator => "network: nothing from the worker",
            Self::DeafWorker => "network: nothing to the worker",
            Self::Late => "network: everything late",
            Self::LinkDown => "network: link down (own namespace)",
            Self::DiskFull => "disk: full",
        })
    }
}

/// A shuffled deck without end: every fault comes once before any comes again.
#[derive(Debug)]
pub struct Deck {
    faults: Vec<Fault>,
    drawn: VecDeque<Fault>,
}

impl Deck {
    /// A deck of these faults.
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { faults, drawn: VecDeque::new() }
    }

    /// The topmost fault that can be done now.
    pub fn draw(&mut self, random: &mut Random, can: impl Fn(Fault) -> bool) -> Option<Fault> {
        if self.drawn.is_empty() {
            let mut faults = self.faults.clone();
            random.shuffle(&mut faults);
            self.drawn.extend(faults);
        }
        let place = self.drawn.iter().position(|fault| can(*fault))?;
        self.drawn.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_once_before_any_twice() {
        let (mut random, mut deck) = (Random::new(1), Deck::new(Fault::ALL.to_vec()));
        for _ in 0..3 {
            let mut round: Vec<Fault> =
                Fault::ALL.iter().filter_map(|_| deck.draw(&mut random, |_| true)).collect();
            round.sort();
            assert_eq!(round, Fault::ALL);
        }
    }

    #[test]
    fn what_cannot_be_done_now_stays_on_top() {
        let (mut random, mut deck) = (Random::new(1), Deck::new(vec![Fault::Cut, Fault::DiskFull]));
        assert_eq!(deck.draw(&mut random, |fault| fault == Fault::DiskFull), Some(Fault::DiskFull));
        assert_eq!(deck.draw(&mut random, |fault| fault == Fault::DiskFull), None);
        assert_eq!(deck.draw(&mut random, |_| true), Some(Fault::Cut));
    }
}
