//! Ctrl-C, TERM and HUP: a person or a system wants us to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a run.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one, whichever it is; true for INT, which a person sends. Schedulers repeat the others for one and the same
    /// request.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => false,
        }
    }
}
