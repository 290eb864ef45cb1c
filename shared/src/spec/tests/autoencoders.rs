use super::*;
use crate::model::{LearningRate, TrialSettings, check_images};
use crate::value::{ParamValue, Params};

const SYMMETRIC: &str = r#"version = 1

[study]
name = "fashion-tpe"

[data]
dataset = "fashion-mnist"
holdout = 8800

[model]
network = "symmetric"
dropout = 0.16

[train]
epochs = 30
learning_rate = "find"

[space]
latent_dim = { int = [10, 40], step = 2 }
convolutions = { choice = [[[3, 2, 1], [3, 2, 1], [3, 1, 0]], [[5, 2, 1], [5, 2, 1], [3, 1, 1]]] }
channels = { choice = [[16, 32, 32], [32, 32, 64]] }
instance_norm = { bool = true }
optimizer = { choice = ["adam", "sgd"] }
momentum = { float = [0.5, 0.99], when = { optimizer = "sgd" } }

[budget]
trials = 60

[size.laptop]
"budget.trials" = 20
"data.limit" = 10000
"#;

#[test]
fn a_whole_network_is_searched() {
    let spec = parse(SYMMETRIC, &[]).expect("a study file");
    assert!(spec.finds_learning_rate());
    assert_eq!(spec.model.linear_units, Some(256));
    assert_eq!((spec.model.beta, spec.train.momentum), (None, None), "they have no meaning here");
    assert_eq!(StudySpec::from_json(&spec.to_json()).expect("its own text"), spec);
    let json =
        |text: &str| ParamValue::from_json(serde_json::from_str(text).expect("JSON")).expect("a value");
    let params = Params::from([
        ("latent_dim".into(), json("30")),
        ("convolutions".into(), json("[[5, 2, 1], [5, 2, 1], [3, 1, 1]]")),
        ("channels".into(), json("[16, 32, 32]")),
        ("instance_norm".into(), json("true")),
        ("optimizer".into(), json("\"sgd\"")),
        ("momentum".into(), json("0.9")),
        ("learning_rate".into(), json("0.008")),
    ]);
    let settings = TrialSettings::resolve(&spec, &params).expect("all settings");
    assert_eq!(settings.learning_rate, LearningRate::Fixed(0.008), "what was found counts");
    assert_eq!((settings.momentum, settings.model.channels), (0.9, vec![16, 32, 32]));
    assert!(settings.model.instance_norm && !settings.model.variational);
    assert_eq!(check_images(&spec, 28, 28), Ok(()));
    let error = check_images(&spec, 28, 4).expect_err("4 columns").to_string();
    assert!(error.contains("space.convolutions") && error.contains("convolution 3"), "{error}");
    let error = check_images(&spec, 9, 9).expect_err("1 pixel").to_string();
    assert!(error.contains("space.instance_norm") && error.contains("a single pixel"), "{error}");
}

#[test]
fn a_size_lies_under_the_overrides() {
    let spec = parse(SYMMETRIC, &sets(&["size=laptop", "budget.trials=7"])).expect("a study file");
    assert_eq!((spec.budget.trials, spec.data.limit), (Some(7), Some(10_000)));
    assert_eq!(parse(SYMMETRIC, &[]).expect("a study file").data.limit, None);
    let text = format!(
        "{SYMMETRIC}train.epochs = 4\nspace.latent_dim = {{ int = [2, 4] }}\nmodel.dropout = 0.5\n\"space.optimizer\" = {{ choice = [\"sgd\"] }}\n"
    );
    let spec = parse(&text, &sets(&["size=laptop"])).expect("plain keys");
    assert_eq!((spec.train.epochs, spec.model.dropout), (Some(4), Some(0.5)));
    assert!(spec.finds_learning_rate() && spec.model.network.is_some(), "the rest of a section stays");
    assert!(spec.space.0.contains_key("channels"));
    assert_eq!(spec.space.0["latent_dim"].domain, Domain::Int { low: 2, high: 4, step: 1, log: false });
    assert_eq!(spec.space.0["optimizer"].domain.cardinality(), Some(1));
    let error = parse(SYMMETRIC, &sets(&["size=desk"])).expect_err("no such size").to_string();
    assert!(error.contains("no size `desk`; it has: laptop"), "{error}");
}

#[test]
fn what_no_worker_could_train_is_refused() {
    for (set, parts) in [
        ("model.latent_dim=0", "space.latent_dim"),
        ("space.latent_dim={ int = [0, 4] }", "from 1"),
        ("model.activation=reluu", "leaky-relu"),
        ("model.beta=-1", "model.beta"),
        ("model.beta=2", "only a variational network"),
        ("space.momentum={ float = [0.5, 0.9] }", "add when = { optimizer = [\"sgd\", \"rmsprop\"] }"),
        ("space.optimizer={ choice = [\"adam\", \"adamax\"] }", "space.momentum"),
        ("space.channels={ choice = [[16, 32]] }", "3 convolutions and 2 numbers of channels"),
        ("space.learning_rate={ float = [1e-4, 1e-2] }", "also fixed in [train]"),
        ("model.network=lab", "the model knows no such param"),
        ("model.dropout=1.0", "up to but not 1"),
        (
            "corruption.gaussian={ probability = 1.5, deviation = 0.4 }",
            "corruption.gaussian.probability: 1.5",
        ),
        ("corruption.gaussian={ deviation = -0.4 }", "corruption.gaussian.deviation"),
        ("corruption.erasing={ area = [0.5, 0.2] }", "corruption.erasing.area"),
        ("data.holdout=0", "data.holdout"),
        ("source.study=other", "only objective"),
        ("evaluate.perplexity=0", "evaluate.perplexity"),
        ("evaluate.occlusion=[1.5]", "evaluate.occlusion"),
    ] {
        let error = parse(SYMMETRIC, &sets(&[set])).expect_err(set).to_string();
        assert!(error.contains(parts), "{set}: {error}");
    }
}

#[test]
fn a_transfer_takes_its_network_from_its_source() {
    let text = r#"
        version = 1
        study = { name = "transfer", objective = "transfer" }
        source = { study = "fashion-fit" }
        data = { dataset = "fashion-mnist", holdout = 8800 }
        train = { epochs = 20, optimizer = "adamax", learning_rate = "find" }
        budget = { trials = 1 }
    "#;
    let mut spec = parse(text, &[]).expect("a study file");
    assert_eq!((spec.model.network, spec.model.dropout), (None, None));
    let fitted = parse(SYMMETRIC, &[]).expect("a study file");
    spec.model = fitted.model;
    spec.model.latent_dim = Some(30);
    spec.source = Some(SourceSection { study: Some("fashion-fit".into()), model: Some("a".repeat(64)) });
    let settings = TrialSettings::resolve(&spec, &Params::new()).expect("all settings");
    assert_eq!((settings.model.dropout, settings.model.latent_dim), (0.16, 30));
    let error = parse(text, &sets(&["model.network=lab"])).expect_err("two networks").to_string();
    assert!(error.contains("the network is the source's"), "{error}");
    let error = parse(text, &sets(&["source={ }"])).expect_err("no source").to_string();
    assert!(error.contains("source.study"), "{error}");
}

#[test]
fn a_fit_is_one_trial_with_nothing_to_search() {
    let text = "version = 1\nfit = {}\nstudy = { name = \"f\" }\ndata = { dataset = \"mnist\", holdout = 5 }\n\
                train = { epochs = 2 }\nmodel = { network = \"lab\", latent_dim = 6 }\n";
    assert_eq!(parse(text, &[]).expect("a fit").budget.trials, Some(1));
    for (set, key) in [
        ("budget.trials=2", "budget.trials"),
        ("space.dropout={ float = [0.0, 0.5] }", "space.dropout"),
        ("checkpoint.keep=none", "checkpoint.keep"),
    ] {
        assert_eq!(parse(text, &sets(&[set])).expect_err(set).key, key);
    }
}

#[test]
fn a_condition_asks_only_for_what_gives_the_param_a_meaning() {
    for (when, meant) in
        [("\"sgd\"", true), ("\"adam\"", false), ("[\"adam\", \"sgd\"]", false), ("[\"sgd\"]", true)]
    {
        let set = format!("space.momentum={{ float = [0.5, 0.99], when = {{ optimizer = {when} }} }}");
        let result = parse(SYMMETRIC, &[set]);
        assert_eq!(result.is_ok(), meant, "{when}: {result:?}");
    }
}

#[test]
fn convolutions_that_nobody_checked_are_refused_before_they_are_reckoned_with() {
    let mut spec = parse(SYMMETRIC, &[]).expect("a study file");
    for wrong in [[3, 2, i64::MAX], [3, 0, 1], [i64::MAX, 1, 0], [3, 1, 3]] {
        spec.space.0.remove("convolutions");
        spec.model.convolutions = Some(vec![wrong]);
        let error = check_images(&spec, 28, 28).expect_err("wrong");
        assert_eq!(error.key, "model.convolutions");
    }
}
