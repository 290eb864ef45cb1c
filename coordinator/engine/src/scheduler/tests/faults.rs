//! What goes wrong in a simulated cluster.

use foldwise_shared::ids::StudyId;
use foldwise_shared::state::FailureClass;

use super::super::*;
use super::cluster::{Happening, World};
use super::process::Say;

impl World {
    /// One thing goes wrong, or a person does something, and the next is planned.
    pub fn fault(&mut self) {
        let Some(every) = self.fault_every else { return };
        let pause = self.rng.between(every / 2, every * 3 / 2);
        self.later(pause, Happening::Fault);
        if self.people && self.rng.chance(15) {
            self.person_acts();
            return;
        }
        let index = self.rng.next() as usize % self.processes.len();
        match self.rng.between(0, 99) {
            0..20 => self.cut(index),
            20..32 => self.crash(index),
            32..47 => {
                let span = self.rng.between(1, self.options.lease_ms * 3);
                self.mute(index, span);
            }
            47..62 => self.fail_a_task(index),
            62..68 => self.decline(index),
            68..74 => {
                let forget_workers = self.rng.chance(30);
                self.restart(forget_workers);
            }
            74..80 => self.doom(),
            80..85 => self.oversleep(),
            85..88 => self.drain(),
            88..90 => self.double_hello(index),
            90..95 => self.pause(),
            95..98 => self.hang(index),
            _ => {
                let study = self.any_study();
                self.tell(Event::StopStudy(study));
            }
        }
    }

    pub fn any_study(&mut self) -> StudyId {
        StudyId(self.rng.between(1, 3))
    }

    /// A connection is lost, and the worker comes back on a new one: soon, or after its leases expired.
    fn cut(&mut self, index: usize) {
        let (told, in_flight_arrives) = (self.rng.chance(50), self.rng.chance(50));
        self.disconnect(index, told, in_flight_arrives);
        let lease_ms = self.options.lease_ms;
        let delay = self.rng.pick(&[1, 100, lease_ms / 2, lease_ms * 2]);
        self.connect_in(index, delay);
    }

    /// A process dies; whoever started it says so or nobody does. Another takes its place.
    pub fn crash(&mut self, index: usize) {
        let (closed, in_flight_arrives, reported) =
            (self.rng.chance(50), self.rng.chance(50), self.rng.chance(50));
        self.disconnect(index, closed, in_flight_arrives);
        let name = self.processes[index].info.name.clone();
        self.replace_process(index);
        if reported {
            self.later(50, Happening::Say(Event::WorkerDied { name }));
        }
        let delay = self.rng.pick(&[100, 1_000, 20_000]);
        self.connect_in(index, delay);
    }

    fn fail_a_task(&mut self, index: usize) {
        use FailureClass::{Diverged, Error, Invalid, Lost, OutOfMemory, Preempted};
        let class = self.rng.pick(&[Lost, Preempted, Preempted, OutOfMemory, Error, Invalid, Diverged]);
        let before = self.processes[index].outbox.len();
        if let Some(key) = self.processes[index].tasks.keys().next().copied() {
            self.processes[index].end(key, Say::Failed(class));
            self.send_new(index, before);
        }
    }

    /// A driver hangs: the process is alive and trains no more.
    fn hang(&mut self, index: usize) {
        if let Some(task) = self.processes[index].tasks.values_mut().next() {
            task.hung = true;
        }
    }

    fn decline(&mut self, index: usize) {
        let study = self.any_study();
        self.processes[index].declines.insert(study);
    }

    /// The next events are handled, but their commit fails.
    fn doom(&mut self) {
        if self.doomed.is_none() {
            let events = self.rng.between(1, 8) as u32;
            self.doomed = Some((events, self.store.clone()));
        }
    }

    /// The coordinator's machine sleeps while the workers go on.
    fn oversleep(&mut self) {
        let gap = self.rng.between(1, self.options.lease_ms * 2);
        self.now = self.now.plus(gap);
        self.tell(Event::Overslept { gap });
    }

    fn drain(&mut self) {
        self.later(self.options.lease_ms * 2, Happening::Restart { forget_workers: false });
        self.tell(Event::Drain);
    }

    /// A worker opens a second stream without closing the first.
    fn double_hello(&mut self, index: usize) {
        self.disconnect(index, false, true);
        self.connect(index);
    }

    fn pause(&mut self) {
        let study = self.any_study();
        self.tell(Event::PauseStudy(study));
        let span = self.rng.between(1, 20_000);
        self.later(span, Happening::Say(Event::UnpauseStudy(study)));
    }
}
