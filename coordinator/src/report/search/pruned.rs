//! What was pruned, and why.

use std::collections::BTreeMap;

use super::{POINTS, Search, WIDTH, thinned};
use crate::report::plot::{Area, Canvas, Frame, Marker, Scale, category, legend, line_legend};
use crate::report::table::cell;
use crate::report::{Picture, Section, ShownTable, Table};

pub(super) fn section(search: &Search) -> Section {
    let mut section = Section::new("What was pruned, and why");
    if search.decisions.is_empty() {
        return section;
    }
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    let mut table = Table::new(&["trial", "fold", "epoch", "rule", "own", "threshold", "peers", "reason"]);
    for record in &search.decisions {
        *rules.entry(record.decision.rule.to_string()).or_default() += 1;
        table.row([
            record.trial.to_string(),
            record.fold.to_string(),
            record.epoch.map_or_else(String::new, |epoch| epoch.to_string()),
            record.decision.rule.to_string(),
            cell(record.decision.own),
            cell(record.decision.threshold),
            record.decision.peers.to_string(),
            record.decision.reason(record.fold, record.epoch),
        ]);
    }
    let counted =
        rules.iter().map(|(rule, count)| format!("{count} by {rule}")).collect::<Vec<_>>().join(", ");
    section.notes.push(format!(
        "{} of {} trials were pruned: {counted}. `foldwise trial explain {} N` shows the others that trial N was compared with.",
        search.decisions.len(),
        search.trials.len(),
        search.study.name
    ));
    section.push(picture(search, table.clone(), &rules));
    let mut shown = Table::new(&["trial", "fold", "epoch", "reason"]);
    for row in &table.rows {
        shown.rows.push(vec![row[0].clone(), row[1].clone(), row[2].clone(), row[7].clone()]);
    }
    section.tables.push(ShownTable { name: "pruned-reasons".into(), title: "Reasons".into(), table: shown });
    section
}

fn picture(search: &Search, table: Table, rules: &BTreeMap<String, usize>) -> Option<Picture> {
    let epochs = f64::from(search.spec.epochs().max(1));
    let all: Vec<(f64, f64, Option<f64>, usize)> = search
        .decisions
        .iter()
        .filter_map(|record| {
            let within = record.epoch.map_or(epochs, |epoch| f64::from(epoch.0));
            let rule = rules.keys().position(|rule| *rule == record.decision.rule.to_string())?;
            Some((
                f64::from(record.fold.0) * epochs + within,
                record.decision.own?,
                record.decision.threshold,
                rule,
            ))
        })
        .collect();
    let last = all.iter().map(|at| at.0).fold(1.0, f64::max);
    let values = all.iter().flat_map(|at| [Some(at.1), at.2]).flatten();
    let values: Vec<f64> = values.collect();
    let area = Area { left: 76.0, top: 16.0, width: WIDTH - 246.0, height: 280.0 };
    let mut canvas = Canvas::new(WIDTH, 352.0);
    let frame =
        Frame { area, x: Scale::whole([0.0, last].into_iter()), y: Scale::losses(values.iter().copied()) };
    frame.draw(&mut canvas, "epochs of the trial, all folds together", "loss");
    for (x, own, threshold, rule) in thinned(&all, 0, POINTS) {
        if let Some(threshold) = threshold {
            let points = [frame.point(x, threshold), frame.point(x, own)];
            canvas.polyline(&points, category(rule), 1.2, "stroke-opacity=\"0.6\"");
            let (px, py) = points[0];
            canvas.polyline(&[(px - 4.0, py), (px + 4.0, py)], category(rule), 2.0, "");
        }
        frame.mark(&mut canvas, (x, own), Marker::Disk, 2.8, category(rule));
    }
    let left = area.left + area.width + 20.0;
    let names = rules.iter().enumerate();
    legend(
        &mut canvas,
        (left, 28.0),
        names.map(|(at, (rule, count))| (Marker::Disk, category(at), format!("{rule} ({count})"))),
    );
    let y = 28.0 + rules.len() as f64 * 18.0 + 8.0;
    line_legend(
        &mut canvas,
        (left - 4.0, y),
        [("#888888", "", "what it had to reach".to_owned())].into_iter(),
    );
    Some(Picture {
        name: "pruned".into(),
        title: "Where trials were pruned".into(),
        caption: "Each pruned trial where it was stopped: the point is its own number, the bar at the end of its line the number \
                  that it had to reach."
            .into(),
        canvas,
        table,
    })
}
