//! What is not gRPC on the coordinator's port: `/metrics` and `/healthz`; and what every call gets, of either kind: an id that
//! a person can quote, and a place in the counts.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::Instrument;

use super::access;
use crate::coordinator::Coordinator;
use crate::metrics;

/// The header in which a caller may name its request, and in which every answer does.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a caller.
const ID_LENGTH: usize = 64;
/// How often the gRPC health service learns how the coordinator is.
const LOOK: Duration = Duration::from_secs(1);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The pages.
pub(super) fn pages(coordinator: Coordinator) -> Router {
    Router::new()
        .route("/metrics", get(page_of_metrics))
        .route("/healthz", get(page_of_health))
        .with_state(coordinator)
}

/// Gives every call an id, a span for what is logged about it, and a place in the counts.
pub(super) fn with_ids(router: Router, coordinator: Coordinator) -> Router {
    router.layer(from_fn_with_state(coordinator, with_id))
}

async fn page_of_metrics(State(coordinator): State<Coordinator>) -> Response {
    match coordinator.metrics_page().await {
        Ok(page) => ([(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], page).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn page_of_health(State(coordinator): State<Coordinator>) -> Response {
    match coordinator.health().await {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Tells the gRPC health service what `/healthz` says, as long as it is polled.
pub(super) async fn keep_health(coordinator: Coordinator, health: HealthReporter, services: &[&str]) {
    let mut before = None;
    loop {
        let well = coordinator.health().await;
        if before != Some(well.is_ok()) {
            if let Err(why) = &well {
                tracing::warn!("not healthy: {why}");
            }
            let status = if well.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in services {
                health.set_service_status(*service, status).await;
            }
            before = Some(well.is_ok());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn with_id(State(coordinator): State<Coordinator>, request: Request, next: Next) -> Response {
    let id = id_of(request.headers());
    let method = method_of(request.uri().path());
    let started = Instant::now();
    // At the level of errors, so that it stands in every line there is.
    let span = tracing::error_span!("request", id = %id, method);
    let work = async {
        let mut response = next.run(request).await;
        let code = code_of(&response);
        coordinator.metrics().answered(method, word(code));
        let millis = started.elapsed().as_millis() as u64;
        match code {
            Code::Ok => tracing::debug!(millis, "answered"),
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::error!(millis, code = word(code), message = %message_of(&response), "failed");
            }
            _ => tracing::info!(millis, code = word(code), message = %message_of(&response), "refused"),
        }
        quote(&mut response, &id, code);
        response
    };
    work.instrument(span).await
}

/// The caller's id, if it is one word of what ids are made of; a new one otherwise.
fn id_of(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=ID_LENGTH).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match given.filter(sane) {
        Some(id) => id.to_owned(),
        None => uuid::Uuid::new_v4().simple().to_string(),
    }
}

/// Names the id in the answer and, where that is an error, in its message too: what a person sees of it.
fn quote(response: &mut Response, id: &str, code: Code) {
    let Ok(value) = HeaderValue::from_str(id) else { return };
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, value);
    if code == Code::Ok || !headers.contains_key(GRPC_STATUS) {
        return;
    }
    // The message is percent-encoded, and so is what is added to it.
    let message = headers.get(GRPC_MESSAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&format!("{message}%20(request%20{id})")) {
        headers.insert(GRPC_MESSAGE, value);
    }
}

fn code_of(response: &Response) -> Code {
    match response.headers().get(GRPC_STATUS) {
        Some(status) => Code::from_bytes(status.as_bytes()),
        None if response.status().is_success() => Code::Ok,
        None => match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
            _ => Code::Unknown,
        },
    }
}

fn message_of(response: &Response) -> String {
    let status = tonic::Status::from_header_map(response.headers());
    status.map(|status| status.message().to_owned()).unwrap_or_default()
}

/// A method that there is, or `other`: what a caller makes up is no label.
fn method_of(path: &str) -> &'static str {
    access::known(path).unwrap_or("other")
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn an_id_is_taken_if_it_is_sane() {
        let with = |id: &str| {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(id.as_bytes()) {
                headers.insert(REQUEST_ID, value);
            }
            id_of(&headers)
        };
        for id in ["a", "5f0c-1.b_2", &"x".repeat(64)] {
            assert_eq!(with(id), id);
        }
        for id in ["", "two words", "a\"b", "<b>", "é", &"x".repeat(65)] {
            let made = with(id);
            assert_eq!(made.len(), 32, "{id}");
            assert_ne!(made, with(id));
        }
    }

    #[test]
    fn an_error_quotes_its_id_in_a_message_that_clients_can_decode() {
        let (parts, ()) = tonic::Status::not_found("nö: 100 %").into_http::<()>().into_parts();
        let mut response = Response::from_parts(parts, Body::empty());
        assert_eq!(code_of(&response), Code::NotFound);
        quote(&mut response, "abc", Code::NotFound);
        let status = tonic::Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.message(), "nö: 100 % (request abc)");
        assert_eq!(response.headers().get(REQUEST_ID).expect("an id"), "abc");

        let mut response = "ok".into_response();
        quote(&mut response, "abc", Code::Ok);
        assert_eq!(response.headers().get(REQUEST_ID).expect("an id"), "abc");
        assert!(!response.headers().contains_key(GRPC_MESSAGE));
    }

    #[test]
    fn only_what_there_is_is_counted_by_its_name() {
        assert_eq!(method_of("/foldwise.v1.StudyService/Ask"), "/foldwise.v1.StudyService/Ask");
        assert_eq!(method_of("/healthz"), "/healthz");
        assert_eq!(method_of("/foldwise.v1.StudyService/Guess"), "other");
    }
}
