//! The error over the strength of a corruption, for one model or for several.

use foldwise_shared::value::short;

use super::read::{on_images, other_images};
use super::{Curve, Evaluation};
use crate::report::plot::{Area, Canvas, Frame, Marker, Scale, category, line_legend};
use crate::report::search::WIDTH;
use crate::report::{Picture, Table};

/// Models with what was measured on them.
pub(super) type Measured<'a> = [(&'a str, &'a Evaluation)];

pub(super) fn pictures(models: &Measured<'_>, name: &str) -> Vec<Picture> {
    let noise = Kind {
        file: "noise",
        title: "Error over Gaussian noise",
        axis: "deviation of the noise",
        of: |evaluation| &evaluation.noise,
    };
    let occlusion = Kind {
        file: "occlusion",
        title: "Error over occlusion",
        axis: "fraction of the pixels hidden by a square",
        of: |evaluation| &evaluation.occlusion,
    };
    [noise, occlusion].iter().filter_map(|kind| kind.picture(models, name)).collect()
}

struct Kind {
    file: &'static str,
    title: &'static str,
    axis: &'static str,
    of: fn(&Evaluation) -> &Curve,
}

impl Kind {
    fn picture(&self, models: &Measured<'_>, name: &str) -> Option<Picture> {
        let drawn: Vec<(&str, &Evaluation)> = models
            .iter()
            .copied()
            .filter(|(_, evaluation)| !(self.of)(evaluation).points().is_empty())
            .collect();
        let curves: Vec<(&str, Vec<(f64, f64)>)> =
            drawn.iter().map(|(model, evaluation)| (*model, (self.of)(evaluation).points())).collect();
        if curves.is_empty() {
            return None;
        }
        let points = || curves.iter().flat_map(|(_, points)| points);
        let area = Area { left: 76.0, top: 16.0, width: WIDTH - 276.0, height: 290.0 };
        let mut canvas = Canvas::new(WIDTH, 362.0);
        let frame = Frame {
            area,
            x: Scale::around(points().map(|point| point.0), false),
            y: Scale::from_zero(points().map(|point| point.1)),
        };
        let images = on_images(drawn.iter().map(|(_, evaluation)| *evaluation));
        frame.draw(&mut canvas, self.axis, &format!("error{images} (MSE a pixel)"));
        let mut table = Table::new(&["model", "level", "mse"]);
        for (at, (model, points)) in curves.iter().enumerate() {
            frame.curve(&mut canvas, points, category(at), 2.0, "");
            for point in points {
                frame.mark(&mut canvas, *point, Marker::Disk, 2.8, category(at));
                table.row([(*model).to_owned(), point.0.to_string(), point.1.to_string()]);
            }
        }
        let mut sentences = Vec::new();
        for (at, (first, one)) in curves.iter().enumerate() {
            for (second, other) in &curves[at + 1..] {
                for (x, y) in crossings(one, other) {
                    frame.mark(&mut canvas, (x, y), Marker::Ring, 6.0, "#888888");
                    sentences.push(format!(
                        "The curves of {first} and {second} cross at {} ({}).",
                        short(x),
                        short(y)
                    ));
                }
            }
        }
        let are_curves = curves.iter().all(|(_, points)| points.len() > 1);
        if curves.len() > 1 && sentences.is_empty() && are_curves {
            sentences.push("No two curves cross.".into());
        }
        sentences.extend(other_images(&drawn));
        let entries =
            curves.iter().enumerate().map(|(at, (model, _))| (category(at), "", (*model).to_owned()));
        line_legend(&mut canvas, (area.left + area.width + 18.0, 30.0), entries);
        sentences.insert(0, "The input is corrupted, the target is not.".into());
        Some(Picture {
            name: format!("{name}-{}", self.file),
            title: self.title.into(),
            caption: sentences.join(" "),
            canvas,
            table,
        })
    }
}

/// Where two curves cross, both straight between their points, within what both have.
pub(super) fn crossings(one: &[(f64, f64)], other: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut levels: Vec<f64> = one.iter().chain(other).map(|point| point.0).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let differences: Vec<(f64, f64, f64)> = levels
        .into_iter()
        .filter_map(|x| {
            let (a, b) = (at(one, x)?, at(other, x)?);
            Some((x, a, a - b))
        })
        .collect();
    let mut found = Vec::new();
    // The last place where one was above the other; where they touch, nothing has changed yet.
    let mut before: Option<(f64, f64, f64)> = None;
    for now in differences {
        if now.2 == 0.0 {
            continue;
        }
        if let Some(before) = before.filter(|before| before.2.signum() != now.2.signum()) {
            let share = before.2 / (before.2 - now.2);
            found.push((before.0 + share * (now.0 - before.0), before.1 + share * (now.1 - before.1)));
        }
        before = Some(now);
    }
    found
}

fn at(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = points.iter().position(|point| point.0 >= x)?;
    let (right, right_y) = points[after];
    if right == x {
        return Some(right_y);
    }
    let (left, left_y) = *points.get(after.checked_sub(1)?)?;
    Some(left_y + (right_y - left_y) * (x - left) / (right - left))
}
