//! Each param against the value.

use super::{Done, POINTS, Search, Variable, WIDTH, importance::ranked, thinned};
use crate::report::importance::Share;
use crate::report::plot::{Area, Canvas, Frame, Marker, Scale, category, clip, legend};
use crate::report::{Picture, Table};

/// Panels side by side.
const COLUMNS: usize = 3;
/// Colors that can be told apart.
const COLORS: usize = 8;

pub(super) fn pictures(search: &Search, variables: &[Variable], shares: Option<&[Share]>) -> Vec<Picture> {
    let done = search.done();
    if done.is_empty() || variables.is_empty() {
        return Vec::new();
    }
    let mut pictures = vec![all(search, &done, variables, shares)];
    // The one pair that everybody asks for.
    let named = |name: &str| variables.iter().find(|variable| variable.name == name);
    if let (Some(latent), Some(optimizer)) = (named("latent_dim"), named("optimizer")) {
        pictures.push(one(search, &done, latent, optimizer));
    }
    pictures
}

/// The params whose choices can be told apart by color, the most important first.
fn colored<'a>(variables: &'a [Variable], shares: Option<&[Share]>) -> Option<&'a Variable> {
    let ranked = ranked(variables, shares).into_iter().map(|at| &variables[at]);
    let mut fit = ranked.filter(|variable| variable.names().is_some_and(|names| names.len() <= COLORS));
    fit.next()
}

fn scale(search: &Search) -> Scale {
    Scale::losses(search.trials.iter().filter_map(|trial| trial.value))
}

fn points(
    canvas: &mut Canvas,
    frame: &Frame,
    done: &[Done<'_>],
    variable: &Variable,
    by: Option<&Variable>,
    radius: f64,
) {
    // Points of one band lie beside each other, the wider apart the more there are.
    let drawn = done.iter().filter(|done| variable.value(done.trial).is_some()).count().max(1);
    let room = variable.names().map(|names| 0.6 * (1.0 - names.len() as f64 / drawn as f64).max(0.0));
    for done in done {
        let Some(mut x) = variable.value(done.trial) else { continue };
        if let Some(room) = room {
            let spread = f64::from(done.trial.number.0.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
            x += (spread - 0.5) * room;
        }
        let color =
            by.map_or(Some(0.0), |by| by.value(done.trial)).map_or("#888888", |at| category(at as usize));
        frame.mark(canvas, (x, done.value), Marker::Disk, radius, color);
    }
}

fn all(search: &Search, done: &[Done<'_>], variables: &[Variable], shares: Option<&[Share]>) -> Picture {
    let by = colored(variables, shares);
    let order = ranked(variables, shares);
    let rows = order.len().div_ceil(COLUMNS);
    let columns = order.len().min(COLUMNS);
    let (wide, high) = (214.0, 172.0);
    let legend_width = if by.is_some() { 150.0 } else { 10.0 };
    let (step_x, step_y) = (wide + 18.0, high + 66.0);
    let width = 76.0 + columns as f64 * step_x + legend_width;
    let mut canvas = Canvas::new(width.max(420.0), 14.0 + rows as f64 * step_y);
    let drawn = thinned(done, 0, POINTS * 2 / (order.len() + 1).max(3));
    for (at, index) in order.iter().enumerate() {
        let variable = &variables[*index];
        let area = Area {
            left: 72.0 + (at % COLUMNS) as f64 * step_x,
            top: 12.0 + (at / COLUMNS) as f64 * step_y,
            width: wide,
            height: high,
        };
        let frame = Frame { area, x: variable.roomy(), y: scale(search) };
        if at % COLUMNS == 0 {
            frame.draw(&mut canvas, &clip(&variable.name), "value");
        } else {
            let bare = Frame { y: scale(search), ..frame.clone() };
            bare.draw_x(&mut canvas, &clip(&variable.name));
            for tick in bare.y.ticks((high / 38.0) as usize) {
                let y = area.top + (1.0 - tick.place) * high;
                canvas.line((area.left, y), (area.left + wide, y), "grid", 1.0);
            }
            canvas.line((area.left, area.top), (area.left, area.top + high), "axis", 1.0);
        }
        points(&mut canvas, &frame, &drawn, variable, by, 2.6);
    }
    if let Some(by) = by {
        let x = 76.0 + columns as f64 * step_x;
        named_legend(&mut canvas, (x, 24.0), by);
    }
    let mut table = Table { header: vec!["trial".into(), "value".into()], rows: Vec::new() };
    table.header.extend(variables.iter().map(|variable| variable.name.clone()));
    for done in done {
        let mut row = vec![done.trial.number.to_string(), done.value.to_string()];
        row.extend(variables.iter().map(|variable| {
            done.trial.params.get(&variable.name).map_or_else(String::new, ToString::to_string)
        }));
        table.rows.push(row);
    }
    let color = by.map_or_else(String::new, |by| format!(", colored by {}", by.name));
    Picture {
        name: "slices".into(),
        title: "Slices".into(),
        caption: format!(
            "Each param against the value of the complete trials{color}; the most important param comes first."
        ),
        canvas,
        table,
    }
}

fn named_legend(canvas: &mut Canvas, (x, y): (f64, f64), by: &Variable) {
    canvas.text((x, y), crate::report::plot::Anchor::Start, 11.5, "ink", &clip(&by.name));
    let names = by.names().unwrap_or_default();
    let entries = names.iter().enumerate().map(|(at, name)| (Marker::Disk, category(at), name.clone()));
    legend(canvas, (x, y + 20.0), entries);
}

fn one(search: &Search, done: &[Done<'_>], variable: &Variable, by: &Variable) -> Picture {
    let area = Area { left: 74.0, top: 16.0, width: WIDTH - 224.0, height: 290.0 };
    let mut canvas = Canvas::new(WIDTH, 366.0);
    let frame = Frame { area, x: variable.roomy(), y: scale(search) };
    frame.draw(&mut canvas, &variable.name, "value");
    points(&mut canvas, &frame, &thinned(done, 0, POINTS), variable, Some(by), 3.6);
    named_legend(&mut canvas, (area.left + area.width + 20.0, 28.0), by);
    let mut table = Table::new(&["trial", &variable.name, &by.name, "value"]);
    for done in done {
        let text = |name: &str| done.trial.params.get(name).map_or_else(String::new, ToString::to_string);
        table.row([
            done.trial.number.to_string(),
            text(&variable.name),
            text(&by.name),
            done.value.to_string(),
        ]);
    }
    let (one, other) = (&variable.name, &by.name);
    Picture {
        name: format!("{}-by-{}", file_name(one), file_name(other)),
        title: format!("{one} against the value, by {other}"),
        caption: format!("The complete trials, colored by {other}."),
        canvas,
        table,
    }
}

/// A param's name as part of a file's.
pub(super) fn file_name(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect()
}
