mod learning;

use std::collections::{BTreeMap, BTreeSet};

use foldwise_shared::space::{Param, Space};
use foldwise_shared::spec;
use foldwise_shared::value::ParamValue;
use proptest::prelude::*;

use super::*;

/// A study with this space, written as TOML.
fn study(kind: SamplerKind, points: Option<u32>, space: &str) -> StudySpec {
    let text = "version = 1\nstudy = { name = \"s\", seed = 7 }\ndata = { dataset = \"mnist\", folds = 3 }\n\
                model = { network = \"lab\", latent_dim = 4 }\ntrain = { epochs = 9 }\nbudget = { trials = 3 }\n";
    let mut spec = spec::parse(text, &[]).expect("a study file");
    spec.sampler.kind = kind;
    spec.sampler.points = points;
    let json: BTreeMap<String, serde_json::Value> = space
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, domain)| (name.trim().to_owned(), serde_json::from_str(domain).expect(domain)))
        .collect();
    spec.space = serde_json::from_value(serde_json::to_value(json).expect("JSON")).expect("a space");
    spec
}

fn random(space: &str) -> StudySpec {
    study(SamplerKind::Random, None, space)
}

fn grid(points: u32, space: &str) -> StudySpec {
    study(SamplerKind::Grid, Some(points), space)
}

/// What a sampler that learns nothing gives.
fn give(spec: &StudySpec, number: u32) -> Option<Suggestion> {
    let mut history = History::new(&spec.space, spec.study.direction);
    suggest(spec, &mut history, &[], TrialNumber(number)).filter(|_| has_more(spec, TrialNumber(number)))
}

/// The values in the order of their names, floats with every digit.
fn show(suggestion: Option<Suggestion>) -> String {
    let Some(Suggestion { params, .. }) = suggestion else { return "done".into() };
    params.values().map(|value| value.to_json().to_string()).collect::<Vec<_>>().join(" ")
}

const EVERY_KIND: &str = r#"
    a: {"float": [-1.0, 3.0]}
    b: {"float": [1e-5, 0.1], "log": true}
    c: {"float": [0.0, 0.5], "step": 0.1}
    d: {"int": [1, 6]}
    e: {"int": [1, 1000], "log": true}
    f: {"int": [128, 256], "step": 8}
    g: {"choice": ["adam", 3, [1, 2]]}
    h: {"bool": true}
    i: {"fixed": "x"}"#;

/// Stored studies depend on these bits: a change here is a new version of the random sampler.
#[test]
fn random_streams_are_pinned() {
    for (number, values) in GOLDEN {
        assert_eq!(show(give(&random(EVERY_KIND), number)), values, "trial {number}");
    }
}

const GOLDEN: [(u32, &str); 3] = [
    (0, "-0.2827100370367769 0.000043091487066240934 0.30000000000000004 4 1 152 3 false \"x\""),
    (1, "1.699485840193153 0.000010477905304137331 0.0 2 1 192 [1,2] true \"x\""),
    (1_000_000, "-0.1830034873239581 0.000037441459850788934 0.1 4 1 216 \"adam\" true \"x\""),
];

#[test]
fn origins_tell_fixed_from_sampled() {
    let suggestion = give(&random(EVERY_KIND), 0).expect("params");
    assert_eq!(suggestion.params.keys().collect::<Vec<_>>(), suggestion.origins.keys().collect::<Vec<_>>());
    for (name, origin) in suggestion.origins {
        assert_eq!(origin, if name == "i" { Origin::Fixed } else { Origin::Sampled }, "{name}");
    }
    assert_eq!(suggestion.params["i"], ParamValue::Text("x".into()));
}

#[test]
fn a_draw_stays_when_others_change() {
    let draw = |space: &str| give(&random(space), 3).expect("params").params["m"].clone();
    let alone = draw(r#"m: {"float": [0.0, 1.0]}"#);
    for other in [r#"{"fixed": 1}"#, r#"{"bool": true}"#, r#"{"float": [0.0, 1.0]}"#] {
        assert_eq!(draw(&format!("a: {other}\nm: {{\"float\": [0.0, 1.0]}}\nz: {other}")), alone, "{other}");
    }
    let twins = give(&random("a: {\"float\": [0.0, 1.0]}\nb: {\"float\": [0.0, 1.0]}"), 3);
    let twins = twins.expect("params").params;
    assert_ne!(twins["a"], twins["b"]);
}

/// Draws of `domain` fall into `cells` equally; `cell` says where one falls. A chi-square test at about 1 in 10^4.
fn check_uniform(domain: &str, cells: usize, cell: impl Fn(&ParamValue) -> usize) {
    const DRAWS: u32 = 8_000;
    let spec = random(&format!("p: {domain}"));
    let mut counts = vec![0u32; cells];
    for number in 0..DRAWS {
        let suggestion = give(&spec, number).expect("params");
        counts[cell(&suggestion.params["p"])] += 1;
    }
    let expected = f64::from(DRAWS) / cells as f64;
    let chi_square: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    let freedom = (cells - 1) as f64;
    assert!(chi_square < freedom + 4.0 * (2.0 * freedom).sqrt() + 6.0, "{domain}: {chi_square} {counts:?}");
}

#[test]
fn random_is_uniform() {
    let number = |value: &ParamValue| value.as_f64().expect("a number");
    check_uniform(r#"{"float": [-1.0, 3.0]}"#, 20, |value| ((number(value) + 1.0) * 5.0) as usize);
    check_uniform(r#"{"float": [1e-4, 1.0], "log": true}"#, 20, |value| {
        ((libm::log10(number(value)) + 4.0) * 5.0) as usize
    });
    check_uniform(r#"{"float": [0.0, 0.95], "step": 0.1}"#, 10, |value| {
        libm::round(number(value) * 10.0) as usize
    });
    check_uniform(r#"{"int": [3, 22]}"#, 20, |value| number(value) as usize - 3);
    check_uniform(r#"{"int": [0, 10], "step": 4}"#, 3, |value| number(value) as usize / 4);
    check_uniform(r#"{"choice": [0, 1, 2, 3]}"#, 4, |value| number(value) as usize);
    check_uniform(r#"{"bool": true}"#, 2, |value| usize::from(*value == ParamValue::Bool(true)));
    // From 0.5 to 40.5 every factor of 3 weighs alike.
    check_uniform(r#"{"int": [1, 40], "log": true}"#, 4, |value| {
        [1, 4, 13].iter().filter(|end| number(value) > f64::from(**end)).count()
    });
}

fn check_grid(spec: &StudySpec, expected: &[&str]) {
    let all: Vec<String> = (0..=expected.len()).map(|number| show(give(spec, number as u32))).collect();
    let (last, all) = all.split_last().expect("one more than expected");
    assert_eq!(all, expected);
    assert_eq!(last, "done");
    assert_eq!(grid_len(spec), expected.len() as u64);
}

#[test]
fn grids() {
    check_grid(
        &grid(3, "b: {\"bool\": true}\na: {\"float\": [0.0, 1.0]}\nf: {\"fixed\": 9}"),
        &["0.0 false 9", "0.0 true 9", "0.5 false 9", "0.5 true 9", "1.0 false 9", "1.0 true 9"],
    );
    check_grid(&grid(1, "a: {\"float\": [0.25, 1.0]}"), &["0.25"]);
    check_grid(&grid(5, "a: {\"float\": [0.25, 0.25]}"), &["0.25"]);
    check_grid(&grid(5, "a: {\"int\": [1, 10], \"step\": 4}"), &["1", "5", "9"]);
    check_grid(&grid(5, "a: {\"int\": [1, 10000], \"log\": true}"), &["1", "10", "100", "1000", "10000"]);
    check_grid(&grid(5, "a: {\"int\": [1, 6], \"log\": true}"), &["1", "2", "3", "4", "6"]);
    check_grid(&grid(9, "a: {\"int\": [2, 5], \"log\": true}"), &["2", "3", "4", "5"]);
    check_grid(&grid(2, "a: {\"choice\": [\"u\", 1]}"), &["\"u\"", "1"]);
    check_grid(&grid(5, ""), &[""]);
}

#[test]
fn a_grid_on_a_logarithmic_scale_has_equal_ratios() {
    let spec = grid(4, "a: {\"float\": [1e-4, 1e-1], \"log\": true}");
    let values: Vec<f64> = (0..4)
        .map(|number| give(&spec, number).expect("params").params["a"].as_f64().expect("a number"))
        .collect();
    assert_eq!((values[0], values[3]), (1e-4, 1e-1));
    assert!(values.windows(2).all(|pair| (pair[1] / pair[0] - 10.0).abs() < 1e-9), "{values:?}");
}

#[test]
fn a_grid_that_cannot_be_counted() {
    let wide = "{\"int\": [0, 9007199254740991]}";
    let spec = grid(5, &format!("a: {wide}\nb: {wide}"));
    assert_eq!(grid_len(&spec), u64::MAX);
    assert_eq!(show(give(&spec, u32::MAX)), "0 4294967295");
}

fn domain() -> impl Strategy<Value = Domain> {
    let float = (-1e6..1e6f64, 0.0..1e6f64);
    let int = (-1_000_000i64..1_000_000, 0i64..40);
    prop_oneof![
        float.clone().prop_map(|(low, span)| Domain::Float { low, high: low + span, log: false, step: None }),
        (1e-9..1e3f64, 1.1..1e9f64).prop_map(|(low, ratio)| Domain::Float {
            low,
            high: low * ratio,
            log: true,
            step: None
        }),
        (float, 2.0..30.0f64).prop_map(|((low, span), steps)| Domain::Float {
            low,
            high: low + span + 0.1,
            log: false,
            step: Some((span + 0.1) / steps)
        }),
        (int, 1i64..5).prop_map(|((low, span), step)| Domain::Int {
            low,
            high: low + span,
            log: false,
            step
        }),
        (1i64..1000, 0i64..1_000_000).prop_map(|(low, span)| Domain::Int {
            low,
            high: low + span,
            log: true,
            step: 1
        }),
        (1i64..6).prop_map(|count| Domain::Choice((0..count).map(ParamValue::Int).collect())),
        Just(Domain::Bool),
        Just(Domain::Fixed(ParamValue::Float(0.5))),
    ]
}

fn space() -> impl Strategy<Value = Space> {
    let param = domain().prop_map(Param::from);
    proptest::collection::btree_map("[a-z]{1,4}", param, 0..4).prop_map(Space)
}

proptest! {
    #[test]
    fn every_random_suggestion_lies_in_the_space(space in space(), seed: u64, number: u32) {
        let mut spec = random("");
        (spec.space, spec.study.seed) = (space, seed);
        let suggestion = give(&spec, number).expect("params");
        prop_assert_eq!(suggestion.params.len(), spec.space.0.len());
        prop_assert_eq!(spec.space.check(&suggestion.params), Ok(()));
    }

    #[test]
    fn a_grid_visits_every_combination_once(space in space(), points in 1u32..40) {
        let mut spec = grid(points, "");
        spec.space = space;
        let len = grid_len(&spec);
        prop_assume!(len <= 20_000);
        let mut seen = BTreeSet::new();
        for number in 0..len as u32 {
            let suggestion = give(&spec, number).expect("params");
            prop_assert_eq!(spec.space.check(&suggestion.params), Ok(()));
            prop_assert!(seen.insert(show(Some(suggestion))), "twice at {}", number);
        }
        prop_assert_eq!(give(&spec, len as u32), None);
    }
}
