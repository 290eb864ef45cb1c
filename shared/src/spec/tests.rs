mod autoencoders;

use super::*;
use crate::space::Domain;

const FILE: &str = r#"version = 1

[study]
name = "mnist-random"
seed = 7

[data]
dataset = "mnist"
folds = 3

[model]
network = "lab"
latent_dim = 4

[train]
epochs = 45
early_stopping = { patience = 5 }

[space]
learning_rate = { float = [5e-4, 5e-2], log = true }
dropout = { float = [0.0, 0.5] }

[pruner]
kind = "median"
warmup_epochs = 3

[budget]
trials = 30
"#;

fn sets(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| (*set).to_owned()).collect()
}

#[test]
fn defaults_are_resolved() {
    let spec = parse(FILE, &[]).expect("a study file");
    assert_eq!(spec.train.batch_size, Some(256));
    assert_eq!(spec.train.weight_decay, Some(0.0));
    assert_eq!(spec.train.learning_rate, None);
    assert_eq!(spec.pruner.startup_trials, Some(5));
    assert_eq!(spec.scheme(), Scheme::Folds(3));
    assert_eq!(StudySpec::from_json(&spec.to_json()), Ok(spec));
}

#[test]
fn overrides_lie_over_the_file() {
    let overrides = sets(&[
        "budget.trials=6",
        "train.epochs=10",
        "data.dataset=synthetic-digits",
        "train.early_stopping=false",
        "space.dropout={ fixed = 0.15 }",
        "budget.wall_time=2h",
    ]);
    let spec = parse(FILE, &overrides).expect("a study file");
    assert_eq!((spec.budget.trials, spec.epochs()), (Some(6), 10));
    assert_eq!(spec.dataset(), "synthetic-digits");
    assert_eq!(spec.train.early_stopping, None);
    assert_eq!(spec.wall_time_ms(), Some(7_200_000));
    let keys: Vec<String> = differences(&parse(FILE, &[]).expect("a study file"), &spec)
        .into_iter()
        .map(|found| found.key)
        .collect();
    assert_eq!(
        keys,
        [
            "budget.trials",
            "budget.wall_time",
            "data.dataset",
            "space.dropout.fixed",
            "space.dropout.float",
            "train.early_stopping.min_delta",
            "train.early_stopping.patience",
            "train.epochs"
        ]
    );
}

/// Lays `set` over the good file, or replaces a line of it, and compares the message.
fn check(change: &str, expected: &str) {
    let found = match change.split_once(" => ") {
        Some((from, to)) => {
            assert!(FILE.contains(from), "`{from}` is not in the file");
            parse(&FILE.replacen(from, to, 1), &[])
        }
        None => parse(FILE, &sets(&[change])),
    };
    let message = found.expect_err(change).to_string();
    assert!(message.contains(expected), "{change}\n  gave: {message}\n  want: {expected}");
}

#[test]
fn every_mistake_has_its_place_and_remedy() {
    check("seed = 7 => sed = 7", "line 5: study.sed: unknown key; did you mean `seed`?");
    check("[pruner] => [prunner]", "line 23: prunner: unknown key; did you mean `pruner`?");
    check("seed = 7 => seed = \"x\"", "line 5: study.seed: invalid type: string \"x\"");
    check("seed = 7 => seed = -1", "line 5: study.seed: ");
    check("seed = 7 => seed = ", "line 5: ");
    check("folds = 3 => folds = 1", "line 9: data.folds: 1 folds cannot work");
    check("folds = 3 => ", "line 7: data: give `folds = k`");
    check("folds = 3 => folds = 3\nholdout = 9", "line 10: data.holdout: give either");
    check("latent_dim = 4 => latent_dim = 0", "line 13: model.latent_dim: latent_dim cannot be 0");
    check("latent_dim = 4 => ", "line 11: model.latent_dim: it has no default");
    check("\"lab\" => \"labb\"", "line 12: model.network: unknown value `labb`; did you mean `lab`?");
    check("[5e-4, 5e-2] => [5e-2, 5e-4]", "line 20: space.learning_rate: the low bound 0.05 is above");
    check("[5e-4, 5e-2] => [0, 5e-2]", "line 20: space.learning_rate: a logarithmic scale");
    check(
        "{ float = [0.0, 0.5] } => { choice = [] }",
        "line 21: space.dropout: a choice needs at least one value",
    );
    check(
        "{ float = [0.0, 0.5] } => { float = [0.0, 1.5] }",
        "line 21: space.dropout: dropout cannot be 1.5",
    );
    check(
        "{ float = [0.0, 0.5] } => { flot = [0.0, 0.5] }",
        "line 21: space.dropout.flot: unknown key; did you mean `float`?",
    );
    check(
        "dropout = { => drop_out = {",
        "line 21: space.drop_out: the model knows no such param; did you mean `dropout`?",
    );
    check(
        "latent_dim = 4 => latent_dim = 4\ndropout = 0.1",
        "line 22: space.dropout: it is also fixed in [model]",
    );
    check("trials = 30 => trials = 0", "line 28: budget.trials: a study of no trial");
    check("trials = 30 => ", "line 27: budget: the study would never end");
    check("trials = 30 => total_epochs = 10", "line 28: budget.total_epochs: 10 epochs are too few");
    check("trials = 30 => wall_time = \"soon\"", "line 28: budget.wall_time: `soon` is no duration");
    check("version = 1 => version = 2", "line 1: version: version 2 is not known");
    check("name = \"mnist-random\" => name = \"a b\"", "line 4: study.name: `a b` is no name");
    check("patience = 5 => patience = 0", "line 17: train.early_stopping.patience: use at least 1");
    check(
        "patience = 5 => patienc = 5",
        "line 17: train.early_stopping.patienc: unknown key; did you mean `patience`?",
    );
    check("warmup_epochs = 3 => interval_epochs = 0", "line 25: pruner.interval_epochs");
    check(
        "kind = \"median\" => kind = \"none\"",
        "line 25: pruner.warmup_epochs: kind = \"none\" has no such key",
    );
    check("budget.trial=6", "--set budget.trial=6: budget.trial: unknown key; did you mean `trials`?");
    check("nothing.here=6", "--set nothing.here=6: nothing: unknown key");
    check("budget.trials=six", "--set budget.trials=six: budget.trials: invalid type: string \"six\"");
    check("budget.trials", "--set budget.trials: write it as key=value");
    check("study.name.x=1", "`name` is no table");
    check("sampler.points=3", "sampler.points: it belongs to kind = \"grid\" only");
    check("sampler.multivariate=false", "sampler.multivariate: it belongs to kind = \"tpe\" only");
    check(
        "sampler={ kind = \"sobol\", startup_trials = 3 }",
        "sampler.startup_trials: it belongs to kind = \"auto\", \"gp\" or \"tpe\" only",
    );
    check("sampler.startup_trials=0", "sampler.startup_trials: nothing can be learned from no trial");
    check("sampler.kind=tpee", "sampler.kind: unknown value `tpee`; did you mean `tpe`?");
    check("epochs = 45 => ", "line 15: train.epochs: it is missing");
    check("network = \"lab\" => ", "line 11: model.network: it is missing; write \"lab\"");
    check("dataset = \"mnist\" => ", "line 7: data.dataset: it is missing; write mnist");
    check(
        "{ float = [0.0, 0.5] } => { float = [0.0, 0.5], when = { optimizer = \"sgd\" } }",
        "line 21: space.dropout.when: `when` asks for `optimizer`, which is no param of this space",
    );
    check(
        "latent_dim = 4 => \n[space.latent_dim]\nint = [2, 8]\nwhen = { dropout = 0.1 }",
        "space.latent_dim.when: `when` asks for a value of `dropout`, a real number",
    );
    check("study.objective=external", "data.dataset: an external objective trains no network of ours");
}

/// A whole study file of an external objective.
const EXTERNAL: &str = "version = 1
study = { name = \"branin\", objective = \"external\" }
budget = { trials = 100 }
[space]
x = { float = [-5.0, 10.0] }
y = { float = [0.0, 15.0] }
";

#[test]
fn an_external_objective_needs_a_space_and_no_more() {
    let spec = parse(EXTERNAL, &[]).expect("a study file");
    assert_eq!((spec.is_external(), spec.folds(), spec.epochs()), (true, 1, 10_000));
    assert_eq!((spec.sampler.kind, spec.sampler.startup_trials), (SamplerKind::Auto, Some(8)));
    assert_eq!(StudySpec::from_json(&spec.to_json()), Ok(spec));
    let spec = parse(EXTERNAL, &sets(&["data.folds=3", "train.epochs=20"])).expect("a study file");
    assert_eq!((spec.folds(), spec.epochs()), (3, 20));
    for (set, part) in [
        ("data.holdout=5", "data.holdout: an external objective trains no network"),
        ("model.network=lab", "model.network: an external objective"),
        ("train.batch_size=8", "train.batch_size: an external objective"),
        ("data.folds=1", "data.folds: 1 folds cannot work; use 2 to 1000, or leave it out"),
        ("train.epochs=0", "train.epochs: 0 epochs cannot work"),
        ("space={}", "space: an external objective with nothing to search"),
        ("study.objective=extern", "study.objective: unknown value `extern`; did you mean `external`?"),
    ] {
        let error = parse(EXTERNAL, &sets(&[set])).expect_err(set).to_string();
        assert!(error.contains(part), "{set}: {error}");
    }
}

#[test]
fn a_grid_must_be_countable() {
    let spec = parse(FILE, &sets(&["sampler.kind=grid"])).expect("a small grid");
    assert_eq!(spec.sampler.points, Some(5));
    check("sampler={ kind = \"grid\", points = 100000 }", "the grid has more than 1000000 combinations");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}", set in "\\PC{0,30}") {
        let _ = parse(&text, &[]);
        let _ = parse(FILE, &[set]);
    }
}

#[test]
fn what_no_reader_could_take_is_refused() {
    let message = |text: &str, sets: &[String]| {
        parse(text, sets).map_or_else(|error| error.to_string(), |_| "it fits".to_owned())
    };
    let long = format!("{FILE}#{}\n", "x".repeat(1 << 20));
    assert!(message(&long, &[]).contains("is too long; at most 1048576"), "{}", message(&long, &[]));
    let many = vec!["study.seed=1".to_owned(); 10_001];
    assert!(message(FILE, &many).contains("10001 overrides of 120012 bytes are too many"));
    assert!(message(FILE, &["x".repeat(1 << 21)]).contains("overrides of 2097152 bytes are too many"));

    // Deeper than what is stored can be read again.
    let external = "version = 1\nstudy = { name = \"b\", objective = \"external\" }\nbudget.trials = 1\nspace.y.bool = true\n";
    let nested =
        |depth: usize| format!("{external}space.x.fixed = {}{}\n", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(message(&nested(60), &[]), "it fits");
    let deep = message(&nested(70), &[]);
    assert!(deep.contains("space") && deep.contains("nested too deeply; at most 64"), "{deep}");
    assert!(message(&nested(5_000), &[]).contains("line 5: "), "{}", message(&nested(5_000), &[]));
    let set = |parts: usize, depth: usize| {
        [format!("space.x.fixed.{}a={}{}", "a.".repeat(parts), "[".repeat(depth), "]".repeat(depth))]
    };
    assert_eq!(message(external, &set(40, 10)), "it fits");
    let deep = message(external, &set(40, 40));
    assert!(deep.starts_with("--set space.x.fixed.a.") && deep.contains("nested too deeply"), "{deep}");
    assert!(message(external, &set(100_000, 1)).contains("an override's key has 100004 parts; at most 64"));
}

/// The good file with this section in place of its own; the message of what is wrong.
fn pruner_error(section: &str) -> String {
    let set = format!("pruner={section}");
    parse(FILE, &sets(&[set.as_str()])).map_or_else(|error| error.to_string(), |_| "it fits".to_owned())
}

#[test]
fn every_pruner_has_its_defaults() {
    let check = |section: &str, expected: &str| {
        let set = format!("pruner={section}");
        let spec = parse(FILE, &sets(&[set.as_str()])).expect(section);
        let expected: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(serde_json::to_value(&spec.pruner).expect("JSON"), expected, "{section}");
        assert_eq!(StudySpec::from_json(&spec.to_json()).as_ref(), Ok(&spec), "{section}");
    };
    check("{}", r#"{"kind":"none"}"#);
    check(
        "{ kind = \"median\" }",
        r#"{"kind":"median","startup_trials":5,"warmup_epochs":0,"interval_epochs":1,"min_peers":1}"#,
    );
    check(
        "{ kind = \"percentile\", percentile = 25 }",
        r#"{"kind":"percentile","percentile":25.0,"startup_trials":5,"warmup_epochs":0,"interval_epochs":1,"min_peers":1}"#,
    );
    check(
        "{ kind = \"paired\", patience = 3 }",
        r#"{"kind":"paired","percentile":50.0,"startup_trials":5,"warmup_epochs":0,"interval_epochs":1,"min_peers":1,
            "patience":3,"min_delta":0.0}"#,
    );
    check(
        "{ kind = \"successive-halving\" }",
        r#"{"kind":"successive-halving","min_resource":1,"reduction_factor":4,"min_early_stopping_rate":0,"bootstrap_trials":0}"#,
    );
    check(
        "{ kind = \"hyperband\" }",
        r#"{"kind":"hyperband","min_resource":1,"max_resource":135,"reduction_factor":3,"bootstrap_trials":0}"#,
    );
    check(
        "{ kind = \"threshold\", upper = 1 }",
        r#"{"kind":"threshold","upper":1.0,"warmup_epochs":0,"interval_epochs":1}"#,
    );
    check("{ kind = \"patience\", patience = 4 }", r#"{"kind":"patience","patience":4,"min_delta":0.0}"#);
    check("{ kind = \"sequential\" }", r#"{"kind":"sequential","startup_trials":5,"alpha":0.05}"#);
}

#[test]
fn a_pruner_that_could_not_work_is_refused() {
    let check = |section: &str, expected: &str| {
        let message = pruner_error(section);
        assert!(message.contains(expected), "{section}\n  gave: {message}\n  want: {expected}");
    };
    check("{ kind = \"medin\" }", "pruner.kind: unknown value `medin`; did you mean `median`?");
    check("{ kind = \"median\", warmup = 3 }", "pruner.warmup: unknown key; did you mean `warmup_epochs`?");
    check(
        "{ kind = \"median\", percentile = 3 }",
        "pruner.percentile: kind = \"median\" has no such key (percentile, paired have it); take it out",
    );
    check(
        "{ kind = \"none\", alpha = 0.1 }",
        "pruner.alpha: kind = \"none\" has no such key (sequential has it)",
    );
    check("{ kind = \"percentile\" }", "pruner.percentile: it has no default: write percentile = 25");
    check(
        "{ kind = \"percentile\", percentile = 0 }",
        "pruner.percentile: use more than 0 and less than 100, not 0",
    );
    check("{ kind = \"paired\", percentile = 100 }", "use more than 0 and less than 100, not 100");
    check("{ kind = \"paired\", percentile = nan }", "use more than 0 and less than 100, not NaN");
    check("{ kind = \"median\", min_peers = 0 }", "pruner.min_peers: use at least 1");
    check("{ kind = \"median\", warmup_epochs = 99 }", "it fits"); // every finished fold is judged
    check(
        "{ kind = \"threshold\", lower = 0, warmup_epochs = 45 }",
        "a fold of 45 epochs would never be judged",
    );
    check(
        "{ kind = \"threshold\", lower = 0, interval_epochs = 0 }",
        "pruner.interval_epochs: use at least 1",
    );
    check("{ kind = \"threshold\" }", "pruner.kind: threshold needs a bound: give lower, upper or both");
    check("{ kind = \"threshold\", lower = 2, upper = 1 }", "pruner.lower: 2 is above upper, 1");
    check("{ kind = \"threshold\", lower = 1, upper = 1 }", "it fits");
    check("{ kind = \"threshold\", upper = inf }", "pruner.upper: use a finite number");
    check("{ kind = \"successive-halving\", reduction_factor = 1 }", "pruner.reduction_factor: one in 1");
    check("{ kind = \"successive-halving\", min_resource = 0 }", "pruner.min_resource: use at least 1");
    check(
        "{ kind = \"successive-halving\", min_resource = 135 }",
        "a trial of 135 epochs; use less than 135",
    );
    check("{ kind = \"successive-halving\", min_resource = 134 }", "it fits");
    check(
        "{ kind = \"successive-halving\", min_early_stopping_rate = 4 }",
        "pruner.min_early_stopping_rate: the first rung would be past the end of a trial of 135 epochs; use at most 3",
    );
    check("{ kind = \"successive-halving\", min_early_stopping_rate = 99 }", "use at most 3");
    check("{ kind = \"successive-halving\", max_resource = 9 }", "(hyperband has it)");
    check(
        "{ kind = \"hyperband\", max_resource = 136 }",
        "pruner.max_resource: all folds together have 135 epochs",
    );
    check(
        "{ kind = \"hyperband\", max_resource = 4, min_resource = 5 }",
        "4 is below min_resource; use at least 5",
    );
    check("{ kind = \"patience\" }", "pruner.patience: it has no default: write patience = 5");
    check(
        "{ kind = \"patience\", patience = 44 }",
        "a fold of 45 epochs would never be judged; use at most 43",
    );
    check("{ kind = \"patience\", patience = 43 }", "it fits");
    check("{ kind = \"median\", min_delta = 0.1 }", "pruner.min_delta: it belongs to patience");
    check("{ kind = \"median\", patience = 1, min_delta = -1 }", "pruner.min_delta: use 0 or more, not -1");
    check(
        "{ kind = \"sequential\", patience = 1 }",
        "pruner.patience: kind = \"sequential\" has no such key",
    );
    check("{ kind = \"sequential\", alpha = 0.6 }", "pruner.alpha: use more than 0 and at most 0.5, not 0.6");
    check("{ kind = \"sequential\", alpha = 0 }", "pruner.alpha: use more than 0");
    check("{ kind = \"sequential\", startup_trials = 1 }", "at least 2 complete trials, not 1");

    let holdout = FILE.replacen("folds = 3", "holdout = 10", 1);
    let one_fold = |section: &str| parse(&holdout, &[format!("pruner={section}")]).map(|_| ());
    let message = one_fold("{ kind = \"sequential\" }").expect_err("one fold").to_string();
    assert!(
        message.contains("pruner.kind: sequential compares finished folds, and there is but one"),
        "{message}"
    );
    let message = one_fold("{ kind = \"median\", warmup_epochs = 45 }").expect_err("one fold").to_string();
    assert!(message.contains("a fold of 45 epochs would never be judged; use less than 45"), "{message}");
    assert_eq!(one_fold("{ kind = \"hyperband\", max_resource = 45 }"), Ok(()));
}

#[test]
fn every_key_of_the_pruner_belongs_to_a_kind() {
    let schema = schema();
    let keys = schema["$defs"]["PrunerSection"]["properties"].as_object().expect("properties");
    for key in keys.keys().filter(|key| *key != "kind") {
        let message = pruner_error(&format!("{{ kind = \"none\", {key} = 1 }}"));
        assert!(message.contains("has no such key ("), "{key}: {message}");
    }
}

#[test]
fn another_pruner_for_the_same_study() {
    let spec = parse(FILE, &[]).expect("a study file");
    let kind_and_warmup = |text: &str, overrides: &[&str]| {
        let other = with_pruner(&spec, text, &sets(overrides)).map_err(|error| error.to_string())?;
        assert_eq!(StudySpec { pruner: spec.pruner.clone(), ..other.clone() }, spec, "{text}");
        Ok::<_, String>((other.pruner.kind, other.pruner.warmup_epochs))
    };
    let check = |text: &str, overrides: &[&str], expected: (PrunerKind, Option<u32>)| {
        assert_eq!(kind_and_warmup(text, overrides), Ok(expected), "{text} {overrides:?}");
    };
    check("median", &[], (PrunerKind::Median, Some(0)));
    check(" median, warmup_epochs=2", &[], (PrunerKind::Median, Some(2)));
    check("{ kind = \"median\", warmup_epochs = 2 }", &[], (PrunerKind::Median, Some(2)));
    check("kind=paired", &["warmup_epochs=4"], (PrunerKind::Paired, Some(4)));
    check("hyperband", &["warmup_epochs=4"], (PrunerKind::Hyperband, None));
    let error = |text: &str, overrides: &[&str], expected: &str| {
        let message = kind_and_warmup(text, overrides).expect_err(text);
        assert!(message.contains(expected), "{text}\n  gave: {message}\n  want: {expected}");
    };
    error("medain", &[], "pruner.kind: unknown value `medain`; did you mean `median`?");
    error("median,warmup=2", &[], "pruner.warmup: unknown key; did you mean `warmup_epochs`?");
    error("median", &["warmup=2"], "pruner.warmup: unknown key; did you mean `warmup_epochs`?");
    error("hyperband", &["warmup_epochs=soon"], "pruner.warmup_epochs: invalid type");
    error("median,paired", &[], "pruner: `paired` is no setting; write KIND,key=value,...");
    error("median,alpha=0.1", &[], "pruner.alpha: kind = \"median\" has no such key");
    error("percentile", &[], "pruner.percentile: it has no default");
    error("", &[], "pruner.kind: unknown value ``");
    error("{ kind = ", &[], "pruner");
}
