//! A coordinator and workers on real sockets: the same results as `run`, steering, and the services around it.

use foldwise_e2e::{Database, Running, Scene, Server, Study, Value, until};
use rustix::process::Signal;
use tonic::transport::Channel;

#[test]
fn serve_gives_what_run_gives() {
    let scene = Scene::new();
    scene.write("study.toml", Study::default().to_string());
    scene.foldwise("run study.toml --db run.db --workers 2").expect_code(0);

    let server = scene.serve("--db serve.db");
    let workers = ["a", "b"].map(|name| worker(&scene, &server, name));
    create(&scene, &server);
    until_ended(&scene, &server);
    for worker in &workers {
        worker.signal(Signal::TERM);
    }
    for worker in workers {
        worker.finish().expect_code(0);
    }
    server.running.signal(Signal::TERM);
    server.running.finish().expect_code(0);

    let (run, served) = (scene.database("run.db"), scene.database("serve.db"));
    assert_eq!(served.number("SELECT count(DISTINCT worker) FROM attempt"), 2, "both workers worked");
    for sql in [
        "SELECT number, name, kind, param.value FROM param JOIN trial ON id = trial_id ORDER BY 1, 2",
        "SELECT number, state, value, std FROM trial ORDER BY 1",
        "SELECT number, fold, fold.state, fold.value, best_epoch FROM fold JOIN trial ON id = trial_id ORDER BY 1, 2",
        "SELECT number, fold, epoch, epoch.value, train_loss, learning_rate FROM epoch JOIN trial ON id = trial_id
         ORDER BY 1, 2, 3",
    ] {
        let rows = run.rows(sql);
        assert!(rows.len() >= 4, "{sql}: {} rows", rows.len());
        assert_eq!(bits(&rows), bits(&served.rows(sql)), "{sql}");
    }
}

/// Numbers as their bits, so that equal means equal.
fn bits(rows: &[Vec<Value>]) -> Vec<Vec<String>> {
    let shown = |value: &Value| match value {
        Value::Real(number) => format!("{number} ({:016x})", number.to_bits()),
        other => format!("{other:?}"),
    };
    rows.iter().map(|row| row.iter().map(shown).collect()).collect()
}

#[test]
fn a_study_is_paused_unpaused_and_stopped() {
    let scene = Scene::new();
    // Epochs long enough that a fold is running when the pause comes.
    let study = Study { trials: 50, epochs: 3, limit: 1200, ..Study::default() };
    scene.write("study.toml", study.to_string());
    let server = scene.serve("--db study.db");
    let database = scene.database("study.db");
    let worker = worker(&scene, &server, "w");
    create(&scene, &server);
    let steer = |what: &str| {
        let words = format!("study {what} e2e --coordinator {} -o json", server.url);
        let answer = scene.foldwise(&words).expect_code(0).json();
        answer[0]["state"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let running = "SELECT count(*) FROM attempt WHERE state = 'running'";
    let attempts = "SELECT count(*) FROM attempt";

    // In its second trial, so that there is a complete one to ask for.
    until("the second trial's first epoch", || {
        let sql = "SELECT count(*) FROM epoch JOIN trial ON id = trial_id WHERE number = 1";
        (database.number_so_far(sql) > 0).then_some(())
    });
    assert_eq!(steer("pause"), "paused");
    let given = database.number(attempts);
    until("what runs to finish", || (database.number(running) == 0).then_some(()));
    let last = "SELECT state FROM attempt ORDER BY lease_id DESC LIMIT 1";
    assert_eq!(database.rows(last), [[Value::Text("complete".into())]]);
    // The next fold would have been leased in the transaction that ended the one before.
    assert_eq!(database.number(attempts), given, "a paused study gives out no folds");
    assert_eq!(steer("pause"), "paused");
    assert_eq!(database.number(attempts), given, "a paused study gives out no folds");

    assert_eq!(steer("unpause"), "running");
    until("another fold", || (database.number(attempts) > given).then_some(()));

    let state = steer("stop");
    assert!(["stopping", "ended"].contains(&state.as_str()), "{state}");
    until_ended(&scene, &server);
    assert_eq!(database.number(running), 0);
    let others = "SELECT count(*) FROM trial WHERE state NOT IN ('complete', 'cancelled')";
    assert_eq!(database.number(others), 0);
    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 1);
    assert!(database.number("SELECT count(*) FROM trial WHERE state = 'cancelled'") >= 1);
    // What has ended stays so.
    scene
        .foldwise(&format!("study unpause e2e --coordinator {}", server.url))
        .expect_code(2)
        .expect_stderr(&["ended"]);
    worker.signal(Signal::TERM);
    worker.finish().expect_code(0);

    queries(&scene, &server, &database);
}

/// The same answers from the file and from the coordinator, as a table, as JSON and as CSV.
fn queries(scene: &Scene, server: &Server, database: &Database) {
    let ask = |words: &str| {
        let file = scene.foldwise(&format!("{words} --db study.db")).expect_code(0).stdout;
        let remote = scene.foldwise(&format!("{words} --coordinator {}", server.url)).expect_code(0).stdout;
        assert_eq!(file, remote, "{words}");
        file
    };
    let numbers = |words: &str| -> Vec<i64> {
        let words = format!("trial list e2e {words} -o json");
        let json: serde_json::Value = serde_json::from_str(&ask(&words)).expect("JSON");
        json.as_array().expect("a list").iter().map(|trial| trial["number"].as_i64().expect("one")).collect()
    };
    let stored = |rest: &str| -> Vec<i64> {
        let rows = database.rows(&format!("SELECT number FROM trial {rest}"));
        let number =
            |row: Vec<Value>| if let Value::Integer(number) = row[0] { number } else { panic!("{row:?}") };
        rows.into_iter().map(number).collect()
    };
    let all = stored("ORDER BY number");
    assert!(all.len() >= 2, "{all:?}");
    for (words, rest) in [
        ("", "ORDER BY number"),
        ("--sort -number", "ORDER BY number DESC"),
        ("--sort value", "ORDER BY value IS NULL, value, number"),
        ("--sort finished --limit 1", "ORDER BY finished_at, number LIMIT 1"),
        ("--state complete", "WHERE state = 'complete' ORDER BY number"),
        ("--state cancelled,complete", "ORDER BY number"),
        ("--state pruned", "WHERE false"),
        ("--limit 1 --sort -number", "ORDER BY number DESC LIMIT 1"),
    ] {
        assert_eq!(numbers(words), stored(rest), "{words}");
    }

    for words in ["trial list e2e", "curve e2e", "curve e2e --trial 0", "study list", "best e2e"] {
        let csv = ask(&format!("{words} -o csv"));
        let rows = csv::Reader::from_reader(csv.as_bytes()).into_records().collect::<Result<Vec<_>, _>>();
        let rows = rows.unwrap_or_else(|error| panic!("{words}: {error}\n{csv}"));
        let json: serde_json::Value = serde_json::from_str(&ask(&format!("{words} -o json"))).expect("JSON");
        assert_eq!(rows.len(), json.as_array().map_or(1, Vec::len), "{words}");
        assert!(!rows.is_empty(), "{words}");
    }
    // What an explanation or a replay says is the same too, and so is what is wrong with a question.
    for words in
        ["trial explain e2e 0", "replay e2e --pruner threshold,upper=0 --pruner median --set min_peers=2"]
    {
        for format in ["table", "csv"] {
            ask(&format!("{words} -o {format}"));
        }
    }
    let replays: serde_json::Value =
        serde_json::from_str(&ask("replay e2e --pruner threshold,upper=0 -o json")).expect("JSON");
    assert_eq!(replays[1]["stopped"].as_array().expect("stops").len(), all.len().min(2), "{replays}");
    for (words, message) in [
        ("trial explain e2e 99", "no trial 99"),
        ("replay e2e --pruner medain", "did you mean `median`?"),
        ("replay e2e --pruner median --set alpha=0.1", "these have it: sequential"),
        ("replay nobody", "no study"),
    ] {
        for place in ["--db study.db".to_owned(), format!("--coordinator {}", server.url)] {
            scene.foldwise(&format!("{words} {place}")).expect_code(2).expect_stderr(&[message]);
        }
    }
    let epochs = database.number("SELECT count(*) FROM epoch JOIN trial ON id = trial_id WHERE number = 0");
    assert_eq!(ask("curve e2e --trial 0 -o csv").lines().count() as i64, epochs + 1);
    assert!(ask("trial list e2e --state complete").contains("complete"));
    assert!(ask("trial show e2e 0").contains("complete"));
    assert!(ask("study list --state ended").contains("e2e"));
    assert!(!ask("study list --state running").contains("e2e"));
    let shown: serde_json::Value = serde_json::from_str(&ask("study show e2e -o json")).expect("JSON");
    assert_eq!(shown["trials"]["complete"], 1);
    assert_eq!(shown["spec"]["budget"]["trials"], 50);
    let schema = scene.foldwise("schema").expect_code(0).json();
    assert_eq!(schema["title"], "Foldwise study file");
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let scene = Scene::new();
    let server = scene.serve("--db study.db");
    let channel = connect(&server).await;
    for service in ["", "foldwise.v1.WorkerService", "foldwise.v1.StudyService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("an answer")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["foldwise.v1.WorkerService", "foldwise.v1.StudyService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn a_worker_of_another_wire_version_is_refused() {
    use foldwise_proto::v1::from_worker::Message;
    use foldwise_proto::v1::worker_service_client::WorkerServiceClient;
    use foldwise_proto::v1::{FromWorker, Hello};

    let scene = Scene::new();
    let server = scene.serve("--db study.db");
    let before = scene.database("study.db").dump();
    let hello = Hello {
        wire_version: 999,
        name: "old".into(),
        incarnation: "1".into(),
        device: "cpu".into(),
        slots: 1,
        held: Vec::new(),
    };
    let hello = FromWorker { message: Some(Message::Hello(hello)) };
    let refused = WorkerServiceClient::new(connect(&server).await).session(tokio_stream::iter([hello])).await;
    let status = refused.expect_err("refused");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    for word in ["wire version 999", "same release"] {
        assert!(status.message().contains(word), "{status}");
    }
    assert_eq!(scene.database("study.db").dump(), before);
}

#[test]
fn a_token_is_asked_for() {
    let scene = Scene::new();
    scene.write("token", "secret\n");
    scene.write("other", "guess\n");
    scene
        .foldwise("serve --listen 0.0.0.0:0 --db study.db")
        .expect_code(2)
        .expect_stderr(&["--listen 0.0.0.0:0", "--token-file"]);
    assert!(!scene.path("study.db").exists());

    let server = scene.serve("--db study.db --token-file token");
    let url = &server.url;
    for words in ["", "--token-file other"] {
        let ended = scene.foldwise(&format!("study list --coordinator {url} {words}")).expect_code(2);
        ended.expect_stderr(&["token", "--token-file"]);
        let ended = scene.worker(&format!("--coordinator {url} {words}")).finish().expect_code(78);
        ended.expect_stderr(&["token", "--token-file"]);
    }
    scene.foldwise(&format!("study list --coordinator {url} --token-file token")).expect_code(0);
}

fn worker(scene: &Scene, server: &Server, name: &str) -> Running {
    scene.worker(&format!("--coordinator {} --name {name}", server.url))
}

fn create(scene: &Scene, server: &Server) {
    scene.foldwise(&format!("study create study.toml --coordinator {}", server.url)).expect_code(0);
}

fn until_ended(scene: &Scene, server: &Server) {
    let words = format!("study show e2e --coordinator {} -o json", server.url);
    until("the study's end", || {
        let state = scene.foldwise(&words).expect_code(0).json()["state"].clone();
        (state == "ended").then_some(())
    });
}

async fn connect(server: &Server) -> Channel {
    Channel::from_shared(server.url.clone()).expect("an address").connect().await.expect("a connection")
}
