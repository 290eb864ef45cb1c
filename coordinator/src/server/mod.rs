//! The services on a socket: thin methods that convert, call and map the error.

mod http;
mod status;
mod study_service;
mod token;
mod worker_service;

use foldwise_proto::v1::study_service_server::StudyServiceServer;
use foldwise_proto::v1::worker_service_server::WorkerServiceServer;
use foldwise_proto::{FILE_DESCRIPTORS, MAX_MESSAGE_BYTES};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use self::study_service::Studies;
pub use self::token::Token;
use self::worker_service::Workers;
use crate::coordinator::Coordinator;

/// How often an idle connection is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(10);

/// Serves workers and people on a bound listener until it is dropped; what matters is durable before it is answered, so
/// there is nothing to end gracefully. Every call but health, reflection and the pages must carry the token, if there is one.
///
/// # Errors
/// The socket fails, or the descriptors cannot be read.
pub async fn serve(
    listener: TcpListener,
    coordinator: Coordinator,
    token: Option<Token>,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<WorkerServiceServer<Workers>>().await;
    health.set_serving::<StudyServiceServer<Studies>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let workers = WorkerServiceServer::new(Workers::new(coordinator.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let studies = StudyServiceServer::new(Studies::new(coordinator.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let guard = token::guard(token);
    let services = Routes::new(health_service as HealthServer<_>)
        .add_service(reflection)
        .add_service(tonic::service::interceptor::InterceptedService::new(workers, guard.clone()))
        .add_service(tonic::service::interceptor::InterceptedService::new(studies, guard));
    let all = services.into_axum_router().merge(http::pages(coordinator.clone()));
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .tcp_nodelay(true)
        .accept_http1(true)
        .add_routes(Routes::from(http::with_ids(all, coordinator.clone())))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let names = ["", WorkerServiceServer::<Workers>::NAME, StudyServiceServer::<Studies>::NAME];
    tokio::select! {
        ended = server => Ok(ended?),
        () = http::keep_health(coordinator, health, &names) => Ok(()),
    }
}
