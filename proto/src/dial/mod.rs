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

use tonic::transport::{Endpoint, Error};

/// Where to call, with TLS if there is any.
///
/// # Errors
/// An address or certificates that the transport does not take.
pub fn endpoint(address: &Address, tls: Option<&Tls>) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(address.to_string())?;
    match tls {
        Some(tls) => endpoint.tls_config(tls.config()),
        None => Ok(endpoint),
    }
}
