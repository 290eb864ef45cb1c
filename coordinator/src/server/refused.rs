//! What was refused before it reached a service. Everything of that kind passes through [`refused`], so that it can be
//! counted in one place.

use std::net::IpAddr;

use crate::metrics::count_refused;

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// More connections than we hold.
    Connections,
    /// A connection without a request that we let in, for too long.
    Silence,
    /// Plain HTTP where TLS is spoken, or TLS where it is not.
    Plaintext,
    /// A TLS handshake that failed: a certificate that is missing, expired or signed by somebody else.
    Tls,
    /// A call without a token.
    NoToken,
    /// A call with a token that is not known.
    WrongToken,
    /// A call with a token of another role.
    Role,
    /// A call that no rule opens to anybody.
    NoRule,
    /// A message that breaks the rules of the wire: a name too long, more attempts than one can hold.
    Message,
}

impl Refused {
    /// The word for it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Silence => "silence",
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Role => "role",
            Self::NoRule => "no_rule",
            Self::Message => "message",
        }
    }
}

/// Notes that somebody was refused: where it came from and what it wanted. At `info`, since a stranger decides how often.
pub(super) fn refused(kind: Refused, from: Option<IpAddr>, what: &str) {
    count_refused(kind.word());
    match from {
        Some(from) => tracing::info!(refused = kind.word(), %from, what, "refused"),
        None => tracing::info!(refused = kind.word(), what, "refused"),
    }
}
