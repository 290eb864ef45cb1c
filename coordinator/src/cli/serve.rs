//! `foldwise serve`: a coordinator for workers on other machines.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;

use super::args::ServeArgs;
use super::error::CliError;
use super::say;
use super::signals::Signals;
use crate::coordinator::{self, Coordinator, LoopThread, Options};
use crate::open_files;
use crate::server::{self, Token};
use crate::store::Store;

/// Serves until a signal comes. Workers train on meanwhile and come back when the coordinator does.
///
/// # Errors
/// A database that cannot work, a port in use, an address that others could reach without a token.
pub fn serve(args: ServeArgs) -> Result<(), CliError> {
    let token = args.token.read()?.as_deref().map(Token::new).transpose().map_err(CliError::usage)?;
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
    let mut thread = None;
    let outcome = runtime.block_on(keep(args.listen, &args.database.path, token, &mut thread));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Why the loop ended says more than that it did.
    thread.map_or(Ok(()), coordinator::join)?;
    outcome
}

async fn keep(
    address: SocketAddr,
    database: &Path,
    token: Option<Token>,
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
    let (coordinator, started) = Coordinator::start(store, database, Options::default())?;
    let thread = thread.insert(started);
    say(&format!("listening on http://{address}, database {}", database.display()));
    say("next:");
    say(&format!("  foldwise study create FILE --coordinator http://{address}  # a study to work on"));
    say(&format!(
        "  foldwise-worker --coordinator http://{address}             # on each machine, once a device"
    ));

    let mut server = tokio::spawn(server::serve(listener, coordinator, token));
    let mut alive = tokio::time::interval(Duration::from_secs(1));
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
                    let message = "the coordinator's loop ended".to_owned();
                    return Err(CliError::Happened { message, help: Some("free some space and start it again".into()) });
                }
            }
        }
    }
    say("closing; workers train on and come back when the coordinator does");
    server.abort();
    Ok(())
}
