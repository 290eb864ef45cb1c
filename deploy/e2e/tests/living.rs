//! Studies that live, and workers that people drain: extended, deleted, exported, watched, side by side.

use foldwise_e2e::{Database, Running, Scene, Server, Study, Value, until};
use rustix::process::Signal;
use serde_json::Value as Json;

#[test]
fn a_study_that_has_ended_is_extended_exported_and_deleted() {
    let scene = Scene::new();
    let file = Study { trials: 2, epochs: 2, ..Study::default() }.to_string();
    scene.write("study.toml", &file);
    scene
        .foldwise("run study.toml --db study.db --workers 2")
        .expect_code(0)
        .expect_stderr(&["devices  ", " used"]);
    let database = scene.database("study.db");
    let trials =
        "SELECT number, state, value, std, created_at, finished_at FROM trial WHERE number < 2 ORDER BY 1";
    let first = database.rows(trials);

    let refused = scene.foldwise("study extend e2e --epochs 5 --db study.db").expect_code(2);
    refused.expect_stderr(&["no budget.total_epochs", "budget.trials"]);
    scene.foldwise("study extend e2e --db study.db").expect_code(2).expect_stderr(&["--trials"]);
    let extended = scene.foldwise("study extend e2e --trials 1 --db study.db -o json").expect_code(0);
    assert_eq!(
        (&extended.json()["state"], &extended.json()["spec"]["budget"]["trials"]),
        (&"running".into(), &3.into())
    );
    extended.expect_stderr(&["budget.trials was 2, is 3", "foldwise resume e2e --db study.db"]);
    let before = "SELECT detail ->> '$.before.trials' FROM event WHERE kind = 'study-extended'";
    assert_eq!(database.number(before), 2);

    // Its own file goes on with it, one with yet another budget does not.
    scene.write("other.toml", file.replace("trials = 2", "trials = 7"));
    let refused = scene.foldwise("run other.toml --db study.db --workers 1").expect_code(2);
    refused.expect_stderr(&[
        "budget.trials: 3 is stored, 7 is given",
        "foldwise study extend e2e --db study.db",
    ]);
    scene.foldwise("run study.toml --db study.db --workers 1").expect_code(0);
    assert_eq!(database.rows(trials), first, "a finished trial never changes");
    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 3);

    exports(&scene, &database, "--db study.db");
    let ledger = scene.foldwise("study ledger e2e --db study.db -o json").expect_code(0).json();
    assert!(ledger["used"].as_f64() > Some(0.0) && ledger["saved"] == 0.0, "{ledger}");
    scene.foldwise("study show e2e --db study.db").expect_code(0);

    scene.write("kept.toml", file.replace("\"e2e\"", "\"kept\""));
    scene.foldwise("study create kept.toml --db study.db").expect_code(0);
    let refused = scene.foldwise("study delete kept --yes --db study.db").expect_code(2);
    refused.expect_stderr(&["is running", "--force"]);
    let refused = scene.foldwise("study delete e2e --db study.db").expect_code(2);
    refused.expect_stderr(&["nobody is there to be asked", "--yes"]);
    let deleted = scene.foldwise("study delete e2e --yes --db study.db").expect_code(0);
    deleted.expect_stderr(&["deleted study `e2e` with 3 trials", "foldwise study list --db study.db"]);
    for table in ["trial", "fold", "attempt", "epoch", "param", "lease"] {
        assert_eq!(database.number(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert_eq!(database.rows("SELECT name FROM study"), [[Value::Text("kept".into())]]);
    scene.foldwise("study delete e2e --yes --db study.db").expect_code(2).expect_stderr(&["there is: kept"]);
    scene.foldwise("study delete kept --yes --force --db study.db").expect_code(0);
}

/// What is exported is what is stored.
fn exports(scene: &Scene, database: &Database, place: &str) {
    let csv = scene.foldwise(&format!("study export e2e {place}")).expect_code(0).stdout;
    let mut read = csv::Reader::from_reader(csv.as_bytes());
    let header = read.headers().expect("a header").clone();
    for column in ["number", "value", "param.learning_rate", "param.dropout", "fold.1.value", "parent"] {
        assert!(header.iter().any(|name| name == column), "{column}: {header:?}");
    }
    let trials = database.number("SELECT count(*) FROM trial");
    assert_eq!(read.into_records().count() as i64, trials);
    let lines = scene.foldwise(&format!("study export e2e --format jsonl {place}")).expect_code(0).stdout;
    let number =
        |line: &str| serde_json::from_str::<Json>(line).expect("JSON")["number"].as_i64().expect("a number");
    assert_eq!(lines.lines().map(number).collect::<Vec<_>>(), (0..trials).collect::<Vec<_>>());

    let words = format!("study export e2e --what epochs --all-attempts --output epochs.csv {place}");
    let all = database.number("SELECT count(*) FROM epoch");
    scene.foldwise(&words).expect_code(0).expect_stderr(&[&format!("{all} rows in epochs.csv")]);
    let text = String::from_utf8(scene.bytes("epochs.csv")).expect("UTF-8");
    let live = text.lines().filter(|line| line.ends_with(",true")).count() as i64;
    assert_eq!(live, database.number("SELECT count(*) FROM curve"));
    assert_eq!(text.lines().count() as i64, all + 1);
    assert!(!scene.path("epochs.csv.part").exists());
    let lines =
        scene.foldwise(&format!("study export e2e --what epochs --format jsonl {place}")).expect_code(0);
    assert_eq!(lines.stdout.lines().count() as i64, live);
    let refused = scene.foldwise(&format!("study export e2e --output none/x.csv {place}")).expect_code(1);
    refused.expect_stderr(&["failed to write none/x.csv"]);
}

#[test]
fn a_worker_is_drained_over_restarts_and_a_study_is_watched_and_steered() {
    let scene = Scene::new();
    let study = Study { trials: 50, epochs: 40, limit: 900, ..Study::default() };
    scene.write("study.toml", study.to_string());
    let server = scene.serve("--db study.db");
    let (database, url) = (scene.database("study.db"), server.url.clone());
    let ask = |words: &str| scene.foldwise(&format!("{words} --coordinator {url}"));
    ask("study create study.toml").expect_code(0);
    let watch = scene.start(&format!("watch --coordinator {url}"));
    let events = scene.start(&format!("watch e2e -o json --coordinator {url}"));
    let worker = worker(&scene, &server, "a");
    let state = || -> Option<String> {
        let workers = ask("worker list -o json").expect_code(0).json();
        Some(workers[0]["state"].as_str()?.to_owned())
    };
    let epochs = "SELECT count(*) FROM epoch";
    until("an epoch", || (database.number_so_far(epochs) > 0).then_some(()));
    let shown = ask("worker list").expect_code(0).stdout;
    assert!(shown.contains("connected") && shown.contains("e2e trial 0 fold 0"), "{shown}");

    ask("worker drain nobody").expect_code(2).expect_stderr(&["`nobody`", "a"]);
    scene.foldwise("worker drain a --db study.db").expect_code(2).expect_stderr(&["--coordinator"]);
    ask("worker drain a").expect_code(0).expect_stderr(&["no more folds", "foldwise worker undrain a"]);
    until("the drain", || (state()? == "drained").then_some(()));
    let attempts = || database.number("SELECT count(*) FROM attempt");
    let given = attempts();
    assert_eq!(database.number("SELECT count(*) FROM attempt WHERE state = 'stopped'"), given);

    // The coordinator is replaced at the same address; the worker comes back to it, still drained.
    server.running.signal(Signal::TERM);
    server.running.finish().expect_code(0);
    let address = url.strip_prefix("http://").expect("an address");
    let again = scene.start(&format!("serve --listen {address} --db study.db"));
    again.until_stderr("listening on http://");
    until("the worker to be back", || (state()? == "drained").then_some(()));
    // What happens while nobody watches is in the record, not in the watch.
    for watching in [&watch, &events] {
        watching.until_stderr("the coordinator is back");
    }
    assert_eq!(attempts(), given, "a drained worker gets nothing");
    ask("worker undrain a").expect_code(0);
    ask("worker undrain a").expect_code(2).expect_stderr(&["is not drained"]);
    until("another fold", || (attempts() > given).then_some(()));

    // One trial is stopped and tried again.
    let stopped = ask("trial stop e2e 0").expect_code(0);
    assert!(
        ["stopping", "cancelled"].contains(&stopped.json()["state"].as_str().expect("a state")),
        "{stopped:?}"
    );
    stopped.expect_stderr(&["foldwise trial retry e2e 0"]);
    until("its end", || (ask("trial show e2e 0 -o json").json()["state"] == "cancelled").then_some(()));
    let shown = ask("trial show e2e 0").expect_code(0).stdout;
    for words in ["stopped by a person", "attempt", "worker", "after"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    ask("trial stop e2e 0").expect_code(2).expect_stderr(&["is finished"]);
    let retried = ask("trial retry e2e 0").expect_code(0).json()["trial"].as_i64().expect("a trial");
    let shown = ask(&format!("trial show e2e {retried} -o json")).expect_code(0).json();
    assert_eq!((&shown["parent"], &shown["origins"]["dropout"]), (&0.into(), &"enqueued".into()));
    let params = |number: i64| ask(&format!("trial show e2e {number} -o json")).json()["params"].clone();
    assert_eq!(params(0), params(retried));

    ask("study stop e2e").expect_code(0).expect_stderr(&["foldwise study extend e2e"]);
    let watched = watch.finish().expect_code(0);
    for words in ["trial 0: cancelled, stopped by a person", "study e2e: ended"] {
        assert!(watched.stdout.contains(words), "{words}: {watched:?}");
    }
    watched.expect_stderr(&["calling it until it is back", "study e2e is ended"]);
    let events = events.finish().expect_code(0).stdout;
    let kinds: Vec<Json> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let has = |kind: &str| kinds.iter().any(|event| event["event"] == kind);
    for kind in ["study-changed", "trial-created", "attempt-started", "epoch", "trial-finished"] {
        assert!(has(kind), "{kind}: {events}");
    }
    // What has ended says so at once.
    ask("watch e2e").expect_code(0).expect_stderr(&["is ended"]);

    exports(&scene, &database, &format!("--coordinator {url}"));
    let (file, remote) =
        (scene.foldwise("study ledger e2e -o csv --db study.db"), ask("study ledger e2e -o csv"));
    assert_eq!(file.expect_code(0).stdout, remote.expect_code(0).stdout);
    ask("study extend e2e --trials 1")
        .expect_code(0)
        .expect_stderr(&["budget.trials was 50, is 51", "watch e2e"]);
    until("another fold", || {
        (database.number("SELECT count(*) FROM attempt WHERE state = 'running'") > 0).then_some(())
    });
    ask("study delete e2e --yes").expect_code(2).expect_stderr(&["is running"]);
    ask("study delete e2e --yes --force").expect_code(0);
    assert_eq!(database.number("SELECT count(*) FROM trial"), 0);
    until("the worker to be free", || {
        let workers = ask("worker list -o json").expect_code(0).json();
        (workers[0]["free"] == 1 && workers[0]["state"] == "connected").then_some(())
    });
    worker.signal(Signal::TERM);
    worker.finish().expect_code(0);
    until("it to be gone", || (state()? == "gone").then_some(()));
    let listed = scene.foldwise("worker list --db study.db").expect_code(0);
    assert!(listed.stdout.contains('a'), "{listed:?}");
    listed.expect_stderr(&["only a coordinator knows"]);
}

#[test]
fn the_study_of_the_highest_priority_goes_first() {
    let scene = Scene::new();
    scene.write("study.toml", Study { trials: 2, epochs: 1, ..Study::default() }.to_string());
    let server = scene.serve("--db study.db");
    let ask = |words: &str| scene.foldwise(&format!("{words} --coordinator {}", server.url));
    for (name, priority) in [("low", -1), ("middle", 0), ("high", 5)] {
        let sets = format!("--set study.name={name} --set study.priority={priority}");
        ask(&format!("study create study.toml {sets}")).expect_code(0);
    }
    let listed = ask("study list").expect_code(0).stdout;
    let line = listed.lines().find(|line| line.starts_with("high")).expect("a line");
    assert!(listed.contains("priority") && line.contains(" 5 "), "{listed}");
    let worker = worker(&scene, &server, "a");
    let database = scene.database("study.db");
    until("all to end", || {
        (database.number("SELECT count(*) FROM study WHERE state = 'ended'") == 3).then_some(())
    });
    let order = "SELECT name FROM attempt JOIN trial ON trial.id = trial_id JOIN study ON study.id = study_id ORDER BY lease_id";
    let order: Vec<String> = database
        .rows(order)
        .into_iter()
        .map(|row| match &row[0] {
            Value::Text(name) => name.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<&str> = ["high", "middle", "low"].into_iter().flat_map(|name| [name; 4]).collect();
    assert_eq!(order, expected);
    worker.signal(Signal::TERM);
    worker.finish().expect_code(0);
}

fn worker(scene: &Scene, server: &Server, name: &str) -> Running {
    scene.worker(&format!("--coordinator {} --name {name}", server.url))
}
