//! Learning curves, fold by fold.

use std::collections::BTreeMap;

use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::record::{EpochRecord, TrialRecord};
use foldwise_shared::state::{Direction, TrialState};

use super::{Search, WIDTH, thinned};
use crate::report::plot::{Anchor, Area, Canvas, ColorMap, Frame, Scale, color_bar, line_legend};
use crate::report::table::cell;
use crate::report::{Picture, Table};

/// Trials whose curves are drawn.
const TRIALS: usize = 150;
/// The best of them, all of which are.
const BEST: usize = 40;
/// Folds that have a panel.
const FOLDS: usize = 6;
/// The color of a curve that was stopped.
const STOPPED: &str = "#999999";

/// The trials whose curves a report draws: the best, and a sample of the others.
pub fn drawn_trials(trials: &[TrialRecord], direction: Direction) -> Vec<TrialNumber> {
    let mut all: Vec<&TrialRecord> =
        trials.iter().filter(|trial| trial.folds.iter().any(|fold| fold.epochs > 0)).collect();
    all.sort_by(|a, b| match (a.value, b.value) {
        (Some(a), Some(b)) if direction.is_better(a, b) => std::cmp::Ordering::Less,
        (Some(a), Some(b)) if direction.is_better(b, a) => std::cmp::Ordering::Greater,
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        _ => a.number.cmp(&b.number),
    });
    thinned(&all, BEST, TRIALS).into_iter().map(|trial| trial.number).collect()
}

pub(super) fn picture(search: &Search) -> Option<Picture> {
    let mut curves: BTreeMap<(FoldIndex, TrialNumber), Vec<&EpochRecord>> = BTreeMap::new();
    for epoch in &search.curves {
        curves.entry((epoch.fold, epoch.trial)).or_default().push(epoch);
    }
    let last_fold = curves.keys().map(|(fold, _)| fold.0).max()?;
    let states: BTreeMap<TrialNumber, &TrialRecord> =
        search.trials.iter().map(|trial| (trial.number, trial)).collect();
    let colors = ColorMap::of(search.done().iter().map(|done| done.value), search.minimizes());
    let best = search.study.best.map(|best| best.number);

    let folds = (last_fold as usize + 1).min(FOLDS);
    let columns = folds.min(3);
    let rows = folds.div_ceil(columns);
    let wide = if columns == 1 { WIDTH - 230.0 } else { (WIDTH - 240.0) / columns as f64 };
    let high = if columns == 1 { 300.0 } else { 210.0 };
    let (step_x, step_y) = (wide + 20.0, high + 70.0);
    let mut canvas = Canvas::new(78.0 + columns as f64 * step_x + 122.0, 12.0 + rows as f64 * step_y);
    let losses = search.curves.iter().filter_map(|epoch| epoch.validation_loss);
    let y = Scale::losses(losses);
    let last_epoch = search.curves.iter().map(|epoch| epoch.epoch.0).max()?;
    let x = Scale::whole([1.0, f64::from(last_epoch)].into_iter());
    for fold in 0..folds {
        let area = Area {
            left: 76.0 + (fold % columns) as f64 * step_x,
            top: 26.0 + (fold / columns) as f64 * step_y,
            width: wide,
            height: high,
        };
        let frame = Frame { area, x: x.clone(), y: y.clone() };
        if fold % columns == 0 {
            frame.draw(&mut canvas, "epoch", "validation loss");
        } else {
            frame.draw_x(&mut canvas, "epoch");
            canvas.line((area.left, area.top), (area.left, area.top + high), "axis", 1.0);
        }
        if folds > 1 {
            canvas.text(
                (area.left + 6.0, area.top - 8.0),
                Anchor::Start,
                11.5,
                "ink",
                &format!("fold {fold}"),
            );
        }
        let mut of_fold: Vec<_> = curves.iter().filter(|((of, _), _)| of.0 as usize == fold).collect();
        // The best are drawn last.
        of_fold.sort_by(|a, b| {
            let share = |number: &TrialNumber| {
                let value = states.get(number).and_then(|trial| trial.value);
                value.zip(colors).map_or(2.0, |(value, colors)| colors.share(value))
            };
            share(&b.0.1).total_cmp(&share(&a.0.1)).then_with(|| b.0.1.cmp(&a.0.1))
        });
        for ((_, number), epochs) in of_fold {
            let points: Vec<(f64, f64)> = epochs
                .iter()
                .filter_map(|epoch| Some((f64::from(epoch.epoch.0), epoch.validation_loss?)))
                .collect();
            let trial = states.get(number);
            let value =
                trial.filter(|trial| trial.state == TrialState::Complete).and_then(|trial| trial.value);
            match value.zip(colors) {
                Some((value, colors)) => {
                    let stroke = if best == Some(*number) { 3.0 } else { 1.1 };
                    frame.curve(&mut canvas, &points, &colors.color(value), stroke, "stroke-opacity=\"0.8\"");
                }
                None => frame.curve(&mut canvas, &points, STOPPED, 1.0, "stroke-opacity=\"0.55\""),
            }
        }
    }
    let left = 76.0 + columns as f64 * step_x + 6.0;
    if let Some(colors) = colors {
        let bar = Area { left, top: 44.0, width: 12.0, height: 120.0 };
        color_bar(&mut canvas, bar, &colors, search.minimizes(), "value");
    }
    line_legend(&mut canvas, (left, 192.0), [(STOPPED, "", "not complete".to_owned())].into_iter());

    let mut table = Table::new(&["trial", "fold", "epoch", "train_loss", "validation_loss"]);
    for epoch in &search.curves {
        table.row([
            epoch.trial.to_string(),
            epoch.fold.to_string(),
            epoch.epoch.to_string(),
            cell(epoch.train_loss),
            cell(epoch.validation_loss),
        ]);
    }
    let trials: std::collections::BTreeSet<_> = curves.keys().map(|(_, trial)| trial).collect();
    let many = if trials.len() < search.trials.len() {
        format!(
            " Of {} trials the curves of {} are drawn: the best, and a sample of the others.",
            search.trials.len(),
            trials.len()
        )
    } else {
        String::new()
    };
    let more = if last_fold as usize + 1 > FOLDS {
        format!(" The first {FOLDS} folds have a panel.")
    } else {
        String::new()
    };
    Some(Picture {
        name: "curves".into(),
        title: "Learning curves by fold".into(),
        caption: format!(
            "Validation loss by epoch; complete trials in the color of their value, the best thick, all others gray.{many}{more}"
        ),
        canvas,
        table,
    })
}
