//! `foldwise fit` and `foldwise evaluate`: from a search to a model in a file, over interruptions.

use foldwise_e2e::{Database, Scene, Study, until};
use rustix::process::Signal;
use serde_json::Value;

/// A search of two folds whose trials take no time.
fn search(scene: &Scene) -> Database {
    let study = Study { name: "s", trials: 3, epochs: 2, ..Study::default() };
    scene.write("s.toml", study.to_string());
    scene
        .foldwise("run s.toml --db s.db --workers 2")
        .expect_code(0)
        .expect_stderr(&["foldwise fit s --db s.db"]);
    scene.database("s.db")
}

fn json(scene: &Scene, file: &str) -> Value {
    serde_json::from_slice(&scene.bytes(file)).expect("JSON")
}

/// The names of the tensors in a safetensors file, and its metadata.
fn header(bytes: &[u8]) -> Value {
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize;
    serde_json::from_slice(&rest[..length]).expect("a header")
}

const PARENTS: &str =
    "SELECT count(*) FROM study AS child JOIN study AS parent ON child.parent_study = parent.id";

#[test]
fn a_search_becomes_a_model_in_a_file() {
    let scene = Scene::new();
    let database = search(&scene);
    let ended = scene.foldwise("fit s --db s.db --workers 1 --no-evaluation").expect_code(0);
    let ended = ended.expect_stderr(&["foldwise report s-fit --db s.db"]);
    assert!(ended.stdout.contains("model       s-fit/model.safetensors"), "{}", ended.stdout);
    assert_eq!(database.number(&format!("{PARENTS} WHERE child.name = 's-fit' AND parent.name = 's'")), 1);
    assert_eq!(
        database.number("SELECT count(*) FROM trial JOIN study ON study.id = study_id WHERE name = 's-fit'"),
        1
    );

    let header = header(&scene.bytes("s-fit/model.safetensors"));
    assert_eq!(header["__metadata__"]["format"], "foldwise-model-1");
    assert_eq!(header["enc.0.weight"]["shape"], serde_json::json!([8, 1, 3, 3]));
    let best = scene.foldwise("best s --db s.db -o json").expect_code(0).json();
    let fitted = json(&scene, "s-fit/model.json");
    assert_eq!(fitted["params"], best["params"], "the best params are fitted");
    assert_eq!((&fitted["study"], &fitted["parent"]), (&Value::from("s-fit"), &Value::from("s")));
    assert_eq!(fitted["data"]["holdout"], 120, "half of the images, as in the first of two folds");

    // The file that `study show` has is one that could be run.
    let shown = scene.foldwise("study show s-fit --db s.db -o json").expect_code(0).json();
    scene.write("again.toml", shown["spec_text"].as_str().expect("a text"));
    scene
        .foldwise("fit again.toml --db s.db --no-evaluation")
        .expect_code(0)
        .expect_stderr(&["finished already"]);

    // What is finished is not trained again; with other settings it is another fit.
    let before = database.number("SELECT count(*) FROM epoch");
    std::fs::remove_dir_all(scene.path("s-fit")).expect("removed");
    scene.foldwise("fit s --db s.db --no-evaluation").expect_code(0).expect_stderr(&["finished already"]);
    assert_eq!(database.number("SELECT count(*) FROM epoch"), before);
    assert!(scene.path("s-fit/model.safetensors").is_file());
    let other = scene.foldwise("fit s --db s.db --no-evaluation --epochs 1").expect_code(2);
    other.expect_stderr(&["train.epochs: 2 is stored, 1 is given", "--name"]);
    scene
        .foldwise("fit s --db s.db --workers 1 --no-evaluation --epochs 1 --on all --name whole")
        .expect_code(0);
    assert_eq!(json(&scene, "whole/model.json")["data"]["holdout"], 0);
    // The params of one fit are another's.
    scene
        .foldwise("fit s --db s.db --params s-fit/model.json --name same --no-evaluation --workers 1 --out elsewhere")
        .expect_code(0);
    assert_eq!(json(&scene, "elsewhere/model.json")["params"], fitted["params"]);
}

#[test]
fn a_fit_that_is_cut_goes_on_by_the_same_command() {
    let scene = Scene::new();
    let database = search(&scene);
    let command = "fit s --db s.db --workers 1 --no-evaluation --epochs 30 --set checkpoint.every_seconds=0";
    let count = "SELECT count(*) FROM epoch JOIN trial ON trial.id = trial_id JOIN study ON study.id = study_id \
                 WHERE study.name = 's-fit'";
    let running = scene.start(command);
    until("an epoch", || (database.number_so_far(count) >= 1).then_some(()));
    running.signal(Signal::INT);
    running.finish().expect_code(130).expect_stderr(&["go on with: the same command"]);
    let known = database.number(count);
    let running = scene.start(command);
    until("another epoch", || (database.number_so_far(count) > known).then_some(()));
    running.kill_tree();
    assert!(!scene.path("s-fit/model.safetensors").exists());
    scene.foldwise(command).expect_code(0);
    assert!(scene.path("s-fit/model.safetensors").is_file());
    assert_eq!(database.number("SELECT count(*) FROM study WHERE name = 's-fit' AND state = 'ended'"), 1);
}

#[test]
fn a_model_is_measured_once_for_the_same_settings() {
    let scene = Scene::new();
    let database = search(&scene);
    let evaluations = "SELECT count(*) FROM study WHERE name LIKE 's-fit-evaluation%' AND state = 'ended'";
    // t-SNE of all test codes is a matter of minutes in a program that is not optimized.
    let quick = "--workers 1 --set evaluate.tsne=false --set evaluate.codes=200 --set evaluate.pictures=2 \
                 --set evaluate.noise=[0.5] --set evaluate.occlusion=[0.2]";
    scene.foldwise("fit s --db s.db --workers 1 --no-evaluation").expect_code(0);
    let ended = scene.foldwise(&format!("evaluate s --db s.db {quick}")).expect_code(0);
    assert!(ended.stdout.contains("evaluation  s-fit-evaluation: error 0."), "{}", ended.stdout);
    assert!(
        ended.stdout.contains(" a pixel, over ") && ended.stdout.contains(" test images"),
        "{}",
        ended.stdout
    );
    assert_eq!(database.number(evaluations), 1);
    assert_eq!(
        database
            .number(&format!("{PARENTS} WHERE child.name = 's-fit-evaluation' AND parent.name = 's-fit'")),
        1
    );
    let again = scene.foldwise(&format!("evaluate s --db s.db {quick}")).expect_code(0);
    again.expect_stderr(&["s-fit-evaluation is there already"]);
    assert_eq!(database.number(evaluations), 1);
    let other = format!("{quick} --set evaluate.neighbors=3");
    scene.foldwise(&format!("evaluate s --db s.db {other}")).expect_code(0);
    assert_eq!(database.number(evaluations), 2);
    // A repeated fit trains nothing, and measures in the way that is asked for now.
    let fit = format!("fit s --db s.db {quick}");
    scene
        .foldwise(&fit)
        .expect_code(0)
        .expect_stderr(&["finished already", "s-fit-evaluation is there already"]);
    let ended = scene.foldwise(&format!("{fit} --set evaluate.neighbors=5")).expect_code(0);
    assert!(ended.stdout.contains("evaluation  s-fit-evaluation-3: error 0."), "{}", ended.stdout);
    assert_eq!(database.number(evaluations), 3);
    // Its files are not laid over those of another fit.
    let wrong = scene.foldwise("fit s --db s.db --name other --out s-fit").expect_code(2);
    wrong.expect_stderr(&["s-fit is there and has the model of the fit `s-fit` in it", "--out"]);
    // An evaluation that is asked for stands beside the fit, which shows its newest.
    let report = "report s-fit --with s-fit-evaluation --db s.db --out page";
    scene.foldwise(report).expect_code(0);
    assert!(scene.path("page/side-by-side-noise.svg").is_file());
    let page = String::from_utf8(scene.bytes("page/index.html")).expect("text");
    assert!(page.contains("s-fit-evaluation-3, on the data"), "the newest");
    // No model goes into a report, and no report over anything that is none.
    let wrong = scene.foldwise("fit s --db s.db --name other --out page").expect_code(2);
    wrong.expect_stderr(&["page is there and a report", "--out"]);
    scene.write("page/notes.txt", "mine");
    scene.foldwise(report).expect_code(2).expect_stderr(&["page holds a report and `notes.txt`", "--out"]);
    assert_eq!(scene.bytes("page/notes.txt"), b"mine");
    // The same model from a file is the same evaluation.
    let again = format!("evaluate s-fit --db s.db --model s-fit/model.safetensors {other}");
    scene.foldwise(&again).expect_code(0).expect_stderr(&["s-fit-evaluation-2 is there already"]);
    // A model of another shape is refused before anybody is asked to measure it.
    scene
        .foldwise("fit s --db s.db --workers 1 --no-evaluation --name wide --set model.latent_dim=9")
        .expect_code(0);
    let wrong = scene.foldwise("evaluate s-fit --db s.db --model wide/model.safetensors").expect_code(2);
    wrong.expect_stderr(&["a model of another shape", "latent_dim is 9"]);
    assert_eq!(database.number("SELECT count(*) FROM study"), 6);
}

#[test]
fn a_coordinator_fits_as_well() {
    let scene = Scene::new();
    search(&scene);
    let server = scene.serve("--db s.db");
    let worker = scene.worker(&format!("--coordinator {}", server.url));
    let line = format!("fit s --coordinator {} --no-evaluation", server.url);
    scene.foldwise(&line).expect_code(0);
    assert_eq!(header(&scene.bytes("s-fit/model.safetensors"))["__metadata__"]["study"], "s-fit");
    scene.foldwise(&line).expect_code(0).expect_stderr(&["finished already"]);
    worker.kill_tree();
    server.running.kill_tree();
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let scene = Scene::new();
    search(&scene);
    let external = "version = 1\nbudget = { trials = 3 }\nstudy = { name = \"x\", objective = \"external\" }\n\
                    [space]\na = { float = [0, 1] }\n";
    scene.write("x.toml", external);
    scene.foldwise("study create x.toml --db s.db").expect_code(0);
    scene.write("fresh.toml", Study { name: "fresh", ..Study::default() }.to_string());
    scene.foldwise("study create fresh.toml --db s.db").expect_code(0);
    scene.write("wrong.toml", "learning_rate = 1e-3\ndropuot = 0.1\n");
    scene.write("few.json", "{ \"learning_rate\": 0.001 }");
    scene.write("high.toml", "learning_rate = 1e-3\ndropout = 1.5\n");
    scene.write("folder", "a file");
    for (line, words) in [
        ("fit nobody", &["there is no study `nobody`; there is:"][..]),
        ("fit fresh", &["no complete trial yet", "foldwise resume fresh --db s.db"]),
        ("fit s --trial 99", &["has no trial 99: its trials are 0 to 2"]),
        ("fit x", &["the study `x` cannot be fitted", "your own program"]),
        (
            "fit s --params wrong.toml",
            &["wrong.toml: dropuot: the model knows no such param; did you mean `dropout`?"],
        ),
        ("fit s --params few.json", &["few.json: dropout: it is missing; give a number from 0 to 0.3"]),
        ("fit s --params high.toml", &["high.toml: dropout: dropout cannot be 1.5"]),
        ("fit s --params none.toml", &["failed to read the params none.toml"]),
        ("fit s --size small", &["--size is for a study file"]),
        ("fit s --epochs 0", &["train.epochs: 0 epochs cannot work"]),
        (
            "fit s --set train.epoch=3",
            &["--set train.epoch=3: train.epoch: unknown key; did you mean `epochs`?"],
        ),
        ("fit s.toml", &["dropout, learning_rate are still searched", "foldwise run s.toml"]),
        ("fit s.toml --size small", &["the study file has no size `small`; it has no [size.NAME] at all"]),
        ("fit s.toml --trial 1", &["--trial is for a trial of a study"]),
        ("fit s --out folder", &["folder is there and no folder"]),
        ("evaluate s", &["study `s` has no fit", "foldwise fit s --db s.db"]),
    ] {
        scene.foldwise(&format!("{line} --db s.db")).expect_code(2).expect_stderr(words);
    }
    let transfer = "version = 1\nstudy = { name = \"t\", objective = \"transfer\" }\nsource = { study = \"s\" }\n\
                    train = { epochs = 2 }\nbudget = { trials = 1 }\n";
    scene.write("t.toml", transfer);
    let refused = scene.foldwise("run t.toml --db s.db").expect_code(2);
    refused.expect_stderr(&["t.toml:3: source.study: study `s` has no fit; `foldwise fit s` makes one"]);
    assert_eq!(scene.database("s.db").number("SELECT count(*) FROM study"), 3, "nothing was created");
}

#[test]
fn a_size_is_laid_over_the_file() {
    let scene = Scene::new();
    let text = format!("{}\n[size.tiny]\n\"budget.trials\" = 1\n\"train.epochs\" = 1\n", Study::default());
    scene.write("s.toml", text);
    scene.foldwise("run s.toml --db s.db --size tiny --workers 1 --set data.limit=40").expect_code(0);
    assert_eq!(
        scene.database("s.db").number("SELECT count(*) FROM epoch"),
        2,
        "an epoch of each of two folds"
    );
    let wrong = scene.foldwise("run s.toml --db s.db --size huge").expect_code(2);
    wrong.expect_stderr(&["--size huge: the study file has no size `huge`; it has: tiny"]);
    let other = scene.foldwise("run s.toml --db s.db").expect_code(2);
    other.expect_stderr(&["budget.trials: 1 is stored, 4 is given"]);
}
