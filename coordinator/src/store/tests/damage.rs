//! Files that were damaged behind SQLite's back: each is refused in words, or nothing of it is missing.

use std::fs;
use std::path::{Path, PathBuf};

use foldwise_engine::scheduler::{Options, Scheduler, Snapshot, Write};
use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::state::{AttemptState, Rule, TrialState};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{ended, epoch, hello, key, lease, new_store, started, study, trial, trial_state, worker};
use crate::store::{Store, StoreError, TrialQuery};

/// Trials with two folds each, some finished, and their epochs.
fn batch(numbers: std::ops::Range<u32>) -> Vec<Write> {
    let mut writes = Vec::new();
    for number in numbers {
        let (attempt, id) = (key(1, number, 0, 1), i64::from(number) + 1);
        writes.extend([trial(1, number, 2), lease(id, worker(0)), started(attempt, id, worker(0), 0)]);
        writes.extend((1..=20).map(|at| epoch(attempt, at, Some(f64::from(at) / 7.0))));
        if number.is_multiple_of(3) {
            let decision = Decision { peers: 3, ..Decision::new(Rule::Median, Some(0.75), Some(0.5)) };
            writes.extend([
                Write::Decision {
                    study: StudyId(1),
                    trial: TrialNumber(number),
                    fold: FoldIndex(0),
                    epoch: Some(Epoch(20)),
                    decision,
                    at: Millis(6_000),
                },
                ended(attempt, AttemptState::Stopped, None),
                trial_state(1, number, TrialState::Pruned, None, "median", 6_000),
            ]);
        }
    }
    writes
}

/// A database at rest.
fn at_rest() -> Vec<u8> {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, "a", "minimize"), hello(0)]).expect("recorded");
    store.commit(&batch(0..24)).expect("recorded");
    drop(store);
    fs::read(path).expect("read")
}

/// A database of that name and its log as a kill leaves them: the first trials in the file, a change for each of the
/// others in the log.
fn killed(name: &str, first: u32, others: u32) -> (Vec<u8>, Vec<u8>) {
    let (_folder, path, mut store) = new_store();
    store.commit(&[study(1, name, "minimize"), hello(0)]).expect("recorded");
    store.commit(&batch(0..first)).expect("recorded");
    drop(store);
    let mut store = Store::open(&path).expect("opened again");
    for number in first..first + others {
        store.commit(&batch(number..number + 1)).expect("recorded");
    }
    let log = fs::read(path.with_extension("db-wal")).expect("the log");
    (fs::read(&path).expect("read"), log)
}

fn put(database: &[u8], log: Option<&[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("left.db");
    fs::write(&path, database).expect("written");
    if let Some(log) = log {
        fs::write(path.with_extension("db-wal"), log).expect("written");
    }
    (folder, path)
}

/// Studies, trials, folds and epochs.
fn counts(snapshot: &Snapshot) -> [usize; 4] {
    let trials = || snapshot.studies.iter().flat_map(|study| &study.trials);
    [
        snapshot.studies.len(),
        trials().count(),
        trials().map(|trial| trial.folds.len()).sum(),
        snapshot.studies.iter().map(|study| study.epochs as usize).sum(),
    ]
}

/// Opens the file, asks it everything, and lets an engine go on from it.
fn ask_everything(path: &Path) -> Result<Snapshot, StoreError> {
    let mut store = Store::open(path)?;
    let snapshot = store.snapshot()?;
    let reader = store.reader()?;
    for study in reader.studies()? {
        reader.trials(study.id, &TrialQuery::default())?;
        reader.curve(study.id, None, true)?;
        reader.curve(study.id, None, false)?;
        reader.decisions(study.id, None)?;
        reader.recording(study.id)?;
        for trial in reader.trials(study.id, &TrialQuery::default())? {
            reader.attempts(study.id, trial.number)?;
        }
    }
    let (_engine, commands) = Scheduler::restore(snapshot.clone(), Options::default(), Millis(0));
    drop(commands);
    Ok(snapshot)
}

/// An error that names the file.
fn names_the_file(error: &StoreError, path: &Path) -> bool {
    error.to_string().contains(&path.display().to_string())
}

fn refused(path: &Path) -> StoreError {
    let error = Store::open(path).err().unwrap_or_else(|| panic!("{} was opened", path.display()));
    assert!(names_the_file(&error, path), "{error}");
    error
}

fn trials(path: &Path) -> usize {
    counts(&Store::open(path).expect("opened").snapshot().expect("a snapshot"))[1]
}

/// Bytes somewhere in `0..length` that are overwritten.
fn damage(length: usize) -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let spot = (
        0..length,
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..4),
            prop::collection::vec(any::<u8>(), 1..600),
            (1..5_000_usize).prop_map(|length| vec![0; length]),
        ],
    );
    // Where each page says what it holds, damage does most.
    let head = (0..length / 4096, 0..16_usize, any::<u8>())
        .prop_map(|(page, at, byte)| (page * 4096 + if page == 0 { 100 } else { 0 } + at, vec![byte]));
    prop::collection::vec(prop_oneof![spot, head], 1..4)
}

fn apply(bytes: &mut [u8], damage: &[(usize, Vec<u8>)]) {
    for (at, new) in damage {
        let end = (at + new.len()).min(bytes.len());
        bytes[*at..end].copy_from_slice(&new[..end - at]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_pages_are_refused_or_nothing_is_missing(damage in damage(AT_REST.len())) {
        let mut bytes = AT_REST.clone();
        apply(&mut bytes, &damage);
        let (_folder, path) = put(&bytes, None);
        match ask_everything(&path) {
            Ok(snapshot) => prop_assert_eq!(counts(&snapshot), [1, 24, 48, 480]),
            Err(error) => prop_assert!(names_the_file(&error, &path), "{}", error),
        }
    }

    #[test]
    fn a_damaged_log_is_refused_or_only_its_last_change_is_missing(damage in damage(KILLED.1.len())) {
        let mut log = KILLED.1.clone();
        apply(&mut log, &damage);
        let (_folder, path) = put(&KILLED.0, Some(&log));
        match ask_everything(&path) {
            // The last change was torn, as far as anybody can tell; one whose mark of its end is damaged is as if it were
            // a part of the next one.
            Ok(snapshot) => {
                let least = 10 - 1 - damage.len();
                prop_assert!(counts(&snapshot)[1] >= least, "{:?}", counts(&snapshot));
            }
            Err(error) => prop_assert!(names_the_file(&error, &path), "{}", error),
        }
    }

    #[test]
    fn a_log_with_a_torn_tail_keeps_what_came_before(cut in 0..KILLED.1.len(), tail in prop::collection::vec(any::<u8>(), 0..9_000)) {
        let log = &KILLED.1[..KILLED.1.len() - cut.min(KILLED.1.len() / 3)];
        let (_folder, path) = put(&KILLED.0, Some(log));
        let whole = trials(&path);
        let (_folder, path) = put(&KILLED.0, Some(&[log, &tail].concat()));
        prop_assert_eq!(trials(&path), whole);
    }
}

/// Some; `PROPTEST_CASES=20000` for a long run.
fn cases() -> u32 {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { 96 }
}

static AT_REST: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(at_rest);
/// Four trials in the file, six changes in the log.
static KILLED: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(|| killed("a", 4, 6));

#[test]
fn a_log_is_taken_whole() {
    let (_folder, path) = put(&KILLED.0, Some(&KILLED.1));
    assert_eq!(trials(&path), 10);
    // Without it, what the file holds by itself.
    let (_folder, path) = put(&KILLED.0, None);
    assert_eq!(trials(&path), 4);
}

#[test]
fn a_log_that_is_damaged_before_its_last_change_is_refused() {
    let length = KILLED.1.len();
    for (at, what) in [
        (4, "damaged at its start"),
        (20, "damaged at its start"),
        (300, "in its middle"),
        (length / 2, "in its middle"),
    ] {
        let mut log = KILLED.1.clone();
        log[at] ^= 0x55;
        let (_folder, path) = put(&KILLED.0, Some(&log));
        let error = refused(&path);
        assert!(matches!(error, StoreError::Log { .. }) && error.to_string().contains(what), "{at}: {error}");
        assert!(
            error.to_string().contains("left.db-wal") && !error.is_user_error() && !error.may_pass(),
            "{error}"
        );
        assert_eq!(fs::read(path.with_extension("db-wal")).expect("read"), log, "it was changed");
        // As the words say.
        fs::remove_file(path.with_extension("db-wal")).expect("removed");
        assert_eq!(trials(&path), 4);
    }
    // The last change was never acknowledged, as far as anybody can tell.
    let mut log = KILLED.1.clone();
    log[length - 10] ^= 0x55;
    let (_folder, path) = put(&KILLED.0, Some(&log));
    assert_eq!(trials(&path), 9);
}

#[test]
fn a_log_of_another_file_is_refused() {
    // A copy from a backup was put back, and the log of what it replaces is still there.
    let (_folder, path) = put(&AT_REST, Some(&KILLED.1));
    let error = refused(&path);
    assert!(error.to_string().contains("belongs to another file"), "{error}");
    assert_eq!(fs::read(&path).expect("read"), *AT_REST, "it was changed");
    fs::remove_file(path.with_extension("db-wal")).expect("removed");
    assert_eq!(trials(&path), 24);

    // Both were killed.
    let (other, log) = killed("b", 0, 8);
    let (_folder, path) = put(&KILLED.0, Some(&log));
    let error = refused(&path);
    assert_eq!(fs::read(&path).expect("read"), KILLED.0, "it was changed: {error}");
    let (_folder, path) = put(&other, Some(&log));
    assert_eq!(trials(&path), 8);
}
