//! Hand-made records for the tests of what a person reads.

mod bench;

use std::collections::BTreeMap;

use foldwise_shared::decision::Decision;
use foldwise_shared::device::DeviceUse;
use foldwise_shared::fleet::{FoldInTraining, WorkerRecord, WorkerState};
use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::ledger::{Account, Ledger, LedgerRow};
use foldwise_shared::record::{
    AttemptRecord, Best, BestRecord, CallRecord, DecisionRecord, EpochRecord, Explanation, FoldRecord,
    LookRecord, PeerRecord, ReplayRecord, StopRecord, StudyEvent, StudyRecord, TrialRecord,
};
use foldwise_shared::spec::{StudySpec, parse};
use foldwise_shared::state::{
    AttemptState, Direction, FailureClass, Origin, Rule, Skip, StudyState, TrialState,
};
use foldwise_shared::value::{ParamValue, Params};

pub use self::bench::{comparison, timings};
use super::live::LiveInfo;

const FILE: &str = r#"
version = 1
study = { name = "demo", seed = 7 }
data = { dataset = "synthetic-digits", folds = 3, limit = 3000 }
model = { network = "lab", latent_dim = 4 }
train = { epochs = 8, early_stopping = { patience = 3 } }
pruner = { kind = "median", startup_trials = 3, warmup_epochs = 1 }
budget = { trials = 12 }
[space]
learning_rate = { float = [5e-4, 5e-2], log = true }
weight_decay = { float = [5e-5, 5e-3], log = true }
dropout = { float = [0.0, 0.5] }
"#;

/// 2023-11-14 22:13:20Z.
const START: i64 = 1_700_000_000_000;

pub fn spec(sets: &[&str]) -> StudySpec {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse(FILE, &sets).expect("the sample is a study file")
}

pub fn spec_without_trials(budget: &str) -> StudySpec {
    parse(&FILE.replace("trials = 12", budget), &[]).expect("the sample is a study file")
}

pub fn study() -> StudyRecord {
    let counts = [
        (TrialState::Complete, 2),
        (TrialState::Pruned, 1),
        (TrialState::Failed, 1),
        (TrialState::Running, 1),
    ];
    StudyRecord {
        id: StudyId(1),
        name: "demo".into(),
        state: StudyState::Running,
        message: None,
        direction: Direction::Minimize,
        spec: spec(&[]).to_json(),
        spec_text: FILE.into(),
        data_digest: "d1".repeat(32),
        splits_digest: "5e".repeat(32),
        images: 3000,
        height: 28,
        width: 28,
        created_at: Millis(START),
        running_ms: 83_400,
        trials: BTreeMap::from(counts),
        epochs: 58,
        best: Some(Best { number: TrialNumber(0), value: 0.043_215_678 }),
        parent: None,
    }
}

pub fn fresh_study() -> StudyRecord {
    StudyRecord {
        id: StudyId(2),
        name: "fresh".into(),
        trials: BTreeMap::new(),
        epochs: 0,
        running_ms: 0,
        best: None,
        message: Some("waits for data".into()),
        state: StudyState::Paused,
        ..study()
    }
}

fn params(learning_rate: f64, dropout: f64) -> Params {
    [("learning_rate", learning_rate), ("weight_decay", 8.8e-5), ("dropout", dropout)]
        .map(|(name, value)| (name.to_owned(), ParamValue::Float(value)))
        .into()
}

fn fold(
    index: u32,
    state: TrialState,
    value: Option<f64>,
    best_epoch: Option<u32>,
    epochs: u32,
) -> FoldRecord {
    let best_epoch = best_epoch.map(Epoch);
    FoldRecord { fold: FoldIndex(index), state, value, best_epoch, epochs, attempts: u32::from(epochs > 0) }
}

fn trial(number: u32, state: TrialState, folds: Vec<FoldRecord>) -> TrialRecord {
    let params = params(0.0012 * f64::from(number + 1), 0.15);
    let at = START + 10_000 * i64::from(number);
    TrialRecord {
        number: TrialNumber(number),
        state,
        value: None,
        std: None,
        origins: params.keys().map(|name| (name.clone(), Origin::Sampled)).collect(),
        params,
        reason: None,
        created_at: Millis(at),
        finished_at: state.is_finished().then_some(Millis(at + 9_000)),
        folds,
        parent: None,
    }
}

pub fn trials() -> Vec<TrialRecord> {
    use TrialState::{Cancelled, Complete, Failed, Pruned, Running, Waiting};
    vec![
        TrialRecord {
            value: Some(0.043_215_678),
            std: Some(0.000_812_3),
            reason: Some("all 3 folds are complete".into()),
            ..trial(0, Complete, (0..3).map(|at| fold(at, Complete, Some(0.0432), Some(8), 8)).collect())
        },
        TrialRecord {
            value: Some(0.05),
            std: Some(1e-5),
            reason: Some("all 3 folds are complete".into()),
            ..trial(1, Complete, (0..3).map(|at| fold(at, Complete, Some(0.05), Some(3), 6)).collect())
        },
        TrialRecord {
            reason: Some("median on fold 1 at epoch 2".into()),
            ..trial(
                2,
                Pruned,
                vec![
                    fold(0, Complete, Some(0.06), Some(8), 8),
                    fold(1, Cancelled, None, None, 2),
                    fold(2, Cancelled, None, None, 0),
                ],
            )
        },
        TrialRecord {
            reason: Some("diverged: the loss of fold 0\nis not finite".into()),
            ..trial(
                3,
                Failed,
                vec![
                    fold(0, Failed, None, None, 2),
                    fold(1, Cancelled, None, None, 0),
                    fold(2, Cancelled, None, None, 0),
                ],
            )
        },
        trial(
            4,
            Running,
            vec![
                fold(0, Running, None, None, 4),
                fold(1, Waiting, None, None, 0),
                fold(2, Waiting, None, None, 0),
            ],
        ),
    ]
}

pub fn decision() -> Decision {
    Decision { peers: 4, percentile: Some(50.0), ..Decision::new(Rule::Median, Some(0.0712), Some(0.061_25)) }
}

pub fn decisions() -> Vec<DecisionRecord> {
    let within = DecisionRecord {
        trial: TrialNumber(2),
        fold: FoldIndex(1),
        epoch: Some(Epoch(2)),
        decision: decision(),
        event_seq: 77,
    };
    let tested = Decision {
        peers: 6,
        against: Some(TrialNumber(0)),
        alpha: Some(0.05 / 3.0),
        standard_error: Some(0.001_25),
        degrees: Some(10),
        ..Decision::new(Rule::Sequential, Some(0.06), Some(0.0512))
    };
    vec![within, DecisionRecord { epoch: None, decision: tested, ..within }]
}

/// Trial 2, pruned on its second fold: the fifth of nine.
pub fn explanation() -> Explanation {
    let stored = decisions()[0];
    let DecisionRecord { trial, fold, epoch, .. } = stored;
    let look = LookRecord { fold, epoch, prune: true, decision: Decision { peers: 8, ..decision() } };
    let peer = |(trial, value)| PeerRecord { trial: TrialNumber(trial), value };
    let values = [0.05, 0.055, 0.06, 0.061_25, 0.0712, 0.08, 0.09].map(Some);
    Explanation {
        trial,
        state: TrialState::Pruned,
        value: None,
        direction: Direction::Minimize,
        pruner: spec(&[]).pruner_json(),
        stored: Some(DecisionRecord { decision: look.decision, ..stored }),
        call: Some(CallRecord {
            look,
            place: 5,
            margin: Some(0.0712 - 0.061_25),
            peers: (3..).zip(values.into_iter().chain([None])).map(peer).collect(),
        }),
        looks: vec![look],
        skipped: BTreeMap::from([(Skip::NotDue, 2), (Skip::FewTrials, 3)]),
        exact: true,
    }
}

/// Trial 0, which lived on; it was compared with this many.
pub fn survivor(peers: u32) -> Explanation {
    let look = |epoch, own| LookRecord {
        fold: FoldIndex(0),
        epoch: Some(Epoch(epoch)),
        prune: false,
        decision: Decision {
            peers,
            percentile: Some(50.0),
            ..Decision::new(Rule::Median, Some(own), Some(0.06))
        },
    };
    let looks: Vec<LookRecord> =
        (1..=20).map(|epoch| look(epoch, if epoch == 9 { 0.0588 } else { 0.05 })).collect();
    let peer = |trial: u32| PeerRecord {
        trial: TrialNumber(trial + 1),
        value: Some(0.04 + 0.04 * f64::from(trial) / f64::from(peers)),
    };
    Explanation {
        trial: TrialNumber(0),
        state: TrialState::Complete,
        value: Some(0.043_215_678),
        stored: None,
        call: Some(CallRecord {
            look: looks[8],
            place: 1 + (0..peers).filter(|trial| peer(*trial).value < Some(0.0588)).count() as u32,
            margin: Some(0.0012),
            peers: (0..peers).map(peer).collect(),
        }),
        looks,
        skipped: BTreeMap::new(),
        exact: false,
        ..explanation()
    }
}

pub fn replays() -> Vec<ReplayRecord> {
    let look = explanation().looks[0];
    let best = [(0, 0.043), (1, 0.05), (4, 0.051)].map(|(trial, value)| BestRecord {
        trial: TrialNumber(trial),
        value,
        lives: true,
    });
    let own = ReplayRecord {
        name: "median (its own)".into(),
        pruner: spec(&[]).pruner_json(),
        trials: 5,
        recorded: 58,
        saved: 0,
        stopped: vec![StopRecord { trial: TrialNumber(2), state: TrialState::Pruned, saved: 0, look }],
        best: best.to_vec(),
        unknown: Vec::new(),
        exact: true,
    };
    let bound = Decision::new(Rule::Threshold, Some(0.081), Some(0.07));
    let stop = LookRecord { fold: FoldIndex(0), epoch: Some(Epoch(3)), prune: true, decision: bound };
    let bounds = ReplayRecord {
        name: "threshold,upper=0.07".into(),
        pruner: r#"{"kind":"threshold","upper":0.07,"warmup_epochs":0,"interval_epochs":1}"#.into(),
        saved: 15,
        stopped: vec![StopRecord {
            trial: TrialNumber(1),
            state: TrialState::Complete,
            saved: 15,
            look: stop,
        }],
        best: best.map(|best| BestRecord { lives: best.trial != TrialNumber(1), ..best }).to_vec(),
        unknown: vec![TrialNumber(2)],
        ..own.clone()
    };
    vec![own, bounds]
}

/// Of trial 2: lost, and then gone on with.
pub fn attempts() -> Vec<AttemptRecord> {
    let first = AttemptRecord {
        fold: FoldIndex(0),
        attempt: Attempt(1),
        state: AttemptState::Failed,
        failure: Some(FailureClass::Lost),
        message: Some("its worker fell silent".into()),
        worker: "w0".into(),
        device: "cuda:0".into(),
        start_epoch: Epoch(0),
        epochs: 5,
        started_at: Millis(START),
        ended_at: Some(Millis(START + 42_000)),
    };
    let second = AttemptRecord {
        attempt: Attempt(2),
        state: AttemptState::Complete,
        failure: None,
        message: None,
        worker: "w1".into(),
        device: "cpu".into(),
        start_epoch: Epoch(4),
        epochs: 4,
        started_at: Millis(START + 43_000),
        ended_at: Some(Millis(START + 60_000)),
        ..first.clone()
    };
    let third = AttemptRecord {
        fold: FoldIndex(1),
        attempt: Attempt(1),
        state: AttemptState::Running,
        start_epoch: Epoch(0),
        epochs: 2,
        ended_at: None,
        ..second.clone()
    };
    vec![first, second, third]
}

pub fn workers() -> Vec<WorkerRecord> {
    let worker = |name: &str, state| WorkerRecord {
        name: name.into(),
        incarnation: format!("{name}-1"),
        device: "cuda:0".into(),
        state,
        slots: Some(2),
        free: Some(1),
        folds: Vec::new(),
        heard_at: Millis(START),
        drained_at: None,
        device_use: None,
    };
    let folds = vec![FoldInTraining {
        study: "demo".into(),
        trial: TrialNumber(4),
        fold: FoldIndex(0),
        attempt: Attempt(1),
        epoch: Epoch(4),
    }];
    let device_use = DeviceUse { memory_used: 3 << 30, memory_total: 80 << 30, utilization: Some(0.875) };
    vec![
        WorkerRecord { folds, device_use: Some(device_use), ..worker("a", Some(WorkerState::Connected)) },
        WorkerRecord { drained_at: Some(Millis(START)), ..worker("b", Some(WorkerState::Draining)) },
        WorkerRecord { slots: None, free: None, ..worker("c", Some(WorkerState::Gone)) },
        WorkerRecord { slots: None, free: None, drained_at: Some(Millis(START)), ..worker("d", None) },
    ]
}

pub fn ledger() -> Ledger {
    let row = |device: &str, account, cause: Option<&str>, count, epochs, seconds| LedgerRow {
        device: device.into(),
        account,
        cause: cause.map(str::to_owned),
        count,
        epochs,
        seconds,
    };
    Ledger {
        rows: vec![
            row("cpu", Account::Used, None, 3, 20, 90.25),
            row("cpu", Account::Saved, Some("pruned"), 1, 14, 31.5),
            row("cuda:0", Account::Used, None, 4, 38, 3_700.0),
            row("cuda:0", Account::Wasted, Some("lost"), 1, 0, 12.345),
            row("cuda:0", Account::Wasted, Some("repeated"), 1, 1, 61.0),
        ],
    }
}

pub fn curve() -> Vec<EpochRecord> {
    vec![
        epoch(0, 0, 1, Some(0.071_234_567)),
        epoch(0, 0, 2, Some(0.05)),
        EpochRecord { train_loss: None, diverged: true, ..epoch(3, 0, 1, None) },
    ]
}

fn epoch(trial: u32, fold: u32, epoch: u32, loss: Option<f64>) -> EpochRecord {
    EpochRecord {
        trial: TrialNumber(trial),
        fold: FoldIndex(fold),
        attempt: Attempt(1),
        epoch: Epoch(epoch),
        train_loss: Some(0.08),
        validation_loss: loss,
        learning_rate: Some(0.0012),
        seconds: Some(0.4567),
        diverged: loss.is_none(),
        at: Millis(START + i64::from(epoch)),
        metrics: BTreeMap::new(),
    }
}

pub fn live() -> LiveInfo {
    LiveInfo { spec: spec(&[]), study: study(), trials: trials(), workers: vec!["w0".into(), "w1".into()] }
}

pub fn created(trial: u32) -> StudyEvent {
    StudyEvent::TrialCreated { trial: TrialNumber(trial), params: params(0.0012, 0.15) }
}

pub fn started(trial: u32, fold: u32, worker: &str) -> StudyEvent {
    StudyEvent::AttemptStarted {
        trial: TrialNumber(trial),
        fold: FoldIndex(fold),
        attempt: Attempt(1),
        worker: worker.into(),
        device: "cpu".into(),
    }
}

pub fn phase(trial: u32, fold: u32, name: &str, worker: &str) -> StudyEvent {
    let (trial, fold, attempt) = (TrialNumber(trial), FoldIndex(fold), Attempt(1));
    StudyEvent::PhaseBegan { trial, fold, attempt, worker: worker.into(), name: name.into() }
}

pub fn epoch_event(trial: u32, fold: u32, number: u32, loss: Option<f64>, worker: &str) -> StudyEvent {
    StudyEvent::Epoch { record: epoch(trial, fold, number, loss), worker: worker.into() }
}

pub fn fold_finished(trial: u32, fold: u32, worker: &str, value: f64) -> StudyEvent {
    let (trial, fold) = (TrialNumber(trial), FoldIndex(fold));
    StudyEvent::FoldFinished { trial, fold, worker: worker.into(), value, epochs: 8 }
}

pub fn failed(trial: u32, fold: u32, worker: &str) -> StudyEvent {
    StudyEvent::AttemptFailed {
        trial: TrialNumber(trial),
        fold: FoldIndex(fold),
        attempt: Attempt(1),
        worker: worker.into(),
        class: FailureClass::Lost,
        message: "the stream closed".into(),
    }
}

pub fn trial_finished(trial: u32, state: TrialState, value: Option<f64>) -> StudyEvent {
    let reason =
        if state == TrialState::Complete { "all folds are complete" } else { "median on fold 0 at epoch 2" };
    StudyEvent::TrialFinished { trial: TrialNumber(trial), state, value, reason: reason.into() }
}

pub fn ended() -> StudyEvent {
    StudyEvent::StudyChanged { state: StudyState::Ended, message: Some("12 trials".into()) }
}
