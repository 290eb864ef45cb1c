//! A disk that is full, and another program that holds the database: nothing acknowledged is lost, and it goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use foldwise_engine::scheduler::Write;
use proptest::prelude::*;
use tempfile::TempDir;

use super::model::Model;
use super::record::shown;
use super::{epoch, hello, key, lease, new_store, started, study, trial, worker};
use crate::store::{Reader, Store, StoreError};

/// A trial with a fold in training, and epochs of it.
fn batch(number: u32, epochs: u32) -> Vec<Write> {
    let (attempt, id) = (key(1, number, 0, 1), i64::from(number) + 1);
    let mut writes = vec![trial(1, number, 2), lease(id, worker(0)), started(attempt, id, worker(0), 0)];
    writes.extend((1..=epochs).map(|at| epoch(attempt, at, Some(f64::from(at) / 7.0))));
    writes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Room comes and goes; a batch is recorded whole or not at all, also across a restart.
    #[test]
    fn a_disk_that_is_full_now_and_then(steps in prop::collection::vec((0u32..12, 1u32..300, any::<bool>()), 1..20)) {
        let (_folder, path, mut store) = new_store();
        let mut model = Model::default();
        let begin = [study(1, "a", "minimize"), hello(0)];
        store.commit(&begin).expect("there is room");
        begin.iter().for_each(|write| model.apply(write));
        let mut number = 0;
        for (room, epochs, restart) in steps {
            store.limit_growth(room).expect("a limit");
            let writes = batch(number, epochs);
            match store.commit(&writes) {
                Ok(()) => {
                    writes.iter().for_each(|write| model.apply(write));
                    number += 1;
                }
                Err(error) => prop_assert!(matches!(error, StoreError::Full { .. }) && error.may_pass(), "{}", error),
            }
            prop_assert_eq!(shown(store.snapshot()), shown(Ok(model.snapshot())));
            if restart {
                drop(store);
                store = Store::open(&path).expect("opened again");
            }
        }
        store.limit_growth(1_000_000).expect("a limit");
        store.probe().expect("there is room again");
        let writes = batch(number, 300);
        store.commit(&writes).expect("there is room again");
        writes.iter().for_each(|write| model.apply(write));
        drop(store);
        let snapshot = Store::open(&path).expect("opened again").snapshot();
        prop_assert_eq!(shown(snapshot), shown(Ok(model.snapshot())));
    }
}

/// A file system of half a mebibyte; none, with words, where we may not mount one.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "foldwise-test"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder }),
            other => {
                eprintln!("skipped: a small file system cannot be mounted here: {other:?}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes with the machine at the latest.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).output();
    }
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut size = 1 << 19;
    let mut file = fs::File::create(path).expect("a file");
    while size > 0 {
        if std::io::Write::write_all(&mut file, &vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

#[test]
fn a_real_disk_that_is_full() {
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.path("a.db");
    let mut store = Store::open(&path).expect("there is room");
    let mut model = Model::default();
    let begin = [study(1, "a", "minimize"), hello(0)];
    store.commit(&begin).expect("there is room");
    begin.iter().for_each(|write| model.apply(write));
    let mut number = 0;
    let error = loop {
        let writes = batch(number, 50);
        match store.commit(&writes) {
            Ok(()) => {
                writes.iter().for_each(|write| model.apply(write));
                number += 1;
            }
            Err(error) => break error,
        }
        assert!(number < 10_000, "the disk is never full");
    };
    assert!(matches!(error, StoreError::Full { .. }) && error.may_pass(), "{error}");
    assert_eq!(shown(store.snapshot()), shown(Ok(model.snapshot())));
    // As after a kill: what is there is copied to where there is room.
    let elsewhere = tempfile::tempdir().expect("a folder");
    for name in ["a.db", "a.db-wal"] {
        fs::copy(disk.path(name), elsewhere.path().join(name)).expect("copied");
    }
    let left = elsewhere.path().join("a.db");
    assert_eq!(shown(Store::open(&left).expect("opened").snapshot()), shown(Ok(model.snapshot())));
    // And on the full disk itself it is read, and opened again.
    assert_eq!(Reader::open(&path).and_then(|reader| reader.studies()).expect("read").len(), 1);
    drop(store);
    match Store::open(&path) {
        Ok(mut store) => assert_eq!(shown(store.snapshot()), shown(Ok(model.snapshot()))),
        Err(error) => assert!(error.may_pass(), "{error}"),
    }
}

#[test]
fn room_comes_back_to_a_real_disk() {
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.path("a.db");
    let mut store = Store::open(&path).expect("there is room");
    store.commit(&[study(1, "a", "minimize"), hello(0)]).expect("there is room");
    let ballast = disk.path("ballast");
    fill(&ballast);
    let before = shown(store.snapshot());
    for _ in 0..5 {
        let error = store.commit(&batch(0, 100)).expect_err("the disk is full");
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        let error = store.probe().expect_err("the disk is full");
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert_eq!(shown(store.snapshot()), before);
    }
    fs::remove_file(ballast).expect("removed");
    store.probe().expect("there is room again");
    store.commit(&batch(0, 100)).expect("there is room again");
    drop(store);
    let trials = Store::open(&path).expect("opened").snapshot().expect("a snapshot");
    assert_eq!(trials.studies[0].trials[0].folds[0].curve.len(), 100);
}

#[test]
fn a_database_that_another_program_holds_is_free_again_later() {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "a", "minimize"), hello(0)]).expect("recorded");
    store.db.busy_timeout(std::time::Duration::from_millis(10)).expect("impatient");
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("held");
    for error in [store.commit(&batch(0, 1)).expect_err("held"), store.probe().expect_err("held")] {
        assert!(matches!(error, StoreError::Busy { .. }) && error.may_pass(), "{error}");
    }
    other.execute_batch("ROLLBACK").expect("let go");
    store.probe().expect("free");
    store.commit(&batch(0, 1)).expect("free");
}
