//! Who is let in and who is not: tokens and their roles, TLS and its troubles, addresses, limits, and paths of data, with
//! real processes on real sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use foldwise_e2e::{Running, Scene, Server, Study, until};
use foldwise_proto::FILE_DESCRIPTORS;
use foldwise_proto::dial::{Address, Tls, TlsFiles, endpoint};
use prost::Message;
use prost_types::FileDescriptorSet;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const ROLES: [&str; 3] = ["worker", "writer", "reader"];

/// Certificates and tokens in the folder `certs`.
fn certs(scene: &Scene) -> String {
    scene.foldwise("certs certs --host head.cluster").expect_code(0).stderr
}

fn secret(scene: &Scene, role: &str) -> String {
    String::from_utf8(scene.bytes(&format!("certs/{role}.token"))).expect("UTF-8").trim().to_owned()
}

const SERVE: &str = "--tls-cert certs/server.pem --tls-key certs/server.key --tokens certs/tokens";
const MUTUAL: &str = "--tls-client-ca certs/ca.pem";
const TRUST: &str = "--tls-ca certs/ca.pem";
const CLIENT: &str = "--tls-cert certs/client.pem --tls-key certs/client.key";

/// A server that other machines can reach; the URL is that of this one.
fn serve_all(scene: &Scene, words: &str) -> Server {
    let running = scene.start(&format!("serve --listen 0.0.0.0:0 {words}"));
    let line = running.until_stderr("listening on http");
    let url = line.split(['\u{20}', ',']).find(|word| word.starts_with("http")).expect("an address");
    Server { url: url.replace("0.0.0.0", "127.0.0.1"), running }
}

/// Every method of our services.
fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTORS).expect("descriptors");
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                paths.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    assert!(paths.len() >= 19, "{paths:?}");
    paths
}

/// Who may call a method, by what its name says.
fn opens(role: &str, path: &str) -> bool {
    let (service, method) = path.rsplit_once('/').expect("a path");
    let looks = ["Get", "List", "Explain", "Replay", "Watch", "Export", "Fetch"];
    let looks = looks.iter().any(|word| method.starts_with(word));
    match role {
        "worker" => service.ends_with("WorkerService"),
        "writer" => service.ends_with("StudyService"),
        _ => service.ends_with("StudyService") && looks,
    }
}

/// What comes of a method that is called with an empty message.
async fn call(channel: &Channel, path: &str, tokens: &[&str]) -> Result<(), Status> {
    let mut request = Request::new(tokio_stream::iter([()]));
    for token in tokens {
        let value: AsciiMetadataValue = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().append("authorization", value);
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let path: PathAndQuery = path.parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let mut answers = client.streaming(request, path, codec).await?.into_inner();
    answers.message().await.map(|_| ())
}

async fn connect(scene: &Scene, server: &Server, client: bool) -> Channel {
    let path = |name: &str| Some(scene.path(&format!("certs/{name}")));
    let files = TlsFiles {
        ca: path("ca.pem"),
        cert: path("client.pem").filter(|_| client),
        key: path("client.key").filter(|_| client),
    };
    let address: Address = server.url.parse().expect("an address");
    let tls = Tls::read(&address, true, &files, false).expect("files");
    endpoint(&address, tls.as_ref()).expect("an endpoint").connect().await.expect("a connection")
}

#[tokio::test]
async fn nothing_answers_but_the_refusal() {
    let scene = Scene::new();
    certs(&scene);
    let mut command = scene.command(&format!("serve --db study.db --listen 0.0.0.0:0 {SERVE} {MUTUAL}"));
    // The most it can say, to see that it says no secrets.
    command.env("RUST_LOG", "trace");
    let running = Running::start(command);
    let line = running.until_stderr("listening on https://0.0.0.0:");
    let url = line.split(['\u{20}', ',']).find(|word| word.starts_with("https://")).expect("an address");
    let server = Server { url: url.replace("0.0.0.0", "127.0.0.1"), running };
    let database = scene.database("study.db");
    let before = database.dump();

    let channel = connect(&scene, &server, true).await;
    let secrets: BTreeMap<&str, String> = ROLES.iter().map(|role| (*role, secret(&scene, role))).collect();
    let wrong = secrets["writer"].replace(|digit: char| digit.is_ascii_digit(), "f");
    let half = &secrets["writer"][..32];
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for path in methods().iter().map(String::as_str).chain([reflection, "/foldwise.v1.StudyService/NotThere"])
    {
        for tokens in [&[][..], &[""], &[&wrong], &[half], &["x"], &[&secrets["writer"], &secrets["writer"]]]
        {
            let status = call(&channel, path, tokens).await.expect_err(path);
            assert_eq!(status.code(), Code::Unauthenticated, "{path} {tokens:?}: {status}");
            assert!(status.message().contains("--token-file"), "{status}");
        }
    }
    for role in ROLES {
        for path in methods() {
            let code = call(&channel, &path, &[&secrets[role]]).await.err().map(|status| status.code());
            let is_in = !matches!(code, Some(Code::Unauthenticated | Code::PermissionDenied));
            assert_eq!(is_in, opens(role, &path), "{role} {path}: {code:?}");
        }
        let status = call(&channel, "/foldwise.v1.StudyService/NotThere", &[&secrets[role]]).await;
        assert_eq!(status.expect_err("closed").code(), Code::PermissionDenied);
    }
    let stop = call(&channel, "/foldwise.v1.StudyService/StopStudy", &[&secrets["reader"]]).await;
    let message = stop.expect_err("refused").message().to_owned();
    assert!(
        message.contains("StopStudy needs a writer's token, and `reader-1` is a reader's token"),
        "{message}"
    );
    call(&channel, "/grpc.health.v1.Health/Check", &[]).await.expect("health is open");
    assert_eq!(database.dump(), before, "a refused call changes something");

    let said = server.running.kill_tree().stderr;
    for kind in ["no_token", "wrong_token", "role", "no_rule"] {
        assert!(said.contains(&format!("refused=\"{kind}\"")), "{kind} is not noted");
    }
    for secret in secrets.values().map(String::as_str).chain([wrong.as_str(), half]) {
        assert!(!said.contains(secret), "a secret is logged");
    }
}

#[test]
fn each_role_does_what_it_is_for() {
    let scene = Scene::new();
    certs(&scene);
    scene.write("study.toml", Study::default().to_string());
    scene.write("wrong", "no-such-token-anywhere\n");
    let server = serve_all(&scene, &format!("--db study.db {SERVE}"));
    let at = format!("--coordinator {} {TRUST}", server.url);
    let with =
        |words: &str, role: &str| scene.foldwise(&format!("{words} {at} --token-file certs/{role}.token"));

    with("study create study.toml", "reader")
        .expect_code(2)
        .expect_stderr(&["CreateStudy needs a writer's token"]);
    with("study create study.toml", "worker")
        .expect_code(2)
        .expect_stderr(&["CreateStudy needs a writer's token"]);
    with("study create study.toml", "writer").expect_code(0);
    for role in ["writer", "reader"] {
        with("study show e2e", role).expect_code(0);
        with("trial list e2e", role).expect_code(0);
    }
    with("study show e2e", "worker")
        .expect_code(2)
        .expect_stderr(&["GetStudy needs a reader's token", "`worker-1`"]);
    for words in ["study pause e2e", "study stop e2e", "trial enqueue e2e --params {dropout=0.1}"] {
        with(words, "reader").expect_code(2);
    }
    with("study pause e2e", "reader").expect_code(2).expect_stderr(&["PauseStudy needs a writer's token"]);

    for words in ["", "--token-file wrong"] {
        scene
            .foldwise(&format!("study list {at} {words}"))
            .expect_code(2)
            .expect_stderr(&["token", "--token-file"]);
        let ended = scene.worker(&format!("{at} {words}")).finish().expect_code(78);
        ended.expect_stderr(&["refuses this worker", "--token-file"]);
    }
    for role in ["writer", "reader"] {
        let ended = scene.worker(&format!("{at} --token-file certs/{role}.token")).finish().expect_code(78);
        ended.expect_stderr(&["Session needs a worker's token"]);
    }
    assert_eq!(scene.database("study.db").number("SELECT count(*) FROM worker"), 0);
}

/// What `foldwise certs` says to do, done: a server with TLS on all addresses, a study, a worker that trains it.
#[test]
fn the_commands_of_certs_lead_to_a_trained_study() {
    let scene = Scene::new();
    let study = Study { trials: 2, ..Study::default() };
    scene.write("study.toml", study.to_string());
    let said = certs(&scene);
    for name in ["ca.pem", "server.key", "client.pem", "tokens", "worker.token"] {
        assert!(scene.path(&format!("certs/{name}")).is_file(), "{name}");
    }
    scene.foldwise("certs certs").expect_code(2).expect_stderr(&["is there already, and is not replaced"]);
    let line = |start: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(start));
        line.unwrap_or_else(|| panic!("`{start}` in\n{said}")).to_owned()
    };
    let server = serve_all(
        &scene,
        &format!("--db study.db {}", line("foldwise serve").replace("--listen 0.0.0.0:7654", "")),
    );
    let next = server.running.until_stderr("foldwise-worker --coordinator https://");
    assert!(next.contains("--tls-ca CA --tls-cert CERT --tls-key KEY --token-file TOKEN"), "{next}");
    let here = |text: String| {
        text.replace("https://head.cluster:7654", &server.url.replace("127.0.0.1", "localhost"))
    };
    let create = here(line("foldwise study create FILE"));
    scene
        .foldwise(&format!("study create study.toml {create} --set data.dataset=\"synthetic-digits\""))
        .expect_code(0);
    let worker = scene.worker(&format!("{} --name w", here(line("foldwise-worker"))));
    let list = here(line("foldwise study list"));
    until("the study's end", || {
        let studies = scene.foldwise(&format!("study list {list} -o json")).expect_code(0).json();
        (studies[0]["state"] == "ended").then_some(())
    });
    let database = scene.database("study.db");
    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 2);
    assert_eq!(database.number("SELECT count(*) FROM epoch"), 2 * 2 * 3);
    worker.signal(Signal::TERM);
    worker.finish().expect_code(0);
}

/// A CA and what it signs, written by hand: `foldwise certs` makes nothing that is wrong.
struct Forge {
    issuer: Issuer<'static, KeyPair>,
}

impl Forge {
    fn new(scene: &Scene, file: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        scene.write(file, params.self_signed(&key).expect("a certificate").pem());
        Self { issuer: Issuer::new(params, key) }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, scene: &Scene, name: &str, host: &str, ends: i32, purpose: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        scene.write(&format!("{name}.pem"), params.signed_by(&key, &self.issuer).expect("signed").pem());
        scene.write(&format!("{name}.key"), key.serialize_pem());
    }
}

#[test]
fn what_is_wrong_with_tls_is_said_and_not_tried_again() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let scene = Scene::new();
    certs(&scene);
    let forge = Forge::new(&scene, "forge.pem");
    forge.sign(&scene, "expired", "127.0.0.1", 2002, ServerAuth);
    forge.sign(&scene, "elsewhere", "elsewhere.example", 2999, ServerAuth);
    forge.sign(&scene, "foreign", "127.0.0.1", 2999, ClientAuth);
    let serve = |name: &str, words: &str| scene.serve(&format!("--db {name}.db {words}"));
    let expired = serve("a", "--tls-cert expired.pem --tls-key expired.key --tokens certs/tokens");
    let elsewhere = serve("b", "--tls-cert elsewhere.pem --tls-key elsewhere.key --tokens certs/tokens");
    let good = serve("c", SERVE);
    let mutual = serve("d", &format!("{SERVE} {MUTUAL}"));
    let plain = serve("e", "");

    let https = |server: &Server| server.url.replace("http://", "https://");
    let http = |server: &Server| server.url.replace("https://", "http://");
    let cases: Vec<(String, &[&str])> = vec![
        (format!("{} --tls-ca forge.pem", good.url), &["not signed by a CA in the --tls-ca file"]),
        (format!("{} --tls-ca forge.pem", expired.url), &["certificate has expired"]),
        (format!("{} --tls-ca forge.pem", elsewhere.url), &["is for elsewhere.example, not for 127.0.0.1"]),
        (format!("{} {TRUST}", mutual.url), &["client certificate", "--tls-cert and --tls-key"]),
        (
            format!("{} {TRUST} --tls-cert foreign.pem --tls-key foreign.key", mutual.url),
            &["does not accept the client certificate"],
        ),
        (http(&good), &["it speaks TLS there", "https://127.0.0.1"]),
        (format!("{} {TRUST}", https(&plain)), &["does not speak TLS there"]),
    ];
    for (flags, words) in &cases {
        let words: Vec<&str> =
            words.iter().copied().chain(["no safe connection to the coordinator"]).collect();
        // What only looks, what would change something, and what would work.
        let token = |role: &str| format!("--coordinator {flags} --token-file certs/{role}.token");
        scene.foldwise(&format!("study list {}", token("reader"))).expect_code(2).expect_stderr(&words);
        scene.foldwise(&format!("study stop e2e {}", token("writer"))).expect_code(2).expect_stderr(&words);
        scene.worker(&token("worker")).finish().expect_code(78).expect_stderr(&words);
    }
    let said = mutual.running.stderr();
    assert!(!said.contains("panicked"), "{said}");

    // With everything right, the same servers answer.
    let list = |words: String| scene.foldwise(&format!("study list --token-file certs/reader.token {words}"));
    list(format!("--coordinator {} {TRUST}", good.url)).expect_code(0);
    list(format!("--coordinator {} {TRUST} {CLIENT}", mutual.url)).expect_code(0);

    // Something else than us on the wrong port hears why, too.
    assert!(raw(&http(&good)).contains("this port speaks TLS: use https://"), "{}", raw(&http(&good)));
    // And what is no protocol at all breaks nothing.
    for server in [&good, &mutual, &plain] {
        let mut stream = TcpStream::connect(host(&server.url)).expect("a connection");
        stream.write_all(&[0x16, 3, 1, 255, 255, 1, 2, 3]).expect("written");
        drop(stream);
    }
    list(format!("--coordinator {} {TRUST}", good.url)).expect_code(0);
}

fn host(url: &str) -> &str {
    url.split("://").nth(1).expect("an address")
}

/// What a page answers to plain HTTP.
fn raw(url: &str) -> String {
    let mut stream = TcpStream::connect(host(url)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn strangers_find_no_door_by_mistake() {
    let scene = Scene::new();
    certs(&scene);
    scene.write("token", "secret\n");
    scene.write("short", "worker w secret\n");
    scene.write("garbled", "no PEM\n");
    let tls = "--tls-cert certs/server.pem --tls-key certs/server.key";
    for (words, said) in [
        ("", &["--listen 0.0.0.0:0", "could use the coordinator", "--tls-cert FILE", "foldwise certs"][..]),
        ("--token-file token", &["could read the tokens", "--tls-cert FILE"]),
        ("--tokens certs/tokens", &["could read the tokens", "--tls-cert FILE"]),
        (tls, &["could use the coordinator", "--tokens FILE"]),
        (&format!("{tls} --tokens short"), &["short:1: ", "fewer than 16 letters"]),
        (&format!("{tls} --tokens nowhere"), &["failed to read the tokens file nowhere"]),
        ("--tls-cert certs/server.pem --tls-key certs/client.key --tokens certs/tokens", &["do not fit"]),
        (
            "--tls-cert garbled --tls-key certs/server.key --tokens certs/tokens",
            &["garbled holds no certificate"],
        ),
        (&format!("{tls} --tls-client-ca garbled --tokens certs/tokens"), &["--tls-client-ca", "garbled"]),
        (&format!("{tls} --tokens certs/tokens --data-root nowhere"), &["--data-root nowhere"]),
        ("--tls-cert certs/server.pem --tokens certs/tokens", &["--tls-key"]),
    ] {
        for listen in ["0.0.0.0:0", "[::]:0"] {
            let ended =
                scene.foldwise(&format!("serve --db study.db --listen {listen} {words}")).expect_code(2);
            for word in said {
                assert!(
                    ended.stderr.contains(&word.replace("0.0.0.0:0", listen)),
                    "{word}\n{}",
                    ended.stderr
                );
            }
        }
        assert!(!scene.path("study.db").exists(), "{words}");
    }
    // It says so where it is wanted all the same, and where a file is open to all.
    let server = serve_all(&scene, "--db study.db --token-file token --insecure");
    server.running.until_stderr("could read the tokens and use them (--insecure)");
    scene.foldwise(&format!("study list --coordinator {} --token-file token", server.url)).expect_code(0);
    std::fs::set_permissions(scene.path("certs/tokens"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("permissions");
    let open = serve_all(&scene, &format!("--db open.db {SERVE}"));
    open.running.until_stderr("others on this machine can get at the secrets in certs/tokens; chmod 600");

    // A caller does not send its token into the open either.
    let flags = "--coordinator http://192.0.2.1:7654 --token-file token";
    scene
        .foldwise(&format!("study list {flags}"))
        .expect_code(2)
        .expect_stderr(&["http://192.0.2.1:7654", "--insecure"]);
    scene.worker(flags).finish().expect_code(78).expect_stderr(&["http://192.0.2.1:7654", "--insecure"]);
    let flags = "--coordinator https://192.0.2.1:7654 --token-file token";
    scene.worker(flags).finish().expect_code(78).expect_stderr(&["needs --tls-ca FILE"]);
}

#[test]
fn a_study_from_afar_names_only_data_that_it_may() {
    let scene = Scene::new();
    for folder in ["data", "data/small", "other", "other/small"] {
        std::fs::create_dir(scene.path(folder)).expect("a folder");
    }
    for folder in ["data/small", "other/small"] {
        images(&scene, folder);
    }
    std::os::unix::fs::symlink(scene.path("other"), scene.path("data/out")).expect("a link");
    let good = Study::default().to_string();
    let create = |server: &Server, dataset: &Path| {
        let study = good.replace(&format!("\"{}\"", Study::dataset()), &format!("\"{}\"", dataset.display()));
        scene.write("study.toml", study.replace("limit = 240", ""));
        scene.foldwise(&format!("study create study.toml --coordinator {}", server.url))
    };
    let at = |path: &str| scene.path(path);
    // To itself a machine says what it likes.
    let local = scene.serve("--db local.db");
    create(&local, &at("other/small")).expect_code(0);

    let nowhere = serve_all(&scene, "--db nowhere.db --insecure");
    create(&nowhere, &at("data/small")).expect_code(2).expect_stderr(&["data.dataset", "--data-root FOLDER"]);
    let under = serve_all(&scene, "--db under.db --insecure --data-root data");
    for (path, words) in [
        ("other/small", "does not lie under"),
        ("data/out/small", "does not lie under"),
        ("other/not-there", "does not lie under"),
        ("data/../other/small", "has `..` in it"),
        ("data/not-there", "no such file or folder"),
    ] {
        create(&under, &at(path)).expect_code(2).expect_stderr(&["data.dataset", words]);
    }
    create(&under, Path::new("/etc/passwd")).expect_code(2).expect_stderr(&["does not lie under"]);
    assert_eq!(scene.database("under.db").number("SELECT count(*) FROM study"), 0);
    create(&under, &at("data/small")).expect_code(0);
}

/// Six black images of 28x28.
fn images(scene: &Scene, folder: &str) {
    let mut bytes = vec![0, 0, 8, 3];
    for number in [6_u32, 28, 28] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.resize(bytes.len() + 6 * 28 * 28, 0);
    scene.write(&format!("{folder}/train-images-idx3-ubyte"), bytes);
}

#[tokio::test]
async fn a_worker_with_an_impossible_name_is_refused_in_words() {
    use foldwise_proto::v1::from_worker::Message;
    use foldwise_proto::v1::worker_service_client::WorkerServiceClient;
    use foldwise_proto::v1::{AttemptKey, FromWorker, Held, Hello};

    let scene = Scene::new();
    let server = scene.serve("--db study.db");
    let before = scene.database("study.db").dump();
    let good = Hello {
        wire_version: foldwise_proto::WIRE_VERSION,
        name: "w".into(),
        incarnation: "1".into(),
        device: "cpu".into(),
        slots: 1,
        held: Vec::new(),
    };
    let held =
        Held { key: Some(AttemptKey { study: 1, trial: 0, fold: 0, attempt: 1 }), acknowledged_epoch: 0 };
    for (hello, words) in [
        (Hello { name: "n".repeat(257), ..good.clone() }, "257 bytes; use 1 to 256"),
        (Hello { name: "\u{1b}[2J".into(), ..good.clone() }, "control character"),
        (Hello { device: String::new(), ..good.clone() }, "`device`"),
        (Hello { slots: 257, ..good.clone() }, "257 are too many"),
        (Hello { held: vec![held; 2_000], ..good.clone() }, "2000 attempts are too many"),
    ] {
        let channel = Channel::from_shared(server.url.clone()).expect("an address").connect().await;
        let hello = FromWorker { message: Some(Message::Hello(hello)) };
        let mut client = WorkerServiceClient::new(channel.expect("a connection"));
        let status = client.session(tokio_stream::iter([hello])).await.expect_err(words);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!(scene.database("study.db").dump(), before);
    let ended = scene.worker(&format!("--coordinator {} --name {}", server.url, "n".repeat(300))).finish();
    ended.expect_code(78).expect_stderr(&["--name", "300 bytes; use 1 to 256"]);
}
