//! Several models in one picture.

use foldwise_shared::value::short;

use super::read::on_images;
use super::{Evaluation, Known, Model, Tensors, codes, corrupted, faces};
use crate::report::plot::{Area, Canvas, Frame, Scale, category, line_legend};
use crate::report::search::WIDTH;
use crate::report::{Picture, Section, ShownTable, Table};

pub(super) fn sections(models: &[Model]) -> Vec<Section> {
    if models.len() < 2 {
        return Vec::new();
    }
    let mut section = Section::chapter("Side by side");
    // What cannot be read is said where the model itself is shown.
    let known: Vec<(&str, Known)> =
        models.iter().map(|model| (model.name.as_str(), Known::of(model, &mut Section::default()))).collect();
    let measured: Vec<(&str, &Evaluation)> =
        known.iter().filter_map(|(name, known)| Some((*name, known.evaluation.as_ref()?))).collect();
    let pictures: Vec<(&str, &Tensors)> =
        known.iter().filter_map(|(name, known)| Some((*name, known.pictures.as_ref()?))).collect();
    let all_codes: Vec<(&str, &Tensors, Option<&Evaluation>)> = known
        .iter()
        .filter_map(|(name, known)| Some((*name, known.codes.as_ref()?, known.evaluation.as_ref())))
        .collect();

    let table = table(&measured);
    if !table.rows.is_empty() {
        let images = on_images(measured.iter().map(|(_, evaluation)| *evaluation));
        let title = format!("What was measured{images}");
        section.tables.push(ShownTable { name: "side-by-side".into(), title, table });
    }
    section.push(losses(models));
    if measured.len() > 1 {
        section.pictures.extend(corrupted::pictures(&measured, "side-by-side"));
    }
    section.pictures.extend(codes::side_by_side(&all_codes));
    if pictures.len() > 1 {
        let centroids = centroids(&known, &mut section.notes);
        section.push(centroids);
        section.push(faces::random(&pictures, "side-by-side"));
    }
    vec![section]
}

/// Each class in its column: of the models whose codes are of the classes of the first.
fn centroids(known: &[(&str, Known)], notes: &mut Vec<String>) -> Option<Picture> {
    let first = &known.iter().find(|(_, known)| known.pictures.is_some())?.1;
    let is_alike = |known: &Known| known.classes() == first.classes() && known.names() == first.names();
    let (alike, others): (Vec<_>, Vec<_>) =
        known.iter().filter(|(_, known)| known.pictures.is_some()).partition(|(_, known)| is_alike(known));
    let others: Vec<&str> = others.into_iter().map(|(name, _)| *name).collect();
    if !others.is_empty() {
        notes.push(format!(
            "The decoded centroids of {} do not stand beside the others, for they are of other classes.",
            others.join(", ")
        ));
    }
    let alike: Vec<(&str, &Tensors)> =
        alike.into_iter().filter_map(|(name, known)| Some((*name, known.pictures.as_ref()?))).collect();
    if alike.len() < 2 {
        return None;
    }
    faces::centroids(&alike, &|count| first.shown_names(count), "side-by-side")
}

/// A row a model.
fn table(measured: &[(&str, &Evaluation)]) -> Table {
    let header = ["model", "part", "images", "mse", "kl", "own_corruption_mse", "knn_accuracy", "silhouette"];
    let mut table = Table::new(&header);
    for (name, evaluation) in measured {
        let numbers = [
            Some(evaluation.mse),
            evaluation.kl,
            evaluation.own_corruption_mse,
            evaluation.knn_accuracy,
            evaluation.silhouette,
        ];
        let head = [(*name).to_owned(), evaluation.part.to_string(), evaluation.images.to_string()];
        let numbers = numbers.map(|number| number.map_or_else(String::new, short));
        table.rows.push(head.into_iter().chain(numbers).collect());
    }
    table
}

/// A model's name, its error by epoch, and whether that is a metric and not the loss.
type Errors<'a> = (&'a str, Vec<(f64, f64)>, bool);

fn losses(models: &[Model]) -> Option<Picture> {
    let curves: Vec<Errors<'_>> = models
        .iter()
        .filter_map(|model| Some((model, model.fit.as_ref()?)))
        .map(|(model, fit)| {
            // The loss of a variational network has another unit; its error a pixel has not.
            let mse: Vec<(f64, f64)> = fit
                .epochs
                .iter()
                .filter_map(|epoch| Some((f64::from(epoch.epoch.0), *epoch.metrics.get("mse")?)))
                .collect();
            if !mse.is_empty() {
                return (model.name.as_str(), mse, true);
            }
            let losses = fit.epochs.iter();
            let losses = losses.filter_map(|epoch| Some((f64::from(epoch.epoch.0), epoch.validation_loss?)));
            (model.name.as_str(), losses.collect(), false)
        })
        .filter(|(_, points, _)| points.len() > 1)
        .collect();
    if curves.len() < 2 {
        return None;
    }
    let points = || curves.iter().flat_map(|(_, points, _)| points);
    let area = Area { left: 76.0, top: 16.0, width: WIDTH - 276.0, height: 290.0 };
    let mut canvas = Canvas::new(WIDTH, 362.0);
    let values: Vec<f64> = points().map(|point| point.1).collect();
    let frame = Frame {
        area,
        x: Scale::whole(points().map(|point| point.0)),
        y: Scale::losses(values.iter().copied()),
    };
    frame.draw(&mut canvas, "epoch", "validation error (MSE a pixel)");
    let mut table = Table::new(&["model", "epoch", "validation_mse"]);
    for (at, (name, points, _)) in curves.iter().enumerate() {
        frame.curve(&mut canvas, points, category(at), 2.0, "");
        for (epoch, value) in points {
            table.row([(*name).to_owned(), epoch.to_string(), value.to_string()]);
        }
    }
    let entries = curves.iter().enumerate().map(|(at, (name, ..))| (category(at), "", (*name).to_owned()));
    line_legend(&mut canvas, (area.left + area.width + 18.0, 30.0), entries);
    let is_mixed = curves.iter().any(|(_, _, is_metric)| *is_metric);
    let note =
        if is_mixed { " Of a variational network it is the error without the KL divergence." } else { "" };
    Some(Picture {
        name: "side-by-side-losses".into(),
        title: "Validation error by epoch".into(),
        caption: format!("The validation error of each model after each epoch.{note}"),
        canvas,
        table,
    })
}
