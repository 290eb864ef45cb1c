//! Median, percentile and paired.

use proptest::prelude::*;

use super::*;

/// Peers with one curve each on the only fold, then a trial of its own.
fn check(section: &str, curves: &[&str], own: &str, expected: &str) {
    let mut bench = Bench::new(1, 9, &format!("{{ startup_trials = 0, {section} }}"));
    check_in(&mut bench, curves, own, expected);
}

fn check_in(bench: &mut Bench, curves: &[&str], own: &str, expected: &str) {
    for (number, text) in (0..).zip(curves) {
        bench.whole(number, 0, text);
    }
    let mut last = Verdict::Skipped(Skip::NotDue);
    for value in curve(own) {
        last = bench.epoch(curves.len() as u32, 0, value);
    }
    assert_eq!(show(last), expected, "{curves:?} {own}");
}

const MEDIAN: &str = "kind = \"median\"";

#[test]
fn an_epoch_is_compared_with_the_same_epoch_of_the_peers() {
    let three = &["5 1", "5 2", "5 3"];
    check(MEDIAN, three, "9 3", "3 > 2 of 3");
    check(MEDIAN, three, "9 2", "2 < 2 of 3"); // not strictly worse
    check(MEDIAN, three, "1 9", "1 < 2 of 3"); // the best so far counts
    check(MEDIAN, three, "9 3 3", "few-peers"); // nobody came so far
    check(MEDIAN, three, "9 -", "not-due"); // no report, nothing to judge
    check(MEDIAN, three, "- 3", "3 > 2 of 3");
    check(MEDIAN, three, "", "not-due");
    check(MEDIAN, &[], "9", "few-trials");
    check(MEDIAN, &["1", "2"], "1.6", "1.6 > 1.5 of 2");
    check(MEDIAN, &["1", "-", "4", "NaN"], "3", "3 > 2.5 of 2");
    check(MEDIAN, &["1", "4", "inf"], "5", "no-number"); // numpy takes 4 + 0 * inf for none
    check(MEDIAN, &["1", "4", "5", "inf"], "5", "5 > 4.5 of 4");
    check(MEDIAN, &["1"], "inf", "inf > 1 of 1");
    check(MEDIAN, &["inf", "inf"], "1", "no-number");
}

#[test]
fn a_nan_counts_as_a_report_and_has_no_place() {
    check(MEDIAN, &["1 2"], "NaN", "- > - of 1"); // nothing but NaN
    check(MEDIAN, &["1 2"], "NaN 3", "3 > 2 of 1");
    check(MEDIAN, &["1 2"], "1 NaN", "1 < 2 of 1");
    check(MEDIAN, &["1"], "NaN NaN", "- > - of 0"); // even where no peer came
    check(MEDIAN, &[], "NaN", "few-trials"); // but not without any
    check("kind = \"median\", min_peers = 3", &["1", "2", "NaN"], "3", "3 > 1.5 of 2");
    check("kind = \"median\", interval_epochs = 2", &["1 1 1"], "NaN 3", "not-due");
}

#[test]
fn when_an_epoch_is_judged() {
    let rule = "kind = \"median\", warmup_epochs = 2, interval_epochs = 3";
    let one = &["1 1 1 1 1 1 1"];
    check(rule, one, "2", "not-due");
    check(rule, one, "2 2", "not-due");
    check(rule, one, "2 2 2", "2 > 1 of 1");
    check(rule, one, "2 2 2 2", "not-due");
    check(rule, one, "2 2 - 2", "2 > 1 of 1"); // a missed check is made at the next report
    check(rule, one, "2 2 - 2 2", "not-due");
    check(rule, one, "2 2 2 2 2 2", "2 > 1 of 1");
}

#[test]
fn how_many_peers_it_takes() {
    let startup = |trials: u32| Bench::new(1, 9, &format!("{{ {MEDIAN}, startup_trials = {trials} }}"));
    check_in(&mut startup(2), &["1"], "2", "few-trials");
    check_in(&mut startup(2), &["1", "-"], "2", "2 > 1 of 1"); // counts trials that completed the fold
    check("kind = \"median\", min_peers = 2", &["1", "-"], "2", "few-peers"); // counts reports at the epoch
    check("kind = \"median\", min_peers = 2", &["1", "1"], "2", "2 > 1 of 2");
}

#[test]
fn direction_and_percentile() {
    let four = &["1", "2", "3", "5"];
    check("kind = \"percentile\", percentile = 25", four, "1.8", "1.8 > 1.75 of 4");
    check("kind = \"percentile\", percentile = 25", four, "1.7", "1.7 < 1.75 of 4");
    let maximize = || {
        let section = "{ kind = \"percentile\", percentile = 25, startup_trials = 0 }";
        Bench::of(study(1, 9, Direction::Maximize, section))
    };
    check_in(&mut maximize(), four, "3.4", "3.4 > 3.5 of 4");
    check_in(&mut maximize(), four, "3.5", "3.5 < 3.5 of 4");
}

#[test]
fn folds_are_compared_with_means_over_the_same_folds() {
    let bench = |section: &str| {
        let mut bench = Bench::new(3, 1, section);
        for (trial, fold, value) in
            [(0, 0, "1"), (0, 1, "3"), (0, 2, "9"), (1, 0, "2"), (1, 1, "6"), (2, 0, "3")]
        {
            bench.whole(trial, fold, value);
        }
        bench
    };
    let median = "{ kind = \"median\", startup_trials = 0 }";
    let check = |section: &str, own: &[(u32, &str)], expected: &str| {
        let mut bench = bench(section);
        let mut last = Verdict::Skipped(Skip::NotDue);
        for (fold, value) in own {
            (_, last) = bench.whole(3, *fold, value);
        }
        assert_eq!(show(last), expected, "{section} {own:?}");
    };
    check(median, &[(0, "2.5")], "2.5 > 2 of 3");
    check(median, &[(0, "2")], "2 < 2 of 3");
    check(median, &[(1, "4"), (0, "3")], "3.5 > 3 of 2");
    check(median, &[(0, "0"), (2, "11")], "5.5 > 5 of 1");
    check("{ kind = \"median\", startup_trials = 3 }", &[(0, "9"), (1, "9")], "few-trials");
    check("{ kind = \"median\", startup_trials = 0, min_peers = 3 }", &[(0, "9"), (1, "9")], "few-peers");
    check(median, &[(0, "0"), (1, "0"), (2, "9")], "not-due"); // a complete trial is not judged

    let mut bench = bench(median);
    bench.whole(3, 1, "3");
    bench.whole(3, 0, "3");
    // The set {0, 1} is there by now and has to follow.
    bench.whole(2, 1, "1");
    bench.whole(4, 1, "4");
    assert_eq!(show(bench.whole(4, 0, "3").1), "3.5 > 2.5 of 4");
}

#[test]
fn a_fold_counts_once_and_within_the_study() {
    let mut bench = Bench::new(1, 9, "{ kind = \"median\", startup_trials = 0 }");
    bench.whole(0, 0, "1");
    bench.end(0, 0);
    let beyond = Standing {
        number: TrialNumber(5),
        fold: FoldIndex(1),
        curve: &[Some(9.0)],
        finished: &[(FoldIndex(1), 9.0)],
        judged: false,
    };
    bench.pruner.fold_end(&beyond);
    assert_eq!(show(bench.epoch(1, 0, Some(2.0))), "2 > 1 of 1");
}

#[test]
fn paired_takes_the_finished_folds_along() {
    let bench = |kind: &str| {
        let mut bench = Bench::new(3, 2, &format!("{{ kind = \"{kind}\", startup_trials = 0 }}"));
        for (trial, first, second) in
            [(0, "2 1", "4 3"), (1, "3 2", "5 4"), (2, "4 3", "6 5"), (3, "0 0", "1 1")]
        {
            bench.whole(trial, 0, first);
            if trial < 3 {
                bench.whole(trial, 1, second);
            }
        }
        bench.whole(4, 0, "1.5 1.5");
        bench
    };
    // The value of fold 0 and the best so far of fold 1, against the same of the three who have both.
    let mut paired = bench("paired");
    assert_eq!(show(paired.epoch(4, 1, Some(5.5))), "3.5 < 3.5 of 3");
    assert_eq!(show(paired.epoch(4, 1, Some(9.0))), "3.5 > 3 of 3");
    // The fold alone says the same at other numbers.
    let mut median = bench("median");
    assert_eq!(show(median.epoch(4, 1, Some(5.5))), "5.5 > 5 of 3");
    // On the first fold they are the same, after each fold too.
    for text in ["1.6 1.6", "2.6 2.6", "9 0.5"] {
        let (own, other) = (bench("paired").whole(5, 0, text), bench("median").whole(5, 0, text));
        assert_eq!((show(own.0), show(own.1)), (show(other.0), show(other.1)), "{text}");
    }
    // Folds that finished in another order are another set.
    let mut paired = bench("paired");
    paired.whole(5, 1, "4 4");
    assert_eq!(show(paired.epoch(5, 0, Some(3.5))), "3.75 > 3.5 of 3");
    // Whoever completes a set later is in it.
    paired.whole(3, 1, "1 1");
    assert_eq!(show(paired.epoch(5, 0, Some(3.4))), "3.7 > 2.5 of 4");
}

#[test]
fn the_others_are_those_that_the_numbers_come_from() {
    let mut bench = Bench::new(2, 2, "{ kind = \"paired\", startup_trials = 0 }");
    for (trial, values) in [(0, ["3 2", "3 2"]), (1, ["2 1", "4 1"])] {
        for (fold, text) in (0..).zip(values) {
            bench.whole(trial, fold, text);
        }
    }
    let (_, end) = bench.whole(2, 0, "4 4");
    let others = |bench: &mut Bench, fold, verdict, epoch| match verdict {
        Verdict::Looked(look) => {
            bench.with(2, fold, true, |pruner, trial| pruner.others(trial, &look, epoch))
        }
        Verdict::Skipped(skip) => panic!("{skip}"),
    };
    let of = |values: [f64; 2]| [(TrialNumber(1), Some(values[0])), (TrialNumber(0), Some(values[1]))];
    assert_eq!(others(&mut bench, 0, end, false), of([1.0, 2.0]));
    let look = bench.epoch(2, 1, Some(9.0));
    assert_eq!(show(look), "6.5 > 2.5 of 2");
    let both = [(TrialNumber(0), Some(2.5)), (TrialNumber(1), Some(2.5))];
    assert_eq!(others(&mut bench, 1, look, true), both);
}

proptest! {
    /// The index, built in any order with questions in between, answers as one built at once does.
    #[test]
    fn the_index_follows(
        adds in proptest::collection::vec((0u32..6, 0u32..3, 0.0..10.0f64), 1..30),
        own in proptest::collection::btree_map(0u32..3, 0.0..10.0f64, 1..3),
        kind in proptest::sample::select(vec!["median", "paired"]),
    ) {
        let section = format!("{{ kind = \"{kind}\", startup_trials = 0 }}");
        let spec = study(3, 2, Direction::Minimize, &section);
        let finished: Vec<(FoldIndex, f64)> = own.iter().map(|(fold, value)| (FoldIndex(*fold), *value)).collect();
        let running = (0..3).map(FoldIndex).find(|fold| finished.iter().all(|(other, _)| other != fold)).expect("a fold");
        let mut asked = Pruner::from_spec(&spec);
        let mut seen = std::collections::BTreeMap::new();
        for (trial, fold, value) in &adds {
            let key = (TrialNumber(*trial), FoldIndex(*fold));
            seen.entry(key).or_insert(*value);
            let add = |pruner: &mut Pruner, (number, fold): (TrialNumber, FoldIndex), value: f64| {
                let curve = [Some(value + 1.0), Some(value)];
                let finished = [(fold, value)];
                pruner.fold_end(&Standing { number, fold, curve: &curve, finished: &finished, judged: false });
            };
            add(&mut asked, key, *value);
            let mut fresh = Pruner::from_spec(&spec);
            for (key, value) in seen.iter().rev() {
                add(&mut fresh, *key, *value);
            }
            let number = TrialNumber(99);
            let curve = [Some(5.0), Some(4.0)];
            let epoch = Standing { number, fold: running, curve: &curve, finished: &finished, judged: true };
            prop_assert_eq!(asked.epoch(&epoch), fresh.epoch(&epoch));
            // Judged only: a fold that is not among the finished ones becomes no peer.
            prop_assert_eq!(asked.fold_end(&epoch), fresh.fold_end(&epoch));
        }
    }
}
