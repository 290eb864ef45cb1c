//! A disk that fills up under a running coordinator: it says so, workers train on, and with room again nothing is missing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use foldwise_e2e::{Scene, Study, until};

/// A small file system in memory; none, with words, where we may not mount one.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).expect("a folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "foldwise-test"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path)),
            other => {
                eprintln!("skipped: a small file system cannot be mounted here: {other:?}");
                None
            }
        }
    }

    /// Takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("a file");
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![1; size]).is_err() {
                size /= 2;
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes with the machine at the latest.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_costs_nothing_but_time() {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(scene.path("disk")) else { return };
    let study = Study { trials: 12, ..Study::default() };
    scene.write("study.toml", study.to_string());
    let server = scene.serve("--db disk/study.db");
    let worker = scene.worker(&format!("--coordinator {} --name w", server.url));
    let place = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("study create study.toml {place}")).expect_code(0);
    let database = scene.database("disk/study.db");
    let epochs = "SELECT count(*) FROM epoch";

    for outage in 1..=2 {
        let before = database.number(epochs);
        until("an epoch", || (database.number(epochs) > before).then_some(()));
        let ballast = disk.fill();
        let said = |words: &str| server.running.stderr().matches(words).count();
        until("words about the full disk", || (said("disk is full") >= outage).then_some(()));
        assert_frozen(&database, epochs);
        // Whoever asks is told so at once.
        scene
            .foldwise(&format!("study pause e2e {place}"))
            .expect_code(1)
            .expect_stderr(&["nothing can be recorded now", "disk is full"]);
        assert!(worker.is_alive() && server.running.is_alive());
        fs::remove_file(&ballast).expect("removed");
        until("words about its end", || (said("changes are recorded again") >= outage).then_some(()));
    }

    let ended = "SELECT count(*) FROM study WHERE state = 'ended'";
    until("the end of the study", || (database.number(ended) == 1).then_some(()));
    let folds = i64::from(study.trials * study.folds);
    assert_eq!(
        database.number("SELECT count(*) FROM trial WHERE state = 'complete'"),
        i64::from(study.trials)
    );
    // No fold was begun twice, and none lacks an epoch.
    assert_eq!(database.number("SELECT count(*) FROM attempt"), folds);
    assert_eq!(database.number("SELECT count(*) FROM attempt WHERE state = 'complete'"), folds);
    assert_eq!(database.number(epochs), folds * i64::from(study.epochs));
    assert!(is_whole(database.path()));
}

/// Nothing is recorded while there is no room.
fn assert_frozen(database: &foldwise_e2e::Database, epochs: &str) {
    let known = database.number(epochs);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(database.number(epochs), known);
}

fn is_whole(path: &Path) -> bool {
    let database = foldwise_e2e::Database::new(path);
    database.rows("PRAGMA integrity_check") == [[foldwise_e2e::Value::Text("ok".into())]]
}
