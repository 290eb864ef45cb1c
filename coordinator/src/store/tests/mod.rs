//! Tests of the store: a random record against a model, what is refused, and the files of earlier versions.

mod commit;
mod damage;
mod full;
mod golden;
mod ledger;
mod living;
mod model;
mod opening;
mod record;
mod recording;

use std::collections::BTreeMap;
use std::path::PathBuf;

use foldwise_engine::scheduler::{DataInfo, NewStudy, WorkerInfo, Write};
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{AttemptState, FailureClass, Origin, TrialState};
use foldwise_shared::value::{ParamValue, Params};
use tempfile::TempDir;

use super::Store;

/// A folder with a new database.
fn new_store() -> (TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let store = Store::open(&path).expect("a new database");
    (folder, path, store)
}

fn spec(name: &str, direction: &str) -> StudySpec {
    let text = format!(
        r#"{{
            "version": 1,
            "study": {{ "name": "{name}", "direction": "{direction}", "seed": 7 }},
            "data": {{ "dataset": "mnist", "folds": 3 }},
            "model": {{ "network": "lab", "latent_dim": 4 }},
            "train": {{ "epochs": 1000 }},
            "sampler": {{ "kind": "random" }},
            "space": {{
                "rate": {{ "float": [0.5, 8.0] }},
                "width": {{ "int": [1, 9] }},
                "flag": {{ "bool": true }},
                "value": {{ "choice": ["it's", "\"b\""] }},
                "layers": {{ "choice": [[1, 2], {{ "a": 1.5 }}] }}
            }}
        }}"#
    );
    StudySpec::from_json(&text).expect("a spec")
}

fn study(id: i64, name: &str, direction: &str) -> Write {
    let data = DataInfo {
        data_digest: "d1".into(),
        splits_digest: "s1".into(),
        images: 60_000,
        height: 28,
        width: 28,
    };
    let spec_text = format!("# {name}\n");
    let study =
        Box::new(NewStudy { spec: spec(name, direction), spec_text, data, parent: None, source: None });
    Write::Study { id: StudyId(id), study, at: Millis(1_000 + id) }
}

/// One param of each kind.
fn params(seed: u32) -> Params {
    BTreeMap::from([
        ("rate".to_owned(), ParamValue::Float(f64::from(seed % 5))),
        ("width".to_owned(), ParamValue::Int(seed.into())),
        ("flag".to_owned(), ParamValue::Bool(seed.is_multiple_of(2))),
        ("value".to_owned(), ParamValue::Text("it's".into())),
        ("layers".to_owned(), ParamValue::Table(Box::new(serde_json::json!([1, { "a": 1.5 }])))),
    ])
}

fn origins() -> BTreeMap<String, Origin> {
    params(0).into_keys().zip(Origin::ALL.iter().copied().cycle()).collect()
}

fn trial(study: i64, number: u32, folds: u32) -> Write {
    Write::Trial {
        study: StudyId(study),
        trial: TrialNumber(number),
        params: params(number),
        origins: origins(),
        folds,
        parent: None,
        at: Millis(2_000 + i64::from(number)),
    }
}

fn worker(number: u32) -> WorkerInfo {
    WorkerInfo {
        name: format!("w{number}"),
        incarnation: format!("incarnation-{number}"),
        device: format!("cuda:{number}"),
    }
}

fn hello(number: u32) -> Write {
    Write::Worker { worker: worker(number), at: Millis(500) }
}

fn key(study: i64, trial: u32, fold: u32, attempt: u32) -> AttemptKey {
    AttemptKey {
        study: StudyId(study),
        trial: TrialNumber(trial),
        fold: FoldIndex(fold),
        attempt: Attempt(attempt),
    }
}

fn started(key: AttemptKey, lease: i64, worker: WorkerInfo, start: u32) -> Write {
    Write::AttemptStarted {
        key,
        lease: LeaseId(lease),
        worker,
        start_epoch: Epoch(start),
        at: Millis(3_000 + lease),
    }
}

fn lease(lease: i64, worker: WorkerInfo) -> Write {
    Write::Lease { lease: LeaseId(lease), worker, lease_ms: None, at: Millis(3_000 + lease) }
}

fn ended(key: AttemptKey, state: AttemptState, failure: Option<FailureClass>) -> Write {
    Write::AttemptEnded {
        key,
        state,
        failure,
        message: failure.map(|class| format!("it was {class}")),
        worker: "w".into(),
        value: None,
        epochs: 0,
        at: Millis(4_000),
    }
}

fn epoch_record(key: AttemptKey, epoch: u32, loss: Option<f64>) -> EpochRecord {
    EpochRecord {
        trial: key.trial,
        fold: key.fold,
        attempt: key.attempt,
        epoch: Epoch(epoch),
        train_loss: loss.map(|loss| loss + 0.5),
        validation_loss: loss,
        learning_rate: Some(1e-3),
        seconds: Some(0.25),
        diverged: loss.is_none(),
        at: Millis(5_000 + i64::from(epoch)),
        metrics: BTreeMap::new(),
    }
}

fn epoch(key: AttemptKey, epoch: u32, loss: Option<f64>) -> Write {
    Write::Epoch { study: key.study, record: epoch_record(key, epoch, loss), worker: "w".into() }
}

fn trial_state(
    study: i64,
    trial: u32,
    state: TrialState,
    value: Option<f64>,
    reason: &str,
    at: i64,
) -> Write {
    Write::TrialState {
        study: StudyId(study),
        trial: TrialNumber(trial),
        state,
        ending: (state == TrialState::Stopping).then_some(TrialState::Pruned),
        value,
        std: value.map(|value| value / 10.0),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        at: Millis(at),
    }
}
