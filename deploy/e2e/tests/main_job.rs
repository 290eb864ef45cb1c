//! The main job: a study file in, the best trial out, and everything in one database.

use std::collections::BTreeMap;

use foldwise_e2e::{Database, Scene, Study, Value};
use serde_json::Value as Json;

const STUDY: Study =
    Study { name: "main", folds: 3, limit: 240, epochs: 4, trials: 9, pruner: Study::MEDIAN };

#[test]
fn a_study_file_in_the_best_trial_out() {
    let scene = Scene::new();
    scene.write("study.toml", STUDY.to_string());
    let ended = scene.foldwise("run study.toml --db study.db --workers 2").expect_code(0);
    let database = scene.database("study.db");

    let trials = scene.foldwise("trial list main --db study.db -o json").expect_code(0).json();
    let trials = trials.as_array().expect("a list");
    assert_eq!(trials.len(), STUDY.trials as usize);
    for state in ["complete", "pruned"] {
        assert!(trials.iter().any(|trial| trial["state"] == state), "no trial is {state}: {trials:?}");
    }
    tables_agree_with_the_list(&database, trials);
    every_epoch_is_there(&database);
    values_follow_from_the_epochs(&database);
    curve_agrees(&scene, &database);
    hindsight_agrees(&scene, &database);

    let best = scene.foldwise("best main --db study.db -o json").expect_code(0).json();
    let least =
        database.rows("SELECT number, value FROM trial WHERE state = 'complete' ORDER BY value LIMIT 1");
    assert_eq!(least, [[integer(&best["number"]), real(&best["value"])]]);
    assert_eq!(best, trials[best["number"].as_u64().expect("a number") as usize]);
    let row = |name: &str| {
        let line = ended.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    assert_eq!(row("study"), Some("main".into()), "{}", ended.stdout);
    assert_eq!(row("trial"), Some(best["number"].to_string()), "{}", ended.stdout);
    let shown: f64 = row("value").and_then(|text| text.parse().ok()).expect("a value");
    let value = best["value"].as_f64().expect("a value");
    assert!((shown / value - 1.0).abs() < 1e-3, "{shown} is shown, {value} is recorded");

    the_same_file_goes_on(&scene, &database, &ended.stdout);
    another_file_is_refused(&scene, &database);
}

fn tables_agree_with_the_list(database: &Database, trials: &[Json]) {
    let listed: Vec<Vec<Value>> = trials
        .iter()
        .map(|trial| {
            vec![
                integer(&trial["number"]),
                text(&trial["state"]),
                real(&trial["value"]),
                real(&trial["std"]),
                text(&trial["reason"]),
                real(&trial["params"]["learning_rate"]),
                real(&trial["params"]["dropout"]),
            ]
        })
        .collect();
    let stored = database.rows(
        "SELECT number, state, trial.value, std, reason, rate.value, dropout.value FROM trial
         JOIN param AS rate ON rate.trial_id = id AND rate.name = 'learning_rate'
         JOIN param AS dropout ON dropout.trial_id = id AND dropout.name = 'dropout' ORDER BY number",
    );
    assert_eq!(listed, stored);

    let listed: Vec<Vec<Value>> = trials
        .iter()
        .flat_map(|trial| {
            trial["folds"].as_array().expect("folds").iter().map(|fold| {
                vec![
                    integer(&trial["number"]),
                    integer(&fold["fold"]),
                    text(&fold["state"]),
                    real(&fold["value"]),
                    integer(&fold["best_epoch"]),
                    integer(&fold["epochs"]),
                    integer(&fold["attempts"]),
                ]
            })
        })
        .collect();
    let stored = database.rows(
        "SELECT number, fold, fold.state, fold.value, best_epoch,
            (SELECT count(*) FROM curve WHERE curve.number = trial.number AND curve.fold = fold.fold), attempts
         FROM fold JOIN trial ON trial.id = trial_id ORDER BY number, fold",
    );
    assert_eq!(stored.len(), (STUDY.trials * STUDY.folds) as usize);
    assert_eq!(listed, stored);
}

/// Every fold has its epochs from the first on without a gap, a complete one all of them.
fn every_epoch_is_there(database: &Database) {
    let broken = database.rows(&format!(
        "SELECT fold.trial_id, fold.fold, fold.state, count(epoch), max(epoch) FROM fold
         LEFT JOIN epoch ON epoch.trial_id = fold.trial_id AND epoch.fold = fold.fold
         GROUP BY fold.trial_id, fold.fold
         HAVING count(epoch) <> coalesce(max(epoch), 0)
            OR (fold.state = 'complete') <> (count(epoch) = {epochs})
            OR (fold.attempts = 0) > (count(epoch) = 0)",
        epochs = STUDY.epochs,
    ));
    // A pruned fold may have all its epochs: it was judged by the last.
    let broken: Vec<_> = broken
        .into_iter()
        .filter(|row| {
            row[2] != Value::Text("pruned".into()) || row[3] != Value::Integer(i64::from(STUDY.epochs))
        })
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(database.number("SELECT count(*) FROM epoch WHERE value IS NULL OR diverged"), 0);
    assert_eq!(database.number("SELECT count(*) FROM attempt WHERE state = 'running' OR attempt > 1"), 0);
}

fn values_follow_from_the_epochs(database: &Database) {
    let folds = database.rows(
        "SELECT trial_id, fold.value, best_epoch,
            (SELECT min(value) FROM epoch WHERE epoch.trial_id = fold.trial_id AND epoch.fold = fold.fold),
            (SELECT epoch FROM epoch WHERE epoch.trial_id = fold.trial_id AND epoch.fold = fold.fold
             ORDER BY value, epoch LIMIT 1)
         FROM fold WHERE state = 'complete' ORDER BY trial_id, fold",
    );
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in &folds {
        assert_eq!((&row[1], &row[2]), (&row[3], &row[4]), "{row:?}");
        let Value::Real(value) = row[1] else { panic!("{row:?}") };
        values.entry(format!("{:?}", row[0])).or_default().push(value);
    }
    for row in database.rows("SELECT id, value, std FROM trial WHERE state = 'complete'") {
        let folds = &values[&format!("{:?}", row[0])];
        assert_eq!(folds.len(), STUDY.folds as usize);
        let mean = folds.iter().sum::<f64>() / folds.len() as f64;
        let squares: f64 = folds.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (folds.len() - 1) as f64).sqrt();
        for (stored, right) in [(&row[1], mean), (&row[2], deviation)] {
            assert!(
                matches!(stored, Value::Real(stored) if (stored - right).abs() < 1e-12),
                "{row:?}: {right}"
            );
        }
    }
    let pruned = database.number("SELECT count(*) FROM trial WHERE state = 'pruned'");
    assert_eq!(database.number("SELECT count(DISTINCT trial_id) FROM decision"), pruned);
}

fn curve_agrees(scene: &Scene, database: &Database) {
    let ended = scene.foldwise("curve main --db study.db -o csv").expect_code(0);
    let mut reader = csv::Reader::from_reader(ended.stdout.as_bytes());
    let header: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    assert_eq!(header[..6], ["trial", "fold", "attempt", "epoch", "train_loss", "validation_loss"]);
    let listed: Vec<Vec<Value>> = reader
        .records()
        .map(|record| {
            let record = record.expect("a row");
            let whole = |at: usize| Value::Integer(record[at].parse().expect("a whole number"));
            let real = |at: usize| Value::Real(record[at].parse().expect("a number"));
            vec![whole(0), whole(1), whole(2), whole(3), real(4), real(5)]
        })
        .collect();
    let stored = database.rows(
        "SELECT number, fold, attempt, epoch, train_loss, epoch.value FROM epoch JOIN trial ON trial.id = trial_id
         ORDER BY number, fold, epoch",
    );
    assert_eq!(listed, stored);
    let view = database.rows(
        "SELECT number, fold, attempt, epoch, train_loss, val_loss FROM curve WHERE study = 'main'
         ORDER BY number, fold, epoch",
    );
    assert_eq!(view, stored);
}

/// The study's own pruner, run through the record once more, decides what it decided; and so says the explanation.
fn hindsight_agrees(scene: &Scene, database: &Database) {
    let replays = scene.foldwise("replay main --db study.db -o json").expect_code(0).json();
    let own = &replays[0];
    let stops = own["stopped"].as_array().expect("stops").iter();
    let replayed: Vec<Vec<Value>> = stops
        .map(|stop| {
            let mut row: Vec<Value> =
                ["trial", "fold", "epoch"].iter().map(|key| integer(&stop[*key])).collect();
            row.push(text(&stop["rule"]));
            row.extend(["own", "threshold"].map(|key| real(&stop[key])));
            row
        })
        .collect();
    let stored = database.rows(
        "SELECT number, fold, epoch, rule, own, threshold FROM decision JOIN trial ON trial.id = trial_id
         ORDER BY number",
    );
    assert!(!stored.is_empty());
    assert_eq!(replayed, stored);
    assert_eq!((&own["saved"], &own["exact"]), (&0.into(), &true.into()));
    assert!(replays.as_array().expect("a list").len() > 5, "{replays}");
    for row in stored {
        let Value::Integer(number) = row[0] else { panic!("{row:?}") };
        let words = format!("trial explain main {number} --db study.db -o json");
        let explained = scene.foldwise(&words).expect_code(0).json();
        let call = &explained["call"];
        assert_eq!(real(&call["look"]["threshold"]), row[5], "{explained}");
        // Half of its peers reach the median, and it does not.
        let peers = call["peers"].as_array().expect("peers");
        let better =
            peers.iter().filter(|peer| peer["value"].as_f64() < call["look"]["own"].as_f64()).count();
        assert!(2 * better >= peers.len() && call["place"] == better + 1, "{explained}");
    }
}

fn the_same_file_goes_on(scene: &Scene, database: &Database, answer: &str) {
    let before = database.dump();
    let ended = scene.foldwise("run study.toml --db study.db --workers 2").expect_code(0);
    assert_eq!(ended.stdout, answer);
    assert_eq!(database.dump(), before);
}

fn another_file_is_refused(scene: &Scene, database: &Database) {
    let before = database.dump();
    scene.write("other.toml", Study { epochs: 5, ..STUDY }.to_string());
    scene.foldwise("run other.toml --db study.db --set budget.trials=10").expect_code(2).expect_stderr(&[
        "train.epochs: 4 is stored, 5 is given",
        "budget.trials: 9 is stored, 10 is given",
        "help: ",
    ]);
    assert_eq!(database.dump(), before);
}

fn integer(json: &Json) -> Value {
    json.as_i64().map_or(Value::Null, Value::Integer)
}

fn real(json: &Json) -> Value {
    json.as_f64().map_or(Value::Null, Value::Real)
}

fn text(json: &Json) -> Value {
    json.as_str().map_or(Value::Null, |text| Value::Text(text.to_owned()))
}
