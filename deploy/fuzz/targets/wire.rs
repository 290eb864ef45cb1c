//! What a message may do to its receiver: nothing but be refused in words, or become one of our types, which says the
//! same again on the wire.

use std::fmt::{Debug, Display};

use foldwise_proto::convert::{
    add_request, added, artifact_header, artifact_header_from, artifact_request, artifact_request_from,
    attempt_key, attempt_key_from, check_name, failure, failure_from, metrics_from, params, params_from,
    tell_request, told, value, value_from,
};
use foldwise_proto::v1;
use foldwise_shared::external::{Asked, TrialNow, TrialReport};
use foldwise_shared::ids::{LeaseId, TrialNumber};
use foldwise_shared::record::{
    DecisionRecord, EpochRecord, Explanation, FoldRecord, Metrics, ReplayRecord, StudyEvent, StudyRecord,
    TrialRecord,
};
use prost::Message;

/// Takes the first byte as the kind of message, and the rest as the message. A new kind goes to the end, so that the
/// corpus keeps its meaning.
pub fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        // What a worker says, and what it is told.
        0 => from_worker(bytes),
        1 => to_worker(bytes),
        // What a coordinator is asked.
        2 => plain::<v1::CreateStudyRequest>(bytes),
        3 => plain::<v1::StudyRequest>(bytes),
        4 => plain::<v1::GetTrialRequest>(bytes),
        5 => plain::<v1::ListTrialsRequest>(bytes),
        6 => plain::<v1::ReplayStudyRequest>(bytes),
        7 => plain::<v1::GetCurveRequest>(bytes),
        8 => plain::<v1::AskRequest>(bytes),
        9 => report(bytes),
        10 => tell(bytes),
        11 => plain::<v1::RenewRequest>(bytes),
        12 => add(bytes),
        13 => enqueue(bytes),
        // What it answers.
        14 => record::<v1::Study, StudyRecord>(bytes),
        15 => record::<v1::Trial, TrialRecord>(bytes),
        16 => record::<v1::Fold, FoldRecord>(bytes),
        17 => record::<v1::Epoch, EpochRecord>(bytes),
        18 => record::<v1::Decision, DecisionRecord>(bytes),
        19 => record::<v1::Explanation, Explanation>(bytes),
        20 => record::<v1::Replay, ReplayRecord>(bytes),
        21 => record::<v1::StudyEvent, StudyEvent>(bytes),
        22 => record::<v1::AskResponse, Asked>(bytes),
        23 => record::<v1::TrialNow, TrialNow>(bytes),
        24 => plain::<v1::ListStudiesResponse>(bytes),
        25 => plain::<v1::ListTrialsResponse>(bytes),
        26 => plain::<v1::GetTrialResponse>(bytes),
        27 => plain::<v1::ReplayStudyResponse>(bytes),
        28 => plain::<v1::CurveChunk>(bytes),
        // Results.
        29 => artifact(bytes),
        30 => artifact_wanted(bytes),
        31 => plain::<v1::ListArtifactsResponse>(bytes),
        32 => plain::<v1::ListArtifactsRequest>(bytes),
        33 => plain::<v1::FetchArtifactRequest>(bytes),
        _ => {}
    }
}

/// A message that is understood is the same after another way over the wire.
fn plain<W: Message + Default + Debug>(bytes: &[u8]) {
    drop(decoded::<W>(bytes));
}

fn decoded<W: Message + Default + Debug>(bytes: &[u8]) -> Option<W> {
    let wire = W::decode(bytes).ok()?;
    same(&W::decode(&*wire.encode_to_vec()).ok(), &Some(&wire));
    Some(wire)
}

/// What a message says is the same after another way over the wire.
fn record<W, T>(bytes: &[u8])
where
    W: Message + Default + Debug + From<T>,
    T: TryFrom<W> + Clone + Debug,
    T::Error: Display,
{
    let Some(wire) = decoded::<W>(bytes) else { return };
    match T::try_from(wire) {
        Ok(ours) => {
            let sent = W::from(ours.clone()).encode_to_vec();
            let back =
                W::decode(&*sent).ok().map(|wire| T::try_from(wire).map_err(|error| error.to_string()));
            same(&back, &Some(Ok::<_, String>(ours)));
        }
        Err(error) => in_words(&error),
    }
}

fn from_worker(bytes: &[u8]) {
    use v1::from_worker::Message as From;
    match decoded::<v1::FromWorker>(bytes).and_then(|wire| wire.message) {
        Some(From::Hello(hello)) => hello.held.into_iter().for_each(|held| key(held.key)),
        Some(From::Epoch(epoch)) => {
            key(epoch.key);
            metrics(epoch.metrics);
        }
        Some(From::Derived(derived)) => {
            key(derived.key);
            named(&derived.name);
            match value_from(derived.value) {
                Ok(ours) => same(&value_from(Some(value(&ours))).ok(), &Some(ours)),
                Err(error) => in_words(&error),
            }
        }
        Some(From::Phase(phase)) => {
            key(phase.key);
            named(&phase.name);
        }
        Some(From::Finished(finished)) => key(finished.key),
        Some(From::Declined(declined)) => key(declined.key),
        Some(From::Failed(failed)) => {
            key(failed.key);
            match failure_from(failed.failure) {
                Ok(class) => assert_eq!(failure(class), failed.failure),
                Err(error) => in_words(&error),
            }
        }
        _ => {}
    }
}

fn to_worker(bytes: &[u8]) {
    use v1::to_worker::Message as To;
    match decoded::<v1::ToWorker>(bytes).and_then(|wire| wire.message) {
        Some(To::Stop(stop)) => key(stop.key),
        Some(To::Ack(ack)) => key(ack.key),
        Some(To::Revoked(revoked)) => key(revoked.key),
        Some(To::Assign(v1::Assign { work: Some(v1::assign::Work::TrainFolds(folds)) })) => {
            for task in folds.tasks {
                key(task.key);
                all_params(task.params);
            }
        }
        _ => {}
    }
}

/// The header of an artifact, or a piece of one.
fn artifact(bytes: &[u8]) {
    let Some(wire) = decoded::<v1::ArtifactChunk>(bytes) else { return };
    match artifact_header_from(Some(wire)) {
        Ok(ours) => {
            same(&artifact_header_from(Some(artifact_header(ours.clone()))).ok(), &Some(ours));
        }
        Err(error) => in_words(&error),
    }
}

fn artifact_wanted(bytes: &[u8]) {
    let Some(wire) = decoded::<v1::ArtifactRequest>(bytes) else { return };
    match artifact_request_from(wire) {
        Ok(ours) => same(&artifact_request_from(artifact_request(ours.clone())).ok(), &Some(ours)),
        Err(error) => in_words(&error),
    }
}

fn metrics(wire: Metrics) {
    match metrics_from(wire) {
        Ok(ours) => {
            assert!(ours.values().all(|value| value.is_finite()));
            same(&metrics_from(ours.clone()).ok(), &Some(ours));
        }
        Err(error) => in_words(&error),
    }
}

fn named(name: &str) {
    if let Err(error) = check_name("name", name) {
        in_words(&error);
    }
}

fn key(wire: Option<v1::AttemptKey>) {
    match attempt_key_from(wire) {
        Ok(ours) => assert_eq!(Some(attempt_key(ours)), wire),
        Err(error) => in_words(&error),
    }
}

fn all_params(wire: std::collections::BTreeMap<String, v1::Value>) {
    match params_from(wire) {
        Ok(ours) => same(&params_from(params(&ours)), &Ok::<_, foldwise_proto::convert::WireError>(ours)),
        Err(error) => in_words(&error),
    }
}

fn report(bytes: &[u8]) {
    if let Some(wire) = decoded::<v1::ReportRequest>(bytes) {
        let TrialReport { fold, epoch, last, .. } = TrialReport::from(&wire);
        assert_eq!((fold.0, epoch.0, last), (wire.fold, wire.epoch, wire.last));
    }
}

fn tell(bytes: &[u8]) {
    let Some(wire) = decoded::<v1::TellRequest>(bytes) else { return };
    let (trial, lease) = (TrialNumber(wire.trial), wire.lease.map(LeaseId));
    match told(wire.outcome) {
        Ok(ours) => {
            same(&told(tell_request(wire.study, trial, lease, ours.clone()).outcome).ok(), &Some(ours))
        }
        Err(error) => in_words(&error),
    }
}

fn add(bytes: &[u8]) {
    let Some(wire) = decoded::<v1::AddTrialRequest>(bytes) else { return };
    all_params(wire.params);
    match added(wire.outcome) {
        Ok(ours) => {
            let sent = add_request(wire.study, wire.asker, &Default::default(), ours.clone());
            same(&added(sent.outcome).ok(), &Some(ours));
        }
        Err(error) => in_words(&error),
    }
}

fn enqueue(bytes: &[u8]) {
    if let Some(wire) = decoded::<v1::EnqueueTrialRequest>(bytes) {
        all_params(wire.params);
    }
}

/// By what they look like, for NaN is not equal to itself.
fn same(first: &impl Debug, second: &impl Debug) {
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

fn in_words(error: &dyn Display) {
    assert!(error.to_string().len() > 10, "an error without words: {error}");
}
