//! The coordinator that a test plays, over a real socket.

use super::*;

pub struct Coordinator {
    pub address: SocketAddr,
    pub sessions: UnboundedReceiver<CoordinatorSession>,
    pub artifacts: Arc<Mutex<Shelf>>,
}

/// The artifacts of the coordinator.
#[derive(Default)]
pub struct Shelf {
    /// What was stored: the attempt's trial, the epoch and the content.
    pub stored: Vec<(u32, u32, Vec<u8>)>,
    /// What is answered to the next uploads, instead of storing them.
    pub answers: Vec<Status>,
    /// How often something was asked for.
    pub asked: u32,
    /// Results, each with its trial, its kind and its epoch.
    pub results: Vec<(u32, String, Option<u32>, Vec<u8>)>,
    /// The digest of what is given as a model; everything else is a checkpoint.
    pub source: Option<String>,
    /// What is given to whoever asks, with the digest that is said, or what is answered instead.
    pub gives: Option<Result<(String, Vec<u8>), Status>>,
}

/// The coordinator's end of one stream. Dropping it ends the stream.
pub struct CoordinatorSession {
    pub token: Option<String>,
    pub incoming: Streaming<v1::FromWorker>,
    pub outgoing: UnboundedSender<Result<v1::ToWorker, Status>>,
}

pub struct Service(UnboundedSender<CoordinatorSession>, Arc<Mutex<Shelf>>);

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
        let (mut tracker, mut content) = (ArtifactTracker::new(header.upload.file().bytes), Vec::new());
        while let Some(chunk) = chunks.message().await? {
            content.extend(tracker.take(chunk).expect("a piece"));
        }
        tracker.finish().expect("all of it");
        assert_eq!(header.upload.file().digest, digest(&content));
        let mut shelf = self.1.lock().expect("no panic");
        if !shelf.answers.is_empty() {
            return Err(shelf.answers.remove(0));
        }
        match header.upload {
            Upload::Checkpoint(checkpoint) => {
                shelf.stored.push((header.key.trial.0, checkpoint.epoch.0, content));
            }
            Upload::Result(result) => {
                let epoch = result.epoch.map(|epoch| epoch.0);
                shelf.results.push((header.key.trial.0, result.kind, epoch, content));
            }
        }
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
        let bytes = content.len() as u64;
        let upload = match shelf.source.as_ref().filter(|source| **source == request.digest) {
            Some(_) => {
                let file = Artifact { digest, bytes };
                Upload::Result(ResultFile { kind: "model".into(), epoch: None, file })
            }
            None => Upload::Checkpoint(Checkpoint { epoch: Epoch(2), digest, bytes }),
        };
        let header = artifact_header(ArtifactHeader { incarnation: "i".into(), key: request.key, upload });
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
    pub async fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("bound");
        let (sender, sessions) = unbounded_channel();
        let artifacts = Arc::new(Mutex::new(Shelf::default()));
        let service = Service(sender, Arc::clone(&artifacts));
        let server = tonic::transport::Server::builder().add_service(WorkerServiceServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions, artifacts }
    }

    pub fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.artifacts.lock().expect("no panic")
    }

    /// Waits until so many checkpoints are stored; gives their trials and epochs.
    pub async fn stored(&self, count: usize) -> Vec<(u32, u32)> {
        let enough = async {
            while self.shelf().stored.len() < count {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, enough).await.expect("checkpoints soon");
        self.shelf().stored.iter().map(|(trial, epoch, _)| (*trial, *epoch)).collect()
    }

    /// Waits until so many results are stored; gives their kinds and epochs.
    pub async fn results(&self, count: usize) -> Vec<(String, Option<u32>)> {
        let enough = async {
            while self.shelf().results.len() < count {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, enough).await.expect("results soon");
        self.shelf().results.iter().map(|(_, kind, epoch, _)| (kind.clone(), *epoch)).collect()
    }

    pub async fn session(&mut self) -> CoordinatorSession {
        timeout(SOON, self.sessions.recv()).await.expect("a stream soon").expect("served")
    }

    /// A stream whose hello is answered, up to its Ready; with what was held and what was sent again.
    pub async fn greeted(&mut self) -> (CoordinatorSession, v1::Hello, Vec<From>) {
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
    pub async fn next(&mut self) -> From {
        loop {
            let message = timeout(SOON, self.incoming.message()).await.expect("a message soon");
            match message.expect("a stream").expect("not its end").message.expect("a kind") {
                From::Heartbeat(_) => {}
                message => return message,
            }
        }
    }

    pub async fn hello(&mut self) -> v1::Hello {
        let From::Hello(hello) = self.next().await else { panic!("the first message is no hello") };
        hello
    }

    pub fn say(&self, message: To) {
        self.outgoing.send(Ok(v1::ToWorker { message: Some(message) })).expect("the stream is open");
    }

    pub fn welcome(&self, wire_version: u32) {
        self.say(To::Welcome(v1::Welcome { wire_version, lease_ms: 30_000, heartbeat_ms: 10_000 }));
    }

    /// As [`Self::assign`], of a study that starts from a model.
    pub fn assign_with_source(&self, trial: u32, source: &str) {
        let task = v1::FoldTask { key: wire_key(trial), ..Default::default() };
        let folds = v1::TrainFolds { tasks: vec![task], source: source.into(), ..Default::default() };
        self.say(To::Assign(v1::Assign { work: Some(v1::assign::Work::TrainFolds(folds)) }));
    }

    pub fn assign(&self, trials: &[u32]) {
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
    pub fn assign_from(&self, trial: u32, digest: &str) {
        let task = v1::FoldTask {
            key: wire_key(trial),
            start_epoch: 2,
            checkpoint: digest.to_owned(),
            ..Default::default()
        };
        let folds = v1::TrainFolds { tasks: vec![task], ..Default::default() };
        self.say(To::Assign(v1::Assign { work: Some(v1::assign::Work::TrainFolds(folds)) }));
    }

    pub fn acknowledge(&self, trial: u32, what: v1::ack::What) {
        self.say(To::Ack(v1::Ack { key: wire_key(trial), what: Some(what) }));
    }

    pub fn stop(&self, trial: u32, after_epoch: bool) {
        self.say(To::Stop(v1::Stop { key: wire_key(trial), after_epoch }));
    }

    pub fn revoke(&self, trial: u32) {
        self.say(To::Revoked(v1::Revoked { key: wire_key(trial) }));
    }
}

pub fn wire_key(trial: u32) -> Option<v1::AttemptKey> {
    Some(foldwise_proto::convert::attempt_key(key(trial)))
}

pub fn epoch_message(trial: u32, epoch: u32) -> From {
    From::Epoch(v1::EpochReport {
        key: wire_key(trial),
        epoch,
        train_loss: 0.5,
        validation_loss: 1.0 / f64::from(epoch),
        learning_rate: 1e-3,
        seconds: 0.0,
        metrics: BTreeMap::new(),
    })
}

pub fn finished(trial: u32, stopped: bool) -> From {
    From::Finished(v1::Finished { key: wire_key(trial), stopped })
}

pub fn held(hello: &v1::Hello) -> Vec<(u32, u32)> {
    let held = hello.held.iter();
    held.map(|held| (held.key.as_ref().expect("a key").trial, held.acknowledged_epoch)).collect()
}
