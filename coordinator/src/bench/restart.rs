//! How long a coordinator takes on a large database from its start until a worker has its first fold.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use foldwise_engine::scheduler::{DataInfo, NewStudy, WorkerInfo, Write};
use foldwise_proto::WIRE_VERSION;
use foldwise_proto::convert::attempt_key;
use foldwise_proto::v1::from_worker::Message as From;
use foldwise_proto::v1::to_worker::Message as To;
use foldwise_proto::v1::worker_service_client::WorkerServiceClient;
use foldwise_proto::v1::{FromWorker, Hello};
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::spec::{StudySpec, parse};
use foldwise_shared::state::{AttemptState, Origin, TrialState};
use foldwise_shared::value::ParamValue;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use super::BenchError;
use super::load::loss;
use super::served::{Folder, Served};
use crate::store::Store;

/// Writes of one commit while the database is filled.
const BATCH: usize = 20_000;
/// How long a restart may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Complete trials in the database.
    pub trials: u32,
    /// Folds of each.
    pub folds: u32,
    /// Epochs of each fold.
    pub epochs: u32,
    /// How often the coordinator is started.
    pub rounds: u32,
    /// Where the database lies meanwhile.
    pub folder: PathBuf,
    /// Settings laid over the study.
    pub sets: Vec<String>,
}

/// One start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restarted {
    /// Which, from 1.
    pub round: u32,
    /// Complete trials in the database.
    pub trials: u32,
    /// Epochs in the database.
    pub rows: u64,
    /// The size of the database, in MiB.
    pub database_mib: f64,
    /// From the start of the process until it listens, in seconds.
    pub listening_seconds: f64,
    /// From the start of the process until a worker has a fold, in seconds.
    pub lease_seconds: f64,
    /// Seconds of CPU of the process by then.
    pub cpu_seconds: Option<f64>,
    /// Its memory then, in MiB.
    pub memory_mib: Option<f64>,
    /// The most it had until then.
    pub memory_peak_mib: Option<f64>,
}

impl Plan {
    /// Fills a database, and starts a coordinator on it as often as asked. `filled` is told how much of it is written.
    ///
    /// # Errors
    /// No room, settings that no study can have, or a coordinator that does not start or leases nothing.
    pub fn run(&self, filled: &dyn Fn(u32)) -> Result<Vec<Restarted>, BenchError> {
        let folder = Folder::new(&self.folder)?;
        let database = folder.database();
        self.fill(&database, filled)?;
        let bytes =
            std::fs::metadata(&database).map_err(BenchError::system("failed to look at the database"))?.len();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::system("failed to start"))?;
        let mut rounds = Vec::new();
        for round in 1..=self.rounds {
            let started = Instant::now();
            let served = Served::start(&database)?;
            let listening_seconds = started.elapsed().as_secs_f64();
            runtime.block_on(first_lease(&served.url))?;
            let lease_seconds = started.elapsed().as_secs_f64();
            let usage = served.usage();
            served.end()?;
            rounds.push(Restarted {
                round,
                trials: self.trials,
                rows: u64::from(self.trials) * u64::from(self.folds) * u64::from(self.epochs),
                database_mib: bytes as f64 / f64::from(1u32 << 20),
                listening_seconds,
                lease_seconds,
                cpu_seconds: usage.map(|usage| usage.cpu_seconds),
                memory_mib: usage.map(|usage| usage.memory_mib),
                memory_peak_mib: usage.map(|usage| usage.peak_mib),
            });
        }
        Ok(rounds)
    }

    fn spec(&self) -> Result<StudySpec, BenchError> {
        let Self { folds, epochs, .. } = self;
        // Room for more trials than there are, so that there is something to lease.
        let trials = self.trials.saturating_add(1_000_000);
        let text = format!(
            "version = 1\n[study]\nname = \"restart\"\n[data]\ndataset = \"mnist\"\nfolds = {folds}\n\
             [model]\nnetwork = \"lab\"\nlatent_dim = 4\n[train]\nepochs = {epochs}\n\
             [space]\nlearning_rate = {{ float = [1e-4, 1e-1], log = true }}\ndropout = {{ float = [0.0, 0.5] }}\n\
             weight_decay = {{ float = [1e-6, 1e-2], log = true }}\n\
             [pruner]\nkind = \"median\"\n[budget]\ntrials = {trials}\n"
        );
        Ok(parse(&text, &self.sets)?)
    }

    /// Writes the trials as a coordinator does that has trained them one after the other.
    fn fill(&self, database: &std::path::Path, filled: &dyn Fn(u32)) -> Result<(), BenchError> {
        let mut store = Store::open(database)?;
        let (study, at) = (StudyId(1), Millis(1_700_000_000_000));
        let digest = "0".repeat(64);
        let data = DataInfo {
            data_digest: digest.clone(),
            splits_digest: digest,
            images: 60_000,
            height: 28,
            width: 28,
        };
        let spec = self.spec()?;
        let spec_text = spec.to_json();
        let worker =
            WorkerInfo { name: "filled".into(), incarnation: "filled".into(), device: "none".into() };
        let mut writes = vec![
            Write::Study {
                id: study,
                study: Box::new(NewStudy { spec, spec_text, data, parent: None, source: None }),
                at,
            },
            Write::Worker { worker: worker.clone(), at },
        ];
        for trial in (0..self.trials).map(TrialNumber) {
            self.trial(trial, &worker, at, &mut writes);
            if writes.len() >= BATCH {
                store.commit(&writes)?;
                writes.clear();
                filled(trial.0 + 1);
            }
        }
        store.commit(&writes)?;
        Ok(())
    }

    fn trial(&self, trial: TrialNumber, worker: &WorkerInfo, at: Millis, writes: &mut Vec<Write>) {
        let study = StudyId(1);
        let share = |salt: u32| {
            f64::from(trial.0.wrapping_mul(2_654_435_761).rotate_left(salt)) / f64::from(u32::MAX)
        };
        let params = [
            ("learning_rate", libm::pow(10.0, -4.0 + 3.0 * share(0))),
            ("dropout", 0.5 * share(9)),
            ("weight_decay", libm::pow(10.0, -6.0 + 4.0 * share(18))),
        ];
        let params: std::collections::BTreeMap<_, _> =
            params.into_iter().map(|(name, value)| (name.to_owned(), ParamValue::Float(value))).collect();
        let origins = params.keys().map(|name| (name.clone(), Origin::Sampled)).collect();
        let state = |state, value| Write::TrialState {
            study,
            trial,
            state,
            ending: None,
            value,
            std: None,
            reason: (state == TrialState::Complete).then(|| "every fold is complete".to_owned()),
            at,
        };
        writes.push(Write::Trial { study, trial, params, origins, parent: None, folds: self.folds, at });
        writes.push(state(TrialState::Running, None));
        let mut sum = 0.0;
        for fold in (0..self.folds).map(FoldIndex) {
            let key = AttemptKey { study, trial, fold, attempt: Attempt(1) };
            let lease = LeaseId(i64::from(trial.0) * i64::from(self.folds) + i64::from(fold.0) + 1);
            writes.push(Write::Lease { lease, worker: worker.clone(), lease_ms: None, at });
            writes.push(Write::AttemptStarted {
                key,
                lease,
                worker: worker.clone(),
                start_epoch: Epoch(0),
                at,
            });
            let wire = attempt_key(key);
            for epoch in (1..=self.epochs).map(Epoch) {
                let value = loss(&wire, epoch.0);
                let record = EpochRecord {
                    trial,
                    fold,
                    attempt: key.attempt,
                    epoch,
                    train_loss: Some(value * 0.9),
                    validation_loss: Some(value),
                    learning_rate: Some(1e-3),
                    seconds: Some(1.0),
                    diverged: false,
                    at,
                    metrics: Default::default(),
                };
                writes.push(Write::Epoch { study, record, worker: worker.name.clone() });
            }
            let value = loss(&wire, self.epochs);
            sum += value;
            writes.push(Write::AttemptEnded {
                key,
                state: AttemptState::Complete,
                failure: None,
                message: None,
                worker: worker.name.clone(),
                value: Some(value),
                epochs: self.epochs,
                at,
            });
            let (state, best_epoch) = (TrialState::Complete, Some(Epoch(self.epochs)));
            writes.push(Write::FoldState { study, trial, fold, state, value: Some(value), best_epoch, at });
        }
        writes.push(state(TrialState::Complete, Some(sum / f64::from(self.folds.max(1)))));
    }
}

/// Connects a worker and waits until it has a fold.
async fn first_lease(url: &str) -> Result<(), BenchError> {
    let gone = |status: Status| BenchError::Coordinator(status.message().to_owned());
    let mut client = WorkerServiceClient::connect(url.to_owned())
        .await
        .map_err(|error| BenchError::Coordinator(format!("nobody answers at {url}: {error}")))?;
    let (outgoing, receiver) = mpsc::unbounded_channel();
    let hello = Hello {
        wire_version: WIRE_VERSION,
        name: "first".into(),
        incarnation: uuid::Uuid::new_v4().to_string(),
        device: "none".into(),
        slots: 1,
        ..Hello::default()
    };
    // The receiver is there until the stream is.
    drop(outgoing.send(FromWorker { message: Some(From::Hello(hello)) }));
    let leased = async {
        let mut incoming =
            client.session(UnboundedReceiverStream::new(receiver)).await.map_err(gone)?.into_inner();
        while let Some(message) = incoming.message().await.map_err(gone)? {
            if matches!(message.message, Some(To::Assign(_))) {
                return Ok(());
            }
        }
        Err(BenchError::Coordinator("the coordinator closed the stream without a lease".into()))
    };
    tokio::time::timeout(PATIENCE, leased)
        .await
        .map_err(|_| BenchError::Coordinator(format!("there was no lease within {PATIENCE:?}")))?
}
