//! From our errors to gRPC's codes: the only file that names them.

use foldwise_engine::scheduler::{Answer, RefusalKind};
use foldwise_proto::WIRE_VERSION;
use foldwise_proto::convert::WireError;
use tonic::{Code, Status};

use super::access::Role;
use crate::artifacts::ArtifactError;
use crate::coordinator::CoordinatorError;
use crate::hindsight::HindsightError;

/// An error of the coordinator.
pub(super) fn from_coordinator(error: CoordinatorError) -> Status {
    let code = match &error {
        CoordinatorError::NoStudy { .. } | CoordinatorError::NoWorker { .. } => Code::NotFound,
        CoordinatorError::NameTaken(_) => Code::AlreadyExists,
        CoordinatorError::Ended(_) => Code::FailedPrecondition,
        CoordinatorError::Refused(refusal) => of_refusal(refusal.kind),
        CoordinatorError::Create(create) if create.is_user_error() => Code::InvalidArgument,
        CoordinatorError::Hindsight(HindsightError::Pruner { .. }) => Code::InvalidArgument,
        CoordinatorError::Create(_)
        | CoordinatorError::Hindsight(_)
        | CoordinatorError::NotRecorded(_)
        | CoordinatorError::Store(_)
        | CoordinatorError::Start(_) => Code::Internal,
        CoordinatorError::Outage(_) | CoordinatorError::Closed | CoordinatorError::Panicked => {
            Code::Unavailable
        }
    };
    Status::new(code, chain(&error))
}

fn of_refusal(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::WrongState => Code::FailedPrecondition,
        RefusalKind::UsedUp => Code::ResourceExhausted,
        RefusalKind::LeaseGone => Code::Aborted,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::OutOfRange => Code::OutOfRange,
        RefusalKind::Repeated => Code::AlreadyExists,
        RefusalKind::Draining => Code::Unavailable,
    }
}

/// A message that cannot be understood.
pub(super) fn from_wire(error: &WireError) -> Status {
    Status::new(Code::InvalidArgument, error.to_string())
}

/// What goes wrong with an artifact: whether to send it again, to wait, or to let it be.
pub(super) fn from_artifact(error: ArtifactError) -> Status {
    let code = match &error {
        ArtifactError::NoDigest
        | ArtifactError::NoModel(_)
        | ArtifactError::TooLarge { .. }
        | ArtifactError::Wire(_) => Code::InvalidArgument,
        ArtifactError::Digest { .. } | ArtifactError::Length { .. } => Code::DataLoss,
        ArtifactError::Folder { .. } | ArtifactError::Unwritable { .. } => Code::ResourceExhausted,
        ArtifactError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Code::NotFound
        }
        // It may be readable in a moment: whoever asks waits.
        ArtifactError::Unreadable { .. } => Code::Unavailable,
        ArtifactError::Store(error) if error.may_pass() => Code::Unavailable,
        ArtifactError::NotYours(_) => Code::Aborted,
        ArtifactError::Unremovable { .. } | ArtifactError::Store(_) => Code::Internal,
    };
    Status::new(code, chain(&error))
}

/// A word that is none of those it could be.
pub(super) fn wrong_word(field: &str, error: impl std::fmt::Display) -> Status {
    Status::new(Code::InvalidArgument, format!("{field}: {error}"))
}

/// No trial of that number.
pub(super) fn no_trial(study: &str, number: u32) -> Status {
    Status::new(Code::NotFound, format!("the study `{study}` has no trial {number}"))
}

/// The study has no such artifact.
pub(super) fn no_artifact(study: &str, digest: &str) -> Status {
    Status::new(Code::NotFound, format!("the study `{study}` has no artifact {digest}"))
}

/// A stream that does not begin with a hello.
pub(super) fn no_hello() -> Status {
    Status::new(Code::InvalidArgument, "the first message of a session must be a hello")
}

/// The loop answered what was not asked: a mistake of ours.
pub(super) fn wrong_answer(answer: &Answer) -> Status {
    Status::new(Code::Internal, format!("the coordinator answered {answer:?}"))
}

/// A worker of another version.
pub(super) fn wrong_wire_version(theirs: u32) -> Status {
    let message = format!(
        "the worker speaks wire version {theirs}, this coordinator {WIRE_VERSION}; use a foldwise and a \
         foldwise-worker of the same release"
    );
    Status::new(Code::FailedPrecondition, message)
}

/// A call without a token.
pub(super) fn no_token() -> Status {
    Status::new(
        Code::Unauthenticated,
        "this coordinator asks for a token; give one by --token-file or FOLDWISE_TOKEN",
    )
}

/// A call with a token that nobody has.
pub(super) fn wrong_token() -> Status {
    Status::new(
        Code::Unauthenticated,
        "this coordinator does not know the token; give one it knows by --token-file or FOLDWISE_TOKEN",
    )
}

/// A call with the token of another role.
pub(super) fn wrong_role(path: &str, needed: Role, name: &str, has: impl std::fmt::Display) -> Status {
    let method = path.rsplit('/').next().unwrap_or(path);
    Status::new(Code::PermissionDenied, format!("{method} needs a {needed}'s token, and `{name}` is a {has}"))
}

/// A call that no rule opens.
pub(super) fn no_rule(path: &str) -> Status {
    let message = format!(
        "this coordinator opens {path} to nobody; use a foldwise of the same release as the coordinator's"
    );
    Status::new(Code::PermissionDenied, message)
}

/// A worker that opened a session and says nothing.
pub(super) fn late_hello(waited: std::time::Duration) -> Status {
    Status::new(Code::DeadlineExceeded, format!("no hello came for {} s", waited.as_secs()))
}

/// A stream that broke off because whoever sent it is gone is nobody's failure here.
pub(super) fn from_sender(status: Status) -> Status {
    match status.code() {
        Code::Unknown => Status::cancelled(format!("the sender is gone: {}", status.message())),
        _ => status,
    }
}

/// A worker that began to send an artifact and does not go on.
pub(super) fn late_piece(waited: std::time::Duration) -> Status {
    Status::new(Code::DeadlineExceeded, format!("no piece of the artifact came for {} s", waited.as_secs()))
}

/// A list or a text that is longer than it needs to be.
pub(super) fn too_many(field: &str, given: usize, most: usize, unit: &str) -> Status {
    Status::new(Code::InvalidArgument, format!("{field}: {given} {unit} are too many; use at most {most}"))
}

/// A task of ours panicked.
pub(super) fn broken() -> Status {
    Status::new(Code::Internal, "this call failed by a mistake of the coordinator's; its log says more")
}

/// A watcher that is too slow.
pub(super) fn fell_behind(missed: u64) -> Status {
    Status::new(Code::ResourceExhausted, format!("{missed} events were missed; watch again"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
