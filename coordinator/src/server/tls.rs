//! TLS as the coordinator speaks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::access::warn_if_others_can_read;

/// The files of TLS, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and its CA.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CA that callers' certificates must be signed by, if they must have one.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// A key of another certificate, or a kind that is not known.
    #[error("--tls-cert {} and --tls-key {} do not fit: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Our TLS library cannot be set up.
    #[error("failed to set up TLS: {0}")]
    SetUp(rustls::Error),
}

/// TLS for every connection.
#[derive(Clone)]
pub struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// Whether callers must have a certificate too.
    pub mutual: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("--tls-cert", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| wrong("--tls-key", &files.key, &error, "private key"))?;
        warn_if_others_can_read(&files.key);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::SetUp)?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let file = |problem| TlsError::File { flag: "--tls-client-ca", path: path.clone(), problem };
                let mut roots = RootCertStore::empty();
                for certificate in certificates("--tls-client-ca", path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| file(format!("has no certificate of a CA: {error}")))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file(error.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|source| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            source,
        })?;
        // The second is for what asks for plain pages: a browser, a scraper of metrics.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), mutual: files.client_ca.is_some() })
    }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(wrong(flag, path, &pem::Error::NoItemsFound, "certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(flag, path, &error, "certificate")),
    }
}

fn wrong(flag: &'static str, path: &Path, error: &pem::Error, wanted: &str) -> TlsError {
    let problem = match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => {
            format!(
                "holds no {wanted}; it should be PEM, with -----BEGIN {}-----",
                wanted.to_ascii_uppercase()
            )
        }
        error => format!("is no PEM file: {error}"),
    };
    TlsError::File { flag, path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_their_flags_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = || rcgen::generate_simple_self_signed(vec!["head".to_owned()]).expect("a certificate");
        let (one, other) = (make(), make());
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let cert = write("cert.pem", one.cert.pem());
        let key = write("key.pem", one.signing_key.serialize_pem());
        let foreign = write("foreign.pem", other.signing_key.serialize_pem());
        let empty = write("empty.pem", String::new());
        let files = |cert: &Path, key: &Path, ca: Option<&Path>| TlsFiles {
            cert: cert.to_owned(),
            key: key.to_owned(),
            client_ca: ca.map(Path::to_owned),
        };
        assert!(Tls::read(&files(&cert, &key, None)).is_ok());
        assert!(Tls::read(&files(&cert, &key, Some(&cert))).is_ok());
        let nowhere = folder.path().join("nowhere.pem");
        for (files, words) in [
            (files(&nowhere, &key, None), ["--tls-cert", "nowhere.pem cannot be read"]),
            (files(&key, &key, None), ["--tls-cert", "key.pem holds no certificate"]),
            (files(&cert, &cert, None), ["--tls-key", "cert.pem holds no private key"]),
            (files(&cert, &foreign, None), ["foreign.pem", "do not fit"]),
            (files(&cert, &key, Some(&empty)), ["--tls-client-ca", "empty.pem holds no certificate"]),
        ] {
            let error = Tls::read(&files).expect_err("refused").to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
