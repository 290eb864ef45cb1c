//! Artifacts over the wire: each on a connection of its own, so that a large one keeps no report waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldwise_proto::convert::{
    ArtifactHeader, ArtifactRequest, ArtifactTracker, WireError, artifact_header, artifact_header_from,
    artifact_request,
};
use foldwise_proto::{ARTIFACT_PIECE, MAX_ARTIFACT, v1};
use foldwise_shared::artifact::{Artifact, ResultFile, Upload};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::ids::{AttemptKey, Epoch};
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use super::session::{Broken, Target, chain};
use super::work::StartPoint;

/// A file and what it is.
pub(super) struct File {
    upload: Upload,
    content: Arc<[u8]>,
}

impl File {
    /// A checkpoint after this epoch.
    pub fn checkpoint(epoch: Epoch, content: Vec<u8>) -> Self {
        let Artifact { digest, bytes } = named(&content);
        Self { upload: Upload::Checkpoint(Checkpoint { epoch, digest, bytes }), content: content.into() }
    }

    /// A result of this kind.
    pub fn result(kind: String, epoch: Option<Epoch>, content: Vec<u8>) -> Self {
        let file = named(&content);
        Self { upload: Upload::Result(ResultFile { kind, epoch, file }), content: content.into() }
    }
}

fn named(content: &[u8]) -> Artifact {
    Artifact { digest: digest(Sha256::new_with_prefix(content)), bytes: content.len() as u64 }
}

/// A file that an attempt needs before it can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What it goes on from.
    Checkpoint(StartPoint),
    /// The model that its study starts from, by its digest.
    Source(String),
}

impl Wanted {
    /// For people.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint",
            Self::Source(_) => "model to start from",
        }
    }

    fn digest(&self) -> &str {
        match self {
            Self::Checkpoint(point) => &point.digest,
            Self::Source(digest) => digest,
        }
    }

    /// Whether what comes is what was asked for.
    fn is(&self, upload: &Upload) -> bool {
        match (self, upload) {
            (Self::Checkpoint(point), Upload::Checkpoint(checkpoint)) => {
                (point.epoch, &point.digest) == (checkpoint.epoch, &checkpoint.digest)
            }
            (Self::Source(digest), Upload::Result(result)) => *digest == result.file.digest,
            _ => false,
        }
    }
}

fn digest(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why an artifact did not get to where it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The coordinator cannot be reached, or is busy with itself.
    Away(String),
    /// Something went wrong with this one; another try may go well.
    Failed(String),
    /// The coordinator does not want it, or does not give it to this attempt; trying again cannot help.
    Refused(String),
}

impl Trouble {
    pub fn message(&self) -> &str {
        let (Self::Away(message) | Self::Failed(message) | Self::Refused(message)) = self;
        message
    }
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Away(message) => Self::Away(message),
            Broken::Refused(message) | Broken::Untrusted(message) => Self::Refused(message),
        }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let message = match std::error::Error::source(&status) {
            Some(source) => chain(source),
            None => status.message().to_owned(),
        };
        match status.code() {
            Code::DataLoss | Code::ResourceExhausted | Code::NotFound | Code::Internal => {
                Self::Failed(message)
            }
            Code::Aborted
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => Self::Refused(message),
            _ => Self::Away(message),
        }
    }
}

impl From<WireError> for Trouble {
    fn from(error: WireError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Sends and gets artifacts for one worker.
#[derive(Clone)]
pub(super) struct Artifacts {
    target: Arc<Target>,
    incarnation: String,
}

impl Artifacts {
    pub fn new(target: Arc<Target>, incarnation: String) -> Self {
        Self { target, incarnation }
    }

    /// How long to wait for what.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Stores a file of an attempt with the coordinator; `sent` learns how many bytes got on their way, at most in
    /// any try.
    pub async fn put(&self, key: AttemptKey, file: &File, sent: &Arc<AtomicUsize>) -> Result<(), Trouble> {
        let (incarnation, upload) = (self.incarnation.clone(), file.upload.clone());
        let header = artifact_header(ArtifactHeader { incarnation, key, upload });
        let (content, sent) = (Arc::clone(&file.content), Arc::clone(sent));
        let pieces = (0..content.len()).step_by(ARTIFACT_PIECE).map(move |start| {
            let end = content.len().min(start + ARTIFACT_PIECE);
            // One that fails at the same place again and again does not get on.
            sent.fetch_max(end, Ordering::Relaxed);
            v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Data(content[start..end].to_vec())) }
        });
        let chunks = tokio_stream::iter(std::iter::once(header).chain(pieces));
        let request = self.target.request(chunks);
        self.target.client().await?.put_artifact(request).await?;
        Ok(())
    }

    /// A file that an attempt starts from; its length and its digest are as they should be.
    pub async fn get(&self, key: AttemptKey, wanted: &Wanted) -> Result<Vec<u8>, Trouble> {
        let (incarnation, digest_wanted) = (self.incarnation.clone(), wanted.digest());
        let request = ArtifactRequest { incarnation, key, digest: digest_wanted.to_owned() };
        let request = artifact_request(request);
        let request = self.target.request(request);
        let mut chunks = self.target.client().await?.get_artifact(request).await?.into_inner();
        let upload = artifact_header_from(chunks.message().await?)?.upload;
        let Artifact { digest: named, bytes } = upload.file();
        if !wanted.is(&upload) {
            return Err(Trouble::Failed(format!("another one came, {named}")));
        }
        if bytes > MAX_ARTIFACT {
            return Err(Trouble::Refused(format!("it has {bytes} bytes; at most {MAX_ARTIFACT} are taken")));
        }
        let (mut tracker, mut hash, mut content) = (ArtifactTracker::new(bytes), Sha256::new(), Vec::new());
        while let Some(chunk) = chunks.message().await? {
            let data = tracker.take(chunk)?;
            hash.update(&data);
            content.extend(data);
        }
        tracker.finish()?;
        let found = digest(hash);
        if found != digest_wanted {
            return Err(Trouble::Failed(format!("its SHA-256 is {found}, not {digest_wanted}")));
        }
        Ok(content)
    }
}
