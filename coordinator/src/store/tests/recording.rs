//! The recording of a study that was really led: its own pruner, run through it once more, decides what it decided.

use foldwise_engine::replay::{Recording, Step, replay};
use foldwise_engine::scheduler::{
    Command, DataInfo, EpochReport, Event, NewStudy, Options, Scheduler, ToWorker, WorkerInfo, Write,
};
use foldwise_shared::ids::{AttemptKey, Epoch, Millis, SessionId, StudyId, TrialNumber};
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{StudySpec, parse, with_pruner};
use foldwise_shared::state::{AttemptState, FailureClass, StudyState, TrialState};
use tempfile::TempDir;

use super::{ended, epoch, hello, key, lease, new_store, started, study, trial, trial_state, worker};
use crate::hindsight::{explain, replay as hindsight};
use crate::store::{Reader, Store};

/// The pruners that lead a study here; each prunes somewhere.
const PRUNERS: [&str; 8] = [
    "median,startup_trials=1",
    "percentile,percentile=30,startup_trials=1,patience=0",
    "paired,startup_trials=1",
    "sequential,startup_trials=2,alpha=0.5",
    "successive-halving,reduction_factor=2",
    "hyperband,reduction_factor=2",
    "threshold,upper=1.9",
    "patience,patience=1",
];

fn spec(pruner: &str, release: &str) -> StudySpec {
    let text = format!(
        "version = 1\nstudy = {{ name = \"led\", seed = 3 }}\n\
         data = {{ dataset = \"mnist\", folds = 3, release = \"{release}\" }}\n\
         model = {{ network = \"lab\", latent_dim = 4 }}\ntrain = {{ epochs = 6 }}\nbudget = {{ trials = 24 }}\n\
         [space]\nlearning_rate = {{ float = [1e-4, 1e-1], log = true }}\n"
    );
    with_pruner(&parse(&text, &[]).expect("a study file"), pruner, &[]).expect(pruner)
}

/// A number in [0, 1) that depends on these alone.
fn unit(words: [u32; 4]) -> f64 {
    let mixed = words.iter().fold(0x9E37_79B9_u64, |mixed, word| {
        (mixed ^ u64::from(*word)).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(29)
    });
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

fn loss(key: AttemptKey, epoch: u32) -> f64 {
    let (trial, fold) = (key.trial.0, key.fold.0);
    // Now and then a trial that gets worse, and one that diverges.
    if trial % 11 == 7 && epoch == 4 {
        return f64::NAN;
    }
    let drift = if trial % 5 == 3 { 0.2 * f64::from(epoch) } else { 0.0 };
    unit([trial, 0, 0, 1]) + 1.0 / f64::from(epoch) + drift + 0.2 * unit([trial, fold, epoch, 2])
}

/// An attempt in training: its stream, and its epochs so far, or that it was told to stop.
struct Task {
    session: SessionId,
    key: AttemptKey,
    epochs: u32,
    stop: bool,
}

/// A study in the hands of three workers of two slots, all within a few milliseconds.
struct Lead<'a> {
    store: &'a mut Store,
    scheduler: Scheduler,
    tasks: Vec<Task>,
    now: i64,
    /// What is not committed yet.
    writes: Vec<Write>,
}

impl<'a> Lead<'a> {
    fn new(store: &'a mut Store) -> Self {
        let (scheduler, _) = Scheduler::restore(Default::default(), Options::default(), Millis(0));
        Self { store, scheduler, tasks: Vec::new(), now: 1_000, writes: Vec::new() }
    }

    /// To the study's end. Now and then a fold is taken away, and once the coordinator is started anew.
    fn run(mut self, spec: StudySpec) {
        let data = DataInfo {
            data_digest: "d".into(),
            splits_digest: "s".into(),
            images: 100,
            height: 28,
            width: 28,
        };
        let new = NewStudy { spec, spec_text: String::new(), data, parent: None, source: None };
        self.tell(Event::CreateStudy(Box::new(new)));
        self.connect(0);
        let mut steps = 0;
        while !self.tasks.is_empty() {
            steps += 1;
            self.now += i64::from(steps % 7 == 0);
            let chosen = (unit([steps, 5, 5, 5]) * self.tasks.len() as f64) as usize;
            let event = self.next(chosen, unit([steps, 6, 6, 6]) < 0.03);
            self.tell(event);
            if steps == 150 {
                self.commit();
                let snapshot = self.store.snapshot().expect("a snapshot");
                (self.scheduler, _) = Scheduler::restore(snapshot, Options::default(), Millis(self.now));
                self.tasks.clear();
                self.connect(10);
            }
        }
        self.commit();
    }

    /// What a task does next.
    fn next(&mut self, chosen: usize, taken_away: bool) -> Event {
        let task = &mut self.tasks[chosen];
        let (session, key, stopped) = (task.session, task.key, task.stop);
        task.epochs += 1;
        let number = task.epochs;
        let failed = |class, message: &str| Event::Failed { session, key, class, message: message.into() };
        let over = if stopped || number > 6 {
            Event::Finished { session, key, stopped }
        } else if number > 1 && loss(key, number - 1).is_nan() {
            failed(FailureClass::Diverged, "NaN")
        } else if key.attempt.0 == 1 && taken_away {
            failed(FailureClass::Preempted, "taken away")
        } else {
            let (epoch, validation_loss) = (Epoch(number), loss(key, number));
            let report = EpochReport {
                epoch,
                train_loss: 0.5,
                validation_loss,
                learning_rate: 0.1,
                seconds: 1.0,
                metrics: Default::default(),
            };
            return Event::Epoch { session, key, report };
        };
        self.tasks.swap_remove(chosen);
        over
    }

    fn connect(&mut self, first: u64) {
        for number in 0..3 {
            let session = SessionId(first + number + 1);
            let (name, incarnation) = (format!("w{number}"), format!("i{number}"));
            let worker = WorkerInfo { name, incarnation, device: "cpu".into() };
            self.tell(Event::Hello { session, worker, held: Vec::new() });
            self.tell(Event::Ready { session, slots: 2 });
        }
    }

    fn tell(&mut self, event: Event) {
        for command in self.scheduler.handle(Millis(self.now), event) {
            match command {
                Command::Write(write) => self.writes.push(write),
                Command::Send { session, message: ToWorker::Assign(assignment) } => {
                    self.tasks.push(Task { session, key: assignment.key, epochs: 0, stop: false });
                }
                Command::Send { message: ToWorker::Stop { key, .. }, .. } => {
                    self.tasks.iter_mut().filter(|task| task.key == key).for_each(|task| task.stop = true);
                }
                _ => {}
            }
        }
    }

    fn commit(&mut self) {
        self.store.commit(&std::mem::take(&mut self.writes)).expect("a batch that fits");
    }
}

/// A database with a study that was led to its end.
fn led(spec: StudySpec) -> (TempDir, Reader, StudyRecord) {
    let (folder, path, mut store) = new_store();
    Lead::new(&mut store).run(spec);
    drop(store);
    let reader = Reader::open(&path).expect("a reader");
    let study = reader.study("led").expect("a query").expect("the study");
    assert_eq!(study.state, StudyState::Ended);
    (folder, reader, study)
}

#[test]
fn the_own_pruner_decides_again_what_it_decided() {
    for pruner in PRUNERS {
        let mut pruned = 0;
        for release in ["all", "race", "auto"] {
            let spec = spec(pruner, release);
            let (_folder, reader, study) = led(spec.clone());
            let recording = reader.recording(study.id).expect("a recording");
            assert!(recording.exact);
            let stored: Vec<_> = reader.decisions(study.id, None).expect("decisions");
            let replayed = replay(&spec, pruner, &recording, &[]);
            let mut stops: Vec<_> = replayed
                .stopped
                .iter()
                .map(|stop| (stop.trial, stop.look.fold, stop.look.epoch, stop.look.decision))
                .collect();
            stops.sort_by_key(|stop| stop.0);
            let mut expected: Vec<_> = stored
                .iter()
                .map(|record| (record.trial, record.fold, record.epoch, record.decision))
                .collect();
            expected.sort_by_key(|decision| decision.0);
            assert_eq!(stops, expected, "{pruner} {release}");
            assert_eq!((replayed.saved, replayed.unknown), (0, Vec::new()), "{pruner} {release}");
            pruned += stops.len();

            for record in stored.iter().take(5) {
                let found = explain(&reader, &study, record.trial).expect("an explanation");
                let call = found.expect("a trial").call.expect("a call");
                assert_eq!(call.look.decision, record.decision, "{pruner} {release}");
                // What a threshold and a patience compare with is no other trial.
                assert_eq!(call.peers.len() as u32, record.decision.peers, "{pruner} {release}");
            }
        }
        assert!(pruned > 3, "{pruner} pruned {pruned}");
    }
}

#[test]
fn other_pruners_are_replayed_beside_the_own() {
    let (_folder, reader, study) = led(spec("median", "race"));
    let usual = hindsight(&reader, &study, &[], &[]).expect("replays");
    let names: Vec<&str> = usual.iter().map(|replay| replay.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "median (its own)",
            "percentile,percentile=25",
            "paired",
            "sequential",
            "successive-halving",
            "hyperband"
        ]
    );
    let own = &usual[0];
    assert!(own.best.iter().all(|best| best.lives) && own.best.len() == 3, "{own:?}");
    assert!(usual.iter().all(|replay| (replay.trials, replay.recorded) == (own.trials, own.recorded)));

    let given = ["none".to_owned(), "threshold,upper=0".to_owned()];
    let asked = hindsight(&reader, &study, &given, &[]).expect("replays");
    let [_, none, all] = &asked[..] else { panic!("{asked:?}") };
    let pruned: Vec<TrialNumber> = own.stopped.iter().map(|stop| stop.trial).collect();
    assert_eq!((none.saved, none.stopped.len(), &none.unknown), (0, 0, &pruned));
    // Every trial stops at its first epoch.
    assert_eq!((all.stopped.len() as u32, all.saved), (all.trials, all.recorded - u64::from(all.trials)));
    assert!(all.best.iter().all(|best| !best.lives));
    let error = hindsight(&reader, &study, &["medain".into()], &[]).expect_err("no such pruner").to_string();
    assert!(error.contains("`medain`: pruner.kind: ") && error.contains("did you mean `median`"), "{error}");
}

#[test]
fn what_has_no_number_is_in_a_likely_order() {
    let (_folder, path, mut store) = new_store();
    let (first, again, other) = (key(1, 0, 0, 1), key(1, 0, 0, 2), key(1, 1, 0, 1));
    let batch = [
        study(1, "old", "minimize"),
        hello(0),
        trial(1, 0, 1),
        trial(1, 1, 1),
        lease(1, worker(0)),
        started(first, 1, worker(0), 0),
        epoch(first, 1, Some(0.5)),
        ended(first, AttemptState::Failed, Some(FailureClass::Lost)),
        lease(2, worker(0)),
        started(again, 2, worker(0), 0),
        lease(3, worker(0)),
        started(other, 3, worker(0), 0),
        epoch(other, 1, None),
        epoch(again, 1, Some(0.5)),
        epoch(again, 2, Some(0.25)),
        trial_state(1, 1, TrialState::Failed, None, "diverged", 5_002),
    ];
    store.commit(&batch).expect("a batch that fits");
    drop(store);
    let steps = || Reader::open(&path).expect("a reader").recording(StudyId(1)).expect("a recording");
    let exact = steps();
    let numbers = |recording: &Recording| -> Vec<String> {
        let step = |step: &Step| match *step {
            Step::Started { trial, .. } => format!("start {trial}"),
            Step::Epoch { trial, epoch, value, .. } => format!("{trial}.{epoch} {value}"),
            Step::FoldEnded { trial, .. } => format!("end {trial}"),
            Step::Decided { trial, state } => format!("{trial} {state}"),
        };
        recording.steps.iter().map(step).collect()
    };
    let expected = ["start 0", "0.1 0.5", "start 0", "start 1", "1.1 NaN", "0.1 0.5", "0.2 0.25", "1 failed"];
    assert!(exact.exact);
    assert_eq!(numbers(&exact), expected);

    // As an earlier version left it. The epochs of each attempt come after its start, and before what came later or at the
    // same time: that of the lost attempt and the last ones.
    let db = rusqlite::Connection::open(&path).expect("the file");
    db.execute("UPDATE epoch SET seq = NULL", []).expect("a column");
    drop(db);
    let likely = steps();
    assert!(!likely.exact);
    let found = numbers(&likely);
    let place = |step: &str| found.iter().position(|other| other == step).expect(step);
    assert_eq!(found.len(), expected.len());
    assert!(place("1.1 NaN") > place("start 1") && place("0.2 0.25") < place("1 failed"), "{found:?}");
    assert!(found.iter().filter(|step| *step == "0.1 0.5").count() == 2);
}
