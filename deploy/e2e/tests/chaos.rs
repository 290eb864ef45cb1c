//! The short form of `make chaos`, and that its checks see what they are for.

use std::path::Path;
use std::process::Command;

use foldwise_e2e::chaos::{Fault, Findings, View, check};
use foldwise_e2e::{Database, Running, Scene, Study};

/// Each fault that this machine allows comes at least once, and nothing is lost.
#[test]
fn every_fault_once() {
    let scene = Scene::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FOLDWISE_CHAOS_") {
            command.env_remove(name);
        }
    }
    let words =
        "--seconds 22 --workers 3 --seed 7 --restart-every 8 --lease 2 --pause 1 --limit 1000 --epochs 4
                 --trials 4 --report report.md";
    command.args(words.split_whitespace()).current_dir(scene.path(""));
    // It has limits of its own.
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));

    let report = String::from_utf8(scene.bytes("report.md")).expect("text");
    assert_eq!(report.as_bytes(), output.stdout);
    for fault in Fault::ALL {
        let row =
            report.lines().find_map(|line| line.strip_prefix(&format!("| {fault} | "))?.strip_suffix(" |"));
        match (fault, row) {
            // They take rights that not everybody has; then the report says so.
            (Fault::DiskFull | Fault::LinkDown, None) => assert!(report.contains("Left out: "), "{report}"),
            (_, row) => {
                let times: u32 = row.unwrap_or_default().parse().unwrap_or_else(|error| {
                    panic!("{fault}: {error}\n{report}");
                });
                assert!(times >= 1, "{fault} never came\n{report}");
            }
        }
    }
    assert!(report.contains("| every acknowledged epoch is recorded once, with its value | "), "{report}");
    assert!(!report.contains("Violation"), "{report}");
}

/// A small study that has ended, with the log of what its workers were told.
fn recorded() -> Scene {
    let scene = Scene::new();
    let study = Study { trials: 3, ..Study::default() };
    scene.write("study.toml", study.to_string());
    std::fs::create_dir(scene.path("acks")).expect("a folder");
    let mut command = scene.command("run study.toml --db study.db --workers 2");
    command.env("FOLDWISE_ACK_LOG", scene.path("acks"));
    Running::start(command).finish().expect_code(0);
    scene
}

fn checked(database: &Database, acks: &Path) -> Findings {
    let mut findings = Findings::default();
    check(database, acks, &mut findings).expect("checked");
    findings
}

/// Changes to a good record, and the check that has to see each.
const WRONGS: &[(&str, &str)] = &[
    (
        "DELETE FROM epoch WHERE trial_id = 1 AND fold = 0 AND epoch = 2",
        "every acknowledged epoch is recorded once, with its value: lost",
    ),
    (
        "UPDATE epoch SET value = value * 1.0000000001 WHERE trial_id = 2 AND fold = 1 AND epoch = 1",
        "every acknowledged epoch is recorded once, with its value: ",
    ),
    (
        "UPDATE attempt SET state = 'failed', failure = 'lost' WHERE trial_id = 1 AND fold = 0",
        "every acknowledged end is recorded: ",
    ),
    ("UPDATE study SET state = 'running'", "every study has ended: e2e, running"),
    ("DELETE FROM trial WHERE number = 2", "as many trials as budget.trials"),
    (
        "UPDATE study SET spec = json_set(spec, '$.budget.total_epochs', 17)",
        "never more epochs than budget.total_epochs: e2e, 18, 17",
    ),
    ("UPDATE trial SET number = 9 WHERE number = 2", "numbered from 0 without a gap: "),
    ("UPDATE trial SET reason = '' WHERE number = 1", "every trial is finished and has a reason: 1, 1"),
    (
        "UPDATE trial SET state = 'failed', value = NULL WHERE number = 1",
        "a trial fails only after as many lost attempts",
    ),
    (
        "UPDATE attempt SET state = 'running', ended_at = NULL WHERE trial_id = 3 AND fold = 1",
        "no attempt is open, and each fold has those it counts: 3, 1",
    ),
    ("UPDATE fold SET attempts = 2 WHERE trial_id = 3 AND fold = 1", "each fold has those it counts: 3, 1"),
    ("UPDATE epoch SET epoch = 7 WHERE epoch = 3", "each attempt has its epochs without a gap: "),
    (
        "DELETE FROM epoch WHERE trial_id = 3 AND epoch = 1",
        "the live curve of each complete fold has the epochs from 1 on",
    ),
    (
        "UPDATE fold SET value = value / 2 WHERE trial_id = 3 AND fold = 0",
        "its best is the fold's value: e2e, 2, 0",
    ),
    ("UPDATE trial SET value = value * 1.1 WHERE number = 0", "is the mean of all its folds: 1, 0"),
    (
        "INSERT INTO attempt (trial_id, fold, attempt, lease_id, worker, device, state, start_epoch, started_at,
            ended_at, failure, message)
         SELECT trial_id, fold, 2, lease_id, worker, device, state, start_epoch, started_at - 1,
            ended_at, failure, message FROM attempt WHERE trial_id = 1 AND fold = 0",
        "two attempts of a fold never overlap: 1, 0, 1, 2",
    ),
    (
        "INSERT INTO attempt (trial_id, fold, attempt, lease_id, worker, device, state, start_epoch, started_at,
            ended_at, failure, message)
         SELECT trial_id, fold, 2, lease_id, worker, device, state, start_epoch, ended_at, ended_at,
            failure, message FROM attempt WHERE trial_id = 1 AND fold = 0;
         INSERT INTO epoch (trial_id, fold, attempt, epoch, value, train_loss, diverged, at)
            SELECT trial_id, fold, 2, epoch, value, train_loss * 1.000000001, 0, at FROM epoch
            WHERE trial_id = 1 AND fold = 0",
        "an epoch that was trained again has the same losses to the bit: 1, 0, 1",
    ),
    ("DELETE FROM lease", "PRAGMA foreign_key_check: "),
];

#[test]
fn a_wrong_record_is_seen() {
    let scene = recorded();
    let acks = scene.path("acks");
    let good = checked(&scene.database("study.db"), &acks);
    assert_eq!(good.violations, [""; 0]);
    let nothing = |what: &&(&str, u64)| what.1 == 0 && !what.0.contains("trained again");
    let idle: Vec<_> = good.made.iter().filter(nothing).map(|(what, _)| *what).collect();
    assert_eq!(idle, ["never more epochs than budget.total_epochs", RETRY], "checks that looked at nothing");

    for (number, (sql, expected)) in WRONGS.iter().enumerate() {
        let name = format!("{number}.db");
        scene.write(&name, scene.bytes("study.db"));
        change(&scene.path(&name), sql);
        let found = checked(&scene.database(&name), &acks).violations;
        assert!(found.iter().any(|violation| violation.contains(expected)), "{sql}\n{expected}\n{found:#?}");
    }

    let database = scene.database("study.db");
    let log = std::fs::read_dir(&acks).expect("logs").next().expect("a log").expect("a log").path();
    let text = std::fs::read_to_string(&log).expect("text");
    let line = text.lines().next().expect("a line");
    for (more, expected) in
        [(line.to_owned(), "acknowledged twice"), (line.replace("\"trial\":", "\"trial\":5"), "lost: ")]
    {
        std::fs::write(&log, format!("{text}{more}\n")).expect("written");
        let found = checked(&database, &acks).violations;
        assert!(found.iter().any(|violation| violation.contains(expected)), "{expected}\n{found:#?}");
    }
}

const RETRY: &str = "a trial fails only after as many lost attempts of a fold as [retry] has";

#[test]
fn a_finished_trial_that_changes_is_seen() {
    let scene = recorded();
    let database = scene.database("study.db");
    for (sql, expected) in [
        ("UPDATE trial SET reason = 'another' WHERE number = 1", "id 2 has changed: it was trial ["),
        ("UPDATE param SET value = value * 2 WHERE trial_id = 3", "id 3 has changed: it was param ["),
        ("UPDATE epoch SET at = at + 1 WHERE trial_id = 1", "id 1 has changed: it was epoch ["),
        ("DELETE FROM trial WHERE number = 0", "id 1 is gone"),
        ("UPDATE study SET state = 'running'", "had ended and is running again"),
    ] {
        let mut view = View::default();
        view.last_look(&database).expect("a look");
        view.last_look(&database).expect("a look");
        assert_eq!((view.violations.as_slice(), view.remembered() > 0), (&[] as &[String], true));
        change(database.path(), sql);
        view.last_look(&database).expect("a look");
        assert!(
            view.violations.iter().any(|found| found.contains(expected)),
            "{sql}\n{:#?}",
            view.violations
        );
    }
}

fn change(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).expect("a database");
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap_or_else(|error| {
        panic!("{sql}: {error}");
    });
}
