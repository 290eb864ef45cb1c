//! All or nothing: changes that do not fit, a full disk, a crash; and what a person sees with `sqlite3`.

use std::fs;

use foldwise_engine::scheduler::Write;
use foldwise_shared::ids::{LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::state::{AttemptState, FailureClass, StudyState, TrialState};
use foldwise_shared::value::ParamValue;

use super::{ended, epoch, hello, key, lease, new_store, started, study, trial, trial_state, worker};
use crate::store::{Reader, Store, StoreError, TrialQuery, TrialSort};

#[test]
fn a_change_that_does_not_fit_is_an_error_and_leaves_nothing() {
    let (_folder, _path, mut store) = new_store();
    let attempt = key(1, 0, 0, 1);
    let other = key(1, 0, 0, 2);
    store
        .commit(&[
            study(1, "a", "minimize"),
            hello(0),
            trial(1, 0, 1),
            lease(1, worker(0)),
            started(attempt, 1, worker(0), 0),
            epoch(attempt, 1, Some(0.5)),
            trial(1, 1, 1),
            trial_state(1, 1, TrialState::Failed, None, "why", 1),
        ])
        .expect("a batch that fits");
    let before = store.snapshot().expect("a snapshot");
    let state = |study| Write::StudyState { study, state: StudyState::Ended, message: None, at: Millis(0) };
    let mut no_origin = trial(1, 2, 1);
    if let Write::Trial { origins, .. } = &mut no_origin {
        origins.clear();
    }
    for (write, part) in [
        (study(1, "b", "minimize"), "study.id"),
        (study(2, "a", "minimize"), "study.name"),
        (state(StudyId(2)), "no study 2"),
        (Write::RunningTime { study: StudyId(2), running_ms: 1 }, "no study 2"),
        (trial(2, 0, 1), "FOREIGN KEY"),
        (trial(1, 0, 1), "trial.number"),
        (no_origin, "no origin"),
        (trial_state(1, 2, TrialState::Running, None, "", 1), "no trial 2"),
        (trial_state(1, 1, TrialState::Running, None, "", 1), "is finished"),
        (trial_state(1, 0, TrialState::Pruned, None, "", 1), "CHECK"),
        (trial_state(1, 0, TrialState::Complete, None, "why", 1), "CHECK"),
        (lease(1, worker(0)), "lease.id"),
        (lease(2, worker(1)), "was never seen"),
        (Write::LeaseRenewed { lease: LeaseId(2), at: Millis(0) }, "no lease 2"),
        (started(key(1, 0, 1, 1), 1, worker(0), 0), "is not newer"),
        (started(attempt, 1, worker(0), 0), "is not newer"),
        (started(other, 2, worker(0), 0), "FOREIGN KEY"),
        (ended(other, AttemptState::Complete, None), "does not run"),
        (ended(attempt, AttemptState::Complete, Some(FailureClass::Lost)), "CHECK"),
        (ended(attempt, AttemptState::Failed, None), "CHECK"),
        (epoch(attempt, 1, Some(0.5)), "epoch.epoch"),
        (epoch(other, 1, Some(0.5)), "FOREIGN KEY"),
    ] {
        let what = format!("{write:?}");
        let error = store.commit(&[epoch(attempt, 2, None), write]).expect_err(&what);
        assert!(matches!(error, StoreError::Inconsistent { .. }), "{what}: {error}");
        assert!(error.to_string().contains(part), "{what}: {error}");
        assert!(!error.is_user_error());
        assert_eq!(store.snapshot().expect("a snapshot"), before, "{what}");
    }
    store.commit(&[epoch(attempt, 2, None)]).expect("still usable");
}

#[test]
fn a_full_disk_is_an_error_and_the_store_goes_on() {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "a", "minimize")]).expect("there is room");
    let pages: u32 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a count");
    store.db.pragma_update_and_check(None, "max_page_count", pages + 8, |_| Ok(())).expect("a limit");
    let mut recorded = 0;
    let error = loop {
        let batch: Vec<_> = (recorded..recorded + 10).map(|number| trial(1, number, 3)).collect();
        match store.commit(&batch) {
            Ok(()) => recorded += 10,
            Err(error) => break error,
        }
        assert!(recorded < 10_000, "the limit does nothing");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(!error.is_user_error() && error.to_string().contains("disk is full"), "{error}");
    assert_eq!(store.snapshot().expect("a snapshot").studies[0].trials.len() as u32, recorded);

    store.db.pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).expect("no limit");
    store.commit(&[trial(1, recorded, 3)]).expect("there is room again");
    let trials = Reader::open(&path).and_then(|reader| reader.trials(StudyId(1), &TrialQuery::default()));
    assert_eq!(trials.expect("trials").len() as u32, recorded + 1);
}

#[test]
fn a_crash_keeps_every_whole_commit() {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "a", "minimize"), trial(1, 0, 1)]).expect("first");
    store.commit(&[trial(1, 1, 1)]).expect("second");
    let wal = fs::read(path.with_extension("db-wal")).expect("the log");
    for (cut, trials) in [(0, 2), (10, 1)] {
        // What a killed process leaves behind; with a cut, what a power failure may leave of the last commit.
        let folder = tempfile::tempdir().expect("a folder");
        let left = folder.path().join("left.db");
        fs::copy(&path, &left).expect("copied");
        fs::write(left.with_extension("db-wal"), &wal[..wal.len() - cut]).expect("copied");
        let before = fs::read(&left).expect("read");
        let reader = Reader::open(&left).expect("a reader");
        assert_eq!(reader.trials(StudyId(1), &TrialQuery::default()).expect("trials").len(), trials);
        drop(reader);
        assert_eq!(fs::read(&left).expect("read"), before, "a reader wrote");
        let snapshot = Store::open(&left).expect("recovered").snapshot().expect("a snapshot");
        assert_eq!(snapshot.studies[0].trials.len(), trials);
    }
}

#[test]
fn trials_are_sorted_filtered_and_cut() {
    let (_folder, _path, mut store) = new_store();
    let mut writes = vec![study(1, "a", "maximize")];
    writes.extend((0..6).map(|number| trial(1, number, 1)));
    for (number, value, at) in [(1, 0.5, 30), (2, 0.75, 20), (4, 0.25, 10)] {
        writes.push(trial_state(1, number, TrialState::Complete, Some(value), "why", at));
    }
    writes.push(trial_state(1, 5, TrialState::Pruned, None, "why", 15));
    store.commit(&writes).expect("a batch that fits");
    let reader = store.reader().expect("a reader");
    let ask = |query: TrialQuery| -> Vec<u32> {
        let trials = reader.trials(StudyId(1), &query).expect("trials");
        trials.iter().map(|trial| trial.number.0).collect()
    };
    let all = TrialQuery::default;
    assert_eq!(ask(all()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(ask(TrialQuery { descending: true, limit: Some(2), offset: 1, ..all() }), [4, 3]);
    assert_eq!(ask(TrialQuery { sort: TrialSort::Value, ..all() }), [4, 1, 2, 0, 3, 5]);
    let best = TrialQuery { sort: TrialSort::Value, descending: true, ..all() };
    assert_eq!(ask(best.clone()), [2, 1, 4, 0, 3, 5]);
    assert_eq!(ask(TrialQuery { sort: TrialSort::Finished, ..all() }), [4, 5, 2, 1, 0, 3]);
    assert_eq!(ask(TrialQuery { states: vec![TrialState::Complete], ..best }), [2, 1, 4]);
    assert_eq!(ask(TrialQuery { states: vec![TrialState::Waiting, TrialState::Pruned], ..all() }), [0, 3, 5]);
    assert!(ask(TrialQuery { states: vec![TrialState::Running], ..all() }).is_empty());
    assert_eq!(reader.trials(StudyId(2), &all()).expect("no study").len(), 0);
    assert_eq!(reader.trial(StudyId(1), TrialNumber(6)).expect("no trial"), None);
}

#[test]
fn params_keep_their_kind() {
    let (_folder, _path, mut store) = new_store();
    let mut write = trial(1, 0, 1);
    let Write::Trial { params, origins, .. } = &mut write else { panic!("a trial") };
    for (name, value) in [
        ("whole", ParamValue::Float(4.0)),
        ("tiny", ParamValue::Float(5e-324)),
        ("third", ParamValue::Float(1.0 / 3.0)),
        ("least", ParamValue::Int(i64::MIN)),
        ("digits", ParamValue::Text("12".into())),
        ("nothing", ParamValue::Text(String::new())),
        ("off", ParamValue::Bool(false)),
    ] {
        origins.insert(name.into(), foldwise_shared::state::Origin::Enqueued);
        params.insert(name.into(), value);
    }
    let expected = params.clone();
    store.commit(&[study(1, "a", "minimize"), write]).expect("a batch that fits");
    assert_eq!(store.snapshot().expect("a snapshot").studies[0].trials[0].params, expected);
    let trial = store.reader().and_then(|reader| reader.trial(StudyId(1), TrialNumber(0))).expect("a trial");
    assert_eq!(trial.expect("a trial").params, expected);
}

#[test]
fn the_view_of_a_study_has_a_column_a_param() {
    let (_folder, _path, mut store) = new_store();
    // The second name differs in its case only.
    store
        .commit(&[
            study(1, "my-study.1", "minimize"),
            study(2, "MY-study.1", "minimize"),
            trial(1, 3, 1),
            trial(2, 4, 1),
            trial_state(1, 3, TrialState::Complete, Some(0.5), "trained", 9),
        ])
        .expect("a batch that fits");
    for (view, text) in [
        ("trials_my-study.1", r#"3|complete|0.5|0.05|trained|2003|9|3.0|3|0|it's|[1,{"a":1.5}]"#),
        ("trials_MY-study.1_2", r#"4|waiting||||2004||4.0|4|1|it's|[1,{"a":1.5}]"#),
    ] {
        let columns = "number, state, value, std, reason, created_at, finished_at, \
            rate, width, flag, param_value, layers";
        let columns: Vec<_> = columns.split(", ").map(|column| format!("coalesce({column}, '')")).collect();
        let sql = format!("SELECT concat_ws('|', {}) FROM \"{view}\"", columns.join(", "));
        let row: String = store.db.query_row(&sql, [], |row| row.get(0)).expect("a row");
        assert_eq!(row, text);
    }
}

#[test]
fn events_log_everything_but_epochs() {
    let (_folder, _path, mut store) = new_store();
    let attempt = key(1, 0, 0, 1);
    store
        .commit(&[
            study(1, "a", "minimize"),
            hello(0),
            trial(1, 0, 1),
            lease(1, worker(0)),
            started(attempt, 1, worker(0), 0),
            epoch(attempt, 1, Some(0.5)),
            Write::RunningTime { study: StudyId(1), running_ms: 5 },
            ended(attempt, AttemptState::Failed, Some(FailureClass::Error)),
        ])
        .expect("a batch that fits");
    let sql = "SELECT concat_ws(' ', kind, trial, fold, attempt), detail FROM event ORDER BY seq";
    let mut query = store.db.prepare(sql).expect("sql");
    let events: Vec<(String, String)> = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .expect("events");
    let subjects: Vec<_> = events.iter().map(|event| event.0.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "study-created",
            "worker-connected",
            "trial-created 0",
            "attempt-started 0 0 1",
            "attempt-ended 0 0 1"
        ]
    );
    assert_eq!(
        events[4].1,
        r#"{"state":"failed","failure":"error","message":"it was error","worker":"w","value":null,"epochs":0}"#
    );
}
