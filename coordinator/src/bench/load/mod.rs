//! A coordinator under many workers: real streams over real sockets, light workers, and every report that was acknowledged
//! looked for in the database afterwards.

mod histogram;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldwise_proto::v1::study_service_client::StudyServiceClient;
use foldwise_proto::v1::{CreateStudyRequest, Study, StudyRequest};
use foldwise_shared::spec::StudySpec;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use self::histogram::Histogram;
pub(super) use self::worker::loss;
use self::worker::{Counts, Order, Phase, work};
use super::BenchError;
use super::served::{Folder, Served, Usage};

/// Workers that connect at the same time.
const CONNECTING: usize = 64;
/// How long all of them may take to connect.
const CONNECT: Duration = Duration::from_secs(60);
/// Samples of the memory and the rate, at most and at the shortest distance.
const SAMPLES: u32 = 120;
const SAMPLE: Duration = Duration::from_secs(1);

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many workers.
    pub workers: u32,
    /// How long what they do counts.
    pub seconds: u32,
    /// Reports a second of all workers together; without it each sends the next when the last is acknowledged.
    pub reports_per_second: Option<u32>,
    /// They are connected and have nothing to do.
    pub idle: bool,
    /// A coordinator that is there, and what it asks for; without one we start our own.
    pub coordinator: Option<(Endpoint, Option<String>)>,
    /// Where our own has its database.
    pub folder: PathBuf,
    /// Settings laid over the study.
    pub sets: Vec<String>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// How many workers were connected.
    pub workers: u32,
    /// How long they took to connect, in seconds.
    pub connected_seconds: f64,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// Reports that were acknowledged in that time.
    pub reports: u64,
    /// A second.
    pub reports_per_second: f64,
    /// From sending a report to its acknowledgement, in milliseconds: the middle.
    pub median_ms: Option<f64>,
    /// What 99 of 100 stay below.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
    /// Folds that came to their end, from the first connection on.
    pub folds: u64,
    /// Attempts that were revoked.
    pub revoked: u64,
    /// Reports that were acknowledged, from the first connection on.
    pub acknowledged: u64,
    /// Reports in the database afterwards.
    pub recorded: u64,
    /// Seconds of CPU that our coordinator used in the measured time.
    pub cpu_seconds: Option<f64>,
    /// Its memory when the measured time began, in MiB.
    pub memory_begin_mib: Option<f64>,
    /// When it ended.
    pub memory_end_mib: Option<f64>,
    /// The most it ever had.
    pub memory_peak_mib: Option<f64>,
}

/// How it went on the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds of the measured time.
    pub seconds: f64,
    /// Reports acknowledged a second, since the sample before.
    pub reports_per_second: f64,
    /// The memory of our coordinator, in MiB.
    pub memory_mib: Option<f64>,
}

/// The figures, and how they came about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// In the order of their times.
    pub samples: Vec<Sample>,
}

impl Plan {
    /// Does it.
    ///
    /// # Errors
    /// No coordinator, one that refuses or goes away, or a report that was acknowledged and is not recorded.
    pub fn run(&self) -> Result<Load, BenchError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(BenchError::system("failed to start threads"))?;
        let Some((endpoint, token)) = &self.coordinator else {
            let folder = Folder::new(&self.folder)?;
            let served = Served::start(&folder.database())?;
            let endpoint = Endpoint::from_shared(served.url.clone()).map_err(|error| {
                BenchError::Coordinator(format!("`{}` is no address: {error}", served.url))
            })?;
            let load = runtime.block_on(self.measure(endpoint, None, Some(&served)))?;
            served.end()?;
            return Ok(load);
        };
        runtime.block_on(self.measure(endpoint.clone(), token.as_deref(), None))
    }

    async fn measure(
        &self,
        endpoint: Endpoint,
        token: Option<&str>,
        ours: Option<&Served>,
    ) -> Result<Load, BenchError> {
        let endpoint = endpoint.tcp_nodelay(true);
        let bearer = token.map(|token| format!("Bearer {token}").parse::<MetadataValue<Ascii>>()).transpose();
        let bearer = bearer.map_err(|_| BenchError::Coordinator("the token cannot be sent".into()))?;
        let study = if self.idle { None } else { Some(LoadStudy::create(self, &endpoint, &bearer).await?) };

        let counts = Arc::new(Counts {
            welcomed: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            folds: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
            latencies: Histogram::new(),
        });
        let (phase, phases) = watch::channel(Phase::Connecting);
        let pace = self
            .reports_per_second
            .map(|all| Duration::from_secs_f64(f64::from(self.workers) / f64::from(all.max(1))));
        let started = Instant::now();
        let at_once = Arc::new(Semaphore::new(CONNECTING));
        let mut workers = JoinSet::new();
        for number in 0..self.workers {
            let epochs = study.as_ref().map_or(1, |study| study.epochs);
            let order = Order { endpoint: endpoint.clone(), bearer: bearer.clone(), number, epochs, pace };
            let (counts, phases, at_once) = (Arc::clone(&counts), phases.clone(), Arc::clone(&at_once));
            workers.spawn(async move {
                let turn = at_once.acquire().await;
                let welcomed = counts.welcomed.load(Ordering::Relaxed);
                let working = work(order, &counts, phases);
                tokio::pin!(working);
                // The turn is over when somebody more is connected, most likely this one.
                loop {
                    tokio::select! {
                        ended = &mut working => return ended,
                        () = tokio::time::sleep(Duration::from_millis(5)) => {
                            if counts.welcomed.load(Ordering::Relaxed) > welcomed {
                                break;
                            }
                        }
                    }
                }
                drop(turn);
                working.await
            });
        }
        while counts.welcomed.load(Ordering::Relaxed) < self.workers {
            if started.elapsed() > CONNECT {
                let welcomed = counts.welcomed.load(Ordering::Relaxed);
                let message =
                    format!("only {welcomed} of {} workers were welcomed within {CONNECT:?}", self.workers);
                return Err(BenchError::Coordinator(message));
            }
            tokio::select! {
                Some(ended) = workers.join_next() => failed(ended)?,
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
        let connected_seconds = started.elapsed().as_secs_f64();
        if self.idle {
            // What their coming cost is no part of what their staying costs.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }

        let begin = ours.and_then(Served::usage);
        phase.send_replace(Phase::Measured);
        let measured = Instant::now();
        let samples = self.sample(&counts, &mut workers, ours).await?;
        let seconds = measured.elapsed().as_secs_f64();
        phase.send_replace(Phase::Ending);
        let reports = counts.latencies.count();
        let end = ours.and_then(Served::usage);
        while let Some(ended) = workers.join_next().await {
            failed(ended)?;
        }

        let acknowledged = counts.acknowledged.load(Ordering::Relaxed);
        let recorded = match &study {
            Some(study) => study.end(ours.is_none()).await?,
            None => 0,
        };
        if recorded < acknowledged || (ours.is_some() && recorded > counts.sent.load(Ordering::Relaxed)) {
            return Err(BenchError::Lost { acknowledged, recorded });
        }
        let figures = Figures {
            workers: self.workers,
            connected_seconds,
            seconds,
            reports,
            reports_per_second: reports as f64 / seconds,
            median_ms: counts.latencies.quantile_ms(0.5),
            p99_ms: counts.latencies.quantile_ms(0.99),
            max_ms: counts.latencies.max_ms(),
            folds: counts.folds.load(Ordering::Relaxed),
            revoked: counts.revoked.load(Ordering::Relaxed),
            acknowledged,
            recorded,
            cpu_seconds: begin.zip(end).map(|(begin, end)| end.cpu_seconds - begin.cpu_seconds),
            memory_begin_mib: begin.map(|usage| usage.memory_mib),
            memory_end_mib: end.map(|usage| usage.memory_mib),
            memory_peak_mib: end.map(|usage| usage.peak_mib),
        };
        Ok(Load { figures, samples })
    }

    /// Lets the measured time pass, and looks at the rate and the memory now and then.
    async fn sample(
        &self,
        counts: &Counts,
        workers: &mut JoinSet<Result<(), BenchError>>,
        ours: Option<&Served>,
    ) -> Result<Vec<Sample>, BenchError> {
        let whole = Duration::from_secs(self.seconds.into());
        let step = (whole / SAMPLES).max(SAMPLE).min(whole);
        let started = tokio::time::Instant::now();
        let (mut samples, mut at, mut before) = (Vec::new(), Duration::ZERO, counts.latencies.count());
        while at < whole {
            let next = (at + step).min(whole);
            tokio::select! {
                Some(ended) = workers.join_next() => failed(ended)?,
                () = tokio::time::sleep_until(started + next) => {
                    let now = counts.latencies.count();
                    let memory_mib = ours.and_then(Served::usage).map(|Usage { memory_mib, .. }| memory_mib);
                    let reports_per_second = (now - before) as f64 / (next - at).as_secs_f64();
                    samples.push(Sample { seconds: next.as_secs_f64(), reports_per_second, memory_mib });
                    (at, before) = (next, now);
                }
            }
        }
        Ok(samples)
    }
}

fn failed(ended: Result<Result<(), BenchError>, tokio::task::JoinError>) -> Result<(), BenchError> {
    ended.map_err(|error| BenchError::Coordinator(format!("a worker of ours ended: {error}")))?
}

/// The study that the workers work on.
struct LoadStudy {
    name: String,
    epochs: u32,
    endpoint: Endpoint,
    bearer: Option<MetadataValue<Ascii>>,
}

impl LoadStudy {
    async fn create(
        plan: &Plan,
        endpoint: &Endpoint,
        bearer: &Option<MetadataValue<Ascii>>,
    ) -> Result<Self, BenchError> {
        let name = format!("load-{}", uuid::Uuid::new_v4().simple());
        let (endpoint, bearer) = (endpoint.clone(), bearer.clone());
        let mut study = Self { name, epochs: 0, endpoint, bearer };
        let request = CreateStudyRequest { spec: study.text(), overrides: plan.sets.clone(), parent: None };
        let made = study.call(async |client, request| client.create_study(request).await, request).await?;
        let spec = StudySpec::from_json(&made.spec)
            .map_err(|error| BenchError::Coordinator(format!("the study came back wrong: {error}")))?;
        study.epochs = spec.epochs();
        Ok(study)
    }

    /// More trials than any load can take, of folds that are long enough to be like real ones.
    fn text(&self) -> String {
        let name = &self.name;
        format!(
            "version = 1\n[study]\nname = \"{name}\"\n[data]\ndataset = \"synthetic-digits\"\nlimit = 1000\nfolds = 5\n\
             [model]\nnetwork = \"lab\"\nlatent_dim = 4\n[train]\nepochs = 100\n\
             [space]\nlearning_rate = {{ float = [1e-4, 1e-1], log = true }}\ndropout = {{ float = [0.0, 0.5] }}\n\
             [sampler]\nkind = \"random\"\n[pruner]\nkind = \"median\"\nwarmup_epochs = 10\n[budget]\ntrials = 100000000\n"
        )
    }

    /// Stops it, where it would be left to others, and says how many epochs are recorded.
    async fn end(&self, stop: bool) -> Result<u64, BenchError> {
        let request = StudyRequest { name: self.name.clone() };
        let get = async |client: &mut Client, request| client.get_study(request).await;
        let recorded = self.call(get, request.clone()).await?.epochs;
        if stop {
            self.call(async |client, request| client.stop_study(request).await, request).await?;
        }
        Ok(recorded)
    }

    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut Client, Request<T>) -> Result<tonic::Response<Study>, Status>,
        request: T,
    ) -> Result<Study, BenchError> {
        let mut request = Request::new(request);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        let channel = self.endpoint.connect().await.map_err(|error| {
            BenchError::Coordinator(format!("nobody answers at {}: {error}", self.endpoint.uri()))
        })?;
        let answer = call(&mut Client::new(channel), request).await;
        Ok(answer.map_err(|status| BenchError::Coordinator(status.message().to_owned()))?.into_inner())
    }
}

type Client = StudyServiceClient<tonic::transport::Channel>;
