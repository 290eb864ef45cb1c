//! External objectives: ask, report, tell; and trials that people bring.

use foldwise_shared::spec::{SamplerKind, StudySpec};

use super::plan::{make_external, use_median};
use super::scenario::check;

/// Trials of that many folds of three epochs, which a program evaluates.
fn external(spec: &mut StudySpec, trials: u32, folds: u32) {
    spec.data.folds = Some(folds);
    spec.budget.trials = Some(trials);
    make_external(spec);
}

#[test]
fn several_are_asked_for_at_once_and_told_in_any_order() {
    check(
        |spec| external(spec, 3, 1),
        "ask a         => lease 1 of trial 0 folds 0
         ask b         => lease 2 of trial 1 folds 0
         tell 2 1 0.25 => trial 1 complete 0.25, it is complete
         ask b         => lease 3 of trial 2 folds 0
         ask c         => UsedUp
         tell - 0 0.5  => trial 0 complete 0.5, it is complete
         tell 3 2 failed => error 2/0#1, trial 2 failed, study ended, it is failed",
    );
}

#[test]
fn a_worker_gets_nothing_of_it() {
    check(
        |spec| external(spec, 2, 1),
        "join w 2      =>
         ask a         => lease 1 of trial 0 folds 0
         drain         => drained
         ask b         => Draining
         report 1 0/0:1 3 => go on
         tell 1 0 3    => trial 0 complete 3, it is complete",
    );
}

#[test]
fn who_dies_frees_the_trial_and_who_comes_back_too_late_is_told_so() {
    check(
        |spec| external(spec, 2, 1),
        "ask a 60s        => lease 1 of trial 0 folds 0
         report 1 0/0:1 5 => go on
         wait 59s         =>
         renew 1 0        => go on
         wait 61s         =>
         report 1 0/0:2 4 => go on
         wait 61s         =>
         ask b            => lost 0/0#1, lease 2 of trial 0 folds 0
         report 1 0/0:3 3 => LeaseGone
         tell 1 0 3       => LeaseGone
         report 2 0/0:1 7 => go on
         ask c            => lease 3 of trial 1 folds 0
         tell 3 0 1       => Invalid
         tell 9 0 1       => NotFound
         tell 2 0 6       => trial 0 complete 6, it is complete
         tell 2 0 6       => WrongState
         tell 3 7 6       => NotFound",
    );
}

#[test]
fn after_three_that_died_a_trial_has_failed() {
    let scenario = check(
        |spec| external(spec, 2, 1),
        "ask a 9s => lease 1 of trial 0 folds 0
         wait 9s  =>
         ask a 9s => lost 0/0#1, lease 2 of trial 0 folds 0
         wait 9s  =>
         ask a 9s => lost 0/0#2, lease 3 of trial 0 folds 0
         wait 9s  =>
         ask a 9s => lost 0/0#3, lease 4 of trial 0 folds 0
         wait 9s  => lost 0/0#4, trial 0 failed
         tell 4 0 1 => WrongState",
    );
    assert_eq!(scenario.reason(0), "lost on fold 0 (attempt 4 that ended so): its worker fell silent");
}

#[test]
fn what_is_reported_is_judged_and_a_stop_is_final() {
    let scenario = check(
        |spec| {
            external(spec, 3, 1);
            use_median(spec, 1, 0);
        },
        "ask a            => lease 1 of trial 0 folds 0
         ask b            => lease 2 of trial 1 folds 0
         report 1 0/0:1 5 => go on
         report 1 0/0:3 2 => go on
         tell 1 0 reported => trial 0 complete 2, it is complete
         report 2 1/0:2 9 => go on
         report 2 1/0:3 9 => trial 1 stopping, it is stopping
         renew 2 1        => it is stopping
         tell 2 1 0.1     => trial 1 pruned, it is pruned
         ask b            => lease 3 of trial 2 folds 0
         tell 3 2 stopped => WrongState
         report 3 2/0:3 nan => trial 2 stopping, it is stopping
         tell 3 2 stopped => trial 2 pruned, study ended, it is pruned",
    );
    assert!(scenario.reason(1).starts_with("median: 9 is worse than 2"), "{}", scenario.reason(1));
    assert!(scenario.reason(2).starts_with("median: there is no value but NaN"), "{}", scenario.reason(2));
}

#[test]
fn folds_end_one_by_one_or_together() {
    check(
        |spec| {
            external(spec, 3, 3);
            use_median(spec, 1, 3);
        },
        "ask a            => lease 1 of trial 0 folds 0 1 2
         report 1 0/0:1 5 => go on
         report 1 0/0:2 3 last => go on
         report 1 0/0:3 2 => WrongState
         tell 1 0 3       => Invalid
         tell 1 0 2 4 5   => Invalid
         tell 1 0 3 4 5   => trial 0 complete 4, it is complete
         ask a 9s         => lease 2 of trial 1 folds 0 1 2
         report 2 1/1:1 1 last => go on
         wait 9s          =>
         ask b            => lost 1/0#1, lost 1/2#1, lease 3 of trial 1 folds 0 2
         tell 2 1 1 1 1   => LeaseGone
         tell 3 1 back    => preempted 1/0#2, preempted 1/2#2, go on
         ask b            => lease 4 of trial 1 folds 0 2
         report 4 1/0:1 1 last => go on
         report 4 1/2:1 1 last => trial 1 complete 1, it is complete
         ask b            => lease 5 of trial 2 folds 0 1 2
         report 5 2/1:1 9 last => trial 2 stopping, it is stopping
         report 5 2/0:1 9 => it is stopping
         tell 5 2 stopped => trial 2 pruned, study ended, it is pruned",
    );
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let scenario = check(
        |spec| external(spec, 3, 1),
        "tell - 0 1         => NotFound
         ask a 0s           => Invalid
         ask a              => lease 1 of trial 0 folds 0
         tell 1 0 nan       => Invalid
         tell 1 0 inf       => Invalid
         tell 1 0 1 2       => Invalid
         tell 1 0 reported  => WrongState
         tell 1 0 stopped   => WrongState
         report 1 0/1:1 1   => OutOfRange
         report 1 0/0:0 1   => OutOfRange
         report 1 0/0:4 1   => OutOfRange
         report 1 0/0:1 nan last => Invalid
         report 1 0/0:2 1   => go on
         report 1 0/0:2 1   => Repeated
         report 1 0/0:2 2   => Repeated
         report 1 0/0:1 1   => WrongState
         report 1 0/0:3 inf => go on
         report 1 0/0:3 nan => Repeated
         pause              => study paused
         ask b              => WrongState
         enqueue {\"learning_rate\":7} => Invalid
         enqueue {\"rate\":0.01} => Invalid
         add {\"learning_rate\":0.01} 5 => Invalid
         add {\"learning_rate\":0.01,\"batch_size\":64} nan => Invalid
         add {\"learning_rate\":0.01,\"batch_size\":64} stopped => Invalid
         tell 1 0 reported  => trial 0 complete 1, it is complete",
    );
    let trials = &scenario.store.studies.values().next().expect("a study").trials;
    assert_eq!((trials.len(), trials[0].folds[0].attempts[0].epochs.len()), (1, 2));
}

#[test]
fn a_trained_study_is_not_asked_for() {
    check(
        |spec| spec.budget.trials = Some(1),
        "ask a      => WrongState
         tell 1 0 1 => WrongState
         renew 1 0  => WrongState
         add {} 1   => WrongState",
    );
}

#[test]
fn what_people_bring_goes_first_and_counts() {
    let scenario = check(
        |spec| external(spec, 4, 1),
        "enqueue {\"learning_rate\":0.02} => go on
         add {\"learning_rate\":0.03,\"batch_size\":64} 5 => trial 1 complete 5, it is complete
         add {\"learning_rate\":0.04,\"batch_size\":32} diverged => diverged 2/0#1, trial 2 failed, it is failed
         ask a        => lease 3 of trial 0 folds 0
         enqueue {}   => Invalid
         enqueue {\"batch_size\":32} => go on
         enqueue {\"batch_size\":32} => UsedUp
         ask b        => lease 4 of trial 3 folds 0
         tell 3 0 1   => trial 0 complete 1, it is complete
         tell 4 3 2   => trial 3 complete 2, study ended, it is complete",
    );
    let trials = &scenario.store.studies.values().next().expect("a study").trials;
    assert_eq!(trials[0].params["learning_rate"].as_f64(), Some(0.02));
    assert_eq!(trials[1].params["learning_rate"].as_f64(), Some(0.03));
}

#[test]
fn workers_train_what_is_enqueued_and_a_grid_has_no_room_for_it() {
    check(
        |spec| {
            spec.budget.trials = Some(2);
            spec.data.folds = Some(2);
        },
        "enqueue {\"batch_size\":128} => go on
         join a 1 => a trains 0/0#1",
    );
    check(
        |spec| {
            spec.sampler.kind = SamplerKind::Grid;
            spec.sampler.points = Some(2);
        },
        "enqueue {\"batch_size\":128} => WrongState",
    );
}

#[test]
fn leases_outlive_the_coordinator() {
    check(
        |spec| external(spec, 2, 1),
        "ask a 9s         => lease 1 of trial 0 folds 0
         report 1 0/0:1 5 => go on
         late 60s         =>
         restart          =>
         ask b            => lease 2 of trial 1 folds 0
         report 1 0/0:2 4 => go on
         late 60s         =>
         restart recorded =>
         wait 0s          =>
         ask c            => lost 0/0#1, lease 3 of trial 0 folds 0
         late 60s         =>
         restart forget   => preempted 0/0#2, preempted 1/0#1
         report 2 0/0:2 4 => LeaseGone",
    );
}

#[test]
fn values_of_the_folds_that_were_given_out_are_enough() {
    check(
        |spec| external(spec, 1, 2),
        "ask a            => lease 1 of trial 0 folds 0 1
         report 1 0/0:1 3 last => go on
         tell 1 0 back    => preempted 0/1#1, go on
         ask b            => lease 2 of trial 0 folds 1
         tell 2 0 5       => trial 0 complete 4, study ended, it is complete",
    );
}

#[test]
fn the_last_value_of_a_trial_is_not_judged() {
    check(
        |spec| {
            external(spec, 2, 1);
            use_median(spec, 1, 0);
        },
        "ask a            => lease 1 of trial 0 folds 0
         report 1 0/0:1 3 last => trial 0 complete 3, it is complete
         ask a            => lease 2 of trial 1 folds 0
         report 2 1/0:1 9 last => trial 1 complete 9, study ended, it is complete",
    );
}

#[test]
fn what_failed_elsewhere_pauses_nothing() {
    let add = "add {\"learning_rate\":0.03,\"batch_size\":64} failed";
    let story: String = (0..6)
        .map(|trial| format!("{add} => error {trial}/0#1, trial {trial} failed, it is failed\n"))
        .collect();
    let scenario = check(|spec| external(spec, 9, 1), &format!("{story}ask a => lease 7 of trial 6 folds 0"));
    assert_eq!(scenario.reason(0), "added as failed: it went wrong");
}
