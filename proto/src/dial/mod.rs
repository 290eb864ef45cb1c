//! How a coordinator is called, by workers and by people: its address, whom we trust to be it, what proves who we are, and
//! what went wrong, in words.

mod address;
mod diagnose;
mod tls;
mod trouble;

pub use self::address::{Address, AddressError};
pub use self::diagnose::diagnose;
pub use self::tls::{DialError, Tls, TlsFiles};
pub use self::trouble::{SPEAKS_TLS, Trouble, trouble};

use std::time::Duration;

use tonic::transport::{Endpoint, Error};

/// How often a connection is asked whether the other side is still there, and for how long an answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Where to call, with TLS if there is any. A connection whose other side is silent for 20 seconds breaks.
///
/// # Errors
/// An address or certificates that the transport does not take.
pub fn endpoint(address: &Address, tls: Option<&Tls>) -> Result<Endpoint, Error> {
    // A machine that loses its power closes no connection, and whoever only listens would wait for ever.
    let endpoint = Endpoint::from_shared(address.to_string())?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    match tls {
        Some(tls) => endpoint.tls_config(tls.config()),
        None => Ok(endpoint),
    }
}
