//! A worker that trains nothing: it opens a stream as a real one does, takes what it is leased and reports epochs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldwise_proto::WIRE_VERSION;
use foldwise_proto::v1::ack::What;
use foldwise_proto::v1::assign::Work;
use foldwise_proto::v1::from_worker::Message as From;
use foldwise_proto::v1::to_worker::Message as To;
use foldwise_proto::v1::worker_service_client::WorkerServiceClient;
use foldwise_proto::v1::{self, AttemptKey};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use super::histogram::Histogram;
use crate::bench::BenchError;

/// How long the last acknowledgements are waited for.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What all workers do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// They connect, and work already.
    Connecting,
    /// What they do counts.
    Measured,
    /// They report nothing new and wait for what is not acknowledged yet.
    Ending,
}

/// What all workers count together.
pub(super) struct Counts {
    pub welcomed: AtomicU32,
    pub sent: AtomicU64,
    pub acknowledged: AtomicU64,
    pub folds: AtomicU64,
    pub revoked: AtomicU64,
    /// From sending a report to its acknowledgement, while it counts.
    pub latencies: Histogram,
}

/// What a worker is told at its start.
#[derive(Clone)]
pub(super) struct Order {
    pub endpoint: Endpoint,
    pub bearer: Option<MetadataValue<Ascii>>,
    pub number: u32,
    /// Epochs of a fold.
    pub epochs: u32,
    /// From one report to the next; none to send the next one when the one before is acknowledged.
    pub pace: Option<Duration>,
}

/// A fold in hand.
struct Fold {
    key: AttemptKey,
    reported: u32,
    /// When each report that is not acknowledged was sent.
    waiting: VecDeque<Instant>,
}

struct Worker<'a> {
    order: Order,
    counts: &'a Counts,
    phase: watch::Receiver<Phase>,
    outgoing: mpsc::UnboundedSender<v1::FromWorker>,
    fold: Option<Fold>,
}

/// Works until the phase [`Phase::Ending`] comes and everything that was sent is acknowledged.
pub(super) async fn work(
    order: Order,
    counts: &Counts,
    phase: watch::Receiver<Phase>,
) -> Result<(), BenchError> {
    let number = order.number;
    let gone = |status: Status| BenchError::Coordinator(format!("worker {number}: {}", status.message()));
    let channel = order.endpoint.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        BenchError::Coordinator(format!("worker {number} cannot connect: {error} {cause}"))
    })?;
    let (outgoing, receiver) = mpsc::unbounded_channel();
    let mut worker = Worker { order, counts, phase, outgoing, fold: None };
    worker.send(From::Hello(v1::Hello {
        wire_version: WIRE_VERSION,
        name: format!("load-{number}"),
        incarnation: uuid::Uuid::new_v4().to_string(),
        device: "none".into(),
        slots: 1,
        ..v1::Hello::default()
    }));
    let mut request = Request::new(UnboundedReceiverStream::new(receiver));
    if let Some(bearer) = &worker.order.bearer {
        request.metadata_mut().insert("authorization", bearer.clone());
    }
    let mut incoming = WorkerServiceClient::new(channel).session(request).await.map_err(gone)?.into_inner();
    let closed = || BenchError::Coordinator(format!("the coordinator closed the stream of worker {number}"));

    let first = incoming.message().await.map_err(gone)?.and_then(|message| message.message);
    let Some(To::Welcome(welcome)) = first else {
        return Err(BenchError::Coordinator(format!("worker {number} was not welcomed")));
    };
    counts.welcomed.fetch_add(1, Ordering::Relaxed);
    let beat = Duration::from_millis(u64::try_from(welcome.heartbeat_ms).unwrap_or(0).max(1));
    let mut heartbeat = every(beat, beat);
    let mut pace = worker.order.pace.map(|pace| {
        // Spread over the time between two reports, as workers are that began at different times.
        let phase = f64::from(number.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
        every(pace.mul_f64(phase), pace)
    });
    let mut phase = worker.phase.clone();
    let mut asked_to_end = None;
    loop {
        if asked_to_end.is_some() && worker.is_done() {
            return Ok(());
        }
        let patience = asked_to_end.unwrap_or_else(Instant::now) + LAST_WORDS;
        tokio::select! {
            message = incoming.message() => {
                worker.take(message.map_err(gone)?.ok_or_else(closed)?);
            }
            _ = tick(&mut pace) => worker.report(),
            _ = heartbeat.tick() => worker.send(From::Heartbeat(v1::Heartbeat::default())),
            changed = phase.changed(), if asked_to_end.is_none() => {
                if changed.is_err() || *phase.borrow_and_update() == Phase::Ending {
                    asked_to_end = Some(Instant::now());
                }
            }
            () = tokio::time::sleep_until(patience.into()), if asked_to_end.is_some() => {
                let left = worker.fold.as_ref().map_or(0, |fold| fold.waiting.len());
                return Err(BenchError::Coordinator(format!(
                    "{left} reports of worker {number} were not acknowledged within {LAST_WORDS:?}"
                )));
            }
        }
    }
}

fn every(first: Duration, period: Duration) -> Interval {
    let mut interval = interval_at(tokio::time::Instant::now() + first, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

impl Worker<'_> {
    fn send(&self, message: From) {
        // A stream that is closed says so itself.
        drop(self.outgoing.send(v1::FromWorker { message: Some(message) }));
    }

    fn is_done(&self) -> bool {
        self.fold.as_ref().is_none_or(|fold| fold.waiting.is_empty())
    }

    fn take(&mut self, message: v1::ToWorker) {
        match message.message {
            Some(To::Assign(v1::Assign { work: Some(Work::TrainFolds(work)) })) => {
                for key in work.tasks.into_iter().filter_map(|task| task.key) {
                    self.fold = Some(Fold { key, reported: 0, waiting: VecDeque::new() });
                }
                if self.order.pace.is_none() {
                    self.report();
                }
            }
            Some(To::Ack(ack)) => self.acknowledged(&ack),
            Some(To::Stop(stop)) => {
                // One that has said its end already says it once.
                let epochs = self.order.epochs;
                let going = |fold: &&mut Fold| Some(fold.key) == stop.key && fold.reported < epochs;
                if let Some(fold) = self.fold.as_mut().filter(going) {
                    fold.reported = epochs;
                    self.send(From::Finished(v1::Finished { key: stop.key, stopped: true }));
                }
            }
            Some(To::Revoked(revoked)) => {
                self.counts.revoked.fetch_add(1, Ordering::Relaxed);
                self.fold.take_if(|fold| Some(fold.key) == revoked.key);
            }
            Some(To::Welcome(_) | To::Assign(_)) | None => {}
        }
    }

    fn acknowledged(&mut self, ack: &v1::Ack) {
        let Some(fold) = self.fold.as_mut().filter(|fold| Some(fold.key) == ack.key) else { return };
        match ack.what {
            Some(What::Epoch(_)) => {
                let Some(sent) = fold.waiting.pop_front() else { return };
                self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                if *self.phase.borrow() == Phase::Measured {
                    self.counts.latencies.add(sent.elapsed());
                }
                if self.order.pace.is_none() {
                    self.report();
                }
            }
            Some(What::End(_)) => {
                self.counts.folds.fetch_add(1, Ordering::Relaxed);
                self.fold = None;
            }
            // No study of the load has params that are found.
            Some(What::Param(_)) | None => {}
        }
    }

    /// Reports the next epoch of the fold in hand, and with the last one its end.
    fn report(&mut self) {
        if *self.phase.borrow() == Phase::Ending {
            return;
        }
        let epochs = self.order.epochs;
        let Some(fold) = self.fold.as_mut().filter(|fold| fold.reported < epochs) else { return };
        fold.reported += 1;
        let (key, epoch) = (Some(fold.key), fold.reported);
        let loss = loss(&fold.key, epoch);
        fold.waiting.push_back(Instant::now());
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.send(From::Epoch(v1::EpochReport {
            key,
            epoch,
            train_loss: loss * 0.9,
            validation_loss: loss,
            learning_rate: 1e-3,
            seconds: 1.0,
            metrics: Default::default(),
        }));
        if epoch == epochs {
            self.send(From::Finished(v1::Finished { key, stopped: false }));
        }
    }
}

/// A curve that falls, to another level for each trial and nearly the same for each fold.
pub(in crate::bench) fn loss(key: &AttemptKey, epoch: u32) -> f64 {
    let level = f64::from(key.trial.wrapping_mul(2_654_435_761) >> 20) / 4096.0;
    0.05 + 0.1 * level + 0.001 * f64::from(key.fold) + 0.2 / f64::from(epoch)
}
