//! Why a call over TLS came to nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;

use super::trouble::{Trouble, trouble};
use super::{Address, Tls};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// What begins HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Looks what TLS has to say about a call that failed without a reason. With TLS 1.3 our side has shaken hands before the other
/// has seen our certificate; what the other thinks of it breaks the connection later, and gets lost between it and the call.
pub async fn diagnose(address: &Address, tls: &Tls) -> Option<Trouble> {
    time::timeout(PATIENCE, look(address, tls)).await.ok().flatten()
}

async fn look(address: &Address, tls: &Tls) -> Option<Trouble> {
    let stream = TcpStream::connect((address.host(), address.port())).await.ok()?;
    let (config, host) = tls.raw();
    let answered = async {
        let mut stream = TlsConnector::from(config).connect(host, stream).await?;
        // If it has closed already, what it said last can still be read.
        let _ = stream.write_all(PREFACE).await;
        stream.read_u8().await
    };
    answered.await.err().and_then(|error| trouble(address, &error))
}
