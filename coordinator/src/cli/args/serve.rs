//! `foldwise serve`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::{DatabaseArgs, GateArgs};

/// How short and how long a worker's lease may be, in seconds. A worker says something each third of it, and a fold that is
/// lost waits for all of it.
const LEASES: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;

/// `foldwise serve`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Who can reach the address can use the coordinator. So any address but 127.0.0.1 and ::1 needs TLS and tokens, or the word
--insecure. `foldwise certs FOLDER` makes both for a rehearsal.

A tokens file has a line for each token: its role, a name, and the secret (or sha256: and the digits of its digest). A
worker's token opens what workers need; a writer's makes, steers and evaluates studies and looks at everything; a reader's
only looks. To revoke one, delete its line and start the coordinator again: workers train on meanwhile and come back. The
secret of --token-file or FOLDWISE_TOKEN opens everything.

Examples:
  foldwise serve --db study.db
  foldwise serve --listen 0.0.0.0:7654 --tls-cert server.pem --tls-key server.key --tokens tokens")]
pub struct ServeArgs {
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", env = "FOLDWISE_LISTEN", default_value = "127.0.0.1:7654")]
    pub listen: SocketAddr,
    /// How long a worker may be silent before its folds are given to others; 0.1 to 86400 seconds.
    #[arg(long, value_name = "SECONDS", env = "FOLDWISE_LEASE_SECONDS", default_value = "30", value_parser = lease)]
    pub lease: Duration,
    /// The largest checkpoint that is taken from a worker, in MiB.
    #[arg(long, value_name = "MIB", env = "FOLDWISE_MAX_ARTIFACT", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_artifact: u32,
    /// Who may reach it.
    #[command(flatten)]
    pub gate: GateArgs,
}

fn lease(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write it as a number of seconds, such as 30")?;
    if !LEASES.contains(&seconds) {
        return Err(format!("use {} to {} seconds", LEASES.start(), LEASES.end()));
    }
    Ok(Duration::from_secs_f64(seconds))
}
