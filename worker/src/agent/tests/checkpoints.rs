//! How far a fold is, stored and gone on from.

use super::*;

#[tokio::test]
async fn a_checkpoint_is_stored_once_its_epoch_is_acknowledged() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Store(false), Do::Store(false), Do::Store(false), Do::Epoch]);
    for epoch in 1..=4 {
        assert_eq!(session.next().await, epoch_message(0, epoch));
    }
    assert_eq!(coordinator.shelf().stored.len(), 0);
    session.acknowledge(0, ack(1));
    assert_eq!(coordinator.stored(1).await, [(0, 1)]);
    assert_eq!(coordinator.shelf().stored[0].2, content(0, 1));
    // Of those that waited in between, the newest is there.
    session.acknowledge(0, ack(2));
    session.acknowledge(0, ack(3));
    assert_eq!(coordinator.stored(2).await, [(0, 1), (0, 3)]);
    // Of an attempt that is dead nothing is sent.
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 5));
    session.revoke(0);
    session.assign(&[1]);
    worker.script.tell(1, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(1, 1));
    session.acknowledge(1, ack(1));
    assert_eq!(coordinator.stored(3).await, [(0, 1), (0, 3), (1, 1)]);
}

#[tokio::test]
async fn an_upload_that_fails_is_tried_again_and_one_that_is_refused_is_not() {
    let mut coordinator = Coordinator::start().await;
    coordinator.shelf().answers = vec![
        Status::resource_exhausted("the disk is full"),
        Status::unavailable("busy"),
        Status::data_loss("another digest came"),
    ];
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    session.acknowledge(0, ack(1));
    assert_eq!(coordinator.stored(1).await, [(0, 1)]);

    coordinator.shelf().answers = vec![Status::aborted("another worker has it now")];
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    session.acknowledge(0, ack(2));
    // The refusal sets the way free for the next.
    timeout(SOON, async {
        while !coordinator.shelf().answers.is_empty() {
            time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("asked soon");
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 3));
    session.acknowledge(0, ack(3));
    assert_eq!(coordinator.stored(2).await, [(0, 1), (0, 3)]);
}

#[tokio::test]
async fn a_fold_goes_on_from_its_checkpoint() {
    let mut coordinator = Coordinator::start().await;
    let file = content(0, 2);
    coordinator.shelf().gives = Some(Ok((digest(&file), file.clone())));
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign_from(0, &digest(&file));
    worker.script.tell(0, [Do::Epoch, DONE]);
    assert_eq!(session.next().await, epoch_message(0, 3));
    assert_eq!(session.next().await, finished(0, false));
    assert_eq!(worker.script.state.lock().expect("no panic").starts[&0], file);
    assert_eq!(coordinator.shelf().asked, 1);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_had_is_an_error_and_no_fresh_start() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    let file = content(0, 2);
    let named = digest(&file);
    let torn = file[..100].to_vec();
    for (trial, (gives, words, tries)) in [
        (Ok((named.clone(), torn)), "its SHA-256 is ", 3),
        (Ok((digest(b"other"), b"other".to_vec())), "another one came", 3),
        (Err(Status::not_found("the file is gone")), "the file is gone", 3),
        (Err(Status::aborted("it is not yours")), "it is not yours", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let trial = trial as u32;
        *coordinator.shelf() = Shelf { gives: Some(gives), ..Shelf::default() };
        session.assign_from(trial, &named);
        let From::Failed(failed) = session.next().await else { panic!("it did not fail") };
        assert_eq!(failed.failure, v1::FailureClass::Error as i32);
        assert!(failed.message.starts_with("the checkpoint cannot be fetched: "), "{}", failed.message);
        assert!(failed.message.contains(words), "{}", failed.message);
        assert_eq!(coordinator.shelf().asked, tries);
        session.acknowledge(trial, ACK_END);
    }
    assert_eq!(worker.script.started(), [0; 0]);

    // A coordinator that is away is waited for, and a stop ends the wait.
    *coordinator.shelf() = Shelf { gives: Some(Err(Status::unavailable("busy"))), ..Shelf::default() };
    session.assign_from(9, &named);
    timeout(SOON, async {
        while coordinator.shelf().asked < 5 {
            time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it tries on");
    session.stop(9, false);
    assert_eq!(session.next().await, finished(9, true));
}

#[tokio::test]
async fn a_stop_after_the_epoch_stores_a_checkpoint_before_it_is_told() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.has_started(0).await;
    session.stop(0, true);
    session.assign(&[1]);
    session.stop(1, true);
    assert_eq!(session.next().await, finished(1, true), "both stops are known");
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    drop(session);
    // Its end is not told, so it is still held.
    let (mut session, hello, owed) = coordinator.greeted().await;
    assert_eq!(held(&hello), [(0, 0), (1, 0)]);
    assert_eq!(owed, [finished(1, true), epoch_message(0, 1)]);
    assert_eq!(coordinator.shelf().stored.len(), 0);
    session.acknowledge(0, ack(1));
    assert_eq!(session.next().await, finished(0, true));
    assert_eq!(coordinator.stored(1).await, [(0, 1)]);
}

#[tokio::test]
async fn a_stop_at_once_wants_no_checkpoint() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    session.stop(0, false);
    assert_eq!(session.next().await, finished(0, true));
    assert_eq!(coordinator.shelf().stored.len(), 0);
}

#[tokio::test]
async fn a_complete_fold_waits_for_its_last_checkpoint_alone() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    // Nobody needs the one before, which waits.
    worker.script.tell(0, [Do::Store(false), DONE]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    assert_eq!(session.next().await, finished(0, false));
    session.acknowledge(0, ack(1));
    session.acknowledge(0, ACK_END);
    session.assign(&[1]);
    worker.script.tell(1, [Do::Store(true), DONE]);
    assert_eq!(session.next().await, epoch_message(1, 1));
    session.acknowledge(1, ack(1));
    assert_eq!(session.next().await, finished(1, false));
    assert_eq!(coordinator.stored(1).await, [(1, 1)]);
}

#[tokio::test]
async fn a_drain_stores_how_far_a_fold_is() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.has_started(0).await;
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
    worker.script.tell(0, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    session.acknowledge(0, ack(1));
    assert_eq!(session.next().await, finished(0, true));
    assert_eq!(coordinator.stored(1).await, [(0, 1)]);
    session.acknowledge(0, ACK_END);
    worker.ended().await.expect("drained");
}

#[tokio::test]
async fn after_the_grace_time_a_drain_waits_for_nothing() {
    let mut coordinator = Coordinator::start().await;
    let grace = Duration::from_millis(300);
    let worker = Worker::start_with_grace(coordinator.address, None, PATIENCE, grace);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.has_started(0).await;
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    let started = Instant::now();
    assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
    assert_eq!(session.next().await, finished(0, true), "in the midst of its epoch");
    assert!(started.elapsed() >= grace);
    session.acknowledge(0, ACK_END);
    let script = Arc::clone(&worker.script);
    worker.ended().await.expect("drained");
    assert_eq!(script.state.lock().expect("no panic").interrupted, [0]);
    assert!(started.elapsed() < grace + DRAIN, "all was acknowledged");

    // With a checkpoint that the coordinator does not take, and one that says nothing at all.
    let worker = Worker::start_with_grace(coordinator.address, None, PATIENCE, grace);
    coordinator.shelf().answers = vec![Status::unavailable("busy"); 10_000];
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[1]);
    worker.script.has_started(1).await;
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    let started = Instant::now();
    // The drain is under way before the epoch ends.
    assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
    worker.script.tell(1, [Do::Store(false)]);
    assert_eq!(session.next().await, epoch_message(1, 1));
    session.acknowledge(1, ack(1));
    assert_eq!(session.next().await, finished(1, true));
    worker.ended().await.expect("drained");
    assert!(started.elapsed() < grace + DRAIN + Duration::from_secs(2), "{:?}", started.elapsed());
}
