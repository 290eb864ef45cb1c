//! Artifacts over the wire, in pieces.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use foldwise_engine::scheduler::Event;
use foldwise_proto::convert::{
    ArtifactHeader, ArtifactTracker, artifact_header, artifact_header_from, artifact_request_from,
};
use foldwise_proto::{ARTIFACT_PIECE, v1};
use foldwise_shared::checkpoint::{Checkpoint, is_digest};
use foldwise_shared::ids::Epoch;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::status;
use crate::artifacts::{ArtifactError, Incoming};
use crate::coordinator::{Coordinator, find_study_id};

/// Pieces that are read ahead of a worker that takes its time.
const AHEAD: usize = 2;

/// Artifacts that travel at once, in both directions; who comes later waits.
static TRANSFERS: Semaphore = Semaphore::const_new(64);
/// How long a worker may take for its next piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next piece, if it comes in time.
async fn next(chunks: &mut Streaming<v1::ArtifactChunk>) -> Result<Option<v1::ArtifactChunk>, Status> {
    let chunk = tokio::time::timeout(PATIENCE, chunks.message()).await;
    chunk.unwrap_or_else(|_| Err(status::late_piece(PATIENCE))).map_err(status::from_sender)
}

/// Refuses, before anything is written, what nobody could go on from.
async fn check_holder(coordinator: &Coordinator, header: &ArtifactHeader) -> Result<(), Status> {
    let (incarnation, key, database) = (header.incarnation.clone(), header.key, coordinator.database());
    blocking(move || {
        let reader = crate::store::Reader::open(&database)?;
        if reader.runs(&incarnation, key)? {
            return Ok(());
        }
        Err(ArtifactError::NotYours(format!("{key} is over, or another worker has it now")))
    })
    .await
}

/// Stores a checkpoint and has it recorded; then only it is answered.
pub(super) async fn put(
    coordinator: &Coordinator,
    mut chunks: Streaming<v1::ArtifactChunk>,
) -> Result<(), Status> {
    let _place = TRANSFERS.acquire().await.map_err(|_| status::broken())?;
    let header = artifact_header_from(next(&mut chunks).await?).map_err(|error| status::from_wire(&error))?;
    check_holder(coordinator, &header).await?;
    let Checkpoint { digest, bytes, .. } = header.checkpoint.clone();
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
        let ArtifactHeader { incarnation, key, checkpoint } = header;
        match coordinator.request(Event::Checkpoint { incarnation, key, checkpoint }).await {
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

/// The checkpoint that an attempt goes on from, for the worker that holds it: whoever asks for another has
/// misunderstood, and hears so before anything is sent.
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
        let reader = crate::store::Reader::open(&database)?;
        let found = reader.checkpoint_for(&wanted.incarnation, wanted.key, &wanted.digest)?;
        let Some((epoch, recorded)) = found else {
            return Err(ArtifactError::NotYours(format!(
                "{} is no running attempt of this worker that goes on from the artifact {}",
                wanted.key, wanted.digest
            )));
        };
        let (file, found) = artifacts.open(&wanted.digest)?;
        if found != recorded {
            return Err(ArtifactError::Length { digest: wanted.digest, found, recorded });
        }
        let checkpoint = Checkpoint { epoch: Epoch(epoch), digest: wanted.digest, bytes: recorded };
        Ok((ArtifactHeader { incarnation: wanted.incarnation, key: wanted.key, checkpoint }, file))
    })
    .await?;
    let digest = header.checkpoint.digest.clone();
    spawn_blocking(move || {
        let _place = place;
        // A worker that is gone wants nothing more.
        if sender.blocking_send(Ok(artifact_header(header))).is_ok() {
            let part = |piece| v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Data(piece)) };
            send_pieces(file, digest, &sender, part);
        }
    });
    Ok(ReceiverStream::new(receiver))
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
    let place = TRANSFERS.acquire().await.map_err(|_| status::broken())?;
    let (name, wanted) = (study.clone(), digest.clone());
    let recorded = coordinator.read(move |reader| {
        let study = find_study_id(reader, &name)?;
        Ok(reader.artifact_bytes(study, &wanted)?)
    });
    let recorded = recorded.await.map_err(status::from_coordinator)?;
    let recorded = recorded.ok_or_else(|| status::no_artifact(&study, &digest))?;
    let (artifacts, wanted) = (coordinator.artifacts().clone(), digest.clone());
    let file = blocking(move || {
        let (file, found) = artifacts.open(&wanted)?;
        match found == recorded {
            true => Ok(file),
            false => Err(ArtifactError::Length { digest: wanted, found, recorded }),
        }
    })
    .await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        let _place = place;
        send_pieces(file, digest, &sender, |data| v1::ArtifactPiece { data });
    });
    Ok(ReceiverStream::new(receiver))
}

/// Reads a file to its end, piece by piece, for a receiver that takes them; one that is gone wants nothing more.
fn send_pieces<T>(
    mut file: File,
    digest: String,
    sender: &mpsc::Sender<Result<T, Status>>,
    part: impl Fn(Vec<u8>) -> T,
) {
    loop {
        let mut piece = Vec::new();
        match (&mut file).take(ARTIFACT_PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => return,
            Ok(_) => {
                if sender.blocking_send(Ok(part(piece))).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => {
                let error = status::from_artifact(ArtifactError::Unreadable { digest, source });
                let _ = sender.blocking_send(Err(error));
                return;
            }
        }
    }
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
