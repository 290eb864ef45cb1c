//! A fold that is cut goes on elsewhere from its checkpoint, and its curve is that of a fold that was not cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use foldwise_e2e::{Database, Running, Scene, Server, Study, Value, until};
use rustix::process::Signal;

/// A checkpoint after every epoch, and epochs long enough to be hit in the middle of a fold.
const CHECKPOINTS: &str = "\n[checkpoint]\nevery_epochs = 1\n";

fn study() -> Study {
    Study { trials: 1, folds: 2, epochs: 8, limit: 1500, ..Study::default() }
}

/// The live curve of the study, with the bits of its losses.
fn curve(database: &Database) -> BTreeMap<(i64, i64, i64), (u64, u64)> {
    let rows = database.rows("SELECT number, fold, epoch, val_loss, train_loss FROM curve");
    rows.iter()
        .map(|row| match row.as_slice() {
            [
                Value::Integer(trial),
                Value::Integer(fold),
                Value::Integer(epoch),
                Value::Real(loss),
                Value::Real(train),
            ] => ((*trial, *fold, *epoch), (loss.to_bits(), train.to_bits())),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// What comes of the study when nobody disturbs it.
fn undisturbed(scene: &Scene) -> BTreeMap<(i64, i64, i64), (u64, u64)> {
    scene.write("study.toml", format!("{}{CHECKPOINTS}", study()));
    scene.foldwise("run study.toml --db whole.db --workers 2").expect_code(0);
    let curve = curve(&scene.database("whole.db"));
    assert_eq!(curve.len() as u32, study().folds * study().epochs);
    assert!(files(&scene.path("whole.db.artifacts")).is_empty(), "nobody needs any of them");
    curve
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn serve(scene: &Scene) -> Server {
    let server = scene.serve("--db study.db");
    scene.foldwise(&format!("study create study.toml --coordinator {}", server.url)).expect_code(0);
    server
}

fn worker(scene: &Scene, server: &Server, words: &str) -> Running {
    scene.worker(&format!("--coordinator {} {words}", server.url))
}

/// Waits until fold 0, which `first` trains, has a checkpoint and is not near its end.
fn until_amid(database: &Database) {
    until("a checkpoint of fold 0", || {
        let sql = "SELECT count(*) FROM artifact JOIN fold USING (trial_id, fold)
                   WHERE fold = 0 AND state = 'running' AND epoch BETWEEN 2 AND 5";
        (database.number_so_far(sql) > 0).then_some(())
    });
}

fn until_ended(database: &Database) {
    until("the study's end", || {
        (database.number_so_far("SELECT count(*) FROM study WHERE state = 'ended'") == 1).then_some(())
    });
}

/// The curve is that of the undisturbed study, and fold 0 got it from an attempt that went on inside.
fn went_on(database: &Database, whole: &BTreeMap<(i64, i64, i64), (u64, u64)>) {
    assert_eq!(&curve(database), whole);
    let newest = "SELECT start_epoch FROM attempt WHERE fold = 0 ORDER BY attempt DESC LIMIT 1";
    assert!(database.number(newest) > 0, "it started afresh");
    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 1);
    // With an attempt that started at n, no epoch up to n was trained again.
    let again =
        "SELECT count(*) FROM epoch JOIN attempt USING (trial_id, fold, attempt) WHERE epoch <= start_epoch";
    assert_eq!(database.number(again), 0);
}

fn end(workers: impl IntoIterator<Item = Running>, server: Server) {
    for worker in workers {
        worker.signal(Signal::TERM);
        worker.finish().expect_code(0);
    }
    server.running.signal(Signal::TERM);
    server.running.finish().expect_code(0);
}

#[test]
fn a_fold_goes_on_where_a_killed_worker_left_it() {
    let scene = Scene::new();
    let whole = undisturbed(&scene);
    let server = serve(&scene);
    let database = scene.database("study.db");
    let first = worker(&scene, &server, "--name a");
    until_amid(&database);
    first.signal(Signal::KILL);
    assert_eq!(first.finish().signal, Some(9));
    let workers = [worker(&scene, &server, "--name b"), worker(&scene, &server, "--name c")];
    until_ended(&database);
    went_on(&database, &whole);
    let lost = "SELECT count(*) FROM attempt WHERE failure = 'lost' AND fold = 0";
    assert_eq!(database.number(lost), 1);
    until("no file to be left", || files(&scene.path("study.db.artifacts")).is_empty().then_some(()));
    end(workers, server);
}

#[test]
fn a_fold_goes_on_where_a_drained_worker_left_it() {
    let scene = Scene::new();
    let whole = undisturbed(&scene);
    // No checkpoint but the one of the drain.
    scene.write("study.toml", format!("{}\n[checkpoint]\nevery_seconds = 3600\n", study()));
    let server = serve(&scene);
    let database = scene.database("study.db");
    let first = worker(&scene, &server, "--name a");
    until("some epochs", || (database.number_so_far("SELECT count(*) FROM epoch") >= 2).then_some(()));
    assert_eq!(database.number("SELECT count(*) FROM artifact"), 0);
    // As Slurm does it.
    first.signal(Signal::CONT);
    first.signal(Signal::TERM);
    first.until_stderr("draining: ");
    for signal in [Signal::TERM, Signal::CONT, Signal::HUP, Signal::TERM] {
        first.signal(signal);
    }
    first.finish().expect_code(0);
    let stopped = "SELECT count(*) FROM attempt WHERE state = 'stopped' AND failure IS NULL";
    assert_eq!(database.number(stopped), 1);
    assert_eq!(database.number("SELECT count(*) FROM artifact WHERE kind = 'checkpoint'"), 1);
    let epochs = database.number("SELECT max(epoch) FROM epoch");
    assert_eq!(database.number("SELECT epoch FROM artifact"), epochs, "nothing of it is lost");

    let workers = [worker(&scene, &server, "--name b")];
    until_ended(&database);
    went_on(&database, &whole);
    // Not one epoch was trained twice.
    assert_eq!(database.number("SELECT count(*) FROM epoch"), whole.len() as i64);
    end(workers, server);
}

#[test]
fn a_drain_ends_with_its_grace_time() {
    let scene = Scene::new();
    // One epoch takes longer than the test.
    scene.write("study.toml", Study { trials: 1, epochs: 1, limit: 60_000, ..Study::default() }.to_string());
    let server = serve(&scene);
    let database = scene.database("study.db");
    let first = worker(&scene, &server, "--name a --grace 0.5");
    first.until_stderr("starts");
    let started = Instant::now();
    first.signal(Signal::TERM);
    first.finish().expect_code(0).expect_stderr(&["the grace time is over"]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(database.number("SELECT count(*) FROM attempt WHERE state = 'stopped'"), 1);
    end([], server);
}

#[test]
fn a_fold_goes_on_where_a_killed_coordinator_and_its_workers_left_it() {
    let scene = Scene::new();
    let whole = undisturbed(&scene);
    let database = scene.database("study.db");
    let running = scene.start("run study.toml --db study.db --workers 1");
    until_amid(&database);
    running.kill_tree();
    scene.foldwise("resume --db study.db --workers 2").expect_code(0);
    went_on(&database, &whole);

    // A person's Ctrl-C stores what no policy had stored.
    scene.write("again.toml", format!("{}\n[checkpoint]\nevery_seconds = 3600\n", study()));
    let database = scene.database("again.db");
    let running = scene.start("run again.toml --db again.db --workers 1");
    until("some epochs", || (database.number_so_far("SELECT count(*) FROM epoch") >= 2).then_some(()));
    running.signal(Signal::INT);
    running.finish().expect_code(130);
    assert_eq!(database.number("SELECT count(*) FROM artifact"), 1);
    scene.foldwise("resume --db again.db --workers 1").expect_code(0);
    went_on(&database, &whole);
    assert_eq!(database.number("SELECT count(*) FROM epoch"), whole.len() as i64);
}

#[test]
fn a_worker_trains_on_while_its_coordinator_is_restarted() {
    let scene = Scene::new();
    let whole = undisturbed(&scene);
    let server = serve(&scene);
    let database = scene.database("study.db");
    let workers = [worker(&scene, &server, "--name a")];
    until_amid(&database);
    let address = server.url.trim_start_matches("http://").to_owned();
    server.running.signal(Signal::KILL);
    server.running.finish();
    let again = scene.start(&format!("serve --listen {address} --db study.db"));
    again.until_stderr("listening on");
    until_ended(&database);
    assert_eq!(curve(&database), whole);
    assert_eq!(database.number("SELECT max(attempt) FROM attempt"), 1, "it kept its attempts");
    end(workers, Server { url: server.url, running: again });
}

#[test]
fn a_spoiled_checkpoint_costs_a_fresh_start_and_no_trial() {
    let scene = Scene::new();
    let whole = undisturbed(&scene);
    let server = serve(&scene);
    let database = scene.database("study.db");
    let first = worker(&scene, &server, "--name a");
    until_amid(&database);
    first.signal(Signal::KILL);
    first.finish();
    let spoiled = files(&scene.path("study.db.artifacts"));
    assert!(!spoiled.is_empty());
    for file in spoiled {
        let mut content = std::fs::read(&file).expect("a checkpoint");
        let middle = content.len() / 2;
        content[middle] ^= 1;
        std::fs::write(&file, content).expect("written");
    }
    let workers = [worker(&scene, &server, "--name b")];
    until_ended(&database);
    assert_eq!(curve(&database), whole);
    // It is no failure of the trial, so that it is none of its retries.
    let sql = "SELECT failure, message FROM attempt WHERE start_epoch > 0";
    let resumed = database.rows(sql);
    let [row] = resumed.as_slice() else { panic!("{resumed:?}") };
    assert_eq!(row[0], Value::Text("preempted".into()));
    let Value::Text(message) = &row[1] else { panic!("{row:?}") };
    assert!(message.starts_with("the checkpoint cannot be fetched: its SHA-256 is "), "{message}");
    let newest = "SELECT start_epoch FROM attempt WHERE fold = 0 ORDER BY attempt DESC LIMIT 1";
    assert_eq!(database.number(newest), 0, "afresh");
    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 1);
    end(workers, server);
}

/// A file that may not grow stands for a full disk: the worker trains on, and the study ends.
#[test]
fn a_disk_without_room_for_checkpoints_costs_nothing_else() {
    let scene = Scene::new();
    // A checkpoint of 16 MB, in a place where the database with its log has room and that has not.
    let study = Study { trials: 1, epochs: 12, ..Study::default() };
    let large = study.to_string().replace("latent_dim = 4", "latent_dim = 8000");
    scene.write("study.toml", format!("{large}\n[checkpoint]\nkeep = \"none\"\n"));
    scene.foldwise("run study.toml --db whole.db --workers 1").expect_code(0);
    let whole = curve(&scene.database("whole.db"));
    scene.write("study.toml", format!("{large}{CHECKPOINTS}"));
    let foldwise = scene.command("--version").get_program().to_owned();
    let mut command = scene.command("");
    let inherited: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    // A write beyond the limit is an error, and no signal.
    command = std::process::Command::new("bash");
    for (name, value) in inherited {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let line = "trap '' XFSZ; ulimit -f 8000; exec \"$0\" serve --listen 127.0.0.1:0 --db study.db";
    command.args(["-c", line]).arg(foldwise).current_dir(scene.path("."));
    let running = Running::start(command);
    let said = running.until_stderr("listening on http://");
    let url = said.split([' ', ',']).find(|word| word.starts_with("http://")).expect("an address").to_owned();
    let server = Server { url, running };
    scene.foldwise(&format!("study create study.toml --coordinator {}", server.url)).expect_code(0);
    let database = scene.database("study.db");
    let workers = [worker(&scene, &server, "--name a")];
    workers[0].until_stderr("is not stored: failed to write an artifact");
    until_ended(&database);
    assert_eq!(curve(&database), whole);
    assert_eq!(database.number("SELECT count(*) FROM artifact"), 0);
    until("no file to be left", || files(&scene.path("study.db.artifacts")).is_empty().then_some(()));
    end(workers, server);
}
