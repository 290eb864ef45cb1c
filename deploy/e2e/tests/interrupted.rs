//! Ctrl-C and TERM: the running epoch is recorded, and a resume goes on; a second one ends at once.

use std::time::Duration;

use foldwise_e2e::{Scene, Study, until, until_within};
use rustix::process::Signal;

#[test]
fn an_interrupted_study_goes_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let scene = Scene::new();
        // Epochs long enough that both workers are in the middle of one.
        let study = Study { trials: 2, epochs: 3, limit: 1500, ..Study::default() };
        scene.write("study.toml", study.to_string());
        let database = scene.database("study.db");
        let running = scene.start("run study.toml --db study.db --workers 2");
        let workers = [running.worker("w0"), running.worker("w1")];
        let count = "SELECT count(*) FROM epoch";
        until("an epoch", || (database.number_so_far(count) >= 1).then_some(()));
        let known = database.number(count);
        running.signal(signal);
        let ended = running.finish().expect_code(130);
        let ended =
            ended.expect_stderr(&["running epochs end", "interrupted", "foldwise resume e2e --db study.db"]);
        assert_eq!(ended.stdout, "", "an answer of a study that has not ended");
        assert!(workers.iter().all(|worker| !worker.is_alive()), "a worker is left");

        let after = database.number(count);
        assert!(after > known, "{signal:?}: the running epochs are not recorded");
        // Between our look and the signal each worker may have come to the next one.
        assert!(after <= known + 4, "{signal:?}: {known} epochs before, {after} after");
        assert_eq!(database.number("SELECT count(*) FROM attempt WHERE state = 'running'"), 0);
        assert_eq!(database.number("SELECT count(*) FROM study WHERE state = 'running'"), 1);
        assert_eq!(
            database.number("SELECT count(*) FROM attempt WHERE state = 'failed' AND failure <> 'preempted'"),
            0
        );

        scene.foldwise("resume --db study.db --workers 2").expect_code(0);
        assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 2);
        assert_eq!(database.number("SELECT count(*) FROM study WHERE state = 'ended'"), 1);
        // There is nothing left to go on with.
        scene.foldwise("resume --db study.db").expect_code(2).expect_stderr(&["has ended"]);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let scene = Scene::new();
    // An epoch takes many seconds: nobody waits for it.
    scene.write("study.toml", Study { limit: 60_000, ..Study::default() }.to_string());
    let database = scene.database("study.db");
    let running = scene.start("run study.toml --db study.db --workers 2");
    let workers = [running.worker("w0"), running.worker("w1")];
    let sql = "SELECT count(*) FROM attempt WHERE state = 'running'";
    until("both workers training", || (database.number_so_far(sql) == 2).then_some(()));
    running.signal(Signal::INT);
    running.until_stderr("once more stops at once");
    running.signal(Signal::INT);
    until_within(Duration::from_secs(8), "the end", || (!running.is_alive()).then_some(()));
    running.finish().expect_code(130).expect_stderr(&["foldwise resume e2e --db study.db"]);
    assert!(workers.iter().all(|worker| !worker.is_alive()), "a worker is left");
    assert_eq!(database.number("SELECT count(*) FROM epoch"), 0);
}
