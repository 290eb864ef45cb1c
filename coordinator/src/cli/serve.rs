//! `foldwise serve`: a coordinator for workers on other machines.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;

use super::args::ServeArgs;
use super::error::CliError;
use super::gate;
use super::say;
use super::signals::Signals;
use crate::coordinator::{self, Coordinator, LoopThread, Options};
use crate::open_files;
use crate::server::{self, Security};
use crate::store::Store;

/// Serves until a signal comes. Workers train on meanwhile and come back when the coordinator does.
///
/// # Errors
/// A database that cannot work, a port in use, an address that others could reach without TLS or a token.
pub fn serve(args: ServeArgs) -> Result<(), CliError> {
    let security = gate::open(&args.gate, args.listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let lease_ms = i64::try_from(args.lease.as_millis()).ok();
    let max_artifact = Some(u64::from(args.max_artifact) << 20);
    let options = Options { lease_ms, max_artifact, ..Options::default() };
    let mut thread = None;
    let outcome = runtime.block_on(keep(args.listen, &args.database.path, options, security, &mut thread));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Why the loop ended says more than that it did.
    thread.map_or(Ok(()), coordinator::join)?;
    outcome
}

async fn keep(
    address: SocketAddr,
    database: &Path,
    options: Options,
    security: Security,
    thread: &mut Option<LoopThread>,
) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    open_files::allow_many();
    let listener = TcpListener::bind(address).await.map_err(|error| CliError::Happened {
        message: format!("failed to listen on {address}: {error}"),
        help: Some(
            "stop the program that uses the port, or name another with --listen (port 0: any free one)"
                .into(),
        ),
    })?;
    let address = listener.local_addr()?;
    let store = Store::open(database)?;
    let (coordinator, started) = Coordinator::start(store, database, options)?;
    let thread = thread.insert(started);
    let scheme = if security.tls.is_some() { "https" } else { "http" };
    say(&format!("listening on {scheme}://{address}, database {}", database.display()));
    for line in gate::next(&security, address) {
        say(&line);
    }

    let mut server = tokio::spawn(server::serve(listener, coordinator, security));
    let mut alive = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = signals.next() => break,
            ended = &mut server => {
                let message = match ended {
                    Ok(Ok(())) => "the server ended".to_owned(),
                    Ok(Err(error)) => format!("the server ended: {error:#}"),
                    Err(error) => format!("the server ended: {error}"),
                };
                return Err(CliError::Happened { message, help: None });
            }
            _ = alive.tick() => {
                if thread.is_finished() {
                    let message = "the coordinator's loop ended".to_owned();
                    return Err(CliError::Happened { message, help: Some("the log says why; start it again once that is mended".into()) });
                }
            }
        }
    }
    say("closing; workers train on and come back when the coordinator does");
    server.abort();
    Ok(())
}
