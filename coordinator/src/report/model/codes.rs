//! The codes of the test images in two dimensions.

use std::fmt::Write;

use super::read::{class_name, common_names};
use super::{Evaluation, Tensors};
use crate::report::plot::{Anchor, Area, Canvas, Marker, Scale, category, clip, legend, number};
use crate::report::{Picture, Table};

/// Classes in a legend at most.
const LEGEND: usize = 16;
/// Points drawn at most.
const POINTS: usize = 10_000;

/// Two columns of numbers with a label each.
struct Scatter {
    points: Vec<(f64, f64)>,
    labels: Vec<u8>,
}

impl Scatter {
    fn of(codes: &Tensors, name: &str) -> Option<Self> {
        let tensor = codes.get(name)?;
        let [count, 2] = tensor.shape.as_slice() else { return None };
        let points: Vec<(f64, f64)> =
            tensor.floats.chunks_exact(2).map(|pair| (f64::from(pair[0]), f64::from(pair[1]))).collect();
        if points.len() != *count || points.is_empty() {
            return None;
        }
        // t-SNE may be of the first images only.
        let labels = codes.get("labels").map(|labels| labels.bytes.clone()).unwrap_or_default();
        let labels = if labels.len() >= points.len() { labels[..points.len()].to_vec() } else { Vec::new() };
        Some(Self { points, labels })
    }

    fn classes(&self) -> usize {
        self.labels.iter().copied().max().map_or(1, |label| usize::from(label) + 1)
    }

    fn draw(&self, canvas: &mut Canvas, area: Area) {
        // The same length for the same distance in both directions.
        let finite = || self.points.iter().filter(|point| point.0.is_finite() && point.1.is_finite());
        let bounds = |of: fn(&(f64, f64)) -> f64| {
            finite()
                .map(of)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)))
        };
        let (x, y) = (bounds(|point| point.0), bounds(|point| point.1));
        let zoom = ((x.1 - x.0) / area.width).max((y.1 - y.0) / area.height) * 1.05;
        if !(zoom > 0.0 && zoom.is_finite()) {
            return;
        }
        let scale = |(low, high): (f64, f64), length: f64| {
            let middle = f64::midpoint(low, high);
            Scale::Linear { low: middle - length * zoom / 2.0, high: middle + length * zoom / 2.0 }
        };
        let (x, y) = (scale(x, area.width), scale(y, area.height));
        canvas.rect(
            (area.left, area.top),
            (area.width, area.height),
            "none",
            "class=\"axis\" stroke-width=\"1\"",
        );
        let step = self.points.len().div_ceil(POINTS).max(1);
        let mut paths = vec![String::new(); self.classes()];
        for (at, point) in self.points.iter().enumerate().step_by(step) {
            if !(point.0.is_finite() && point.1.is_finite()) {
                continue;
            }
            let path = &mut paths[self.labels.get(at).map_or(0, |label| usize::from(*label))];
            let (px, py) = (
                area.left + x.place(point.0) * area.width,
                area.top + (1.0 - y.place(point.1)) * area.height,
            );
            // A string takes all that is written.
            let _ = write!(path, "M{} {}h.01", number(px), number(py));
        }
        for (class, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let color = category(class);
            canvas.path(
                path,
                &format!("stroke=\"{color}\" stroke-width=\"3.2\" stroke-linecap=\"round\" stroke-opacity=\"0.75\" fill=\"none\""),
            );
        }
    }

    fn table(&self, model: Option<&str>, table: &mut Table) {
        for (at, (x, y)) in self.points.iter().enumerate() {
            let label = self.labels.get(at).map_or_else(String::new, ToString::to_string);
            let mut row: Vec<String> = model.map(str::to_owned).into_iter().collect();
            row.extend([at.to_string(), label, x.to_string(), y.to_string()]);
            table.rows.push(row);
        }
    }
}

fn classes_legend(canvas: &mut Canvas, place: (f64, f64), classes: usize, names: &[String]) {
    let shown = classes.min(LEGEND);
    let entry = |class| (Marker::Disk, category(class), clip(&class_name(names, class)));
    legend(canvas, place, (0..shown).map(entry));
    if shown < classes {
        let (x, y) = (place.0, place.1 + shown as f64 * 18.0);
        canvas.text((x, y), Anchor::Start, 11.0, "soft", &format!("and {} more", classes - shown));
    }
}

/// PCA and t-SNE of one model.
pub(super) fn pictures(codes: Option<&Tensors>, evaluation: Option<&Evaluation>, name: &str) -> Vec<Picture> {
    let Some(codes) = codes else { return Vec::new() };
    let names = evaluation.map_or(&[][..], |evaluation| &evaluation.class_names);
    let part = evaluation.map(|evaluation| evaluation.part).unwrap_or_default();
    ["pca", "tsne"]
        .into_iter()
        .filter_map(|kind| {
            let scatter = Scatter::of(codes, kind)?;
            let mut canvas = Canvas::new(790.0, 580.0);
            scatter.draw(&mut canvas, Area { left: 12.0, top: 12.0, width: 600.0, height: 556.0 });
            if scatter.classes() > 1 {
                classes_legend(&mut canvas, (630.0, 30.0), scatter.classes(), names);
            }
            let mut table = Table::new(&["image", "label", "x", "y"]);
            scatter.table(None, &mut table);
            let count = scatter.points.len();
            let (title, caption) = match kind {
                "pca" => {
                    let shares = evaluation.and_then(|evaluation| evaluation.explained_variance);
                    let shares = shares.map_or_else(String::new, |[first, second]| {
                        format!(", which have {:.1}% and {:.1}% of the variance", first * 100.0, second * 100.0)
                    });
                    (
                        "Codes by their principal components",
                        format!("The codes of {count} {part} images along their first two principal components{shares}."),
                    )
                }
                _ => {
                    let run = evaluation.and_then(|evaluation| evaluation.tsne);
                    let run = run.map_or_else(String::new, |run| format!(" with the perplexity {}", run.perplexity));
                    ("Codes by t-SNE", format!("The codes of {count} {part} images by t-SNE{run}: who is near whom."))
                }
            };
            Some(Picture { name: format!("{name}-{kind}"), title: title.into(), caption, canvas, table })
        })
        .collect()
}

/// PCA and t-SNE of several models side by side.
pub(super) fn side_by_side<'a>(models: &[(&'a str, &Tensors, Option<&'a Evaluation>)]) -> Vec<Picture> {
    ["pca", "tsne"]
        .into_iter()
        .filter_map(|kind| {
            let of = |(model, codes, evaluation): &(&'a str, &Tensors, Option<&'a Evaluation>)| {
                Some((*model, Scatter::of(codes, kind)?, *evaluation))
            };
            let found: Vec<(&str, Scatter, Option<&Evaluation>)> = models.iter().filter_map(of).collect();
            if found.len() < 2 {
                return None;
            }
            let names = common_names(found.iter().filter_map(|(_, _, evaluation)| *evaluation));
            let size = 330.0;
            let columns = found.len().min(3);
            let rows = found.len().div_ceil(columns);
            let width = columns as f64 * (size + 14.0) + 170.0;
            let mut canvas = Canvas::new(width, rows as f64 * (size + 34.0) + 8.0);
            let mut table = Table::new(&["model", "image", "label", "x", "y"]);
            for (at, (model, scatter, _)) in found.iter().enumerate() {
                let left = 10.0 + (at % columns) as f64 * (size + 14.0);
                let top = 26.0 + (at / columns) as f64 * (size + 34.0);
                canvas.text((left, top - 8.0), Anchor::Start, 12.0, "ink", model);
                scatter.draw(&mut canvas, Area { left, top, width: size, height: size });
                scatter.table(Some(model), &mut table);
            }
            let classes = found.iter().map(|(_, scatter, _)| scatter.classes()).max().unwrap_or(1);
            if classes > 1 {
                classes_legend(&mut canvas, (columns as f64 * (size + 14.0) + 18.0, 40.0), classes, names);
            }
            let title = if kind == "pca" { "Codes by their principal components" } else { "Codes by t-SNE" };
            // One perplexity may be right for one model and not for another.
            let perplexities = found.iter().filter_map(|(model, _, evaluation)| {
                let tsne = (*evaluation)?.tsne.filter(|_| kind == "tsne")?;
                Some(format!("{model} {}", tsne.perplexity))
            });
            let perplexities: Vec<String> = perplexities.collect();
            let mut note = match perplexities.is_empty() {
                true => String::new(),
                false => format!(" Perplexities: {}.", perplexities.join(", ")),
            };
            let are_named = found.iter().any(|(.., evaluation)| {
                evaluation.is_some_and(|evaluation| !evaluation.class_names.is_empty())
            });
            if classes > 1 && are_named && names.is_empty() {
                note.push_str(" The classes of the models have different names: one color may be another class in each.");
            }
            Some(Picture {
                name: format!("side-by-side-{kind}"),
                title: title.into(),
                caption: format!(
                    "The codes of the images in each model; directions and signs mean nothing from one to the next.{note}"
                ),
                canvas,
                table,
            })
        })
        .collect()
}
