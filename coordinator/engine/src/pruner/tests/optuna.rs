//! Decisions that Optuna took, taken again. With one fold ours are the same; `testdata/optuna_pruners.py` recorded them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::hyperband::shares;
use super::*;

/// Longer than any curve: Optuna knows no last epoch, and has a rung there.
const EPOCHS: u32 = 100;

/// The pruner of a trial: of a Hyperband case there is one a bracket, as Optuna put the trials there.
fn pruners(case: &Value) -> (BTreeMap<u64, Bench>, Vec<u64>) {
    let direction = case["direction"].as_str().expect("direction").parse().expect("a direction");
    let mut section = case["pruner"].clone();
    let Some(brackets) = case["brackets"].as_array() else {
        let bench = Bench::of(study(1, EPOCHS, direction, &toml(&section)));
        return (BTreeMap::from([(0, bench)]), Vec::new());
    };
    let number = |key: &str| section[key].as_u64().expect(key) as u32;
    let expected: Vec<u64> = serde_json::from_value(case["shares"].clone()).expect("shares");
    assert_eq!(
        shares(number("min_resource"), number("max_resource"), number("reduction_factor")),
        expected,
        "{section}"
    );
    section["kind"] = "successive-halving".into();
    section.as_object_mut().expect("a section").remove("max_resource");
    let bench = |rate: u64| {
        let mut section = section.clone();
        section["min_early_stopping_rate"] = rate.into();
        (rate, Bench::of(study(1, EPOCHS, direction, &toml(&section))))
    };
    let brackets = brackets.iter().map(|bracket| bracket.as_u64().expect("a bracket")).collect();
    ((0..expected.len() as u64).map(bench).collect(), brackets)
}

fn toml(section: &Value) -> String {
    let keys = section.as_object().expect("a section").iter();
    let keys: Vec<String> = keys.map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", keys.join(", "))
}

#[test]
fn one_fold_is_judged_as_optuna_does() {
    let recorded = include_str!("../testdata/optuna_pruners.json");
    let recorded: Value = serde_json::from_str(recorded).expect("JSON");
    let mut counts: BTreeMap<(String, bool), u32> = BTreeMap::new();
    for case in recorded["cases"].as_array().expect("cases") {
        let (mut benches, brackets) = pruners(case);
        for (step, event) in case["events"].as_array().expect("events").iter().enumerate() {
            let trial = event[0].as_u64().expect("a trial");
            let bracket = brackets.get(trial as usize).copied().unwrap_or(0);
            let bench = benches.get_mut(&bracket).expect("a bracket");
            let trial = trial as u32;
            let value = match &event[1] {
                Value::String(word) if word == "complete" => {
                    bench.end(trial, 0);
                    continue;
                }
                Value::String(word) => Some(word.parse().expect("nan or inf")),
                number => number.as_f64(),
            };
            let prune = bench.epoch(trial, 0, value).prune().is_some();
            let Some(expected) = event[2].as_bool() else { continue };
            assert_eq!(prune, expected, "event {step}, {event}, of {case}");
            let kind = case["pruner"]["kind"].as_str().expect("a kind").to_owned();
            *counts.entry((kind, prune)).or_default() += 1;
        }
    }
    for kind in ["percentile", "median", "patience", "threshold", "successive-halving", "hyperband"] {
        let count = |prune| counts[&(kind.to_owned(), prune)];
        assert!(count(true) > 100 && count(false) > 400, "{kind}: {counts:?}");
    }
}
