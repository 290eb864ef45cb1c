//! The services on a socket: thin methods that convert, call and map the error. In front of them stand the connections
//! ([`accept`]: how many, TLS, how long one may be silent) and the guard ([`access`]: who may call what).

mod accept;
pub mod access;
mod artifacts;
mod http;
mod refused;
mod status;
mod study_service;
pub mod tls;
mod worker_service;

use axum::Router;
use foldwise_proto::v1::study_service_server::StudyServiceServer;
use foldwise_proto::v1::worker_service_server::WorkerServiceServer;
use foldwise_proto::{FILE_DESCRIPTORS, MAX_MESSAGE_BYTES};
use tokio::net::TcpListener;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::Layer;

use self::access::GuardLayer;
pub use self::access::{Token, Tokens};
pub use self::refused::Refused;
use self::study_service::Studies;
use self::tls::Tls;
use self::worker_service::Workers;
use crate::coordinator::{Coordinator, DataPaths};

/// How often an idle connection is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(10);
/// Calls at the same time on one connection; a worker needs a few, a program that evaluates trials one a trial.
const STREAMS: u32 = 256;
/// The headers of a call, in bytes.
const HEADER_BYTES: u32 = 16 << 10;

/// Who may reach what.
#[derive(Debug, Default)]
pub struct Security {
    /// The tokens that open something; without any, everything is open.
    pub tokens: Tokens,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
    /// Which files a study may name as its data.
    pub data_paths: DataPaths,
}

/// Serves workers and people on a bound listener until it is dropped; what matters is durable before it is answered, so
/// there is nothing to end gracefully.
///
/// # Errors
/// The socket fails, or the descriptors cannot be read.
pub async fn serve(
    listener: TcpListener,
    coordinator: Coordinator,
    security: Security,
) -> anyhow::Result<()> {
    let Security { tokens, tls, data_paths } = security;
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = routes(coordinator.clone(), data_paths, tokens, health_service)?;
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES)
        .accept_http1(true)
        .add_routes(routes)
        .serve_with_incoming(accept::accept(listener, tls, accept::Limits::default()));
    let names = ["", WorkerServiceServer::<Workers>::NAME, StudyServiceServer::<Studies>::NAME];
    tokio::select! {
        ended = server => Ok(ended?),
        () = http::keep_health(coordinator, health, &names) => Ok(()),
    }
}

/// Everything that is served. What is added here needs a line in `access/role.rs`, or it is open to nobody.
fn routes(
    coordinator: Coordinator,
    data_paths: DataPaths,
    tokens: Tokens,
    health: HealthServer<impl Health>,
) -> anyhow::Result<Routes> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let workers = WorkerServiceServer::new(Workers::new(coordinator.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let studies = StudyServiceServer::new(Studies::new(coordinator.clone(), data_paths))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let services = Routes::new(health).add_service(reflection).add_service(workers).add_service(studies);
    let all = services.into_axum_router().merge(http::pages(coordinator.clone()));
    // The guard stands within, so that a refusal has an id too.
    let guarded = Router::new().fallback_service(GuardLayer::new(tokens).layer(Routes::from(all)));
    Ok(Routes::from(http::with_ids(guarded, coordinator)))
}
