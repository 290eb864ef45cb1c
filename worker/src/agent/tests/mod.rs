//! The agent against a coordinator that the test plays, over a real socket, with an objective that does what the test
//! says.

mod checkpoints;
mod coordinator;
mod found;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use foldwise_proto::convert::{
    ArtifactHeader, ArtifactTracker, artifact_header, artifact_header_from, artifact_request_from,
};
use foldwise_proto::v1::from_worker::Message as From;
use foldwise_proto::v1::to_worker::Message as To;
use foldwise_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use foldwise_proto::{ARTIFACT_PIECE, WIRE_VERSION, v1};
use foldwise_shared::artifact::{Artifact, ResultFile, Upload};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::device::DeviceUse;
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::value::ParamValue;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

use self::coordinator::*;
use self::worker::*;

/// Far more than anything here takes; a test that waits for it has failed.
const SOON: Duration = Duration::from_secs(20);

fn key(trial: u32) -> AttemptKey {
    AttemptKey { study: StudyId(1), trial: TrialNumber(trial), fold: FoldIndex(0), attempt: Attempt(1) }
}

#[tokio::test]
async fn a_fold_is_trained_reported_and_acknowledged() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start_with(coordinator.address, Some("Bearer secret"), PATIENCE);
    let (mut session, hello, owed) = coordinator.greeted().await;
    assert_eq!(session.token.as_deref(), Some("Bearer secret"));
    let expected = v1::Hello {
        wire_version: WIRE_VERSION,
        name: "w".into(),
        incarnation: "i".into(),
        device: "cpu".into(),
        slots: 1,
        held: Vec::new(),
    };
    assert_eq!((hello, owed), (expected, Vec::new()));

    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch, Do::Epoch, DONE]);
    for message in [epoch_message(0, 1), epoch_message(0, 2), finished(0, false)] {
        assert_eq!(session.next().await, message);
    }
    session.acknowledge(0, ack(1));
    session.acknowledge(0, ack(2));
    session.acknowledge(0, ACK_END);
    // What is assigned after the acknowledgements is answered after them.
    session.assign(&[1]);
    worker.script.tell(1, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(1, 1));
    assert_eq!(
        worker.acknowledged(),
        [
            r#"{"study":1,"trial":0,"fold":0,"attempt":1,"epoch":1,"validation_loss":1.0}"#,
            r#"{"study":1,"trial":0,"fold":0,"attempt":1,"epoch":2,"validation_loss":0.5}"#,
            r#"{"study":1,"trial":0,"fold":0,"attempt":1,"end":"finished"}"#,
        ]
    );
}

#[tokio::test]
async fn after_a_broken_stream_only_what_is_owed_is_sent_again_in_order() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch, Do::Epoch, Do::Epoch]);
    for epoch in 1..=3 {
        assert_eq!(session.next().await, epoch_message(0, epoch));
    }
    session.acknowledge(0, ack(1));
    drop(session);

    let mut session = coordinator.session().await;
    let hello = session.hello().await;
    assert_eq!(held(&hello), [(0, 1)]);
    // It trains on while it is not welcomed.
    worker.script.tell(0, [Do::Epoch, DONE]);
    session.welcome(WIRE_VERSION);
    for message in [epoch_message(0, 2), epoch_message(0, 3), epoch_message(0, 4), finished(0, false)] {
        loop {
            match session.next().await {
                From::Ready(_) => {}
                sent => break assert_eq!(sent, message),
            }
        }
    }
    // The attempt ended, and is held until its end is acknowledged.
    session.acknowledge(0, ack(2));
    drop(session);
    let (session, hello, owed) = coordinator.greeted().await;
    assert_eq!(held(&hello), [(0, 2)]);
    assert_eq!(owed, [epoch_message(0, 3), epoch_message(0, 4), finished(0, false)]);
    session.acknowledge(0, ACK_END);
    drop(session);
    let (_session, hello, owed) = coordinator.greeted().await;
    assert_eq!((held(&hello), owed), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_revoked_attempt_is_not_heard_of_again() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1, 2]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    session.revoke(0);
    session.revoke(1);
    // The slot is free for the third once the first has left its batch; nothing of the others is said.
    worker.script.tell(2, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(2, 1));
    assert_eq!(worker.script.started(), [0, 2]);
    drop(session);
    let (_session, hello, owed) = coordinator.greeted().await;
    assert_eq!((held(&hello), owed), (vec![(2, 0)], vec![epoch_message(2, 1)]));
    assert_eq!(worker.acknowledged(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stop_after_the_epoch_lets_it_end() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    session.stop(0, true);
    // It waits and is dropped: the answer says that both stops are known.
    session.stop(1, true);
    assert_eq!(session.next().await, finished(1, true));
    worker.script.tell(0, [Do::Epoch, Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    assert_eq!(session.next().await, finished(0, true));
    assert_eq!(worker.script.started(), [0]);
}

#[tokio::test]
async fn a_stop_at_once_does_not_wait_for_the_epoch() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    session.stop(0, false);
    assert_eq!(session.next().await, finished(0, true));
}

#[tokio::test]
async fn bad_ends_are_told_and_the_worker_lives_on() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1, 2]);
    worker.script.tell(0, [Do::Panic]);
    worker.script.tell(1, [Do::End(Outcome::Declined { message: "other data".into() })]);
    let class = FailureClass::OutOfMemory;
    worker.script.tell(2, [Do::End(Outcome::Failed { class, message: "2 GiB".into() })]);
    let failed = |trial, failure: v1::FailureClass, message: &str| {
        From::Failed(v1::Failed { key: wire_key(trial), failure: failure.into(), message: message.into() })
    };
    let panicked = failed(0, v1::FailureClass::Error, "the training panicked: a wheel came off");
    assert_eq!(session.next().await, panicked);
    let declined = From::Declined(v1::Declined { key: wire_key(1), message: "other data".into() });
    assert_eq!(session.next().await, declined);
    assert_eq!(session.next().await, failed(2, v1::FailureClass::OutOfMemory, "2 GiB"));
}

#[tokio::test]
async fn what_is_assigned_again_runs_once() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    session.assign(&[0]);
    worker.script.tell(0, [DONE]);
    assert_eq!(session.next().await, finished(0, false));
    session.assign(&[0]);
    session.assign(&[1]);
    worker.script.tell(1, [DONE]);
    assert_eq!(session.next().await, finished(1, false));
    assert_eq!(worker.script.started(), [0, 1]);
}

#[tokio::test]
async fn heartbeats_come_as_often_as_asked() {
    let mut coordinator = Coordinator::start().await;
    let _worker = Worker::start(coordinator.address);
    let mut session = coordinator.session().await;
    session.hello().await;
    session.say(To::Welcome(v1::Welcome { wire_version: WIRE_VERSION, lease_ms: 15, heartbeat_ms: 5 }));
    let mut beats = 0;
    while beats < 3 {
        let message = timeout(SOON, session.incoming.message()).await.expect("soon").expect("a stream");
        match message.expect("not its end").message.expect("a kind") {
            From::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.device_use, None, "nobody reads");
                beats += 1;
            }
            From::Ready(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_heartbeat_tells_what_was_read_last_and_waits_for_no_reading() {
    let mut coordinator = Coordinator::start().await;
    let (reader, readings) = watch::channel(None);
    let _worker = Worker::start_reading(coordinator.address, readings);
    let mut session = coordinator.session().await;
    session.hello().await;
    session.say(To::Welcome(v1::Welcome { wire_version: WIRE_VERSION, lease_ms: 15, heartbeat_ms: 5 }));
    let read = |memory_used, utilization| DeviceUse { memory_used, memory_total: 9, utilization };
    for reading in [None, Some(read(1, None)), Some(read(7, Some(0.5)))] {
        reader.send_replace(reading);
        let expected = reading.map(foldwise_proto::convert::device_use);
        // Some may be on their way already; the rest repeats what was read last.
        for same in [false, true] {
            loop {
                let message =
                    timeout(SOON, session.incoming.message()).await.expect("soon").expect("a stream");
                let message = message.expect("not its end").message.expect("a kind");
                let From::Heartbeat(heartbeat) = message else { continue };
                if heartbeat.device_use == expected {
                    break;
                }
                assert!(!same, "{heartbeat:?} after {expected:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_coordinator_that_comes_late_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let worker = Worker::start(listener.local_addr().expect("bound"));
    // Somebody is at the door and hangs up, twice.
    for _ in 0..2 {
        let (connection, _) =
            timeout(SOON, listener.accept()).await.expect("a dial soon").expect("a connection");
        drop(connection);
    }
    let mut coordinator = Coordinator::serve(listener);
    let (session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    drop(worker);
}

#[tokio::test]
async fn patience_can_end() {
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let patience = Patience { give_up_after: Some(Duration::from_millis(5)), ..PATIENCE };
    let error = Worker::start_with(address, None, patience).ended().await.expect_err("nobody is there");
    assert!(matches!(error, AgentError::Session(SessionError::GaveUp { .. })), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn another_wire_version_is_final() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let mut session = coordinator.session().await;
    session.hello().await;
    let refusal = Status::failed_precondition("this coordinator speaks version 2 of the wire");
    session.outgoing.send(Err(refusal)).expect("open");
    let error = worker.ended().await.expect_err("refused");
    assert!(matches!(error, AgentError::Session(SessionError::Refused { .. })), "{error}");
    assert!(error.to_string().ends_with("this coordinator speaks version 2 of the wire"), "{error}");

    let worker = Worker::start(coordinator.address);
    let mut session = coordinator.session().await;
    session.hello().await;
    session.welcome(WIRE_VERSION + 1);
    let error = worker.ended().await.expect_err("refused");
    assert!(matches!(error, AgentError::Session(SessionError::Refused { .. })), "{error}");
}

#[tokio::test]
async fn a_wrong_token_is_final() {
    let coordinator = Coordinator::start().await;
    let worker = Worker::start_with(coordinator.address, Some("Bearer wrong"), PATIENCE);
    let error = worker.ended().await.expect_err("refused");
    assert!(matches!(error, AgentError::Session(SessionError::Refused { .. })), "{error}");
    assert!(error.to_string().contains("the token is wrong"), "{error}");
}

#[tokio::test]
async fn a_drain_ends_epochs_and_waits_for_acknowledgements() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    session.acknowledge(0, ack(1));
    worker.script.is_amid_epoch(0);
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
    assert_eq!(session.next().await, finished(1, true));
    session.assign(&[2]);
    assert_eq!(session.next().await, finished(2, true));
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    assert_eq!(session.next().await, finished(0, true));
    session.acknowledge(0, ack(2));
    for trial in 0..3 {
        session.acknowledge(trial, ACK_END);
    }
    worker.ended().await.expect("drained");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    worker.shutdown.send(Shutdown::Now).expect("it runs");
    let script = Arc::clone(&worker.script);
    assert!(matches!(worker.ended().await, Err(AgentError::Interrupted)));
    assert_eq!(script.state.lock().expect("no panic").interrupted, [0]);
}
