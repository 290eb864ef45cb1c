//! What a failed connection has to do with TLS, in words.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::Address;

/// What is wrong between a caller and a coordinator as far as TLS goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Whether trying again cannot help.
    pub is_final: bool,
}

/// What TLS has to say about an error of the transport; nothing if the error is about something else.
pub fn trouble(address: &Address, error: &(dyn Error + 'static)) -> Option<Trouble> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = tls_error(error) {
            return Some(of_tls(address, found));
        }
        // After the handshake our layers hand errors on as text.
        if let Some(found) = of_text(address, &error.to_string()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    error
        .downcast_ref::<rustls::Error>()
        .or_else(|| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>())
}

fn is_final(message: impl Into<String>) -> Trouble {
    Trouble { message: message.into(), is_final: true }
}

fn of_tls(address: &Address, error: &rustls::Error) -> Trouble {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(address, error),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(_) => {
            is_final("it does not speak TLS there; write http:// if that is meant, and never with a token")
        }
        rustls::Error::PeerIncompatible(_) => {
            is_final(format!("its TLS is not ours ({error}); TLS 1.2 or 1.3 is needed"))
        }
        error => Trouble { message: format!("TLS failed: {error}"), is_final: false },
    }
}

fn of_certificate(address: &Address, error: &CertificateError) -> Trouble {
    use CertificateError as Wrong;
    let host = address.host();
    match error {
        Wrong::UnknownIssuer | Wrong::BadSignature => is_final(
            "its certificate is not signed by a CA in the --tls-ca file; give the certificate of the CA that signed it, \
             or else it is not the coordinator that answers",
        ),
        Wrong::Expired | Wrong::ExpiredContext { .. } => is_final(
            "its certificate has expired; the coordinator needs a new one (or the clock of this machine is ahead)",
        ),
        // It may be a clock that is set in a moment.
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => Trouble {
            message: "its certificate is not valid yet; compare the clocks of both machines".into(),
            is_final: false,
        },
        Wrong::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() {
                "nobody".to_owned()
            } else {
                presented.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ")
            };
            is_final(format!(
                "its certificate is for {names}, not for {host}; use one of its names in the address, or give the \
                 coordinator a certificate for {host} (`foldwise certs DIR --host {host}`)"
            ))
        }
        Wrong::NotValidForName => is_final(format!("its certificate is not for {host}")),
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            is_final("its certificate is not one for a server")
        }
        error => is_final(format!("its certificate cannot be accepted: {error}")),
    }
}

/// `DnsName("head")`, as rustls writes it, is `head`.
fn plain(name: &str) -> String {
    name.split('"').nth(1).unwrap_or(name).to_owned()
}

const WANTED: &str = "it asks for a client certificate: give one with --tls-cert and --tls-key";

fn of_alert(alert: AlertDescription) -> Trouble {
    match alert {
        AlertDescription::CertificateRequired => is_final(WANTED),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => is_final(
            "it does not accept the client certificate of --tls-cert: it is not signed by the coordinator's client CA",
        ),
        AlertDescription::CertificateExpired => is_final(
            "it does not accept the client certificate of --tls-cert: it has expired, or is not valid yet",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => is_final(format!(
            "it does not accept the client certificate of --tls-cert ({alert:?}); give one for clients that its client \
             CA signed"
        )),
        alert => Trouble { message: format!("it ended the TLS handshake: {alert:?}"), is_final: false },
    }
}

/// What a coordinator says to plain HTTP on a port for TLS, in a GOAWAY with the reason INADEQUATE_SECURITY.
pub const SPEAKS_TLS: &str = "this port speaks TLS: use https://";

fn of_text(address: &Address, text: &str) -> Option<Trouble> {
    if !address.is_tls() {
        return text.contains(SPEAKS_TLS).then(|| {
            is_final(format!(
                "it speaks TLS there: write https://{} and give --tls-ca",
                address.to_string().trim_start_matches("http://")
            ))
        });
    }
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let alert = alert.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    Some(match alert {
        "CertificateRequired" => of_alert(AlertDescription::CertificateRequired),
        "UnknownCA" => of_alert(AlertDescription::UnknownCA),
        "DecryptError" => of_alert(AlertDescription::DecryptError),
        "CertificateExpired" => of_alert(AlertDescription::CertificateExpired),
        "BadCertificate" => of_alert(AlertDescription::BadCertificate),
        "UnsupportedCertificate" => of_alert(AlertDescription::UnsupportedCertificate),
        "CertificateRevoked" => of_alert(AlertDescription::CertificateRevoked),
        "CertificateUnknown" => of_alert(AlertDescription::CertificateUnknown),
        "AccessDenied" => of_alert(AlertDescription::AccessDenied),
        other => Trouble { message: format!("it ended the TLS connection: {other}"), is_final: false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(io::Error);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("transport error")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn said(address: &str, error: io::Error) -> Option<Trouble> {
        trouble(&address.parse().expect("an address"), &Wrapped(error))
    }

    fn of(error: rustls::Error) -> Trouble {
        said("https://head:1", io::Error::new(io::ErrorKind::InvalidData, error)).expect("about TLS")
    }

    #[test]
    fn each_trouble_has_its_words() {
        use rustls::Error as Tls;
        let name = CertificateError::NotValidForNameContext {
            expected: "head".try_into().expect("a name"),
            presented: vec!["DnsName(\"localhost\")".into(), "IpAddress(127.0.0.1)".into()],
        };
        let alert = |alert| Tls::AlertReceived(alert);
        for (error, words) in [
            (Tls::InvalidCertificate(CertificateError::UnknownIssuer), "not signed by a CA in the --tls-ca"),
            (Tls::InvalidCertificate(CertificateError::BadSignature), "not signed by a CA in the --tls-ca"),
            (Tls::InvalidCertificate(CertificateError::Expired), "has expired"),
            (Tls::InvalidCertificate(name), "is for localhost, IpAddress(127.0.0.1), not for head"),
            (Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "does not speak TLS"),
            (alert(AlertDescription::CertificateRequired), "--tls-cert and --tls-key"),
            (alert(AlertDescription::UnknownCA), "does not accept the client certificate"),
        ] {
            let trouble = of(error);
            assert!(trouble.is_final && trouble.message.contains(words), "{trouble:?}");
        }
        // These may get better by themselves.
        for error in
            [Tls::InvalidCertificate(CertificateError::NotValidYet), alert(AlertDescription::InternalError)]
        {
            assert!(!of(error).is_final);
        }
    }

    #[test]
    fn what_is_only_text_is_understood_too() {
        let text = |text: &str| io::Error::other(text.to_owned());
        let alert = said("https://head:1", text("received fatal alert: CertificateRequired"));
        assert_eq!(alert.expect("about TLS").message, WANTED);
        let plain = said("http://head:1", text(&format!("connection error received (b\"{SPEAKS_TLS}\")")));
        assert!(plain.expect("about TLS").message.contains("https://head:1"));
        for address in ["http://head:1", "https://head:1"] {
            assert_eq!(said(address, text("connection refused")), None);
        }
    }
}
