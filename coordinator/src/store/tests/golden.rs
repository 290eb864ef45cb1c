//! A file of every version of the schema, made when that version was new, opens with everything in it.

use std::fs;
use std::path::Path;

use foldwise_engine::scheduler::Write;
use foldwise_shared::artifact::{Artifact, ResultFile};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{SamplerKind, StudySpec};
use foldwise_shared::state::{AttemptState, FailureClass, Rule, StudyState, TrialState};
use foldwise_shared::value::ParamValue;

use super::model::Model;
use super::record::shown;
use super::{ended, epoch, hello, key, lease, new_store, started, study, trial, trial_state, worker};
use crate::store::schema::VERSION;
use crate::store::{Reader, Store, TrialQuery};

const GOLDEN: [&str; VERSION as usize] = ["v1.sqlite", "v2.sqlite", "v3.sqlite", "v4.sqlite", "v5.sqlite"];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/testdata"))
}

/// What is in the file of a version.
fn sample(version: u32) -> Vec<Write> {
    let (first, second, open) = (key(1, 0, 0, 1), key(1, 0, 0, 2), key(1, 1, 0, 1));
    let mut writes = vec![
        study(1, "golden", "minimize"),
        hello(0),
        trial(1, 0, 1),
        lease(1, worker(0)),
        started(first, 1, worker(0), 0),
        epoch(first, 1, Some(0.5)),
        epoch(first, 2, None),
        ended(first, AttemptState::Failed, Some(FailureClass::Lost)),
        lease(2, worker(0)),
        started(second, 2, worker(0), 1),
        epoch(second, 2, Some(0.25)),
        ended(second, AttemptState::Complete, None),
        Write::FoldState {
            study: StudyId(1),
            trial: TrialNumber(0),
            fold: FoldIndex(0),
            state: TrialState::Complete,
            value: Some(0.25),
            best_epoch: Some(Epoch(2)),
            at: Millis(6_000),
        },
        trial_state(1, 0, TrialState::Complete, Some(0.25), "trained to its end", 6_000),
        trial(1, 1, 2),
        lease(3, worker(0)),
        started(open, 3, worker(0), 0),
        epoch(open, 1, Some(0.75)),
        Write::Decision {
            study: StudyId(1),
            trial: TrialNumber(1),
            fold: FoldIndex(0),
            epoch: Some(Epoch(1)),
            decision: Decision {
                peers: 1,
                percentile: Some(50.0),
                ..Decision::new(Rule::Median, Some(0.75), Some(0.5))
            },
            at: Millis(7_000),
        },
        trial_state(1, 1, TrialState::Stopping, None, "pruned", 7_000),
        Write::RunningTime { study: StudyId(1), running_ms: 1_234 },
        Write::StudyState {
            study: StudyId(1),
            state: StudyState::Paused,
            message: Some("by hand".into()),
            at: Millis(8_000),
        },
    ];
    if version >= 2 {
        writes.extend(since_2());
    }
    if version >= 3 {
        writes.extend(since_3());
    }
    if version >= 4 {
        writes.extend(since_4());
    }
    if version >= 5 {
        writes.extend(since_5());
    }
    writes
}

/// A fit of the study: a model that it starts from, a param that was found, metrics and results.
fn since_5() -> Vec<Write> {
    let at = Millis(9_800);
    let artifact = |name: u32| Artifact { digest: format!("{name:064x}"), bytes: 4_321 };
    let mut fit = study(2, "fit", "minimize");
    if let Write::Study { study, .. } = &mut fit {
        (study.parent, study.source) = (Some(StudyId(1)), Some(artifact(7)));
    }
    let first = key(2, 0, 0, 1);
    let mut measured = epoch(first, 1, Some(0.5));
    if let Write::Epoch { record, .. } = &mut measured {
        record.metrics = [("kl".into(), 0.25), ("mse".into(), 0.125)].into();
    }
    let result = |kind: &str, epoch, name| {
        let result = ResultFile { kind: kind.into(), epoch, file: artifact(name) };
        Write::Result { key: first, result, at }
    };
    vec![
        fit,
        trial(2, 0, 1),
        lease(6, worker(0)),
        started(first, 6, worker(0), 0),
        Write::Derived { key: first, name: "found".into(), value: ParamValue::Float(0.003), at },
        measured,
        result("reconstruction", Some(Epoch(1)), 8),
        result("model", None, 9),
    ]
}

/// A fold that can go on from a checkpoint, and one that could.
fn since_4() -> Vec<Write> {
    let (at, fold) = (Millis(9_700), FoldIndex(1));
    let checkpoint =
        |epoch| Checkpoint { epoch: Epoch(epoch), digest: format!("{epoch:064x}"), bytes: 1_234 };
    vec![
        Write::Checkpoint { key: key(1, 1, 0, 1), checkpoint: checkpoint(1), at },
        Write::Checkpoint { key: key(1, 3, 1, 1), checkpoint: checkpoint(2), at },
        Write::CheckpointDropped { study: StudyId(1), trial: TrialNumber(3), fold },
    ]
}

/// A trial that somebody asked for: one lease for both of its folds.
fn since_3() -> Vec<Write> {
    let (lease, worker) = (LeaseId(5), worker(0));
    vec![
        trial(1, 3, 2),
        Write::Lease { lease, worker: worker.clone(), lease_ms: Some(60_000), at: Millis(9_500) },
        started(key(1, 3, 0, 1), 5, worker.clone(), 0),
        started(key(1, 3, 1, 1), 5, worker, 0),
        Write::LeaseRenewed { lease, at: Millis(9_600) },
    ]
}

/// A trial that was pruned, with every number that a rule can have.
fn since_2() -> Vec<Write> {
    let third = key(1, 2, 0, 1);
    let decision = Decision {
        rule: Rule::Sequential,
        own: None,
        threshold: Some(0.5),
        peers: 7,
        percentile: Some(12.5),
        bracket: Some(1),
        rung: Some(2),
        kept: Some(3),
        against: Some(TrialNumber(0)),
        alpha: Some(0.0125),
        standard_error: Some(0.25),
        degrees: Some(28),
        patience: Some(4),
    };
    vec![
        trial(1, 2, 1),
        lease(4, worker(0)),
        started(third, 4, worker(0), 0),
        epoch(third, 1, Some(1.25)),
        Write::Decision {
            study: StudyId(1),
            trial: TrialNumber(2),
            fold: FoldIndex(0),
            epoch: None,
            decision,
            at: Millis(9_000),
        },
        trial_state(1, 2, TrialState::Stopping, None, "pruned", 9_000),
    ]
}

fn model(version: u32) -> Model {
    let mut model = Model::default();
    for write in sample(version) {
        model.apply(&write);
    }
    model
}

/// With a spec in today's words: one that was stored earlier lacks the keys that came later.
fn resolved(record: StudyRecord) -> StudyRecord {
    let spec = StudySpec::from_json(&record.spec).expect("a stored spec");
    // These studies were begun when that was the default, and stay what they were.
    assert_eq!(spec.sampler.kind, SamplerKind::Random);
    StudyRecord { spec: spec.to_json(), ..record }
}

#[test]
fn every_version_opens() {
    for (version, name) in (1..).zip(GOLDEN) {
        let model = model(version);
        let temporary = tempfile::tempdir().expect("a folder");
        let path = temporary.path().join(name);
        fs::copy(folder().join(name), &path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut store = Store::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shown(store.snapshot()), shown(Ok(model.snapshot())), "{name}");
        let reader = store.reader().expect("a reader");
        let study = model.studies().next().expect("a study");
        let studies: Vec<StudyRecord> =
            reader.studies().expect("studies").into_iter().map(resolved).collect();
        let records: Vec<StudyRecord> =
            model.studies().map(|study| study.record(|id| model.name(id))).collect();
        assert_eq!(studies, records, "{name}");
        for (study, record) in model.studies().zip(&records) {
            assert_eq!(
                reader.artifacts(record.id, u32::MAX, 0).expect("artifacts"),
                study.results(),
                "{name}"
            );
            assert_eq!(reader.source_of(record.id).expect("a source").as_ref(), study.source(), "{name}");
        }
        assert_eq!(
            reader.trials(StudyId(1), &TrialQuery::default()).expect("trials"),
            study.trials(),
            "{name}"
        );
        assert_eq!(reader.curve(StudyId(1), None, true).expect("rows"), study.curve(true), "{name}");
        let mut decisions = reader.decisions(StudyId(1), None).expect("decisions");
        decisions.iter_mut().for_each(|decision| decision.event_seq = 0);
        assert_eq!(decisions, study.decisions, "{name}");

        // After its migrations it is what a new database is.
        let (_folder, _path, new) = new_store();
        let schema = |store: &Store| -> Vec<String> {
            let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'trials_%' ORDER BY name";
            let mut query = store.db.prepare(sql).expect("sql");
            query.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("the schema")
        };
        assert_eq!(schema(&store), schema(&new), "{name}");
    }
}

#[test]
fn the_newest_opens_without_a_store_and_unchanged() {
    let path = folder().join(GOLDEN[GOLDEN.len() - 1]);
    let before = fs::read(&path).expect("read");
    let reader = Reader::open(&path).expect("a reader");
    let study = reader.study("golden").expect("a query").map(resolved);
    let model = model(VERSION);
    assert_eq!(study, model.studies().next().map(|study| study.record(|id| model.name(id))));
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[test]
#[ignore = "makes the file of a new version; run it once, when the schema is final"]
fn make_golden() {
    let (_folder, path, mut store) = new_store();
    store.commit(&sample(VERSION)).expect("a batch that fits");
    store.db.execute_batch("VACUUM").expect("small");
    drop(store);
    fs::copy(path, folder().join(format!("v{VERSION}.sqlite"))).expect("copied");
}
