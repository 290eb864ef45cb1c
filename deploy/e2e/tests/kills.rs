//! `kill -9`: of everything, of the coordinator, of a worker. Nothing that was acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use foldwise_e2e::{Database, Random, Running, Scene, Study, Value, until, until_within};
use rustix::process::Signal;

const KILLS: u32 = 10;

#[test]
fn killed_ten_times() {
    // More epochs than ten rounds can train, so that each kill finds a running study.
    let study = Study {
        trials: 100,
        epochs: 4,
        pruner: "kind = \"median\"\nstartup_trials = 2\nwarmup_epochs = 1",
        ..Study::default()
    };
    let scene = Scene::new();
    scene.write("study.toml", study.to_string());
    let acks = scene.path("acks");
    std::fs::create_dir(&acks).expect("a folder");
    let database = scene.database("study.db");
    let start = |words: &str| {
        let mut command = scene.command(words);
        command.env("FOLDWISE_ACK_LOG", &acks);
        Running::start(command)
    };

    let mut random = Random::from_env();
    let mut finished = BTreeMap::new();
    let mut running = start("run study.toml --db study.db --workers 2");
    until("the study", || (database.number_so_far("SELECT count(*) FROM study") == 1).then_some(()));
    for kill in 1..=KILLS {
        let (epochs, delay) = (random.up_to(9) as i64, Duration::from_millis(random.up_to(150)));
        eprintln!("kill {kill}: {delay:?} after {epochs} epochs");
        let count = "SELECT count(*) FROM epoch";
        let known = database.number_so_far(count);
        until("some epochs", || {
            assert!(running.is_alive(), "it ended before kill {kill}: {running:?}");
            (database.number_so_far(count) >= known + epochs).then_some(())
        });
        let moment = Instant::now() + delay;
        until("the moment", || (Instant::now() >= moment).then_some(()));
        let ended = running.kill_tree();
        assert_eq!(ended.signal, Some(9), "kill {kill} came too late: {ended:?}");

        acknowledged_is_recorded(&database, &acks);
        finished = finished_is_unchanged(&database, &finished);
        assert_eq!(database.number("SELECT count(*) FROM study WHERE state = 'running'"), 1);
        running = start("resume --db study.db --workers 2");
    }
    running.finish().expect_code(0);

    let lines = acknowledged_is_recorded(&database, &acks);
    assert!(lines > study.trials as usize, "only {lines} acknowledgements were logged");
    let finished = finished_is_unchanged(&database, &finished);
    assert_eq!(finished.len(), study.trials as usize, "the number of trials");
    assert_eq!(
        database.rows("SELECT count(*), min(number), max(number) FROM trial"),
        [[Value::Integer(100), Value::Integer(0), Value::Integer(99)]]
    );
    assert_eq!(
        database.number("SELECT count(*) FROM trial WHERE state NOT IN ('complete', 'pruned')"),
        0,
        "a kill cost a trial"
    );
    assert_eq!(database.rows("SELECT state FROM study"), [[Value::Text("ended".into())]]);
    assert_eq!(database.number("SELECT count(*) FROM attempt WHERE state = 'running'"), 0);
    assert!(
        database.number("SELECT count(*) FROM attempt WHERE state = 'failed'") > 0,
        "no kill hit anything"
    );
    let gaps = "SELECT trial_id, fold, attempt FROM epoch JOIN attempt USING (trial_id, fold, attempt)
                GROUP BY 1, 2, 3 HAVING count(*) <> max(epoch) - start_epoch";
    assert_eq!(database.rows(gaps), [[]; 0]);
    let short = format!(
        "SELECT trial_id, fold FROM fold WHERE state = 'complete' AND {} <> (SELECT count(*) FROM curve
         JOIN trial USING (number) WHERE trial.id = fold.trial_id AND curve.fold = fold.fold)",
        study.epochs
    );
    assert_eq!(database.rows(&short), [[]; 0], "a complete fold lacks epochs of its last attempt");
    eprintln!("{lines} acknowledgements, {} epochs", database.number("SELECT count(*) FROM epoch"));
}

/// Every line of every worker's log has its row, with its attempt and its value; gives the number of lines.
fn acknowledged_is_recorded(database: &Database, acks: &Path) -> usize {
    let mut epochs = BTreeMap::new();
    for row in database.rows(
        "SELECT study_id, number, fold, attempt, epoch, epoch.value FROM epoch JOIN trial ON id = trial_id",
    ) {
        epochs.insert(whole(&row[..5]), row[5].clone());
    }
    let ended: BTreeSet<Vec<i64>> = database
        .rows(
            "SELECT study_id, number, fold, attempt FROM attempt JOIN trial ON id = trial_id
             WHERE attempt.state IN ('complete', 'stopped')",
        )
        .iter()
        .map(|row| whole(row))
        .collect();
    let lines = acknowledged(acks);
    for line in &lines {
        let key = |names: &[&str]| -> Vec<i64> {
            names
                .iter()
                .map(|name| line[*name].as_i64().unwrap_or_else(|| panic!("{name}: {line}")))
                .collect()
        };
        if line["end"].is_string() {
            assert_eq!(line["end"], "finished", "{line}");
            assert!(ended.contains(&key(&["study", "trial", "fold", "attempt"])), "lost: {line}");
        } else {
            let loss = line["validation_loss"].as_f64().map_or(Value::Null, Value::Real);
            let recorded = epochs.get(&key(&["study", "trial", "fold", "attempt", "epoch"]));
            assert_eq!(recorded, Some(&loss), "lost or changed: {line}");
        }
    }
    lines.len()
}

/// Each line was written by one call, so that a kill cuts none in two.
fn acknowledged(acks: &Path) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(acks).expect("the log's folder") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a log");
        for line in text.lines() {
            lines.push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
    }
    lines
}

fn whole(row: &[Value]) -> Vec<i64> {
    row.iter()
        .map(|value| if let Value::Integer(number) = value { *number } else { panic!("{row:?}") })
        .collect()
}

/// All that is recorded about the trials that are over, by their row, after a look at how it was before.
fn finished_is_unchanged(
    database: &Database,
    before: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let mut after: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, key) in
        [("trial", "id"), ("trial_value", "trial_id"), ("param", "trial_id"), ("fold", "trial_id")]
    {
        for row in database.rows(&format!(
            "SELECT {table}.* FROM {table} JOIN trial AS t ON t.id = {table}.{key} WHERE t.finished_at IS NOT NULL
             ORDER BY 1, 2"
        )) {
            after.entry(format!("{:?}", row[0])).or_default().push(format!("{table} {row:?}"));
        }
    }
    for (trial, rows) in before {
        assert_eq!(after.get(trial), Some(rows), "a finished trial has changed");
    }
    after
}

#[test]
fn a_killed_coordinator_leaves_no_worker() {
    let scene = Scene::new();
    scene.write("study.toml", Study { trials: 1000, ..Study::default() }.to_string());
    let running = scene.start("run study.toml --db study.db --workers 2");
    let database = scene.database("study.db");
    let workers = [running.worker("w0"), running.worker("w1")];
    until("an epoch of each worker", || {
        let sql = "SELECT count(DISTINCT worker) FROM attempt JOIN epoch USING (trial_id, fold, attempt)";
        (database.number_so_far(sql) == 2).then_some(())
    });
    running.signal(Signal::KILL);
    assert_eq!(running.finish().signal, Some(9));
    until_within(Duration::from_secs(10), "both workers to end", || {
        workers.iter().all(|worker| !worker.is_alive()).then_some(())
    });
}

#[test]
fn a_killed_worker_costs_an_attempt() {
    let scene = Scene::new();
    // Epochs long enough to be hit in the middle of a fold.
    let study = Study { trials: 2, epochs: 4, limit: 1500, ..Study::default() };
    scene.write("study.toml", study.to_string());
    let running = scene.start("run study.toml --db study.db --workers 2");
    let database = scene.database("study.db");
    let victim = running.worker("w0");
    let hit = until("w0 in the middle of a fold", || {
        let sql = "SELECT trial_id * 10 + fold FROM attempt JOIN epoch USING (trial_id, fold, attempt)
                   WHERE worker = 'w0' AND state = 'running' GROUP BY trial_id, fold HAVING max(epoch) <= 2";
        Some(database.number_so_far(sql)).filter(|key| *key > 0)
    });
    victim.signal(Signal::KILL);
    running.until_stderr("w0 ended (signal: 9 (SIGKILL)); its fold goes to another");
    running.finish().expect_code(0);

    let (trial, fold) = (hit / 10, hit % 10);
    let attempts = database.rows(&format!(
        "SELECT attempt, state, failure FROM attempt WHERE trial_id = {trial} AND fold = {fold} ORDER BY attempt"
    ));
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        attempts,
        [
            [Value::Integer(1), text("failed"), text("lost")],
            [Value::Integer(2), text("complete"), Value::Null],
        ]
    );
    assert_eq!(
        database.rows("SELECT count(*) FROM attempt WHERE failure IS NOT NULL"),
        [[Value::Integer(1)]],
        "the other worker's folds are not touched"
    );
    let complete = "SELECT count(*) FROM trial WHERE state = 'complete'";
    assert_eq!(database.number(complete), i64::from(study.trials));
    let epochs = database.rows(&format!(
        "SELECT attempt, count(*) FROM epoch WHERE trial_id = {trial} AND fold = {fold} GROUP BY attempt"
    ));
    assert_eq!(epochs.len(), 2, "{epochs:?}");
    assert_eq!(epochs[1], [Value::Integer(2), Value::Integer(i64::from(study.epochs))]);
}
