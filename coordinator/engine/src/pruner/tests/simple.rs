//! The rules that look at a trial alone, and what holds for all.

use super::*;

/// The verdict on the last epoch of a curve.
fn check(direction: Direction, section: &str, own: &str, expected: &str) {
    let mut bench = Bench::of(study(1, 9, direction, section));
    let mut last = Verdict::Skipped(Skip::NotDue);
    for value in curve(own) {
        last = bench.epoch(0, 0, value);
    }
    assert_eq!(show(last), expected, "{section} {own}");
}

#[test]
fn a_threshold_is_about_the_last_value() {
    let check = |section: &str, own: &str, expected: &str| check(Direction::Maximize, section, own, expected);
    let both = "{ kind = \"threshold\", lower = 1, upper = 3 }";
    check(both, "9 2", "2 < 3 of 0");
    check(both, "1.5", "1.5 < 1 of 0");
    check(both, "1", "1 < 1 of 0");
    check(both, "0.5", "0.5 > 1 of 0");
    check(both, "2 3.5", "3.5 > 3 of 0");
    check(both, "NaN", "- > - of 0");
    check(both, "2 -", "not-due");
    check("{ kind = \"threshold\", lower = 1 }", "99", "99 < 1 of 0");
    check("{ kind = \"threshold\", lower = 1 }", "inf", "inf < 1 of 0");
    check("{ kind = \"threshold\", upper = 1 }", "-99", "-99 < 1 of 0");
    let later = "{ kind = \"threshold\", upper = 1, warmup_epochs = 1, interval_epochs = 2 }";
    check(later, "9", "not-due");
    check(later, "9 9", "9 > 1 of 0");
    check(later, "9 9 9", "not-due");
}

#[test]
fn patience_is_about_the_last_and_all_before() {
    let minimize =
        |section: &str, own: &str, expected: &str| check(Direction::Minimize, section, own, expected);
    let two = "{ kind = \"patience\", patience = 2 }";
    minimize(two, "1 2 3", "not-due"); // it takes more than patience + 1 reports
    minimize(two, "1 2 3 2", "2 > 1 of 0");
    minimize(two, "1 2 3 1", "1 < 1 of 0");
    minimize(two, "1 - 2 NaN 3", "2 > 1 of 0");
    minimize(two, "NaN 1 2 3", "not-due"); // nothing before but NaN
    minimize("{ kind = \"patience\", patience = 0 }", "1 2", "2 > 1 of 0");
    let margin = "{ kind = \"patience\", patience = 1, min_delta = 0.5 }";
    minimize(margin, "1 1.5 2", "1.5 < 1.5 of 0");
    minimize(margin, "1 1.75 2", "1.75 > 1.5 of 0");
    check(Direction::Maximize, margin, "3 2.5 2", "2.5 < 2.5 of 0");
    check(Direction::Maximize, margin, "3 2.25 2", "2.25 > 2.5 of 0");
}

#[test]
fn patience_holds_every_other_rule_back_within_a_fold() {
    let bounds = "{ kind = \"threshold\", upper = 1, patience = 1 }";
    check(Direction::Minimize, bounds, "5 4 3", "improving");
    check(Direction::Minimize, bounds, "5 6 7", "7 > 1 of 0");
    let mut bench = Bench::new(2, 4, "{ kind = \"median\", startup_trials = 1, patience = 1 }");
    bench.whole(0, 0, "1 1 1 1");
    for (value, expected) in [(4.0, "improving"), (3.0, "improving"), (2.0, "improving"), (1.9, "improving")]
    {
        assert_eq!(show(bench.epoch(1, 0, Some(value))), expected);
    }
    // The fold is over: its value is what it is.
    assert_eq!(show(bench.end(1, 0)), "1.9 > 1 of 1");
    for value in [4.0, 5.0] {
        bench.epoch(2, 0, Some(value));
    }
    let decision = bench.epoch(2, 0, Some(5.0)).prune().expect("it does not improve");
    assert_eq!((decision.rule, decision.patience, decision.own), (Rule::Median, Some(1), Some(4.0)));
}

#[test]
fn none_never_looks() {
    let mut bench = Bench::new(2, 4, "{ kind = \"none\" }");
    assert!(bench.pruner.is_none());
    assert_eq!(bench.whole(0, 0, "1 NaN").0, Verdict::Skipped(Skip::NotDue));
    assert_eq!(bench.whole(1, 0, "9 9").1, Verdict::Skipped(Skip::NotDue));
    assert!(!Bench::new(1, 4, "{ kind = \"patience\", patience = 1 }").pruner.is_none());
}

#[test]
fn what_is_not_judged_still_counts() {
    for section in ["{ kind = \"median\", startup_trials = 1 }", "{ kind = \"successive-halving\" }"] {
        let mut bench = Bench::new(2, 4, section);
        bench.whole(0, 0, "1 1 1 1");
        bench.fold(1, 0).curve.push(Some(9.0));
        let verdict = bench.with(1, 0, false, Pruner::epoch);
        assert_eq!(verdict, Verdict::Skipped(Skip::NotDue), "{section}");
    }
}
