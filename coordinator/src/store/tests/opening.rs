//! What is opened, what is refused, and that a refused file stays as it is.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use foldwise_engine::scheduler::Write;
use foldwise_shared::ids::{LeaseId, Millis};

use super::{epoch, hello, key, lease, new_store, started, study, trial, worker};
use crate::store::schema::VERSION;
use crate::store::{Reader, Store, StoreError};

/// Neither a store nor a reader opens `path`; the errors have `part`, and the folder is as before.
fn check_refused(path: &Path, part: &str, user_error: bool) {
    let folder = path.parent().expect("a folder");
    let before = contents(folder);
    let errors = [Store::open(path).err(), Reader::open(path).err()];
    for error in errors.map(|error| error.unwrap_or_else(|| panic!("{} was opened", path.display()))) {
        let text = error.to_string();
        assert!(text.contains(part), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert_eq!(error.is_user_error(), user_error, "{text}");
        assert!(contents(folder) == before, "something was changed: {text}");
    }
}

/// The files with their bytes, but for SQLite's shared memory, in which readers leave marks.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.retain(|(name, _)| !name.ends_with("-shm"));
    files.sort();
    files
}

#[test]
fn what_is_no_database_of_ours_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = |name: &str| folder.path().join(name);

    fs::write(inside("text"), "version = 1\n".repeat(50)).expect("written");
    check_refused(&inside("text"), "some other file, not a Foldwise database", true);
    fs::write(inside("short"), "S").expect("written");
    check_refused(&inside("short"), "some other file", true);
    fs::write(inside("header"), b"SQLite format 3\0").expect("written");
    check_refused(&inside("header"), "cut short", false);
    fs::create_dir(inside("folder")).expect("made");
    check_refused(&inside("folder"), "a folder", true);

    let other = Connection::open(inside("other")).expect("opened");
    other.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").expect("filled");
    drop(other);
    check_refused(&inside("other"), "another program", true);
}

#[test]
fn a_newer_schema_is_refused() {
    let (_folder, path, store) = new_store();
    drop(store);
    let db = Connection::open(&path).expect("opened");
    db.pragma_update(None, "user_version", VERSION + 1).expect("written");
    drop(db);
    check_refused(&path, &format!("has schema version {}", VERSION + 1), true);
}

#[test]
fn a_file_cut_short_is_refused() {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "a", "minimize"), trial(1, 0, 1)]).expect("a batch that fits");
    drop(store);
    let whole = fs::read(&path).expect("read");
    for length in [whole.len() - 1, whole.len() / 2, 4096, 100, 50] {
        fs::write(&path, &whole[..length]).expect("written");
        check_refused(&path, "cut short", false);
    }
}

#[test]
fn bytes_that_make_no_sense_are_an_error() {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "a", "minimize"), trial(1, 0, 1)]).expect("a batch that fits");
    drop(store);
    let whole = fs::read(&path).expect("read");
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096 + 100..(page + 1) * 4096].fill(0xa5);
        fs::write(&path, bytes).expect("written");
        // It may or may not be seen, depending on the page, but nothing panics.
        let loaded = Store::open(&path).and_then(|mut store| store.snapshot());
        if page == 0 {
            assert!(matches!(loaded, Err(StoreError::Damaged { .. })), "{loaded:?}");
        }
    }
}

#[test]
fn a_path_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("no/such.db");
    let error = Store::open(&path).err().expect("no folder");
    assert!(matches!(error, StoreError::NoFolder { .. }) && error.is_user_error(), "{error}");
    assert!(error.to_string().contains("create it first"), "{error}");
    for path in ["", "/", ".."] {
        assert!(Store::open(Path::new(path)).err().expect("no file").is_user_error(), "{path}");
        assert!(Reader::open(Path::new(path)).err().expect("no file").is_user_error(), "{path}");
    }
    // Where nobody, not even root, can make a file.
    let error = Store::open(Path::new("/proc/foldwise.db")).err().expect("not writable");
    assert!(matches!(error, StoreError::Access { .. }) && error.is_user_error(), "{error}");
}

#[test]
fn a_reader_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["missing.db", "no/such.db"] {
        let path = folder.path().join(name);
        let error = Reader::open(&path).err().expect("no file");
        let remedy = format!("`foldwise run FILE --db {}` makes one", path.display());
        assert!(error.is_user_error() && error.to_string().contains(&remedy), "{error}");
    }
    assert!(contents(folder.path()).is_empty());

    let path = folder.path().join("empty.db");
    fs::write(&path, "").expect("written");
    assert!(matches!(Reader::open(&path), Err(StoreError::Empty { .. })));
    Store::open(&path).expect("an empty file becomes a database");
    Reader::open(&path).expect("a reader");
}

#[test]
fn a_second_coordinator_is_refused() {
    let (folder, path, store) = new_store();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    for name in [&path, &link] {
        let before = contents(folder.path());
        let error = Store::open(name).err().expect("it is held");
        assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
        assert!(matches!(error, StoreError::Held { .. }) && !error.is_user_error());
        assert!(contents(folder.path()) == before, "something was changed");
    }
    drop(store);
    Store::open(&link).expect("it is free");
}

#[test]
fn the_latest_time_is_that_of_the_last_change() {
    let (_folder, path, mut store) = new_store();
    let latest = |store: &Store| store.latest().expect("a time").0;
    assert_eq!(latest(&store), 0);
    let attempt = key(1, 0, 0, 1);
    for (write, at) in [
        (study(1, "a", "minimize"), 1_001),
        (hello(0), 500),
        (trial(1, 0, 1), 2_000),
        (lease(1, worker(0)), 3_001),
        (started(attempt, 1, worker(0), 0), 3_001),
        (epoch(attempt, 1, None), 5_001),
        (epoch(attempt, 2, None), 5_002),
        (Write::LeaseRenewed { lease: LeaseId(1), at: Millis(7_000) }, 7_000),
    ] {
        store.commit(&[write]).expect("recorded");
        assert!(latest(&store) >= at, "{at}");
    }
    drop(store);
    assert_eq!(latest(&Store::open(&path).expect("opened again")), 7_000);
}

#[test]
fn a_second_opening_changes_no_schema() {
    let (_folder, path, store) = new_store();
    let schema = |store: &Store| -> Vec<String> {
        let mut query = store.db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").expect("sql");
        query.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("the schema")
    };
    let first = schema(&store);
    drop(store);
    let store = Store::open(&path).expect("reopened");
    assert_eq!(schema(&store), first);
    let version: u32 = store.db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
    assert_eq!(version, VERSION);
}

#[test]
fn a_commit_is_durable() {
    let (_folder, _path, store) = new_store();
    let number =
        |name| -> i64 { store.db.pragma_query_value(None, name, |row| row.get(0)).expect("a number") };
    assert_eq!(number("synchronous"), 2, "2 is FULL");
    assert_eq!(number("foreign_keys"), 1);
    let mode: String = store.db.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
}

#[test]
fn at_rest_it_is_one_file() {
    let (folder, path, store) = new_store();
    let reader = Reader::open(&path).expect("a reader beside the store");
    assert!(reader.studies().expect("no study").is_empty());
    drop(reader);
    drop(store);
    let names = |folder: &Path| contents(folder).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(folder.path()), ["test.db"]);
    Reader::open(&path).expect("a reader without a store");
    assert_eq!(names(folder.path()), ["test.db"]);
}

/// Another program that reads and leaves must not take itself for the last one, whatever this process has looked at meanwhile.
#[test]
fn another_program_that_leaves_removes_nothing() {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "s", "minimize"), hello(0), trial(1, 0, 1)]).expect("a batch that fits");
    drop(Reader::open(&path).expect("a reader"));
    let log = path.with_extension("db-wal");
    let before = fs::metadata(&log).expect("a log").len();
    let script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(db.execute('SELECT count(*) FROM trial').fetchone()[0]); db.close()";
    let seen =
        std::process::Command::new("python3").args(["-c", script]).arg(&path).output().expect("python3");
    assert_eq!(
        String::from_utf8_lossy(&seen.stdout).trim(),
        "1",
        "{}",
        String::from_utf8_lossy(&seen.stderr)
    );
    assert_eq!(fs::metadata(&log).map(|log| log.len()).ok(), Some(before), "the log is still there");
    store.commit(&[trial(1, 1, 2)]).expect("a batch that fits");
    let reader = Reader::open(&path).expect("a reader");
    assert_eq!(
        reader.trials(foldwise_shared::ids::StudyId(1), &Default::default()).expect("trials").len(),
        2
    );
}
