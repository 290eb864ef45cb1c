//! The value over two params.

use contour::ContourBuilder;

use super::{Done, Search, Variable, WIDTH, importance::ranked, slices::file_name, thinned};
use crate::report::importance::Share;
use crate::report::plot::{Area, Canvas, ColorMap, Frame, color_bar, field};
use crate::report::{Picture, Table};

/// Cells of a numeric axis.
const CELLS: usize = 56;
/// Trials from which a surface is made.
const TRIALS: usize = 1_500;
/// Points drawn on it.
const POINTS: usize = 400;
/// Lines of equal value.
const LINES: usize = 7;
/// Params whose pairs are all drawn.
const PAIRED: usize = 4;

/// The two most important params, `latent_dim` with `linear_units` where both are there, and every pair of the most important
/// ones side by side.
pub(super) fn pictures(search: &Search, variables: &[Variable], shares: Option<&[Share]>) -> Vec<Picture> {
    let done = search.done();
    if done.len() < 5 || variables.len() < 2 {
        return Vec::new();
    }
    let Some(colors) = ColorMap::of(done.iter().map(|done| done.value), search.minimizes()) else {
        return Vec::new();
    };
    // Those that every trial has, by the sampler's choice.
    let mut order = ranked(variables, shares);
    order.retain(|at| {
        let variable = &variables[*at];
        !variable.is_derived && done.iter().all(|done| variable.value(done.trial).is_some())
    });
    if order.len() < 2 {
        return Vec::new();
    }
    let mut pairs = vec![(order[0], order[1])];
    let named = |name: &str| variables.iter().position(|variable| variable.name == name);
    if let (Some(latent), Some(units)) = (named("latent_dim"), named("linear_units"))
        && pairs[0] != (latent, units)
        && pairs[0] != (units, latent)
    {
        pairs.push((latent, units));
    }
    let mut pictures: Vec<Picture> = pairs
        .into_iter()
        .filter_map(|(x, y)| one(search, &done, &variables[x], &variables[y], &colors))
        .collect();
    pictures.extend(matrix(search, &done, variables, &order, &colors));
    pictures
}

fn one(search: &Search, done: &[Done<'_>], x: &Variable, y: &Variable, colors: &ColorMap) -> Option<Picture> {
    let area = Area { left: 96.0, top: 18.0, width: WIDTH - 256.0, height: 400.0 };
    let mut canvas = Canvas::new(WIDTH, 488.0);
    let surface = Surface::of(done, x, y, colors)?;
    surface.draw(&mut canvas, area, colors, 3.4);
    let bar = Area { left: area.left + area.width + 24.0, top: 50.0, width: 12.0, height: 200.0 };
    color_bar(&mut canvas, bar, colors, search.minimizes(), "value");
    let mut table = Table::new(&[&x.name, &y.name, "value"]);
    for (column, x_value) in surface.x_values.iter().enumerate() {
        for (row, y_value) in surface.y_values.iter().enumerate() {
            let text = |variable: &Variable, value: f64| {
                variable
                    .names()
                    .and_then(|names| names.get(value as usize).cloned())
                    .unwrap_or_else(|| value.to_string())
            };
            let value = surface.values[row * surface.x_values.len() + column];
            table.row([text(x, *x_value), text(y, *y_value), value.to_string()]);
        }
    }
    Some(Picture {
        name: format!("contour-{}-{}", file_name(&x.name), file_name(&y.name)),
        title: format!("Value over {} and {}", x.name, y.name),
        caption: "The value as complete trials nearby have it (a mean weighted by distance, to which no value counts as worse than \
                  the end of the colors), dark where it is good, with lines of \
                  equal value; the points are trials in their own color."
            .into(),
        canvas,
        table,
    })
}

fn matrix(
    search: &Search,
    done: &[Done<'_>],
    variables: &[Variable],
    order: &[usize],
    colors: &ColorMap,
) -> Option<Picture> {
    let chosen: Vec<&Variable> = order.iter().take(PAIRED).map(|at| &variables[*at]).collect();
    if chosen.len() < 3 {
        return None;
    }
    let pairs: Vec<(&Variable, &Variable)> = chosen
        .iter()
        .enumerate()
        .flat_map(|(at, x)| chosen[at + 1..].iter().map(move |y| (*x, *y)))
        .collect();
    let (wide, high) = (200.0, 170.0);
    let (step_x, step_y) = (wide + 96.0, high + 66.0);
    let rows = pairs.len().div_ceil(3);
    let mut canvas = Canvas::new(88.0 + 3.0 * step_x + 110.0, 18.0 + rows as f64 * step_y);
    let mut table = Table::new(&["x", "y", "lowest", "highest"]);
    for (at, (x, y)) in pairs.iter().enumerate() {
        let area = Area {
            left: 88.0 + (at % 3) as f64 * step_x,
            top: 14.0 + (at / 3) as f64 * step_y,
            width: wide,
            height: high,
        };
        let Some(surface) = Surface::of(done, x, y, colors) else { continue };
        surface.draw(&mut canvas, area, colors, 1.8);
        let low = surface.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = surface.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        table.row([x.name.clone(), y.name.clone(), low.to_string(), high.to_string()]);
    }
    let bar = Area { left: 70.0 + 3.0 * step_x, top: 40.0, width: 12.0, height: 160.0 };
    color_bar(&mut canvas, bar, colors, search.minimizes(), "value");
    Some(Picture {
        name: "contours".into(),
        title: "Value over every two of the most important params".into(),
        caption: format!("As above, for every pair of the {} most important params.", chosen.len()),
        canvas,
        table,
    })
}

/// The value on a grid over two params.
struct Surface<'a> {
    x: &'a Variable,
    y: &'a Variable,
    x_values: Vec<f64>,
    y_values: Vec<f64>,
    /// By rows of `y_values`.
    values: Vec<f64>,
    /// Trials: where they are and what they are worth.
    points: Vec<(f64, f64, f64)>,
}

/// How far apart, and how like each other two places on an axis are.
fn kernel(variable: &Variable, width: f64, a: f64, b: f64) -> f64 {
    match variable.names() {
        Some(_) if a == b => 1.0,
        // Another choice counts only where there is no trial of this one.
        Some(_) => 1e-9,
        None => {
            let distance = (variable.axis.place(a) - variable.axis.place(b)) / width;
            (-0.5 * distance * distance).exp().max(1e-12) + 1e-6 / (1.0 + distance * distance)
        }
    }
}

fn grid(variable: &Variable) -> Vec<f64> {
    match variable.names() {
        Some(names) => (0..names.len()).map(|at| at as f64).collect(),
        None => (0..CELLS).map(|at| variable.axis.value((at as f64 + 0.5) / CELLS as f64)).collect(),
    }
}

impl<'a> Surface<'a> {
    fn of(done: &[Done<'_>], x: &'a Variable, y: &'a Variable, colors: &ColorMap) -> Option<Self> {
        let points: Vec<(f64, f64, f64)> = done
            .iter()
            .filter_map(|done| Some((x.value(done.trial)?, y.value(done.trial)?, done.value)))
            .collect();
        if points.len() < 3 {
            return None;
        }
        // An outlier would raise everything around it: what is beyond the colors counts as their end.
        let (good, bad) = colors.ends();
        let (low, high) = (good.min(bad), good.max(bad));
        let used = thinned(&points, 0, TRIALS);
        // Scott's rule for two dimensions, for a spread over the whole axis.
        let width = 0.29 * (used.len() as f64).powf(-1.0 / 6.0);
        let (x_values, y_values) = (grid(x), grid(y));
        let x_weights: Vec<Vec<f64>> = x_values
            .iter()
            .map(|at| used.iter().map(|point| kernel(x, width, point.0, *at)).collect())
            .collect();
        let y_weights: Vec<Vec<f64>> = y_values
            .iter()
            .map(|at| used.iter().map(|point| kernel(y, width, point.1, *at)).collect())
            .collect();
        let mut values = Vec::with_capacity(x_values.len() * y_values.len());
        for y_weights in &y_weights {
            for x_weights in &x_weights {
                let (mut sum, mut weight) = (0.0, 0.0);
                for ((point, x_weight), y_weight) in used.iter().zip(x_weights).zip(y_weights) {
                    let both = x_weight * y_weight;
                    weight += both;
                    sum += both * point.2.clamp(low, high);
                }
                values.push(sum / weight);
            }
        }
        Some(Self { x, y, x_values, y_values, values, points })
    }

    fn draw(&self, canvas: &mut Canvas, area: Area, colors: &ColorMap, radius: f64) {
        let (columns, rows) = (self.x_values.len(), self.y_values.len());
        let pixels: Vec<[u8; 3]> = (0..rows)
            .rev()
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| ColorMap::rgb(colors.share(self.values[row * columns + column])))
            .collect();
        let is_smooth = self.x.names().is_none() && self.y.names().is_none();
        if let Some(png) = field(columns, rows, &pixels) {
            canvas.image((area.left, area.top), (area.width, area.height), &png, is_smooth);
        }
        if is_smooth {
            self.lines(canvas, area, colors);
        }
        let frame = Frame { area, x: self.x.axis.clone(), y: self.y.axis.clone() };
        frame.draw_x(canvas, &self.x.name);
        frame.draw_y(canvas, &self.y.name);
        for (x, y, value) in thinned(&self.points, 0, POINTS) {
            let (px, py) = frame.point(x, y);
            canvas.circle((px, py), radius, &colors.color(value), "stroke=\"#ffffff\" stroke-width=\"0.9\"");
        }
    }

    /// Lines of equal value.
    fn lines(&self, canvas: &mut Canvas, area: Area, colors: &ColorMap) {
        let (columns, rows) = (self.x_values.len(), self.y_values.len());
        let (good, bad) = colors.ends();
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min).max(good.min(bad));
        let high = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max).min(good.max(bad));
        if low >= high || low.is_nan() || high.is_nan() {
            return;
        }
        let levels: Vec<f64> =
            (1..=LINES).map(|at| low + (high - low) * at as f64 / (LINES + 1) as f64).collect();
        let Ok(found) = ContourBuilder::new(columns, rows, true).lines(&self.values, &levels) else { return };
        let place = |x: f64, y: f64| {
            let x = area.left + (x / columns as f64).clamp(0.0, 1.0) * area.width;
            (x, area.top + (1.0 - (y / rows as f64).clamp(0.0, 1.0)) * area.height)
        };
        for level in found {
            for line in &level.geometry().0 {
                let points: Vec<(f64, f64)> = line.coords().map(|point| place(point.x, point.y)).collect();
                canvas.polyline(&points, "#ffffff", 0.9, "stroke-opacity=\"0.6\"");
            }
        }
    }
}
