//! Fits, and learning rates that are found.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use foldwise_shared::ids::{AttemptKey, Epoch, FoldIndex};
use foldwise_shared::spec::{FitSection, Keep, StudySpec};
use foldwise_shared::split::Splits;
use foldwise_shared::state::FailureClass;
use foldwise_shared::value::ParamValue;
use safetensors::SafeTensors;

use super::tests::{Heard, folder, message, objective, work};
use super::*;
use crate::agent::{Control, FoldWork, Outcome, StartPoint, StudyWork};
use crate::model;
use crate::model_file::ModelFile;
use crate::testing::alone;

/// The work with another spec, whose splits are then others too.
fn with_spec(work: &FoldWork, change: impl Fn(&mut StudySpec)) -> FoldWork {
    let mut spec = StudySpec::from_json(&work.study.spec).expect("a spec");
    change(&mut spec);
    let splits = Splits::new(spec.study.seed, spec.scheme(), 20).expect("it fits");
    let study = StudyWork { spec: spec.to_json(), splits_digest: splits.digest(), ..(*work.study).clone() };
    FoldWork { study: Arc::new(study), ..work.clone() }
}

/// A fit of 20 images of which 5 are held out.
fn fit_work(path: &Path, holdout: u64, change: impl Fn(&mut StudySpec)) -> FoldWork {
    let first = FoldWork { key: AttemptKey { fold: FoldIndex(0), ..work(path).key }, ..work(path) };
    with_spec(&first, |spec| {
        spec.fit = Some(FitSection { image: 0 });
        spec.data.folds = None;
        spec.data.holdout = Some(holdout);
        spec.checkpoint.keep = Keep::All;
        spec.train.epochs = Some(4);
        change(spec);
    })
}

/// A work whose learning rate is to be found.
fn find_work(path: &Path, fold: u32) -> FoldWork {
    let mut found = with_spec(&work(path), |spec| {
        spec.space.0.clear();
        spec.fix_setting("learning_rate", &ParamValue::Text("find".into())).expect("a setting");
    });
    found.params.clear();
    found.key.fold = FoldIndex(fold);
    found
}

fn heard(
    objective: &FoldObjective,
    work: &FoldWork,
    start: Option<Vec<u8>>,
    stop_after: u32,
) -> (Heard, Outcome) {
    let mut heard = Heard { stop_after, ..Heard::default() };
    let outcome = objective.run(work, start, &Control::default(), &mut heard);
    (heard, outcome)
}

/// The artifacts of a kind.
fn of<'a>(heard: &'a Heard, kind: &str) -> Vec<(Option<Epoch>, &'a [u8])> {
    let all = heard.artifacts.iter().filter(|(own, _, _)| own == kind);
    all.map(|(_, epoch, bytes)| (*epoch, bytes.as_slice())).collect()
}

#[test]
fn a_fit_leaves_a_picture_an_epoch_and_its_best_model() {
    let _alone = alone();
    let (_folder, path) = folder(0);
    let (objective, work) = (objective(), fit_work(&path, 5, |_| {}));
    let (heard, outcome) = heard(&objective, &work, None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });

    let pictures = of(&heard, "reconstruction");
    let epochs: Vec<_> = pictures.iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(epochs, (1..=4).map(|epoch| Some(Epoch(epoch))).collect::<Vec<_>>());
    let read = SafeTensors::deserialize(pictures[0].1).expect("a picture");
    let mut names = read.names();
    names.sort_unstable();
    assert_eq!(names, ["input", "output"]);
    // There are no test images: it is the first validation image.
    let splits = Splits::new(3, foldwise_shared::split::Scheme::Holdout(5), 20).expect("it fits");
    let first = splits.validation(0).expect("a fold")[0] as usize;
    let dataset = Dataset::open(&path.display().to_string(), &Locations::new(None, None)).expect("data");
    let input = read.tensor("input").expect("an image");
    assert_eq!(input.shape(), [28, 28]);
    assert_eq!(input.data(), dataset.train().image(first).expect("an image"));

    let models = of(&heard, "model");
    let [(None, bytes)] = models[..] else { panic!("{} models", models.len()) };
    let file = ModelFile::from_bytes(bytes).expect("a model");
    let best = heard
        .epochs
        .iter()
        .min_by(|one, other| one.validation_loss.total_cmp(&other.validation_loss))
        .expect("an epoch");
    assert_eq!((file.info.epoch, file.info.validation_loss), (best.epoch.0, best.validation_loss));
    assert_eq!(file.info.study, "tiny");
    // The trial's params, and what the study fixes.
    let param = |name: &str| file.info.params.get(name).and_then(ParamValue::as_f64);
    assert_eq!(["learning_rate", "latent_dim", "batch_size"].map(param), [1e-3, 2.0, 8.0].map(Some));
    let network = model::build(&file.info.settings, 28, 28, Device::Cpu).expect("it fits");
    assert!(file.weights(&network.parameters()).is_ok_and(|weights| weights.len() > 10_000));
}

#[test]
fn a_resumed_fit_ends_with_the_same_model() {
    let _alone = alone();
    let (_folder, path) = folder(0);
    // A rate so large that the best epoch is not always the last.
    let mut work = fit_work(&path, 5, |_| {});
    work.params.insert("learning_rate".into(), ParamValue::Float(0.05));
    let objective = objective();
    let (whole, _) = heard(&objective, &work, None, 0);
    for cut in 1..4 {
        let (mut stopped, outcome) = heard(&objective, &work, None, cut);
        assert_eq!(outcome, Outcome::Finished { stopped: true });
        assert!(of(&stopped, "model").is_empty(), "not before the end");
        let file = (stopped.drafts.pop().expect("a checkpoint").write)().expect("a file");
        let start = Some(StartPoint { epoch: Epoch(cut), digest: String::new() });
        let (rest, _) = heard(&objective, &FoldWork { start, ..work.clone() }, Some(file), 0);
        assert!(of(&rest, "model") == of(&whole, "model"), "cut after {cut}: another model");
    }
    // Cut when only the model was missing.
    let (mut last, _) = heard(&objective, &work, None, 0);
    let file = (last.drafts.pop().expect("the last checkpoint").write)().expect("a file");
    let start = Some(StartPoint { epoch: Epoch(4), digest: String::new() });
    let (rest, _) = heard(&objective, &FoldWork { start, ..work.clone() }, Some(file), 0);
    assert!(rest.epochs.is_empty() && of(&rest, "model") == of(&whole, "model"));
}

#[test]
fn without_images_to_judge_by_the_last_weights_are_the_model() {
    let _alone = alone();
    let (_folder, path) = folder(0);
    let mut work = fit_work(&path, 0, |spec| spec.train.epochs = Some(3));
    work.params.insert("learning_rate".into(), ParamValue::Float(0.5));
    let (heard, outcome) = heard(&objective(), &work, None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let models = of(&heard, "model");
    let file = ModelFile::from_bytes(models[0].1).expect("a model");
    assert_eq!(file.info.epoch, 3);
}

#[test]
fn an_image_that_there_is_none_of_is_found_before_anything_runs() {
    let _alone = alone();
    let folder = super::source_tests::digits(true, false);
    let mut work = fit_work(folder.path(), 5, |spec| {
        spec.fit = Some(FitSection { image: 300 });
        spec.space.0.clear();
        spec.fix_setting("learning_rate", &ParamValue::Text("find".into())).expect("a setting");
    });
    work.params.clear();
    let (heard, outcome) = heard(&objective(), &work, None, 0);
    let (class, text) = message(outcome);
    assert_eq!(class, Some(FailureClass::Invalid));
    assert!(text.contains("fit.image is 300") && text.contains("use 0 to 299"), "{text}");
    assert!(heard.phases.is_empty() && heard.derived.is_empty());
}

#[test]
fn a_denoiser_shows_what_it_was_given() {
    let _alone = alone();
    let (_folder, path) = folder(0);
    let work = fit_work(&path, 5, |spec| {
        spec.corruption.gaussian = Some(spec::Gaussian { probability: 1.0, deviation: 0.4 });
    });
    let (heard, _) = heard(&objective(), &work, None, 0);
    let corrupted: BTreeMap<Vec<u8>, u32> =
        of(&heard, "reconstruction").iter().fold(BTreeMap::new(), |mut all, (_, bytes)| {
            let read = SafeTensors::deserialize(bytes).expect("a picture");
            *all.entry(read.tensor("corrupted").expect("what it was given").data().to_vec()).or_default() +=
                1;
            all
        });
    assert_eq!(corrupted.values().collect::<Vec<_>>(), [&4], "the same after each of the four epochs");
}

#[test]
fn a_rate_is_found_once_and_is_then_a_param() {
    let _alone = alone();
    let (_folder, path) = folder(0);
    let (objective, work) = (objective(), find_work(&path, 0));
    let (first, outcome) = heard(&objective, &work, None, 0);
    assert_eq!(outcome, Outcome::Finished { stopped: false });
    let [(name, ParamValue::Float(rate))] = &first.derived[..] else { panic!("{:?}", first.derived) };
    assert_eq!((name.as_str(), &first.phases[..]), ("learning_rate", &["range test".to_owned()][..]));
    assert!(first.epochs.iter().all(|epoch| epoch.learning_rate == *rate));
    let files = of(&first, "range-test");
    let [(None, bytes)] = files[..] else { panic!("{} files", files.len()) };
    let json: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    assert_eq!(json["chosen"].as_f64(), Some(*rate));
    let points = |key: &str| json[key].as_array().expect("a list").len();
    assert!(points("learning_rate") == points("loss") && points("loss") == points("smoothed"));

    // With the rate among the params there is no other test, and the curve is the same: so is what it may go on from.
    let mut given = work.clone();
    given.params.insert("learning_rate".into(), ParamValue::Float(*rate));
    let (second, _) = heard(&objective, &given, None, 0);
    assert!(second.derived.is_empty() && second.phases.is_empty() && second.artifacts.is_empty());
    let losses =
        |heard: &Heard| heard.epochs.iter().map(|epoch| epoch.validation_loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&second), losses(&first));
    let (mut stopped, _) = heard(&objective, &work, None, 1);
    let file = (stopped.drafts.pop().expect("a checkpoint").write)().expect("a file");
    let start = Some(StartPoint { epoch: Epoch(1), digest: String::new() });
    let (rest, _) = heard(&objective, &FoldWork { start, ..given }, Some(file), 0);
    assert_eq!(losses(&rest), losses(&first)[1..]);

    let (class, text) = message(heard(&objective, &find_work(&path, 1), None, 0).1);
    assert_eq!(class, Some(FailureClass::Error));
    assert!(text.contains("fold 1 has no learning rate"), "{text}");
}
