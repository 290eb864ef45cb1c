//! Bad input: one clear message with the place and the remedy, exit code 2 for what was written and 1 for what
//! happened, and the database as it was.

use std::net::TcpListener;

use foldwise_e2e::{Running, Scene, Study, until};
use rustix::process::Signal;

/// What is put in the place of what, the line and key that the message must begin with, and what it must say.
type Mistake = (&'static str, &'static str, &'static str, &'static [&'static str]);

const MISTAKES: &[Mistake] = &[
    ("epochs = 3", "epochs = 3\nepoch = 4", ":18: train.epoch: ", &["unknown key", "did you mean `epochs`?"]),
    ("[budget]", "[budgett]", ":30: budgett: ", &["unknown key", "did you mean `budget`?"]),
    ("epochs = 3", "epochs = \"three\"", ":17: train.epochs: ", &["invalid type", "expected u32"]),
    ("version = 1", "version = 2", ":1: version: ", &["reads version 1"]),
    ("version = 1", "version = one", ":1: ", &["string values must be quoted"]),
    ("[1e-6, 1e-2]", "[1e-2, 1e-6]", ":21: space.learning_rate: ", &["is above the high bound", "swap them"]),
    (
        "[1e-6, 1e-2]",
        "[0.0, 1e-2]",
        ":21: space.learning_rate: ",
        &["a logarithmic scale needs a low bound above 0"],
    ),
    ("{ float = [0.0, 0.3] }", "{ choice = [] }", ":22: space.dropout: ", &["at least one"]),
    (
        "{ float = [0.0, 0.3] }",
        "{ float = [0.0, 1.5] }",
        ":22: space.dropout: ",
        &["cannot be 1.5", "from 0 up to but not 1"],
    ),
    (
        "dropout = {",
        "dropuot = {",
        ":22: space.dropuot: ",
        &["knows no such param", "did you mean `dropout`?"],
    ),
    ("folds = 2", "folds = 1", ":9: data.folds: ", &["1 folds cannot work", "use 2 to"]),
    (
        "folds = 2",
        "folds = 500",
        ":9: data.folds: ",
        &["500 folds of 240 images cannot work", "use 2 to 240"],
    ),
    ("folds = 2", "holdout = 240", ":9: data.holdout: ", &["holding out 240 of 240 images cannot work"]),
    ("trials = 4", "trials = 0", ":31: budget.trials: ", &["use at least 1"]),
    ("trials = 4", "total_epochs = 0", ":31: budget.total_epochs: ", &["use at least 3"]),
    ("trials = 4", "wall_time = \"0s\"", ":31: budget.wall_time: ", &["use more than 0"]),
    ("trials = 4", "", ":30: budget: ", &["would never end", "give trials"]),
    (
        "kind = \"random\"",
        "kind = \"tpee\"",
        ":25: sampler.kind: ",
        &["unknown value `tpee`", "did you mean `tpe`?"],
    ),
    ("latent_dim = 4", "latent_dim = 0", ":14: model.latent_dim: ", &["cannot be 0", "from 1 to"]),
    (
        "network = \"lab\"",
        "network = \"lap\"",
        ":13: model.network: ",
        &["unknown value `lap`", "did you mean `lab`?"],
    ),
    ("DATASET", "\"synthetic-digit\"", ":8: data.dataset: ", &["did you mean", "synthetic-digits"]),
    ("DATASET", "\"./nowhere\"", ":8: data.dataset: ", &["./nowhere", "no such file or folder"]),
    ("DATASET", "\"fashion-mnist\"", ":8: data.dataset: ", &["foldwise data fetch fashion-mnist"]),
    ("DATASET", "\"./small\"", ":13: model.network: ", &["5x5", "28x28"]),
    ("DATASET", "\"./cut\"", ":8: data.dataset: ", &["cut", "not usable"]),
];

#[test]
fn study_files() {
    let scene = Scene::new();
    let good = Study::default().to_string();
    scene.write("good.toml", &good);
    images(&scene, "small", 5, 5 * 5 * 4);
    images(&scene, "cut", 28, 100);
    scene.foldwise("study create good.toml --db study.db").expect_code(0);
    let before = scene.bytes("study.db");
    let dataset = format!("\"{}\"", Study::dataset());
    let mut failures = String::new();
    for (from, to, place, words) in MISTAKES {
        let from = if *from == "DATASET" { &dataset } else { *from };
        assert!(good.contains(from), "{from} is not in the study file");
        let bad = good.replacen(from, to, 1);
        scene.write("bad.toml", &bad);
        for run in
            ["run bad.toml --db study.db", "run bad.toml --db new.db", "study create bad.toml --db study.db"]
        {
            let mut command = scene.command(run);
            // Nothing published is found here, whatever the machine has.
            command.env("FOLDWISE_CACHE", scene.path("cache"));
            if to.contains("fashion") {
                command.env_remove("FOLDWISE_DATA");
            }
            let ended = Running::start(command).finish();
            let said = &ended.stderr;
            let placed = said.starts_with(&format!("error: bad.toml{place}")) && said.lines().count() <= 3;
            if ended.code != Some(2) || !placed || !words.iter().all(|word| said.contains(word)) {
                failures.push_str(&format!("{run} with `{to}`: code {:?}\n{said}\n", ended.code));
            }
            assert!(ended.stdout.is_empty(), "{}", ended.stdout);
        }
        assert!(!scene.path("new.db").exists(), "`{to}` makes a database");
        assert!(scene.bytes("study.db") == before, "`{to}` changes the database");
    }
    assert!(failures.is_empty(), "{failures}");
}

/// A folder with an IDX file of four images of a side, which holds so many bytes of pixels.
fn images(scene: &Scene, folder: &str, side: u32, pixels: usize) {
    std::fs::create_dir(scene.path(folder)).expect("a folder");
    let mut bytes = vec![0, 0, 8, 3];
    for number in [4, side, side] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.resize(bytes.len() + pixels, 7);
    scene.write(&format!("{folder}/train-images-idx3-ubyte"), bytes);
}

#[test]
fn settings_names_and_flags() {
    let scene = Scene::new();
    scene.write("study.toml", Study::default().to_string());
    scene.foldwise("study create study.toml --db study.db").expect_code(0);
    let before = scene.bytes("study.db");
    let cases: &[(&str, &[&str])] = &[
        (
            "run study.toml --db study.db --set trane.epochs=3",
            &["--set trane.epochs=3", "did you mean `train`?"],
        ),
        (
            "run study.toml --db study.db --set train.epoch=3",
            &["--set train.epoch=3", "did you mean `epochs`?"],
        ),
        ("run study.toml --db study.db --set epochs", &["--set epochs", "key=value"]),
        ("run study.toml --db study.db --set =3", &["--set =3", "key=value"]),
        ("run study.toml --db study.db --set study.name.x=3", &["--set study.name.x=3", "no table"]),
        (
            "run study.toml --db study.db --set budget.trials=many",
            &["--set budget.trials=many", "budget.trials"],
        ),
        ("run nothing.toml --db study.db", &["nothing.toml", "No such file"]),
        ("run study.toml --db nowhere/study.db", &["nowhere/study.db", "create it first"]),
        ("run study.toml --db study.db --workers 0", &["--workers"]),
        ("run study.toml --db study.db --device tpu", &["--device", "cuda:N"]),
        ("resume nope --db study.db", &["no study `nope`", "there is: e2e"]),
        ("best nope --db study.db", &["no study `nope`", "there is: e2e"]),
        ("curve nope --db study.db", &["no study `nope`", "there is: e2e"]),
        ("trial list nope --db study.db", &["no study `nope`", "there is: e2e"]),
        ("study stop nope --db study.db", &["no study `nope`", "there is: e2e"]),
        ("trial show e2e 3 --db study.db", &["has no trial 3"]),
        ("trial list e2e --db study.db --state done", &["--state", "done", "complete"]),
        ("trial list e2e --db study.db --sort age", &["--sort", "value"]),
        ("trial list e2e --db study.db -o xml", &["xml", "csv"]),
        ("trial list e2e --db study.db --coordinator http://127.0.0.1:1", &["--coordinator"]),
        ("study list --coordinator https://head:1", &["https://head:1", "--tls-ca FILE"]),
        ("run study.toml --db study.db --worker 2", &["--worker", "--workers"]),
        ("runn study.toml", &["runn", "run"]),
        ("study list --db absent.db", &["no database `absent.db`", "foldwise run FILE"]),
        ("resume --db absent.db", &["no database `absent.db`", "foldwise run FILE"]),
    ];
    for (words, said) in cases {
        let ended = scene.foldwise(words).expect_code(2).expect_stderr(said);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
        assert!(scene.bytes("study.db") == before, "`{words}` changes the database");
    }
    // This name is looked up by a writer, and SQLite counts its visit in the header.
    let rows = scene.database("study.db").dump();
    let ended = scene.foldwise("study create study.toml --db study.db").expect_code(2);
    ended.expect_stderr(&["a study named `e2e` already", "another name"]);
    assert_eq!(scene.database("study.db").dump(), rows);
    assert!(!scene.path("absent.db").exists() && !scene.path("nowhere").exists());
    scene.worker("--coordinator 127.0.0.1:1 --slot 2").finish().expect_code(78).expect_stderr(&["--slot"]);
    scene.worker("--coordinator nowhere").finish().expect_code(78).expect_stderr(&["no port"]);
}

#[test]
fn databases() {
    let scene = Scene::new();
    scene.write("study.toml", Study::default().to_string());
    scene.foldwise("study create study.toml --db newer.db").expect_code(0);
    let connection = rusqlite::Connection::open(scene.path("newer.db")).expect("a database");
    connection.pragma_update(None, "user_version", 99).expect("a version");
    drop(connection);
    scene.write(
        "text.db",
        "this is no database, but it is longer than a header of a hundred bytes would be; ".repeat(9),
    );
    let connection = rusqlite::Connection::open(scene.path("foreign.db")).expect("a database");
    connection.execute_batch("CREATE TABLE song (title TEXT)").expect("a table");
    drop(connection);

    for (name, said) in [
        ("newer.db", ["version 99", "newer Foldwise"]),
        ("text.db", ["not a Foldwise database", "name another path"]),
        ("foreign.db", ["not a Foldwise database", "name another path"]),
    ] {
        let before = scene.bytes(name);
        for words in [
            "run study.toml",
            "resume",
            "serve --listen 127.0.0.1:0",
            "study list",
            "study create study.toml",
        ] {
            let ended = scene.foldwise(&format!("{words} --db {name}")).expect_code(2);
            ended.expect_stderr(&said).expect_stderr(&[name]);
            assert!(scene.bytes(name) == before, "`{words}` changes {name}");
        }
        for rest in ["-wal", "-shm", "-journal", ".lock"] {
            assert!(!scene.path(&format!("{name}{rest}")).exists(), "{name}{rest} is left");
        }
    }

    let server = scene.serve("--db held.db");
    let held = scene.database("held.db");
    let before = held.dump();
    for words in ["run study.toml", "serve --listen 127.0.0.1:0", "study create study.toml"] {
        let ended = scene.foldwise(&format!("{words} --db held.db")).expect_code(1);
        ended.expect_stderr(&["`held.db` is in use by another coordinator (process "]);
        assert_eq!(held.dump(), before, "{words}");
    }
    // Reading is no matter of holding.
    scene.foldwise("study list --db held.db").expect_code(0);
    server.running.kill_tree();
    // A killed coordinator holds nothing.
    scene.foldwise("study create study.toml --db held.db").expect_code(0);
}

#[test]
fn ports_and_coordinators() {
    let scene = Scene::new();
    scene.write("study.toml", Study::default().to_string());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let ended = scene.foldwise(&format!("serve --db study.db --listen {address}")).expect_code(1);
    ended.expect_stderr(&["failed to listen on", &address.to_string(), "help: "]);
    assert!(!scene.path("study.db").exists());

    drop(listener);
    for words in ["study list", "study create study.toml", "best e2e", "trial list e2e", "study stop e2e"] {
        let ended = scene.foldwise(&format!("{words} --coordinator http://{address}")).expect_code(1);
        ended.expect_stderr(&["nobody answers at", &address.to_string(), "foldwise serve"]);
    }

    let ended = scene.worker(&format!("--coordinator {address} --give-up-after 2")).finish().expect_code(75);
    let ended = ended.expect_stderr(&[&format!("http://{address}"), "did not answer for 2"]);
    assert_eq!(ended.stderr.lines().count(), 2, "it says so once, and once at the end:\n{}", ended.stderr);

    // Without a limit it tries until there is one.
    let worker = scene.worker(&format!("--coordinator {address} --name patient"));
    worker.until_stderr("http://");
    let server = scene.start(&format!("serve --db study.db --listen {address}"));
    server.until_stderr("listening on http://");
    let database = scene.database("study.db");
    until("the worker at the coordinator", || {
        (database.number_so_far("SELECT count(*) FROM worker WHERE name = 'patient'") == 1).then_some(())
    });
    worker.signal(Signal::TERM);
    worker.finish().expect_code(0);
}
