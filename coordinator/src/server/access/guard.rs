//! The guard in front of everything that is served: gRPC and plain HTTP alike.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::role::{Need, need};
use super::tokens::{Caller, Tokens};
use crate::server::accept::Peer;
use crate::server::refused::{Refused, refused};
use crate::server::status;

/// Puts the guard in front of a service.
#[derive(Debug, Clone)]
pub(in crate::server) struct GuardLayer(Arc<Tokens>);

impl GuardLayer {
    pub(in crate::server) fn new(tokens: Tokens) -> Self {
        Self(Arc::new(tokens))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, tokens: Arc::clone(&self.0) }
    }
}

/// Refuses every call that does not bring what it needs, before anything of it is read but its headers.
#[derive(Debug, Clone)]
pub(in crate::server) struct Guard<S> {
    inner: S,
    tokens: Arc<Tokens>,
}

impl<S, B> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let address = peer.as_ref().map(Peer::ip);
        let path = request.uri().path();
        match check(&self.tokens, path, request.headers(), address) {
            Ok(()) => {
                // What is open to everybody earns nobody a place among the connections.
                if let Some(peer) =
                    peer.filter(|_| self.tokens.is_empty() || need(path) != Some(Need::Nothing))
                {
                    peer.admitted();
                }
                Box::pin(self.inner.call(request))
            }
            Err(denied) => {
                refused(denied.kind, address, request.uri().path());
                let response = denied.answer(request.headers());
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}

/// Why a call goes no further.
#[derive(Debug)]
struct Denied {
    kind: Refused,
    status: Status,
}

impl Denied {
    fn answer(self, headers: &HeaderMap) -> Response<Body> {
        let is_grpc =
            headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            return self.status.into_http();
        }
        let mut response = Response::new(Body::new(format!("{}\n", self.status.message())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        *response.status_mut() = match self.kind {
            Refused::Role | Refused::NoRule => StatusCode::FORBIDDEN,
            _ => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                StatusCode::UNAUTHORIZED
            }
        };
        response
    }
}

fn check(tokens: &Tokens, path: &str, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), Denied> {
    if tokens.is_empty() {
        return Ok(());
    }
    let need = need(path);
    match need {
        Some(Need::Nothing) => return Ok(()),
        Some(Need::RoleFromAfar(_))
            if address.is_some_and(|address| address.to_canonical().is_loopback()) =>
        {
            return Ok(());
        }
        _ => {}
    }
    // Who is nobody does not even hear what there is.
    let caller = caller(tokens, headers)?;
    match need {
        Some(Need::Nothing | Need::AnyToken) => Ok(()),
        Some(Need::Role(role) | Need::RoleFromAfar(role)) if caller.grant.includes(role) => Ok(()),
        Some(Need::Role(role) | Need::RoleFromAfar(role)) => {
            let status = status::wrong_role(path, role, &caller.name, caller.grant);
            Err(Denied { kind: Refused::Role, status })
        }
        None => Err(Denied { kind: Refused::NoRule, status: status::no_rule(path) }),
    }
}

/// Whose token the headers of a call have: one, as `authorization: Bearer SECRET`.
fn caller<'a>(tokens: &'a Tokens, headers: &HeaderMap) -> Result<&'a Caller, Denied> {
    let no_token = || Denied { kind: Refused::NoToken, status: status::no_token() };
    let wrong_token = || Denied { kind: Refused::WrongToken, status: status::wrong_token() };
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let value = given.next().ok_or_else(no_token)?;
    if given.next().is_some() {
        return Err(wrong_token());
    }
    let (scheme, secret) = value.as_bytes().split_at_checked("Bearer ".len()).ok_or_else(no_token)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || secret.is_empty() {
        return Err(no_token());
    }
    tokens.whose(secret).ok_or_else(wrong_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Token;

    const SECRETS: [(&str, &str); 3] =
        [("worker", "wwwwwwwwwwwwwwww"), ("writer", "tttttttttttttttt"), ("reader", "rrrrrrrrrrrrrrrr")];

    fn tokens() -> Tokens {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let lines = SECRETS.map(|(role, secret)| format!("{role} {role} {secret}\n"));
        std::fs::write(file.path(), lines.concat()).expect("written");
        Tokens::read(file.path()).expect("tokens")
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a header"));
        }
        headers
    }

    fn kind(path: &str, values: &[&str], address: Option<&str>) -> Option<Refused> {
        let address = address.map(|address| address.parse().expect("an address"));
        check(&tokens(), path, &headers(values), address).err().map(|denied| denied.kind)
    }

    #[test]
    fn a_token_is_looked_for_in_one_place() {
        let get = |values: &[&str]| kind("/foldwise.v1.StudyService/GetStudy", values, None);
        assert_eq!(get(&["Bearer rrrrrrrrrrrrrrrr"]), None);
        assert_eq!(get(&["bearer rrrrrrrrrrrrrrrr"]), None);
        for missing in [&[][..], &[""], &["Bearer"], &["Bearer "], &["Basic rrrrrrrrrrrrrrrr"]] {
            assert_eq!(get(missing), Some(Refused::NoToken), "{missing:?}");
        }
        for wrong in [
            &["Bearer x"][..],
            &["Bearer rrrrrrrrrrrrrrr"],
            &["Bearer rrrrrrrrrrrrrrrrr"],
            &["Bearer  rrrrrrrrrrrrrrrr"],
            &["Bearer rrrrrrrrrrrrrrrr", "Bearer rrrrrrrrrrrrrrrr"],
        ] {
            assert_eq!(get(wrong), Some(Refused::WrongToken), "{wrong:?}");
        }
    }

    #[test]
    fn a_role_opens_what_is_its_own() {
        let paths = [
            "/foldwise.v1.WorkerService/Session",
            "/foldwise.v1.StudyService/StopStudy",
            "/foldwise.v1.StudyService/ListTrials",
            "/metrics",
        ];
        for ((role, secret), opens) in SECRETS.into_iter().zip([
            [true, false, false, false],
            [false, true, true, true],
            [false, false, true, true],
        ]) {
            let bearer = format!("Bearer {secret}");
            for (path, opens) in paths.into_iter().zip(opens) {
                let wanted = if opens { None } else { Some(Refused::Role) };
                assert_eq!(kind(path, &[&bearer], Some("10.0.0.1")), wanted, "{role} {path}");
            }
        }
    }

    #[test]
    fn what_is_open_and_what_is_unknown() {
        for path in ["/healthz", "/grpc.health.v1.Health/Check"] {
            assert_eq!(kind(path, &[], Some("10.0.0.1")), None, "{path}");
        }
        assert_eq!(kind("/metrics", &[], Some("127.0.0.1")), None);
        assert_eq!(kind("/metrics", &[], Some("::ffff:127.0.0.1")), None);
        assert_eq!(kind("/metrics", &[], Some("10.0.0.1")), Some(Refused::NoToken));
        assert_eq!(kind("/metrics", &[], None), Some(Refused::NoToken));
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        assert_eq!(kind(reflection, &[], None), Some(Refused::NoToken));
        assert_eq!(kind(reflection, &["Bearer wwwwwwwwwwwwwwww"], None), None);
        // Not listed: closed, whoever asks.
        assert_eq!(kind("/new.Service/Method", &[], None), Some(Refused::NoToken));
        assert_eq!(kind("/new.Service/Method", &["Bearer tttttttttttttttt"], None), Some(Refused::NoRule));
        // Without tokens everything is open.
        assert!(check(&Tokens::default(), "/new.Service/Method", &headers(&[]), None).is_ok());
        let single = Tokens::single(&Token::new("one").expect("a token"));
        for path in ["/foldwise.v1.WorkerService/Session", "/foldwise.v1.StudyService/StopStudy"] {
            assert!(check(&single, path, &headers(&["Bearer one"]), None).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_refusal_is_said_in_the_callers_language() {
        let denied =
            |path: &str, values: &[&str]| check(&tokens(), path, &headers(values), None).expect_err("denied");
        let mut grpc = HeaderMap::new();
        grpc.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        let stop = "/foldwise.v1.StudyService/StopStudy";
        let reader = ["Bearer rrrrrrrrrrrrrrrr"];

        let answer = denied(stop, &[]).answer(&grpc);
        assert_eq!(
            (answer.status(), &answer.headers()["grpc-status"]),
            (StatusCode::OK, &HeaderValue::from(16))
        );
        let answer = denied(stop, &reader).answer(&grpc);
        assert_eq!(answer.headers()["grpc-status"], "7");
        let message = denied(stop, &reader).status.message().to_owned();
        assert!(
            message.contains("StopStudy needs a writer's token") && message.contains("`reader`"),
            "{message}"
        );

        let answer = denied("/metrics", &[]).answer(&HeaderMap::new());
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
        let answer = denied("/metrics", &["Bearer wwwwwwwwwwwwwwww"]).answer(&HeaderMap::new());
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
}
