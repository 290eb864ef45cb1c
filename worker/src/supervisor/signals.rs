//! Signals to a supervisor. Schedulers send TERM to every process of a step, two or three times, and none of that may
//! hurry a drain; only a person's second Ctrl-C does.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::agent::Shutdown;

/// TERM, HUP and INT drain, and again change nothing; an INT after any of them ends at once.
/// They are caught from the call on, which must be within a runtime; what is returned passes them on.
pub fn listen_for_signals(shutdown: watch::Sender<Shutdown>) -> impl Future<Output = ()> + Send + 'static {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let caught = kinds.map(signal);
    async move {
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = caught else {
            tracing::warn!(
                "signals cannot be caught here; they end this process at once, and its workers with it"
            );
            shutdown.closed().await;
            return;
        };
        loop {
            let by_person = tokio::select! {
                _ = terminate.recv() => false,
                _ = hangup.recv() => false,
                _ = interrupt.recv() => true,
                () = shutdown.closed() => return,
            };
            shutdown.send_if_modified(|asked| {
                let wanted = match *asked {
                    Shutdown::No => Shutdown::Drain,
                    before if by_person => before.max(Shutdown::Now),
                    before => before,
                };
                std::mem::replace(asked, wanted) != wanted
            });
        }
    }
}
