//! `foldwise serve`: a coordinator for workers on other machines.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::args::ServeArgs;
use super::error::CliError;
use super::say;
use super::signals::Signals;
use crate::coordinator::{Coordinator, Options};
use crate::server::{self, Token};
use crate::store::Store;

/// Serves until a signal comes. Workers train on meanwhile and come back when the coordinator does.
///
/// # Errors
/// A database that cannot work, a port in use, an address that others could reach without a token.
pub fn serve(args: ServeArgs) -> Result<(), CliError> {
    let token = args.token.read()?.as_deref().and_then(Token::new);
    if !args.listen.ip().is_loopback() && token.is_none() {
        return Err(CliError::Usage {
            message: format!(
                "--listen {}: everybody who reaches this address could use the coordinator",
                args.listen
            ),
            help: Some("give a token with --token-file or FOLDWISE_TOKEN, or listen on 127.0.0.1".into()),
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(keep(args.listen, &args.database.path, token))
}

async fn keep(address: SocketAddr, database: &Path, token: Option<Token>) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let listener = TcpListener::bind(address).await.map_err(|error| CliError::Happened {
        message: format!("failed to listen on {address}: {error}"),
        help: Some(
            "stop the program that uses the port, or name another with --listen (port 0: any free one)"
                .into(),
        ),
    })?;
    let address = listener.local_addr()?;
    let store = Store::open(database)?;
    let (coordinator, thread) = Coordinator::start(store, database, Options::default())?;
    say(&format!("listening on http://{address}, database {}", database.display()));
    say("next:");
    say(&format!("  foldwise study create FILE --coordinator http://{address}  # a study to work on"));
    say(&format!(
        "  foldwise-worker --coordinator http://{address}             # on each machine, once a device"
    ));

    let (close, closed) = oneshot::channel::<()>();
    let shutdown = async move { drop(closed.await) };
    let mut server = tokio::spawn(server::serve(listener, coordinator.clone(), token, shutdown));
    let mut alive = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            () = signals.next() => break,
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
                    let message = "the database cannot be written; see above".to_owned();
                    return Err(CliError::Happened { message, help: Some("free some space and start it again".into()) });
                }
            }
        }
    }
    eprintln!("closing; workers train on and come back when the coordinator does");
    let _ = close.send(());
    // Open streams would keep a graceful end waiting; what matters is durable already.
    server.abort();
    Ok(())
}
