//! The faults: which comes next and to whom, and how each is done.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::{APART, Filled, Harness, Later};
use crate::chaos::crew::Fate;
use crate::chaos::fault::{Fault, Subject};
use crate::chaos::now_ms;
use crate::chaos::proxy::Line;
use crate::chaos::report::Kill;

/// For how long a full disk waits for the coordinator's complaint.
const COMPLAINT: Duration = Duration::from_secs(20);
/// Keep-alives take 20 seconds to notice a half-open connection. Runs of at least this time have some that last longer.
const LONG_RUN: Duration = Duration::from_secs(300);

impl Harness<'_> {
    pub(super) fn link(&mut self, up: bool) -> anyhow::Result<()> {
        if let (Some(namespace), Some(member)) = (&self.namespace, self.crew.get_mut(APART)) {
            namespace.link(up).map_err(anyhow::Error::msg)?;
            member.link_is_down = !up;
        }
        Ok(())
    }

    fn fill_disk(&mut self) -> anyhow::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let reader = rusqlite::Connection::open_with_flags(
            self.database.path(),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        );
        let reader =
            reader.ok().filter(|reader| reader.execute_batch("BEGIN; SELECT count(*) FROM study;").is_ok());
        let bytes = disk.fill().context("failed to fill the disk")?;
        self.head.disk(true);
        self.filled = Some(Filled {
            since: Instant::now(),
            complaints: self.head.complaints(),
            starts: self.head.starts,
            reader,
        });
        self.say(&format!("{bytes} bytes fill the disk"));
        Ok(())
    }

    /// Frees a full disk a while after the coordinator has complained, or when it has nothing to record.
    pub(super) fn watch_disk(&mut self) {
        let Some(filled) = &self.filled else { return };
        if self.later.iter().any(|(_, what)| matches!(what, Later::FreeDisk)) {
            return;
        }
        let complains = self.head.starts > filled.starts
            || self.head.fate == Fate::Gone
            || self.head.complaints() > filled.complaints;
        if complains || filled.since.elapsed() > COMPLAINT {
            self.complained += u32::from(complains);
            // Some last longer than the coordinator tries.
            let most = if self.random.up_to(2) == 0 && self.settings.time >= LONG_RUN { 20.0 } else { 5.0 };
            let delay = self.random.seconds(0.2, most);
            self.later.push((Instant::now() + delay, Later::FreeDisk));
        }
    }

    pub(super) fn free_disk(&mut self) -> anyhow::Result<()> {
        if let Some(disk) = &self.disk {
            disk.free().context("failed to free the disk")?;
        }
        if let Some(Filled { reader: Some(reader), .. }) = self.filled.take() {
            // Its transaction ends with it.
            drop(reader);
        }
        self.head.disk(false);
        Ok(())
    }

    pub(super) fn maybe_fault(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if now >= self.next_restart && self.head.address().is_some() {
            let every = self.settings.restart_every;
            self.next_restart =
                now + every.mul_f64(0.75) + every.mul_f64(self.random.up_to(500) as f64 / 1000.0);
            let fault = if self.next_kill_is_hard { Fault::CoordinatorKill } else { Fault::CoordinatorTerm };
            self.next_kill_is_hard = !self.next_kill_is_hard;
            return self.fault(fault, 0);
        }
        if now < self.next_fault {
            return Ok(());
        }
        let mean = self.settings.pause.as_secs_f64();
        self.next_fault = now + self.random.seconds(mean * 0.1, mean * 1.9);
        let targets = |fault: Fault| -> Vec<usize> {
            let all = 0..self.crew.len();
            match fault.subject() {
                Subject::Worker => all.filter(|index| self.crew[*index].is_well()).collect(),
                Subject::Network => all.filter(|index| self.crew[*index].is_reachable()).collect(),
                Subject::Link => {
                    all.filter(|index| *index == APART && self.crew[*index].is_reachable()).collect()
                }
                Subject::Coordinator => (0..usize::from(self.head.address().is_some())).collect(),
                Subject::Disk => {
                    (0..usize::from(self.head.address().is_some() && self.filled.is_none())).collect()
                }
            }
        };
        let Some(fault) = self.deck.draw(&mut self.random, |fault| !targets(fault).is_empty()) else {
            return Ok(());
        };
        let targets = targets(fault);
        let index = targets[self.random.up_to(targets.len() as u64 - 1) as usize];
        self.fault(fault, index)
    }

    fn fault(&mut self, fault: Fault, index: usize) -> anyhow::Result<()> {
        *self.counts.entry(fault).or_default() += 1;
        let whom = match fault.subject() {
            Subject::Worker | Subject::Network | Subject::Link => format!(" ({})", self.crew[index].name),
            Subject::Coordinator | Subject::Disk => String::new(),
        };
        let lease = self.settings.lease.as_secs_f64();
        let now = Instant::now();
        let after = |harness: &mut Self, least: f64, most: f64, what: Later| {
            let time = harness.random.seconds(least, most);
            harness.later.push((now + time, what));
            time
        };
        let time = match fault {
            Fault::WorkerKill => {
                self.kills.push(Kill { worker: self.crew[index].name.clone(), at: now_ms() });
                self.crew[index].signal(Signal::KILL, Fate::Killed);
                None
            }
            Fault::WorkerDrain => {
                self.crew[index].signal(Signal::TERM, Fate::Asked(now));
                None
            }
            Fault::WorkerShortStop | Fault::WorkerLongStop => {
                self.crew[index].signal(Signal::STOP, Fate::Stopped);
                let (least, most) = if fault == Fault::WorkerShortStop { (0.1, 0.6) } else { (1.2, 3.0) };
                Some(after(self, lease * least, lease * most, Later::ContinueWorker(index)))
            }
            Fault::CoordinatorKill => {
                self.head.signal(Signal::KILL, Fate::Killed);
                None
            }
            Fault::CoordinatorTerm => {
                self.head.signal(Signal::TERM, Fate::Asked(now));
                None
            }
            Fault::CoordinatorShortStop | Fault::CoordinatorLongStop => {
                self.head.signal(Signal::STOP, Fate::Stopped);
                let (least, most) =
                    if fault == Fault::CoordinatorShortStop { (0.1, 0.6) } else { (1.2, 2.5) };
                Some(after(self, lease * least, lease * most, Later::ContinueCoordinator))
            }
            Fault::Cut
            | Fault::Held
            | Fault::Swallowed
            | Fault::DeafCoordinator
            | Fault::DeafWorker
            | Fault::Late => {
                let line = match fault {
                    Fault::Cut => Line::Cut,
                    Fault::Swallowed => Line::Swallowed,
                    Fault::DeafCoordinator => Line::Held { up: true, down: false },
                    Fault::DeafWorker => Line::Held { up: false, down: true },
                    Fault::Late => Line::Late(self.random.seconds(0.1, 0.8)),
                    _ => Line::Held { up: true, down: true },
                };
                self.crew[index].proxy.set(line);
                let is_long =
                    fault == Fault::Swallowed && self.settings.time >= LONG_RUN && self.random.up_to(3) == 0;
                let (least, most) = if is_long { (22.0, 28.0) } else { (lease * 0.3, lease * 2.0) };
                Some(after(self, least, most, Later::Heal(index)))
            }
            Fault::LinkDown => {
                self.link(false)?;
                Some(after(self, lease * 0.5, lease * 2.5, Later::LinkUp))
            }
            Fault::DiskFull => {
                self.fill_disk()?;
                None
            }
        };
        let time = time.map(|time| format!(", for {:.1} s", time.as_secs_f64())).unwrap_or_default();
        self.say(&format!("{fault}{whom}{time}"));
        Ok(())
    }
}
