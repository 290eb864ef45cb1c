use super::*;
use crate::model::LearningRate;
use crate::spec::{EvaluateSection, FitSection, differences};

const SEARCH: &str = r#"version = 1
[study]
name = "search"
seed = 7
[data]
dataset = "mnist"
folds = 3
limit = 3000
[model]
network = "lab"
latent_dim = 6
[train]
epochs = 45
early_stopping = { patience = 5 }
momentum = 0.5
[corruption]
gaussian = { deviation = 0.45 }
[space]
optimizer = { choice = ["adam", "sgd"] }
learning_rate = { float = [5e-4, 5e-2], log = true }
dropout = { float = [0.0, 0.5] }
weight_decay = { fixed = 1e-5 }
[pruner]
kind = "median"
[budget]
trials = 30
[size.small]
"budget.trials" = 3
"#;

fn search(sets: &[&str]) -> StudySpec {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse::parse(SEARCH, &sets).expect("a study file")
}

fn params(json: serde_json::Value) -> Params {
    serde_json::from_value(json).expect("params")
}

fn found() -> Params {
    params(serde_json::json!({
        "optimizer": "adam", "learning_rate": 1.2e-3, "dropout": 0.0, "weight_decay": 1e-5
    }))
}

fn options(on: FitOn) -> FitOptions {
    FitOptions { name: "search-fit".into(), on, epochs: None, best_epoch: Some(31), images: 3000 }
}

#[test]
fn a_fit_fixes_what_was_searched() {
    let fit = fit_of(&search(&[]), &found(), &options(FitOn::Split)).expect("a fit");
    assert!(fit.space.0.is_empty());
    assert_eq!(fit.train.learning_rate, Some(LearningRate::Fixed(1.2e-3)));
    assert_eq!((fit.train.optimizer, fit.train.momentum), (Some(Optimizer::Adam), None), "adam has none");
    assert_eq!((fit.model.dropout, fit.train.weight_decay), (Some(0.0), Some(1e-5)));
    assert_eq!((fit.data.folds, fit.data.holdout, fit.data.limit), (None, Some(1000), Some(3000)));
    assert_eq!((fit.budget.trials, fit.checkpoint.keep), (Some(1), Keep::All));
    assert_eq!(
        (fit.train.epochs, fit.train.early_stopping.map(|stopping| stopping.patience)),
        (Some(45), Some(5))
    );
    assert_eq!((fit.fit, fit.study.name.as_str()), (Some(FitSection { image: 0 }), "search-fit"));
    assert_eq!(fit.corruption, search(&[]).corruption);
    let momentous = params(serde_json::json!({
        "optimizer": "sgd", "learning_rate": 0.01, "dropout": 0.1, "weight_decay": 0.0
    }));
    let fit = fit_of(&search(&[]), &momentous, &options(FitOn::Split)).expect("a fit");
    assert_eq!(fit.train.momentum, Some(0.5), "what the study fixes stays");
}

#[test]
fn the_hold_out_is_the_validation_part_of_the_first_fold() {
    use crate::split::Splits;
    let parent = search(&["data.limit=3001"]);
    let fit =
        fit_of(&parent, &found(), &FitOptions { images: 3001, ..options(FitOn::Split) }).expect("a fit");
    let splits = |spec: &StudySpec| Splits::new(spec.study.seed, spec.scheme(), 3001).expect("splits");
    assert_eq!(splits(&fit).validation(0), splits(&parent).validation(0));
}

#[test]
fn all_images_leave_nothing_to_choose_an_epoch_by() {
    let fit = fit_of(&search(&[]), &found(), &options(FitOn::All)).expect("a fit");
    assert_eq!((fit.data.folds, fit.data.holdout), (None, Some(0)));
    assert_eq!((fit.train.early_stopping, fit.train.epochs), (None, Some(31)));
    let wanted = FitOptions { epochs: Some(40), ..options(FitOn::All) };
    assert_eq!(fit_of(&search(&[]), &found(), &wanted).expect("a fit").train.epochs, Some(40));
    let wanted = FitOptions { epochs: Some(0), ..options(FitOn::All) };
    assert_eq!(fit_of(&search(&[]), &found(), &wanted).expect_err("none").key, "train.epochs");
}

#[test]
fn a_learning_rate_that_was_found_is_a_number_then() {
    let sets = ["space.learning_rate={ fixed = 1e-3 }"];
    let mut parent = search(&sets);
    parent.space.0.remove("learning_rate");
    parent.train.learning_rate = Some(LearningRate::Find);
    let fit = fit_of(&parent, &found(), &options(FitOn::Split)).expect("a fit");
    assert_eq!(fit.train.learning_rate, Some(LearningRate::Fixed(1.2e-3)));
    let mut without = found();
    without.remove("learning_rate");
    let fit = fit_of(&parent, &without, &options(FitOn::Split)).expect("a fit");
    assert_eq!(fit.train.learning_rate, Some(LearningRate::Find));
}

#[test]
fn what_is_written_is_a_study_file_that_says_the_same() {
    for on in [FitOn::Split, FitOn::All] {
        let fit = fit_of(&search(&[]), &found(), &options(on)).expect("a fit");
        let text = fit.to_toml().expect("TOML");
        let again = parse::parse(&text, &[]).expect(&text);
        assert_eq!(differences(&fit, &again), []);
        assert_eq!(fit.clone().checked(), Ok(fit), "a second look changes nothing");
    }
}

#[test]
fn wrong_params_are_named() {
    let wrong = |change: serde_json::Value| {
        let mut all = found();
        for (name, value) in change.as_object().expect("a table") {
            match ParamValue::from_json(value.clone()) {
                Some(value) => drop(all.insert(name.clone(), value)),
                None => drop(all.remove(name)),
            }
        }
        fit_of(&search(&[]), &all, &options(FitOn::Split)).expect_err("wrong").to_string()
    };
    for (change, message) in [
        (
            serde_json::json!({ "dropuot": 0.1 }),
            "dropuot: the model knows no such param; did you mean `dropout`?",
        ),
        (serde_json::json!({ "dropout": 1.5 }), "dropout: dropout cannot be 1.5"),
        (serde_json::json!({ "dropout": null }), "dropout: it is missing; give a number from 0 to 0.5"),
        (serde_json::json!({ "optimizer": "adagrad" }), "it must be one of: adam, adamw"),
        (
            serde_json::json!({ "weight_decay": null }),
            "weight_decay: it is missing; the study has it at 1e-5",
        ),
    ] {
        let said = wrong(change);
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn only_training_is_fitted() {
    let text = "version = 1\nstudy = { name = \"s\", objective = \"external\" }\nbudget = { trials = 3 }\n\
                [space]\nx = { float = [0, 1] }\n";
    let external = parse::parse(text, &[]).expect("a study file");
    let error = fit_of(&external, &Params::new(), &options(FitOn::Split)).expect_err("external");
    assert_eq!(error.key, "study.objective");
    assert!(error.message.contains("`s` cannot be fitted"), "{error}");
}

#[test]
fn an_evaluation_has_the_network_data_and_corruption_of_its_fit() {
    let digest = "a".repeat(64);
    for on in [FitOn::Split, FitOn::All] {
        let fit = fit_of(&search(&[]), &found(), &options(on)).expect("a fit");
        let known = evaluation_of(&fit, "e", Some(&digest)).expect("an evaluation");
        assert_eq!(known.evaluate, Some(EvaluateSection::default()));
        assert_eq!(known.model.latent_dim, Some(6));
        assert_eq!((known.data.clone(), &known.corruption), (fit.data.clone(), &fit.corruption));
        assert_eq!((known.train.epochs, known.budget.trials), (Some(1), Some(1)));
        // The coordinator comes to the same by itself.
        let awaits = evaluation_of(&fit, "e", None).expect("an evaluation");
        assert!(awaits.awaits_source() && awaits.model.network.is_none());
        let text = awaits.to_toml().expect("TOML");
        let read = parse::parse(&text, &[]).expect(&text);
        let filled = read.starting_from(&fit, &digest).expect("filled in");
        assert_eq!(differences(&filled, &known), []);
        assert!(!filled.awaits_source());
    }
}

#[test]
fn a_fit_is_measured_as_the_file_of_its_search_says() {
    let search = search(&["evaluate.noise=[0.45]", "evaluate.tsne=false"]);
    let fit = fit_of(&search, &found(), &options(FitOn::Split)).expect("a fit");
    let evaluation = evaluation_of(&fit, "e", Some(&"a".repeat(64))).expect("an evaluation");
    let expected = EvaluateSection { noise: vec![0.45], tsne: false, ..EvaluateSection::default() };
    assert_eq!(evaluation.evaluate, Some(expected));
}

#[test]
fn a_transfer_takes_over_the_network_and_what_it_does_not_say_itself() {
    let text = r#"version = 1
study = { name = "t", objective = "transfer" }
source = { study = "search-fit" }
train = { epochs = 5 }
budget = { trials = 3 }
[space]
dropout = { float = [0.0, 0.5] }
"#;
    let digest = "b".repeat(64);
    let symmetric = ["model.network=symmetric", "model.variational=true", "model.beta=0.5"];
    let fit = fit_of(&search(&symmetric), &found(), &options(FitOn::Split)).expect("a fit");
    let transfer =
        parse::parse(text, &[]).expect("a study file").starting_from(&fit, &digest).expect("filled in");
    assert_eq!(transfer.data.dataset.as_deref(), Some("mnist"));
    assert_eq!((transfer.data.holdout, transfer.data.limit), (Some(1000), Some(3000)));
    assert_eq!((transfer.model.channels.clone(), transfer.model.beta), (Some(vec![32, 32, 64]), Some(0.5)));
    assert!(transfer.corruption.is_none(), "a classifier sees whole images");
    let own: Vec<String> = ["data.dataset=fashion-mnist", "data.holdout=500"].map(str::to_owned).into();
    let own =
        parse::parse(text, &own).expect("a study file").starting_from(&fit, &digest).expect("filled in");
    assert_eq!(
        (own.data.dataset.as_deref(), own.data.holdout, own.data.limit),
        (Some("fashion-mnist"), Some(500), None)
    );
    // A fit on all images holds nothing out, but a transfer chooses by its validation loss.
    let whole = fit_of(&search(&[]), &found(), &options(FitOn::All)).expect("a fit");
    let error =
        parse::parse(text, &[]).expect("a study file").starting_from(&whole, &digest).expect_err("refused");
    assert_eq!(error.key, "data.holdout");
}
