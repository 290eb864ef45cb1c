//! Studies that are deleted, workers as the tables know them, and the log as watchers see it.

use foldwise_engine::scheduler::Write;
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::fleet::Handover;
use foldwise_shared::ids::{Epoch, Millis, StudyId, TrialNumber};
use foldwise_shared::record::StudyEvent;
use foldwise_shared::state::{AttemptState, FailureClass, StudyState, TrialState};

use super::{ended, epoch, hello, key, lease, new_store, started, study, trial, trial_state, worker};
use crate::store::{Reader, StoreError};

#[test]
fn the_artifacts_of_a_study_are_its_own_alone() {
    let (_folder, path, mut store) = new_store();
    let mut writes = vec![hello(0), study(1, "a", "minimize"), study(2, "A", "minimize")];
    for (id, digest) in [(1, "shared"), (1, "own"), (2, "shared")] {
        let number = writes.iter().filter(|write| matches!(write, Write::Lease { .. })).count() as u32;
        let key = key(id, if digest == "own" { 1 } else { 0 }, 0, 1);
        writes.push(trial(id, key.trial.0, 1));
        writes.extend([
            lease(i64::from(number) + 1, worker(0)),
            started(key, i64::from(number) + 1, worker(0), 0),
        ]);
        let checkpoint = Checkpoint { epoch: Epoch(1), digest: digest.into(), bytes: 9 };
        writes.push(Write::Checkpoint { key, checkpoint, at: Millis(1) });
    }
    store.commit(&writes).expect("committed");
    let reader = Reader::open(&path).expect("a reader");
    assert_eq!(reader.artifacts_of(StudyId(1)).expect("digests"), ["own"]);
    assert_eq!(reader.artifacts_of(StudyId(2)).expect("digests"), Vec::<String>::new());

    // The view of the one whose name had to give way goes with it, not the other's.
    let delete = |study| Write::StudyDeleted { study: StudyId(study), at: Millis(2) };
    store.commit(&[delete(2)]).expect("deleted");
    let views = "SELECT group_concat(name) FROM sqlite_schema WHERE type = 'view' AND name LIKE 'trials%'";
    let view: String = store.db.query_row(views, [], |row| row.get(0)).expect("a view");
    assert_eq!(view, "trials_a");
    assert_eq!(reader.artifacts_of(StudyId(1)).expect("digests"), ["own", "shared"]);
    let leases: i64 =
        store.db.query_row("SELECT count(*) FROM lease", [], |row| row.get(0)).expect("a count");
    assert_eq!(leases, 2, "its lease went with its attempt");

    let error = store.commit(&[delete(2)]).expect_err("it is gone");
    assert!(matches!(error, StoreError::Inconsistent { .. }), "{error}");
    // Its name is free again, its id is not.
    store.commit(&[study(3, "A", "minimize")]).expect("created");
    assert_eq!(store.snapshot().expect("a snapshot").last_study, StudyId(3));
}

#[test]
fn a_name_has_one_worker_and_those_that_still_hold_something() {
    let (_folder, path, mut store) = new_store();
    let again = |incarnation: &str, at| {
        let worker = foldwise_engine::scheduler::WorkerInfo { incarnation: incarnation.into(), ..worker(0) };
        Write::Worker { worker, at: Millis(at) }
    };
    let place = key(1, 0, 0, 1);
    let drained = Write::WorkerDrained { name: "w1".into(), handover: Handover::Now, at: Millis(9) };
    let mut asker = worker(3);
    asker.device = "external".into();
    store
        .commit(&[
            study(1, "s", "minimize"),
            trial(1, 0, 1),
            hello(0),
            hello(1),
            Write::Worker { worker: asker, at: Millis(1) },
            lease(1, worker(0)),
            started(place, 1, worker(0), 0),
            epoch(place, 1, Some(0.5)),
            again("second", 600),
            again("third", 700),
            drained,
        ])
        .expect("committed");
    let reader = Reader::open(&path).expect("a reader");
    let shown = || -> Vec<(String, String, usize, bool)> {
        let workers = reader.workers().expect("workers").into_iter();
        workers.map(|row| (row.name, row.incarnation, row.folds.len(), row.drained_at.is_some())).collect()
    };
    let row =
        |name: &str, incarnation: &str, folds, drained| (name.into(), incarnation.into(), folds, drained);
    let other = row("w1", "incarnation-1", 0, true);
    assert_eq!(shown(), [row("w0", "third", 0, false), row("w0", "incarnation-0", 1, false), other.clone()]);
    let folds = &reader.workers().expect("workers")[1].folds;
    assert_eq!((folds[0].study.as_str(), folds[0].epoch), ("s", Epoch(1)));
    store.commit(&[ended(place, AttemptState::Failed, Some(FailureClass::Lost))]).expect("committed");
    assert_eq!(shown(), [row("w0", "third", 0, false), other]);
    assert_eq!(reader.worker_names().expect("names"), ["w0", "w1"]);
}

#[test]
fn the_log_says_what_a_watcher_would_have_heard() {
    let (_folder, path, mut store) = new_store();
    let place = key(1, 0, 0, 1);
    store.commit(&[hello(0), study(1, "s", "minimize"), study(2, "t", "minimize")]).expect("committed");
    let reader = Reader::open(&path).expect("a reader");
    let seen = reader.last_event().expect("an event");
    store
        .commit(&[
            trial(1, 0, 1),
            trial(2, 0, 1),
            lease(1, worker(0)),
            started(place, 1, worker(0), 0),
            epoch(place, 1, Some(0.5)),
            ended(place, AttemptState::Failed, Some(FailureClass::Lost)),
            trial_state(1, 0, TrialState::Failed, None, "why", 7),
            Write::StudyState { study: StudyId(1), state: StudyState::Ended, message: None, at: Millis(8) },
        ])
        .expect("committed");
    let events = reader.events_since(StudyId(1), seen).expect("events");
    let trial = TrialNumber(0);
    let kinds: Vec<&StudyEvent> = events.iter().map(|(_, event)| event).collect();
    assert!(matches!(kinds[0], StudyEvent::TrialCreated { params, .. } if params.len() == 5), "{kinds:?}");
    assert!(matches!(kinds[1], StudyEvent::AttemptStarted { device, .. } if device == "cuda:0"), "{kinds:?}");
    assert!(matches!(kinds[2], StudyEvent::AttemptFailed { class: FailureClass::Lost, .. }), "{kinds:?}");
    let finished =
        StudyEvent::TrialFinished { trial, state: TrialState::Failed, value: None, reason: "why".into() };
    assert_eq!(
        kinds[3..],
        [&finished, &StudyEvent::StudyChanged { state: StudyState::Ended, message: None }]
    );
    assert_eq!(reader.events_since(StudyId(1), events[3].0).expect("events").len(), 1);
}
