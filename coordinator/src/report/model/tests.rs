use std::collections::BTreeMap;

use foldwise_shared::ids::{Attempt, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::record::FoldRecord;
use foldwise_shared::state::{Direction, StudyState, TrialState};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use serde_json::json;

use super::*;
use crate::report::Picture;

const NAMES: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];

fn run(name: &str, epochs: u32, files: Vec<(&str, Option<u32>, Vec<u8>)>) -> Run {
    let spec = json!({ "study": { "name": name }, "data": { "dataset": "fashion-mnist" } });
    let loss = |epoch: u32| Some(0.01 + 0.1 / f64::from(epoch));
    Run {
        study: StudyRecord {
            parent: None,
            id: StudyId(1),
            name: name.into(),
            state: StudyState::Ended,
            message: None,
            direction: Direction::Minimize,
            spec: spec.to_string(),
            spec_text: String::new(),
            data_digest: String::new(),
            splits_digest: String::new(),
            images: 60_000,
            height: 4,
            width: 4,
            created_at: Millis(0),
            running_ms: 0,
            trials: BTreeMap::from([(TrialState::Complete, 1)]),
            epochs: epochs.into(),
            best: None,
        },
        trial: TrialRecord {
            number: TrialNumber(0),
            state: TrialState::Complete,
            value: loss(epochs),
            std: None,
            params: BTreeMap::new(),
            origins: BTreeMap::new(),
            reason: None,
            created_at: Millis(0),
            finished_at: None,
            folds: vec![FoldRecord {
                fold: FoldIndex(0),
                state: TrialState::Complete,
                value: loss(epochs),
                best_epoch: Some(Epoch(epochs)),
                epochs,
                attempts: 1,
            }],
            parent: None,
        },
        epochs: (1..=epochs)
            .map(|epoch| EpochRecord {
                metrics: Default::default(),
                trial: TrialNumber(0),
                fold: FoldIndex(0),
                attempt: Attempt(1),
                epoch: Epoch(epoch),
                train_loss: loss(epoch),
                validation_loss: loss(epoch),
                learning_rate: Some(1e-3),
                seconds: Some(2.0),
                diverged: false,
                at: Millis(0),
            })
            .collect(),
        files: files
            .into_iter()
            .map(|(kind, epoch, bytes)| File { kind: kind.into(), epoch: epoch.map(Epoch), bytes })
            .collect(),
    }
}

fn tensors(parts: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views: Vec<(&str, TensorView<'_>)> = parts
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).expect("a tensor of that shape"))
        })
        .collect();
    serialize(views, None).expect("safetensors")
}

fn gray(count: usize) -> Vec<u8> {
    (0..count * 16).map(|at| (at * 7 % 256) as u8).collect()
}

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| (at as f32 * 0.37).sin().to_le_bytes()).collect()
}

/// What an evaluation stores; `slope` is how fast the error grows with noise, from `start` on.
fn evaluation(name: &str, start: f64, slope: f64) -> Run {
    let measured = json!({
        "images": 10_000, "class_names": NAMES, "mse": start, "loss": start, "kl": null,
        "noise": { "level": [0.0, 0.2, 0.4], "mse": [start, start + 0.2 * slope, start + 0.4 * slope] },
        "occlusion": { "level": [0.0, 0.5], "mse": [start, start * 2.0] },
        "knn_accuracy": 0.84, "silhouette": 0.12, "explained_variance": [0.3, 0.1],
        "tsne": { "perplexity": 30, "images": 20, "kl_divergence": 0.8 }, "seconds": { "tsne": 1.0 }
    });
    let u8s = |count: usize| gray(count);
    let pictures = tensors(&[
        ("noise.original", Dtype::U8, &[3, 4, 4], u8s(3)),
        ("noise.corrupted", Dtype::U8, &[3, 4, 4], u8s(3)),
        ("noise.reconstructed", Dtype::U8, &[3, 4, 4], vec![0; 48]),
        ("plain.original", Dtype::U8, &[2, 4, 4], u8s(2)),
        ("plain.reconstructed", Dtype::U8, &[2, 4, 4], u8s(2)),
        ("centroids", Dtype::U8, &[3, 4, 4], u8s(3)),
        ("random", Dtype::U8, &[5, 4, 4], u8s(5)),
        ("morphing", Dtype::U8, &[3, 3, 10, 4, 4], u8s(90)),
    ]);
    let codes = tensors(&[
        ("codes", Dtype::F32, &[20, 3], floats(60)),
        ("labels", Dtype::U8, &[20], (0..20).map(|at| at % 3).collect()),
        ("pca", Dtype::F32, &[20, 2], floats(40)),
        ("tsne", Dtype::F32, &[20, 2], floats(40)),
    ]);
    let files = vec![
        ("evaluation", Some(1), measured.to_string().into_bytes()),
        ("pictures", Some(1), pictures),
        ("codes", Some(1), codes),
    ];
    run(name, 1, files)
}

fn reconstruction() -> Vec<u8> {
    tensors(&[
        ("input", Dtype::U8, &[4, 4], vec![255; 16]),
        ("output", Dtype::U8, &[4, 4], vec![0; 16]),
        ("corrupted", Dtype::U8, &[4, 4], gray(1)),
    ])
}

fn range() -> Vec<u8> {
    let rates: Vec<f64> = (0..40).map(|at| 1e-6 * 1.4_f64.powi(at)).collect();
    let losses: Vec<f64> = (0..40).map(|at| 0.2 - 0.004 * f64::from(at)).collect();
    json!({ "learning_rate": rates, "loss": losses, "smoothed": losses, "chosen": 0.001 })
        .to_string()
        .into_bytes()
}

fn model(name: &str, start: f64, slope: f64) -> Model {
    let mut files = vec![("range-test", None, range())];
    files.extend((1..=20).map(|epoch| ("reconstruction", Some(epoch), reconstruction())));
    let mut fit = run(name, 20, files);
    for epoch in &mut fit.epochs {
        let value = 0.5 / f64::from(epoch.epoch.0);
        epoch.metrics = BTreeMap::from([("kl".into(), value), ("mse".into(), value)]);
    }
    let confusion = json!({ "images": 30, "loss": 0.27, "accuracy": 0.9, "class_names": NAMES, "confusion": [[9, 1, 0], [0, 10, 0], [2, 0, 8]],
        "feature_seconds": 1.5, "seconds": 61.0 });
    let transfer =
        run(&format!("{name}-transfer"), 5, vec![("transfer", None, confusion.to_string().into_bytes())]);
    Model {
        name: name.into(),
        fit: Some(fit),
        evaluation: Some(evaluation(&format!("{name}-evaluation"), start, slope)),
        transfers: vec![transfer],
    }
}

fn pictures(sections: &[Section]) -> BTreeMap<String, &Picture> {
    sections
        .iter()
        .flat_map(|section| &section.pictures)
        .map(|picture| (picture.name.clone(), picture))
        .collect()
}

fn csv(picture: &Picture) -> String {
    String::from_utf8(picture.table.csv().expect("CSV")).expect("text")
}

#[test]
fn a_model_has_its_pictures_with_their_numbers() {
    let sections = model("m", 0.01, 0.1).sections();
    assert!(sections.iter().all(|section| section.notes.is_empty()), "{:?}", sections[0].notes);
    let pictures = pictures(&sections);
    let expected = [
        "m-centroids",
        "m-losses",
        "m-metrics",
        "m-morphing",
        "m-morphing-all",
        "m-noise",
        "m-noise-images",
        "m-occlusion",
        "m-pca",
        "m-plain-images",
        "m-random",
        "m-range-test",
        "m-reconstructions",
        "m-transfer-confusion",
        "m-transfer-losses",
        "m-tsne",
    ];
    assert_eq!(pictures.keys().map(String::as_str).collect::<Vec<_>>(), expected);

    // White against black is the error 1, at each of the eight epochs.
    let text = csv(pictures["m-reconstructions"]);
    assert_eq!(text.lines().count(), 9, "{text}");
    assert!(text.starts_with("epoch,mse\n1,1\n") && text.ends_with("\n20,1\n"), "{text}");
    assert!(csv(pictures["m-plain-images"]).ends_with("0,0\n1,0\n"));
    assert!(csv(pictures["m-noise"]).lines().nth(2).is_some_and(|row| row.starts_with("m,0.2,0.03")));
    assert_eq!(csv(pictures["m-tsne"]).lines().count(), 21);
    assert!(pictures["m-tsne"].canvas.file().contains("trouser"));
    assert!(pictures["m-range-test"].canvas.file().contains("chosen: 0.001"));
    assert!(csv(pictures["m-transfer-confusion"]).ends_with("pullover,2,0,8\n"));
    let facts: Vec<&str> = sections[0].facts.iter().map(|(_, value)| value.as_str()).collect();
    assert!(facts.contains(&"0.01 a pixel over 10000 images"), "{facts:?}");
}

#[test]
fn models_stand_side_by_side_and_their_curves_cross() {
    // 0.010 + 0.1 x and 0.014 + 0.06 x meet at x = 0.1, y = 0.02.
    let models = [model("plain", 0.010, 0.1), model("denoiser", 0.014, 0.06)];
    let sections = side_by_side(&models);
    let pictures = pictures(&sections);
    let caption = &pictures["side-by-side-noise"].caption;
    assert!(caption.contains("The curves of plain and denoiser cross at 0.1 (0.02)."), "{caption}");
    for name in ["losses", "pca", "tsne", "centroids", "random", "occlusion"] {
        assert!(pictures.contains_key(&format!("side-by-side-{name}")), "{name}");
    }
    let rows = &sections[0].tables[0].table.rows;
    assert_eq!(rows[1], ["denoiser", "test", "10000", "0.014", "", "", "0.84", "0.12"]);
    assert!(side_by_side(&models[..1]).is_empty());
}

/// The same model, whose evaluation says something else.
fn changed(mut model: Model, key: &str, value: serde_json::Value) -> Model {
    let run = model.evaluation.as_mut().expect("an evaluation");
    let mut measured: serde_json::Value = serde_json::from_slice(&run.files[0].bytes).expect("JSON");
    measured[key] = value;
    run.files[0].bytes = measured.to_string().into_bytes();
    model
}

#[test]
fn models_of_other_images_and_classes_are_not_shown_as_of_the_same() {
    let plain = || model("plain", 0.010, 0.1);
    let other = || model("other", 0.014, 0.06);
    let sections = side_by_side(&[plain(), other()]);
    assert_eq!(sections[0].tables[0].title, "What was measured on test images");
    let file = pictures(&sections)["side-by-side-noise"].canvas.file();
    assert!(file.contains("error on test images (MSE a pixel)"), "{file}");
    assert!(pictures(&sections)["side-by-side-pca"].canvas.file().contains("trouser"));
    let caption = &pictures(&sections)["side-by-side-tsne"].caption;
    assert!(caption.ends_with("Perplexities: plain 30, other 30."), "{caption}");

    let sections = side_by_side(&[plain(), changed(other(), "part", "validation".into())]);
    let table = &sections[0].tables[0];
    assert_eq!(table.title, "What was measured");
    assert_eq!(
        table.table.rows.iter().map(|row| row[1].as_str()).collect::<Vec<_>>(),
        ["test", "validation"]
    );
    let file = pictures(&sections)["side-by-side-noise"].canvas.file();
    assert!(file.contains("error (MSE a pixel)"), "{file}");
    let caption = &pictures(&sections)["side-by-side-noise"].caption;
    let expected = "They were measured on different images: plain on 10000 test images, other on 10000 validation images.";
    assert!(caption.ends_with(expected), "{caption}");

    let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let sections = side_by_side(&[plain(), changed(other(), "class_names", json!(digits))]);
    let pictures = pictures(&sections);
    assert!(!pictures["side-by-side-pca"].canvas.file().contains("trouser"));
    assert!(!pictures.contains_key("side-by-side-centroids"));
    assert!(pictures["side-by-side-pca"].caption.contains("different names"));
    assert_eq!(
        sections[0].notes,
        ["The decoded centroids of other do not stand beside the others, for they are of other classes."]
    );
}

#[test]
fn curves_cross_where_one_comes_to_lie_above_the_other() {
    type Points = &'static [(f64, f64)];
    let cases: [(Points, Points, Points); 4] = [
        (&[(0.0, 0.0), (1.0, 2.0)], &[(0.0, 1.0), (1.0, 1.0)], &[(0.5, 1.0)]),
        // They touch.
        (&[(0.0, 1.0), (1.0, 0.0), (2.0, 1.0)], &[(0.0, 0.0), (2.0, 0.0)], &[]),
        // Points at other places.
        (&[(0.0, 0.0), (2.0, 2.0)], &[(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)], &[(0.0 + 1.0, 1.0)]),
        // Nothing in common.
        (&[(0.0, 0.0), (1.0, 1.0)], &[(2.0, 0.0), (3.0, 1.0)], &[]),
    ];
    for (one, other, expected) in cases {
        let found = corrupted::crossings(one, other);
        assert_eq!(found.len(), expected.len(), "{one:?} {other:?}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.0 - expected.0).abs() < 1e-9 && (found.1 - expected.1).abs() < 1e-9, "{found:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_said_in_the_page() {
    let mut broken = model("m", 0.01, 0.1);
    let run = broken.evaluation.as_mut().expect("an evaluation");
    run.files[0].bytes = b"{\"images\": \"many\"}".to_vec();
    run.files[1].bytes = vec![255; 40];
    run.files[2].bytes.truncate(100);
    let sections = broken.sections();
    let notes = sections[0].notes.join("\n");
    for kind in ["evaluation", "pictures", "codes"] {
        assert!(
            notes.contains(&format!("The artifact `{kind}` of study `m-evaluation` cannot be shown: ")),
            "{notes}"
        );
    }
    assert!(pictures(&sections).contains_key("m-losses"));
}

#[test]
fn tensors_of_another_shape_are_no_picture() {
    let mut odd = model("m", 0.01, 0.1);
    let run = odd.evaluation.as_mut().expect("an evaluation");
    run.files[1].bytes = tensors(&[
        ("centroids", Dtype::U8, &[16], gray(1)),
        ("random", Dtype::F32, &[1, 4, 4], floats(16)),
        ("morphing", Dtype::U8, &[2, 3, 1, 4, 4], gray(6)),
        ("plain.original", Dtype::U8, &[0, 4, 4], Vec::new()),
    ]);
    run.files[2].bytes =
        tensors(&[("pca", Dtype::F32, &[4], floats(4)), ("tsne", Dtype::F32, &[0, 2], Vec::new())]);
    let sections = odd.sections();
    let pictures = pictures(&sections);
    for name in ["centroids", "random", "morphing", "plain-images", "pca", "tsne"] {
        assert!(!pictures.contains_key(&format!("m-{name}")), "{name}");
    }
}

#[test]
fn the_shown_epochs_are_close_where_much_changes() {
    let epochs = |last: u32| (1..=last).map(Epoch).collect::<Vec<_>>();
    let shown = |last: u32| shown_epochs(epochs(last)).into_iter().map(|epoch| epoch.0).collect::<Vec<_>>();
    assert!(shown(0).is_empty());
    assert_eq!(shown(5), [1, 2, 3, 4, 5]);
    assert_eq!(shown(57), [1, 2, 3, 6, 10, 18, 32, 57]);
    assert_eq!(shown(9).len(), 8);
}

#[test]
fn the_classes_that_occur_name_the_pictures_and_the_part_the_numbers() {
    let few = changed(model("m", 0.01, 0.1), "classes", json!([3, 4, 9]));
    let few = changed(few, "part", "validation".into());
    let sections = few.sections();
    assert!(
        sections[0].facts.iter().any(|(name, _)| name == "Error on validation images"),
        "{:?}",
        sections[0].facts
    );
    let pictures = pictures(&sections);
    // 4 and 9 are a pair; 0 and 1, the places of dress and coat, are none.
    assert_eq!(csv(pictures["m-morphing"]), "from,to\ncoat,boot\n");
    let file = pictures["m-centroids"].canvas.file();
    assert!(pictures["m-pca"].caption.contains(" validation images "), "{}", pictures["m-pca"].caption);
    assert!(file.contains("dress") && file.contains("boot") && !file.contains("trouser"), "{file}");
}
