//! What must be true after every event, each a function with a name.

use std::collections::BTreeSet;

use foldwise_shared::fleet::Handover;
use foldwise_shared::ids::{AttemptKey, FoldIndex, Millis, SessionId, StudyId, TrialNumber};
use foldwise_shared::spec::Keep;
use foldwise_shared::state::{AttemptState, StudyState, TrialState};

use super::super::*;
use super::store::{FoldRow, Seals, Store, TrialRow};
use crate::replay::replay;

/// One event and what came of it.
pub struct Step<'a> {
    pub now: Millis,
    pub event: &'a Event,
    /// What the event says of an attempt, and whether that was open and with this worker before.
    pub word: Option<Word>,
    pub commands: &'a [Command],
    pub store: &'a Store,
    pub scheduler: &'a Scheduler,
}

#[derive(Clone, Copy)]
pub struct Word {
    session: SessionId,
    key: AttemptKey,
    session_is_live: bool,
    attempt_is_live: bool,
    /// It is a sign of life of an attempt that was taken from its worker because none came.
    is_late: bool,
}

impl Word {
    /// To be asked before the event is handled.
    pub fn of(event: &Event, scheduler: &Scheduler) -> Option<Self> {
        let (Event::Epoch { session, key, .. }
        | Event::Derived { session, key, .. }
        | Event::Phase { session, key, .. }
        | Event::Finished { session, key, .. }
        | Event::Failed { session, key, .. }
        | Event::Declined { session, key, .. }) = event
        else {
            return None;
        };
        let worker =
            scheduler.sessions.get(session).and_then(|incarnation| scheduler.workers.get(incarnation));
        Some(Self {
            session: *session,
            key: *key,
            session_is_live: worker.is_some(),
            attempt_is_live: worker.is_some_and(|worker| worker.attempts.contains(key)),
            is_late: matches!(event, Event::Epoch { .. } | Event::Derived { .. } | Event::Phase { .. })
                && worker.is_some_and(|worker| worker.stuck.contains(key)),
        })
    }
}

/// Checks all of them; those about trials only for the trials that were written about, for others did not change.
pub fn check(step: &Step, seals: &mut Seals) {
    writes_come_before_sends(step);
    a_refusal_changes_nothing(step);
    every_acknowledged_epoch_is_stored_once(step);
    a_message_of_a_dead_attempt_changes_nothing(step);
    budgets_are_never_exceeded(step);
    next_deadline_is_honest(step);
    every_artifact_has_its_file(step);
    every_acknowledged_param_is_stored(step);
    the_scheduler_agrees_with_the_store(step.store, step.scheduler);
    a_drained_worker_gets_no_fold(step);
    let touched = touched(step.commands);
    for (study, number) in touched.into_iter().filter(|(study, _)| step.store.studies.contains_key(study)) {
        check_trial(step.store, study, number);
        a_finished_trial_never_changes(step.store, seals, study, number);
    }
}

/// Those that a store alone can break.
pub fn check_trial(store: &Store, study: StudyId, number: TrialNumber) {
    let trial = &store.studies[&study].trials[number.0 as usize];
    every_finished_trial_has_a_reason(trial);
    pruned_trials_have_a_decision(trial);
    states_are_consistent(trial);
    for fold in &trial.folds {
        at_most_one_live_attempt(fold);
        one_live_row_per_fold_epoch(fold);
    }
}

fn touched(commands: &[Command]) -> BTreeSet<(StudyId, TrialNumber)> {
    let writes = commands.iter().filter_map(|command| match command {
        Command::Write(write) => Some(write),
        _ => None,
    });
    let trials = writes.filter_map(|write| match write {
        Write::Trial { study, trial, .. }
        | Write::TrialState { study, trial, .. }
        | Write::FoldState { study, trial, .. }
        | Write::Decision { study, trial, .. } => Some((*study, *trial)),
        Write::AttemptStarted { key, .. } | Write::AttemptEnded { key, .. } => Some((key.study, key.trial)),
        Write::Result { key, .. } | Write::Derived { key, .. } => Some((key.study, key.trial)),
        Write::Epoch { study, record, .. } => Some((*study, record.trial)),
        _ => None,
    });
    trials.collect()
}

fn at_most_one_live_attempt(fold: &FoldRow) {
    let (newest, older) = match fold.attempts.split_last() {
        Some((newest, older)) => (Some(newest), older),
        None => (None, &[][..]),
    };
    assert!(
        older.iter().all(|attempt| attempt.state != AttemptState::Running),
        "an older attempt lives: {fold:?}"
    );
    assert_eq!(newest.is_some_and(|newest| newest.state == AttemptState::Running), fold.open().is_some());
}

fn one_live_row_per_fold_epoch(fold: &FoldRow) {
    let rows = fold.live_rows();
    let epochs: BTreeSet<_> = rows.iter().map(|row| row.epoch).collect();
    assert_eq!(epochs.len(), rows.len(), "{rows:?}");
    let Some(newest) = fold.attempts.last() else { return };
    if newest.worker.device != "external" {
        let without_a_gap = rows.iter().zip(1..).all(|(row, epoch)| row.epoch.0 == epoch);
        assert!(without_a_gap, "what goes on from a checkpoint goes on where that ends: {rows:?}");
    }
    let (older, own) = rows.split_at(rows.len() - newest.epochs.len());
    assert_eq!(own, newest.epochs, "all epochs of the newest attempt are live");
    assert!(older.iter().all(|row| row.epoch <= newest.start_epoch), "and of older ones those before it");
}

/// A fold that can go on from a checkpoint finds the file, and so does whoever looks for a result.
fn every_artifact_has_its_file(step: &Step) {
    for digest in step.store.kept() {
        assert!(step.store.artifacts.contains(&digest), "{digest}");
    }
}

/// A param that was acknowledged is in the store, whoever said what it is.
fn every_acknowledged_param_is_stored(step: &Step) {
    for command in step.commands {
        if let Command::Send { message: ToWorker::ParamRecorded { key, name }, .. } = command {
            let trial = &step.store.studies[&key.study].trials[key.trial.0 as usize];
            assert!(trial.derived.contains(name), "{key} {name}");
        }
    }
}

/// Nothing stays that nobody needs.
pub fn only_complete_folds_keep_checkpoints(store: &Store) {
    assert_eq!(store.artifacts, store.kept());
    for study in store.studies.values() {
        for fold in study.trials.iter().flat_map(|trial| &trial.folds) {
            let may = fold.state == TrialState::Complete && study.new.spec.checkpoint.keep == Keep::All;
            assert!(may || fold.checkpoint.is_none(), "{fold:?}");
        }
    }
}

fn every_acknowledged_epoch_is_stored_once(step: &Step) {
    for command in step.commands {
        if let Command::Send { message: ToWorker::EpochRecorded { key, epoch }, .. } = command {
            let attempt = step.store.attempt(*key).expect("an acknowledged attempt is stored");
            let rows = attempt.epochs.iter().filter(|row| row.epoch == *epoch).count();
            assert_eq!(rows, 1, "{key} epoch {epoch} was acknowledged");
        }
    }
}

/// The same for all that ever was acknowledged, for after a restart.
pub fn every_epoch_ever_acknowledged_is_stored_once(store: &Store) {
    for (key, epoch) in &store.acknowledged {
        let attempt = store.attempt(*key).expect("an acknowledged attempt is stored");
        assert_eq!(attempt.epochs.iter().filter(|row| row.epoch == *epoch).count(), 1, "{key} epoch {epoch}");
    }
}

fn a_finished_trial_never_changes(store: &Store, seals: &mut Seals, study: StudyId, number: TrialNumber) {
    let trial = &store.studies[&study].trials[number.0 as usize];
    if let Some(sealed) = seals.get(&(study, number)) {
        assert_eq!(trial, sealed, "trial {number} of study {study} was finished");
    } else if trial.state.is_finished() {
        seals.insert((study, number), trial.clone());
    }
}

fn every_finished_trial_has_a_reason(trial: &TrialRow) {
    let decided = trial.state.is_finished() || trial.state == TrialState::Stopping;
    assert_eq!(decided, trial.reason.as_ref().is_some_and(|reason| !reason.is_empty()), "{trial:?}");
    assert_eq!(trial.state.is_finished(), trial.finished_at.is_some());
}

fn pruned_trials_have_a_decision(trial: &TrialRow) {
    let pruned = trial.state == TrialState::Pruned || trial.ending == Some(TrialState::Pruned);
    assert_eq!(usize::from(pruned), trial.decisions.len(), "{trial:?}");
}

fn states_are_consistent(trial: &TrialRow) {
    for fold in &trial.folds {
        match fold.state {
            // A fold whose lease has expired waits, and its worker may come back.
            TrialState::Waiting => assert!(!trial.state.is_finished() && fold.value.is_none()),
            TrialState::Running => assert!(fold.open().is_some() && trial.state == TrialState::Running),
            TrialState::Stopping => {
                assert!(fold.open().is_some() && trial.state == TrialState::Stopping, "{trial:?}")
            }
            TrialState::Complete => fold_value_is_the_best_of_its_curve(fold),
            TrialState::Failed => {
                assert!(fold.open().is_none() && leads_to(trial, TrialState::Failed), "{trial:?}")
            }
            TrialState::Pruned => {
                assert!(fold.open().is_none() && leads_to(trial, TrialState::Pruned), "{trial:?}")
            }
            TrialState::Cancelled => {
                assert!(fold.open().is_none() && (trial.state.is_finished() || trial.ending.is_some()))
            }
        }
    }
    let open = trial.folds.iter().filter(|fold| fold.open().is_some()).count();
    let complete = trial.folds.iter().all(|fold| fold.state == TrialState::Complete);
    assert_eq!(trial.state == TrialState::Complete, complete, "{trial:?}");
    assert_eq!(trial.value.is_some(), complete);
    assert_eq!(trial.ending.is_some(), trial.state == TrialState::Stopping);
    match trial.state {
        TrialState::Waiting => assert!(trial.folds.iter().all(|fold| fold.attempts.is_empty())),
        TrialState::Running => assert!(trial.folds.iter().any(|fold| !fold.attempts.is_empty())),
        TrialState::Stopping => assert!(open > 0, "{trial:?}"),
        TrialState::Complete => value_is_the_mean_of_the_folds(trial),
        TrialState::Pruned | TrialState::Cancelled => assert_eq!(open, 0),
        TrialState::Failed => {
            assert!(open == 0 && trial.folds.iter().any(|fold| fold.state == TrialState::Failed))
        }
    }
    let finished = trial.folds.iter().all(|fold| fold.state.is_finished());
    assert_eq!(trial.state.is_finished(), finished, "{trial:?}");
}

fn leads_to(trial: &TrialRow, end: TrialState) -> bool {
    trial.state == end || trial.ending == Some(end)
}

fn fold_value_is_the_best_of_its_curve(fold: &FoldRow) {
    let attempt = fold.attempts.last().expect("a complete fold was trained");
    assert_eq!(attempt.state, AttemptState::Complete);
    let value = fold.value.expect("a complete fold has a value");
    if attempt.worker.device == "external" {
        // It may be told without an epoch, and an epoch may have been NaN.
        let at = |at: &foldwise_shared::record::EpochRecord| Some(at.epoch) == fold.best_epoch;
        assert!(attempt.epochs.iter().filter(|row| at(row)).all(|row| row.validation_loss == Some(value)));
        return;
    }
    let at = fold.best_epoch.expect("and its epoch");
    let rows = fold.live_rows();
    assert_eq!(rows[at.0 as usize - 1].validation_loss, Some(value));
    assert!(rows.iter().all(|row| row.validation_loss.is_some() && !row.diverged));
    let losses = || rows.iter().filter_map(|row| row.validation_loss);
    // The least or, where more is better, the greatest.
    assert!(losses().all(|loss| loss >= value) || losses().all(|loss| loss <= value));
}

fn value_is_the_mean_of_the_folds(trial: &TrialRow) {
    let values: Vec<f64> = trial.folds.iter().filter_map(|fold| fold.value).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    assert_eq!(trial.value, Some(mean));
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    match trial.std {
        Some(std) => assert!((std * std * (count - 1.0) - squares).abs() < 1e-9 && values.len() > 1),
        None => assert_eq!(values.len(), 1),
    }
}

fn budgets_are_never_exceeded(step: &Step) {
    for (id, study) in &step.scheduler.studies {
        let budget = &study.spec.budget;
        let row = &step.store.studies[id];
        assert!(budget.trials.is_none_or(|trials| row.trials.len() <= trials as usize), "budget.trials");
        assert!(
            budget.total_epochs.is_none_or(|total| study.spent + study.reserved <= total),
            "budget.total_epochs"
        );
        let Some(wall_time) = study.spec.wall_time_ms() else { continue };
        let in_time = study.running_ms < wall_time;
        let over = matches!(study.state, StudyState::Stopping | StudyState::Ended);
        assert!(in_time || over, "study {id} goes on after budget.wall_time");
        let leased = step.commands.iter().any(
            |command| matches!(command, Command::Write(Write::AttemptStarted { key, .. }) if key.study == *id),
        );
        assert!(in_time || !leased, "study {id} got a lease after budget.wall_time");
    }
}

fn a_message_of_a_dead_attempt_changes_nothing(step: &Step) {
    let Some(word) = step.word.filter(|word| !word.attempt_is_live) else { return };
    for command in step.commands {
        let bad = match command {
            Command::Write(Write::AttemptEnded { key, .. }) => *key == word.key,
            Command::Write(Write::Epoch { .. } | Write::Derived { .. } | Write::Decision { .. }) => true,
            Command::Phase { .. } => true,
            Command::Send {
                message:
                    ToWorker::EpochRecorded { .. } | ToWorker::ParamRecorded { .. } | ToWorker::EndRecorded { .. },
                ..
            } => true,
            _ => false,
        };
        assert!(!bad, "{:?} led to {command:?}", step.event);
    }
    let (session, key) = (word.session, word.key);
    let message =
        if word.is_late { ToWorker::Stop { key, after_epoch: false } } else { ToWorker::Revoked { key } };
    let revoked = Command::Send { session, message };
    let answers = step.commands.iter().filter(|command| **command == revoked).count();
    assert_eq!(answers, usize::from(word.session_is_live), "{:?}", step.event);
}

fn a_refusal_changes_nothing(step: &Step) {
    let refused = |command: &Command| matches!(command, Command::Reply(Err(_)));
    if !step.commands.iter().any(refused) {
        return;
    }
    // That a study's time is up may have come to light.
    let ends = |command: &Command| matches!(command, Command::Write(Write::StudyState { .. }));
    if !step.commands.iter().any(ends) {
        let is_time = |command: &Command| matches!(command, Command::Write(Write::RunningTime { .. }));
        let writes: Vec<_> = step.commands.iter().filter(|command| !is_time(command)).collect();
        assert_eq!(writes.len(), 1, "{:?}: {writes:?}", step.event);
    }
}

fn writes_come_before_sends(step: &Step) {
    let is_write = |command: &Command| matches!(command, Command::Write(_));
    let writes = step.commands.iter().take_while(|command| is_write(command)).count();
    assert!(!step.commands[writes..].iter().any(is_write), "{:?}", step.event);
    let mut stored = step.commands[..writes].iter().filter_map(|command| match command {
        Command::Write(Write::AttemptStarted { key, .. }) => Some(*key),
        _ => None,
    });
    for command in &step.commands[writes..] {
        if let Command::Send { message: ToWorker::Assign(assignment), .. } = command {
            assert_eq!(Some(assignment.key), stored.next(), "a lease is stored before it is sent");
        }
    }
}

fn a_drained_worker_gets_no_fold(step: &Step) {
    for command in step.commands {
        let Command::Write(Write::AttemptStarted { key, worker, .. }) = command else { continue };
        let is_ours = !worker.incarnation.starts_with(LEASE_HOLDER);
        assert!(
            !is_ours || !step.store.drained_workers.contains_key(&worker.name),
            "{key} went to {}",
            worker.name
        );
    }
    // What it has is handed back, unless it is to be trained to its end.
    for worker in
        step.scheduler.workers.values().filter(|worker| !worker.info.incarnation.starts_with(LEASE_HOLDER))
    {
        let Some(drained) = step.scheduler.drained_workers.get(&worker.info.name) else { continue };
        // After a restart it is told when it says hello.
        if drained.handover == Handover::AfterFolds || worker.session.is_none() {
            continue;
        }
        for key in &worker.attempts {
            let open = step.scheduler.studies[&key.study].fold(*key).and_then(|fold| fold.open.as_ref());
            assert!(open.is_some_and(|open| open.stopping.is_some()), "{key} is not handed back");
        }
    }
}

fn next_deadline_is_honest(step: &Step) {
    let deadline = step.scheduler.next_deadline();
    if *step.event == Event::Tick {
        assert!(deadline.is_none_or(|deadline| deadline > step.now), "a tick made no progress");
    }
    if step.scheduler.studies.values().any(|study| study.training > 0) {
        let longest = step.scheduler.workers.values().map(|worker| worker.lease_ms).max().unwrap_or_default();
        let latest = step.now.plus(longest);
        assert!(deadline.is_some_and(|deadline| deadline <= latest), "a lease without a deadline");
    }
}

/// What the scheduler counts by itself is what the store says.
pub fn the_scheduler_agrees_with_the_store(store: &Store, scheduler: &Scheduler) {
    let mut held = 0;
    for (id, study) in &scheduler.studies {
        let row = &store.studies[id];
        assert_eq!(study.state, row.state);
        assert_eq!(study.next_number.0 as usize, row.trials.len());
        let (mut training, mut reserved) = (0, 0);
        for (number, trial) in &study.active {
            let stored = &row.trials[number.0 as usize];
            assert!(!stored.state.is_finished());
            assert_eq!(trial.params, stored.params, "trial {number}");
            for (index, (fold, stored)) in trial.folds.iter().zip(&stored.folds).enumerate() {
                assert_eq!(
                    (fold.state, fold.value),
                    (stored.state, stored.value),
                    "trial {number} fold {index}"
                );
                assert_eq!(fold.open.is_some(), stored.open().is_some());
                assert_eq!(fold.checkpoint, stored.checkpoint, "trial {number} fold {index}");
                let Some(open) = &fold.open else { continue };
                let fold_index = FoldIndex(index as u32);
                let key = AttemptKey { study: *id, trial: *number, fold: fold_index, attempt: open.attempt };
                assert!(scheduler.workers[&open.incarnation].attempts.contains(&key));
                assert_eq!(open.expired, fold.state == TrialState::Waiting, "{key}");
                held += 1;
                training += u32::from(!open.expired);
                reserved += u64::from(study.spec.epochs() - fold.recorded());
            }
        }
        assert_eq!((study.training, study.reserved), (training, reserved), "study {id}");
    }
    assert_eq!(scheduler.workers.values().map(|worker| worker.attempts.len()).sum::<usize>(), held);
    assert_eq!(scheduler.drained_workers, store.drained_workers);
    for row in store.studies.values().filter(|row| row.state == StudyState::Ended) {
        assert!(row.trials.iter().all(|trial| trial.state.is_finished()), "a study ended before its trials");
    }
}

/// The recorded history, run through the study's own pruner once more, gives the recorded decisions.
pub fn a_replay_comes_to_the_recorded_decisions(store: &Store) {
    for (id, row) in &store.studies {
        let spec = &row.new.spec;
        let replayed = replay(spec, "", &row.recording, &[]);
        let stops: Vec<_> = replayed
            .stopped
            .iter()
            .map(|stop| (stop.trial, stop.look.fold, stop.look.epoch, stop.look.decision))
            .collect();
        let trials = (0..).map(TrialNumber).zip(&row.trials);
        let recorded: Vec<_> = trials
            .flat_map(|(number, trial)| {
                trial.decisions.iter().map(move |(fold, epoch, decision)| (number, *fold, *epoch, *decision))
            })
            .collect();
        assert_eq!(stops, recorded, "study {id}, {:?}", spec.pruner);
        assert_eq!(replayed.saved, 0, "study {id}: its own pruner saves nothing more");
        assert_eq!(replayed.unknown, [], "study {id}");
    }
}

/// Every study ended, and for a reason that holds.
pub fn every_study_ended(store: &Store) {
    for (id, row) in &store.studies {
        assert_eq!(row.state, StudyState::Ended, "study {id}");
        assert!(row.message.is_some(), "study {id} ended without a reason");
    }
}
