//! Evaluations and transfers, from the work to what is reported.

use std::path::Path;
use std::sync::Arc;

use foldwise_data::{Part, draw_synthetic_digits};
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::model::ModelSettings;
use foldwise_shared::value::{ParamValue, Params};

use super::tests::{Heard, message, objective};
use super::*;
use crate::agent::{StartPoint, StudyWork};
use crate::model::{self, Parameters};
use crate::model_file::{self, ModelInfo};
use crate::testing::{alone, settings};

const TRAIN: usize = 1200;
const TEST: usize = 300;

/// A folder of drawn digits, with a test part and labels if they are wanted.
pub(super) fn digits(test: bool, labels: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut parts = vec![("train", Part::Train, TRAIN)];
    if test {
        parts.push(("t10k", Part::Test, TEST));
    }
    for (name, part, count) in parts {
        let size = (count as u32).to_be_bytes();
        let images = draw_synthetic_digits(1, part, count);
        let file = [&[0, 0, 8, 3], &size[..], &[0, 0, 0, 28, 0, 0, 0, 28], &images].concat();
        std::fs::write(folder.path().join(format!("{name}-images-idx3-ubyte")), file).expect("written");
        let classes: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
        let file = [&[0, 0, 8, 1], &size[..], &classes].concat();
        if labels {
            std::fs::write(folder.path().join(format!("{name}-labels-idx1-ubyte")), file).expect("written");
        }
    }
    folder
}

/// The same training images as a folder of two classes.
fn even_and_odd() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let images = draw_synthetic_digits(1, Part::Train, TRAIN);
    for (index, pixels) in images.chunks(28 * 28).enumerate() {
        let class = folder.path().join(["even", "odd"][index % 2]);
        std::fs::create_dir_all(&class).expect("a folder");
        let image = image::GrayImage::from_raw(28, 28, pixels.to_vec()).expect("28 by 28");
        image.save(class.join(format!("{index:04}.png"))).expect("written");
    }
    folder
}

/// A model whose weights were drawn, larger than a training starts with, so that its features tell images apart.
fn model(settings: &ModelSettings) -> Vec<u8> {
    tch::manual_seed(8);
    let specs = model::build(settings, 28, 28, Device::Cpu).expect("it can be built").parameters();
    let flat = Parameters::random(specs.clone(), Device::Cpu).expect("small").flat().detach() * 3.0;
    let info = ModelInfo {
        settings: settings.clone(),
        height: 28,
        width: 28,
        params: Params::new(),
        study: "a-fit".into(),
        epoch: 3,
        validation_loss: 0.1,
    };
    let flat: Vec<f32> = flat.try_into().expect("floats");
    model_file::to_bytes(&info, &flat, &specs).expect("it fits")
}

fn work(path: &Path, objective: &str, more: &str, source: Option<Vec<u8>>) -> FoldWork {
    let digest = "0".repeat(64);
    let text = format!(
        r#"
        version = 1
        study = {{ name = "after", seed = 3, objective = "{objective}" }}
        data = {{ dataset = "{}", holdout = 200 }}
        model = {{ network = "lab", latent_dim = 4 }}
        source = {{ study = "a-fit", model = "{digest}" }}
        budget = {{ trials = 1 }}
        {more}
        "#,
        path.display()
    );
    let spec = foldwise_shared::spec::parse(&text, &[]).expect("a study file");
    let dataset = Dataset::open(spec.dataset(), &Locations::new(None, None)).expect("data");
    let study = StudyWork {
        data_digest: dataset.digest().to_owned(),
        splits_digest: Splits::new(3, spec.scheme(), TRAIN).expect("it fits").digest(),
        images: TRAIN as u64,
        spec: spec.to_json(),
        source: Some(digest),
    };
    let (study_id, trial, fold) = (StudyId(1), TrialNumber(0), FoldIndex(0));
    FoldWork {
        key: AttemptKey { study: study_id, trial, fold, attempt: Attempt(1) },
        study: Arc::new(study),
        params: Params::new(),
        seed: 5,
        start: None,
        source: source.map(Arc::new),
    }
}

fn transfer_work(path: &Path) -> FoldWork {
    let train = r#"train = { epochs = 8, learning_rate = 1e-2, batch_size = 64, optimizer = "adamax" }"#;
    work(path, "transfer", train, Some(model(&settings().model)))
}

fn run(work: &FoldWork, start: Option<Vec<u8>>, stop_after: u32) -> (Heard, Outcome) {
    let mut heard = Heard { stop_after, ..Heard::default() };
    let outcome = objective().run(work, start, &Control::default(), &mut heard);
    (heard, outcome)
}

fn json(heard: &Heard, kind: &str) -> serde_json::Value {
    let own = heard.artifacts.iter().find(|(own, _, _)| own == kind).expect(kind);
    assert_eq!(own.1, None);
    serde_json::from_slice(&own.2).expect("JSON")
}

fn curve(heard: &Heard) -> Vec<(u32, u64, u64)> {
    let bits = |report: &crate::agent::EpochReport| {
        (report.epoch.0, report.train_loss.to_bits(), report.validation_loss.to_bits())
    };
    heard.epochs.iter().map(bits).collect()
}

const EVALUATE: &str =
    "evaluate = { noise = [0.0, 0.5], occlusion = [0.2], tsne = false, pictures = 10, codes = 200 }";

#[test]
fn an_evaluation_is_one_epoch_and_three_artifacts() {
    let _alone = alone();
    let folder = digits(true, true);
    let (heard, outcome) =
        run(&work(folder.path(), "evaluation", EVALUATE, Some(model(&settings().model))), None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let kinds: Vec<&str> = heard.artifacts.iter().map(|(kind, _, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["evaluation", "pictures", "codes"]);
    let numbers = json(&heard, "evaluation");
    let [epoch] = &heard.epochs[..] else { panic!("{} epochs", heard.epochs.len()) };
    assert_eq!((epoch.epoch, Some(epoch.validation_loss)), (Epoch(1), numbers["mse"].as_f64()));
    assert!(epoch.train_loss > 0.0 && epoch.train_loss != epoch.validation_loss);
    assert_eq!(epoch.metrics.keys().collect::<Vec<_>>(), ["knn_accuracy", "silhouette"]);
    assert_eq!((&numbers["images"], &numbers["part"]), (&TEST.into(), &"test".into()));
    assert_eq!((&numbers["codes"], &numbers["neighbors"]), (&200.into(), &10.into()));
    assert_eq!(numbers["noise"]["mse"][0], numbers["mse"]);
    assert!(heard.phases.contains(&"occlusion".to_owned()) && heard.drafts.is_empty());
}

#[test]
fn without_test_images_the_validation_part_is_measured() {
    let _alone = alone();
    let folder = digits(false, false);
    let (heard, outcome) =
        run(&work(folder.path(), "evaluation", EVALUATE, Some(model(&settings().model))), None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let numbers = json(&heard, "evaluation");
    assert_eq!((&numbers["images"], &numbers["part"]), (&200.into(), &"validation".into()));
    assert!(numbers.get("knn_accuracy").is_none() && numbers.get("classes").is_none());
}

#[test]
fn what_a_folder_calls_its_classes_goes_with_the_numbers() {
    let _alone = alone();
    let folder = even_and_odd();
    let model = model(&settings().model);
    let train = r#"train = { epochs = 1, learning_rate = 1e-2 }"#;
    for (objective, more) in [("evaluation", EVALUATE), ("transfer", train)] {
        let (heard, outcome) = run(&work(folder.path(), objective, more, Some(model.clone())), None, 0);
        assert_eq!(outcome, Outcome::Finished { stopped: false }, "{objective}");
        let names = &json(&heard, objective)["class_names"];
        assert_eq!(names, &serde_json::json!(["even", "odd"]), "{objective}");
    }
}

#[test]
fn with_nothing_held_out_the_training_images_are_measured_and_named_so() {
    let _alone = alone();
    let folder = digits(false, false);
    let mut work = work(folder.path(), "evaluation", EVALUATE, Some(model(&settings().model)));
    let mut spec = StudySpec::from_json(&work.study.spec).expect("a spec");
    spec.data.holdout = Some(0);
    let splits_digest = Splits::new(3, spec.scheme(), TRAIN).expect("it fits").digest();
    work.study = Arc::new(StudyWork { spec: spec.to_json(), splits_digest, ..(*work.study).clone() });
    let (heard, outcome) = run(&work, None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let numbers = json(&heard, "evaluation");
    assert_eq!((&numbers["images"], &numbers["part"]), (&TRAIN.into(), &"training".into()));
}

#[test]
fn a_transfer_learns_the_classes_and_says_what_it_takes_for_what() {
    let _alone = alone();
    let folder = digits(true, true);
    let (heard, outcome) = run(&transfer_work(folder.path()), None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let accuracies: Vec<f64> = heard.epochs.iter().map(|report| report.metrics["accuracy"]).collect();
    assert_eq!(accuracies.len(), 8);
    assert!(accuracies[7] > 0.6 && accuracies[7] > accuracies[0], "{accuracies:?}");
    assert!(heard.epochs[0].validation_loss > heard.epochs[7].validation_loss);
    let verdict = json(&heard, "transfer");
    assert_eq!((&verdict["images"], &verdict["part"]), (&TEST.into(), &"test".into()));
    let rows: Vec<Vec<i64>> = serde_json::from_value(verdict["confusion"].clone()).expect("numbers");
    assert_eq!(rows.iter().map(|row| row.iter().sum()).collect::<Vec<i64>>(), [30; 10]);
    let right: i64 = (0..10).map(|class| rows[class][class]).sum();
    assert_eq!(verdict["accuracy"].as_f64(), Some(right as f64 / 300.0));
    assert!(verdict["accuracy"].as_f64().is_some_and(|share| share > 0.6), "{verdict}");
    assert!(verdict["loss"].as_f64().is_some_and(|loss| loss > 0.0 && loss < 1.8), "{verdict}");
}

#[test]
fn a_transfer_that_was_interrupted_goes_on_to_the_same_end() {
    let _alone = alone();
    let folder = digits(true, true);
    let work = transfer_work(folder.path());
    let (whole, _) = run(&work, None, 0);
    let (mut stopped, outcome) = run(&work, None, 2);
    assert_eq!(outcome, Outcome::Finished { stopped: true });
    assert!(stopped.artifacts.is_empty(), "not before the end");
    let file = (stopped.drafts.pop().expect("a checkpoint").write)().expect("a file");
    let start = Some(StartPoint { epoch: Epoch(2), digest: String::new() });
    let (rest, outcome) = run(&FoldWork { start: start.clone(), ..work.clone() }, Some(file.clone()), 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    assert_eq!(curve(&rest), curve(&whole)[2..]);
    for number in ["loss", "accuracy", "confusion", "epoch"] {
        assert_eq!(json(&rest, "transfer")[number], json(&whole, "transfer")[number]);
    }
    // Another model is another training.
    let study = StudyWork { source: Some("1".repeat(64)), ..(*work.study).clone() };
    let (_, outcome) = run(&FoldWork { start, study: Arc::new(study), ..work }, Some(file), 0);
    assert!(message(outcome).1.contains("another training"));
}

#[test]
fn a_transfer_finds_its_learning_rate() {
    let _alone = alone();
    let folder = digits(true, true);
    let train = r#"train = { epochs = 1, learning_rate = "find", batch_size = 64 }"#;
    let (heard, outcome) =
        run(&work(folder.path(), "transfer", train, Some(model(&settings().model))), None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let [(name, ParamValue::Float(rate))] = &heard.derived[..] else { panic!("{:?}", heard.derived) };
    assert_eq!((name.as_str(), heard.epochs[0].learning_rate), ("learning_rate", *rate));
    assert_eq!(json(&heard, "range-test")["chosen"].as_f64(), Some(*rate));
    assert!((1e-6..1.0).contains(rate), "{rate}");
}

#[test]
fn a_transfer_without_checkpoints_has_its_best_weights_all_the_same() {
    let _alone = alone();
    let folder = digits(true, true);
    let more = "train = { epochs = 1, batch_size = 64 }\ncheckpoint = { keep = \"none\" }";
    let (heard, _) = run(&work(folder.path(), "transfer", more, Some(model(&settings().model))), None, 0);
    assert_eq!((heard.drafts.len(), &json(&heard, "transfer")["epoch"]), (0, &1.into()));
}

#[test]
fn what_cannot_start_says_why() {
    let _alone = alone();
    let (folder, plain) = (digits(true, true), digits(true, false));
    let own = model(&settings().model);
    let other = model(&ModelSettings { latent_dim: 5, ..settings().model });
    let transfer = "train = { epochs = 1 }";
    for (path, objective, more, source, words) in [
        (plain.path(), "transfer", transfer, Some(own.clone()), "no labels"),
        (folder.path(), "transfer", transfer, None, "the model that the study starts from is missing"),
        (folder.path(), "evaluation", "", Some(other), "another latent_dim than [model] says"),
        (folder.path(), "evaluation", "", Some(own[..own.len() / 2].to_vec()), "the model cannot be used"),
    ] {
        let (heard, outcome) = run(&work(path, objective, more, source), None, 0);
        let (class, text) = message(outcome);
        assert_eq!((class, heard.epochs.len()), (Some(FailureClass::Invalid), 0), "{text}");
        assert!(text.contains(words), "{text}");
    }
    let control = Control::default();
    control.interrupt();
    let mut heard = Heard::default();
    let outcome =
        objective().run(&work(folder.path(), "evaluation", "", Some(own)), None, &control, &mut heard);
    assert_eq!((outcome, heard.epochs.len()), (Outcome::Finished { stopped: true }, 0));
}
