//! The worker under test, with an objective that does for each trial what the test says.

use super::*;

/// Does for each trial what the test tells, and waits otherwise; a stop between batches ends the wait.
#[derive(Default)]
pub struct Script {
    pub state: Mutex<ScriptState>,
    pub changed: Condvar,
}

#[derive(Default)]
pub struct ScriptState {
    /// What to do next, by trial.
    pub steps: BTreeMap<u32, Vec<Do>>,
    /// The trials that have started.
    pub started: Vec<u32>,
    /// The trials that have nothing to do.
    pub waiting: BTreeSet<u32>,
    /// The trials that were stopped between batches.
    pub interrupted: Vec<u32>,
    /// What each trial was to go on from.
    pub starts: BTreeMap<u32, Vec<u8>>,
    /// The model that each study starts from.
    pub sources: BTreeMap<u32, Vec<u8>>,
}

pub enum Do {
    Epoch,
    /// An epoch, and a checkpoint after it; with true the last of the fold.
    Store(bool),
    /// An epoch with these metrics.
    Measure(Vec<(&'static str, f64)>),
    /// A learning rate is found.
    Find(f64),
    Phase(&'static str),
    /// A result of this kind, after this epoch.
    Make(&'static str, Option<u32>),
    End(Outcome),
    /// Hears of a stop only when it is done: makes a result of this kind, and ends as finished.
    EndLate(&'static str),
    Panic,
}

impl Script {
    pub fn tell(&self, trial: u32, steps: impl IntoIterator<Item = Do>) {
        self.state.lock().expect("no panic").steps.entry(trial).or_default().extend(steps);
        self.changed.notify_all();
    }

    pub fn started(&self) -> Vec<u32> {
        self.state.lock().expect("no panic").started.clone()
    }

    /// Waits until a trial has started, and so is in the midst of its first epoch.
    pub async fn has_started(&self, trial: u32) {
        let started = async {
            while !self.started().contains(&trial) {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, started).await.expect("a start soon");
    }

    /// Waits until a trial is at the last of its steps: a stop after the epoch comes too late for those before.
    pub async fn has_taken_all(&self, trial: u32) {
        let taken = async {
            while !self.state.lock().expect("no panic").steps.get(&trial).is_some_and(Vec::is_empty) {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, taken).await.expect("its last step soon");
    }

    /// Blocks until a trial is in the midst of an epoch: its last report was answered, and nothing is told it.
    pub fn is_amid_epoch(&self, trial: u32) {
        let state = self.state.lock().expect("no panic");
        let busy = |state: &mut ScriptState| {
            !state.waiting.contains(&trial) || state.steps.get(&trial).is_some_and(|steps| !steps.is_empty())
        };
        let (state, waited) = self.changed.wait_timeout_while(state, SOON, busy).expect("no panic");
        drop(state);
        assert!(!waited.timed_out(), "trial {trial} does not come to an epoch's middle");
    }

    /// The next step, or none when interrupted.
    pub fn next(&self, trial: u32, control: &Control) -> Option<Do> {
        let mut state = self.state.lock().expect("no panic");
        state.waiting.insert(trial);
        self.changed.notify_all();
        loop {
            if control.interrupted() {
                state.interrupted.push(trial);
                return None;
            }
            if let Some(steps) = state.steps.get_mut(&trial).filter(|steps| !steps.is_empty()) {
                let step = steps.remove(0);
                state.waiting.remove(&trial);
                return Some(step);
            }
            // As long as a batch takes: a real objective asks as often.
            state = self.changed.wait_timeout(state, Duration::from_millis(1)).expect("no panic").0;
        }
    }
}

impl Objective for Script {
    fn run(
        &self,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Outcome {
        let trial = work.key.trial.0;
        let mut epoch = work.start.as_ref().map_or(0, |start| start.epoch.0);
        assert_eq!(start.is_some(), epoch > 0);
        {
            let mut state = self.state.lock().expect("no panic");
            state.started.push(trial);
            state.starts.extend(start.map(|file| (trial, file)));
            state.sources.extend(work.source.as_ref().map(|file| (trial, file.to_vec())));
        }
        loop {
            match self.next(trial, control) {
                None => return Outcome::Finished { stopped: true },
                Some(Do::Panic) => panic!("a wheel came off"),
                Some(Do::End(outcome)) => return outcome,
                Some(Do::EndLate(kind)) => {
                    while !control.interrupted() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    progress.artifact(kind, None, made(trial, kind, 0));
                    return Outcome::Finished { stopped: false };
                }
                Some(Do::Find(rate)) => progress.derived("learning_rate", ParamValue::Float(rate)),
                Some(Do::Phase(name)) => progress.phase(name),
                Some(Do::Make(kind, of)) => {
                    progress.artifact(kind, of.map(Epoch), made(trial, kind, of.unwrap_or_default()));
                }
                Some(step @ (Do::Epoch | Do::Store(_) | Do::Measure(_))) => {
                    epoch += 1;
                    let metrics = match &step {
                        Do::Measure(metrics) => {
                            metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
                        }
                        _ => BTreeMap::new(),
                    };
                    let report = EpochReport {
                        epoch: Epoch(epoch),
                        train_loss: 0.5,
                        validation_loss: 1.0 / f64::from(epoch),
                        learning_rate: 1e-3,
                        seconds: 0.0,
                        metrics,
                    };
                    let flow = progress.epoch(report);
                    if let Do::Store(last) = step {
                        let write = Box::new(move || Ok(content(trial, epoch)));
                        progress.checkpoint(Draft { epoch: Epoch(epoch), last, write });
                    }
                    if flow.is_break() {
                        return Outcome::Finished { stopped: true };
                    }
                }
            }
        }
    }
}

/// What a checkpoint holds here: more than a piece, so that there are two.
pub fn content(trial: u32, epoch: u32) -> Vec<u8> {
    format!("trial {trial}, epoch {epoch} ")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(ARTIFACT_PIECE + 9)
        .collect()
}

/// What a result holds here.
pub fn made(trial: u32, kind: &str, epoch: u32) -> Vec<u8> {
    format!("{kind} of trial {trial}, epoch {epoch}").into_bytes()
}

pub fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub struct Worker {
    pub script: Arc<Script>,
    pub shutdown: watch::Sender<Shutdown>,
    pub ended: JoinHandle<Result<(), AgentError>>,
    pub ack_log: PathBuf,
    pub _folder: tempfile::TempDir,
}

pub const PATIENCE: Patience = Patience {
    welcome: SOON,
    first_retry: Duration::from_millis(1),
    longest_retry: Duration::from_millis(4),
    give_up_after: None,
    silence: SOON,
};

impl Worker {
    pub fn start(address: SocketAddr) -> Self {
        Self::start_with(address, None, PATIENCE)
    }

    pub fn start_with(address: SocketAddr, token: Option<&str>, patience: Patience) -> Self {
        Self::start_as(address, token, patience, None, GRACE)
    }

    pub fn start_reading(address: SocketAddr, readings: Readings) -> Self {
        Self::start_as(address, None, PATIENCE, Some(readings), GRACE)
    }

    pub fn start_with_grace(
        address: SocketAddr,
        token: Option<&str>,
        patience: Patience,
        grace: Duration,
    ) -> Self {
        Self::start_as(address, token, patience, None, grace)
    }

    pub fn start_as(
        address: SocketAddr,
        token: Option<&str>,
        patience: Patience,
        readings: Option<Readings>,
        grace: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ack_log = folder.path().join("acks.jsonl");
        let script = Arc::new(Script::default());
        let target = Target {
            address: address.to_string().parse().expect("an address"),
            token: token.map(|token| token.parse().expect("a token")),
            tls: None,
            patience,
        };
        let identity = Identity { name: "w".into(), incarnation: "i".into(), device: "cpu".into(), slots: 1 };
        let log = AckLog::open(&ack_log, "w").expect("a log");
        let mut agent = Agent::new(target, identity, Arc::clone(&script) as Arc<dyn Objective>, Some(log))
            .with_grace(grace);
        if let Some(readings) = readings {
            agent = agent.with_device_use(readings);
        }
        let (shutdown, asked) = watch::channel(Shutdown::No);
        Self { script, shutdown, ended: tokio::spawn(agent.run(asked)), ack_log, _folder: folder }
    }

    pub async fn ended(self) -> Result<(), AgentError> {
        timeout(SOON, self.ended).await.expect("an end soon").expect("no panic")
    }

    pub fn acknowledged(&self) -> Vec<String> {
        std::fs::read_to_string(&self.ack_log).expect("the log").lines().map(str::to_owned).collect()
    }
}

pub const DONE: Do = Do::End(Outcome::Finished { stopped: false });
pub const ACK_END: v1::ack::What = v1::ack::What::End(true);

pub fn ack(epoch: u32) -> v1::ack::What {
    v1::ack::What::Epoch(epoch)
}
