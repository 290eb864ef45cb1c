//! Values by trial, and the best so far.

use std::collections::BTreeMap;

use foldwise_shared::state::TrialState;
use foldwise_shared::value::short;

use super::{POINTS, Search, WIDTH, thinned};
use crate::report::plot::{Area, Canvas, Frame, Marker, Scale, legend, line_legend, states};
use crate::report::table::cell;
use crate::report::{Picture, Table};

/// The color of the best so far.
const BEST: &str = "#228833";

pub(super) fn picture(search: &Search) -> Option<Picture> {
    let done = search.done();
    let last = search.trials.last()?.number.0;
    // A pruned trial stands where it was judged.
    let judged: BTreeMap<u32, f64> =
        search.decisions.iter().filter_map(|record| Some((record.trial.0, record.decision.own?))).collect();
    let pruned: Vec<(f64, f64)> = search
        .trials
        .iter()
        .filter(|trial| trial.state == TrialState::Pruned)
        .filter_map(|trial| Some((f64::from(trial.number.0), *judged.get(&trial.number.0)?)))
        .collect();
    let shown = done.iter().map(|done| done.value).chain(pruned.iter().map(|(_, value)| *value));

    let area = Area { left: 74.0, top: 16.0, width: WIDTH - 224.0, height: 300.0 };
    let mut canvas = Canvas::new(WIDTH, 372.0);
    let frame =
        Frame { area, x: Scale::whole([0.0, f64::from(last).max(4.0)].into_iter()), y: Scale::losses(shown) };
    frame.draw(&mut canvas, "trial", "value");

    let floor = frame.y.value(0.0);
    let failed: Vec<f64> = search
        .trials
        .iter()
        .filter(|trial| trial.state == TrialState::Failed)
        .map(|trial| f64::from(trial.number.0))
        .collect();
    for number in thinned(&failed, 0, POINTS) {
        frame.mark(&mut canvas, (number, floor), Marker::Cross, 3.5, states(TrialState::Failed));
    }
    for point in thinned(&pruned, 0, POINTS) {
        frame.mark(&mut canvas, point, Marker::Ring, 3.0, states(TrialState::Pruned));
    }
    let points: Vec<(f64, f64)> =
        done.iter().map(|done| (f64::from(done.trial.number.0), done.value)).collect();
    for point in thinned(&points, 0, POINTS) {
        frame.mark(&mut canvas, point, Marker::Disk, 3.2, states(TrialState::Complete));
    }
    let mut best: Option<f64> = None;
    let mut so_far: BTreeMap<u32, f64> = BTreeMap::new();
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for done in &done {
        let is_better = best.is_none_or(|best| search.study.direction.is_better(done.value, best));
        if is_better {
            let number = f64::from(done.trial.number.0);
            steps.extend(best.map(|before| (number, before)));
            steps.push((number, done.value));
            best = Some(done.value);
        }
        so_far.extend(best.map(|best| (done.trial.number.0, best)));
    }
    steps.extend(best.map(|best| (f64::from(last), best)));
    frame.curve(&mut canvas, &steps, BEST, 2.0, "");

    let x = area.left + area.width + 18.0;
    line_legend(&mut canvas, (x, 30.0), [(BEST, "", "best so far".to_owned())].into_iter());
    let kinds = [
        (Marker::Disk, TrialState::Complete, done.len()),
        (Marker::Ring, TrialState::Pruned, pruned.len()),
        (Marker::Cross, TrialState::Failed, failed.len()),
    ];
    let kinds = kinds.into_iter().filter(|(_, _, count)| *count > 0);
    legend(
        &mut canvas,
        (x + 4.0, 50.0),
        kinds.map(|(marker, state, count)| (marker, states(state), format!("{state} ({count})"))),
    );

    let mut table = Table::new(&["trial", "state", "value", "std", "best_so_far", "judged"]);
    for trial in &search.trials {
        let number = trial.number.0;
        let best = so_far.range(..=number).next_back().map(|(_, best)| *best);
        table.row([
            number.to_string(),
            trial.state.to_string(),
            cell(trial.value),
            cell(trial.std),
            cell(best),
            cell(judged.get(&number).copied()),
        ]);
    }
    let best = best.map_or_else(String::new, |best| format!(" The best value is {}.", short(best)));
    Some(Picture {
        name: "history".into(),
        title: "Optimization history".into(),
        caption: format!(
            "Each trial at its value; a pruned one at what it was judged by, which is no value of the whole trial; a failed \
             one at the lower edge.{best}"
        ),
        canvas,
        table,
    })
}
