//! Successive halving and hyperband.

use super::super::hyperband::{Hyperband, shares};
use super::super::successive_halving::Ladder;
use super::*;

/// Three folds of ten epochs with rungs at 1, 4 and 16: the last is epoch 6 of fold 1.
fn bench(more: &str) -> Bench {
    Bench::new(3, 10, &format!("{{ kind = \"successive-halving\"{more} }}"))
}

/// So many epochs of the same value; the verdicts that were looks, with their rungs.
fn report(bench: &mut Bench, trial: u32, fold: u32, epochs: u32, value: f64) -> Vec<String> {
    (0..epochs).filter_map(|_| at_rung(bench.epoch(trial, fold, Some(value)))).collect()
}

fn at_rung(verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Looked(look) => Some(format!("{}: {}", look.decision.rung.expect("a rung"), show(verdict))),
        Verdict::Skipped(_) => None,
    }
}

#[test]
fn one_ladder_leads_through_all_folds() {
    let mut bench = bench("");
    assert_eq!(report(&mut bench, 0, 0, 10, 5.0), ["0: 5 < 5 of 0", "1: 5 < 5 of 0"]);
    assert_eq!(bench.end(0, 0), Verdict::Skipped(Skip::NotDue));
    assert_eq!(report(&mut bench, 0, 1, 10, 6.0), ["2: 6 < 6 of 0"]);
    bench.end(0, 1);
    // The last fold has no rung.
    assert_eq!(report(&mut bench, 0, 2, 10, 7.0), [""; 0]);
    bench.end(0, 2);

    assert_eq!(report(&mut bench, 1, 0, 1, 6.0), ["0: 6 > 5 of 1"]);
    assert_eq!(report(&mut bench, 2, 0, 10, 5.0), ["0: 5 < 5 of 2", "1: 5 < 5 of 1"]); // ties live on
    bench.end(2, 0);
    // On fold 1 it is compared with what trial 0 had there.
    assert_eq!(report(&mut bench, 2, 1, 6, 6.5), ["2: 6.5 > 6 of 1"]);
}

#[test]
fn one_in_so_many_lives_on() {
    let mut bench = bench(", reduction_factor = 2");
    let mut first = |trial, value| report(&mut bench, trial, 0, 1, value).concat();
    assert_eq!(first(0, 4.0), "0: 4 < 4 of 0");
    assert_eq!(first(1, 3.0), "0: 3 < 3 of 1");
    assert_eq!(first(2, 2.0), "0: 2 < 2 of 2");
    assert_eq!(first(3, 3.5), "0: 3.5 > 3 of 3"); // two of four
    assert_eq!(first(4, 3.0), "0: 3 < 3 of 4");
}

#[test]
fn the_first_ones_fill_a_rung() {
    let mut bench = bench(", bootstrap_trials = 2");
    for trial in 0..2 {
        assert_eq!(report(&mut bench, trial, 0, 1, 1.0), [format!("0: 1 > - of {trial}")]);
    }
    assert_eq!(report(&mut bench, 2, 0, 1, 1.0), ["0: 1 < 1 of 2"]);
}

#[test]
fn a_fold_that_runs_ahead_waits_for_those_before() {
    let mut bench = bench("");
    report(&mut bench, 0, 0, 10, 5.0);
    bench.end(0, 0);
    report(&mut bench, 0, 1, 10, 5.0);
    assert_eq!(report(&mut bench, 1, 1, 7, 9.0), [""; 0]);
    assert_eq!(report(&mut bench, 1, 0, 3, 4.0), ["0: 4 < 4 of 1"]);
    // At rung 1 it is looked at there and at once at rung 2, with the value it had at epoch 6 of fold 1.
    assert_eq!(report(&mut bench, 1, 0, 1, 4.0), ["2: 9 > 5 of 1"]);
}

#[test]
fn a_fold_that_ends_early_competes_with_its_last_value() {
    let mut bench = bench("");
    report(&mut bench, 0, 0, 2, 5.0);
    let end = bench.end(0, 0);
    assert_eq!(at_rung(end).as_deref(), Some("1: 5 < 5 of 0"));
    assert_eq!(report(&mut bench, 1, 0, 4, 5.0), ["0: 5 < 5 of 1", "1: 5 < 5 of 1"]);
    // After its last fold a trial is complete, and nobody is compared with what it did not train.
    let mut one = Bench::new(1, 10, "{ kind = \"successive-halving\" }");
    report(&mut one, 0, 0, 2, 1.0);
    assert_eq!(one.end(0, 0), Verdict::Skipped(Skip::NotDue));
    assert_eq!(report(&mut one, 1, 0, 4, 1.0), ["0: 1 < 1 of 1", "1: 1 < 1 of 0"]);
}

#[test]
fn a_fold_that_starts_again_climbs_again() {
    let mut bench = bench("");
    report(&mut bench, 0, 0, 4, 1.0);
    bench.start(0, 0);
    assert_eq!(report(&mut bench, 1, 0, 4, 2.0), ["0: 2 < 2 of 0", "1: 2 < 2 of 0"]);
    assert_eq!(report(&mut bench, 0, 0, 4, 3.0), ["0: 3 > 2 of 1"]);
    // What a fold ahead of it has to show is still there.
    report(&mut bench, 2, 0, 10, 1.0);
    bench.end(2, 0);
    report(&mut bench, 3, 1, 6, 7.0);
    report(&mut bench, 3, 0, 4, 1.0);
    bench.start(3, 0);
    assert_eq!(report(&mut bench, 2, 1, 6, 8.0), ["2: 8 < 8 of 0"]);
    assert_eq!(report(&mut bench, 3, 0, 4, 1.0), ["0: 1 < 1 of 3", "2: 7 < 7 of 1"]);
}

#[test]
fn a_nan_at_a_rung_stops_and_is_nobodys_rival() {
    let mut bench = bench("");
    let decision = bench.epoch(0, 0, Some(f64::NAN)).prune().expect("NaN");
    assert_eq!((decision.own, decision.peers), (None, 0));
    bench.epoch(0, 0, Some(1.0));
    assert_eq!(report(&mut bench, 1, 0, 1, 9.0), ["0: 9 < 9 of 0"]);
}

#[test]
fn whoever_is_pruned_climbs_no_more() {
    let mut bench = bench("");
    report(&mut bench, 0, 0, 10, 1.0);
    assert_eq!(report(&mut bench, 1, 0, 1, 2.0), ["0: 2 > 1 of 1"]);
    assert_eq!(report(&mut bench, 1, 0, 9, 2.0), [""; 0]);
    assert_eq!(report(&mut bench, 2, 0, 4, 1.0), ["0: 1 < 1 of 2", "1: 1 < 1 of 1"]);
}

#[test]
fn patience_puts_a_rung_off() {
    let mut bench = bench(", patience = 1");
    report(&mut bench, 0, 0, 10, 1.0);
    // It is past the first two rungs after four epochs, but improves until the sixth.
    let values = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 4.5];
    let looks: Vec<String> = values.into_iter().map(|value| show(bench.epoch(1, 0, Some(value)))).collect();
    assert!(looks.iter().all(|look| look == "improving"), "{looks:?}");
    // Trial 0 never got worse, so nobody else came to a rung.
    let verdict = bench.epoch(1, 0, Some(5.0));
    assert_eq!(at_rung(verdict).as_deref(), Some("1: 5 < 5 of 0"));
    assert_eq!(at_rung(bench.end(0, 0)).as_deref(), Some("1: 1 < 1 of 1"));
}

#[test]
fn where_the_rungs_are() {
    let places = |folds, epochs, section: &str| {
        let mut bench = Bench::new(folds, epochs, section);
        let mut places = Vec::new();
        for fold in 0..folds {
            for epoch in 1..=epochs {
                if at_rung(bench.epoch(0, fold, Some(1.0))).is_some() {
                    places.push((fold, epoch));
                }
            }
            bench.end(0, fold);
        }
        places
    };
    assert_eq!(places(3, 10, "{ kind = \"successive-halving\" }"), [(0, 1), (0, 4), (1, 6)]);
    let two = "{ kind = \"successive-halving\", min_resource = 5, reduction_factor = 2 }";
    assert_eq!(places(4, 10, two), [(0, 5), (0, 10), (1, 10)]); // none at 40, the end
    assert_eq!(places(1, 20, two), [(0, 5), (0, 10)]);
    let late = "{ kind = \"successive-halving\", min_early_stopping_rate = 2 }";
    assert_eq!(places(3, 10, late), [(1, 6)]);
}

#[test]
fn brackets_differ_in_their_first_rung() {
    let section = "{ kind = \"hyperband\" }";
    let mut bench = Bench::new(3, 9, section);
    // 1, 3, 9 and 27 are within 27 epochs: brackets 0 to 3, the last of which has its rung at the end.
    assert_eq!(shares(1, 27, 3), [27, 12, 6, 4]);
    let ladder = Ladder {
        rule: Rule::Hyperband,
        bracket: None,
        epochs: 9,
        whole: 27,
        min_resource: 1,
        factor: 3,
        rate: 0,
        bootstrap: 0,
        direction: Direction::Minimize,
    };
    let brackets = Hyperband::new(ladder, 27, 7);
    let mut counts = [0; 4];
    for trial in 0..400 {
        let bracket = brackets.bracket(TrialNumber(trial));
        counts[bracket] += 1;
        let first = (1..=9).find(|_| at_rung(bench.epoch(trial, 0, Some(1.0))).is_some());
        assert_eq!(first, [Some(1), Some(3), Some(9), None][bracket], "trial {trial}");
        bench.end(trial, 0);
    }
    // In shares of 27, 12, 6 and 4: the draws are pinned.
    assert_eq!(counts, [225, 84, 50, 41]);
}
