//! A cluster in virtual time: one scheduler with its store, workers, and a network between them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash};

use foldwise_shared::artifact::{Artifact, ResultFile};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::ids::{AttemptKey, Epoch, Millis, SessionId};
use foldwise_shared::state::StudyState;

use super::super::*;
use super::askers::Asker;
use super::invariants::{self, Step, Word};
use super::plan::{Plan, Rng};
use super::process::Process;
use super::store::Store;

pub struct World {
    pub now: Millis,
    pub rng: Rng,
    /// What was answered last.
    pub answer: Option<Result<Answer, Refusal>>,
    pub options: Options,
    pub scheduler: Scheduler,
    pub store: Store,
    pub processes: Vec<Process>,
    pub askers: Vec<Asker>,
    queue: BTreeMap<(Millis, u64), Happening>,
    order: u64,
    links: BTreeMap<SessionId, Link>,
    last_session: u64,
    pub last_incarnation: u64,
    /// Events that will be handled and never committed, and the store as it was before them.
    pub doomed: Option<(u32, Store)>,
    pub fault_every: Option<i64>,
    /// Whether people extend, delete, retry and drain meanwhile.
    pub people: bool,
    /// A second scheduler that must do the same.
    pub twin: Option<Scheduler>,
    /// All that was ever commanded, if it is wanted.
    pub log: Option<DefaultHasher>,
    pub handled: u64,
}

/// A stream, as the network sees it.
struct Link {
    worker: usize,
    /// What is on the way to the coordinator arrives.
    up: bool,
    /// When the last message of each direction arrives: none overtakes another.
    last: [Millis; 2],
    muted_until: Millis,
}

pub enum Happening {
    Up(SessionId, Event),
    Down(SessionId, ToWorker),
    /// Of the process of this incarnation.
    Train(usize, AttemptKey),
    Beat(usize, SessionId),
    Connect(usize, String),
    /// A person or the system says something to the coordinator.
    Say(Event),
    Fault,
    /// A program that asks for trials does its next step.
    Asker(usize),
    Restart {
        forget_workers: bool,
    },
    /// Whoever paused a study lets it go on, for all that is wrong is over.
    Unpause,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut rng = Rng(plan.seed ^ 0xC1);
        let options = Options { lease_ms: plan.lease_ms, ..Options::default() };
        let now = Millis(1_000_000);
        let (scheduler, commands) = Scheduler::restore(Snapshot::default(), options, now);
        assert_eq!(commands, []);
        let mut world = Self {
            now,
            options,
            scheduler,
            store: Store::default(),
            processes: Vec::new(),
            askers: Vec::new(),
            queue: BTreeMap::new(),
            order: 0,
            links: BTreeMap::new(),
            last_session: 0,
            last_incarnation: 0,
            doomed: None,
            fault_every: plan.fault_every,
            people: true,
            twin: None,
            log: None,
            handled: 0,
            rng: rng.clone(),
            answer: None,
        };
        for (index, (slots, epoch_ms)) in plan.workers.iter().enumerate() {
            world.processes.push(Process::new(&format!("w{index}"), 0, *slots, *epoch_ms));
            world.connect_in(index, rng.between(0, 2_000));
        }
        for (index, study) in plan.studies.into_iter().enumerate() {
            let delay = if index == 0 { 0 } else { rng.between(0, 20_000) };
            world.later(delay, Happening::Say(Event::CreateStudy(Box::new(study))));
        }
        for index in 0..plan.askers {
            let delay = world.rng.between(0, 2_000);
            world.later(delay, Happening::Asker(index));
            world.askers.push(Asker::default());
        }
        if plan.fault_every.is_some() {
            world.later(0, Happening::Fault);
        }
        world.later(plan.calm_at, Happening::Unpause);
        world
    }

    /// Runs until every study ended, or panics if that takes too long.
    pub fn run(&mut self) {
        while self.step() {}
        invariants::every_study_ended(&self.store);
        invariants::only_complete_folds_keep_checkpoints(&self.store);
        invariants::every_epoch_ever_acknowledged_is_stored_once(&self.store);
        invariants::a_replay_comes_to_the_recorded_decisions(&self.store);
    }

    /// Lets the next thing happen; false when all is over.
    pub fn step(&mut self) -> bool {
        let Some((&(at, order), _)) = self.queue.first_key_value() else { return false };
        if let Some(deadline) = self.scheduler.next_deadline().filter(|deadline| *deadline <= at) {
            self.now = self.now.max(deadline);
            self.tell(Event::Tick);
            return true;
        }
        let Some(happening) = self.queue.remove(&(at, order)) else { return false };
        self.now = self.now.max(at);
        let states = || self.store.studies.values().map(|row| (row.state, &row.message)).collect::<Vec<_>>();
        assert!(
            self.order < 1_000_000 && self.now < Millis(1_000_000_000),
            "it does not end: {:?}",
            states()
        );
        self.happen(happening);
        self.doomed.is_some() || !self.is_calm() || !self.is_over()
    }

    pub fn is_calm(&self) -> bool {
        self.fault_every.is_none()
    }

    /// Whether a study is still to be created.
    pub fn has_study_to_create(&self) -> bool {
        self.queue.values().any(|happening| matches!(happening, Happening::Say(Event::CreateStudy(_))))
    }

    fn is_over(&self) -> bool {
        !self.has_study_to_create()
            && self.store.studies.values().all(|study| study.state == StudyState::Ended)
    }

    pub fn later(&mut self, delay: i64, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now.plus(delay), self.order), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Up(session, event) => {
                if self.links.get(&session).is_some_and(|link| link.up) {
                    self.tell(event);
                }
            }
            Happening::Down(session, message) => self.deliver(session, message),
            Happening::Train(index, key) => self.train(index, key),
            Happening::Beat(index, session) => {
                if self.processes[index].session == Some(session) {
                    self.send_up(session, Event::Heartbeat { session, device_use: None });
                    self.later(self.options.lease_ms / 3, Happening::Beat(index, session));
                }
            }
            Happening::Connect(index, incarnation) => {
                if self.processes[index].info.incarnation == incarnation
                    && self.processes[index].session.is_none()
                {
                    self.connect(index);
                }
            }
            Happening::Say(event) => self.tell(event),
            Happening::Fault => self.fault(),
            Happening::Asker(index) => self.asker_acts(index),
            Happening::Restart { forget_workers } => self.restart(forget_workers),
            Happening::Unpause => {
                self.fault_every = None;
                self.processes.iter_mut().for_each(|process| process.declines.clear());
                let paused = |(id, study): (&_, &super::store::StudyRow)| {
                    (study.state == StudyState::Paused).then_some(*id)
                };
                for study in self.store.studies.iter().filter_map(paused).collect::<Vec<_>>() {
                    self.tell(Event::UnpauseStudy(study));
                }
                for name in self.store.drained_workers.keys().cloned().collect::<Vec<_>>() {
                    self.tell(Event::UndrainWorker { name });
                }
                self.later(5_000, Happening::Unpause);
            }
        }
    }

    /// The coordinator handles an event, checks everything, and sends what it has to.
    pub fn tell(&mut self, event: Event) {
        let event = match event {
            // What the record says of it.
            Event::Result { incarnation, key, result, .. } => {
                let before = self.store.result_before(key, &result.kind, result.epoch);
                Event::Result { incarnation, key, result, before }
            }
            event => event,
        };
        let word = Word::of(&event, &self.scheduler);
        let uploaded = match &event {
            Event::Checkpoint { checkpoint, .. } => Some(checkpoint.digest.clone()),
            Event::Result { result, .. } => Some(result.file.digest.clone()),
            _ => None,
        };
        self.store.artifacts.extend(uploaded.clone());
        let commands = self.scheduler.handle(self.now, event.clone());
        self.handled += 1;
        if let Some(log) = &mut self.log {
            format!("{:?} {commands:?}", self.now).hash(log);
        }
        if let Some(twin) = &mut self.twin {
            let theirs = twin.handle(self.now, event.clone());
            let lasting = |commands: &[Command]| -> Vec<Command> {
                let is_time =
                    |command: &&Command| matches!(command, Command::Write(Write::RunningTime { .. }));
                commands.iter().filter(|command| !is_time(command)).cloned().collect()
            };
            assert_eq!(lasting(&commands), lasting(&theirs), "{event:?}");
        }
        self.apply(&commands);
        let mut seals = std::mem::take(&mut self.store.sealed);
        let step = Step {
            now: self.now,
            event: &event,
            word,
            commands: &commands,
            store: &self.store,
            scheduler: &self.scheduler,
        };
        invariants::check(&step, &mut seals);
        self.store.sealed = seals;
        if let Some((left, _)) = &mut self.doomed {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.restart(false);
            }
            return;
        }
        for command in commands {
            match command {
                Command::Write(_) => {}
                Command::Discard { digest } => self.store.discard(&digest),
                Command::Reply(answer) => {
                    if let (Some(digest), Err(_)) = (&uploaded, &answer) {
                        self.store.discard(digest);
                    }
                    self.answer = Some(answer);
                }
                Command::Send { session, message } => self.send_down(session, message),
                Command::Close { session } => self.close(session),
                Command::Phase { .. } => {}
                Command::Drained => self.later(500, Happening::Restart { forget_workers: false }),
            }
        }
    }

    pub fn apply(&mut self, commands: &[Command]) {
        for command in commands {
            if let Command::Write(write) = command {
                self.store.apply(write);
            }
        }
    }

    /// The coordinator's process ends and starts again; what was not committed is gone.
    pub fn restart(&mut self, forget_workers: bool) {
        if let Some((_, committed)) = self.doomed.take() {
            self.store = committed;
        }
        invariants::every_epoch_ever_acknowledged_is_stored_once(&self.store);
        self.links.clear();
        self.queue.retain(|_, happening| {
            !matches!(happening, Happening::Up(..) | Happening::Down(..) | Happening::Restart { .. })
        });
        let all_are_new = forget_workers && self.rng.chance(70);
        for index in 0..self.processes.len() {
            if all_are_new {
                self.replace_process(index);
            }
            self.processes[index].session = None;
            let delay = self.rng.pick(&[10, 500, 5_000]);
            self.connect_in(index, delay);
        }
        let open_leases = if forget_workers { OpenLeases::Ended } else { OpenLeases::Renewed };
        let options = Options { open_leases, ..self.options };
        let (scheduler, commands) = Scheduler::restore(self.store.snapshot(), options, self.now);
        self.scheduler = scheduler;
        self.apply(&commands);
        self.store.sweep();
        for (id, study) in &self.store.studies {
            for number in 0..study.trials.len() {
                invariants::check_trial(&self.store, *id, foldwise_shared::ids::TrialNumber(number as u32));
            }
        }
        invariants::the_scheduler_agrees_with_the_store(&self.store, &self.scheduler);
    }

    pub fn replace_process(&mut self, index: usize) {
        self.last_incarnation += 1;
        let Process { info, slots, epoch_ms, .. } = &self.processes[index];
        self.processes[index] = Process::new(&info.name, self.last_incarnation, *slots, *epoch_ms);
    }

    pub fn connect_in(&mut self, index: usize, delay: i64) {
        let incarnation = self.processes[index].info.incarnation.clone();
        self.later(delay, Happening::Connect(index, incarnation));
    }

    pub fn connect(&mut self, index: usize) {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.links
            .insert(session, Link { worker: index, up: true, last: [self.now; 2], muted_until: self.now });
        let process = &mut self.processes[index];
        process.session = Some(session);
        let hello = Event::Hello { session, worker: process.info.clone(), held: process.held() };
        let slots = process.slots;
        let owed: Vec<Event> = process.outbox.iter().map(|message| message.on(session)).collect();
        for event in [hello, Event::Ready { session, slots }].into_iter().chain(owed) {
            self.send_up(session, event);
        }
        self.later(self.options.lease_ms / 3, Happening::Beat(index, session));
    }

    /// The worker gives its stream up. The coordinator may hear of it, and of what is still on the way.
    pub fn disconnect(&mut self, index: usize, told: bool, in_flight_arrives: bool) {
        let Some(session) = self.processes[index].session.take() else { return };
        if !in_flight_arrives {
            self.queue.retain(|_, happening| !matches!(happening, Happening::Up(of, _) if *of == session));
        }
        if told {
            self.send_up(session, Event::SessionClosed { session });
        }
    }

    /// The coordinator closes a stream. The worker gave it up already, or sees that and opens another: a hello that
    /// was on its way for long can replace a newer one.
    fn close(&mut self, session: SessionId) {
        let Some(link) = self.links.remove(&session) else { return };
        if self.processes[link.worker].session == Some(session) {
            self.processes[link.worker].session = None;
            self.connect_in(link.worker, 100);
        }
    }

    /// Nothing arrives for a while, in both directions, and then everything.
    pub fn mute(&mut self, index: usize, span: i64) {
        let until = self.now.plus(span);
        if let Some(link) = self.processes[index].session.and_then(|session| self.links.get_mut(&session)) {
            link.muted_until = until;
        }
    }

    fn arrival(&mut self, session: SessionId, direction: usize) -> Option<(Millis, usize)> {
        let delay = self.rng.pick(&[0, 1, 1, 5, 20]);
        let link = self.links.get_mut(&session)?;
        let at = self.now.plus(delay).max(link.last[direction]).max(link.muted_until);
        link.last[direction] = at;
        Some((at, link.worker))
    }

    pub fn send_up(&mut self, session: SessionId, event: Event) {
        let Some((at, _)) = self.arrival(session, 0) else { return };
        self.later(at.since(self.now), Happening::Up(session, event));
    }

    fn send_down(&mut self, session: SessionId, message: ToWorker) {
        if let ToWorker::EpochRecorded { key, epoch } = &message {
            self.store.acknowledged.insert((*key, *epoch));
        }
        let Some((at, _)) = self.arrival(session, 1) else { return };
        self.later(at.since(self.now), Happening::Down(session, message));
    }

    fn deliver(&mut self, session: SessionId, message: ToWorker) {
        let Some(index) = self.links.get(&session).map(|link| link.worker) else { return };
        if self.processes[index].session != Some(session) {
            return;
        }
        let assigned = match &message {
            ToWorker::Assign(assignment) => Some(assignment.key),
            _ => None,
        };
        let recorded = match &message {
            ToWorker::EpochRecorded { key, epoch } => Some((*key, *epoch)),
            _ => None,
        };
        let before = self.processes[index].outbox.len();
        self.processes[index].hear(message);
        self.send_new(index, before);
        if let Some(key) = assigned {
            self.train_later(index, key);
        }
        if let Some((key, epoch)) = recorded {
            self.upload(index, key, epoch);
        }
    }

    /// A worker may store how far it is, and what came of it. That takes a while, and it may be too late then.
    fn upload(&mut self, index: usize, key: AttemptKey, epoch: Epoch) {
        let incarnation = self.processes[index].info.incarnation.clone();
        if self.rng.chance(30) {
            let (kind, of) = self.rng.pick(&[("reconstruction", Some(epoch)), ("model", None)]);
            let file = Artifact { digest: format!("{kind} of {key} after {epoch}"), bytes: 1 };
            let result = ResultFile { kind: kind.into(), epoch: of, file };
            let delay = self.rng.pick(&[1, 20, 500, 5_000]);
            let incarnation = incarnation.clone();
            self.later(delay, Happening::Say(Event::Result { incarnation, key, result, before: None }));
        }
        if self.rng.chance(50) {
            let checkpoint = Checkpoint { epoch, digest: format!("{key} after {epoch}"), bytes: 1 };
            let delay = self.rng.pick(&[1, 20, 500, 5_000]);
            self.later(delay, Happening::Say(Event::Checkpoint { incarnation, key, checkpoint }));
        }
    }

    fn train_later(&mut self, index: usize, key: AttemptKey) {
        let epoch_ms = self.processes[index].epoch_ms;
        let span = self.rng.between(epoch_ms / 2 + 1, epoch_ms * 3 / 2);
        self.later(span, Happening::Train(index, key));
    }

    fn train(&mut self, index: usize, key: AttemptKey) {
        let poison = self.processes[index].tasks.get(&key).is_some_and(|task| task.nature.is_poison());
        if poison && self.fault_every.is_some() {
            self.crash(index);
            return;
        }
        let before = self.processes[index].outbox.len();
        let goes_on = self.processes[index].train(key);
        self.send_new(index, before);
        if goes_on {
            self.train_later(index, key);
        }
    }

    /// Sends what came into the outbox; with `before` it had this many messages.
    pub fn send_new(&mut self, index: usize, before: usize) {
        let process = &self.processes[index];
        let Some(session) = process.session else { return };
        let news: Vec<Event> =
            process.outbox.iter().skip(before).map(|message| message.on(session)).collect();
        for event in news {
            self.send_up(session, event);
        }
    }
}
