//! Whom a caller trusts, and what proves who it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::Address;

/// The files of a caller, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of those whose word about the coordinator is trusted.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for a coordinator that asks for one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why a coordinator will not be called.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The token would be readable on its way.
    #[error(
        "the token would travel to {address} for everybody on the way to read; use https:// and --tls-ca, or say \
         --insecure where nobody else listens (a tunnel, a network of your own)"
    )]
    TokenInClear {
        /// Where to.
        address: String,
    },
    /// There is nothing to know the coordinator by.
    #[error(
        "{address} needs --tls-ca FILE: the certificate of the CA that signed the coordinator's, such as the ca.pem of \
         `foldwise certs`, or /etc/ssl/certs/ca-certificates.crt for the CAs that this system trusts"
    )]
    NoTrust {
        /// Where to.
        address: String,
    },
    /// One half of what proves who we are.
    #[error("--tls-cert and --tls-key go together: give {missing} too")]
    HalfIdentity {
        /// The flag that is missing.
        missing: &'static str,
    },
    /// A certificate and a key that have nothing to do with each other.
    #[error("--tls-cert and --tls-key do not fit: {0}")]
    Pair(rustls::Error),
    /// Our TLS library cannot be set up.
    #[error("failed to set up TLS: {0}")]
    SetUp(rustls::Error),
    /// A host that no certificate could name.
    #[error("`{host}` is neither a name nor an address that a certificate could be for")]
    Host {
        /// The host.
        host: String,
    },
    /// A file that is not what its flag says.
    #[error("{flag}: {} {problem}", path.display())]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, after its name.
        problem: String,
    },
}

/// TLS as a caller speaks it. Never printed, for it holds a key.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    config: ClientTlsConfig,
    /// The same, as the library beneath takes it.
    raw: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    /// Reads what a call to an address needs: nothing for `http://`, which is refused with a token unless it stays on this
    /// machine or the caller insists.
    ///
    /// # Errors
    /// [`DialError`]
    pub fn read(
        address: &Address,
        has_token: bool,
        files: &TlsFiles,
        insecure: bool,
    ) -> Result<Option<Self>, DialError> {
        if !address.is_tls() {
            if has_token && !insecure && !address.is_loopback() {
                return Err(DialError::TokenInClear { address: address.to_string() });
            }
            return Ok(None);
        }
        let host = address.host();
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| DialError::Host { host: host.to_owned() })?;
        let ca = files.ca.as_deref().ok_or_else(|| DialError::NoTrust { address: address.to_string() })?;
        let (text, trusted) = certificates("--tls-ca", ca)?;
        let mut config = ClientTlsConfig::new().domain_name(host).ca_certificate(Certificate::from_pem(text));
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted);
        let raw = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(DialError::SetUp)?
            .with_root_certificates(roots);
        let mut raw = match (&files.cert, &files.key) {
            (None, None) => raw.with_no_client_auth(),
            (Some(_), None) => return Err(DialError::HalfIdentity { missing: "--tls-key" }),
            (None, Some(_)) => return Err(DialError::HalfIdentity { missing: "--tls-cert" }),
            (Some(cert), Some(key)) => {
                let (cert_text, chain) = certificates("--tls-cert", cert)?;
                let (key_text, key) = private_key("--tls-key", key)?;
                config = config.identity(Identity::from_pem(cert_text, key_text));
                raw.with_client_auth_cert(chain, key).map_err(DialError::Pair)?
            }
        };
        raw.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(Self(Arc::new(Inner { config, raw: Arc::new(raw), host: name }))))
    }

    pub(super) fn config(&self) -> ClientTlsConfig {
        self.0.config.clone()
    }

    pub(super) fn raw(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(&self.0.raw), self.0.host.clone())
    }
}

/// A file of one certificate or more, checked.
fn certificates(
    flag: &'static str,
    path: &Path,
) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), DialError> {
    let file = |problem| DialError::File { flag, path: path.to_owned(), problem };
    let text = read(flag, path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let read = read.map_err(|error| file(problem(&error, "certificate")))?;
    if read.is_empty() {
        return Err(file(problem(&pem::Error::NoItemsFound, "certificate")));
    }
    Ok((text, read))
}

/// A file of a key, checked.
fn private_key(flag: &'static str, path: &Path) -> Result<(Vec<u8>, PrivateKeyDer<'static>), DialError> {
    let text = read(flag, path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok((text, key)),
        Err(error) => {
            let problem = problem(&error, "private key");
            Err(DialError::File { flag, path: path.to_owned(), problem })
        }
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, DialError> {
    std::fs::read(path).map_err(|error| {
        let problem = format!("cannot be read: {error}");
        DialError::File { flag, path: path.to_owned(), problem }
    })
}

fn problem(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => {
            format!(
                "holds no {wanted}; it should be PEM, with -----BEGIN {}-----",
                wanted.to_ascii_uppercase()
            )
        }
        error => format!("is no PEM file: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str, token: bool, files: &TlsFiles, insecure: bool) -> String {
        let address: Address = address.parse().expect("an address");
        Tls::read(&address, token, files, insecure).expect_err("refused").to_string()
    }

    #[test]
    fn a_token_travels_in_clear_only_where_nobody_listens() {
        let none = TlsFiles::default();
        let error = refusal("http://head:1", true, &none, false);
        assert!(error.contains("http://head:1") && error.contains("--insecure"), "{error}");
        for (address, token, insecure) in
            [("head:1", false, false), ("head:1", true, true), ("127.0.0.1:1", true, false)]
        {
            let address: Address = address.parse().expect("an address");
            assert!(Tls::read(&address, token, &none, insecure).expect("allowed").is_none());
        }
    }

    #[test]
    fn files_are_what_their_flags_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(vec!["head".to_owned()]).expect("a certificate");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            Some(path)
        };
        let cert = write("cert.pem", &made.cert.pem());
        let key = write("key.pem", &made.signing_key.serialize_pem());
        let cut = write("cut.pem", &made.cert.pem()[..200]);
        let files = |ca: &Option<PathBuf>, cert: &Option<PathBuf>, key: &Option<PathBuf>| TlsFiles {
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
        };

        let address: Address = "https://head:1".parse().expect("an address");
        let tls = Tls::read(&address, true, &files(&cert, &cert, &key), false).expect("TLS").expect("TLS");
        assert_eq!(format!("{tls:?}"), "Tls(..)");
        assert!(super::super::endpoint(&address, Some(&tls)).is_ok());

        let nowhere = Some(folder.path().join("nowhere.pem"));
        for (files, words) in [
            (TlsFiles::default(), ["https://head:1 needs --tls-ca", "foldwise certs"]),
            (files(&nowhere, &None, &None), ["--tls-ca", "nowhere.pem cannot be read"]),
            (files(&key, &None, &None), ["--tls-ca", "key.pem holds no certificate"]),
            (files(&cut, &None, &None), ["--tls-ca", "cut.pem is no PEM file"]),
            (files(&cert, &cert, &None), ["go together", "--tls-key"]),
            (files(&cert, &None, &key), ["go together", "--tls-cert"]),
            (files(&cert, &cert, &cert), ["--tls-key", "cert.pem holds no private key"]),
        ] {
            let error = refusal("https://head:1", false, &files, false);
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        let other = rcgen::generate_simple_self_signed(vec!["head".to_owned()]).expect("a certificate");
        let other = write("other.pem", &other.signing_key.serialize_pem());
        let error = refusal("https://head:1", false, &files(&cert, &cert, &other), false);
        assert!(error.contains("--tls-cert and --tls-key do not fit"), "{error}");
        let error = refusal("https://a_b..c:1", false, &files(&cert, &None, &None), false);
        assert!(error.contains("neither a name nor an address"), "{error}");
    }
}
