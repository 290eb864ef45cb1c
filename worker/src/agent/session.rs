//! One stream to the coordinator: opened with patience, greeted, kept alive, and given up when it is silent.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use foldwise_proto::dial::{self, Address, Tls};
use foldwise_proto::v1::worker_service_client::WorkerServiceClient;
use foldwise_proto::{MAX_MESSAGE_BYTES, WIRE_VERSION, v1};
use foldwise_shared::device::DeviceUse;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{self, Instant, Interval, MissedTickBehavior};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tracing::{debug, info, warn};

use super::wire::{self, Told};

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the dial to the welcome.
    pub welcome: Duration,
    /// Before the second try; every other waits up to twice as long as the one before it.
    pub first_retry: Duration,
    /// Before any try.
    pub longest_retry: Duration,
    /// For a coordinator that does not answer; none is forever.
    pub give_up_after: Option<Duration>,
    /// Until a silent connection counts as broken, half of it to ask and half for the answer.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            welcome: Duration::from_secs(10),
            first_retry: Duration::from_millis(200),
            longest_retry: Duration::from_secs(10),
            give_up_after: None,
            silence: Duration::from_secs(20),
        }
    }
}

impl Patience {
    /// How long to wait before the next try, after `failed` in a row; `random` in [0, 1) keeps workers from coming
    /// back all at once.
    pub(super) fn delay(&self, failed: u32, random: f64) -> Duration {
        let most = self.first_retry.saturating_mul(1 << failed.min(16)).min(self.longest_retry);
        most.mul_f64(0.5 + random / 2.0)
    }
}

/// A coordinator and how to talk to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// What proves that we may.
    pub token: Option<AsciiMetadataValue>,
    /// What proves that it is the coordinator; for `https://`.
    pub tls: Option<Tls>,
    /// How long to wait for it.
    pub patience: Patience,
}

impl Target {
    /// A connection, which notices when the other end is gone.
    pub(super) async fn client(&self) -> Result<WorkerServiceClient<Channel>, Broken> {
        let Patience { welcome, silence, .. } = self.patience;
        let channel = dial::endpoint(&self.address, self.tls.as_ref())
            .map_err(|error| Broken::Untrusted(chain(&error)))?
            .connect_timeout(welcome)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(silence / 2)
            .keep_alive_timeout(silence / 2)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(|error| broken(&self.address, &error))?;
        Ok(WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// A request with the token.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

/// Why there is no session and will be none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The coordinator does not want this worker; trying again cannot help.
    #[error("the coordinator at {address} refuses this worker: {reason}")]
    Refused {
        /// Where it is.
        address: String,
        /// What it says.
        reason: String,
    },
    /// It is not the coordinator, as far as TLS can tell, or does not know us; trying again cannot help.
    #[error("no safe connection to the coordinator at {address}: {reason}")]
    Untrusted {
        /// Where it is.
        address: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// It did not answer for as long as was given.
    #[error("the coordinator at {address} did not answer for {:.1} s: {reason}", waited.as_secs_f64())]
    GaveUp {
        /// Where it should be.
        address: String,
        /// For how long.
        waited: Duration,
        /// What went wrong the last time.
        reason: String,
    },
}

/// Why a stream could not be opened or is no more.
#[derive(Debug)]
pub enum Broken {
    /// Trying again cannot help.
    Refused(String),
    /// Trying again cannot help: certificates or the address are wrong.
    Untrusted(String),
    /// Trying again may help.
    Away(String),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        let message = match status.source() {
            Some(source) => chain(source),
            None if status.message().is_empty() => status.code().description().to_owned(),
            None => status.message().to_owned(),
        };
        match status.code() {
            Code::FailedPrecondition | Code::InvalidArgument => Broken::Refused(message),
            Code::Unauthenticated | Code::PermissionDenied => Broken::Refused(message),
            Code::Unimplemented => {
                Broken::Refused(format!("no Foldwise coordinator answers there: {message}"))
            }
            _ => Broken::Away(message),
        }
    }
}

/// A connection that does not come about.
fn broken(address: &Address, error: &(dyn Error + 'static)) -> Broken {
    match dial::trouble(address, error) {
        Some(trouble) if trouble.is_final => Broken::Untrusted(trouble.message),
        Some(trouble) => Broken::Away(trouble.message),
        None => Broken::Away(chain(error)),
    }
}

/// A call that comes to nothing: with TLS 1.3 a coordinator that does not like our certificate says so only now.
fn refusal(address: &Address, status: Status) -> Broken {
    let trouble = status.source().and_then(|source| dial::trouble(address, source));
    match trouble {
        Some(trouble) if trouble.is_final => Broken::Untrusted(trouble.message),
        _ => status.into(),
    }
}

/// An open stream.
pub struct Session {
    outgoing: UnboundedSender<v1::FromWorker>,
    incoming: Streaming<v1::ToWorker>,
    heartbeat: Interval,
    device_use: Option<Readings>,
}

/// What was read last of the device, by somebody whom no heartbeat waits for.
pub type Readings = watch::Receiver<Option<DeviceUse>>;

impl Session {
    /// Says something. Never waits; what a broken stream swallows is said again on the next.
    pub fn send(&self, message: v1::FromWorker) {
        let _ = self.outgoing.send(message);
    }

    /// Lets heartbeats tell how busy the device is.
    pub fn report_use(&mut self, readings: Readings) {
        self.device_use = Some(readings);
    }

    /// The next thing the coordinator says; sends heartbeats meanwhile. May be dropped and called again.
    ///
    /// # Errors
    /// The stream is no more.
    pub async fn next(&mut self) -> Result<Told, Broken> {
        loop {
            tokio::select! {
                message = self.incoming.message() => {
                    let message = message?.ok_or_else(|| Broken::Away("it closed the stream".into()))?;
                    match Told::try_from(message) {
                        Ok(told) => return Ok(told),
                        Err(error) => warn!("a message of the coordinator is ignored: {error}"),
                    }
                }
                _ = self.heartbeat.tick() => {
                    let device_use = self.device_use.as_ref().and_then(|readings| *readings.borrow());
                    self.send(wire::heartbeat(device_use));
                }
            }
        }
    }

    async fn open(target: &Target, hello: v1::Hello) -> Result<Self, Broken> {
        let mut client = target.client().await?;
        let (outgoing, messages) = unbounded_channel();
        // Before the call: a coordinator may answer the call only once it has read this.
        let _ = outgoing.send(wire::hello(hello));
        let request = target.request(UnboundedReceiverStream::new(messages));
        let mut incoming =
            client.session(request).await.map_err(|status| refusal(&target.address, status))?.into_inner();

        let first = incoming.message().await.map_err(|status| refusal(&target.address, status))?;
        let first = first.ok_or_else(|| Broken::Away("it closed the stream".into()))?;
        let heartbeat = match Told::try_from(first) {
            Ok(Told::Welcome { wire_version: WIRE_VERSION, heartbeat }) => heartbeat,
            Ok(Told::Welcome { wire_version, .. }) => {
                return Err(Broken::Refused(format!(
                    "it speaks version {wire_version} of the wire and this worker version {WIRE_VERSION}; use the \
                     same release for both"
                )));
            }
            Ok(_) => return Err(Broken::Away("its first message is no welcome".into())),
            Err(error) => return Err(Broken::Away(format!("its first message cannot be read: {error}"))),
        };
        let mut heartbeat = time::interval_at(Instant::now() + heartbeat, heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { outgoing, incoming, heartbeat, device_use: None })
    }
}

/// Opens a session and tries again until it is open; `lost` says how the one before broke. A person hears once that
/// it does not work, and once that it works again.
///
/// # Errors
/// The coordinator refuses, or patience is at its end.
pub async fn connect(
    target: Arc<Target>,
    hello: v1::Hello,
    lost: Option<String>,
) -> Result<Session, SessionError> {
    let Target { address, patience, .. } = &*target;
    let started = Instant::now();
    let mut told = lost.is_some();
    if let Some(reason) = lost {
        warn!("lost the coordinator at {address}: {reason}; training goes on, trying to reach it again");
        time::sleep(patience.delay(0, random())).await;
    }
    let mut failed = 0;
    loop {
        let opened = time::timeout(patience.welcome, Session::open(&target, hello.clone())).await;
        let reason = match opened.unwrap_or_else(|_| Err(Broken::Away("it does not answer".into()))) {
            // A warning if there was one before, so that whoever saw that sees this.
            Ok(session) if told => {
                warn!("connected to the coordinator at {address}");
                return Ok(session);
            }
            Ok(session) => {
                info!("connected to the coordinator at {address}");
                return Ok(session);
            }
            Err(Broken::Refused(reason)) => {
                return Err(SessionError::Refused { address: address.to_string(), reason });
            }
            Err(Broken::Untrusted(reason)) => {
                return Err(SessionError::Untrusted { address: address.to_string(), reason });
            }
            Err(Broken::Away(reason)) => match look_closer(&target).await {
                Some(reason) => return Err(SessionError::Untrusted { address: address.to_string(), reason }),
                None => reason,
            },
        };
        let waited = started.elapsed();
        let left = patience.give_up_after.map(|most| most.saturating_sub(waited));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(SessionError::GaveUp { address: address.to_string(), waited, reason });
        }
        if told {
            debug!("the coordinator at {address} does not answer: {reason}");
        } else {
            warn!("the coordinator at {address} does not answer: {reason}; trying until it does");
            told = true;
        }
        let delay = patience.delay(failed, random());
        time::sleep(left.map_or(delay, |left| left.min(delay))).await;
        failed = failed.saturating_add(1);
    }
}

/// Why a safe connection will not come about, if that is why there is none.
async fn look_closer(target: &Target) -> Option<String> {
    let trouble = dial::diagnose(&target.address, target.tls.as_ref()?).await?;
    trouble.is_final.then_some(trouble.message)
}

/// In [0, 1).
pub(super) fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff;
    bits as f64 / 4_294_967_296.0
}

/// An error and what caused it: tonic's own words are often only "transport error".
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound() {
        let patience = Patience::default();
        let millis = |failed, random| patience.delay(failed, random).as_millis();
        assert_eq!([millis(0, 0.0), millis(0, 1.0), millis(1, 1.0), millis(3, 1.0)], [100, 200, 400, 1600]);
        assert_eq!([millis(9, 1.0), millis(u32::MAX, 1.0), millis(u32::MAX, 0.0)], [10_000, 10_000, 5_000]);
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&random()));
        }
    }

    #[test]
    fn only_what_may_get_better_is_tried_again() {
        for code in
            [Code::FailedPrecondition, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented]
        {
            assert!(matches!(Broken::from(Status::new(code, "no")), Broken::Refused(_)), "{code:?}");
        }
        let address: Address = "https://head:1".parse().expect("an address");
        let required = std::io::Error::other("received fatal alert: CertificateRequired");
        assert!(matches!(broken(&address, &required), Broken::Untrusted(_)));
        assert!(matches!(broken(&address, &std::io::Error::other("connection refused")), Broken::Away(_)));
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal, Code::Aborted] {
            assert!(matches!(Broken::from(Status::new(code, "no")), Broken::Away(_)), "{code:?}");
        }
    }
}
