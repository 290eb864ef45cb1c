//! Who may reach `foldwise serve`: from flags to what the server is started with, and nothing for strangers by mistake.

use std::net::SocketAddr;

use super::args::GateArgs;
use super::error::CliError;
use crate::coordinator::DataPaths;
use crate::server::tls::{Tls, TlsFiles};
use crate::server::{Security, Token, Tokens};

/// Reads what the flags name.
///
/// # Errors
/// A file that cannot be used, or an address that others can reach without TLS and tokens.
pub fn open(args: &GateArgs, listen: SocketAddr) -> Result<Security, CliError> {
    let usage = |error: &dyn std::error::Error| CliError::usage(error.to_string());
    let token = args.token.read()?.as_deref().map(Token::new).transpose().map_err(CliError::usage)?;
    let has_tokens = args.tokens.is_some() || token.is_some();
    check(listen, args.tls_cert.is_some(), has_tokens, args.insecure)?;

    let mut tokens = match &args.tokens {
        Some(path) => Tokens::read(path).map_err(|error| usage(&error))?,
        None => Tokens::default(),
    };
    if let Some(token) = &token {
        tokens.add_single(token);
    }
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => {
            let files =
                TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: args.tls_client_ca.clone() };
            Some(Tls::read(&files).map_err(|error| usage(&error))?)
        }
        _ => None,
    };
    let data_paths = match &args.data_root {
        Some(folder) => DataPaths::under(folder).map_err(|error| usage(&error))?,
        None if listen.ip().to_canonical().is_loopback() => DataPaths::Anywhere,
        None => DataPaths::Nowhere,
    };
    Ok(Security { tokens, tls, data_paths })
}

/// Refuses to open a door to strangers.
fn check(listen: SocketAddr, tls: bool, tokens: bool, insecure: bool) -> Result<(), CliError> {
    if listen.ip().to_canonical().is_loopback() || (tls && tokens) {
        return Ok(());
    }
    let (danger, missing) = match (tls, tokens) {
        (false, false) => (
            "everybody who reaches this address could use the coordinator",
            "--tls-cert FILE, --tls-key FILE and --tokens FILE (or --token-file FILE)",
        ),
        (true, _) => (
            "everybody who reaches this address could use the coordinator",
            "--tokens FILE (or --token-file FILE)",
        ),
        (false, true) => (
            "everybody on the way to this address could read the tokens and use them",
            "--tls-cert FILE and --tls-key FILE",
        ),
    };
    if insecure {
        tracing::warn!("--listen {listen}: {danger} (--insecure)");
        return Ok(());
    }
    Err(CliError::Usage {
        message: format!("--listen {listen}: {danger}"),
        help: Some(format!(
            "give {missing}; `foldwise certs FOLDER` makes them for a rehearsal. Or listen on 127.0.0.1, or say --insecure"
        )),
    })
}

/// What to do once it listens, a line each.
pub fn next(security: &Security, listening: SocketAddr) -> Vec<String> {
    let (scheme, trust) = match &security.tls {
        Some(tls) if tls.mutual => ("https", " --tls-ca CA --tls-cert CERT --tls-key KEY"),
        Some(_) => ("https", " --tls-ca CA"),
        None => ("http", ""),
    };
    // Nobody can call an address that means all of them.
    let host = if listening.ip().is_unspecified() {
        format!("{}:{}", host_name(), listening.port())
    } else {
        listening.to_string()
    };
    let insecure = if security.tls.is_none() && !listening.ip().to_canonical().is_loopback() {
        " --insecure"
    } else {
        ""
    };
    let token = if security.tokens.is_empty() { "" } else { " --token-file TOKEN" };
    let flags = format!("--coordinator {scheme}://{host}{trust}{token}{insecure}");
    let commands = [
        (format!("foldwise study create FILE {flags}"), "a study to work on"),
        (format!("foldwise-worker {flags}"), "on each machine, once a device"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let lines = commands.iter().map(|(command, purpose)| format!("  {command:width$}  # {purpose}"));
    std::iter::once("next:".to_owned()).chain(lines).collect()
}

/// What this machine calls itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(listen: &str, tls: bool, tokens: bool, insecure: bool) -> Option<String> {
        let error = check(listen.parse().expect("an address"), tls, tokens, insecure).err()?;
        let CliError::Usage { message, help: Some(help) } = error else { panic!("{error}") };
        Some(format!("{message}\n{help}"))
    }

    #[test]
    fn strangers_find_no_door() {
        for listen in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(refusal(listen, false, false, false), None, "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fe80::1]:1"] {
            assert_eq!(refusal(listen, true, true, false), None, "{listen}");
            for (tls, tokens, missing) in [
                (false, false, "--tls-cert FILE, --tls-key FILE and --tokens FILE"),
                (false, true, "give --tls-cert FILE and --tls-key FILE;"),
                (true, false, "give --tokens FILE"),
            ] {
                let said = refusal(listen, tls, tokens, false).expect(listen);
                for words in [&format!("--listen {listen}"), missing, "foldwise certs", "--insecure"] {
                    assert!(said.contains(words), "{said}");
                }
                assert_eq!(refusal(listen, tls, tokens, true), None, "{listen}");
            }
        }
    }

    #[test]
    fn what_to_do_next_has_the_flags_that_it_takes() {
        let lines = next(&Security::default(), "127.0.0.1:7654".parse().expect("an address"));
        let flags = "--coordinator http://127.0.0.1:7654";
        assert_eq!(lines[0], "next:");
        assert_eq!(lines[1], format!("  foldwise study create FILE {flags}  # a study to work on"));
        let tokens = Tokens::single(&Token::new("secret").expect("a token"));
        let security = Security { tokens, ..Security::default() };
        let lines = next(&security, "0.0.0.0:7654".parse().expect("an address"));
        assert!(
            lines[2].contains(&format!("http://{}:7654 --token-file TOKEN --insecure", host_name())),
            "{lines:?}"
        );
    }
}
