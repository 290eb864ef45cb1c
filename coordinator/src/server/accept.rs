//! Connections: how many, with TLS or without, and for how long one may be silent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use foldwise_proto::dial::SPEAKS_TLS;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{self, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::refused::{Refused, refused};
use super::tls::Tls;

/// How much a listener bears.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at the same time.
    connections: usize,
    /// How long a connection may take to its first request that is let in, the TLS handshake included.
    silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 8_192, silence: Duration::from_secs(10) }
    }
}

/// How long to wait when the system has no more connections to give.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections from a listener, shakes hands with each, and passes them on. Ends with the receiver.
pub(super) fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(64);
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config));
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("failed to accept a connection: {error}");
                    time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                refused(Refused::Connections, Some(address.ip()), "a connection");
                continue;
            };
            let (sender, acceptor) = (sender.clone(), acceptor.clone());
            tokio::spawn(async move {
                let until = time::Instant::now() + limits.silence;
                let greeted = match time::timeout_at(until, greet(stream, address.ip(), acceptor)).await {
                    Ok(greeted) => greeted,
                    Err(_) => {
                        refused(Refused::Silence, Some(address.ip()), "a handshake");
                        return;
                    }
                };
                if let Some(io) = greeted {
                    let peer = Peer { address, admitted: Arc::default() };
                    let silence = Some(Box::pin(time::sleep_until(until)));
                    let connection = Connection { io, peer, silence, _permit: permit };
                    // A server that is gone wants no more.
                    let _ = sender.send(Ok(connection)).await;
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

/// A TLS record that begins a handshake.
const HANDSHAKE: u8 = 0x16;

/// Hears how a connection begins; gives it back if that is what is spoken here.
async fn greet(mut stream: TcpStream, from: IpAddr, acceptor: Option<TlsAcceptor>) -> Option<Io> {
    // If it cannot be set, answers are only slower.
    let _ = stream.set_nodelay(true);
    let mut start = [0; 3];
    let known = match stream.peek(&mut start).await {
        // Whoever only looks whether somebody listens (a probe, a balancer) goes without a word.
        Ok(0) | Err(_) => return None,
        Ok(known) => start.get(..known)?,
    };
    match (acceptor, known.first() == Some(&HANDSHAKE)) {
        (None, false) => Some(Io::Plain(stream)),
        (Some(acceptor), true) => match acceptor.accept(stream).await {
            Ok(stream) => Some(Io::Tls(Box::new(stream))),
            Err(error) => {
                refused(Refused::Tls, Some(from), &error.to_string());
                None
            }
        },
        (None, true) => {
            refused(Refused::Plaintext, Some(from), "TLS, which is not spoken here");
            say(&mut stream, &page("this port does not speak TLS: use http://")).await;
            None
        }
        (Some(_), false) => {
            refused(Refused::Plaintext, Some(from), "plain HTTP, and TLS is spoken here");
            let answer = if known == b"PRI" { go_away(SPEAKS_TLS) } else { page(SPEAKS_TLS) };
            say(&mut stream, &answer).await;
            None
        }
    }
}

/// Says something last, and listens until it was heard.
async fn say(stream: &mut TcpStream, answer: &[u8]) {
    // Whoever is gone needs no answer; whoever closes with words unread would take back our own.
    if stream.write_all(answer).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut rest = [0; 1024];
        let heard = async { while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {} };
        let _ = time::timeout(Duration::from_secs(1), heard).await;
    }
}

fn page(text: &str) -> Vec<u8> {
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n\
         {text}\n"
    )
    .into_bytes()
}

/// The frames SETTINGS, empty, and GOAWAY with INADEQUATE_SECURITY and a text (RFC 9113, 6.5 and 6.8).
fn go_away(text: &str) -> Vec<u8> {
    const INADEQUATE_SECURITY: u32 = 0xc;
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = u8::try_from(8 + text.len()).unwrap_or(8);
    frames.extend([0, 0, length, 7, 0, 0, 0, 0, 0]);
    frames.extend([0; 4]);
    frames.extend(INADEQUATE_SECURITY.to_be_bytes());
    frames.extend(text.bytes().take(usize::from(length) - 8));
    frames
}

/// Who is at the other end; every request of a connection has it among its extensions.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    address: SocketAddr,
    admitted: Arc<AtomicBool>,
}

impl Peer {
    /// Its address.
    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// A request of it was let in: it may stay.
    pub(super) fn admitted(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that has shaken hands. It breaks if nothing of it is let in for too long.
pub(super) struct Connection {
    io: Io,
    peer: Peer,
    silence: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Whether it was silent for too long; wakes the task when it will have been.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        if self.peer.admitted.load(Ordering::Relaxed) {
            self.silence = None;
            return Poll::Pending;
        }
        match silence.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                refused(Refused::Silence, Some(self.peer.ip()), "a connection without a call");
                Poll::Ready(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_silence(context) {
            return Poll::Ready(Err(error));
        }
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[test]
    fn a_farewell_has_the_length_it_says() {
        let frames = go_away(SPEAKS_TLS);
        assert_eq!(frames.len(), 9 + 9 + 8 + SPEAKS_TLS.len());
        assert_eq!(usize::from(frames[11]), 8 + SPEAKS_TLS.len());
        assert!(frames.ends_with(SPEAKS_TLS.as_bytes()));
    }

    #[tokio::test]
    async fn a_caller_that_says_nothing_is_dropped() {
        let limits = Limits { silence: Duration::from_millis(200), ..Limits::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = accept(listener, None, limits);
        // One never says a word, one says the beginning of one.
        let mut silent = TcpStream::connect(address).await.expect("a connection");
        let mut slow = TcpStream::connect(address).await.expect("a connection");
        slow.write_all(b"PRI").await.expect("written");
        let mut connection = connections.next().await.expect("a connection").expect("a connection");
        let mut word = [0; 4];
        let read = connection.read_exact(&mut word).await;
        assert_eq!(read.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        drop(connection);
        assert_eq!(silent.read(&mut word).await.expect("closed"), 0);
        assert_eq!(slow.read(&mut word).await.expect("closed"), 0);

        let mut good = TcpStream::connect(address).await.expect("a connection");
        good.write_all(b"PRI").await.expect("written");
        let mut connection = connections.next().await.expect("a connection").expect("a connection");
        connection.connect_info().admitted();
        time::sleep(3 * limits.silence).await;
        good.write_all(b" ").await.expect("written");
        connection.read_exact(&mut word).await.expect("it may stay");
        assert_eq!(&word, b"PRI ");
    }

    #[tokio::test]
    async fn one_too_many_is_dropped_until_another_goes() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = accept(listener, None, limits);
        let mut first = TcpStream::connect(address).await.expect("a connection");
        first.write_all(b"PRI").await.expect("written");
        let held = connections.next().await.expect("a connection").expect("a connection");
        let mut second = TcpStream::connect(address).await.expect("a connection");
        // Closed, at once and not after the silence.
        let closed = time::timeout(Duration::from_secs(5), second.read(&mut [0; 1])).await.expect("at once");
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        drop(held);
        let mut third = TcpStream::connect(address).await.expect("a connection");
        third.write_all(b"PRI").await.expect("written");
        connections.next().await.expect("a connection").expect("a connection");
    }
}
