//! Over real sockets, with a worker that the test plays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foldwise_engine::scheduler::{DataInfo, EpochReport, NewStudy, ToWorker, WorkerInfo};
use foldwise_proto::v1::artifact_chunk::Part;
use foldwise_proto::v1::study_service_client::StudyServiceClient;
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

mod models;

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

/// A study of one trial with one fold.
const SPEC: &str = r#"
version = 1
study = { name = "s", seed = 3 }
data = { dataset = "mnist", holdout = 10 }
model = { network = "lab", latent_dim = 2 }
train = { epochs = 9 }
space = { learning_rate = { float = [1e-4, 1e-2], log = true } }
budget = { trials = 1 }
"#;

impl Served {
    /// A study with one fold, and the worker `i` that trains it.
    async fn start(options: Options) -> (Self, AttemptKey) {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        let store = Store::open(&database).expect("a database");
        let (coordinator, _thread) = Coordinator::start(store, &database, options).expect("a loop");
        let text = SPEC;
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

fn result_header(key: AttemptKey, kind: &str, epoch: Option<u32>, content: &[u8]) -> v1::ArtifactHeader {
    let file = Artifact { digest: digest(content), bytes: content.len() as u64 };
    let upload = Upload::Result(ResultFile { kind: kind.into(), epoch: epoch.map(Epoch), file });
    let chunk = artifact_header(ArtifactHeader { incarnation: "i".into(), key, upload });
    let Some(Part::Header(header)) = chunk.part else { panic!("a header") };
    header
}

async fn result(served: &Served, study: &str, digest: &str) -> Result<Vec<u8>, Status> {
    let mut client = StudyServiceClient::connect(format!("http://{}", served.address)).await.expect("served");
    let request = v1::FetchArtifactRequest { study: study.into(), digest: digest.into() };
    let mut chunks = client.fetch_artifact(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        content.extend(chunk.data);
    }
    Ok(content)
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
async fn results_are_stored_listed_and_read_and_go_with_their_study() {
    let options = Options { max_artifact: Some(1 << 20), ..Options::default() };
    let (mut served, key) = Served::start(options).await;
    let (first, second, model) = (content(1), content(2), content(3));
    // Before any epoch there is none after it.
    let early = send(&served, result_header(key, "reconstruction", Some(1), &first), &first).await;
    refused(early, Code::OutOfRange, "0 epochs are recorded");
    served.until_files(&[]).await;
    served.report(key, 1).await;
    send(&served, result_header(key, "reconstruction", Some(1), &first), &first).await.expect("stored");
    send(&served, result_header(key, "model", None, &model), &model).await.expect("stored");
    // A newer one takes the place of the one before, whose file goes.
    send(&served, result_header(key, "reconstruction", Some(1), &second), &second).await.expect("stored");
    let mut both = [digest(&second), digest(&model)];
    both.sort();
    served.until_files(&both.each_ref().map(String::as_str)).await;
    for (header, code, words) in [
        (
            v1::ArtifactHeader { kind: "../x".into(), ..result_header(key, "model", None, &first) },
            Code::InvalidArgument,
            "no kind of result",
        ),
        (
            v1::ArtifactHeader { kind: "source".into(), ..result_header(key, "model", None, &first) },
            Code::InvalidArgument,
            "no kind of result",
        ),
        (
            v1::ArtifactHeader { incarnation: "j".into(), ..result_header(key, "model", None, &first) },
            Code::Aborted,
            "another worker has it",
        ),
        (
            v1::ArtifactHeader { bytes: 2 << 20, ..result_header(key, "model", None, &first) },
            Code::InvalidArgument,
            "at most 1048576",
        ),
    ] {
        refused(send(&served, header, &first).await, code, words);
    }

    let mut client = StudyServiceClient::connect(format!("http://{}", served.address)).await.expect("served");
    let request = v1::ListArtifactsRequest { study: "s".into(), limit: 0, offset: 0 };
    let listed = client.list_artifacts(request).await.expect("listed").into_inner().artifacts;
    let listed: Vec<_> =
        listed.iter().map(|row| (row.kind.as_str(), row.epoch, row.digest.clone())).collect();
    assert_eq!(listed, [("model", None, digest(&model)), ("reconstruction", Some(1), digest(&second))]);
    assert_eq!(result(&served, "s", &digest(&model)).await.expect("given"), model);
    refused(result(&served, "s", &digest(&first)).await, Code::NotFound, "has no artifact");
    refused(result(&served, "s", "../a.db").await, Code::InvalidArgument, "64 lower-case");
    refused(result(&served, "t", &digest(&model)).await, Code::NotFound, "no study named `t`");
    // It is no checkpoint, and no worker gets it as one.
    refused(get(&served, "i", key, &digest(&model)).await, Code::Aborted, "no running attempt");

    // They outlive their fold and their study's end, and go with the study.
    let study = served.coordinator.study("s").await.expect("there").id;
    served.coordinator.tell(Event::StopStudy(study)).await.expect("it runs");
    let done = Event::Finished { session: SessionId(1), key, stopped: true };
    served.coordinator.tell(done).await.expect("it runs");
    assert_eq!(result(&served, "s", &digest(&model)).await.expect("given"), model);
    let late = send(&served, result_header(key, "model", None, &first), &first).await;
    refused(late, Code::Aborted, "another worker has it");
    served.until_files(&both.each_ref().map(String::as_str)).await;
    let delete = Event::DeleteStudy { study, force: false, artifacts: Vec::new() };
    served.coordinator.request(delete).await.expect("deleted");
    served.until_files(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_a_study_starts_from_is_its_workers_to_have_and_stays() {
    let (mut served, key) = Served::start(Options::default()).await;
    let model = content(3);
    let named = digest(&model);
    send(&served, result_header(key, "model", None, &model), &model).await.expect("stored");
    let fit = served.coordinator.study("s").await.expect("there").id;
    served.coordinator.tell(Event::StopStudy(fit)).await.expect("it runs");
    let done = Event::Finished { session: SessionId(1), key, stopped: true };
    served.coordinator.tell(done).await.expect("it runs");

    let text = SPEC.replace("name = \"s\"", "name = \"t\"");
    let spec = parse(&text, &[]).expect("a study file");
    let data = DataInfo { images: 20, height: 28, width: 28, ..DataInfo::default() };
    let source = Some(Artifact { digest: named.clone(), bytes: model.len() as u64 });
    let study = NewStudy { spec, spec_text: text, data, parent: Some(fit), source };
    let created = served.coordinator.create(study.clone()).await.expect("created");
    assert_eq!(created.parent.as_deref(), Some("s"));
    let (next, _) = assigned(&mut served.told).await;
    assert_eq!(next.study, created.id);
    assert_eq!(get(&served, "i", next, &named).await.expect("given"), model);
    refused(get(&served, "j", next, &named).await, Code::Aborted, "no running attempt");
    refused(get(&served, "i", key, &named).await, Code::Aborted, "no running attempt");
    refused(get(&served, "i", next, &digest(b"other")).await, Code::Aborted, "no running attempt");

    // The study that it came from goes, and its model stays for as long as somebody starts from it.
    let delete = |study| Event::DeleteStudy { study, force: true, artifacts: Vec::new() };
    served.coordinator.request(delete(fit)).await.expect("deleted");
    let orphan = served.coordinator.study("t").await.expect("there");
    assert_eq!(orphan.parent, None);
    assert_eq!(get(&served, "i", next, &named).await.expect("given"), model);
    assert_eq!(result(&served, "t", &named).await.expect("given"), model);
    served.until_files(&[&named]).await;
    served.coordinator.request(delete(created.id)).await.expect("deleted");
    served.until_files(&[]).await;
    let gone = NewStudy { parent: Some(created.id), ..study };
    let error = served.coordinator.create(gone).await.expect_err("its parent is gone").to_string();
    assert!(error.contains("there is no study"), "{error}");
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

#[tokio::test]
async fn whoever_does_not_read_keeps_no_thread() {
    let (sender, mut receiver) = mpsc::channel(1);
    let sent = spawn_blocking(move || {
        let send = |piece| send_in_time(&sender, piece, Duration::from_millis(20));
        (send(1), send(2), sender)
    });
    let (first, second, sender) = timeout(SOON, sent).await.expect("it gives up").expect("no panic");
    assert_eq!((first, second), (true, false));
    assert_eq!(receiver.recv().await, Some(1));
    drop(receiver);
    let sent = spawn_blocking(move || send_in_time(&sender, 3, SOON * 10));
    assert!(!timeout(SOON, sent).await.expect("at once").expect("no panic"));
}
