use super::*;

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
    assert_eq!((spec.budget.trials, spec.train.epochs), (Some(6), 10));
    assert_eq!(spec.data.dataset, "synthetic-digits");
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
    check("kind = \"median\" => kind = \"none\"", "line 25: pruner.warmup_epochs: it belongs to");
    check("budget.trial=6", "--set budget.trial=6: budget.trial: unknown key; did you mean `trials`?");
    check("nothing.here=6", "--set nothing.here=6: nothing: unknown key");
    check("budget.trials=six", "--set budget.trials=six: budget.trials: invalid type: string \"six\"");
    check("budget.trials", "--set budget.trials: write it as key=value");
    check("study.name.x=1", "`name` is no table");
    check("sampler.kind=tpe", "sampler.kind: tpe comes in a later version; use random or grid");
    check("sampler.points=3", "sampler.points: it belongs to");
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
