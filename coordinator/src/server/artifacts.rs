//! Artifacts over the wire, in pieces.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use foldwise_engine::scheduler::Event;
use foldwise_proto::convert::{
    ArtifactHeader, ArtifactRequest, ArtifactTracker, WireError, artifact_header, artifact_header_from,
    artifact_request_from,
};
use foldwise_proto::v1::model_chunk;
use foldwise_proto::{ARTIFACT_PIECE, v1};
use foldwise_shared::artifact::{Artifact, MODEL, ResultFile, Upload};
use foldwise_shared::checkpoint::{Checkpoint, is_digest};
use foldwise_shared::ids::Epoch;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::status;
use crate::artifacts::{ArtifactError, Artifacts, Incoming};
use crate::coordinator::{Coordinator, find_study_id};
use crate::model_file::ModelFile;
use crate::store::Reader;

/// Pieces that are read ahead of a worker that takes its time.
const AHEAD: usize = 2;

/// Artifacts that travel at once, in both directions; who comes later waits.
static TRANSFERS: Semaphore = Semaphore::const_new(64);
/// Those that travel to people at once: a page that is read slowly takes no place from a worker.
static FETCHES: Semaphore = Semaphore::const_new(16);
/// How long a sender may take for its next piece, and a reader to take one.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next piece, if it comes in time.
async fn next<T>(chunks: &mut Streaming<T>) -> Result<Option<T>, Status> {
    let chunk = tokio::time::timeout(PATIENCE, chunks.message()).await;
    chunk.unwrap_or_else(|_| Err(status::late_piece(PATIENCE))).map_err(status::from_sender)
}

/// Passes on a piece, from a thread that may wait. Not taken in time is as good as gone: who reads nothing keeps no place.
fn send_in_time<T>(sender: &mpsc::Sender<T>, piece: T, patience: Duration) -> bool {
    let sent = Handle::current().block_on(async { tokio::time::timeout(patience, sender.send(piece)).await });
    matches!(sent, Ok(Ok(())))
}

/// Refuses, before anything is written, what nobody could go on from.
async fn check_holder(coordinator: &Coordinator, header: &ArtifactHeader) -> Result<(), Status> {
    let (incarnation, key, database) = (header.incarnation.clone(), header.key, coordinator.database());
    blocking(move || {
        let reader = Reader::open(&database)?;
        if reader.runs(&incarnation, key)? {
            return Ok(());
        }
        Err(ArtifactError::NotYours(format!("{key} is over, or another worker has it now")))
    })
    .await
}

/// Stores a checkpoint or a result and has it recorded; then only it is answered.
pub(super) async fn put(
    coordinator: &Coordinator,
    mut chunks: Streaming<v1::ArtifactChunk>,
) -> Result<(), Status> {
    let _place = TRANSFERS.acquire().await.map_err(|_| status::broken())?;
    let header = artifact_header_from(next(&mut chunks).await?).map_err(|error| status::from_wire(&error))?;
    check_holder(coordinator, &header).await?;
    let Artifact { digest, bytes } = header.upload.file();
    let artifacts = coordinator.artifacts().clone();
    let mut incoming = blocking(move || artifacts.receive(&digest, bytes)).await?;
    let mut tracker = ArtifactTracker::new(bytes);
    while let Some(chunk) = next(&mut chunks).await? {
        let piece = tracker.take(chunk).map_err(|error| status::from_wire(&error))?;
        incoming = blocking(move || write(incoming, &piece)).await?;
    }
    tracker.finish().map_err(|error| status::from_wire(&error))?;

    // To its end even if the caller leaves: what the loop decides must find the file, or nothing may be left of it.
    let coordinator = coordinator.clone();
    let settled = tokio::spawn(async move {
        let arrived = blocking(move || incoming.finish()).await?;
        let ArtifactHeader { incarnation, key, upload } = header;
        let event = match upload {
            Upload::Checkpoint(checkpoint) => Event::Checkpoint { incarnation, key, checkpoint },
            Upload::Result(result) => Event::Result { incarnation, key, result, before: None },
        };
        match coordinator.request(event).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // A task that panicked leaves it for the next start.
                let _ = spawn_blocking(move || arrived.withdraw()).await;
                Err(status::from_coordinator(error))
            }
        }
    });
    settled.await.map_err(|_| status::broken())?
}

fn write(mut incoming: Incoming, piece: &[u8]) -> Result<Incoming, ArtifactError> {
    incoming.write(piece)?;
    Ok(incoming)
}

/// The checkpoint that an attempt goes on from or the model that its study starts from, for the worker that holds it: whoever
/// asks for another has misunderstood, and hears so before anything is sent.
pub(super) async fn get(
    coordinator: &Coordinator,
    request: v1::ArtifactRequest,
) -> Result<ReceiverStream<Result<v1::ArtifactChunk, Status>>, Status> {
    let wanted = artifact_request_from(request).map_err(|error| status::from_wire(&error))?;
    let place = TRANSFERS.acquire().await.map_err(|_| status::broken())?;
    let database = coordinator.database();
    let artifacts = coordinator.artifacts().clone();
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (header, file) = blocking(move || {
        let reader = Reader::open(&database)?;
        let upload = wanted_of(&reader, &wanted)?.ok_or_else(|| {
            ArtifactError::NotYours(format!(
                "{} is no running attempt of this worker that goes on from the artifact {}",
                wanted.key, wanted.digest
            ))
        })?;
        let file = open(&artifacts, upload.file())?;
        Ok((ArtifactHeader { incarnation: wanted.incarnation, key: wanted.key, upload }, file))
    })
    .await?;
    let digest = header.upload.file().digest;
    spawn_blocking(move || {
        let _place = place;
        // A worker that is gone wants nothing more.
        let send = |chunk| send_in_time(&sender, chunk, PATIENCE);
        if !send(Ok(artifact_header(header))) {
            return;
        }
        let chunk = |data| v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Data(data)) };
        send_pieces(file, digest, |piece| send(piece.map(chunk)));
    });
    Ok(ReceiverStream::new(receiver))
}

/// What an attempt may have: the checkpoint that it goes on from, or the model that its study starts from.
fn wanted_of(reader: &Reader, wanted: &ArtifactRequest) -> Result<Option<Upload>, ArtifactError> {
    let ArtifactRequest { incarnation, key, digest } = wanted;
    if let Some((epoch, bytes)) = reader.checkpoint_for(incarnation, *key, digest)? {
        let checkpoint = Checkpoint { epoch: Epoch(epoch), digest: digest.clone(), bytes };
        return Ok(Some(Upload::Checkpoint(checkpoint)));
    }
    let source = reader.source_for(incarnation, *key, digest)?;
    Ok(source.map(|file| Upload::Result(ResultFile { kind: MODEL.into(), epoch: None, file })))
}

/// A file whose length is as recorded.
fn open(artifacts: &Artifacts, recorded: Artifact) -> Result<File, ArtifactError> {
    let Artifact { digest, bytes: recorded } = recorded;
    let (file, found) = artifacts.open(&digest)?;
    if found == recorded { Ok(file) } else { Err(ArtifactError::Length { digest, found, recorded }) }
}

/// Passes on a file in pieces, until `send` says that nobody wants more.
fn send_pieces(mut file: File, digest: String, mut send: impl FnMut(Result<Vec<u8>, Status>) -> bool) {
    loop {
        let mut piece = Vec::new();
        match (&mut file).take(ARTIFACT_PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => return,
            Ok(_) => {
                if !send(Ok(piece)) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => {
                send(Err(status::from_artifact(ArtifactError::Unreadable { digest, source })));
                return;
            }
        }
    }
}

/// Stores a model that somebody brings, for a study that is to start from it. What is none does not stay.
pub(super) async fn put_model(
    coordinator: &Coordinator,
    mut chunks: Streaming<v1::ModelChunk>,
) -> Result<(), Status> {
    let _place = TRANSFERS.acquire().await.map_err(|_| status::broken())?;
    let first = next(&mut chunks).await?.and_then(|chunk| chunk.part);
    let Some(model_chunk::Part::Header(v1::ModelHeader { digest, bytes })) = first else {
        return Err(status::from_wire(&WireError::Missing("header")));
    };
    let artifacts = coordinator.artifacts().clone();
    let wanted = digest.clone();
    let mut incoming = blocking(move || artifacts.receive(&wanted, bytes)).await?;
    let mut tracker = ArtifactTracker::new(bytes);
    while let Some(chunk) = next(&mut chunks).await? {
        let part = match chunk.part {
            Some(model_chunk::Part::Data(data)) => Some(v1::artifact_chunk::Part::Data(data)),
            Some(model_chunk::Part::Header(_)) => Some(v1::artifact_chunk::Part::Header(Default::default())),
            None => None,
        };
        let piece = tracker.take(v1::ArtifactChunk { part }).map_err(|error| status::from_wire(&error))?;
        incoming = blocking(move || write(incoming, &piece)).await?;
    }
    tracker.finish().map_err(|error| status::from_wire(&error))?;
    let artifacts = coordinator.artifacts().clone();
    blocking(move || {
        let arrived = incoming.finish()?;
        let mut content = Vec::new();
        let (mut file, _) = artifacts.open(&digest)?;
        let read = file.read_to_end(&mut content);
        let known = read
            .map_err(|error| error.to_string())
            .and_then(|_| ModelFile::read(content).map(drop).map_err(|error| error.to_string()));
        if let Err(problem) = known {
            arrived.withdraw();
            return Err(ArtifactError::NoModel(problem));
        }
        Ok(())
    })
    .await
}

/// Any artifact of a study but a checkpoint, for whoever may look at it.
pub(super) async fn fetch(
    coordinator: &Coordinator,
    study: String,
    digest: String,
) -> Result<ReceiverStream<Result<v1::ArtifactPiece, Status>>, Status> {
    if !is_digest(&digest) {
        return Err(status::from_artifact(ArtifactError::NoDigest));
    }
    let place = FETCHES.acquire().await.map_err(|_| status::broken())?;
    let (name, wanted) = (study.clone(), digest.clone());
    let recorded = coordinator.read(move |reader| {
        let study = find_study_id(reader, &name)?;
        Ok(reader.artifact_bytes(study, &wanted)?)
    });
    let recorded = recorded.await.map_err(status::from_coordinator)?;
    let bytes = recorded.ok_or_else(|| status::no_artifact(&study, &digest))?;
    let (artifacts, recorded) = (coordinator.artifacts().clone(), Artifact { digest: digest.clone(), bytes });
    let file = blocking(move || open(&artifacts, recorded)).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        let _place = place;
        send_pieces(file, digest, |piece| {
            send_in_time(&sender, piece.map(|data| v1::ArtifactPiece { data }), PATIENCE)
        });
    });
    Ok(ReceiverStream::new(receiver))
}

/// What waits for a disk, on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, Status> {
    let done = spawn_blocking(work).await.map_err(|_| status::broken())?;
    done.map_err(status::from_artifact)
}

#[cfg(test)]
mod tests;
