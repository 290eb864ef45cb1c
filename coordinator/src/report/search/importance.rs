//! How much each param matters.

use super::{Search, Variable, WIDTH};
use crate::report::importance::{Share, importance};
use crate::report::plot::{Anchor, Area, Canvas, Frame, Scale, category, clip};
use crate::report::{Picture, Table};

/// Complete trials from which on there is something to say.
const TRIALS: usize = 4;

/// The importance of each variable, over the complete trials; none if there are too few. What workers found has none.
pub(super) fn shares(search: &Search, variables: &[Variable]) -> Option<Vec<Share>> {
    let done = search.done();
    if done.len() < TRIALS || variables.is_empty() {
        return None;
    }
    let targets: Vec<f64> = done.iter().map(|done| done.value).collect();
    let searched = variables.iter().filter(|variable| !variable.is_derived);
    let columns: Vec<_> =
        searched.map(|variable| variable.column(done.iter().map(|done| done.trial))).collect();
    let mut found = importance(&columns, &targets, search.spec.study.seed).into_iter();
    Some(
        variables
            .iter()
            .map(
                |variable| {
                    if variable.is_derived { Share::default() } else { found.next().unwrap_or_default() }
                },
            )
            .collect(),
    )
}

/// The indices of the variables, the most important first.
pub(super) fn ranked(variables: &[Variable], shares: Option<&[Share]>) -> Vec<usize> {
    let mut all: Vec<usize> = (0..variables.len()).collect();
    if let Some(shares) = shares {
        all.sort_by(|a, b| shares[*b].mean.total_cmp(&shares[*a].mean));
    }
    all
}

pub(super) fn picture(variables: &[Variable], shares: Option<&[Share]>) -> Option<Picture> {
    let shares = shares?;
    let searched: Vec<usize> =
        ranked(variables, Some(shares)).into_iter().filter(|at| !variables[*at].is_derived).collect();
    if searched.is_empty() || shares.iter().all(|share| share.mean == 0.0) {
        return None;
    }
    let height = 26.0 * searched.len() as f64;
    let area = Area { left: 150.0, top: 12.0, width: WIDTH - 260.0, height };
    let mut canvas = Canvas::new(WIDTH, height + 62.0);
    let high = searched.iter().map(|at| shares[*at].mean + shares[*at].std).fold(0.0, f64::max);
    let names: Vec<String> = searched.iter().rev().map(|at| clip(&variables[*at].name)).collect();
    let frame = Frame {
        area,
        x: Scale::Linear { low: 0.0, high: (high * 1.02).clamp(0.05, 1.0) },
        y: Scale::Bands(names),
    };
    frame.draw(&mut canvas, "importance (share of the explained variance)", "");
    let mut table = Table::new(&["param", "importance", "std_over_trees"]);
    for (rank, at) in searched.iter().enumerate() {
        let share = shares[*at];
        let y = area.top + (rank as f64 + 0.5) * 26.0;
        let (from, to) = (frame.px(0.0), frame.px(share.mean));
        canvas.rect((from, y - 8.0), (to - from, 16.0), category(0), "");
        let (low, high) = (frame.px((share.mean - share.std).max(0.0)), frame.px(share.mean + share.std));
        canvas.line((low, y), (high, y), "mark", 1.4);
        canvas.text((high.max(to) + 8.0, y + 4.0), Anchor::Start, 11.0, "ink", &format!("{:.3}", share.mean));
        table.row([variables[*at].name.clone(), share.mean.to_string(), share.std.to_string()]);
    }
    Some(Picture {
        name: "importance".into(),
        title: "Importance of the params".into(),
        caption: "How much of the differences between complete trials each param explains by itself (functional analysis of \
                  variance over a forest of 64 trees); the thin line is the spread over the trees."
            .into(),
        canvas,
        table,
    })
}
