//! What whoever watches a coordinator sees: `/metrics`, `/healthz`, the log as JSON, and the ids of requests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use foldwise_e2e::{Scene, Server, Study, until};
use foldwise_proto::v1::StudyRequest;
use foldwise_proto::v1::study_service_client::StudyServiceClient;
use rustix::process::Signal;
use tonic::Request;

/// A page over plain HTTP: its status line, its headers, its body.
fn page(server: &Server, path: &str, headers: &str) -> (u16, String, String) {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("headers");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

/// Every sample of the page by its name and labels; checks that the page is what a scraper takes.
fn samples(page: &str) -> BTreeMap<String, f64> {
    assert!(page.trim_end().ends_with("# EOF"), "{page}");
    assert_eq!(page.matches("# EOF").count(), 1);
    let mut samples = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        // The end of a chunk of HTTP/1.1 may stand between two lines.
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        assert!(name.starts_with("foldwise_"), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(samples.insert(name.to_owned(), value), None, "{name} stands there twice");
    }
    samples
}

#[test]
fn the_metrics_agree_with_the_database() {
    let scene = Scene::new();
    scene.write("study.toml", Study { pruner: Study::MEDIAN, trials: 5, ..Study::default() }.to_string());
    let server = scene.serve("--db study.db");
    let url = &server.url;
    let (status, head, before) = page(&server, "/metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert_eq!(samples(&before)["foldwise_epochs_recorded_total"], 0.0);

    let worker = scene.worker(&format!("--coordinator {url} --name a --slots 2"));
    scene.foldwise(&format!("study create study.toml --coordinator {url}")).expect_code(0);
    scene.foldwise(&format!("study show nothing --coordinator {url}")).expect_code(2);
    let database = scene.database("study.db");
    let ended = "SELECT count(*) FROM study WHERE state = 'ended'";
    until("the study's end", || (database.number_so_far(ended) == 1).then_some(()));

    let (_, _, text) = page(&server, "/metrics", "");
    let found = samples(&text);
    let metric = |name: &str| *found.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    let stored = |sql: &str| database.number(sql) as f64;
    assert_eq!(metric("foldwise_epochs_recorded_total"), stored("SELECT count(*) FROM epoch"));
    let ends = stored("SELECT count(*) FROM attempt WHERE ended_at IS NOT NULL");
    assert_eq!(metric("foldwise_acknowledgements_total"), metric("foldwise_epochs_recorded_total") + ends);
    for state in ["complete", "pruned", "failed", "running"] {
        let sql = format!("SELECT count(*) FROM trial WHERE state = '{state}'");
        assert_eq!(metric(&format!("foldwise_trials{{state=\"{state}\"}}")), stored(&sql), "{state}");
    }
    assert_eq!(metric("foldwise_studies{state=\"ended\"}"), 1.0);
    assert_eq!(metric("foldwise_studies{state=\"running\"}"), 0.0);
    let attempts: f64 = found
        .iter()
        .filter(|(name, _)| name.starts_with("foldwise_attempts_ended_total{"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(attempts, ends);
    let complete = "SELECT count(*) FROM attempt WHERE state = 'complete'";
    assert_eq!(
        metric("foldwise_attempts_ended_total{state=\"complete\",failure=\"none\"}"),
        stored(complete)
    );
    assert_eq!(metric("foldwise_workers_connected"), 1.0);
    assert_eq!((metric("foldwise_slots"), metric("foldwise_slots_free")), (2.0, 2.0));
    assert_eq!((metric("foldwise_leases_open"), metric("foldwise_folds{state=\"running\"}")), (0.0, 0.0));
    assert_eq!(metric("foldwise_commits_total"), metric("foldwise_commit_seconds_count"));
    assert_eq!(metric("foldwise_commits_failed_total"), 0.0);
    assert!(metric("foldwise_commit_writes_sum") >= metric("foldwise_epochs_recorded_total"));
    assert!(metric("foldwise_wal_bytes") > 0.0 && metric("foldwise_database_bytes") > 0.0);
    let call = |method: &str, code: &str| {
        metric(&format!("foldwise_requests_total{{method=\"/foldwise.v1.{method}\",code=\"{code}\"}}"))
    };
    assert_eq!(call("StudyService/CreateStudy", "ok"), 1.0);
    assert_eq!(call("StudyService/GetStudy", "not_found"), 1.0);
    assert_eq!(call("WorkerService/Session", "ok"), 1.0);
    assert!(!text.contains("study=\"e2e\""), "a study that has ended has no line of its own");

    worker.signal(Signal::TERM);
    worker.finish().expect_code(0);
    until("the worker to be gone", || {
        (samples(&page(&server, "/metrics", "").2)["foldwise_workers_connected"] == 0.0).then_some(())
    });
}

#[test]
fn a_study_that_runs_has_lines_of_its_own() {
    let scene = Scene::new();
    scene.write("study.toml", Study::default().to_string());
    let server = scene.serve("--db study.db");
    scene.foldwise(&format!("study create study.toml --coordinator {}", server.url)).expect_code(0);
    let found = samples(&page(&server, "/metrics", "").2);
    assert_eq!(found["foldwise_study_epochs{study=\"e2e\"}"], 0.0);
    assert_eq!(found["foldwise_studies{state=\"running\"}"], 1.0);
}

#[test]
fn health_is_what_it_is() {
    let scene = Scene::new();
    let server = scene.serve("--db study.db");
    assert_eq!(page(&server, "/healthz", "").0, 200);
    assert!(page(&server, "/healthz", "").2.contains("ok"));
    // What there is not is answered as gRPC does it.
    assert!(page(&server, "/nothing", "").1.contains("grpc-status: 12"));
    assert_eq!(grpc_health(&server), 1, "serving");
}

fn grpc_health(server: &Server) -> i32 {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let channel = tonic::transport::Channel::from_shared(server.url.clone()).expect("an address");
        let mut client = HealthClient::new(channel.connect().await.expect("a connection"));
        let request = HealthCheckRequest { service: "foldwise.v1.StudyService".into() };
        client.check(request).await.expect("an answer").into_inner().status
    })
}

#[test]
fn every_line_of_the_log_is_an_object() {
    let scene = Scene::new();
    scene.write("study.toml", Study { trials: 1, ..Study::default() }.to_string());
    let server = scene.serve("--db study.db --log json --verbose");
    let url = &server.url;
    let worker = scene.worker(&format!("--coordinator {url} --name a --log json"));
    scene.foldwise(&format!("study create study.toml --coordinator {url}")).expect_code(0);
    let missing = scene.foldwise(&format!("trial ask nothing --coordinator {url} --log json")).expect_code(2);
    let database = scene.database("study.db");
    let ended = "SELECT count(*) FROM study WHERE state = 'ended'";
    until("the study's end", || (database.number_so_far(ended) == 1).then_some(()));
    worker.signal(Signal::TERM);
    server.running.signal(Signal::TERM);
    let server = server.running.finish().expect_code(0);
    let worker = worker.finish();
    for (who, text) in [("serve", &server.stderr), ("worker", &worker.stderr), ("trial ask", &missing.stderr)]
    {
        assert!(!text.trim().is_empty(), "{who} said nothing");
        for line in text.lines() {
            let object: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{who}: {error}: {line}"));
            assert!(object["level"].is_string() && object["fields"]["message"].is_string(), "{who}: {line}");
        }
    }
    // The id in the error that the user saw leads to the line of the coordinator.
    let id = missing.stderr.split("(request ").nth(1).and_then(|rest| rest.split(')').next()).expect("an id");
    let line = server.stderr.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("no {id}"));
    for word in ["StudyService/Ask", "not_found", "nothing"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn a_request_has_an_id_that_comes_back() {
    let scene = Scene::new();
    let server = scene.serve("--db study.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut client = StudyServiceClient::connect(server.url.clone()).await.expect("a connection");
        let ask = |id: &'static str| {
            let mut request = Request::new(StudyRequest { name: "nothing".into() });
            if !id.is_empty() {
                request.metadata_mut().insert("x-request-id", id.parse().expect("a header"));
            }
            request
        };
        let refused = client.get_study(ask("night-42.b")).await.expect_err("there is none");
        assert!(refused.message().ends_with("(request night-42.b)"), "{refused}");
        assert_eq!(refused.metadata().get("x-request-id").expect("an id"), "night-42.b");
        for unfit in ["", "two words", "a;b"] {
            let refused = client.get_study(ask(unfit)).await.expect_err("there is none");
            let id =
                refused.metadata().get("x-request-id").expect("an id").to_str().expect("ASCII").to_owned();
            assert_eq!(id.len(), 32, "{unfit}: {id}");
            assert!(refused.message().ends_with(&format!("(request {id})")), "{refused}");
        }
        let list = foldwise_proto::v1::ListStudiesRequest {};
        let answer = client.list_studies(list).await.expect("an answer");
        assert_eq!(answer.metadata().get("x-request-id").expect("an id").len(), 32);
    });
    let (_, head, _) = page(&server, "/healthz", "x-request-id: probe-7\r\n");
    assert!(head.contains("x-request-id: probe-7"), "{head}");
    // A person sees it too.
    scene
        .foldwise(&format!("trial ask nothing --coordinator {}", server.url))
        .expect_code(2)
        .expect_stderr(&["there is no study named `nothing`", "(request "]);
}
