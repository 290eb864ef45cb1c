//! What training finds and stores: a learning rate for the other folds, results, and phases that are no epoch.

use foldwise_shared::model::LearningRate;
use foldwise_shared::spec::{Release, StudySpec};

use super::plan::use_median;
use super::scenario::check;

/// Two trials of two folds of two epochs, whose learning rate is found.
fn finds(release: Release) -> impl Fn(&mut StudySpec) {
    move |spec| {
        (spec.data.folds, spec.data.release) = (Some(2), release);
        (spec.train.epochs, spec.budget.trials) = (Some(2), Some(1));
        spec.train.learning_rate = Some(LearningRate::Find);
        spec.space.0.remove("learning_rate");
    }
}

fn one_fold(spec: &mut StudySpec) {
    (spec.data.folds, spec.data.holdout) = (None, Some(10));
    (spec.train.epochs, spec.budget.trials) = (Some(3), Some(1));
}

#[test]
fn the_other_folds_wait_for_what_the_first_finds() {
    for release in [Release::All, Release::Auto] {
        let played = check(
            finds(release),
            "join a 2            => a trains 0/0#1
             join b 2            =>
             find a 0/0#1 0.003  => found 0/0#1, b trains 0/1#1
             find a 0/0#1 0.003  => found 0/0#1
             find a 0/0#1 0.5    => found 0/0#1
             find b 0/1#1 0.004  => found 0/1#1
             epoch a 0/0#1 0.5   => ok",
        );
        let trial = &played.store.studies.values().next().expect("a study").trials[0];
        assert_eq!(trial.params["learning_rate"].as_f64(), Some(0.003), "the first value stays");
    }
}

#[test]
fn in_a_race_they_wait_for_its_end_too() {
    let race = |spec: &mut StudySpec| {
        finds(Release::Race)(spec);
        use_median(spec, 5, 0);
    };
    check(
        race,
        "join a 2           => a trains 0/0#1
         find a 0/0#1 0.003 => found 0/0#1
         epoch a 0/0#1 0.5  => ok
         epoch a 0/0#1 0.4  => ok
         end a 0/0#1        => ok, a trains 0/1#1",
    );
}

#[test]
fn what_was_found_outlives_its_attempt_and_a_restart() {
    let played = check(
        finds(Release::All),
        "join a 1            => a trains 0/0#1
         find a 0/0#1 0.003  => found 0/0#1
         dies a              => lost 0/0#1, closed
         join b 1            => b trains 0/0#2
         restart             =>
         join c 1            => c trains 0/1#1
         back b 0/0#2        =>
         find b 0/0#2 0.9    => found 0/0#2
         epoch b 0/0#2 0.5   => ok",
    );
    let trial = &played.store.studies.values().next().expect("a study").trials[0];
    assert_eq!(trial.params["learning_rate"].as_f64(), Some(0.003));
}

#[test]
fn what_was_not_recorded_is_found_again() {
    check(
        finds(Release::All),
        "join a 2           => a trains 0/0#1
         dies a             => lost 0/0#1, closed
         join b 2           => b trains 0/0#2
         find a 0/0#1 0.1   =>
         find b 0/0#1 0.1   => b drops 0/0#1
         find b 0/0#2 0.003 => found 0/0#2, b trains 0/1#1",
    );
}

#[test]
fn nonsense_fails_the_trial_and_is_not_stored() {
    for (found, words) in [
        ("batch_size=64", "no trial of this study is to find"),
        ("x", "must be a number"),
        ("find", "must be a number"),
        ("-1", "learning_rate"),
        ("NaN", "learning_rate"),
    ] {
        let story = format!(
            "join a 1               => a trains 0/0#1
             find a 0/0#1 {found}   => invalid 0/0#1, trial 0 failed, study ended, a drops 0/0#1"
        );
        let played = check(finds(Release::All), &story);
        assert!(played.reason(0).contains(words), "{found}: {}", played.reason(0));
        let trial = &played.store.studies.values().next().expect("a study").trials[0];
        assert!(trial.derived.is_empty());
    }
    let played = check(
        one_fold,
        "join a 1           => a trains 0/0#1
         find a 0/0#1 0.003 => invalid 0/0#1, trial 0 failed, study ended, a drops 0/0#1",
    );
    assert!(played.reason(0).contains("no trial of this study is to find"), "{}", played.reason(0));
}

#[test]
fn a_first_fold_that_found_nothing_is_no_fold() {
    let played = check(
        finds(Release::All),
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         epoch a 0/0#1 0.4 => ok
         end a 0/0#1       => invalid 0/0#1, trial 0 failed, study ended, ok",
    );
    assert!(played.reason(0).contains("without the learning_rate"), "{}", played.reason(0));
}

#[test]
fn a_trial_that_tries_another_once_more_finds_afresh() {
    let three = |spec: &mut StudySpec| {
        finds(Release::All)(spec);
        spec.budget.trials = Some(3);
    };
    let played = check(
        three,
        "join a 1              => a trains 0/0#1
         find a 0/0#1 0.003    => found 0/0#1
         cancel 0              => trial 0 stopping, a stops 0/0#1, it is stopping
         stopped a 0/0#1       => trial 0 cancelled, ok, a trains 1/0#1
         retry 0               => go on",
    );
    let trials = &played.store.studies.values().next().expect("a study").trials;
    assert_eq!(trials[2].params.keys().collect::<Vec<_>>(), ["batch_size"]);
    assert_eq!(trials[2].params["batch_size"], trials[0].params["batch_size"]);
}

#[test]
fn a_phase_is_no_hang() {
    // 20 times the slowest epoch is less than five minutes here, and an hour is more than both.
    let played = check(
        one_fold,
        "join a 1           => a trains 0/0#1
         epoch a 0/0#1 0.5  => ok
         phase a 0/0#1      => range test on 0/0#1
         beats a 359        =>
         beats a 1          => lost 0/0#1, a stops 0/0#1
         phase a 0/0#1      => a stops 0/0#1
         find a 0/0#1 0.1   => a stops 0/0#1",
    );
    assert_eq!(played.store.artifacts.len(), 0);
    check(
        one_fold,
        "join a 1           => a trains 0/0#1
         phase a 0/0#1      => range test on 0/0#1
         epoch a 0/0#1 0.5  => ok
         beats a 29         =>
         beats a 1          => lost 0/0#1, a stops 0/0#1",
    );
}

#[test]
fn a_result_is_progress() {
    check(
        one_fold,
        "join a 1                   => a trains 0/0#1
         epoch a 0/0#1 0.5          => ok
         beats a 29                 =>
         store a 0/0#1 pictures -   => done
         beats a 29                 =>
         beats a 1                  => lost 0/0#1, a stops 0/0#1",
    );
}

#[test]
fn results_stay_and_newer_ones_take_their_place() {
    let played = check(
        one_fold,
        "join a 1                        => a trains 0/0#1
         store a 0/0#1 range-test -      => done
         store a 0/0#1 reconstruction 1  => OutOfRange
         epoch a 0/0#1 0.5               => ok
         store a 0/0#1 reconstruction 1  => done
         store b 0/0#1 reconstruction 1  => LeaseGone
         dies a                          => lost 0/0#1, closed
         store a 0/0#1 reconstruction 1  => LeaseGone
         join b 1                        => b trains 0/0#2
         epoch b 0/0#2 0.5               => ok
         store b 0/0#2 reconstruction 1  => discards reconstruction of 0/0#1, done
         epoch b 0/0#2 0.4               => ok
         epoch b 0/0#2 0.3               => ok
         store b 0/0#2 model -           => done
         store b 0/0#2 model -           => done
         end b 0/0#2                     => trial 0 complete 0.3, study ended, ok
         store b 0/0#2 model -           => LeaseGone",
    );
    let kept: Vec<String> = played.store.kept().into_iter().collect();
    assert_eq!(kept, ["model of 0/0#2", "range-test of 0/0#1", "reconstruction of 0/0#2"]);
}

#[test]
fn an_attempt_has_so_many_kinds() {
    let mut story = String::from("join a 1 => a trains 0/0#1\n");
    for kind in 0..32 {
        story += &format!("store a 0/0#1 kind-{kind} - => done\n");
    }
    story += "store a 0/0#1 one-more - => Invalid\nstore a 0/0#1 kind-7 - => done";
    check(one_fold, &story);
}
