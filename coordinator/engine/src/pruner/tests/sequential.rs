//! The sequential test, and how often it is wrong.

use foldwise_shared::seed::{Stream, rng};
use rand_distr::{Distribution, StandardNormal};

use super::*;

fn bench(more: &str) -> Bench {
    Bench::new(3, 1, &format!("{{ kind = \"sequential\", startup_trials = 2{more} }}"))
}

/// Two complete trials: residuals of +-0.05 on two folds, with two degrees of freedom.
fn two(bench: &mut Bench) {
    for (trial, values) in [(0, ["1", "2", "3.2"]), (1, ["2.1", "2.9", "4.1"])] {
        for (fold, value) in (0..).zip(values) {
            bench.whole(trial, fold, value);
        }
    }
}

#[test]
fn a_trial_is_compared_on_its_folds_with_the_best_on_the_others() {
    let mut bench = bench("");
    two(&mut bench);
    let Verdict::Looked(look) = bench.whole(2, 0, "1.5").1 else { panic!("no look") };
    let decision = look.decision;
    assert_eq!(decision.against, Some(TrialNumber(0)));
    assert_eq!((decision.peers, decision.degrees, decision.own), (2, Some(2), Some(1.5)));
    // Above the trial's mean: -16/15, -1/15, 17/15 and -14/15, -2/15, 16/15. The spread within a fold has squares of
    // (2/15)^2/2, (1/15)^2/2 and (1/15)^2/2, which are 6/450 in all, 1/150 for each degree of freedom.
    let error = decision.standard_error.expect("an error");
    assert!((error - libm::sqrt(2.0 / 150.0)).abs() < 1e-12, "{error}");
    // The 1 - 0.05/3 quantile of t with 2 degrees of freedom.
    assert_eq!(decision.alpha, Some(0.05 / 3.0));
    let threshold = decision.threshold.expect("a threshold");
    assert!((threshold - (1.0 + 5.339_332_783_8 * error)).abs() < 1e-6, "{threshold}");
    assert!(!look.prune);

    let second = bench.whole(2, 1, "9").1.prune().expect("far worse");
    assert_eq!((second.own, second.against), (Some(5.25), Some(TrialNumber(0))));
    // A trial that has finished the last fold is compared with who is best on the first two.
    bench.whole(3, 2, "3");
    assert!(bench.with(3, 2, true, Pruner::fold_end).prune().is_none());
}

#[test]
fn it_waits_for_complete_trials_and_for_a_spread() {
    let mut bench = bench("");
    bench.whole(0, 0, "1");
    assert_eq!(show(bench.whole(1, 0, "9").1), "few-trials");
    let mut alike = self::bench("");
    for trial in 0..2 {
        for fold in 0..3 {
            alike.whole(trial, fold, "1");
        }
    }
    assert_eq!(show(alike.whole(2, 0, "9").1), "no-number");
    assert_eq!(alike.epoch(3, 0, Some(99.0)), Verdict::Skipped(Skip::NotDue));
    let mut three = Bench::new(3, 1, "{ kind = \"sequential\", startup_trials = 3 }");
    two(&mut three);
    assert_eq!(show(three.whole(2, 0, "99").1), "few-trials");
}

#[test]
fn more_is_better_the_other_way_round() {
    let section = "{ kind = \"sequential\", startup_trials = 2 }";
    let mut bench = Bench::of(study(3, 1, Direction::Maximize, section));
    two(&mut bench);
    let decision = bench.whole(2, 0, "-5").1.prune().expect("far worse");
    assert_eq!(decision.against, Some(TrialNumber(1)));
    assert!(bench.whole(3, 0, "9").1.prune().is_none());
}

/// What the complete trials are worth.
#[derive(Debug, Clone, Copy)]
enum Worth {
    /// All the same: the best is the luckiest.
    Equal,
    /// Half are the same, the others far worse.
    Two,
    /// One is far better than all others: the best is known beforehand.
    One,
}

/// The shares of trials, worth `worse` standard deviations of the noise less than the best, that are stopped: by the rule, and
/// by a test against whoever is best on all folds, which takes no account of how that one was chosen.
fn stopped(worth: Worth, complete: u32, folds: u32, worse: f64, runs: u32) -> (f64, f64) {
    let mut rng = rng(1, Stream::Suggest(complete * 1_000 + folds));
    let mut noise = move || -> f64 { StandardNormal.sample(&mut rng) };
    let (mut stops, mut naive_stops) = (0, 0);
    for _ in 0..runs {
        let mut rule = super::super::sequential::Sequential::new(0.05, 2, folds, Direction::Minimize);
        let mut values = Vec::new();
        for number in 0..complete {
            let level = match worth {
                Worth::Two if number % 2 == 1 => 20.0,
                Worth::One if number > 0 => 20.0,
                _ => 0.0,
            };
            let own: Vec<(FoldIndex, f64)> =
                (0..folds).map(|fold| (FoldIndex(fold), level + 3.0 * f64::from(fold) + noise())).collect();
            let number = TrialNumber(number);
            let last =
                Standing { number, fold: FoldIndex(folds - 1), curve: &[], finished: &own, judged: false };
            rule.fold_end(&last);
            values.push(own);
        }
        let mean =
            |own: &[(FoldIndex, f64)]| own.iter().map(|(_, value)| value).sum::<f64>() / own.len() as f64;
        let best = values.iter().min_by(|a, b| mean(a).total_cmp(&mean(b))).expect("complete trials");
        let (mut finished, mut stop, mut naive) = (Vec::new(), false, false);
        for fold in 0..folds - 1 {
            finished.push((FoldIndex(fold), 3.0 * f64::from(fold) + worse + noise()));
            let trial = Standing {
                number: TrialNumber(complete),
                fold: FoldIndex(fold),
                curve: &[],
                finished: &finished,
                judged: true,
            };
            let Verdict::Looked(look) = rule.fold_end(&trial) else { panic!("no look") };
            stop |= look.prune;
            let decision = look.decision;
            let alpha = 0.05 / f64::from(folds - 1);
            let quantile = student::quantile(1.0 - alpha, decision.degrees.expect("degrees"));
            let margin = quantile * decision.standard_error.expect("an error");
            naive |= mean(&finished) > mean(&best[..finished.len()]) + margin;
        }
        stops += u32::from(stop);
        naive_stops += u32::from(naive);
    }
    (f64::from(stops) / f64::from(runs), f64::from(naive_stops) / f64::from(runs))
}

/// Prints the rates of the decision record: `cargo test -p foldwise-engine --release -- --ignored --nocapture rates`.
#[test]
#[ignore = "prints a table; the next test checks it"]
fn rates() {
    for (complete, folds) in [(5, 2), (5, 3), (10, 3), (10, 5), (30, 3), (30, 5), (100, 5), (30, 10)] {
        let rate = |worth, worse| stopped(worth, complete, folds, worse, 20_000);
        let (one, equal, two) = (rate(Worth::One, 0.0), rate(Worth::Equal, 0.0), rate(Worth::Two, 0.0));
        let power = rate(Worth::Two, 3.0);
        eprintln!(
            "| {complete} | {folds} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.2} |",
            one.0, equal.1, equal.0, two.1, two.0, power.0
        );
    }
}

#[test]
fn a_trial_as_good_as_the_best_is_rarely_stopped() {
    const RUNS: u32 = 3_000;
    // Three standard errors of a share of 0.05 in so many runs.
    let margin = 3.0 * libm::sqrt(0.05 * 0.95 / f64::from(RUNS));
    for (complete, folds) in [(5, 2), (5, 3), (10, 5), (30, 3)] {
        for worth in [Worth::One, Worth::Equal, Worth::Two] {
            let (rate, naive) = stopped(worth, complete, folds, 0.0, RUNS);
            assert!(rate < 0.05 + margin, "{worth:?}, {complete} trials, {folds} folds: {rate}");
            // So the choice of the best is what it takes account of.
            let lucky = complete >= 10 && !matches!(worth, Worth::One);
            assert!(!lucky || naive > 0.05 + margin, "{worth:?}, {complete} trials, {folds} folds: {naive}");
        }
    }
}

#[test]
fn a_worse_trial_is_mostly_stopped() {
    let (rate, _) = stopped(Worth::Two, 10, 5, 3.0, 500);
    assert!(rate > 0.9, "{rate}");
    let (rate, _) = stopped(Worth::Equal, 30, 3, 4.0, 500);
    assert!(rate > 0.9, "{rate}");
}
