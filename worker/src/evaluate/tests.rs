use std::cell::Cell;

use foldwise_shared::model::ModelSettings;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use tch::Device;

use super::*;
use crate::model::Parameters;
use crate::testing::{alone, settings, squares};

const IMAGES: i64 = 40;
const CLASSES: u8 = 3;

fn section() -> EvaluateSection {
    EvaluateSection {
        noise: vec![0.0, 0.4],
        occlusion: vec![0.0, 0.3, 1.0],
        pictures: 5,
        codes: 30,
        ..EvaluateSection::default()
    }
}

fn lab(variational: bool) -> ModelSettings {
    ModelSettings { variational, beta: 2.0, ..settings().model }
}

/// A model whose weights are drawn.
fn random(settings: &ModelSettings) -> FittedModel {
    tch::manual_seed(4);
    let network = crate::model::build(settings, 28, 28, Device::Cpu).expect("it can be built");
    let parameters = Parameters::random(network.parameters(), Device::Cpu).expect("small");
    let flat = (parameters.flat().detach() * 3.0).try_into().expect("floats");
    let flat: Vec<f32> = flat;
    FittedModel::new(settings, (28, 28), &flat, Device::Cpu).expect("its own weights")
}

/// A model that makes 0.5 of every pixel: all its weights are 0.
fn constant(settings: &ModelSettings) -> FittedModel {
    let count = random(settings).weights.iter().map(Tensor::numel).sum();
    FittedModel::new(settings, (28, 28), &vec![0.0; count], Device::Cpu).expect("as many weights")
}

fn labels() -> Vec<u8> {
    (0..CLASSES).cycle().take(IMAGES as usize).map(|class| class * 2).collect()
}

/// Evaluates a model on the first images, and gives the phases it went through.
fn run(
    model: &FittedModel,
    labels: Option<&[u8]>,
    corruption: &[Corruption],
    section: &EvaluateSection,
) -> (Evaluation, Vec<String>) {
    let images = squares(50);
    let indices: Vec<i64> = (0..IMAGES).collect();
    let task = EvaluateTask {
        model,
        images: &images,
        indices: &indices,
        labels,
        class_names: &[],
        part: "test",
        corruption,
        section,
        seed: 9,
    };
    let mut phases = Vec::new();
    let result = evaluate(&task, &|| false, &mut |phase| phases.push(phase.to_owned()));
    (result.expect("it can be measured").expect("nobody interrupted"), phases)
}

fn shapes(bytes: &[u8]) -> Vec<(String, Dtype, Vec<usize>)> {
    let file = SafeTensors::deserialize(bytes).expect("a file");
    let mut shapes: Vec<_> =
        file.iter().map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec())).collect();
    shapes.sort_by(|left, right| left.0.cmp(&right.0));
    shapes
}

fn bytes_of(file: &[u8], name: &str) -> Vec<u8> {
    SafeTensors::deserialize(file).and_then(|file| Ok(file.tensor(name)?.data().to_vec())).expect(name)
}

fn floats(file: &[u8], name: &str) -> Vec<f32> {
    let bytes = bytes_of(file, name);
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn a_model_of_half_gray_has_the_error_of_half_gray_whatever_its_input() {
    let _alone = alone();
    let section = EvaluateSection { tsne: false, ..section() };
    let (Evaluation { summary, pictures, .. }, _) =
        run(&constant(&lab(false)), None, &[gaussian(0.5)], &section);
    // Squares of 0 and 1: each pixel is off by a half.
    assert!((summary.mse - 0.25).abs() < 1e-7, "{}", summary.mse);
    assert_eq!((summary.loss, summary.kl), (summary.mse, None));
    for error in summary.noise.mse.iter().chain(&summary.occlusion.mse).chain(&summary.own_corruption_mse) {
        assert!((error - 0.25).abs() < 1e-7, "what it is held against is clean: {error}");
    }
    assert_eq!((&summary.noise.level, &summary.occlusion.level), (&section.noise, &section.occlusion));
    assert!(bytes_of(&pictures, "plain.reconstructed").iter().all(|gray| *gray == 128));
    let original = bytes_of(&pictures, "plain.original");
    assert_eq!(original.iter().filter(|gray| **gray == 255).count(), 5 * 64);
    // Where the input is all that noise is added to, half of what is added is cut off again.
    let noisy = bytes_of(&pictures, "noise.corrupted");
    assert!(noisy.iter().filter(|gray| **gray == 0).count() > noisy.len() / 3);
    let occluded = bytes_of(&pictures, "occlusion.corrupted");
    assert!(original.iter().zip(&occluded).all(|(before, after)| after == before || *after == 0));
    assert_eq!(summary.explained_variance, Some([0.0, 0.0]), "all codes are the same");
}

#[test]
fn a_variational_model_has_its_whole_loss_and_the_divergence_of_its_codes() {
    let _alone = alone();
    let section = EvaluateSection { tsne: false, ..section() };
    let settings = lab(true);
    let mut model = constant(&settings);
    // Mean 0 and log-variance 1 in each of 4 dimensions: 0.5 * (e - 2) each.
    let names: Vec<String> = model.network.parameters().into_iter().map(|spec| spec.name).collect();
    let at = names.iter().position(|name| name.contains("log_variance.bias")).expect("it has one");
    model.weights[at] = Tensor::ones_like(&model.weights[at]);
    let (Evaluation { summary, .. }, _) = run(&model, None, &[], &section);
    let kl = 4.0 * 0.5 * (1.0_f64.exp() - 2.0);
    assert!((summary.kl.expect("variational") - kl).abs() < 1e-6, "{:?}", summary.kl);
    assert!((summary.loss - (784.0 * 0.25 + 2.0 * kl)).abs() < 1e-4, "{}", summary.loss);
    assert!((summary.mse - 0.25).abs() < 1e-7);
    assert_eq!(summary.own_corruption_mse, None);
}

#[test]
fn pictures_and_codes_have_their_shapes() {
    let _alone = alone();
    let (own, labels) = ([square(0.1)], labels());
    let (evaluation, phases) = run(&random(&lab(false)), Some(&labels), &own, &section());
    let Evaluation { summary, pictures, codes } = evaluation;
    let picture = |name: &str, shape: &[usize]| (name.to_owned(), Dtype::U8, [shape, &[28, 28]].concat());
    let mut expected = vec![
        picture("centroids", &[3]),
        picture("morphing", &[3, 3, 10]),
        picture("plain.original", &[5]),
        picture("plain.reconstructed", &[5]),
        picture("random", &[5]),
    ];
    for kind in ["noise", "occlusion", "own"] {
        for part in ["original", "corrupted", "reconstructed"] {
            expected.push(picture(&format!("{kind}.{part}"), &[5]));
        }
    }
    expected.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(shapes(&pictures), expected);
    assert_eq!(
        shapes(&codes),
        [
            ("codes".to_owned(), Dtype::F32, vec![30, 4]),
            ("labels".to_owned(), Dtype::U8, vec![30]),
            ("pca".to_owned(), Dtype::F32, vec![30, 2]),
            ("tsne".to_owned(), Dtype::F32, vec![30, 2]),
        ]
    );
    assert_eq!(bytes_of(&codes, "labels"), labels[..30]);
    assert_eq!((summary.images, summary.codes, summary.classes), (40, 30, Some(vec![0, 2, 4])));
    assert!(summary.own_corruption_mse.is_some_and(|error| error > 0.0));
    // Too few codes for a perplexity of 30.
    let tsne = summary.tsne.expect("it is wanted");
    assert_eq!((tsne.perplexity, tsne.images), (9.0, 30));
    assert!(summary.knn_accuracy.is_some_and(|share| (0.0..=1.0).contains(&share)));
    assert!(summary.silhouette.is_some_and(|mean| (-1.0..=1.0).contains(&mean)));
    assert_eq!(
        phases,
        [
            "test",
            "noise",
            "occlusion",
            "own corruption",
            "codes",
            "neighbors",
            "silhouette",
            "t-SNE",
            "pictures"
        ]
    );
    assert_eq!(summary.seconds.len(), phases.len());
}

#[test]
fn of_codes_with_too_many_numbers_no_covariance_is_computed() {
    let _alone = alone();
    let wide = codes::MOST_COLUMNS as i64 + 1;
    for (variational, skipped) in [(false, &["pca", "tsne", "random"][..]), (true, &["pca", "tsne"])] {
        let settings = ModelSettings { latent_dim: wide, ..lab(variational) };
        let (evaluation, _) = run(&random(&settings), Some(&labels()), &[], &section());
        assert_eq!(evaluation.summary.skipped, skipped);
        assert!(evaluation.summary.explained_variance.is_none() && evaluation.summary.tsne.is_none());
        let names: Vec<_> = shapes(&evaluation.codes).into_iter().map(|(name, _, _)| name).collect();
        assert_eq!(names, ["codes", "labels"]);
        let random = shapes(&evaluation.pictures).iter().any(|(name, _, _)| name == "random");
        assert_eq!(random, variational);
    }
    let (evaluation, _) = run(&random(&lab(false)), None, &[], &section());
    let json = serde_json::to_value(&evaluation.summary).expect("JSON");
    assert!(json.get("skipped").is_none() && json.get("explained_variance").is_some());
}

#[test]
fn the_codes_are_the_networks_and_the_lines_between_classes_end_at_their_middles() {
    let _alone = alone();
    let (model, labels) = (random(&lab(false)), labels());
    let section = EvaluateSection { tsne: false, ..section() };
    let (Evaluation { pictures, codes, .. }, _) = run(&model, Some(&labels), &[], &section);
    let images = squares(50);
    let batch = images.batch(&Tensor::from_slice(&[7_i64]), model.network.layout()).expect("there");
    let code: Vec<f32> = model
        .network
        .encode(&model.weights, &batch)
        .and_then(|code| code.f_view([-1])?.try_into())
        .expect("4");
    let all = floats(&codes, "codes");
    for (found, expected) in all[7 * 4..].iter().zip(&code) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    let (middles, lines) = (bytes_of(&pictures, "centroids"), bytes_of(&pictures, "morphing"));
    let middle = |class: usize| &middles[class * 784..][..784];
    let point = |from: usize, to: usize, step: usize| &lines[((from * 3 + to) * 10 + step) * 784..][..784];
    let far =
        |left: &[u8], right: &[u8]| left.iter().zip(right).any(|(left, right)| left.abs_diff(*right) > 1);
    for (from, to) in [(0, 2), (2, 1), (1, 1)] {
        assert!(!far(point(from, to, 0), middle(from)) && !far(point(from, to, 9), middle(to)));
    }
    assert!(far(middle(0), middle(2)), "the test must not compare the same");
    // The decoded mean of the codes of a class.
    let mean: Vec<f32> = (0..4)
        .map(|column| {
            let own = (0..30).filter(|row| labels[*row] == 2).map(|row| all[row * 4 + column]);
            own.sum::<f32>() / 10.0
        })
        .collect();
    let mean = Tensor::from_slice(&mean).view([1, 4]);
    let decoded = model.network.decode(&model.weights, &mean).expect("a code") * 255.0;
    for (found, expected) in middle(1).iter().zip(Vec::<f32>::try_from(decoded.view([-1])).expect("pixels")) {
        assert!((f32::from(*found) - expected).abs() < 0.51);
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_more_noise_a_larger_error() {
    let _alone = alone();
    let section = EvaluateSection { tsne: false, noise: vec![0.0, 0.2, 2.0], ..section() };
    let model = random(&lab(false));
    let measure = || run(&model, Some(&labels()), &[], &section).0;
    let (first, again) = (measure(), measure());
    assert_eq!(
        (&first.summary.noise, &first.summary.occlusion),
        (&again.summary.noise, &again.summary.occlusion)
    );
    assert_eq!((&first.pictures, &first.codes), (&again.pictures, &again.codes));
    let Summary { mse, noise, occlusion, .. } = first.summary;
    assert_eq!((noise.mse[0], occlusion.mse[0]), (mse, mse));
    assert!(noise.mse[1] != mse && noise.mse[2] != noise.mse[1] && occlusion.mse[1] != mse);
}

#[test]
fn drawn_codes_are_like_the_models_own() {
    let _alone = alone();
    let own: Vec<f32> = (0..2000)
        .flat_map(|at| {
            let turn = (at as f32 * 0.7).sin();
            [5.0 + turn, -2.0 * turn + 0.1 * (at as f32 * 1.3).cos(), 3.0]
        })
        .collect();
    let table = codes::CodeTable { values: own, rows: 2000, columns: 3, labels: None };
    let moments = |codes: &Tensor| {
        let mean = codes.mean_dim(&[0_i64][..], true, tch::Kind::Double);
        let centered = codes - &mean;
        (mean, centered.tr().matmul(&centered) / (codes.size()[0] - 1))
    };
    tch::manual_seed(3);
    let plain = random(&ModelSettings { latent_dim: 3, ..lab(false) });
    let drawn = pictures::random_codes(&plain, &table, 20_000).expect("codes");
    let (own_mean, own_covariance) = moments(&table.tensor().expect("numbers"));
    let (mean, covariance) = moments(&drawn);
    assert!((mean - own_mean).abs().max().double_value(&[]) < 0.05);
    assert!((covariance - own_covariance).abs().max().double_value(&[]) < 0.08);
    // The third number is the same in all codes, and so in those that are drawn.
    assert!((drawn.select(1, 2) - 3.0).abs().max().double_value(&[]) < 1e-6);

    let variational = random(&ModelSettings { latent_dim: 3, ..lab(true) });
    let (mean, covariance) = moments(&pictures::random_codes(&variational, &table, 20_000).expect("codes"));
    assert!(mean.abs().max().double_value(&[]) < 0.05);
    assert!(
        (covariance - Tensor::eye(3, (tch::Kind::Double, Device::Cpu))).abs().max().double_value(&[]) < 0.06
    );
}

#[test]
fn the_first_images_of_each_class_are_shown() {
    let labels = [3, 1, 1, 0, 3, 1, 0];
    let positions = |wanted| {
        let choice = Choice::new(Some(&labels), labels.len(), wanted);
        Vec::<i64>::try_from(choice.positions(Device::Cpu).expect("some")).expect("numbers")
    };
    assert_eq!(positions(5), [3, 1, 0, 6, 2]);
    assert_eq!(positions(100).len(), 7);
    let plain = Choice::new(None, 7, 3).positions(Device::Cpu).expect("some");
    assert_eq!(Vec::<i64>::try_from(plain).expect("numbers"), [0, 1, 2]);
}

#[test]
fn an_interruption_ends_it_between_batches_and_within_the_map() {
    let _alone = alone();
    let (model, images, labels, section) = (random(&lab(false)), squares(50), labels(), section());
    let indices: Vec<i64> = (0..IMAGES).collect();
    let task = EvaluateTask {
        model: &model,
        images: &images,
        indices: &indices,
        labels: Some(&labels),
        class_names: &[],
        part: "test",
        corruption: &[],
        section: &section,
        seed: 9,
    };
    for place in ["test", "noise", "codes", "t-SNE", "pictures"] {
        let there = Cell::new(false);
        let mut phases = Vec::new();
        let result = evaluate(&task, &|| there.get(), &mut |phase| {
            phases.push(phase.to_owned());
            there.set(phase == place);
        });
        assert!(result.expect("no error").is_none());
        assert_eq!(phases.last().map(String::as_str), Some(place), "nothing came after it");
    }
    assert_eq!(mean_error(&model, &images, &indices, &|| true).expect("no error"), None);
}

#[test]
fn what_cannot_be_measured_says_so() {
    let _alone = alone();
    let error = |result: Result<Option<Evaluation>, TrainError>| match result {
        Err(TrainError::Invalid(message)) => message,
        _ => panic!("it was measured"),
    };
    let (images, section) = (squares(8), section());
    let mut model = random(&lab(false));
    let under = |section: &EvaluateSection, model: &FittedModel, indices: &[i64], labels: Option<&[u8]>| {
        let (part, corruption, images) = ("test", &[][..], &images);
        let task = EvaluateTask {
            model,
            images,
            indices,
            labels,
            class_names: &[],
            part,
            corruption,
            section,
            seed: 1,
        };
        error(evaluate(&task, &|| false, &mut |_| {}))
    };
    let task = |model: &FittedModel, indices: &[i64], labels| under(&section, model, indices, labels);
    assert!(task(&model, &[], None).contains("no images"));
    assert!(task(&model, &[8], None).contains("image 8"));
    assert!(task(&model, &[1, 2], Some(&[0])).contains("a label for each"));
    let loud = EvaluateSection { noise: vec![0.1, 1e39], ..section.clone() };
    let message = under(&loud, &model, &[1, 2], None);
    assert!(message.contains(&format!("under noise of {} is", 1e39)), "{message}");
    model.weights[0] = Tensor::full_like(&model.weights[0], f64::NAN);
    assert!(task(&model, &[1, 2], None).contains("the model's error is NaN"));
    let error = FittedModel::new(&lab(false), (28, 28), &[0.0; 10], Device::Cpu).err().expect("too few");
    assert!(error.to_string().contains("the model has 10 weights"), "{error}");
}
