//! Studies that live: extended, deleted, beside each other; trials that are tried again or stopped.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::spec::{SamplerKind, StudySpec};

use super::scenario::check;

/// Trials of one fold and three epochs.
fn one_fold(spec: &mut StudySpec) {
    (spec.data.folds, spec.data.holdout, spec.train.epochs) = (None, Some(10), Some(3));
    spec.budget.trials = Some(1);
}

#[test]
fn a_study_that_has_ended_goes_on_with_a_larger_budget() {
    let scenario = check(
        one_fold,
        "join a 1           => a trains 0/0#1
         epoch a 0/0#1 0.5  => ok
         end a 0/0#1        => trial 0 complete 0.5, study ended, ok
         extend trials=2    => study running, done, a trains 1/0#1
         restart            =>
         back a 1/0#1       =>
         epoch a 1/0#1 0.25 => ok
         end a 1/0#1        => trial 1 complete 0.25, ok, a trains 2/0#1
         epoch a 2/0#1 0.75 => ok
         end a 2/0#1        => trial 2 complete 0.75, study ended, ok",
    );
    assert_eq!(scenario.message(), "budget.trials is used up");
}

#[test]
fn what_a_study_that_has_ended_could_not_use_is_refused() {
    let mut scenario = check(
        |spec| {
            one_fold(spec);
            (spec.budget.trials, spec.budget.total_epochs) = (Some(1), Some(4));
        },
        "join a 1           => a trains 0/0#1
         epoch a 0/0#1 0.5  => ok
         epoch a 0/0#1 0.5  => ok
         end a 0/0#1        => trial 0 complete 0.5, study ended, ok
         extend trials=1    => WrongState
         extend epochs=1    => WrongState
         extend time=5s     => Invalid
         extend trials=0    => Invalid
         extend             => Invalid
         retry 0            => WrongState
         cancel 0           => WrongState",
    );
    scenario.play("extend trials=1 epochs=1 => study running, done, a trains 1/0#1");
}

#[test]
fn a_running_study_gets_more_of_everything() {
    check(
        |spec| {
            one_fold(spec);
            spec.budget.wall_time = Some("10s".into());
        },
        "join a 1                => a trains 0/0#1
         extend trials=1 time=5s => done
         wait 12s                =>
         fail a 0/0#1 preempted  => preempted 0/0#1, ok, a trains 0/0#2
         wait 3s                 => study stopping, trial 0 stopping, a stops 0/0#2",
    );
}

#[test]
fn a_paused_study_stays_paused_when_it_is_extended() {
    check(
        one_fold,
        "join a 1          => a trains 0/0#1
         pause             => study paused
         extend trials=1   => done
         epoch a 0/0#1 0.5 => ok
         end a 0/0#1       => trial 0 complete 0.5, ok
         unpause           => study running, a trains 1/0#1",
    );
}

#[test]
fn a_grid_has_no_more_than_its_combinations() {
    check(
        |spec| {
            one_fold(spec);
            (spec.sampler.kind, spec.sampler.points) = (SamplerKind::Grid, Some(1));
        },
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         end a 0/0#1       => trial 0 complete 0.5, study ended, ok
         extend trials=3   => Invalid
         extend trials=2   => study running, done, a trains 1/0#1
         retry 0           => WrongState
         extend trials=1   => Invalid",
    );
}

#[test]
fn a_study_that_is_over_can_be_deleted() {
    check(
        one_fold,
        "join a 1          => a trains 0/0#1
         delete            => WrongState
         pause             => study paused
         delete            => WrongState
         epoch a 0/0#1 0.5 => ok
         unpause           => study running
         end a 0/0#1       => trial 0 complete 0.5, study ended, ok
         second 0          => a trains 2:0/0#1
         delete            => deleted, discards a1, done",
    );
}

#[test]
fn with_force_what_runs_is_taken_from_its_workers() {
    check(
        one_fold,
        "join a 1          => a trains 0/0#1
         second 0          =>
         delete force      => deleted, a drops 0/0#1, discards a1, done, a trains 2:0/0#1
         epoch a 0/0#1 1:1 => a drops 0/0#1",
    );
}

#[test]
fn a_trial_that_came_to_nothing_is_tried_again_before_any_new_one() {
    let scenario = check(
        |spec| {
            one_fold(spec);
            (spec.budget.trials, spec.retry.error) = (Some(4), 0);
        },
        "join a 1              => a trains 0/0#1
         retry 0               => WrongState
         retry 9               => NotFound
         fail a 0/0#1 error    => error 0/0#1, trial 0 failed, ok, a trains 1/0#1
         retry 0               => go on
         enqueue {\"batch_size\":64} => go on
         cancel 1              => trial 1 stopping, a stops 1/0#1, it is stopping
         cancel 1              => WrongState
         stopped a 1/0#1       => trial 1 cancelled, ok, a trains 2/0#1
         retry 1               => UsedUp
         epoch a 2/0#1 0.5     => ok
         end a 2/0#1           => trial 2 complete 0.5, ok, a trains 3/0#1
         retry 2               => WrongState
         cancel 9              => NotFound",
    );
    let trials = &scenario.store.studies.values().next().expect("a study").trials;
    assert_eq!(trials[0].params, trials[2].params);
    assert_eq!(trials[2].parent, Some(TrialNumber(0)));
    assert_eq!(scenario.reason(1), "stopped by a person");
}

#[test]
fn the_study_of_the_highest_priority_goes_first() {
    check(
        |spec| {
            one_fold(spec);
            spec.budget.trials = Some(3);
        },
        "second 5            =>
         join a 4            => a trains 2:0/0#1, a trains 2:1/0#1, a trains 2:2/0#1, a trains 0/0#1
         epoch a 2:0/0#1 0.5 => ok
         end a 2:0/0#1       => trial 0 complete 0.5, ok, a trains 1/0#1",
    );
}

#[test]
fn equal_studies_share_evenly() {
    check(
        |spec| {
            one_fold(spec);
            spec.budget.trials = Some(9);
        },
        "second 0            =>
         join a 4            => a trains 0/0#1, a trains 2:0/0#1, a trains 1/0#1, a trains 2:1/0#1
         epoch a 2:0/0#1 0.5 => ok
         end a 2:0/0#1       => trial 0 complete 0.5, ok, a trains 2:2/0#1
         join b 2            => b trains 2/0#1, b trains 2:3/0#1",
    );
}
