//! Who may reach a coordinator, whom its callers trust, and certificates for a rehearsal.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use foldwise_proto::dial;

/// The secret that a coordinator asks for.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// A file that holds the secret to know at the coordinator; in place of FOLDWISE_TOKEN.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The secret itself. Hidden, because a command line can be read by everyone on the machine.
    #[arg(long, hide = true, env = "FOLDWISE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// How a coordinator is called over https://.
#[derive(Debug, Default, Args)]
pub struct TlsArgs {
    /// The certificate of the CA that signed the coordinator's, in PEM; for https://.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// A certificate of our own, for a coordinator that asks for one (mutual TLS).
    #[arg(long, value_name = "FILE", env = "FOLDWISE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Send the token to another machine over http://, where everybody on the way can read it.
    #[arg(long, env = "FOLDWISE_INSECURE", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub insecure: bool,
}

impl TlsArgs {
    /// The files.
    pub fn files(&self) -> dial::TlsFiles {
        dial::TlsFiles { ca: self.tls_ca.clone(), cert: self.tls_cert.clone(), key: self.tls_key.clone() }
    }
}

/// Who may reach `foldwise serve`.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Our certificate, and those between it and its CA, in PEM: speak TLS.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_SERVE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_SERVE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take only callers with a certificate that this CA signed (mutual TLS).
    #[arg(long, value_name = "FILE", env = "FOLDWISE_SERVE_TLS_CLIENT_CA", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// The tokens that open something, a line `ROLE NAME SECRET` each; ROLE is worker, writer or reader.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_TOKENS")]
    pub tokens: Option<PathBuf>,
    /// One token that opens everything. Beside --tokens only the flag counts: the variables are those of callers.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Listen to other machines without TLS or without tokens all the same.
    #[arg(long, env = "FOLDWISE_SERVE_INSECURE", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub insecure: bool,
    /// The folder under which studies from other machines may name data by its path.
    #[arg(long, value_name = "FOLDER", env = "FOLDWISE_DATA_ROOT")]
    pub data_root: Option<PathBuf>,
}

/// `foldwise certs`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Makes a CA, a certificate for the coordinator, one for its callers, and a token for each role, all for a year, and says how
to use them. Nothing that is there is replaced. Whoever has ca.key can make certificates that are trusted: keep it, or
delete it. For more than a rehearsal, take your site's own CA.

Examples:
  foldwise certs certs
  foldwise certs certs --host head.cluster --host 10.0.0.5")]
pub struct CertsArgs {
    /// The folder to make them in.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// A name or an IP address that the coordinator is called by, besides this machine's name, localhost, 127.0.0.1 and ::1;
    /// repeat it for more.
    #[arg(long = "host", value_name = "NAME", env = "FOLDWISE_CERTS_NAMES", value_delimiter = ',')]
    pub hosts: Vec<String>,
}
