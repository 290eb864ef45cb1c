//! The worker's side of the wire: one stream a worker, turned into events and back.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldwise_engine::scheduler::{Assignment, EpochReport, Event, LEASE_HOLDER, ToWorker, WorkerInfo};
use foldwise_proto::convert::{
    WireError, attempt_key, attempt_key_from, check_name, clean_message, device_use_from, failure_from,
    metrics_from, params, value_from,
};
use foldwise_proto::v1::ack::What;
use foldwise_proto::v1::from_worker::Message as From;
use foldwise_proto::v1::to_worker::Message as To;
use foldwise_proto::v1::{self, worker_service_server::WorkerService};
use foldwise_proto::{MAX_HELD, MAX_SLOTS, WIRE_VERSION};
use foldwise_shared::ids::{AttemptKey, Epoch, SessionId};
use foldwise_shared::spec::StudySpec;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::accept::Peer;
use super::refused::{Refused, refused};
use super::{artifacts, status};
use crate::coordinator::Coordinator;

/// How long a worker may take to its first message.
const HELLO: Duration = Duration::from_secs(10);

/// `WorkerService` over a coordinator.
#[derive(Clone)]
pub struct Workers {
    coordinator: Coordinator,
    sessions: Arc<AtomicU64>,
}

impl Workers {
    pub(super) fn new(coordinator: Coordinator) -> Self {
        Self { coordinator, sessions: Arc::new(AtomicU64::new(1)) }
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::ToWorker, Status>> + Send>>;
    type GetArtifactStream = ReceiverStream<Result<v1::ArtifactChunk, Status>>;

    async fn put_artifact(
        &self,
        request: Request<Streaming<v1::ArtifactChunk>>,
    ) -> Result<Response<v1::ArtifactStored>, Status> {
        artifacts::put(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(v1::ArtifactStored {}))
    }

    async fn get_artifact(
        &self,
        request: Request<v1::ArtifactRequest>,
    ) -> Result<Response<Self::GetArtifactStream>, Status> {
        artifacts::get(&self.coordinator, request.into_inner()).await.map(Response::new)
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let from = request.extensions().get::<Peer>().map(Peer::ip);
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HELLO, messages.message()).await;
        let first = first.map_err(|_| status::late_hello(HELLO))??;
        let Some(From::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(status::no_hello());
        };
        if hello.wire_version != WIRE_VERSION {
            return Err(status::wrong_wire_version(hello.wire_version));
        }
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let wrong = |error: WireError| {
            refused(Refused::Message, from, &error.to_string());
            status::from_wire(&error)
        };
        let slots = slots(hello.slots).map_err(wrong)?;
        let hello = hello_event(session, hello).map_err(wrong)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let coordinator = self.coordinator.clone();
        // On a task of its own, which ends with SessionClosed even if the caller leaves at once.
        let session_task = async move {
            let begun = async {
                coordinator.attach(session, sender).await?;
                coordinator.tell(hello).await?;
                coordinator.tell(Event::Ready { session, slots }).await
            };
            let ended = match begun.await {
                Ok(()) => forward(session, messages, &coordinator, from).await,
                Err(error) => Err(status::from_coordinator(error)),
            };
            if let Err(error) = ended {
                tracing::debug!(session = session.0, %error, "a worker's stream ended");
            }
            // If the loop is gone as well, there is nobody left to tell.
            drop(coordinator.tell(Event::SessionClosed { session }).await);
        };
        // In the span of the request, so that its id stands in what is logged about the stream.
        tokio::spawn(session_task.in_current_span());
        let answers = UnboundedReceiverStream::new(receiver).map(|message| Ok(to_wire(message)));
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Passes on what a worker says, until its stream ends.
async fn forward(
    session: SessionId,
    mut messages: Streaming<v1::FromWorker>,
    coordinator: &Coordinator,
    from: Option<IpAddr>,
) -> Result<(), Status> {
    while let Some(message) = messages.message().await? {
        let event = event(session, message).map_err(|error| {
            refused(Refused::Message, from, &error.to_string());
            status::from_wire(&error)
        })?;
        coordinator.tell(event).await.map_err(status::from_coordinator)?;
    }
    Ok(())
}

fn slots(wire: u32) -> Result<u32, WireError> {
    if wire > MAX_SLOTS {
        return Err(WireError::wrong("slots", format!("{wire} are too many; at most {MAX_SLOTS}")));
    }
    Ok(wire)
}

fn hello_event(session: SessionId, hello: v1::Hello) -> Result<Event, WireError> {
    for (field, text) in
        [("name", &hello.name), ("incarnation", &hello.incarnation), ("device", &hello.device)]
    {
        check_name(field, text)?;
    }
    if hello.incarnation.starts_with(LEASE_HOLDER) {
        return Err(WireError::wrong("incarnation", format!("it must not begin with `{LEASE_HOLDER}`")));
    }
    if hello.held.len() > MAX_HELD {
        let message = format!("{} attempts are too many; at most {MAX_HELD}", hello.held.len());
        return Err(WireError::wrong("held", message));
    }
    let held = hello.held.into_iter().map(|held| attempt_key_from(held.key)).collect::<Result<_, _>>()?;
    let worker = WorkerInfo { name: hello.name, incarnation: hello.incarnation, device: hello.device };
    Ok(Event::Hello { session, worker, held })
}

fn event(session: SessionId, message: v1::FromWorker) -> Result<Event, WireError> {
    Ok(match message.message.ok_or(WireError::Missing("message"))? {
        From::Hello(_) => return Err(WireError::wrong("hello", "a session has one, at its start")),
        From::Ready(ready) => Event::Ready { session, slots: slots(ready.slots)? },
        From::Heartbeat(heartbeat) => {
            Event::Heartbeat { session, device_use: heartbeat.device_use.map(device_use_from).transpose()? }
        }
        From::Epoch(epoch) => Event::Epoch {
            session,
            key: attempt_key_from(epoch.key)?,
            report: EpochReport {
                epoch: Epoch(epoch.epoch),
                train_loss: epoch.train_loss,
                validation_loss: epoch.validation_loss,
                learning_rate: epoch.learning_rate,
                seconds: epoch.seconds,
                metrics: metrics_from(epoch.metrics)?,
            },
        },
        From::Derived(derived) => {
            check_name("name", &derived.name)?;
            let (key, value) = (attempt_key_from(derived.key)?, value_from(derived.value)?);
            Event::Derived { session, key, name: derived.name, value }
        }
        From::Phase(phase) => {
            check_name("name", &phase.name)?;
            Event::Phase { session, key: attempt_key_from(phase.key)?, name: phase.name }
        }
        From::Finished(finished) => {
            Event::Finished { session, key: attempt_key_from(finished.key)?, stopped: finished.stopped }
        }
        From::Failed(failed) => Event::Failed {
            session,
            key: attempt_key_from(failed.key)?,
            class: failure_from(failed.failure)?,
            message: clean_message(failed.message),
        },
        From::Declined(declined) => {
            let message = clean_message(declined.message);
            Event::Declined { session, key: attempt_key_from(declined.key)?, message }
        }
    })
}

fn to_wire(message: ToWorker) -> v1::ToWorker {
    let key = |key: AttemptKey| Some(attempt_key(key));
    let message = match message {
        ToWorker::Welcome { lease_ms, heartbeat_ms } => {
            To::Welcome(v1::Welcome { wire_version: WIRE_VERSION, lease_ms, heartbeat_ms })
        }
        ToWorker::Assign(assignment) => To::Assign(assign(*assignment)),
        ToWorker::Stop { key: stopped, after_epoch } => To::Stop(v1::Stop { key: key(stopped), after_epoch }),
        ToWorker::EpochRecorded { key: recorded, epoch } => {
            To::Ack(v1::Ack { key: key(recorded), what: Some(What::Epoch(epoch.0)) })
        }
        ToWorker::ParamRecorded { key: recorded, name } => {
            To::Ack(v1::Ack { key: key(recorded), what: Some(What::Param(name)) })
        }
        ToWorker::EndRecorded { key: recorded } => {
            To::Ack(v1::Ack { key: key(recorded), what: Some(What::End(true)) })
        }
        ToWorker::Revoked { key: revoked } => To::Revoked(v1::Revoked { key: key(revoked) }),
    };
    v1::ToWorker { message: Some(message) }
}

fn assign(assignment: Assignment) -> v1::Assign {
    let task = v1::FoldTask {
        key: Some(attempt_key(assignment.key)),
        params: params(&assignment.params),
        seed: assignment.seed,
        start_epoch: assignment.start_epoch().0,
        checkpoint: assignment.checkpoint.map(|checkpoint| checkpoint.digest).unwrap_or_default(),
    };
    let work = v1::TrainFolds {
        lease: assignment.lease.0,
        tasks: vec![task],
        spec: assignment.spec.to_json(),
        data_digest: assignment.data.data_digest.clone(),
        splits_digest: assignment.data.splits_digest.clone(),
        images: assignment.data.images,
        source: source(&assignment.spec),
    };
    v1::Assign { work: Some(v1::assign::Work::TrainFolds(work)) }
}

/// The digest of the model that a study starts from; empty if it starts from none.
fn source(spec: &StudySpec) -> String {
    spec.source_model().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> v1::Hello {
        v1::Hello {
            wire_version: WIRE_VERSION,
            name: "w0".into(),
            incarnation: "1".into(),
            device: "cpu".into(),
            slots: 1,
            ..v1::Hello::default()
        }
    }

    #[test]
    fn a_worker_that_asks_too_much_is_refused_in_words() {
        let held = v1::Held {
            key: Some(v1::AttemptKey { study: 1, trial: 0, fold: 0, attempt: 1 }),
            acknowledged_epoch: 0,
        };
        assert!(hello_event(SessionId(1), hello()).is_ok());
        assert!(hello_event(SessionId(1), v1::Hello { held: vec![held; MAX_HELD], ..hello() }).is_ok());
        for (hello, words) in [
            (v1::Hello { name: "n".repeat(257), ..hello() }, ["`name`", "257 bytes; use 1 to 256"]),
            (v1::Hello { name: "a\u{1b}[2J".into(), ..hello() }, ["`name`", "control character"]),
            (v1::Hello { incarnation: String::new(), ..hello() }, ["`incarnation`", "0 bytes"]),
            (v1::Hello { device: "c\0".into(), ..hello() }, ["`device`", "control character"]),
            (
                v1::Hello { held: vec![held; MAX_HELD + 1], ..hello() },
                ["`held`", "1025 attempts are too many"],
            ),
        ] {
            let error = hello_event(SessionId(1), hello).expect_err("refused").to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        assert!(slots(MAX_SLOTS + 1).is_err());
    }
}
