//! A report of a small study: from its database and from a coordinator, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;

use foldwise_e2e::Scene;
use rusqlite::Connection;
use rustix::process::Signal;

const STUDY: &str = "version = 1
study = { name = \"outside\", objective = \"external\" }
train = { epochs = 3 }
budget = { trials = 40 }
[space]
rate = { float = [1e-4, 1e-1], log = true }
units = { int = [1, 8] }
kind = { choice = [\"a\", \"b\"] }
";

/// The files of a folder that end like this, by name.
fn files(folder: &Path, end: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name().into_string().expect("a name"), entry.path()))
        .filter(|(name, _)| name.ends_with(end))
        .map(|(name, path)| (name, std::fs::read(path).expect("a file")))
        .collect()
}

#[test]
fn a_report_is_the_same_from_the_database_and_from_its_coordinator() {
    let scene = Scene::new();
    scene.write("outside.toml", STUDY);
    let server = scene.serve("--db a.db");
    let at = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("study create outside.toml {at}")).expect_code(0);
    scene
        .foldwise(&format!("report outside {at}"))
        .expect_code(2)
        .expect_stderr(&["study `outside` has no complete trial to report; it has no trial yet", "help: "]);
    for number in 0..12 {
        let (units, kind) = (number % 8 + 1, if number % 3 == 0 { "a" } else { "b" });
        let rate = 1e-4 * f64::from(number + 1) * 50.0;
        let value = f64::from(units) / 10.0 + rate;
        let params = format!("rate={rate} units={units} kind={kind}");
        scene.foldwise(&format!("trial add outside {params} --value {value} {at}")).expect_code(0);
    }
    server.running.signal(Signal::TERM);
    server.running.finish();

    // What a worker of a training study leaves: a file of the best trial, and a study that came from this one.
    let curve = r#"{"learning_rate":[0.001,0.01,0.1],"loss":[3,2,1],"smoothed":[3,2,1],"chosen":0.01}"#;
    let digest = "6ecdfc3352eec40aa3d76b15ef3fe7b8b19e21c6fa8e1f0d1b0ca0bd0bd5d7f0";
    std::fs::create_dir_all(scene.path("a.db.artifacts")).expect("a folder");
    scene.write(&format!("a.db.artifacts/{digest}"), curve);
    let db = Connection::open(scene.path("a.db")).expect("a database");
    let artifact = "INSERT INTO artifact (study_id, trial_id, fold, attempt, kind, digest, bytes, created_at) \
        SELECT study_id, id, 0, 1, 'range-test', ?1, ?2, 0 FROM trial WHERE number = 0";
    db.execute(artifact, (digest, curve.len() as i64)).expect("an artifact");
    db.execute_batch(
        "INSERT INTO study (name, state, images, height, width, data_digest, splits_digest, parent_study, created_at, spec, spec_text) \
         SELECT 'child', 'ended', images, height, width, data_digest, splits_digest, id, 0, \
         replace(spec, '\"outside\"', '\"child\"'), spec_text FROM study; \
         INSERT INTO objective SELECT 2, idx, name, direction FROM objective; \
         INSERT INTO trial (study_id, number, state, value, reason, created_at, finished_at) VALUES (2, 0, 'complete', 0.5, 'told', 0, 1); \
         INSERT INTO fold (trial_id, fold, state, value, best_epoch) SELECT id, 0, 'complete', 0.5, 1 FROM trial WHERE study_id = 2;",
    )
    .expect("a child");
    drop(db);

    scene.foldwise("report outside --db a.db --out from-file").expect_code(0).expect_stderr(&["index.html"]);
    let server = scene.serve("--db a.db");
    let at = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("report outside {at} --out from-server")).expect_code(0);
    let (from_file, from_server) = (scene.path("from-file"), scene.path("from-server"));
    for end in [".csv", ".svg"] {
        let (ours, theirs) = (files(&from_file, end), files(&from_server, end));
        assert!(ours.len() > 8, "{:?}", ours.keys());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, content) in &ours {
            assert!(*content == theirs[name], "{name} differs");
        }
    }
    let history = String::from_utf8(scene.bytes("from-file/history.csv")).expect("text");
    assert_eq!(history.lines().count(), 13);
    let range = String::from_utf8(scene.bytes("from-server/outside-range-test.csv")).expect("text");
    assert_eq!(range, "learning_rate,loss,smoothed\n0.001,3,3\n0.01,2,2\n0.1,1,1\n");
    assert!(from_file.join("child-history.svg").is_file());
    for (name, picture) in files(&from_file, ".png") {
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 2_000, "{name}: {} bytes", picture.len());
    }
    let page = String::from_utf8(scene.bytes("from-file/index.html")).expect("text");
    assert!(page.contains("foldwise report outside --db a.db --out from-file"));
    for foreign in ["http:", "https:", "<script", "src="] {
        assert!(!page.contains(foreign), "{foreign}");
    }

    // A file that is gone is said, and nothing is left of the report; the older one stays.
    std::fs::remove_file(scene.path(&format!("a.db.artifacts/{digest}"))).expect("removed");
    for place in ["--db a.db --out from-file", &format!("{at} --out from-file")] {
        scene.foldwise(&format!("report outside {place}")).expect_code(1).expect_stderr(&[digest]);
    }
    assert!(from_file.join("index.html").is_file());
}

#[test]
fn what_cannot_be_reported_is_refused() {
    let scene = Scene::new();
    scene.write("outside.toml", STUDY);
    scene.foldwise("report outside --db none.db").expect_code(2).expect_stderr(&["none.db"]);
    let server = scene.serve("--db a.db");
    let at = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("study create outside.toml {at}")).expect_code(0);
    scene.foldwise(&format!("trial add outside rate=0.01 units=3 kind=a --value 1 {at}")).expect_code(0);
    scene
        .foldwise(&format!("report outsid {at}"))
        .expect_code(2)
        .expect_stderr(&["there is no study `outsid`; there is: outside"]);
    scene
        .foldwise(&format!("report outside --with none {at}"))
        .expect_code(2)
        .expect_stderr(&["no study `none`"]);
    std::fs::create_dir(scene.path("mine")).expect("a folder");
    scene.write("mine/thesis.txt", "x");
    scene
        .foldwise(&format!("report outside --out mine {at}"))
        .expect_code(2)
        .expect_stderr(&["mine is there and holds no report", "--out DIR"]);
    assert_eq!(scene.bytes("mine/thesis.txt"), b"x");
    scene.write("file", "x");
    scene
        .foldwise(&format!("report outside --out file/report {at}"))
        .expect_code(1)
        .expect_stderr(&["failed to write file/report"]);
    scene.foldwise(&format!("report outside {at}")).expect_code(0);
    assert!(scene.path("outside-report/index.html").is_file());
}
