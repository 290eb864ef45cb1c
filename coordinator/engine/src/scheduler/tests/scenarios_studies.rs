//! Budgets, and what a person does with a study.

use foldwise_shared::spec::{Release, SamplerKind, StudySpec};

use super::scenario::check;

/// Trials of two folds and three epochs.
fn two_folds(spec: &mut StudySpec) {
    (spec.data.folds, spec.train.epochs, spec.budget.trials) = (Some(2), Some(3), None);
}

#[test]
fn total_epochs_are_reserved_and_the_rest_is_given_back() {
    let scenario = check(
        |spec| {
            two_folds(spec);
            spec.budget.total_epochs = Some(7);
        },
        "join a 3          => a trains 0/0#1, a trains 0/1#1
         epoch a 0/0#1 1   => ok
         end a 0/0#1       => ok, a trains 1/0#1
         epoch a 0/1#1 1   => ok
         end a 0/1#1       => trial 0 complete 1, ok
         epoch a 1/0#1 1   => ok
         epoch a 1/0#1 1   => ok
         end a 1/0#1       => ok, a trains 1/1#1
         epoch a 1/1#1 1   => ok
         end a 1/1#1       => trial 1 complete 1, study ended, ok",
    );
    assert_eq!(scenario.message(), "budget.total_epochs is used up");
}

#[test]
fn what_the_epochs_do_not_suffice_for_is_cancelled() {
    let scenario = check(
        |spec| {
            two_folds(spec);
            spec.budget.total_epochs = Some(5);
        },
        "join a 2          => a trains 0/0#1
         epoch a 0/0#1 1   => ok
         epoch a 0/0#1 1   => ok
         epoch a 0/0#1 1   => ok
         end a 0/0#1       => trial 0 cancelled, study ended, ok",
    );
    assert_eq!(scenario.reason(0), "budget.total_epochs is used up");
}

#[test]
fn epochs_that_a_silent_worker_reserved_come_free() {
    check(
        |spec| {
            two_folds(spec);
            spec.budget.total_epochs = Some(3);
        },
        "join a 1 => a trains 0/0#1
         wait 40s =>
         join b 1 => lost 0/0#1, a drops 0/0#1, b trains 0/0#2",
    );
    check(
        |spec| {
            two_folds(spec);
            spec.budget.total_epochs = Some(3);
        },
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 1   => ok
         wait 40s          =>
         join b 1          => lost 0/0#1, trial 0 cancelled, study ended, a drops 0/0#1",
    );
}

#[test]
fn at_the_end_of_wall_time_what_runs_is_stopped() {
    let scenario = check(
        |spec| {
            two_folds(spec);
            spec.budget.wall_time = Some("10s".into());
        },
        "wait 99s        =>
         join a 1        => a trains 0/0#1
         wait 9s         =>
         epoch a 0/0#1 1 => ok
         wait 1s         => study stopping, trial 0 stopping, a stops 0/0#1
         epoch a 0/0#1 1 => ok
         stopped a 0/0#1 => trial 0 cancelled, study ended, ok",
    );
    assert_eq!(scenario.reason(0), "budget.wall_time is used up");
    assert_eq!(scenario.message(), "budget.wall_time is used up");
}

#[test]
fn wall_time_goes_on_after_a_restart() {
    check(
        |spec| {
            two_folds(spec);
            spec.budget.wall_time = Some("10s".into());
        },
        "join a 1     => a trains 0/0#1
         wait 6s      =>
         beat a       =>
         restart      =>
         back a 0/0#1 =>
         wait 4s      => study stopping, trial 0 stopping, a stops 0/0#1",
    );
}

#[test]
fn what_the_coordinator_slept_through_costs_no_wall_time() {
    check(
        |spec| {
            two_folds(spec);
            spec.budget.wall_time = Some("10s".into());
        },
        "join a 1       => a trains 0/0#1
         wait 6s        =>
         overslept 500s =>
         wait 3s        =>
         wait 1s        => study stopping, trial 0 stopping, a stops 0/0#1",
    );
}

#[test]
fn a_paused_study_gets_no_lease_and_what_runs_finishes() {
    check(
        two_folds_twice,
        "join a 1        => a trains 0/0#1
         pause           => study paused
         epoch a 0/0#1 1 => ok
         end a 0/0#1     => ok
         pause           =>
         unpause         => study running, a trains 0/1#1
         unpause         =>",
    );
}

fn two_folds_twice(spec: &mut StudySpec) {
    two_folds(spec);
    spec.budget.trials = Some(2);
}

#[test]
fn a_stopped_study_stops_what_runs() {
    let scenario = check(
        two_folds_twice,
        "join a 3         => a trains 0/0#1, a trains 0/1#1, a trains 1/0#1
         stop             => study stopping, trial 0 stopping, trial 1 stopping, a stops 0/0#1, a stops 0/1#1, a stops 1/0#1
         stop             =>
         stopped a 0/0#1  => ok
         end a 0/1#1      => trial 0 cancelled, ok
         lost a           =>
         wait 30s         => lost 1/0#1, trial 1 cancelled, study ended",
    );
    assert_eq!(scenario.message(), "the study was stopped");
}

#[test]
fn draining_lets_the_epoch_end() {
    check(
        two_folds_twice,
        "join a 2         => a trains 0/0#1, a trains 0/1#1
         drain            => a stops 0/0#1 after the epoch, a stops 0/1#1 after the epoch
         join b 1         =>
         epoch a 0/0#1 1  => ok
         stopped a 0/0#1  => ok
         epoch a 0/1#1 1  => ok
         end a 0/1#1      => ok, drained
         restart          =>
         back b           => b trains 0/0#2",
    );
}

#[test]
fn an_idle_coordinator_is_drained_at_once() {
    check(two_folds_twice, "drain => drained");
}

#[test]
fn the_grid_ends_the_study() {
    let scenario = check(
        |spec| {
            two_folds(spec);
            spec.data.release = Release::All;
            (spec.data.folds, spec.data.holdout) = (None, Some(10));
            (spec.sampler.kind, spec.sampler.points) = (SamplerKind::Grid, Some(1));
            spec.space.0.remove("batch_size");
        },
        "join a 2        => a trains 0/0#1
         epoch a 0/0#1 1 => ok
         end a 0/0#1     => trial 0 complete 1, study ended, ok",
    );
    assert_eq!(scenario.message(), "the grid is done");
}
