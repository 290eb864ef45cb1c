//! What a study cost, from rows made by hand.

use foldwise_engine::scheduler::Write;
use foldwise_shared::ids::{AttemptKey, Millis, StudyId};
use foldwise_shared::ledger::{Account, Ledger};
use foldwise_shared::state::{AttemptState, FailureClass, TrialState};

use super::{epoch, hello, key, lease, new_store, started, study, trial, trial_state, worker};
use crate::store::Reader;

/// An attempt that starts at 3 s (see `started`) and ends so many seconds later. Its epochs take a quarter of a second.
fn attempt(
    writes: &mut Vec<Write>,
    key: AttemptKey,
    after: u32,
    epochs: u32,
    (state, failure): (AttemptState, Option<FailureClass>),
    seconds: i64,
) {
    let number = writes.iter().filter(|write| matches!(write, Write::Lease { .. })).count() as i64 + 1;
    let mut start = started(key, number, worker(0), after);
    if let Write::AttemptStarted { at, .. } = &mut start {
        *at = Millis(3_000);
    }
    writes.extend([lease(number, worker(0)), start]);
    writes.extend((after + 1..=after + epochs).map(|number| epoch(key, number, Some(0.5))));
    if state != AttemptState::Running {
        let (worker, at) = ("w".into(), Millis(3_000 + seconds * 1_000));
        let message = None;
        writes.push(Write::AttemptEnded { key, state, failure, message, worker, value: None, epochs, at });
    }
}

fn rows(ledger: &Ledger) -> Vec<(Account, &str, u64, u64, f64)> {
    let rows = ledger.rows.iter();
    rows.map(|row| (row.account, row.cause.as_deref().unwrap_or(""), row.count, row.epochs, row.seconds))
        .collect()
}

#[test]
fn each_second_is_booked() {
    use AttemptState::{Complete, Failed, Running, Stopped};
    let (_folder, path, mut store) = new_store();
    let mut writes = vec![hello(0), study(1, "s", "minimize"), study(2, "other", "minimize")];
    // Lost after 8 epochs, of which the last 3 are trained again: 20 s, of which 5 epochs of 0.25 s are of use.
    writes.push(trial(1, 0, 1));
    attempt(&mut writes, key(1, 0, 0, 1), 0, 8, (Failed, Some(FailureClass::Lost)), 20);
    attempt(&mut writes, key(1, 0, 0, 2), 5, 4, (Complete, None), 2);
    writes.push(trial_state(1, 0, TrialState::Complete, Some(0.5), "done", 9_000));
    // One that failed: all of it was in vain.
    writes.push(trial(1, 1, 2));
    attempt(&mut writes, key(1, 1, 0, 1), 0, 4, (Complete, None), 3);
    attempt(&mut writes, key(1, 1, 1, 1), 0, 2, (Failed, Some(FailureClass::OutOfMemory)), 4);
    writes.push(trial_state(1, 1, TrialState::Failed, None, "no memory", 9_000));
    // One that diverged has told something.
    writes.push(trial(1, 2, 1));
    attempt(&mut writes, key(1, 2, 0, 1), 0, 2, (Failed, Some(FailureClass::Diverged)), 5);
    writes.push(trial_state(1, 2, TrialState::Failed, None, "diverged", 9_000));
    // Pruned after 10 epochs of a quarter of a second; three folds of 1,000 would have been trained.
    writes.push(trial(1, 3, 3));
    attempt(&mut writes, key(1, 3, 0, 1), 0, 10, (Stopped, None), 6);
    writes.push(trial_state(1, 3, TrialState::Pruned, None, "worse", 9_000));
    // One that runs, to its last epoch, which was recorded at 5.002 s.
    writes.push(trial(1, 4, 1));
    attempt(&mut writes, key(1, 4, 0, 1), 0, 2, (Running, None), 0);
    // Of another study.
    writes.push(trial(2, 0, 1));
    attempt(&mut writes, key(2, 0, 0, 1), 0, 1, (Failed, Some(FailureClass::Error)), 100);
    store.commit(&writes).expect("committed");

    let ledger = Reader::open(&path).expect("a reader").ledger(StudyId(1)).expect("a ledger");
    let saved = 2_990.0 * 0.25;
    let used = 20.0 + 2.0 + 3.0 + 4.0 + 5.0 + 6.0 + 2.002;
    assert_eq!(
        rows(&ledger),
        [
            (Account::Used, "", 7, 8 + 4 + 4 + 2 + 2 + 10 + 2, used),
            (Account::Wasted, "failed-trial", 1, 4, 3.0),
            (Account::Wasted, "lost", 1, 0, 20.0 - 0.75 - 1.25),
            (Account::Wasted, "out-of-memory", 1, 2, 4.0),
            (Account::Wasted, "repeated", 1, 3, 0.75),
            (Account::Saved, "pruned", 1, 2_990, saved),
        ]
    );
    assert_eq!(ledger.seconds(Account::Wasted), 3.0 + 18.0 + 4.0 + 0.75);
    let nobody = Reader::open(&path).expect("a reader").ledger(StudyId(9)).expect("a ledger");
    assert_eq!(nobody, Ledger::default());
}
