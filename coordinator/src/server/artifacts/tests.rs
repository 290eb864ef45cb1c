//! Over real sockets, with a worker that the test plays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foldwise_engine::scheduler::{DataInfo, EpochReport, NewStudy, ToWorker, WorkerInfo};
use foldwise_proto::v1::artifact_chunk::Part;
use foldwise_proto::v1::worker_service_client::WorkerServiceClient;
use foldwise_shared::ids::{AttemptKey, SessionId};
use foldwise_shared::spec::parse;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::coordinator::{LoopThread, Options};
use crate::server::Security;
use crate::store::{Reader, Store};

const SOON: Duration = Duration::from_secs(20);

struct Served {
    folder: tempfile::TempDir,
    coordinator: Coordinator,
    address: SocketAddr,
    told: UnboundedReceiver<ToWorker>,
    _thread: LoopThread,
}

/// A worker's process, as the loop sees it: the same incarnation, a stream a number.
async fn greet(coordinator: &Coordinator, incarnation: &str, session: u64) -> UnboundedReceiver<ToWorker> {
    let (sender, told) = mpsc::unbounded_channel();
    let session = SessionId(session);
    coordinator.attach(session, sender).await.expect("it runs");
    let worker =
        WorkerInfo { name: incarnation.into(), incarnation: incarnation.into(), device: "cpu".into() };
    coordinator.tell(Event::Hello { session, worker, held: Vec::new() }).await.expect("it runs");
    coordinator.tell(Event::Ready { session, slots: 1 }).await.expect("it runs");
    told
}

async fn assigned(told: &mut UnboundedReceiver<ToWorker>) -> (AttemptKey, Option<Checkpoint>) {
    loop {
        match timeout(SOON, told.recv()).await.expect("an assignment soon").expect("the loop runs") {
            ToWorker::Assign(assignment) => return (assignment.key, assignment.checkpoint),
            _ => continue,
        }
    }
}

impl Served {
    /// A study with one fold, and the worker `i` that trains it.
    async fn start(options: Options) -> (Self, AttemptKey) {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        let store = Store::open(&database).expect("a database");
        let (coordinator, _thread) = Coordinator::start(store, &database, options).expect("a loop");
        let text = r#"
            version = 1
            study = { name = "s", seed = 3 }
            data = { dataset = "mnist", holdout = 10 }
            model = { network = "lab", latent_dim = 2 }
            train = { epochs = 9 }
            space = { learning_rate = { float = [1e-4, 1e-2], log = true } }
            budget = { trials = 1 }
        "#;
        let spec = parse(text, &[]).expect("a study file");
        let data = DataInfo { images: 20, height: 28, width: 28, ..DataInfo::default() };
        coordinator
            .create(NewStudy { spec, spec_text: text.into(), data, parent: None, source: None })
            .await
            .expect("created");
        let mut told = greet(&coordinator, "i", 1).await;
        let (key, _) = assigned(&mut told).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(crate::server::serve(listener, coordinator.clone(), Security::default()));
        (Self { folder, coordinator, address, told, _thread }, key)
    }

    async fn client(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::connect(format!("http://{}", self.address)).await.expect("served")
    }

    async fn report(&mut self, key: AttemptKey, epoch: u32) {
        let report = EpochReport {
            epoch: Epoch(epoch),
            train_loss: 0.5,
            validation_loss: 0.5,
            learning_rate: 1e-3,
            seconds: 1.0,
            metrics: Default::default(),
        };
        self.coordinator.tell(Event::Epoch { session: SessionId(1), key, report }).await.expect("it runs");
        while !matches!(
            timeout(SOON, self.told.recv()).await.expect("soon"),
            Some(ToWorker::EpochRecorded { epoch: recorded, .. }) if recorded.0 == epoch
        ) {}
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    fn files(&self) -> Vec<String> {
        let folder = self.folder.path().join("a.db.artifacts");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    /// Waits until these are the files; what is discarded goes a moment later.
    async fn until_files(&self, expected: &[&str]) {
        let same = async {
            while self.files() != expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let found = timeout(SOON, same).await;
        assert!(found.is_ok(), "{:?}", self.files());
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header(key: AttemptKey, epoch: u32, content: &[u8]) -> v1::ArtifactHeader {
    let checkpoint = Checkpoint { epoch: Epoch(epoch), digest: digest(content), bytes: content.len() as u64 };
    let upload = Upload::Checkpoint(checkpoint);
    let chunk = artifact_header(ArtifactHeader { incarnation: "i".into(), key, upload });
    let Some(Part::Header(header)) = chunk.part else { panic!("a header") };
    header
}

async fn send(served: &Served, header: v1::ArtifactHeader, content: &[u8]) -> Result<(), Status> {
    let pieces = content.chunks(1000).map(|piece| Part::Data(piece.to_vec()));
    let parts: Vec<_> = std::iter::once(Part::Header(header)).chain(pieces).collect();
    let chunks = parts.into_iter().map(|part| v1::ArtifactChunk { part: Some(part) });
    served.client().await.put_artifact(tokio_stream::iter(chunks.collect::<Vec<_>>())).await.map(|_| ())
}

async fn get(served: &Served, incarnation: &str, key: AttemptKey, digest: &str) -> Result<Vec<u8>, Status> {
    let request = v1::ArtifactRequest {
        incarnation: incarnation.into(),
        key: Some(foldwise_proto::convert::attempt_key(key)),
        digest: digest.into(),
    };
    let mut chunks = served.client().await.get_artifact(request).await?.into_inner();
    let header = artifact_header_from(chunks.message().await?).expect("a header");
    let (mut tracker, mut content) = (ArtifactTracker::new(header.upload.file().bytes), Vec::new());
    while let Some(chunk) = chunks.message().await? {
        content.extend(tracker.take(chunk).expect("a piece"));
    }
    tracker.finish().expect("all of it");
    Ok(content)
}

fn content(epoch: u32) -> Vec<u8> {
    format!("epoch {epoch} ").into_bytes().into_iter().cycle().take(ARTIFACT_PIECE + 77).collect()
}

#[track_caller]
fn refused(sent: Result<impl std::fmt::Debug, Status>, code: Code, words: &str) {
    let status = sent.expect_err(words);
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_stored_replaced_and_given_to_whoever_goes_on() {
    let (mut served, key) = Served::start(Options::default()).await;
    let (one, two) = (content(1), content(2));
    served.report(key, 1).await;
    send(&served, header(key, 1, &one), &one).await.expect("stored");
    assert_eq!(served.files(), [digest(&one)]);
    let reader = Reader::open(&served.database()).expect("a database");
    assert!(reader.refers_to_artifact(&digest(&one)).expect("an answer"));

    served.report(key, 2).await;
    send(&served, header(key, 2, &two), &two).await.expect("stored");
    served.until_files(&[&digest(&two)]).await;
    // Nobody goes on from it yet.
    refused(get(&served, "i", key, &digest(&two)).await, Code::Aborted, "no running attempt");

    // Its process ends, and another's goes on.
    served.coordinator.tell(Event::WorkerDied { name: "i".into() }).await.expect("it runs");
    let (next, start) = assigned(&mut greet(&served.coordinator, "j", 2).await).await;
    let start = start.expect("a checkpoint");
    assert_eq!((next.attempt.0, start.epoch, &start.digest), (2, Epoch(2), &digest(&two)));
    assert_eq!(get(&served, "j", next, &start.digest).await.expect("given"), two);
    refused(get(&served, "i", next, &start.digest).await, Code::Aborted, "no running attempt");
    refused(get(&served, "j", key, &start.digest).await, Code::Aborted, "no running attempt");
    refused(get(&served, "j", next, &digest(&one)).await, Code::Aborted, "no running attempt");
    refused(get(&served, "j", next, "../a.db").await, Code::InvalidArgument, "64 lower-case");
    // Who had it before stores nothing any more.
    refused(send(&served, header(key, 2, &one), &one).await, Code::Aborted, "another worker has it");
    served.until_files(&[&digest(&two)]).await;

    // A file that somebody cut or took away is no checkpoint.
    let file = served.folder.path().join("a.db.artifacts").join(digest(&two));
    std::fs::write(&file, &two[1..]).expect("written");
    refused(get(&served, "j", next, &start.digest).await, Code::DataLoss, "are recorded");
    std::fs::remove_file(&file).expect("removed");
    refused(get(&served, "j", next, &start.digest).await, Code::NotFound, &start.digest);

    // A study that is stopped needs none.
    std::fs::write(&file, &two).expect("written");
    let study = served.coordinator.study("s").await.expect("there").id;
    served.coordinator.tell(Event::StopStudy(study)).await.expect("it runs");
    let done = Event::Finished { session: SessionId(2), key: next, stopped: true };
    served.coordinator.tell(done).await.expect("it runs");
    served.until_files(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    let options = Options { max_artifact: Some(1 << 20), ..Options::default() };
    let (mut served, key) = Served::start(options).await;
    served.report(key, 1).await;
    let good = content(1);
    let said = |change: fn(&mut v1::ArtifactHeader)| {
        let mut header = header(key, 1, &good);
        change(&mut header);
        header
    };
    let client = served.client().await;
    let none = client.clone().put_artifact(tokio_stream::empty()).await;
    refused(none, Code::InvalidArgument, "header");
    let data = v1::ArtifactChunk { part: Some(Part::Data(vec![1])) };
    refused(client.clone().put_artifact(tokio_stream::once(data)).await, Code::InvalidArgument, "header");
    for (header, code, words) in [
        (said(|header| header.digest = digest(b"other")), Code::DataLoss, "what came has the SHA-256"),
        (said(|header| header.digest = "../../a.db".into()), Code::InvalidArgument, "64 lower-case"),
        (said(|header| header.digest.make_ascii_uppercase()), Code::InvalidArgument, "64 lower-case"),
        (said(|header| header.bytes += 1), Code::InvalidArgument, "the header said"),
        (said(|header| header.bytes -= 1), Code::InvalidArgument, "the header said"),
        (said(|header| header.bytes = 0), Code::InvalidArgument, "at least one byte"),
        (said(|header| header.bytes = u64::MAX), Code::InvalidArgument, "at most 1048576"),
        (said(|header| header.incarnation = "j".into()), Code::Aborted, "another worker has it"),
        (said(|header| header.key = None), Code::InvalidArgument, "key"),
        (said(|header| header.epoch = 0), Code::InvalidArgument, "count from 1"),
        (said(|header| header.epoch = 2), Code::OutOfRange, "1 epochs are recorded"),
    ] {
        refused(send(&served, header, &good).await, code, words);
        served.until_files(&[]).await;
    }
    let large = v1::ArtifactChunk { part: Some(Part::Data(vec![1; foldwise_proto::MAX_ARTIFACT_PIECE + 1])) };
    let header_chunk = v1::ArtifactChunk { part: Some(Part::Header(header(key, 1, &good))) };
    let chunks = tokio_stream::iter(vec![header_chunk, large]);
    refused(client.clone().put_artifact(chunks).await, Code::InvalidArgument, "a piece has 1 to");
    served.until_files(&[]).await;

    // A folder that cannot be written, as on a full disk: the coordinator says so, and goes on.
    let folder = served.folder.path().join("a.db.artifacts");
    std::fs::remove_dir(&folder).expect("it is empty");
    std::fs::write(&folder, "in the way").expect("written");
    let sent = send(&served, header(key, 1, &good), &good).await;
    refused(sent, Code::ResourceExhausted, "failed to write an artifact");
    std::fs::remove_file(&folder).expect("removed");
    send(&served, header(key, 1, &good), &good).await.expect("stored");
    served.until_files(&[&digest(&good)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_in_the_middle_leaves_nothing() {
    let (mut served, key) = Served::start(Options::default()).await;
    served.report(key, 1).await;
    let good = content(1);
    let (sender, receiver) = mpsc::channel(4);
    let first = v1::ArtifactChunk { part: Some(Part::Header(header(key, 1, &good))) };
    sender.send(first).await.expect("room");
    let piece = v1::ArtifactChunk { part: Some(Part::Data(good[..100].to_vec())) };
    sender.send(piece).await.expect("room");
    let mut client = served.client().await;
    let call = tokio::spawn(async move { client.put_artifact(ReceiverStream::new(receiver)).await });
    let begun = async {
        while served.files().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, begun).await.expect("a temporary file soon");
    assert!(Path::new(&served.files()[0]).to_string_lossy().contains(".part-"));
    call.abort();
    served.until_files(&[]).await;
    drop(sender);
}
