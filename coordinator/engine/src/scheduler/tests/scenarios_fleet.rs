//! Workers that people drain.

use foldwise_shared::spec::{Release, StudySpec};

use super::scenario::check;

/// Two trials of two folds and three epochs.
fn two_folds(spec: &mut StudySpec) {
    (spec.data.folds, spec.train.epochs, spec.budget.trials) = (Some(2), Some(3), Some(2));
    spec.data.release = Release::All;
}

#[test]
fn a_drained_worker_hands_back_after_its_epoch() {
    check(
        two_folds,
        "join a 2          => a trains 0/0#1, a trains 0/1#1
         drain a after-epoch => a stops 0/0#1 after the epoch, a stops 0/1#1 after the epoch, done
         drain a after-epoch => done
         workers           => a draining 2/2
         epoch a 0/0#1 1   => ok
         stopped a 0/0#1   => ok
         join b 1          => b trains 0/0#2
         epoch a 0/1#1 1   => ok
         stopped a 0/1#1   => ok
         workers           => a drained 0/2 + b connected 1/1
         undrain a         => done, a trains 0/1#2, a trains 1/0#1
         undrain a         => WrongState",
    );
}

#[test]
fn a_drain_can_be_at_once_or_wait_for_the_folds() {
    check(
        two_folds,
        "join a 1            => a trains 0/0#1
         drain a after-folds => done
         epoch a 0/0#1 1     => ok
         end a 0/0#1         => ok
         workers             => a drained 0/1
         undrain a           => done, a trains 0/1#1
         drain a after-epoch => a stops 0/1#1 after the epoch, done
         drain a now         => a stops 0/1#1, done
         drain a after-epoch => done
         stopped a 0/1#1     => ok
         workers             => a drained 0/1",
    );
}

#[test]
fn a_drain_outlasts_the_worker_and_the_coordinator() {
    check(
        two_folds,
        "join a 1            => a trains 0/0#1
         lost a              =>
         drain a after-epoch => done
         back a 0/0#1        => a stops 0/0#1 after the epoch
         restart             =>
         back a 0/0#1        => a stops 0/0#1 after the epoch
         stopped a 0/0#1     => ok
         dies a              => closed
         join a 1            =>
         workers             => a drained 0/1",
    );
}

#[test]
fn a_drain_costs_no_retry() {
    check(
        |spec| {
            two_folds(spec);
            (spec.retry.preempted, spec.retry.lost) = (0, 0);
        },
        "join a 1            => a trains 0/0#1
         drain a after-epoch => a stops 0/0#1 after the epoch, done
         stopped a 0/0#1     => ok
         undrain a           => done, a trains 0/0#2",
    );
}

#[test]
fn who_falls_silent_is_said_to_be() {
    check(
        two_folds,
        "join a 1 => a trains 0/0#1
         join b 1 => b trains 0/1#1
         wait 20s =>
         beat b   =>
         wait 20s =>
         workers  => a silent 1/1 + b connected 1/1",
    );
}

#[test]
fn a_fold_that_hangs_is_taken_from_a_drained_worker_too() {
    check(
        two_folds,
        "join a 1            => a trains 0/0#1
         drain a after-epoch => a stops 0/0#1 after the epoch, done
         beats a 400         => lost 0/0#1, a stops 0/0#1",
    );
}
