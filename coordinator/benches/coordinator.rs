//! The whole coordinator without a network: its loop, the engine and a real database, under many light workers.
//! Prints trials, events and durable epochs a second, the memory of the process, and how long a restart takes and what a
//! process takes in memory that only restarts.
//!
//! `cargo bench -p foldwise-coordinator --bench coordinator -- [TRIALS [PARAMS [EPOCHS]]]` (10,000, 2 and 10 unless told).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers; it may end with a message"
)]

use std::path::Path;
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

/// The word that makes of this program one that only restarts on a database.
const RESTART: &str = "restart";

#[derive(Clone, Copy)]
struct Size {
    trials: u64,
    params: usize,
    epochs: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, database, ..] = arguments.as_slice()
        && word == RESTART
    {
        return restart(database.as_ref());
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u32>().ok());
    let mut number = |default| numbers.next().unwrap_or(default);
    let size = Size { trials: number(10_000).into(), params: number(2) as usize, epochs: number(10) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(load(size));
}

async fn load(size: Size) {
    let Size { trials, params, epochs } = size;
    let folder = tempfile::tempdir_in(".").unwrap();
    let database = folder.path().join("bench.db");
    let before = memory("VmRSS");
    let (coordinator, thread) =
        Coordinator::start(Store::open(&database).unwrap(), &database, Options::default()).unwrap();
    let mut events = coordinator.subscribe();
    let study = coordinator.create(study(size)).await.unwrap();
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn(work(coordinator.clone(), number, epochs));
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
    println!(
        "{trials} trials of {params} params, {FOLDS} folds and {epochs} epochs, {WORKERS} workers: {seconds:.1} s"
    );
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

    // In a process of its own, whose memory is that of the restart alone.
    let program = std::env::current_exe().unwrap();
    std::process::Command::new(program).arg(RESTART).arg(&database).status().unwrap();
}

fn restart(database: &Path) {
    let started = Instant::now();
    let (coordinator, _) =
        Coordinator::start(Store::open(database).unwrap(), database, Options::default()).unwrap();
    println!(
        "  restart on this database ({} MiB): {:.2} s; memory: {} MiB then, {} MiB at most",
        std::fs::metadata(database).unwrap().len() >> 20,
        started.elapsed().as_secs_f64(),
        memory("VmRSS"),
        memory("VmHWM")
    );
    drop(coordinator);
}

fn study(size: Size) -> NewStudy {
    let Size { trials, params, epochs } = size;
    let text = format!(
        "version = 1\n[study]\nname = \"bench\"\n[data]\ndataset = \"mnist\"\nfolds = {FOLDS}\n\
         [model]\nnetwork = \"lab\"\nlatent_dim = 4\n[train]\nepochs = {epochs}\n\
         [sampler]\nkind = \"random\"\n[budget]\ntrials = {trials}\n"
    );
    let mut spec = parse(&text, &[]).unwrap();
    // No network has all these params, and nothing but a worker minds.
    let wide = parse(include_str!("../../deploy/bench/suggest.toml"), &[]).unwrap().space;
    let names: Vec<String> = wide.in_order().into_iter().take(params).cloned().collect();
    spec.space.0 = wide.0.into_iter().filter(|(name, _)| names.contains(name)).collect();
    let data = DataInfo {
        data_digest: "0".into(),
        splits_digest: "0".into(),
        images: 60_000,
        height: 28,
        width: 28,
    };
    NewStudy { spec, spec_text: text, data, parent: None, source: None }
}

/// A worker of one slot that trains in no time: it reports every epoch, then the end, and waits for its next fold.
async fn work(coordinator: Coordinator, number: u64, epochs: u32) -> Option<()> {
    let session = SessionId(number);
    let (sender, mut inbox) = mpsc::unbounded_channel();
    coordinator.attach(session, sender).await.ok()?;
    let worker =
        WorkerInfo { name: format!("w{number}"), incarnation: format!("w{number}"), device: "none".into() };
    coordinator.tell(Event::Hello { session, worker, held: Vec::new() }).await.ok()?;
    coordinator.tell(Event::Ready { session, slots: 1 }).await.ok()?;
    loop {
        match tokio::time::timeout(Duration::from_secs(5), inbox.recv()).await {
            Ok(Some(ToWorker::Assign(assignment))) => {
                train(&coordinator, session, assignment.key, epochs).await?;
            }
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(_) => coordinator.tell(Event::Heartbeat { session, device_use: None }).await.ok()?,
        }
    }
}

async fn train(coordinator: &Coordinator, session: SessionId, key: AttemptKey, epochs: u32) -> Option<()> {
    for epoch in 1..=epochs {
        let loss = f64::from(key.trial.0 % 97 + 1) / f64::from(epoch);
        let report = EpochReport {
            epoch: Epoch(epoch),
            train_loss: loss,
            validation_loss: loss,
            learning_rate: 1e-3,
            seconds: 1.0,
            metrics: Default::default(),
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
