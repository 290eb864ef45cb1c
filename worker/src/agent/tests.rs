//! The agent against a coordinator that the test plays, over a real socket, with an objective that does what the test
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use foldwise_proto::convert::{
    ArtifactHeader, ArtifactTracker, artifact_header, artifact_header_from, artifact_request_from,
};
use foldwise_proto::v1::from_worker::Message as From;
use foldwise_proto::v1::to_worker::Message as To;
use foldwise_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use foldwise_proto::{ARTIFACT_PIECE, WIRE_VERSION, v1};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::device::DeviceUse;
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, StudyId, TrialNumber};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// Far more than anything here takes; a test that waits for it has failed.
const SOON: Duration = Duration::from_secs(20);

fn key(trial: u32) -> AttemptKey {
    AttemptKey { study: StudyId(1), trial: TrialNumber(trial), fold: FoldIndex(0), attempt: Attempt(1) }
}

// The coordinator.

struct Coordinator {
    address: SocketAddr,
    sessions: UnboundedReceiver<CoordinatorSession>,
    artifacts: Arc<Mutex<Shelf>>,
}

/// The artifacts of the coordinator.
#[derive(Default)]
struct Shelf {
    /// What was stored: the attempt's trial, the epoch and the content.
    stored: Vec<(u32, u32, Vec<u8>)>,
    /// What is answered to the next uploads, instead of storing them.
    answers: Vec<Status>,
    /// How often something was asked for.
    asked: u32,
    /// What is given to whoever asks, with the digest that is said, or what is answered instead.
    gives: Option<Result<(String, Vec<u8>), Status>>,
}

/// The coordinator's end of one stream. Dropping it ends the stream.
struct CoordinatorSession {
    token: Option<String>,
    incoming: Streaming<v1::FromWorker>,
    outgoing: UnboundedSender<Result<v1::ToWorker, Status>>,
}

struct Service(UnboundedSender<CoordinatorSession>, Arc<Mutex<Shelf>>);

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = UnboundedReceiverStream<Result<v1::ToWorker, Status>>;
    type GetArtifactStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ArtifactChunk, Status>>>;

    async fn put_artifact(
        &self,
        request: Request<Streaming<v1::ArtifactChunk>>,
    ) -> Result<Response<v1::ArtifactStored>, Status> {
        let mut chunks = request.into_inner();
        let header = artifact_header_from(chunks.message().await?).expect("a header");
        assert_eq!(header.incarnation, "i");
        let (mut tracker, mut content) = (ArtifactTracker::new(header.checkpoint.bytes), Vec::new());
        while let Some(chunk) = chunks.message().await? {
            content.extend(tracker.take(chunk).expect("a piece"));
        }
        tracker.finish().expect("all of it");
        assert_eq!(header.checkpoint.digest, digest(&content));
        let mut shelf = self.1.lock().expect("no panic");
        if !shelf.answers.is_empty() {
            return Err(shelf.answers.remove(0));
        }
        shelf.stored.push((header.key.trial.0, header.checkpoint.epoch.0, content));
        Ok(Response::new(v1::ArtifactStored {}))
    }

    async fn get_artifact(
        &self,
        request: Request<v1::ArtifactRequest>,
    ) -> Result<Response<Self::GetArtifactStream>, Status> {
        let request = artifact_request_from(request.into_inner()).expect("a request");
        let mut shelf = self.1.lock().expect("no panic");
        shelf.asked += 1;
        let (digest, content) = shelf.gives.clone().expect("something to give")?;
        let checkpoint = Checkpoint { epoch: Epoch(2), digest, bytes: content.len() as u64 };
        let header =
            artifact_header(ArtifactHeader { incarnation: "i".into(), key: request.key, checkpoint });
        let pieces = content
            .chunks(ARTIFACT_PIECE)
            .map(|piece| v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Data(piece.to_vec())) });
        let chunks: Vec<_> = std::iter::once(header).chain(pieces).map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(chunks)))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, stream) = unbounded_channel();
        let token =
            request.metadata().get("authorization").map(|token| token.to_str().expect("text").to_owned());
        if token.as_deref() == Some("Bearer wrong") {
            return Err(Status::unauthenticated("the token is wrong"));
        }
        let session = CoordinatorSession { token, incoming: request.into_inner(), outgoing };
        self.0.send(session).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}

impl Coordinator {
    async fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("bound");
        let (sender, sessions) = unbounded_channel();
        let artifacts = Arc::new(Mutex::new(Shelf::default()));
        let service = Service(sender, Arc::clone(&artifacts));
        let server = tonic::transport::Server::builder().add_service(WorkerServiceServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions, artifacts }
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.artifacts.lock().expect("no panic")
    }

    /// Waits until so many checkpoints are stored; gives their trials and epochs.
    async fn stored(&self, count: usize) -> Vec<(u32, u32)> {
        let enough = async {
            while self.shelf().stored.len() < count {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, enough).await.expect("checkpoints soon");
        self.shelf().stored.iter().map(|(trial, epoch, _)| (*trial, *epoch)).collect()
    }

    async fn session(&mut self) -> CoordinatorSession {
        timeout(SOON, self.sessions.recv()).await.expect("a stream soon").expect("served")
    }

    /// A stream whose hello is answered, up to its Ready; with what was held and what was sent again.
    async fn greeted(&mut self) -> (CoordinatorSession, v1::Hello, Vec<From>) {
        let mut session = self.session().await;
        let hello = session.hello().await;
        session.welcome(WIRE_VERSION);
        let mut owed = Vec::new();
        loop {
            match session.next().await {
                From::Ready(v1::Ready { slots: 1 }) => return (session, hello, owed),
                message => owed.push(message),
            }
        }
    }
}

impl CoordinatorSession {
    async fn next(&mut self) -> From {
        loop {
            let message = timeout(SOON, self.incoming.message()).await.expect("a message soon");
            match message.expect("a stream").expect("not its end").message.expect("a kind") {
                From::Heartbeat(_) => {}
                message => return message,
            }
        }
    }

    async fn hello(&mut self) -> v1::Hello {
        let From::Hello(hello) = self.next().await else { panic!("the first message is no hello") };
        hello
    }

    fn say(&self, message: To) {
        self.outgoing.send(Ok(v1::ToWorker { message: Some(message) })).expect("the stream is open");
    }

    fn welcome(&self, wire_version: u32) {
        self.say(To::Welcome(v1::Welcome { wire_version, lease_ms: 30_000, heartbeat_ms: 10_000 }));
    }

    fn assign(&self, trials: &[u32]) {
        let tasks = trials.iter().map(|trial| v1::FoldTask {
            key: Some(foldwise_proto::convert::attempt_key(key(*trial))),
            params: BTreeMap::new(),
            seed: 0,
            start_epoch: 0,
            checkpoint: String::new(),
        });
        let folds = v1::TrainFolds { tasks: tasks.collect(), ..Default::default() };
        self.say(To::Assign(v1::Assign { work: Some(v1::assign::Work::TrainFolds(folds)) }));
    }

    /// A fold to go on with after epoch 2.
    fn assign_from(&self, trial: u32, digest: &str) {
        let task = v1::FoldTask {
            key: wire_key(trial),
            start_epoch: 2,
            checkpoint: digest.to_owned(),
            ..Default::default()
        };
        let folds = v1::TrainFolds { tasks: vec![task], ..Default::default() };
        self.say(To::Assign(v1::Assign { work: Some(v1::assign::Work::TrainFolds(folds)) }));
    }

    fn acknowledge(&self, trial: u32, what: v1::ack::What) {
        self.say(To::Ack(v1::Ack { key: wire_key(trial), what: Some(what) }));
    }

    fn stop(&self, trial: u32, after_epoch: bool) {
        self.say(To::Stop(v1::Stop { key: wire_key(trial), after_epoch }));
    }

    fn revoke(&self, trial: u32) {
        self.say(To::Revoked(v1::Revoked { key: wire_key(trial) }));
    }
}

fn wire_key(trial: u32) -> Option<v1::AttemptKey> {
    Some(foldwise_proto::convert::attempt_key(key(trial)))
}

fn epoch_message(trial: u32, epoch: u32) -> From {
    From::Epoch(v1::EpochReport {
        key: wire_key(trial),
        epoch,
        train_loss: 0.5,
        validation_loss: 1.0 / f64::from(epoch),
        learning_rate: 1e-3,
        seconds: 0.0,
    })
}

fn finished(trial: u32, stopped: bool) -> From {
    From::Finished(v1::Finished { key: wire_key(trial), stopped })
}

fn held(hello: &v1::Hello) -> Vec<(u32, u32)> {
    let held = hello.held.iter();
    held.map(|held| (held.key.as_ref().expect("a key").trial, held.acknowledged_epoch)).collect()
}

// The objective.

/// Does for each trial what the test tells, and waits otherwise; a stop between batches ends the wait.
#[derive(Default)]
struct Script {
    state: Mutex<ScriptState>,
    changed: Condvar,
}

#[derive(Default)]
struct ScriptState {
    /// What to do next, by trial.
    steps: BTreeMap<u32, Vec<Do>>,
    /// The trials that have started.
    started: Vec<u32>,
    /// The trials that have nothing to do.
    waiting: BTreeSet<u32>,
    /// The trials that were stopped between batches.
    interrupted: Vec<u32>,
    /// What each trial was to go on from.
    starts: BTreeMap<u32, Vec<u8>>,
}

enum Do {
    Epoch,
    /// An epoch, and a checkpoint after it; with true the last of the fold.
    Store(bool),
    End(Outcome),
    Panic,
}

impl Script {
    fn tell(&self, trial: u32, steps: impl IntoIterator<Item = Do>) {
        self.state.lock().expect("no panic").steps.entry(trial).or_default().extend(steps);
        self.changed.notify_all();
    }

    fn started(&self) -> Vec<u32> {
        self.state.lock().expect("no panic").started.clone()
    }

    /// Waits until a trial has started, and so is in the midst of its first epoch.
    async fn has_started(&self, trial: u32) {
        let started = async {
            while !self.started().contains(&trial) {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, started).await.expect("a start soon");
    }

    /// Blocks until a trial is in the midst of an epoch: its last report was answered, and nothing is told it.
    fn is_amid_epoch(&self, trial: u32) {
        let state = self.state.lock().expect("no panic");
        let busy = |state: &mut ScriptState| {
            !state.waiting.contains(&trial) || state.steps.get(&trial).is_some_and(|steps| !steps.is_empty())
        };
        let (state, waited) = self.changed.wait_timeout_while(state, SOON, busy).expect("no panic");
        drop(state);
        assert!(!waited.timed_out(), "trial {trial} does not come to an epoch's middle");
    }

    /// The next step, or none when interrupted.
    fn next(&self, trial: u32, control: &Control) -> Option<Do> {
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
        }
        loop {
            match self.next(trial, control) {
                None => return Outcome::Finished { stopped: true },
                Some(Do::Panic) => panic!("a wheel came off"),
                Some(Do::End(outcome)) => return outcome,
                Some(step @ (Do::Epoch | Do::Store(_))) => {
                    epoch += 1;
                    let report = EpochReport {
                        epoch: Epoch(epoch),
                        train_loss: 0.5,
                        validation_loss: 1.0 / f64::from(epoch),
                        learning_rate: 1e-3,
                        seconds: 0.0,
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
fn content(trial: u32, epoch: u32) -> Vec<u8> {
    format!("trial {trial}, epoch {epoch} ")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(ARTIFACT_PIECE + 9)
        .collect()
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

// The worker.

struct Worker {
    script: Arc<Script>,
    shutdown: watch::Sender<Shutdown>,
    ended: JoinHandle<Result<(), AgentError>>,
    ack_log: PathBuf,
    _folder: tempfile::TempDir,
}

const PATIENCE: Patience = Patience {
    welcome: SOON,
    first_retry: Duration::from_millis(1),
    longest_retry: Duration::from_millis(4),
    give_up_after: None,
    silence: SOON,
};

impl Worker {
    fn start(address: SocketAddr) -> Self {
        Self::start_with(address, None, PATIENCE)
    }

    fn start_with(address: SocketAddr, token: Option<&str>, patience: Patience) -> Self {
        Self::start_as(address, token, patience, None, GRACE)
    }

    fn start_reading(address: SocketAddr, readings: Readings) -> Self {
        Self::start_as(address, None, PATIENCE, Some(readings), GRACE)
    }

    fn start_with_grace(
        address: SocketAddr,
        token: Option<&str>,
        patience: Patience,
        grace: Duration,
    ) -> Self {
        Self::start_as(address, token, patience, None, grace)
    }

    fn start_as(
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

    async fn ended(self) -> Result<(), AgentError> {
        timeout(SOON, self.ended).await.expect("an end soon").expect("no panic")
    }

    fn acknowledged(&self) -> Vec<String> {
        std::fs::read_to_string(&self.ack_log).expect("the log").lines().map(str::to_owned).collect()
    }
}

const DONE: Do = Do::End(Outcome::Finished { stopped: false });
const ACK_END: v1::ack::What = v1::ack::What::End(true);

fn ack(epoch: u32) -> v1::ack::What {
    v1::ack::What::Epoch(epoch)
}

// The tests.

#[tokio::test]
async fn a_fold_is_trained_reported_and_acknowledged() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start_with(coordinator.address, Some("Bearer secret"), PATIENCE);
    let (mut session, hello, owed) = coordinator.greeted().await;
    assert_eq!(session.token.as_deref(), Some("Bearer secret"));
    let expected = v1::Hello {
        wire_version: WIRE_VERSION,
        name: "w".into(),
        incarnation: "i".into(),
        device: "cpu".into(),
        slots: 1,
        held: Vec::new(),
    };
    assert_eq!((hello, owed), (expected, Vec::new()));

    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch, Do::Epoch, DONE]);
    for message in [epoch_message(0, 1), epoch_message(0, 2), finished(0, false)] {
        assert_eq!(session.next().await, message);
    }
    session.acknowledge(0, ack(1));
    session.acknowledge(0, ack(2));
    session.acknowledge(0, ACK_END);
    // What is assigned after the acknowledgements is answered after them.
    session.assign(&[1]);
    worker.script.tell(1, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(1, 1));
    assert_eq!(
        worker.acknowledged(),
        [
            r#"{"study":1,"trial":0,"fold":0,"attempt":1,"epoch":1,"validation_loss":1.0}"#,
            r#"{"study":1,"trial":0,"fold":0,"attempt":1,"epoch":2,"validation_loss":0.5}"#,
            r#"{"study":1,"trial":0,"fold":0,"attempt":1,"end":"finished"}"#,
        ]
    );
}

#[tokio::test]
async fn after_a_broken_stream_only_what_is_owed_is_sent_again_in_order() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch, Do::Epoch, Do::Epoch]);
    for epoch in 1..=3 {
        assert_eq!(session.next().await, epoch_message(0, epoch));
    }
    session.acknowledge(0, ack(1));
    drop(session);

    let mut session = coordinator.session().await;
    let hello = session.hello().await;
    assert_eq!(held(&hello), [(0, 1)]);
    // It trains on while it is not welcomed.
    worker.script.tell(0, [Do::Epoch, DONE]);
    session.welcome(WIRE_VERSION);
    for message in [epoch_message(0, 2), epoch_message(0, 3), epoch_message(0, 4), finished(0, false)] {
        loop {
            match session.next().await {
                From::Ready(_) => {}
                sent => break assert_eq!(sent, message),
            }
        }
    }
    // The attempt ended, and is held until its end is acknowledged.
    session.acknowledge(0, ack(2));
    drop(session);
    let (session, hello, owed) = coordinator.greeted().await;
    assert_eq!(held(&hello), [(0, 2)]);
    assert_eq!(owed, [epoch_message(0, 3), epoch_message(0, 4), finished(0, false)]);
    session.acknowledge(0, ACK_END);
    drop(session);
    let (_session, hello, owed) = coordinator.greeted().await;
    assert_eq!((held(&hello), owed), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_revoked_attempt_is_not_heard_of_again() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1, 2]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    session.revoke(0);
    session.revoke(1);
    // The slot is free for the third once the first has left its batch; nothing of the others is said.
    worker.script.tell(2, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(2, 1));
    assert_eq!(worker.script.started(), [0, 2]);
    drop(session);
    let (_session, hello, owed) = coordinator.greeted().await;
    assert_eq!((held(&hello), owed), (vec![(2, 0)], vec![epoch_message(2, 1)]));
    assert_eq!(worker.acknowledged(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stop_after_the_epoch_lets_it_end() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    session.stop(0, true);
    // It waits and is dropped: the answer says that both stops are known.
    session.stop(1, true);
    assert_eq!(session.next().await, finished(1, true));
    worker.script.tell(0, [Do::Epoch, Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    assert_eq!(session.next().await, finished(0, true));
    assert_eq!(worker.script.started(), [0]);
}

#[tokio::test]
async fn a_stop_at_once_does_not_wait_for_the_epoch() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    session.stop(0, false);
    assert_eq!(session.next().await, finished(0, true));
}

#[tokio::test]
async fn bad_ends_are_told_and_the_worker_lives_on() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1, 2]);
    worker.script.tell(0, [Do::Panic]);
    worker.script.tell(1, [Do::End(Outcome::Declined { message: "other data".into() })]);
    let class = FailureClass::OutOfMemory;
    worker.script.tell(2, [Do::End(Outcome::Failed { class, message: "2 GiB".into() })]);
    let failed = |trial, failure: v1::FailureClass, message: &str| {
        From::Failed(v1::Failed { key: wire_key(trial), failure: failure.into(), message: message.into() })
    };
    let panicked = failed(0, v1::FailureClass::Error, "the training panicked: a wheel came off");
    assert_eq!(session.next().await, panicked);
    let declined = From::Declined(v1::Declined { key: wire_key(1), message: "other data".into() });
    assert_eq!(session.next().await, declined);
    assert_eq!(session.next().await, failed(2, v1::FailureClass::OutOfMemory, "2 GiB"));
}

#[tokio::test]
async fn what_is_assigned_again_runs_once() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    session.assign(&[0]);
    worker.script.tell(0, [DONE]);
    assert_eq!(session.next().await, finished(0, false));
    session.assign(&[0]);
    session.assign(&[1]);
    worker.script.tell(1, [DONE]);
    assert_eq!(session.next().await, finished(1, false));
    assert_eq!(worker.script.started(), [0, 1]);
}

#[tokio::test]
async fn heartbeats_come_as_often_as_asked() {
    let mut coordinator = Coordinator::start().await;
    let _worker = Worker::start(coordinator.address);
    let mut session = coordinator.session().await;
    session.hello().await;
    session.say(To::Welcome(v1::Welcome { wire_version: WIRE_VERSION, lease_ms: 15, heartbeat_ms: 5 }));
    let mut beats = 0;
    while beats < 3 {
        let message = timeout(SOON, session.incoming.message()).await.expect("soon").expect("a stream");
        match message.expect("not its end").message.expect("a kind") {
            From::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.device_use, None, "nobody reads");
                beats += 1;
            }
            From::Ready(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_heartbeat_tells_what_was_read_last_and_waits_for_no_reading() {
    let mut coordinator = Coordinator::start().await;
    let (reader, readings) = watch::channel(None);
    let _worker = Worker::start_reading(coordinator.address, readings);
    let mut session = coordinator.session().await;
    session.hello().await;
    session.say(To::Welcome(v1::Welcome { wire_version: WIRE_VERSION, lease_ms: 15, heartbeat_ms: 5 }));
    let read = |memory_used, utilization| DeviceUse { memory_used, memory_total: 9, utilization };
    for reading in [None, Some(read(1, None)), Some(read(7, Some(0.5)))] {
        reader.send_replace(reading);
        let expected = reading.map(foldwise_proto::convert::device_use);
        // Some may be on their way already; the rest repeats what was read last.
        for same in [false, true] {
            loop {
                let message =
                    timeout(SOON, session.incoming.message()).await.expect("soon").expect("a stream");
                let message = message.expect("not its end").message.expect("a kind");
                let From::Heartbeat(heartbeat) = message else { continue };
                if heartbeat.device_use == expected {
                    break;
                }
                assert!(!same, "{heartbeat:?} after {expected:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_coordinator_that_comes_late_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let worker = Worker::start(listener.local_addr().expect("bound"));
    // Somebody is at the door and hangs up, twice.
    for _ in 0..2 {
        let (connection, _) =
            timeout(SOON, listener.accept()).await.expect("a dial soon").expect("a connection");
        drop(connection);
    }
    let mut coordinator = Coordinator::serve(listener);
    let (session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    drop(worker);
}

#[tokio::test]
async fn patience_can_end() {
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let patience = Patience { give_up_after: Some(Duration::from_millis(5)), ..PATIENCE };
    let error = Worker::start_with(address, None, patience).ended().await.expect_err("nobody is there");
    assert!(matches!(error, AgentError::Session(SessionError::GaveUp { .. })), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn another_wire_version_is_final() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let mut session = coordinator.session().await;
    session.hello().await;
    let refusal = Status::failed_precondition("this coordinator speaks version 2 of the wire");
    session.outgoing.send(Err(refusal)).expect("open");
    let error = worker.ended().await.expect_err("refused");
    assert!(matches!(error, AgentError::Session(SessionError::Refused { .. })), "{error}");
    assert!(error.to_string().ends_with("this coordinator speaks version 2 of the wire"), "{error}");

    let worker = Worker::start(coordinator.address);
    let mut session = coordinator.session().await;
    session.hello().await;
    session.welcome(WIRE_VERSION + 1);
    let error = worker.ended().await.expect_err("refused");
    assert!(matches!(error, AgentError::Session(SessionError::Refused { .. })), "{error}");
}

#[tokio::test]
async fn a_wrong_token_is_final() {
    let coordinator = Coordinator::start().await;
    let worker = Worker::start_with(coordinator.address, Some("Bearer wrong"), PATIENCE);
    let error = worker.ended().await.expect_err("refused");
    assert!(matches!(error, AgentError::Session(SessionError::Refused { .. })), "{error}");
    assert!(error.to_string().contains("the token is wrong"), "{error}");
}

#[tokio::test]
async fn a_drain_ends_epochs_and_waits_for_acknowledgements() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0, 1]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    session.acknowledge(0, ack(1));
    worker.script.is_amid_epoch(0);
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
    assert_eq!(session.next().await, finished(1, true));
    session.assign(&[2]);
    assert_eq!(session.next().await, finished(2, true));
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 2));
    assert_eq!(session.next().await, finished(0, true));
    session.acknowledge(0, ack(2));
    for trial in 0..3 {
        session.acknowledge(trial, ACK_END);
    }
    worker.ended().await.expect("drained");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut coordinator = Coordinator::start().await;
    let worker = Worker::start(coordinator.address);
    let (mut session, _, _) = coordinator.greeted().await;
    session.assign(&[0]);
    worker.script.tell(0, [Do::Epoch]);
    assert_eq!(session.next().await, epoch_message(0, 1));
    worker.script.is_amid_epoch(0);
    worker.shutdown.send(Shutdown::Drain).expect("it runs");
    worker.shutdown.send(Shutdown::Now).expect("it runs");
    let script = Arc::clone(&worker.script);
    assert!(matches!(worker.ended().await, Err(AgentError::Interrupted)));
    assert_eq!(script.state.lock().expect("no panic").interrupted, [0]);
}

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
    worker.script.tell(1, [Do::Store(false)]);
    let started = Instant::now();
    assert_eq!(session.next().await, From::Ready(v1::Ready { slots: 0 }));
    assert_eq!(session.next().await, epoch_message(1, 1));
    session.acknowledge(1, ack(1));
    assert_eq!(session.next().await, finished(1, true));
    worker.ended().await.expect("drained");
    assert!(started.elapsed() < grace + DRAIN + Duration::from_secs(2), "{:?}", started.elapsed());
}
