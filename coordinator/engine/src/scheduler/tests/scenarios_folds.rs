//! The order of folds, and pruning.

use foldwise_shared::spec::{Release, StudySpec};

use super::plan::use_median;
use super::scenario::check;

fn small(spec: &mut StudySpec, trials: u32, folds: u32, epochs: u32) {
    spec.budget.trials = Some(trials);
    spec.data.folds = Some(folds);
    spec.train.epochs = Some(epochs);
}

#[test]
fn the_oldest_trial_and_its_lowest_fold_go_first() {
    check(
        |spec| small(spec, 2, 2, 1),
        "join a 3             => a trains 0/0#1, a trains 0/1#1, a trains 1/0#1
         epoch a 0/1#1 1      => ok
         fail a 0/0#1 error   => error 0/0#1, ok, a trains 0/0#2
         end a 0/1#1          => ok, a trains 1/1#1
         epoch a 0/0#2 3      => ok
         end a 0/0#2          => trial 0 complete 2, ok",
    );
}

#[test]
fn a_race_waits_for_the_fold_before() {
    check(
        |spec| {
            small(spec, 2, 2, 1);
            spec.data.release = Release::Race;
        },
        "join a 3        => a trains 0/0#1, a trains 1/0#1
         epoch a 1/0#1 1 => ok
         end a 1/0#1     => ok, a trains 1/1#1",
    );
}

#[test]
fn auto_races_until_no_other_trial_fills_the_slots() {
    check(
        |spec| {
            small(spec, 2, 2, 1);
            use_median(spec, 5, 0);
        },
        "join a 3        => a trains 0/0#1, a trains 1/0#1, a trains 0/1#1
         epoch a 0/0#1 1 => ok
         end a 0/0#1     => ok, a trains 1/1#1",
    );
}

#[test]
fn a_trial_is_pruned_within_a_fold_and_its_siblings_stop() {
    let scenario = check(
        |spec| {
            small(spec, 2, 2, 2);
            spec.data.release = Release::All;
            use_median(spec, 1, 1);
        },
        "join a 2          => a trains 0/0#1, a trains 0/1#1
         epoch a 0/0#1 1   => ok
         epoch a 0/0#1 0.5 => ok
         end a 0/0#1       => ok, a trains 1/0#1
         epoch a 0/1#1 1   => ok
         epoch a 0/1#1 0.5 => ok
         end a 0/1#1       => trial 0 complete 0.5, ok, a trains 1/1#1
         epoch a 1/0#1 9   => ok
         epoch a 1/1#1 0.1 => ok
         epoch a 1/0#1 0.6 => trial 1 stopping, a stops 1/0#1, a stops 1/1#1, ok
         epoch a 1/1#1 0.1 => ok
         end a 1/1#1       => ok
         stopped a 1/0#1   => trial 1 pruned, study ended, ok
         epoch a 1/0#1 0.1 => a drops 1/0#1",
    );
    assert_eq!(
        scenario.reason(1),
        "median: 0.6 is worse than 0.5, the 50th percentile of 1 peer at fold 0, epoch 2"
    );
    assert_eq!(scenario.message(), "budget.trials is used up");
}

#[test]
fn a_trial_is_pruned_after_a_fold() {
    let scenario = check(
        |spec| {
            small(spec, 2, 2, 1);
            spec.data.release = Release::Race;
            use_median(spec, 1, 1);
        },
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 1   => ok
         end a 0/0#1       => ok, a trains 0/1#1
         epoch a 0/1#1 1   => ok
         end a 0/1#1       => trial 0 complete 1, ok, a trains 1/0#1
         epoch a 1/0#1 2   => ok
         end a 1/0#1       => trial 1 pruned, study ended, ok",
    );
    assert!(scenario.reason(1).starts_with("median-of-folds: 2 is worse than 1"), "{}", scenario.reason(1));
}

#[test]
fn a_value_that_is_not_finite_ends_the_trial_for_good() {
    let story = "join a 1           => a trains 0/0#1
         epoch a 0/0#1 NaN  => ok
         END                => diverged 0/0#1, trial 0 failed, ok, a trains 1/0#1";
    for end in ["end a 0/0#1", "fail a 0/0#1 diverged"] {
        let scenario = check(|spec| small(spec, 2, 2, 2), &story.replace("END", end));
        assert!(scenario.reason(0).starts_with("diverged on fold 0: "), "{}", scenario.reason(0));
    }
}

#[test]
fn epochs_come_in_order() {
    check(
        |spec| small(spec, 1, 2, 2),
        "join a 1            => a trains 0/0#1
         epoch a 0/0#1 1:0.5 => ok
         epoch a 0/0#1 1:0.5 => ok
         epoch a 0/0#1 3:0.5 => error 0/0#1, a drops 0/0#1, a trains 0/0#2
         epoch a 0/0#2 2:0.5 => error 0/0#2, trial 0 failed, study ended, a drops 0/0#2",
    );
}
