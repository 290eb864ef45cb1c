//! `foldwise certs`: certificates and tokens to try a coordinator with TLS.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::args::CertsArgs;
use super::error::CliError;
use super::gate::host_name;
use super::say;
use crate::server::Token;
use crate::server::access::Role;

/// How long the certificates are good for.
const VALID: Duration = Duration::from_secs(365 * DAY);
const DAY: u64 = 24 * 3_600;

/// Makes a CA, certificates that it signed, and tokens.
///
/// # Errors
/// A name that no certificate can have, files that are there already, or a disk that does not take them.
pub fn execute(args: &CertsArgs) -> Result<(), CliError> {
    let own = host_name();
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    // A machine may call itself what no certificate could.
    if CertificateParams::new([own.clone()]).is_ok() {
        hosts.push(own.clone());
    }
    for host in args.hosts.iter().filter(|host| !host.is_empty()) {
        if CertificateParams::new([host.clone()]).is_err() || host.contains(['/', ':', ' ']) && !is_ip(host) {
            return Err(CliError::usage(format!(
                "--host {host}: this is neither a name nor an IP address; write it without https:// and without a port"
            )));
        }
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    let files = make(&hosts).map_err(|error| CliError::Other(error.into()))?;
    write(&args.folder, &files)?;
    let called = args.hosts.first().unwrap_or(&own);
    report(&args.folder, called, &hosts);
    Ok(())
}

fn is_ip(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

/// A file's name and what is in it.
type File = (&'static str, String);

fn make(hosts: &[String]) -> Result<Vec<File>, rcgen::Error> {
    let (from, to) = validity(SystemTime::now());
    let (from, to) = (calendar(from), calendar(to));
    let name = |params: &mut CertificateParams, name: String| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    };
    // Two of them have two names, so that one is not taken for the other.
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut ca = CertificateParams::default();
    name(&mut ca, format!("Foldwise rehearsal CA {}", &id[..8]));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let ca_key_pem = ca_key.serialize_pem();
    let issuer = Issuer::new(ca, ca_key);

    let leaf = |called: &str, hosts: Vec<String>, purpose: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::new(hosts)?;
        name(&mut params, called.to_owned());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok::<_, rcgen::Error>((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    };
    let (server, server_key) = leaf("foldwise serve", hosts.to_vec(), ExtendedKeyUsagePurpose::ServerAuth)?;
    let (client, client_key) = leaf("foldwise client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?;

    let [worker, writer, reader] =
        [Role::Worker, Role::Writer, Role::Reader].map(|role| (role, Token::random()));
    let mut tokens = String::from(
        "# ROLE NAME SECRET, the secret here as its digest; the secrets are in worker.token, writer.token and reader.token\n",
    );
    for (role, token) in [&worker, &writer, &reader] {
        tokens.push_str(&format!("{role} {role}-1 sha256:{}\n", token.digest()));
    }
    let secret = |(_, token): &(Role, Token)| format!("{}\n", token.reveal());
    Ok(vec![
        ("ca.pem", ca_pem),
        ("ca.key", ca_key_pem),
        ("server.pem", server),
        ("server.key", server_key),
        ("client.pem", client),
        ("client.key", client_key),
        ("tokens", tokens),
        ("worker.token", secret(&worker)),
        ("writer.token", secret(&writer)),
        ("reader.token", secret(&reader)),
    ])
}

/// From yesterday, for clocks that are behind.
fn validity(now: SystemTime) -> (SystemTime, SystemTime) {
    (now - Duration::from_secs(DAY), now + VALID)
}

type Date = (i32, u8, u8);

/// Year, month and day of a time, in UTC.
fn calendar(time: SystemTime) -> Date {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let mut parts = text.split(['-', 'T']);
    let mut number = || parts.next().and_then(|part| part.parse::<u16>().ok());
    match (number(), number(), number()) {
        (Some(year), Some(month), Some(day)) => (year.into(), month as u8, day as u8),
        _ => (1970, 1, 1),
    }
}

/// Writes all of them, or none if one is there.
fn write(folder: &Path, files: &[File]) -> Result<(), CliError> {
    let failed = |path: &Path, error: std::io::Error| CliError::Happened {
        message: format!("failed to write {}: {error}", path.display()),
        help: None,
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(folder, error))?;
    if let Some((name, _)) = files.iter().find(|(name, _)| folder.join(name).symlink_metadata().is_ok()) {
        return Err(CliError::Usage {
            message: format!("{} is there already, and is not replaced", folder.join(name).display()),
            help: Some("name another folder, or delete that one if nobody uses its certificates".into()),
        });
    }
    for (name, content) in files {
        let path = folder.join(name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.and_then(|mut file| file.write_all(content.as_bytes())).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn report(folder: &Path, host: &str, hosts: &[String]) {
    let at = |name: &str| super::next::quoted(&folder.join(name).display().to_string());
    let url = if is_ip(host) && host.contains(':') {
        format!("https://[{host}]:7654")
    } else {
        format!("https://{host}:7654")
    };
    let call = |token: &str| {
        format!(
            "--coordinator {url} --tls-ca {} --tls-cert {} --tls-key {} --token-file {}",
            at("ca.pem"),
            at("client.pem"),
            at("client.key"),
            at(token)
        )
    };
    say(&format!(
        "made a CA, a certificate for {}, one for callers, and a token for each role in {}",
        hosts.join(", "),
        folder.display()
    ));
    say("next:");
    say(&format!(
        "  foldwise serve --listen 0.0.0.0:7654 --tls-cert {} --tls-key {} --tls-client-ca {} --tokens {}",
        at("server.pem"),
        at("server.key"),
        at("ca.pem"),
        at("tokens")
    ));
    say(&format!("  foldwise study create FILE {}", call("writer.token")));
    say(&format!("  foldwise-worker {}", call("worker.token")));
    say(&format!("  foldwise study list {}", call("reader.token")));
    say(
        "Other machines need ca.pem, client.pem, client.key and the token of their role, and nothing else of it.",
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::server::Tokens;
    use crate::server::tls::{Tls, TlsFiles};

    #[test]
    fn what_is_made_can_be_served_and_is_for_its_owner_only() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("certs");
        let args =
            CertsArgs { folder: folder.clone(), hosts: vec!["head.cluster".into(), "10.0.0.5".into()] };
        execute(&args).expect("certificates");
        let names: Vec<_> =
            std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file")).collect();
        assert_eq!(names.len(), 10);
        for entry in names {
            let mode = entry.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        }
        assert_eq!(folder.metadata().expect("a folder").permissions().mode() & 0o777, 0o700);
        Tls::read(&TlsFiles {
            cert: folder.join("server.pem"),
            key: folder.join("server.key"),
            client_ca: Some(folder.join("ca.pem")),
        })
        .expect("TLS");
        let tokens = Tokens::read(&folder.join("tokens")).expect("tokens");
        let debug = format!("{tokens:?}");
        for role in ["worker", "writer", "reader"] {
            let secret = std::fs::read_to_string(folder.join(format!("{role}.token"))).expect("a secret");
            assert_eq!(secret.trim().len(), 64);
            assert!(debug.contains(&format!("{role}-1")) && !debug.contains(secret.trim()), "{debug}");
        }

        let before = std::fs::read(folder.join("ca.key")).expect("a key");
        std::fs::remove_file(folder.join("ca.pem")).expect("removed");
        let error = execute(&args).expect_err("it is there").to_string();
        assert!(error.contains("ca.key is there already, and is not replaced"), "{error}");
        assert!(!folder.join("ca.pem").exists(), "none is written if one is there");
        assert_eq!(std::fs::read(folder.join("ca.key")).expect("a key"), before);
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in ["https://head", "head:7654", "a b", "käse"] {
            let folder = tempfile::tempdir().expect("a folder");
            let args = CertsArgs { folder: folder.path().to_owned(), hosts: vec![host.into()] };
            let error = execute(&args).expect_err(host).to_string();
            assert!(error.contains(&format!("--host {host}")), "{error}");
        }
    }

    #[test]
    fn days_of_the_calendar() {
        let at = |days: u64| calendar(SystemTime::UNIX_EPOCH + Duration::from_secs(days * DAY));
        assert_eq!((at(0), at(59), at(11_016)), ((1970, 1, 1), (1970, 3, 1), (2000, 2, 29)));
        let (from, to) = validity(SystemTime::UNIX_EPOCH + Duration::from_secs(10 * DAY));
        assert_eq!((calendar(from), calendar(to)), ((1970, 1, 10), (1971, 1, 11)));
    }
}
