//! The whole coordinator without a network: its loop, the engine and a real database, under many light workers.
//! Prints trials, events and durable epochs a second, the memory of the process, and how long a restart takes.
//!
//! `cargo bench -p foldwise-coordinator --bench coordinator -- [TRIALS]` (10,000 unless told).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers; it may end with a message"
)]

use std::time::{Duration, Instant};

use foldwise_coordinator::coordinator::{Coordinator, Options};
use foldwise_coordinator::store::Store;
use foldwise_engine::scheduler::{DataInfo, EpochReport, Event, NewStudy, ToWorker, WorkerInfo};
use foldwise_shared::ids::{AttemptKey, Epoch, SessionId};
use foldwise_shared::record::StudyEvent;
use foldwise_shared::spec::parse;
use foldwise_shared::state::StudyState;
use tokio::sync::mpsc;

const WORKERS: u64 = 64;
const FOLDS: u64 = 3;
const EPOCHS: u64 = 10;

fn main() {
    let trials = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(load(trials));
}

async fn load(trials: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let database = folder.path().join("bench.db");
    let before = memory("VmRSS");
    let (coordinator, thread) =
        Coordinator::start(Store::open(&database).unwrap(), &database, Options::default()).unwrap();
    let mut events = coordinator.subscribe();
    let study = coordinator.create(study(trials)).await.unwrap();
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn(work(coordinator.clone(), number));
    }
    loop {
        match events.recv().await {
            Ok((_, event)) => match event.as_ref() {
                StudyEvent::StudyChanged { state: StudyState::Ended, .. } => break,
                _ => continue,
            },
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                let state = coordinator.study(&study.name).await.unwrap().state;
                if state == StudyState::Ended {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let done = coordinator.study(&study.name).await.unwrap();
    let folds = trials * FOLDS;
    println!("{trials} trials of {FOLDS} folds and {EPOCHS} epochs, {WORKERS} workers: {seconds:.1} s");
    println!(
        "  {:.0} trials a second, {:.0} durable epochs a second",
        trials as f64 / seconds,
        done.epochs as f64 / seconds
    );
    println!("  {:.0} events a second", (done.epochs + folds) as f64 / seconds);
    println!(
        "  memory: {} MiB before, {} MiB at the end, {} MiB at most",
        before,
        memory("VmRSS"),
        memory("VmHWM")
    );
    // The loop ends when every handle is gone, and the workers have some.
    workers.shutdown().await;
    drop(coordinator);
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap().unwrap();

    let started = Instant::now();
    let (again, _) =
        Coordinator::start(Store::open(&database).unwrap(), &database, Options::default()).unwrap();
    println!("  restart on this database: {:.2} s", started.elapsed().as_secs_f64());
    drop(again);
}

fn study(trials: u64) -> NewStudy {
    let text = format!(
        "version = 1\n[study]\nname = \"bench\"\n[data]\ndataset = \"mnist\"\nfolds = {FOLDS}\n\
         [model]\nnetwork = \"lab\"\nlatent_dim = 4\n[train]\nepochs = {EPOCHS}\n\
         [space]\nlearning_rate = {{ float = [5e-4, 5e-2], log = true }}\ndropout = {{ float = [0.0, 0.5] }}\n\
         [budget]\ntrials = {trials}\n"
    );
    let spec = parse(&text, &[]).unwrap();
    let data = DataInfo {
        data_digest: "0".into(),
        splits_digest: "0".into(),
        images: 60_000,
        height: 28,
        width: 28,
    };
    NewStudy { spec, spec_text: text, data }
}

/// A worker of one slot that trains in no time: it reports every epoch, then the end, and waits for its next fold.
async fn work(coordinator: Coordinator, number: u64) -> Option<()> {
    let session = SessionId(number);
    let (sender, mut inbox) = mpsc::unbounded_channel();
    coordinator.attach(session, sender).await.ok()?;
    let worker =
        WorkerInfo { name: format!("w{number}"), incarnation: format!("w{number}"), device: "none".into() };
    coordinator.tell(Event::Hello { session, worker, held: Vec::new() }).await.ok()?;
    coordinator.tell(Event::Ready { session, slots: 1 }).await.ok()?;
    loop {
        match tokio::time::timeout(Duration::from_secs(5), inbox.recv()).await {
            Ok(Some(ToWorker::Assign(assignment))) => train(&coordinator, session, assignment.key).await?,
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(_) => coordinator.tell(Event::Heartbeat { session }).await.ok()?,
        }
    }
}

async fn train(coordinator: &Coordinator, session: SessionId, key: AttemptKey) -> Option<()> {
    for epoch in 1..=EPOCHS as u32 {
        let loss = f64::from(key.trial.0 % 97 + 1) / f64::from(epoch);
        let report = EpochReport {
            epoch: Epoch(epoch),
            train_loss: loss,
            validation_loss: loss,
            learning_rate: 1e-3,
            seconds: 1.0,
        };
        coordinator.tell(Event::Epoch { session, key, report }).await.ok()?;
    }
    coordinator.tell(Event::Finished { session, key, stopped: false }).await.ok()
}

/// A line of /proc/self/status in MiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
