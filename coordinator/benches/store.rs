//! How fast the store is on a real file with `synchronous = FULL`: epochs in batches of several sizes (a batch of one
//! is one commit an epoch), and loading the snapshot of a large study.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foldwise_coordinator::store::Store;
use foldwise_engine::scheduler::{DataInfo, NewStudy, WorkerInfo, Write};
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::Origin;
use foldwise_shared::value::ParamValue;
use tempfile::TempDir;

const FOLDS: u32 = 3;
/// Trials in training while epochs are committed.
const RUNNING: u32 = 10;
const STUDY: StudyId = StudyId(1);

/// A study with `trials` trials whose folds are all in training.
fn store(trials: u32) -> (TempDir, Store) {
    // Under the target folder, for /tmp may be no disk.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut store = Store::open(&folder.path().join("bench.db")).expect("a new database");
    let spec = r#"{ "version": 1, "study": { "name": "bench" }, "data": { "dataset": "mnist", "folds": 3 },
        "model": { "network": "lab" }, "train": { "epochs": 1000000000 } }"#;
    let data = DataInfo {
        data_digest: String::new(),
        splits_digest: String::new(),
        images: 60_000,
        height: 28,
        width: 28,
    };
    let spec = StudySpec::from_json(spec).expect("a spec");
    let study = Box::new(NewStudy { spec, spec_text: String::new(), data, parent: None, source: None });
    let worker =
        WorkerInfo { name: "worker".into(), incarnation: "incarnation".into(), device: "cuda:0".into() };
    let at = Millis(0);
    let mut writes =
        vec![Write::Study { id: STUDY, study, at }, Write::Worker { worker: worker.clone(), at }];
    for trial in (0..trials).map(TrialNumber) {
        let names = ["learning_rate", "weight_decay", "dropout"].map(String::from);
        writes.push(Write::Trial {
            study: STUDY,
            trial,
            params: names.iter().cloned().map(|name| (name, ParamValue::Float(0.1))).collect(),
            origins: names.into_iter().map(|name| (name, Origin::Sampled)).collect::<BTreeMap<_, _>>(),
            folds: FOLDS,
            parent: None,
            at,
        });
        for fold in 0..FOLDS {
            let (lease, worker) = (LeaseId(i64::from(trial.0 * FOLDS + fold) + 1), worker.clone());
            let key = AttemptKey { study: STUDY, trial, fold: FoldIndex(fold), attempt: Attempt(1) };
            writes.push(Write::Lease { lease, worker: worker.clone(), lease_ms: None, at });
            writes.push(Write::AttemptStarted { key, lease, worker, start_epoch: Epoch(0), at });
        }
    }
    store.commit(&writes).expect("committed");
    (folder, store)
}

/// Epoch number `index` of `trials` trials that take turns.
fn epoch(index: u32, trials: u32) -> Write {
    let slot = index % (trials * FOLDS);
    let record = EpochRecord {
        trial: TrialNumber(slot / FOLDS),
        fold: FoldIndex(slot % FOLDS),
        attempt: Attempt(1),
        epoch: Epoch(index / (trials * FOLDS) + 1),
        train_loss: Some(0.25),
        validation_loss: Some(0.3),
        learning_rate: Some(1e-3),
        seconds: Some(1.0),
        diverged: false,
        at: Millis(i64::from(index)),
        metrics: Default::default(),
    };
    Write::Epoch { study: STUDY, record, worker: "worker".into() }
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit_epochs");
    for size in [1, 16, 256] {
        let (_folder, mut store) = store(RUNNING);
        let mut next = 0;
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || {
                    next += size;
                    (next - size..next).map(|index| epoch(index, RUNNING)).collect::<Vec<_>>()
                },
                |batch| store.commit(&batch).expect("committed"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    const TRIALS: u32 = 10_000;
    let (_folder, mut store) = store(TRIALS);
    let epochs: Vec<_> = (0..TRIALS * FOLDS * 10).map(|index| epoch(index, TRIALS)).collect();
    store.commit(&epochs).expect("committed");
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    group.bench_function("10000x3x10", |bencher| {
        bencher.iter(|| black_box(store.snapshot().expect("a snapshot")));
    });
    group.finish();
}

criterion_group!(benches, commits, snapshot);
criterion_main!(benches);
