//! The run: processes, faults at random moments, what heals them, and the checks at the end.

mod doing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::Settings;
use super::check::{Findings, check};
use super::crew::{Fate, Member};
use super::fault::{Deck, Fault, Subject};
use super::head::{Head, News};
use super::proxy::Line;
use super::report::{Kill, Report, Totals};
use super::rights::{Namespace, SmallDisk};
use super::studies::Studies;
use super::watcher::{View, Watcher};
use crate::database::Database;
use crate::process::Process;
use crate::random::Random;
use crate::scene::Scene;

/// Between two rounds of the loop.
const ROUND: Duration = Duration::from_millis(30);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// The member that lives in a network of its own, where there is one.
const APART: usize = 0;

/// What is to be done at its time.
#[derive(Debug, Clone, Copy)]
enum Later {
    StartWorker(usize),
    ContinueWorker(usize),
    Heal(usize),
    LinkUp,
    StartCoordinator,
    ContinueCoordinator,
    /// Once it has complained: after a while.
    FreeDisk,
}

struct Filled {
    since: Instant,
    complaints: usize,
    starts: u32,
    /// Held open, so that the write-ahead log cannot begin anew and has to grow.
    reader: Option<rusqlite::Connection>,
}

struct Harness<'a> {
    settings: &'a Settings,
    scene: &'a Scene,
    logs: PathBuf,
    random: Random,
    started: Instant,
    database: Database,
    // In the order in which they end: processes before what they stand on.
    crew: Vec<Member>,
    head: Head,
    watcher: Watcher,
    studies: Studies,
    filled: Option<Filled>,
    disk: Option<SmallDisk>,
    namespace: Option<Namespace>,
    deck: Deck,
    possible: Vec<Fault>,
    counts: BTreeMap<Fault, u32>,
    complained: u32,
    later: Vec<(Instant, Later)>,
    kills: Vec<Kill>,
    next_fault: Instant,
    next_restart: Instant,
    next_kill_is_hard: bool,
    workers: u32,
}

/// Runs it all in a scene. What must not be is in the report.
///
/// # Errors
/// The harness itself cannot work.
pub fn run(settings: &Settings, scene: &Scene, interrupted: &Arc<AtomicBool>) -> anyhow::Result<Report> {
    let mut left_out = Vec::new();
    let mut able = |what: &str, error: String| left_out.push(format!("{what}: {error}"));
    for folder in ["acks", "logs", "small"] {
        std::fs::create_dir(scene.path(folder)).with_context(|| folder.to_owned())?;
    }
    let disk = SmallDisk::mount(&scene.path("small"), settings.disk)
        .map_err(|error| able("a disk to fill", error))
        .ok();
    let namespace = Namespace::create().map_err(|error| able("a network of its own", error)).ok();
    let harness = Harness::new(settings, scene, disk, namespace)?;
    harness.report(left_out, interrupted)
}

impl<'a> Harness<'a> {
    fn new(
        settings: &'a Settings,
        scene: &'a Scene,
        disk: Option<SmallDisk>,
        namespace: Option<Namespace>,
    ) -> anyhow::Result<Self> {
        let database = scene.database("small/chaos.db");
        let head = Head::new(format!(
            "serve --listen 127.0.0.1:0 --db small/chaos.db --lease {}",
            settings.lease.as_secs_f64()
        ));
        let mut crew = Vec::new();
        for index in 0..settings.workers {
            let ip = namespace.as_ref().filter(|_| index == APART).map(Namespace::address);
            crew.push(Member::new(index, head.upstream.clone(), ip)?);
        }
        let possible: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| match fault.subject() {
                Subject::Disk => disk.is_some(),
                Subject::Link => namespace.is_some(),
                _ => true,
            })
            .collect();
        // These two have a clock of their own.
        let drawn = possible.iter().copied().filter(|fault| !is_restart(*fault)).collect::<Vec<_>>();
        let mut random = Random::new(settings.seed);
        let now = Instant::now();
        Ok(Self {
            settings,
            scene,
            logs: scene.path("logs"),
            started: now,
            watcher: Watcher::start(database.clone())?,
            database,
            crew,
            head,
            studies: Studies::new(scene, settings),
            filled: None,
            disk,
            namespace,
            deck: Deck::new(drawn),
            possible,
            counts: BTreeMap::new(),
            complained: 0,
            later: Vec::new(),
            kills: Vec::new(),
            next_fault: now + settings.pause,
            next_restart: now + settings.restart_every,
            next_kill_is_hard: random.up_to(1) == 0,
            workers: 0,
            random,
        })
    }

    fn report(mut self, left_out: Vec<String>, interrupted: &AtomicBool) -> anyhow::Result<Report> {
        let (faults_for, what_failed) = match self.play(interrupted) {
            Ok(time) => (time, None),
            Err(error) => (self.started.elapsed(), Some(format!("{error:#}"))),
        };
        for member in &self.crew {
            member.save_log(&self.logs)?;
        }
        self.head.save_log(&self.logs)?;
        let Self { settings, scene, crew, head, watcher, studies, disk, database, counts, possible, .. } =
            self;
        let (coordinators, ended_for_space, away) = (head.starts, head.ended_for_space, head.away.clone());
        let mut findings = Findings::default();
        let whole = what_failed.is_none();
        if whole {
            let left = Process::own().descendants();
            let left = left.iter().map(|process| process.words().join(" ")).collect();
            findings.add("no process is left behind", 1, left);
        }
        drop((crew, head));
        findings.violations.extend(what_failed);
        let mut view = watcher.end().context("the reader's thread failed")?;
        if whole {
            view.last_look(&database)?;
            check(&database, &scene.path("acks"), &mut findings)?;
            let lost = studies.acknowledged.iter().filter(|name| !view.studies.contains_key(*name)).cloned();
            findings.add(
                "every study whose creation was acknowledged is there",
                studies.acknowledged.len() as u64,
                lost.collect(),
            );
            if !interrupted.load(Ordering::Relaxed) {
                let missing = possible.iter().filter(|fault| !counts.contains_key(fault));
                let missing = missing.map(|fault| format!("`{fault}` never came")).collect();
                findings.add("every fault came at least once", possible.len() as u64, missing);
            }
        }
        findings.add("a trial that was seen finished never changes", view.remembered() as u64, Vec::new());
        findings.add("what must hold holds at every look of a reader", view.looks, view.violations.clone());
        let totals = Totals::read(&database, &self.kills, &away).unwrap_or_default();
        if let Some(disk) = disk.as_ref().filter(|_| !findings.violations.is_empty()) {
            disk.save(&scene.path("database"))?;
        }
        let counts = possible.iter().map(|fault| (*fault, counts.get(fault).copied().unwrap_or(0))).collect();
        Ok(Report {
            settings: settings.clone(),
            faults_for,
            counts,
            left_out,
            complained: self.complained,
            coordinators,
            workers: self.workers,
            ended_for_space,
            looks: (view.looks, view.failed, view.last_failure.clone()),
            totals,
            findings,
        })
    }

    /// Everything up to the end of all processes; gives how long faults were done.
    fn play(&mut self, interrupted: &AtomicBool) -> anyhow::Result<Duration> {
        self.head.start(self.scene);
        for index in 0..self.crew.len() {
            self.start_worker(index);
        }
        let mut next_progress = Instant::now() + PROGRESS;
        // Faults, until the time is up and each has come.
        while !interrupted.load(Ordering::Relaxed) {
            let all_came = self.possible.iter().all(|fault| self.counts.contains_key(fault));
            if self.started.elapsed() >= self.settings.time && all_came && self.filled.is_none() {
                break;
            }
            if self.started.elapsed() > self.settings.time * 3 + Duration::from_secs(300) {
                bail!("not every fault has come in three times the time: {:?}", self.counts);
            }
            let view = self.round(&mut next_progress)?;
            self.studies.keep_busy(&view, self.crew.len());
            self.maybe_fault()?;
        }
        let faults_for = self.started.elapsed();
        self.say("the last fault was done; everything is healed, and what is left ends");
        self.heal_everything()?;
        let mut moved = (0, Instant::now());
        loop {
            let view = self.round(&mut next_progress)?;
            if interrupted.load(Ordering::Relaxed) || self.studies.have_ended(&view) {
                break;
            }
            let epochs: i64 = view.studies.values().map(|study| study.epochs + study.finished).sum();
            if epochs != moved.0 {
                moved = (epochs, Instant::now());
            } else if moved.1.elapsed() > self.settings.patience {
                bail!("nothing was recorded for {:?} though every fault is over", self.settings.patience);
            }
        }
        self.close()?;
        Ok(faults_for)
    }

    fn say(&self, words: &str) {
        eprintln!("{:7.1} s  {words}", self.started.elapsed().as_secs_f64());
    }

    /// One round of the loop: what is due, what has ended by itself, and what the reader sees.
    fn round(&mut self, next_progress: &mut Instant) -> anyhow::Result<View> {
        std::thread::sleep(ROUND);
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, Later)> = due;
        for (_, what) in due {
            self.do_later(what)?;
        }
        for index in 0..self.crew.len() {
            let Some(member) = self.crew.get_mut(index) else { continue };
            if member.tick(&self.logs)? {
                let delay = self.random.seconds(0.2, 2.0);
                self.later.push((now + delay, Later::StartWorker(index)));
            }
        }
        match self.head.tick(&self.logs)? {
            News::Ended => {
                let delay = self.random.seconds(0.2, 2.5);
                self.later.push((now + delay, Later::StartCoordinator));
            }
            News::Listens | News::None => {}
        }
        self.studies.tick(self.scene, &self.head, &self.logs)?;
        self.watch_disk();
        let view = self.watcher.view();
        if !view.violations.is_empty() {
            bail!("the reader saw what must not be");
        }
        if let Some((name, study)) = view.studies.iter().find(|(_, study)| study.state == "paused") {
            bail!("the study {name} is paused: {}", study.message);
        }
        if now >= *next_progress {
            *next_progress = now + PROGRESS;
            let faults: u32 = self.counts.values().sum();
            let ended = view.studies.values().filter(|study| study.state == "ended").count();
            let trials: i64 = view.studies.values().map(|study| study.finished).sum();
            let epochs: i64 = view.studies.values().map(|study| study.epochs).sum();
            self.say(&format!(
                "{faults} faults; {ended} of {} studies ended, {trials} trials finished, {epochs} epochs",
                view.studies.len()
            ));
        }
        Ok(view)
    }

    fn start_worker(&mut self, index: usize) {
        let namespace = self.namespace.as_ref().filter(|_| index == APART);
        if let Some(member) = self.crew.get_mut(index) {
            member.start(self.scene, namespace);
            self.workers += 1;
        }
    }

    fn do_later(&mut self, what: Later) -> anyhow::Result<()> {
        match what {
            Later::StartWorker(index) => self.start_worker(index),
            Later::ContinueWorker(index) => {
                if let Some(member) = self.crew.get_mut(index) {
                    member.signal(Signal::CONT, Fate::Works);
                }
            }
            Later::Heal(index) => {
                if let Some(member) = self.crew.get_mut(index) {
                    member.proxy.set(Line::Open);
                }
            }
            Later::LinkUp => self.link(true)?,
            Later::StartCoordinator => self.head.start(self.scene),
            Later::ContinueCoordinator => self.head.signal(Signal::CONT, Fate::Works),
            Later::FreeDisk => self.free_disk()?,
        }
        Ok(())
    }

    /// Does at once what would have been done later.
    fn heal_everything(&mut self) -> anyhow::Result<()> {
        for (_, what) in std::mem::take(&mut self.later) {
            self.do_later(what)?;
        }
        if self.filled.is_some() {
            self.free_disk()?;
        }
        Ok(())
    }

    /// Drains every worker, closes the coordinator, and waits for them.
    fn close(&mut self) -> anyhow::Result<()> {
        self.say("every study has ended; the workers are drained and the coordinator is closed");
        self.heal_everything()?;
        for member in self.crew.iter_mut().filter(|member| member.is_well()) {
            member.signal(Signal::TERM, Fate::Asked(Instant::now()));
        }
        while self.crew.iter().any(|member| member.running().is_some()) {
            std::thread::sleep(ROUND);
            for member in &mut self.crew {
                member.tick(&self.logs)?;
            }
        }
        // It may be about to listen.
        while self.head.is_starting() {
            std::thread::sleep(ROUND);
            self.head.tick(&self.logs)?;
        }
        self.head.signal(Signal::TERM, Fate::Asked(Instant::now()));
        while self.head.fate != Fate::Gone {
            std::thread::sleep(ROUND);
            self.head.tick(&self.logs)?;
        }
        Ok(())
    }
}

/// Whether it is done every `restart_every` and not drawn.
fn is_restart(fault: Fault) -> bool {
    matches!(fault, Fault::CoordinatorKill | Fault::CoordinatorTerm)
}
