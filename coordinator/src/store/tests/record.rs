//! What is written is what is read: random changes against the model.

use std::path::Path;

use foldwise_engine::scheduler::{Snapshot, Write};
use foldwise_shared::ids::StudyId;
use proptest::prelude::*;

use super::model::{Model, ModelStudy};
use super::{new_store, trial_state};
use crate::store::{Reader, Store, StoreError, TrialQuery};
use foldwise_shared::state::TrialState;

/// A snapshot as text: NaN is equal to itself there.
pub(super) fn shown(snapshot: Result<Snapshot, StoreError>) -> String {
    format!("{:#?}", snapshot.expect("a snapshot"))
}

/// Every query of a fresh reader answers as the model does.
fn check_records(path: &Path, model: &Model) {
    let reader = Reader::open(path).expect("a reader");
    let records: Vec<_> = model.studies().map(|study| study.record(|id| model.name(id))).collect();
    assert_eq!(reader.studies().expect("studies"), records);
    let names: Vec<_> = records.iter().map(|study| study.name.clone()).collect();
    assert_eq!(reader.study_names().expect("names"), names);
    for (record, study) in records.iter().zip(model.studies()) {
        let id = record.id;
        assert_eq!(reader.study(&record.name).expect("a study").as_ref(), Some(record));
        let trials = reader.trials(id, &TrialQuery::default()).expect("trials");
        assert_eq!(trials, study.trials());
        assert_eq!(reader.earlier_budgets(id).expect("budgets"), study.earlier_budgets);
        assert_eq!(reader.study_state(id).expect("a state"), Some(record.state));
        assert_eq!(reader.curve(id, None, false).expect("live rows"), study.curve(false));
        assert_eq!(reader.curve(id, None, true).expect("all rows"), study.curve(true));
        let mut decisions = reader.decisions(id, None).expect("decisions");
        assert!(decisions.is_sorted_by_key(|decision| decision.event_seq));
        for decision in &mut decisions {
            assert!(std::mem::take(&mut decision.event_seq) > 0);
        }
        assert_eq!(decisions, study.decisions);
        assert_eq!(reader.source_of(id).expect("a source").as_ref(), study.source());
        assert_eq!(reader.artifacts(id, u32::MAX, 0).expect("artifacts"), study.results());
        for digest in study.digests() {
            assert!(reader.refers_to_artifact(&digest).expect("an answer"), "{digest}");
        }
        if let Some(last) = trials.last() {
            let number = last.number;
            assert_eq!(reader.trial(id, number).expect("a trial").as_ref(), Some(last));
            let mut rows = study.curve(false);
            rows.retain(|row| row.trial == number);
            assert_eq!(reader.curve(id, Some(number), false).expect("its rows"), rows);
            let attempts = reader.attempts(id, number).expect("attempts");
            assert_eq!(attempts.len() as u32, last.folds.iter().map(|fold| fold.attempts).sum::<u32>());
        }
    }
    assert_eq!(reader.study("nobody").expect("no study"), None);
    let digests = model.studies().flat_map(ModelStudy::digests).collect();
    assert_eq!(reader.artifact_digests().expect("digests"), digests);
}

/// The view `curve` shows the rows that the query for live rows does.
fn check_view(store: &Store, model: &Model) {
    let mut query = store
        .db
        .prepare("SELECT number, fold, epoch, attempt, val_loss FROM curve WHERE study = ?1 ORDER BY 1, 2, 3")
        .expect("the view");
    for study in model.studies() {
        let rows: Vec<(u32, u32, u32, u32, Option<f64>)> = query
            .query_map([model.name(StudyId(study.id))], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
            .and_then(Iterator::collect)
            .expect("rows");
        let live = study.curve(false);
        let live =
            live.iter().map(|row| (row.trial.0, row.fold.0, row.epoch.0, row.attempt.0, row.validation_loss));
        assert_eq!(rows, live.collect::<Vec<_>>());
    }
}

/// Nothing of a study that was deleted is left, and no view but those of the others.
fn check_deleted(store: &Store, model: &Model) {
    let count =
        |sql: &str| store.db.query_row(sql, [], |row| row.get::<_, u32>(0)).expect("a count") as usize;
    let studies: Vec<_> = model.studies().collect();
    let trials: usize = studies.iter().map(|study| study.trials().len()).sum();
    assert_eq!(
        count("SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND name LIKE 'trials%'"),
        studies.len()
    );
    assert_eq!(count("SELECT count(*) FROM objective"), studies.len());
    assert_eq!(count("SELECT count(*) FROM trial"), trials);
    let epochs: usize = studies.iter().map(|study| study.curve(true).len()).sum();
    assert_eq!(count("SELECT count(*) FROM epoch"), epochs);
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

/// A snapshot of one study alone has all of it, also when it has ended.
fn check_single(store: &mut Store, model: &Model) {
    for study in model.studies() {
        let whole = model.whole_snapshot(study);
        let single = store.study_snapshot(whole.id).expect("a snapshot");
        assert_eq!(format!("{single:#?}"), format!("{:#?}", Some(whole)));
    }
    let none = store.study_snapshot(StudyId(model.last_study() + 1)).expect("a snapshot");
    assert_eq!(none, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(steps in prop::collection::vec(
        (0u8..28, any::<u16>(), any::<u16>(), any::<u16>(), 0u8..8), 1..200,
    )) {
        let (_folder, path, mut store) = new_store();
        let mut model = Model::default();
        let mut batch: Vec<Write> = Vec::new();
        let add = |model: &mut Model, batch: &mut Vec<Write>, kind, a, b, c| {
            if let Some(write) = model.choose(kind, a, b, c) {
                model.apply(&write);
                batch.push(write);
            }
        };
        add(&mut model, &mut batch, 0, 0, 0, 0);
        add(&mut model, &mut batch, 1, 0, 0, 0);
        for (kind, a, b, c, commit) in steps {
            // Few studies, trials and folds, so that much happens to each.
            add(&mut model, &mut batch, kind, a.into(), (b % 4).into(), c.into());
            if commit == 0 {
                // First with a change that cannot be: nothing of the batch may stay.
                batch.push(trial_state(99, 0, TrialState::Running, None, "", 0));
                let error = store.commit(&batch).expect_err("no such study");
                prop_assert!(matches!(error, StoreError::Inconsistent { .. }), "{error}");
                batch.pop();
                store.commit(&batch).expect("a batch that fits");
                batch.clear();
            }
        }
        store.commit(&batch).expect("a batch that fits");
        prop_assert_eq!(shown(store.snapshot()), shown(Ok(model.snapshot())));
        check_records(&path, &model);
        check_view(&store, &model);
        check_deleted(&store, &model);
        check_single(&mut store, &model);

        drop(store);
        check_records(&path, &model);
        let mut store = Store::open(&path).expect("reopened");
        prop_assert_eq!(shown(store.snapshot()), shown(Ok(model.snapshot())));
        prop_assert_eq!(store.snapshot().expect("a snapshot").last_study, StudyId(model.last_study()));
    }
}
