//! Every message that fuzzing ever found worth keeping, taken as the fuzz target takes it.

#[path = "../../deploy/fuzz/corpus.rs"]
mod corpus;
#[path = "../../deploy/fuzz/targets/wire.rs"]
mod target;

use std::collections::BTreeMap;

use foldwise_proto::v1::{
    self, from_worker::Message as From, study_event, to_worker::Message as To, value::Kind,
};
use prost::Message;

#[test]
fn messages_of_the_corpus() {
    corpus::run("wire", target::check);
}

/// One of each kind, with all its fields where they matter.
fn seeds() -> Vec<(&'static str, u8, Vec<u8>)> {
    let key = Some(v1::AttemptKey { study: 1, trial: 2, fold: 3, attempt: 4 });
    let params: BTreeMap<String, v1::Value> = [
        Kind::Flag(true),
        Kind::Whole(-7),
        Kind::Real(f64::NAN),
        Kind::Text("adam".into()),
        Kind::Json(r#"[1, {"a": 1.5e300}]"#.into()),
    ]
    .into_iter()
    .enumerate()
    .map(|(at, kind)| (format!("p{at}"), v1::Value { kind: Some(kind) }))
    .collect();
    let from = |message| v1::FromWorker { message: Some(message) }.encode_to_vec();
    let to = |message| v1::ToWorker { message: Some(message) }.encode_to_vec();
    let event = |event| v1::StudyEvent { event: Some(event) }.encode_to_vec();
    let epoch = v1::Epoch {
        trial: 2,
        fold: 3,
        attempt: 4,
        epoch: 5,
        train_loss: Some(0.5),
        validation_loss: None,
        learning_rate: Some(1e-3),
        seconds: Some(0.25),
        diverged: true,
        at: 1_700_000_000_000,
        metrics: BTreeMap::from([("kl".into(), 0.25)]),
    };
    let decision = v1::Decision {
        trial: 2,
        fold: 3,
        epoch: Some(5),
        rule: "median".into(),
        own: Some(0.75),
        threshold: Some(0.5),
        peers: 7,
        percentile: Some(50.0),
        event_seq: 9,
        against: Some(1),
        ..Default::default()
    };
    let look = v1::Look { prune: true, decision: Some(decision.clone()) };
    let fold = v1::Fold {
        fold: 0,
        state: "complete".into(),
        value: Some(0.25),
        best_epoch: Some(5),
        epochs: 6,
        attempts: 1,
    };
    let trial = v1::Trial {
        number: 2,
        state: "pruned".into(),
        params: params.clone(),
        origins: BTreeMap::from([("p0".into(), "enqueued".into())]),
        reason: Some("median".into()),
        created_at: 1,
        finished_at: Some(2),
        folds: vec![fold.clone()],
        ..Default::default()
    };
    let study = v1::Study {
        id: 1,
        name: "a".into(),
        state: "running".into(),
        direction: "minimize".into(),
        spec: "{}".into(),
        trials: BTreeMap::from([("complete".into(), 3)]),
        best: Some(v1::Best { number: 2, value: 0.25 }),
        ..Default::default()
    };
    let explanation = v1::Explanation {
        trial: 2,
        state: "pruned".into(),
        direction: "minimize".into(),
        pruner: "{}".into(),
        stored: Some(decision.clone()),
        call: Some(v1::Call {
            look: Some(look.clone()),
            place: 2,
            margin: Some(0.25),
            peers: vec![v1::Peer { trial: 0, value: None }],
        }),
        looks: vec![look.clone()],
        ..Default::default()
    };
    let replay = v1::Replay {
        name: "median".into(),
        stopped: vec![v1::ReplayedStop { saved: 5, state: "complete".into(), look: Some(look) }],
        unknown: vec![1],
        ..Default::default()
    };
    let task = v1::FoldTask { key, params: params.clone(), seed: 7, start_epoch: 3, ..Default::default() };
    let folds = v1::TrainFolds { lease: 1, tasks: vec![task], spec: "{}".into(), ..Default::default() };
    let assign = v1::Assign { work: Some(v1::assign::Work::TrainFolds(folds)) };
    let hello = v1::Hello {
        wire_version: 1,
        name: "w".into(),
        incarnation: "i".into(),
        device: "cpu".into(),
        slots: 2,
        held: vec![v1::Held { key, acknowledged_epoch: 3 }],
    };
    let report = v1::EpochReport { key, epoch: 5, train_loss: f64::INFINITY, ..Default::default() };
    let metrics = BTreeMap::from([("mse".into(), 0.5), ("kl".into(), f64::NAN)]);
    let measured = v1::EpochReport { key, epoch: 5, metrics, ..Default::default() };
    let value = Some(v1::Value { kind: Some(Kind::Real(0.003)) });
    let derived = v1::Derived { key, name: "learning_rate".into(), value };
    let header = v1::ArtifactHeader {
        incarnation: "i".into(),
        key,
        epoch: 5,
        digest: "0a".repeat(32),
        bytes: 9,
        kind: "reconstruction".into(),
    };
    let wanted = v1::ArtifactRequest { incarnation: "i".into(), key, digest: "0a".repeat(32) };
    let stored = v1::Artifact {
        trial: 2,
        fold: 3,
        kind: "model".into(),
        epoch: None,
        digest: "0a".repeat(32),
        bytes: 9,
    };
    let failed = v1::Failed { key, failure: 3, message: "no memory".into() };
    let tell =
        |outcome| v1::TellRequest { study: "a".into(), trial: 2, lease: Some(1), outcome: Some(outcome) };
    let values = v1::FoldValues { values: vec![0.5, f64::NAN] };
    vec![
        ("hello", 0, from(From::Hello(hello))),
        ("epoch-report", 0, from(From::Epoch(report))),
        ("failed", 0, from(From::Failed(failed))),
        ("epoch-metrics", 0, from(From::Epoch(measured))),
        ("derived", 0, from(From::Derived(derived))),
        ("phase", 0, from(From::Phase(v1::Phase { key, name: "range test".into() }))),
        ("finished", 0, from(From::Finished(v1::Finished { key, stopped: true }))),
        ("assign", 1, to(To::Assign(assign))),
        ("ack", 1, to(To::Ack(v1::Ack { key, what: Some(v1::ack::What::Epoch(5)) }))),
        ("ack-param", 1, to(To::Ack(v1::Ack { key, what: Some(v1::ack::What::Param("x".into())) }))),
        ("revoked", 1, to(To::Revoked(v1::Revoked { key }))),
        (
            "create",
            2,
            v1::CreateStudyRequest {
                spec: "version = 1".into(),
                overrides: vec!["a=1".into()],
                parent: Some("b".into()),
            }
            .encode_to_vec(),
        ),
        (
            "report",
            9,
            v1::ReportRequest { study: "a".into(), epoch: 5, last: true, ..Default::default() }
                .encode_to_vec(),
        ),
        ("tell-values", 10, tell(v1::tell_request::Outcome::Values(values.clone())).encode_to_vec()),
        ("tell-stopped", 10, tell(v1::tell_request::Outcome::Stopped(true)).encode_to_vec()),
        (
            "add",
            12,
            v1::AddTrialRequest {
                study: "a".into(),
                asker: "me".into(),
                params: params.clone(),
                outcome: Some(v1::add_trial_request::Outcome::Values(values)),
            }
            .encode_to_vec(),
        ),
        (
            "enqueue",
            13,
            v1::EnqueueTrialRequest { study: "a".into(), params: params.clone() }.encode_to_vec(),
        ),
        ("study", 14, study.encode_to_vec()),
        ("trial", 15, trial.encode_to_vec()),
        ("fold", 16, fold.encode_to_vec()),
        ("epoch", 17, epoch.encode_to_vec()),
        ("decision", 18, decision.encode_to_vec()),
        ("explanation", 19, explanation.encode_to_vec()),
        ("replay", 20, replay.encode_to_vec()),
        (
            "event-epoch",
            21,
            event(study_event::Event::Epoch(v1::EpochRecorded { record: Some(epoch), worker: "w".into() })),
        ),
        (
            "event-study",
            21,
            event(study_event::Event::StudyChanged(v1::StudyChanged {
                state: "ended".into(),
                message: None,
            })),
        ),
        (
            "asked",
            22,
            v1::AskResponse { trial: 2, params, folds: vec![0, 1], ..Default::default() }.encode_to_vec(),
        ),
        (
            "trial-now",
            23,
            v1::TrialNow { trial: 2, state: "stopping".into(), stop: true, ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "artifact-result",
            29,
            v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Header(header)) }.encode_to_vec(),
        ),
        ("artifact-request", 30, wanted.encode_to_vec()),
        ("artifacts", 31, v1::ListArtifactsResponse { artifacts: vec![stored] }.encode_to_vec()),
    ]
}

#[test]
#[ignore = "writes the seeds of the corpus; run it when a message is new"]
fn write_seeds() {
    for (name, kind, message) in seeds() {
        let file = corpus::top().join("deploy/fuzz/corpus/wire").join(name);
        std::fs::write(file, [vec![kind], message].concat()).expect("written");
    }
}
