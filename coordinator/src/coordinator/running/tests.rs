//! The loop when its database takes nothing: it refuses in words, waits, and goes on with all that was acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldwise_engine::scheduler::{Answer, DataInfo, Event, NewStudy, ToWorker, WorkerInfo};
use foldwise_shared::external::TrialReport;
use foldwise_shared::ids::{Epoch, FoldIndex, LeaseId, SessionId, StudyId, TrialNumber};
use foldwise_shared::spec::parse;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{Input, Options, Outlets, Running};
use crate::artifacts::{Artifacts, Janitor};
use crate::coordinator::{Coordinator, CoordinatorError, join};
use crate::metrics::Metrics;
use crate::store::{Reader, Store, StoreError};

const STUDY: StudyId = StudyId(1);
const TRIAL: TrialNumber = TrialNumber(0);

fn new_study(name: &str) -> NewStudy {
    let text = format!(
        "version = 1\nstudy = {{ name = \"{name}\", objective = \"external\" }}\nbudget.trials = 1000\n\
         space.x.float = [0.0, 1.0]\n"
    );
    let spec = parse(&text, &[]).expect("a study file");
    NewStudy { spec, spec_text: text, data: DataInfo::default(), parent: None, source: None }
}

fn ask() -> Event {
    Event::Ask { study: STUDY, asker: "me".into(), lease_ms: 600_000 }
}

fn report(lease: LeaseId, epoch: u32) -> Event {
    let report =
        TrialReport { fold: FoldIndex(0), epoch: Epoch(epoch), value: f64::from(epoch), last: false };
    Event::Report { study: STUDY, trial: TRIAL, lease: Some(lease), report }
}

/// A loop that a test drives by hand.
struct Driven {
    _folder: TempDir,
    path: PathBuf,
    running: Running,
    sender: mpsc::Sender<Input>,
    inbox: mpsc::Receiver<Input>,
    runtime: Runtime,
    outage: watch::Receiver<Option<String>>,
    drained: watch::Receiver<bool>,
}

impl Driven {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store = Store::open(&path).expect("a new database");
        let (outage_sender, outage) = watch::channel(None);
        let (drained_sender, drained) = watch::channel(false);
        let outlets =
            Outlets { published: broadcast::channel(16).0, drained: drained_sender, outage: outage_sender };
        let metrics = Arc::new(Metrics::new(&path));
        let janitor = Janitor::start(Arc::new(Artifacts::of(&path, None))).expect("a thread");
        let running = Running::new(store, Options::default(), outlets, janitor, metrics).expect("a loop");
        let (sender, inbox) = mpsc::channel(64);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { _folder: folder, path, running, sender, inbox, runtime, outage, drained }
    }

    fn put(&self, input: Input) {
        assert!(self.sender.try_send(input).is_ok(), "there is room in the inbox");
    }

    fn step(&mut self) -> Result<bool, StoreError> {
        self.running.step(&mut self.inbox, &self.runtime)
    }

    /// Puts a request into the inbox, lets the loop handle it, and takes the answer.
    fn request(&mut self, event: Event) -> Result<Answer, CoordinatorError> {
        let (answer, mut answered) = oneshot::channel();
        self.put(Input::Request { event, answer });
        self.step().expect("the loop goes on");
        answered.try_recv().expect("an answer")
    }

    fn limit(&self, pages: u32) {
        self.running.store.limit_growth(pages).expect("a limit");
    }

    /// The acknowledged epochs are those that are recorded.
    fn check(&self, acknowledged: u32) {
        let reader = Reader::open(&self.path).expect("a reader");
        let epochs: Vec<u32> =
            reader.curve(STUDY, None, true).expect("rows").iter().map(|row| row.epoch.0).collect();
        assert_eq!(epochs, (1..=acknowledged).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_acknowledged_is_lost() {
    let mut driven = Driven::new();
    driven.request(Event::CreateStudy(Box::new(new_study("a")))).expect("created");
    let Ok(Answer::Asked(asked)) = driven.request(ask()) else { panic!("a trial") };
    let (worker, mut told) = mpsc::unbounded_channel();
    driven.put(Input::Attach { session: SessionId(1), sender: worker });
    let info = WorkerInfo { name: "w".into(), incarnation: "i".into(), device: "cpu".into() };
    driven.put(Input::Event(Event::Hello { session: SessionId(1), worker: info, held: Vec::new() }));
    driven.step().expect("the loop goes on");
    assert!(matches!(told.try_recv(), Ok(ToWorker::Welcome { .. })));

    let mut acknowledged = 0;
    for _outage in 0..2 {
        driven.limit(1);
        let error = loop {
            match driven.request(report(asked.lease, acknowledged + 1)) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 10_000, "the limit does nothing");
        };
        assert!(matches!(&error, CoordinatorError::Outage(text) if text.contains("disk is full")), "{error}");
        assert!(driven.outage.borrow().as_ref().is_some_and(|text| text.contains("disk is full")));
        driven.check(acknowledged);
        // A worker's stream ends; it comes back later.
        while told.try_recv().is_ok() {}
        assert!(told.is_closed());

        // Whoever asks meanwhile is told so at once, not when there is room again.
        let (answer, answered) = oneshot::channel();
        driven.put(Input::Request { event: Event::CreateStudy(Box::new(new_study("b"))), answer });
        let (sender, mut closed) = mpsc::unbounded_channel();
        driven.put(Input::Attach { session: SessionId(2), sender });
        let begun = Instant::now();
        driven.step().expect("the loop goes on");
        assert!(begun.elapsed() >= Duration::from_millis(900), "it did not pause");
        let refused = answered.blocking_recv().expect("an answer");
        assert!(matches!(refused, Err(CoordinatorError::Outage(_))), "{refused:?}");
        assert!(matches!(closed.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));

        driven.limit(1_000_000);
        while driven.running.outage.is_on() {
            driven.step().expect("the loop goes on");
        }
        assert!(driven.outage.borrow().is_none());
        // Told again, as it was never acknowledged; and its lease is what it was.
        driven.request(report(asked.lease, acknowledged + 1)).expect("there is room again");
        acknowledged += 1;
        driven.check(acknowledged);
    }
    let reader = Reader::open(&driven.path).expect("a reader");
    assert_eq!(reader.study_names().expect("names"), ["a"], "what was refused happened");
}

#[test]
fn what_comes_with_a_change_that_fails_is_refused_as_well() {
    let mut driven = Driven::new();
    driven.request(Event::CreateStudy(Box::new(new_study("a")))).expect("created");
    driven.limit(0);
    // One batch: many trials, which cannot be recorded, a study, for which they must be, and one more trial.
    let mut answers = Vec::new();
    let events = std::iter::repeat_with(ask).take(60);
    for event in events.chain([Event::CreateStudy(Box::new(new_study("b"))), ask()]) {
        let (answer, answered) = oneshot::channel();
        driven.put(Input::Request { event, answer });
        answers.push(answered);
    }
    driven.step().expect("the loop goes on");
    for mut answered in answers {
        let answer = answered.try_recv().expect("an answer");
        assert!(matches!(answer, Err(CoordinatorError::Outage(_))), "{answer:?}");
    }
    driven.limit(1_000_000);
    driven.step().expect("the loop goes on");
    let Ok(Answer::Asked(asked)) = driven.request(ask()) else { panic!("a trial") };
    assert_eq!(asked.trial, TRIAL, "a trial that nobody was told of is there");
}

#[test]
fn who_drains_waits_for_a_full_disk_but_not_forever() {
    let mut driven = Driven::new();
    driven.request(Event::CreateStudy(Box::new(new_study("a")))).expect("created");
    let hold = rusqlite::Connection::open(&driven.path).expect("opened");
    hold.execute_batch("BEGIN IMMEDIATE").expect("held");
    driven.running.store.be_impatient().expect("impatient");
    assert!(driven.request(ask()).is_err());
    driven.put(Input::Event(Event::Drain));
    driven.step().expect("the loop goes on");
    assert!(!*driven.drained.borrow(), "it did not wait");
    while !*driven.drained.borrow() {
        driven.step().expect("the loop goes on");
    }
    // With everybody gone the loop ends, and says why nothing more was recorded.
    let Driven { mut running, sender, mut inbox, runtime, .. } = driven;
    drop(sender);
    let ended = running.step(&mut inbox, &runtime);
    assert!(matches!(ended, Err(StoreError::Busy { .. })), "{ended:?}");
}

#[test]
fn a_damaged_database_ends_the_loop() {
    let mut driven = Driven::new();
    driven.request(Event::CreateStudy(Box::new(new_study("a")))).expect("created");
    let damaged = StoreError::Damaged { path: driven.path.clone(), what: "a page".into() };
    assert!(matches!(driven.running.outage.failed(damaged), Err(StoreError::Damaged { .. })));
    // What does not fit the record may be a mistake of an engine that is rebuilt, but not again and again.
    let inconsistent = || StoreError::Inconsistent { path: driven.path.clone(), what: "a change".into() };
    let tries = (0..100).take_while(|_| driven.running.outage.failed(inconsistent()).is_ok()).count();
    assert_eq!(tries, 4);
}

#[test]
fn a_database_that_another_program_holds_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let store = Store::open(&path).expect("a new database");
    store.be_impatient().expect("impatient");
    let (coordinator, thread) = Coordinator::start(store, &path, Options::default()).expect("started");
    runtime.block_on(coordinator.create(new_study("a"))).expect("created");
    let hold = rusqlite::Connection::open(&path).expect("opened");
    hold.execute_batch("BEGIN IMMEDIATE").expect("held");
    let create = |name: &str| runtime.block_on(coordinator.create(new_study(name)));
    for _ in 0..3 {
        let error = create("b").expect_err("it is held");
        assert!(
            matches!(&error, CoordinatorError::Outage(text) if text.contains("another program")),
            "{error}"
        );
        assert!(coordinator.outage().is_some());
    }
    hold.execute_batch("ROLLBACK").expect("let go");
    let begun = Instant::now();
    while let Err(error) = create("b") {
        assert!(matches!(error, CoordinatorError::Outage(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "it never comes back");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(coordinator.outage(), None);
    drop(coordinator);
    join(thread).expect("a loop that ended in peace");
    assert_eq!(names(&path), ["a", "b"]);
}

fn names(path: &Path) -> Vec<String> {
    Reader::open(path).and_then(|reader| reader.study_names()).expect("names")
}
