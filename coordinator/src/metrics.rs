//! What a coordinator counts for whoever watches it: the page `/metrics`, in the text format of OpenMetrics that Prometheus
//! reads. Counters and histograms are added to as things happen; what there is now is counted when the page is asked for.
//!
//! Invariant: no label has values without bound. A study's name is one only as long as the study has not ended, and for the
//! first of these only.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldwise_engine::scheduler::{Census, ToWorker, Write};
use foldwise_shared::state::{StudyState, TrialState};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::store::StudyCounts;

/// Studies that have a line of their own.
const STUDIES: usize = 100;

/// The type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    state: &'static str,
    failure: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStudy {
    study: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StudyTrials {
    study: String,
    state: &'static str,
}

/// What was refused before a service or the loop saw it, by kind. One for the process: what refuses is far from what counts.
static REFUSED: LazyLock<Family<Kind, Counter>> = LazyLock::new(Family::default);

/// Counts something that was refused; `kind` is one of a few words.
pub fn count_refused(kind: &'static str) {
    REFUSED.get_or_create(&Kind { kind }).inc();
}

/// What a coordinator counts.
pub struct Metrics {
    registry: Registry,
    epochs: Counter,
    acknowledgements: Counter,
    revoked: Counter,
    attempts: Family<End, Counter>,
    commits: Counter,
    failed_commits: Counter,
    batch: Histogram,
    commit_seconds: Histogram,
    requests: Family<Request, Counter>,
    database: PathBuf,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("database", &self.database).finish_non_exhaustive()
    }
}

/// What there is now, from those who know.
#[derive(Debug)]
pub struct Now<'a> {
    /// From the loop.
    pub census: &'a Census,
    /// From the database.
    pub studies: &'a [StudyCounts],
    /// Events that wait for the loop.
    pub inbox: usize,
}

impl Metrics {
    /// Nothing is counted yet.
    pub fn new(database: &Path) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("foldwise"),
            epochs: Counter::default(),
            acknowledgements: Counter::default(),
            revoked: Counter::default(),
            attempts: Family::default(),
            commits: Counter::default(),
            failed_commits: Counter::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            requests: Family::default(),
            database: database.to_owned(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let start_time = Gauge::<f64, AtomicU64>::default();
        start_time.set(started.as_secs_f64());
        registry.register("start_time_seconds", "When this coordinator started, since 1970 UTC", start_time);
        let wire_version = foldwise_proto::WIRE_VERSION.to_string();
        let build =
            Info::new([("version", env!("CARGO_PKG_VERSION").to_owned()), ("wire_version", wire_version)]);
        registry.register("build", "Which coordinator this is", build);
        registry.register("epochs_recorded", "Epochs that are durable, since the start", self.epochs.clone());
        registry.register(
            "acknowledgements",
            "Epochs and ends of attempts that workers were told are durable",
            self.acknowledgements.clone(),
        );
        registry.register(
            "revoked_messages",
            "Messages about an attempt that is dead, and attempts that were taken away",
            self.revoked.clone(),
        );
        registry.register("attempts_ended", "Attempts that ended, by how and why", self.attempts.clone());
        registry.register("commits", "Transactions that are durable", self.commits.clone());
        registry.register(
            "commits_failed",
            "Transactions that failed; nothing of them was answered",
            self.failed_commits.clone(),
        );
        registry.register("commit_writes", "Writes of one transaction", self.batch.clone());
        registry.register(
            "commit_seconds",
            "From the begin of a transaction until it is durable",
            self.commit_seconds.clone(),
        );
        registry.register(
            "requests",
            "Calls by method and gRPC code; of a stream, how it began",
            self.requests.clone(),
        );
        registry.register("refused", "What was refused before it was handled, by kind", REFUSED.clone());
    }

    /// A transaction is durable.
    pub(crate) fn committed(&self, writes: &[Write], took: Duration) {
        self.commits.inc();
        self.batch.observe(writes.len() as f64);
        self.commit_seconds.observe(took.as_secs_f64());
        let mut epochs = 0;
        for write in writes {
            match write {
                Write::Epoch { .. } => epochs += 1,
                Write::AttemptEnded { state, failure, .. } => {
                    let failure = failure.map_or("none", |class| class.as_str());
                    self.attempts.get_or_create(&End { state: state.as_str(), failure }).inc();
                }
                _ => {}
            }
        }
        self.epochs.inc_by(epochs);
    }

    /// A transaction failed.
    pub(crate) fn commit_failed(&self) {
        self.failed_commits.inc();
    }

    /// A worker is told something.
    pub(crate) fn sent(&self, message: &ToWorker) {
        let counter = match message {
            ToWorker::EpochRecorded { .. }
            | ToWorker::ParamRecorded { .. }
            | ToWorker::EndRecorded { .. } => &self.acknowledgements,
            ToWorker::Revoked { .. } => &self.revoked,
            _ => return,
        };
        counter.inc();
    }

    /// A call was answered, or a stream began.
    pub(crate) fn answered(&self, method: &'static str, code: &'static str) {
        self.requests.get_or_create(&Request { method, code }).inc();
    }

    /// The page.
    ///
    /// # Errors
    /// A text that takes no more.
    pub fn page(&self, now: &Now<'_>) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)?;
        encode_registry(&mut page, &self.now(now))?;
        encode_eof(&mut page)?;
        Ok(page)
    }

    /// Gauges of what there is now.
    fn now(&self, Now { census, studies, inbox }: &Now<'_>) -> Registry {
        let mut registry = Registry::with_prefix("foldwise");
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge(
            "workers_connected",
            "Workers with an open stream that were heard of within their lease",
            census.workers_connected,
        );
        gauge("workers_silent", "Workers of which nothing is heard", census.workers_silent);
        gauge("slots", "Attempts that the connected workers can run side by side", census.slots);
        gauge("slots_free", "Those of them that are free", census.slots_free);
        gauge("leases_open", "Leases that are open", census.leases);
        gauge("inbox_events", "Events that wait for the loop", *inbox as u64);
        gauge("database_bytes", "The size of the database", bytes(&self.database, ""));
        gauge("wal_bytes", "The size of its write-ahead log", bytes(&self.database, "-wal"));

        let by_state = |counts: HashMap<&'static str, u64>| {
            let family = Family::<State, Gauge>::default();
            for (state, count) in counts {
                family.get_or_create(&State { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            family
        };
        let folds = [
            ("waiting", census.folds_waiting),
            ("running", census.folds_running),
            ("stopping", census.folds_stopping),
        ];
        let help = "Folds that are not finished, by state; those of a paused study do not wait";
        registry.register("folds", help, by_state(folds.into()));
        let mut states: HashMap<&'static str, u64> =
            StudyState::ALL.iter().map(|state| (state.as_str(), 0)).collect();
        let mut trials: HashMap<&'static str, u64> =
            TrialState::ALL.iter().map(|state| (state.as_str(), 0)).collect();
        for study in *studies {
            *states.entry(study.state.as_str()).or_default() += 1;
            for (state, count) in &study.trials {
                *trials.entry(state.as_str()).or_default() += count;
            }
        }
        registry.register("studies", "Studies in the database, by state", by_state(states));
        registry.register("trials", "Trials in the database, by state", by_state(trials));

        let (epochs, training) = (Family::<OfStudy, Gauge>::default(), Family::<OfStudy, Gauge>::default());
        let of_study = Family::<StudyTrials, Gauge>::default();
        for study in census.studies.iter().take(STUDIES) {
            let label = OfStudy { study: study.name.clone() };
            epochs.get_or_create(&label).set(i64::try_from(study.epochs).unwrap_or(i64::MAX));
            training.get_or_create(&label).set(study.training.into());
            let record = studies.iter().find(|record| record.id == study.id);
            for (state, count) in record.iter().flat_map(|record| &record.trials) {
                let label = StudyTrials { study: study.name.clone(), state: state.as_str() };
                of_study.get_or_create(&label).set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        registry.register("study_epochs", "Epochs recorded in a study that has not ended", epochs);
        registry.register("study_training", "Attempts in training of a study that has not ended", training);
        registry.register("study_trials", "Trials of a study that has not ended, by state", of_study);
        registry
    }
}

fn bytes(database: &Path, suffix: &str) -> u64 {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    std::fs::metadata(path).map_or(0, |file| file.len())
}
