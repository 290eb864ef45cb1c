//! How many events a second the scheduler handles.

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use foldwise_engine::scheduler::{
    Command, DataInfo, EpochReport, Event, NewStudy, Options, Scheduler, Snapshot, ToWorker, WorkerInfo,
};
use foldwise_shared::ids::{AttemptKey, Epoch, Millis, SessionId};
use foldwise_shared::spec::{StudySpec, parse};

const TRIALS: u32 = 10_000;
const EPOCHS: u32 = 10;
const WORKERS: u64 = 64;

fn spec(pruner: &str) -> StudySpec {
    let text = format!(
        "version = 1\nstudy = {{ name = \"bench\" }}\ndata = {{ dataset = \"mnist\", folds = 3 }}\n\
         model = {{ network = \"lab\", latent_dim = 4 }}\ntrain = {{ epochs = {EPOCHS} }}\n\
         pruner = {{ kind = \"{pruner}\" }}\nsampler = {{ kind = \"random\" }}\nbudget = {{ trials = {TRIALS} }}\n[space]\n\
         learning_rate = {{ float = [1e-4, 1e-1], log = true }}\n"
    );
    parse(&text, &[]).expect("a study file")
}

/// A scheduler with a study and its workers, one slot each, and the attempts that these hold.
fn cluster(spec: StudySpec) -> (Scheduler, VecDeque<(SessionId, AttemptKey, u32)>) {
    let (mut scheduler, _) = Scheduler::restore(Snapshot::default(), Options::default(), Millis(0));
    let (data_digest, splits_digest) = (String::new(), String::new());
    let data = DataInfo { data_digest, splits_digest, images: 100, height: 28, width: 28 };
    let study = NewStudy { spec, spec_text: String::new(), data, parent: None, source: None };
    scheduler.handle(Millis(0), Event::CreateStudy(Box::new(study)));
    let mut tasks = VecDeque::new();
    for number in 0..WORKERS {
        let session = SessionId(number + 1);
        let (name, incarnation) = (format!("w{number}"), format!("w{number:02}"));
        let worker = WorkerInfo { name, incarnation, device: "cpu".into() };
        scheduler.handle(Millis(0), Event::Hello { session, worker, held: Vec::new() });
        take_on(&mut tasks, scheduler.handle(Millis(0), Event::Ready { session, slots: 1 }));
    }
    (scheduler, tasks)
}

fn take_on(tasks: &mut VecDeque<(SessionId, AttemptKey, u32)>, commands: Vec<Command>) {
    for command in commands {
        match command {
            Command::Send { session, message: ToWorker::Assign(assignment) } => {
                tasks.push_back((session, assignment.key, 0));
            }
            Command::Send { message: ToWorker::Stop { key, .. }, .. } => {
                // The next thing its worker says is that it stopped.
                if let Some(task) = tasks.iter_mut().find(|(_, held, _)| *held == key) {
                    task.2 = u32::MAX;
                }
            }
            _ => {}
        }
    }
}

/// Between 0 and 1, and better for some trials than for others.
fn loss(key: AttemptKey, epoch: u32) -> f64 {
    let mixed = (u64::from(key.trial.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let noise = (u64::from(key.fold.0 * EPOCHS + epoch) + mixed).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
    let unit = f64::from(1u32 << 24);
    0.5 * mixed as f64 / unit + 0.1 * noise as f64 / unit + 0.4 / f64::from(epoch)
}

/// Trains every trial to its end; returns the number of events.
fn run((mut scheduler, mut tasks): (Scheduler, VecDeque<(SessionId, AttemptKey, u32)>)) -> u64 {
    let mut events = 0;
    while let Some((session, key, trained)) = tasks.pop_front() {
        events += 1;
        let event = if trained >= EPOCHS {
            Event::Finished { session, key, stopped: trained == u32::MAX }
        } else {
            let validation_loss = loss(key, trained + 1);
            let epoch = Epoch(trained + 1);
            let report = EpochReport {
                epoch,
                train_loss: 0.5,
                validation_loss,
                learning_rate: 0.1,
                seconds: 1.0,
                metrics: Default::default(),
            };
            tasks.push_back((session, key, trained + 1));
            Event::Epoch { session, key, report }
        };
        take_on(&mut tasks, scheduler.handle(Millis(events as i64 / 100), event));
        black_box(scheduler.next_deadline());
    }
    events
}

fn handle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handle");
    group.sample_size(10);
    for pruner in ["none", "median"] {
        let spec = spec(pruner);
        group.throughput(Throughput::Elements(run(cluster(spec.clone()))));
        group.bench_function(pruner, |bencher| {
            bencher.iter_batched(|| cluster(spec.clone()), run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, handle);
criterion_main!(benches);
