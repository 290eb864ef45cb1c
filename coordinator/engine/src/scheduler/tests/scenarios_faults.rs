//! Leases, lost connections, failures and restarts.

use foldwise_shared::spec::StudySpec;

use super::scenario::check;

/// Trials of one fold and two epochs.
fn one_fold(trials: u32) -> impl Fn(&mut StudySpec) {
    move |spec| {
        (spec.data.folds, spec.data.holdout) = (None, Some(10));
        (spec.train.epochs, spec.budget.trials) = (Some(2), Some(trials));
    }
}

#[test]
fn a_silent_worker_comes_back_before_its_fold_is_given_away() {
    check(
        one_fold(1),
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         wait 60s          =>
         epoch a 0/0#1 0.4 => ok
         end a 0/0#1       => trial 0 complete 0.4, study ended, ok",
    );
}

#[test]
fn a_silent_worker_comes_back_after_its_fold_was_given_away() {
    check(
        one_fold(1),
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.1 => ok
         wait 60s          =>
         join b 1          => lost 0/0#1, a drops 0/0#1, b trains 0/0#2
         epoch a 0/0#1 0.1 => a drops 0/0#1
         end a 0/0#1       => a drops 0/0#1
         epoch b 0/0#2 0.5 => ok
         end b 0/0#2       => trial 0 complete 0.5, study ended, ok",
    );
}

#[test]
fn a_silent_worker_gets_nothing_new() {
    check(
        one_fold(2),
        "join a 1 => a trains 0/0#1
         wait 99s =>
         beat a   =>
         join b 1 => b trains 1/0#1",
    );
}

#[test]
fn a_heartbeat_renews_every_lease_of_a_worker() {
    check(
        one_fold(2),
        "join a 2 => a trains 0/0#1, a trains 1/0#1
         wait 29s =>
         beat a   =>
         wait 29s =>
         join b 1 =>
         wait 1s  => lost 0/0#1, a drops 0/0#1, b trains 0/0#2",
    );
}

#[test]
fn nothing_expires_because_the_coordinator_slept() {
    check(
        one_fold(1),
        "join a 1       => a trains 0/0#1
         join b 1       =>
         wait 20s       =>
         overslept 500s =>
         wait 9s        =>
         beat b         =>
         wait 1s        => lost 0/0#1, a drops 0/0#1, b trains 0/0#2",
    );
}

#[test]
fn a_hello_tells_what_became_of_what_it_names() {
    check(
        one_fold(2),
        "join a 1                   => a trains 0/0#1
         lost a                     =>
         back a 0/0#1 7/0#1 0/0#2   => a drops 7/0#1, a drops 0/0#2
         epoch a 0/0#1 0.5          => ok",
    );
}

#[test]
fn what_a_hello_does_not_name_is_taken_back_free_of_charge() {
    let mut scenario = check(one_fold(1), "join a 1 => a trains 0/0#1");
    for attempt in 1..10 {
        scenario.play(&format!("back a => preempted 0/0#{attempt}, closed, a trains 0/0#{}", attempt + 1));
    }
}

#[test]
fn a_second_hello_replaces_the_stream() {
    check(
        one_fold(1),
        "join a 1     => a trains 0/0#1
         back a 0/0#1 => closed
         lost a       =>
         wait 30s     =>
         join b 1     => lost 0/0#1, b trains 0/0#2",
    );
}

/// How often a fold is tried when each attempt ends with this class.
fn check_tries(class: &str, tries: u32) {
    let mut scenario = check(one_fold(1), "join a 1 => a trains 0/0#1");
    for attempt in 1..tries {
        scenario.play(&format!(
            "fail a 0/0#{attempt} {class} => {class} 0/0#{attempt}, ok, a trains 0/0#{}",
            attempt + 1
        ));
    }
    scenario
        .play(&format!("fail a 0/0#{tries} {class} => {class} 0/0#{tries}, trial 0 failed, study ended, ok"));
    let count = if tries > 1 { format!(" (attempt {tries} that ended so)") } else { String::new() };
    assert_eq!(scenario.reason(0), format!("{class} on fold 0{count}: it went wrong"));
}

#[test]
fn each_class_has_its_retries() {
    check_tries("lost", 4);
    check_tries("out-of-memory", 3);
    check_tries("error", 2);
    check_tries("diverged", 1);
    check_tries("invalid", 1);
}

#[test]
fn preemption_costs_nothing() {
    let mut scenario = check(one_fold(1), "join a 1 => a trains 0/0#1");
    for attempt in 1..40 {
        scenario.play(&format!(
            "fail a 0/0#{attempt} preempted => preempted 0/0#{attempt}, ok, a trains 0/0#{}",
            attempt + 1
        ));
    }
}

#[test]
fn a_trial_that_kills_its_workers_is_set_aside() {
    check(
        one_fold(2),
        "join a 1 => a trains 0/0#1
         dies a   => lost 0/0#1, closed
         join b 1 => b trains 0/0#2
         dies b   => lost 0/0#2, closed
         join c 1 => c trains 0/0#3
         wait 30s =>
         join d 1 => lost 0/0#3, c drops 0/0#3, d trains 0/0#4
         wait 30s => lost 0/0#4, trial 0 failed, d drops 0/0#4
         beat d   => d trains 1/0#1",
    );
}

#[test]
fn another_worker_gets_what_one_declines() {
    let scenario = check(
        one_fold(3),
        "join a 1          => a trains 0/0#1
         join b 1          => b trains 1/0#1
         decline a 0/0#1   => preempted 0/0#1, ok
         beat a            =>
         epoch b 1/0#1 1   => ok
         end b 1/0#1       => trial 1 complete 1, ok, b trains 0/0#2
         decline b 0/0#2   => preempted 0/0#2, study paused, ok",
    );
    assert_eq!(scenario.message(), "no worker can train it: no data");
    let mut scenario = scenario;
    scenario.play("unpause => study running, a trains 0/0#3, b trains 2/0#1");
}

#[test]
fn a_worker_that_can_train_it_lets_a_study_go_on() {
    check(
        one_fold(3),
        "join a 1        => a trains 0/0#1
         decline a 0/0#1 => preempted 0/0#1, study paused, ok
         join b 1        => study running, b trains 0/0#2",
    );
}

#[test]
fn a_stopping_study_is_not_paused_by_a_decline() {
    check(
        one_fold(2),
        "join a 2        => a trains 0/0#1, a trains 1/0#1
         stop            => study stopping, trial 0 stopping, trial 1 stopping, a stops 0/0#1, a stops 1/0#1
         decline a 0/0#1 => preempted 0/0#1, trial 0 cancelled, ok
         stopped a 1/0#1 => trial 1 cancelled, study ended, ok",
    );
}

#[test]
fn five_failures_in_a_row_pause_the_study() {
    let mut scenario = check(one_fold(9), "join a 1 => a trains 0/0#1");
    for trial in 0..4 {
        let next = trial + 1;
        scenario.play(&format!(
            "fail a {trial}/0#1 invalid => invalid {trial}/0#1, trial {trial} failed, ok, a trains {next}/0#1"
        ));
    }
    scenario.play(
        "restart          =>
         back a 4/0#1     =>
         fail a 4/0#1 invalid => invalid 4/0#1, trial 4 failed, study paused, ok",
    );
    assert_eq!(scenario.message(), "5 trials in a row failed; the last: invalid on fold 0: it went wrong");
    scenario.play(
        "unpause          => study running, a trains 5/0#1
         restart          =>
         back a 5/0#1     =>
         fail a 5/0#1 invalid => invalid 5/0#1, trial 5 failed, ok, a trains 6/0#1",
    );
}

#[test]
fn after_a_restart_leases_live_on_or_are_forgotten() {
    let story = "join a 1 => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         wait 20s =>";
    check(one_fold(1), story).play(
        "restart  =>
         join b 1 =>
         wait 29s =>
         back a 0/0#1 =>
         epoch a 0/0#1 0.4 => ok
         end a 0/0#1 => trial 0 complete 0.4, study ended, ok",
    );
    check(one_fold(1), story).play(
        "restart forget => preempted 0/0#1
         back a 0/0#1   => a drops 0/0#1, a trains 0/0#2",
    );
}

#[test]
fn a_restart_does_not_forget_what_is_to_stop() {
    check(
        one_fold(1),
        "join a 1        => a trains 0/0#1
         stop            => study stopping, trial 0 stopping, a stops 0/0#1
         restart         =>
         back a 0/0#1    => a stops 0/0#1
         stopped a 0/0#1 => trial 0 cancelled, study ended, ok",
    );
}

#[test]
fn a_fold_that_moves_goes_on_from_its_checkpoint() {
    let long = |spec: &mut StudySpec| {
        one_fold(1)(spec);
        spec.train.epochs = Some(4);
    };
    let mut scenario = check(
        long,
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         epoch a 0/0#1 0.4 => ok
         keep a 0/0#1 1    => done
         keep a 0/0#1 2    => discards 0/0#1 after 1, done
         epoch a 0/0#1 0.3 => ok
         keep a 0/0#1 1    => Repeated
         keep a 0/0#1 4    => OutOfRange
         keep b 0/0#1 2    => LeaseGone
         wait 60s          =>
         join b 1          => lost 0/0#1, a drops 0/0#1, b trains 0/0#2 after 2
         keep a 0/0#1 3    => LeaseGone
         epoch b 0/0#2 1:9 => error 0/0#2, b drops 0/0#2, b trains 0/0#3 after 2",
    );
    // Live are epochs 1 and 2 of the first attempt, and what the last one makes of the others.
    scenario.play(
        "restart           =>
         back b 0/0#3      =>
         epoch b 0/0#3 0.6 => ok
         epoch b 0/0#3 0.7 => ok
         end b 0/0#3       => trial 0 complete 0.4, study ended, discards 0/0#1 after 2, ok",
    );
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_dropped() {
    let strict = |spec: &mut StudySpec| {
        one_fold(1)(spec);
        spec.retry.error = 1;
    };
    check(
        strict,
        "join a 1           => a trains 0/0#1
         epoch a 0/0#1 0.5  => ok
         keep a 0/0#1 1     => done
         fail a 0/0#1 error => error 0/0#1, ok, a trains 0/0#2 after 1
         fail a 0/0#2 error => preempted 0/0#2, discards 0/0#1 after 1, ok, a trains 0/0#3
         fail a 0/0#3 error => error 0/0#3, trial 0 failed, study ended, ok",
    );
}

#[test]
fn what_a_fold_still_needs_is_reserved_and_no_more() {
    let tight = |spec: &mut StudySpec| {
        one_fold(1)(spec);
        (spec.train.epochs, spec.budget.total_epochs) = (Some(4), Some(5));
    };
    check(
        tight,
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         keep a 0/0#1 1    => done
         epoch a 0/0#1 0.4 => ok
         fail a 0/0#1 preempted => preempted 0/0#1, ok, a trains 0/0#2 after 1
         epoch a 0/0#2 0.4 => ok
         epoch a 0/0#2 0.3 => ok
         epoch a 0/0#2 0.2 => ok
         end a 0/0#2       => trial 0 complete 0.2, study ended, discards 0/0#1 after 1, ok",
    );
}

#[test]
fn a_worker_without_progress_is_told_to_stop_and_gets_nothing_until_it_has() {
    check(
        one_fold(2),
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         beats a 29        =>
         beats a 1         => lost 0/0#1, a stops 0/0#1
         beats a 9         =>
         join b 1          => b trains 0/0#2
         back a 0/0#1      => closed, a stops 0/0#1
         stopped a 0/0#1   => a drops 0/0#1, a trains 1/0#1",
    );
}

#[test]
fn where_memory_was_short_fewer_folds_run_side_by_side() {
    check(
        one_fold(6),
        "join a 3 => a trains 0/0#1, a trains 1/0#1, a trains 2/0#1
         fail a 1/0#1 out-of-memory => out-of-memory 1/0#1, ok
         epoch a 0/0#1 0.5 => ok
         epoch a 0/0#1 0.4 => ok
         end a 0/0#1       => trial 0 complete 0.4, ok, a trains 1/0#2
         join b 1          => b trains 3/0#1",
    );
}

#[test]
fn the_folds_of_a_trial_run_apart() {
    check(
        |spec| {
            spec.budget.trials = Some(1);
            spec.data.folds = Some(4);
        },
        "join a 2 => a trains 0/0#1, a trains 0/1#1
         join b 3 => b trains 0/2#1, b trains 0/3#1",
    );
    check(
        |spec| {
            spec.budget.trials = Some(3);
            spec.data.folds = Some(2);
        },
        "pause    => study paused
         join a 2 =>
         join b 2 =>
         unpause  => study running, a trains 0/0#1, b trains 0/1#1, a trains 1/0#1, b trains 1/1#1",
    );
}

#[test]
fn what_does_not_stop_holds_up_no_study() {
    check(
        one_fold(2),
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         stop              => study stopping, trial 0 stopping, a stops 0/0#1
         beats a 29        =>
         beats a 1         => lost 0/0#1, trial 0 cancelled, study ended, a stops 0/0#1",
    );
}

#[test]
fn a_hung_slot_is_remembered_over_a_new_stream_and_free_once_it_has_ended() {
    check(
        one_fold(2),
        "join a 1          => a trains 0/0#1
         epoch a 0/0#1 0.5 => ok
         beats a 30        => lost 0/0#1, a stops 0/0#1
         lost a            =>
         back a 0/0#1      => a stops 0/0#1
         epoch a 0/0#1 0.4 => a stops 0/0#1
         stopped a 0/0#1   => a drops 0/0#1, a trains 0/0#2",
    );
}
