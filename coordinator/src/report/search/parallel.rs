//! Every complete trial as a line through its params.

use super::{Done, Search, Variable, WIDTH, thinned};
use crate::report::plot::{Anchor, Area, Canvas, ColorMap, Scale, clip, color_bar};
use crate::report::{Picture, Table};

/// Lines at most: the best ones and a sample of the others.
const LINES: usize = 600;

pub(super) fn picture(search: &Search, variables: &[Variable]) -> Option<Picture> {
    let mut done = search.done();
    if done.is_empty() || variables.is_empty() {
        return None;
    }
    let colors = ColorMap::of(done.iter().map(|done| done.value), search.minimizes())?;
    if !search.minimizes() {
        done.sort_by(|a, b| b.value.total_cmp(&a.value));
    } else {
        done.sort_by(|a, b| a.value.total_cmp(&b.value));
    }
    let lines = thinned(&done, LINES / 3, LINES);

    let values = Scale::around(done.iter().map(|done| done.value), colors_are_log(&done));
    let axes = variables.len() + 1;
    let width = WIDTH.max(200.0 + 112.0 * (axes - 1) as f64).min(1_500.0);
    let area = Area { left: 70.0, top: 46.0, width: width - 216.0, height: 300.0 };
    let mut canvas = Canvas::new(width, 406.0);
    let gap = area.width / (axes - 1).max(1) as f64;
    let x_of = |at: usize| area.left + at as f64 * gap;
    let y_of = |place: f64| area.top + (1.0 - place.clamp(0.0, 1.0)) * area.height;
    // Where a line passes that has no such param.
    let without = area.top + area.height + 22.0;
    let mut is_missing = false;

    let opacity = (60.0 / lines.len() as f64).clamp(0.25, 0.9);
    for (rank, done) in lines.iter().enumerate().rev() {
        let points: Vec<(f64, f64)> = (0..axes)
            .map(|at| {
                let y = match variables.get(at) {
                    Some(variable) => match variable.value(done.trial) {
                        Some(value) => y_of(variable.axis.place(value)),
                        None => {
                            is_missing = true;
                            without
                        }
                    },
                    None => y_of(values.place(done.value)),
                };
                (x_of(at), y)
            })
            .collect();
        let (stroke, style) =
            if rank == 0 { (2.6, String::new()) } else { (1.1, format!("stroke-opacity=\"{opacity:.2}\"")) };
        canvas.polyline(&points, &colors.color(done.value), stroke, &style);
    }
    for at in 0..axes {
        let (name, scale) =
            variables.get(at).map_or(("value", &values), |variable| (variable.name.as_str(), &variable.axis));
        let x = x_of(at);
        canvas.line((x, area.top), (x, area.top + area.height), "axis", 1.2);
        let name_y = if gap < 100.0 && at % 2 == 1 { area.top - 26.0 } else { area.top - 12.0 };
        canvas.text((x, name_y), Anchor::Middle, 11.5, "ink", &clip(name));
        for tick in scale.ticks(6) {
            let y = y_of(tick.place);
            canvas.line((x - 3.0, y), (x + 3.0, y), "axis", 1.0);
            // A ground under the letters, so that lines do not cross them.
            let wide = tick.label.chars().count() as f64 * 6.4 + 4.0;
            canvas.rect(
                (x - 5.0 - wide, y - 7.0),
                (wide, 13.0),
                "none",
                "class=\"paper\" fill-opacity=\"0.75\"",
            );
            canvas.text((x - 7.0, y + 3.5), Anchor::End, 10.0, "soft", &tick.label);
        }
    }
    if is_missing {
        canvas.text((area.left - 8.0, without + 4.0), Anchor::End, 10.0, "soft", "without");
    }
    let bar = Area { left: area.left + area.width + 36.0, top: area.top + 20.0, width: 12.0, height: 180.0 };
    color_bar(&mut canvas, bar, &colors, search.minimizes(), "value");

    let mut table = Table { header: vec!["trial".into(), "value".into()], rows: Vec::new() };
    table.header.extend(variables.iter().map(|variable| variable.name.clone()));
    let mut by_number = done.clone();
    by_number.sort_by_key(|done| done.trial.number);
    for done in by_number {
        let mut row = vec![done.trial.number.to_string(), done.value.to_string()];
        row.extend(variables.iter().map(|variable| {
            done.trial.params.get(&variable.name).map_or_else(String::new, ToString::to_string)
        }));
        table.rows.push(row);
    }
    let many = if lines.len() < done.len() {
        format!(
            " Of {} complete trials the {} best and a sample of the others are drawn.",
            done.len(),
            LINES / 3
        )
    } else {
        String::new()
    };
    let long: Vec<String> = variables.iter().filter_map(Variable::long_names).collect();
    let long = if long.is_empty() { String::new() } else { format!(" {}.", long.join(". ")) };
    Some(Picture {
        name: "parallel".into(),
        title: "Parallel coordinates".into(),
        caption: format!(
            "Each complete trial is a line through its params to its value, dark where the value is good; the best is \
             thick.{many}{long}"
        ),
        canvas,
        table,
    })
}

fn colors_are_log(done: &[Done<'_>]) -> bool {
    Scale::losses(done.iter().map(|done| done.value)).is_log()
}
