//! Where a coordinator is.

use std::net::IpAddr;
use std::str::FromStr;

use tonic::transport::Uri;

/// Where a coordinator is: `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    authority: String,
    host: String,
    port: u16,
}

/// A text that is no address of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no address of a coordinator: {reason}; write it like http://head-node:7654 or https://head-node:7654"
)]
pub struct AddressError {
    given: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError { given: text.to_owned(), reason };
        let (tls, rest) = match text.trim().split_once("://") {
            None => (false, text.trim()),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("only http:// and https:// are known")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| wrong("it cannot be read"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("nothing may follow the port"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("it cannot have a user; a token goes into FOLDWISE_TOKEN"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        match authority.port_u16() {
            _ if host.is_empty() => Err(wrong("it has no host")),
            None | Some(0) => Err(wrong("it has no port from 1 to 65535")),
            Some(port) => Ok(Self { tls, authority: authority.to_string(), host, port }),
        }
    }
}

impl Address {
    /// Whether it is called over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The name or the IP address in it, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port in it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether what is sent there stays on this machine. A name counts only if it is `localhost`: what others mean is up to
    /// whoever answers for them.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http{}://{}", if self.tls { "s" } else { "" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, address, host) in [
            ("head:7654", "http://head:7654", "head"),
            ("http://127.0.0.1:80/", "http://127.0.0.1:80", "127.0.0.1"),
            (" [::1]:5 ", "http://[::1]:5", "::1"),
            ("https://head.example:7654/", "https://head.example:7654", "head.example"),
        ] {
            let read: Address = text.parse().expect(text);
            assert_eq!((read.to_string().as_str(), read.host()), (address, host));
            assert_eq!(read.is_tls(), address.starts_with("https"));
        }
        for (text, reason) in [
            ("grpc://head:7654", "only http"),
            ("HTTPS//head:7654", "follow"),
            ("head", "no port"),
            ("https://head", "no port"),
            ("head:0", "no port"),
            ("http://", "cannot be read"),
            (":7654", "no host"),
            ("head:7654/studies", "follow"),
            ("me@head:7654", "user"),
            ("head:port", "no port"),
            ("a b:1", "cannot be read"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn only_what_surely_stays_here_is_loopback() {
        for (text, loopback) in [
            ("127.0.0.1:1", true),
            ("127.8.9.1:1", true),
            ("localhost:1", true),
            ("LOCALHOST:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
            ("head:1", false),
            ("localhost.example:1", false),
            ("127.0.0.1.example:1", false),
        ] {
            assert_eq!(text.parse::<Address>().expect(text).is_loopback(), loopback, "{text}");
        }
    }
}
