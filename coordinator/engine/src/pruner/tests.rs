use serde_json::Value;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::spec;
use foldwise_shared::state::Direction;
use proptest::prelude::*;

use super::*;

const RULE: Percentile = Percentile {
    percentile: 50.0,
    startup_trials: 0,
    warmup_epochs: 0,
    interval_epochs: 1,
    min_peers: 1,
    direction: Direction::Minimize,
};

/// A curve as `"3 - 2.5"`: `-` is an epoch without a value.
fn curve(text: &str) -> Vec<Option<f64>> {
    text.split_whitespace().map(|word| (word != "-").then(|| word.parse().expect(word))).collect()
}

/// Peers with one curve each on fold 0.
fn peers(curves: &[&str]) -> Peers {
    let mut peers = Peers::new(1);
    for (number, text) in curves.iter().enumerate() {
        peers.add_fold(TrialNumber(number as u32), FoldIndex(0), &curve(text), 1.0);
    }
    peers
}

/// Own number, threshold and number of peers of the decision, `"lives"` without one.
fn show(decision: Option<Decision>) -> String {
    decision.map_or("lives".into(), |d| format!("{} > {} of {}", d.own, d.threshold, d.peers))
}

fn check(rule: &Percentile, curves: &[&str], own: &str, expected: &str) {
    let decision = Pruner::Percentile(rule.clone()).judge_epoch(&peers(curves), FoldIndex(0), &curve(own));
    assert!(decision.as_ref().is_none_or(|decision| decision.rule == "median"));
    assert_eq!(show(decision), expected, "{rule:?} {curves:?} {own}");
}

#[test]
fn an_epoch_is_compared_with_the_same_epoch_of_the_peers() {
    let three = &["5 1", "5 2", "5 3"];
    check(&RULE, three, "9 3", "3 > 2 of 3");
    check(&RULE, three, "9 2", "lives"); // not strictly worse
    check(&RULE, three, "1 9", "lives"); // the best so far counts
    check(&RULE, three, "9 3 3", "lives"); // nobody came so far
    check(&RULE, three, "9 -", "lives"); // no value, nothing to judge
    check(&RULE, three, "- 3", "3 > 2 of 3");
    check(&RULE, three, "", "lives");
    check(&RULE, &[], "9", "lives");
    check(&RULE, &["1", "2"], "1.6", "1.6 > 1.5 of 2");
    check(&RULE, &["1", "-", "4", "inf", "NaN"], "3", "3 > 2.5 of 2");
    check(&RULE, &["1", "2", "3"], "NaN", "lives");
    check(&RULE, &["1"], "inf", "lives");
}

#[test]
fn when_an_epoch_is_judged() {
    let one = &["1 1 1 1 1 1 1"];
    let rule = Percentile { warmup_epochs: 2, interval_epochs: 3, ..RULE };
    check(&rule, one, "2", "lives");
    check(&rule, one, "2 2", "lives");
    check(&rule, one, "2 2 2", "2 > 1 of 1");
    check(&rule, one, "2 2 2 2", "lives");
    check(&rule, one, "2 2 - 2", "2 > 1 of 1"); // a missed check is made at the next value
    check(&rule, one, "2 2 - 2 2", "lives");
    check(&rule, one, "2 2 2 2 2 2", "2 > 1 of 1");
    check(&Percentile { interval_epochs: 0, ..RULE }, one, "2 2", "2 > 1 of 1");
}

#[test]
fn how_many_peers_it_takes() {
    let startup = Percentile { startup_trials: 2, ..RULE };
    check(&startup, &["1"], "2", "lives");
    check(&startup, &["1", "-"], "2", "2 > 1 of 1"); // counts trials that completed the fold
    let least = Percentile { min_peers: 2, ..RULE };
    check(&least, &["1", "-"], "2", "lives"); // counts values at the epoch
    check(&least, &["1", "1"], "2", "2 > 1 of 2");
}

#[test]
fn direction_and_percentile() {
    let four = &["1", "2", "3", "5"];
    check(&Percentile { percentile: 25.0, ..RULE }, four, "1.8", "1.8 > 1.75 of 4");
    check(&Percentile { percentile: 100.0, ..RULE }, four, "5.5", "5.5 > 5 of 4");
    check(&Percentile { percentile: 0.0, ..RULE }, four, "1.5", "1.5 > 1 of 4");
    let maximize = Percentile { percentile: 25.0, direction: Direction::Maximize, ..RULE };
    let decision =
        Pruner::Percentile(maximize.clone()).judge_epoch(&peers(four), FoldIndex(0), &curve("3.4"));
    let decision = decision.expect("the threshold is 3.5");
    assert_eq!((decision.threshold, decision.percentile), (3.5, 75.0));
    check(&maximize, four, "3.5", "lives");
}

fn folds(values: &[(u32, f64)]) -> Vec<(FoldIndex, f64)> {
    values.iter().map(|(fold, value)| (FoldIndex(*fold), *value)).collect()
}

#[test]
fn folds_are_compared_with_means_over_the_same_folds() {
    let mut peers = Peers::new(3);
    let add = |peers: &mut Peers, trial, values: &[(u32, f64)]| {
        for (fold, value) in folds(values) {
            peers.add_fold(TrialNumber(trial), fold, &[], value);
        }
    };
    let judge = |peers: &mut Peers, rule: Percentile, own: &[(u32, f64)]| {
        show(Pruner::Percentile(rule).judge_folds(peers, &folds(own)))
    };
    add(&mut peers, 0, &[(0, 1.0), (1, 3.0), (2, 9.0)]);
    add(&mut peers, 1, &[(0, 2.0), (1, 6.0)]);
    add(&mut peers, 2, &[(0, 3.0)]);
    assert_eq!(judge(&mut peers, RULE, &[(0, 2.5)]), "2.5 > 2 of 3");
    assert_eq!(judge(&mut peers, RULE, &[(0, 2.0)]), "lives");
    assert_eq!(judge(&mut peers, RULE, &[(1, 4.0), (0, 3.0)]), "3.5 > 3 of 2");
    assert_eq!(judge(&mut peers, RULE, &[(0, 0.0), (2, 11.0)]), "5.5 > 5 of 1");
    assert_eq!(judge(&mut peers, RULE, &[]), "lives");
    assert_eq!(judge(&mut peers, RULE, &[(7, 1.0)]), "lives");
    assert_eq!(judge(&mut peers, Percentile { startup_trials: 3, ..RULE }, &[(0, 9.0), (1, 9.0)]), "lives");
    assert_eq!(judge(&mut peers, Percentile { min_peers: 3, ..RULE }, &[(0, 9.0), (1, 9.0)]), "lives");
    // The set {0, 1} is there by now and has to follow.
    add(&mut peers, 2, &[(1, 1.0)]);
    assert_eq!(judge(&mut peers, RULE, &[(0, 3.0), (1, 4.0)]), "3.5 > 2 of 3");
    let maximize = Percentile { direction: Direction::Maximize, ..RULE };
    assert_eq!(judge(&mut peers, maximize.clone(), &[(0, 1.0), (1, 2.0)]), "1.5 > 2 of 3");
    assert_eq!(judge(&mut peers, maximize, &[(0, 3.0), (1, 4.0)]), "lives");
}

#[test]
fn a_fold_is_added_once_and_within_the_study() {
    let mut peers = peers(&["1", "2"]);
    let before = format!("{peers:?}");
    peers.add_fold(TrialNumber(1), FoldIndex(0), &curve("7 7"), 7.0);
    peers.add_fold(TrialNumber(1), FoldIndex(1), &curve("7 7"), 7.0);
    assert_eq!(format!("{peers:?}"), before);
}

#[test]
fn from_a_study_file() {
    let text = "version = 1\nstudy = { name = \"s\", direction = \"maximize\" }\ndata = { dataset = \"mnist\", folds = 3 }\n\
                model = { network = \"lab\", latent_dim = 4 }\ntrain = { epochs = 9 }\nbudget = { trials = 3 }\n";
    let parse = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Pruner::from_spec(&spec::parse(text, &sets).expect("a study file"))
    };
    assert_eq!(parse(&[]), Pruner::None);
    let maximize = Percentile { direction: Direction::Maximize, ..RULE };
    assert_eq!(
        parse(&["pruner.kind=median"]),
        Pruner::Percentile(Percentile { startup_trials: 5, ..maximize.clone() })
    );
    assert_eq!(
        parse(&[
            "pruner={ kind = \"median\", startup_trials = 2, warmup_epochs = 3, interval_epochs = 4, min_peers = 6 }"
        ]),
        Pruner::Percentile(Percentile {
            startup_trials: 2,
            warmup_epochs: 3,
            interval_epochs: 4,
            min_peers: 6,
            ..maximize
        })
    );
    assert_eq!(Pruner::None.judge_epoch(&peers(&["1"]), FoldIndex(0), &[Some(9.0)]), None);
}

/// With one fold the decisions are exactly those of Optuna; `testdata/optuna_median.py` recorded them.
#[test]
fn one_fold_is_judged_as_optuna_does() {
    let recorded: Value = serde_json::from_str(include_str!("testdata/optuna_median.json")).expect("JSON");
    let number = |case: &Value, key: &str| case[key].as_u64().expect(key) as u32;
    let curve = |values: &Value| -> Vec<Option<f64>> {
        values.as_array().expect("a curve").iter().map(Value::as_f64).collect()
    };
    let (mut pruned, mut lived) = (0, 0);
    for case in recorded["cases"].as_array().expect("cases") {
        let pruner = Pruner::Percentile(Percentile {
            percentile: case["percentile"].as_f64().expect("percentile"),
            startup_trials: number(case, "startup_trials"),
            warmup_epochs: number(case, "warmup_epochs"),
            interval_epochs: number(case, "interval_epochs"),
            min_peers: number(case, "min_peers"),
            direction: case["direction"].as_str().expect("direction").parse().expect("a direction"),
        });
        let mut peers = Peers::new(1);
        for (trial, values) in case["peers"].as_array().expect("peers").iter().enumerate() {
            peers.add_fold(TrialNumber(trial as u32), FoldIndex(0), &curve(values), 1.0);
        }
        let own = curve(&case["own"]);
        for (step, expected) in case["prune"].as_array().expect("decisions").iter().enumerate() {
            let decision = pruner.judge_epoch(&peers, FoldIndex(0), &own[..=step]);
            match expected.as_bool() {
                None => assert_eq!(decision, None, "nothing to judge at step {step} of {case}"),
                Some(expected) => {
                    assert_eq!(decision.is_some(), expected, "step {step} of {case}");
                    *(if expected { &mut pruned } else { &mut lived }) += 1;
                }
            }
        }
    }
    assert!(pruned > 200 && lived > 1000, "{pruned} pruned and {lived} lived");
}

proptest! {
    /// The index, built in any order with questions in between, answers as one built at once does.
    #[test]
    fn the_index_follows(
        adds in proptest::collection::vec((0u32..6, 0u32..3, 0.0..10.0f64), 1..30),
        own in proptest::collection::btree_map(0u32..3, 0.0..10.0f64, 1..3),
    ) {
        let own = folds(&own.into_iter().collect::<Vec<_>>());
        let pruner = Pruner::Percentile(RULE);
        let mut asked = Peers::new(3);
        let mut seen = std::collections::BTreeMap::new();
        for (trial, fold, value) in &adds {
            asked.add_fold(TrialNumber(*trial), FoldIndex(*fold), &[Some(*value)], *value);
            seen.entry((*trial, *fold)).or_insert(*value);
            let mut fresh = Peers::new(3);
            for ((trial, fold), value) in seen.iter().rev() {
                fresh.add_fold(TrialNumber(*trial), FoldIndex(*fold), &[Some(*value)], *value);
            }
            prop_assert_eq!(pruner.judge_folds(&mut asked, &own), pruner.judge_folds(&mut fresh, &own));
            let (fold, value) = own[0];
            let curve = [Some(value)];
            prop_assert_eq!(pruner.judge_epoch(&asked, fold, &curve), pruner.judge_epoch(&fresh, fold, &curve));
        }
    }
}
