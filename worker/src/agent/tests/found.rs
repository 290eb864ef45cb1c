//! What training finds, stores and says beside its epochs.

use super::*;

fn derived(trial: u32, rate: f64) -> From {
    let value = Some(v1::Value { kind: Some(v1::value::Kind::Real(rate)) });
    From::Derived(v1::Derived { key: wire_key(trial), name: "learning_rate".into(), value })
}

fn found() -> v1::ack::What {
    v1::ack::What::Param("learning_rate".into())
}

#[tokio::test]
async fn what_was_found_is_owed_until_it_is_recorded() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Phase("range test"), Do::Find(0.003), Do::Epoch]);
    let phase = From::Phase(v1::Phase { key: wire_key(0), name: "range test".into() });
    assert_eq!(session.next().await, phase);
    assert_eq!(session.next().await, derived(0, 0.003));
    assert_eq!(session.next().await, epoch_message(0, 1));
    drop(session);
    let (mut session, hello, owed) = coordinator.greeted().await;
    assert_eq!(held(&hello), [(0, 0)]);
    assert_eq!(owed, [derived(0, 0.003), epoch_message(0, 1)], "in order, and no phase");
    session.acknowledge(0, found());
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    drop(session);
    let (_session, _, owed) = coordinator.greeted().await;
    assert_eq!(owed, [epoch_message(0, 1), epoch_message(0, 2)]);
}

#[tokio::test]
async fn metrics_are_reported_and_what_is_none_is_not() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker
        .script
        .tell(0, [Do::Measure(vec![("mse", 0.5), ("kl", f64::NAN), ("Not a name", 1.0), ("accuracy", 0.9)])]);
    let From::Epoch(report) = session.next().await else { panic!("an epoch") };
    let metrics: Vec<_> = report.metrics.into_iter().collect();
    assert_eq!(metrics, [("accuracy".to_owned(), 0.9), ("mse".to_owned(), 0.5)]);
}

#[tokio::test]
async fn results_are_stored_in_order_and_the_end_waits_for_them() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    coordinator.shelf().answers = vec![
        Status::resource_exhausted("the disk is full"),
        Status::unavailable("busy"),
        Status::data_loss("another digest came"),
    ];
    session.assign(&[0]);
    // The first belongs to no epoch, so it is sent before any is acknowledged.
    worker.script.tell(0, [Do::Make("range-test", None), Do::Epoch, Do::Make("reconstruction", Some(1))]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    let range_test = ("range-test".to_owned(), None);
    assert_eq!(coordinator.results(1).await, std::slice::from_ref(&range_test));
    worker.script.tell(0, [Do::Epoch, Do::Make("reconstruction", Some(2)), Do::Make("model", None), DONE]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    session.acknowledge(0, ack(1));
    let reconstruction = |epoch| ("reconstruction".to_owned(), Some(epoch));
    assert_eq!(coordinator.results(2).await, [range_test.clone(), reconstruction(1)]);
    // It has ended, and is held until the last of them is stored.
    drop(session);
    let (mut session, hello, owed) = coordinator.greeted().await;
    assert_eq!(held(&hello), [(0, 1)]);
    assert_eq!(owed, [epoch_message(0, 2)]);
    session.acknowledge(0, ack(2));
    assert_eq!(session.next().await, finished(0, false));
    let model = ("model".to_owned(), None);
    assert_eq!(coordinator.results(4).await, [range_test, reconstruction(1), reconstruction(2), model]);
    assert_eq!(coordinator.shelf().results[2].3, made(0, "reconstruction", 2));
}

#[tokio::test]
async fn a_stop_after_the_epoch_waits_for_results_and_a_stop_at_once_does_not() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.has_started(0).await;
    worker.script.tell(0, [Do::Epoch, Do::Make("reconstruction", Some(1))]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    session.stop(0, true);
    session.acknowledge(0, ack(1));
    assert_eq!(coordinator.results(1).await.len(), 1);
    coordinator.shelf().answers = vec![Status::unavailable("busy"); 10_000];
    worker.script.tell(0, [Do::Make("model", None)]);
    worker.script.is_amid_epoch(0);
    session.stop(0, false);
    assert_eq!(session.next().await, finished(0, true));
    assert_eq!(coordinator.shelf().results.len(), 1);
}

#[tokio::test]
async fn a_drain_hands_back_what_is_done_but_for_its_results() {
    let grace = Duration::from_millis(300);
    let mut coordinator = Coordinator::start().await;
    coordinator.shelf().answers = vec![Status::unavailable("busy"); 10_000];
    // Its model is not taken in time, it is made too late, and there is none: a checkpoint is no result.
    for (trial, steps, stopped) in [
        (0, vec![Do::Epoch, Do::Make("model", None), DONE], true),
        (1, vec![Do::Epoch, Do::EndLate("model")], true),
        (2, vec![Do::Store(true), DONE], false),
    ] {
        let worker = Worker::start_with_grace(coordinator.address, None, PATIENCE, grace);
        let (mut session, _, _) = coordinator.greeted().await;
        session.assign(&[trial]);
        worker.script.tell(trial, steps);
        assert_eq!(session.next().await, epoch_message(trial, 1));
        session.acknowledge(trial, ack(1));
        worker.script.has_taken_all(trial).await;
        worker.shutdown.send(Shutdown::Drain).expect("it runs");
        assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
        assert_eq!(session.next().await, finished(trial, stopped));
        session.acknowledge(trial, ACK_END);
        worker.ended().await.expect("drained");
    }
    assert_eq!(coordinator.shelf().results.len(), 0);
}

#[tokio::test]
async fn a_result_that_is_refused_fails_its_attempt() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    // While it trains, and when it has ended.
    for (trial, steps) in [
        (0, vec![Do::Make("model", None)]),
        (1, vec![Do::Make("model", None), Do::Make("pictures", None), DONE]),
    ] {
        coordinator.shelf().answers = vec![Status::invalid_argument("it has too many bytes")];
        session.assign(&[trial]);
        worker.script.tell(trial, steps);
        let From::Failed(failed) = session.next().await else { panic!("it did not fail") };
        assert_eq!(failed.failure, v1::FailureClass::Invalid as i32);
        assert!(failed.message.contains("does not take the result `model`"), "{}", failed.message);
        assert!(failed.message.contains("it has too many bytes"), "{}", failed.message);
        session.acknowledge(trial, ACK_END);
    }
    // The second may have been done before it was told to stop.
    assert_eq!(worker.script.state.lock().expect("no panic").interrupted.first(), Some(&0));
    assert_eq!(coordinator.shelf().results.len(), 0);

    // What cannot be a result is not even sent.
    session.assign(&[2]);
    worker.script.tell(2, [Do::Make("No kind", None)]);
    let From::Failed(failed) = session.next().await else { panic!("it did not fail") };
    assert!(failed.message.contains("no kind of result"), "{}", failed.message);
}

#[tokio::test]
async fn a_study_starts_from_its_model() {
    let mut coordinator = Coordinator::start().await;
    let file = content(0, 2);
    let named = digest(&file);
    coordinator.shelf().gives = Some(Ok((named.clone(), file.clone())));
    coordinator.shelf().source = Some(named.clone());
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign_with_source(0, &named);
    worker.script.tell(0, [Do::Epoch, DONE]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    assert_eq!(session.next().await, finished(0, false));
    assert_eq!(worker.script.state.lock().expect("no panic").sources[&0], file);
    session.acknowledge(0, ACK_END);

    coordinator.shelf().gives = Some(Err(Status::aborted("it is not yours")));
    session.assign_with_source(1, &named);
    let From::Failed(failed) = session.next().await else { panic!("it did not fail") };
    assert!(
        failed.message.starts_with("the model to start from cannot be fetched: it is not yours"),
        "{}",
        failed.message
    );
    assert_eq!(worker.script.started(), [0]);
}
