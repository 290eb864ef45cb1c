//! Losses by epoch.

use std::collections::BTreeMap;

use super::Run;
use crate::report::plot::{Anchor, Area, Canvas, Frame, Marker, Scale, category, line_legend};
use crate::report::search::WIDTH;
use crate::report::table::cell;
use crate::report::{Picture, Table};

/// The losses, and what was measured beside them.
pub(super) fn pictures(run: &Run, name: &str) -> Vec<Picture> {
    losses(run, name).into_iter().chain(metrics(run, name)).collect()
}

fn losses(run: &Run, name: &str) -> Option<Picture> {
    if run.epochs.len() < 2 {
        return None;
    }
    let area = Area { left: 76.0, top: 16.0, width: WIDTH - 226.0, height: 280.0 };
    let mut canvas = Canvas::new(WIDTH, 352.0);
    let all = run.epochs.iter().flat_map(|epoch| [epoch.train_loss, epoch.validation_loss]).flatten();
    let values: Vec<f64> = all.collect();
    let frame = Frame { area, x: epochs(run), y: Scale::losses(values.iter().copied()) };
    frame.draw(&mut canvas, "epoch", "loss");
    let curve = |of: fn(&foldwise_shared::record::EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        run.epochs.iter().filter_map(|epoch| Some((f64::from(epoch.epoch.0), of(epoch)?))).collect()
    };
    frame.curve(&mut canvas, &curve(|epoch| epoch.train_loss), category(0), 1.8, "stroke-dasharray=\"6 4\"");
    frame.curve(&mut canvas, &curve(|epoch| epoch.validation_loss), category(1), 2.0, "");
    let best = run.trial.folds.first().and_then(|fold| fold.best_epoch.zip(fold.value));
    if let Some((epoch, value)) = best {
        let at = (f64::from(epoch.0), value);
        frame.mark(&mut canvas, at, Marker::Disk, 4.5, category(3));
        let (x, y) = frame.point(at.0, at.1);
        let place = if frame.x.place(at.0) > 0.5 { Anchor::End } else { Anchor::Start };
        canvas.colored_text((x, y - 10.0), place, 11.0, category(3), &format!("best: epoch {epoch}"));
    }
    let entries = [
        (category(0), "stroke-dasharray=\"6 4\"", "training".to_owned()),
        (category(1), "", "validation".to_owned()),
    ];
    line_legend(&mut canvas, (area.left + area.width + 18.0, 30.0), entries.into_iter());
    let mut table = Table::new(&["epoch", "train_loss", "validation_loss", "learning_rate", "seconds"]);
    for epoch in &run.epochs {
        table.row([
            epoch.epoch.to_string(),
            cell(epoch.train_loss),
            cell(epoch.validation_loss),
            cell(epoch.learning_rate),
            cell(epoch.seconds),
        ]);
    }
    Some(Picture {
        name: format!("{name}-losses"),
        title: "Losses by epoch".into(),
        caption: "Training and validation loss after each epoch; the model is the one of the best epoch."
            .into(),
        canvas,
        table,
    })
}

fn epochs(run: &Run) -> Scale {
    Scale::whole(run.epochs.iter().map(|epoch| f64::from(epoch.epoch.0)))
}

fn metrics(run: &Run, name: &str) -> Option<Picture> {
    let mut curves: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut table = Table::new(&["epoch", "metric", "value"]);
    for epoch in &run.epochs {
        for (metric, value) in &epoch.metrics {
            table.row([epoch.epoch.to_string(), metric.clone(), cell(Some(*value))]);
            curves.entry(metric).or_default().push((f64::from(epoch.epoch.0), *value));
        }
    }
    if curves.is_empty() || run.epochs.len() < 2 {
        return None;
    }
    let (wide, high) = (300.0, 200.0);
    let columns = curves.len().min(3);
    let rows = curves.len().div_ceil(columns);
    let mut canvas =
        Canvas::new((columns as f64 * (wide + 84.0) + 16.0).max(420.0), rows as f64 * (high + 64.0) + 10.0);
    for (at, (metric, points)) in curves.iter().enumerate() {
        let area = Area {
            left: 78.0 + (at % columns) as f64 * (wide + 84.0),
            top: 16.0 + (at / columns) as f64 * (high + 64.0),
            width: wide,
            height: high,
        };
        let frame = Frame { area, x: epochs(run), y: Scale::losses(points.iter().map(|point| point.1)) };
        frame.draw(&mut canvas, "epoch", metric);
        frame.curve(&mut canvas, points, category(at), 2.0, "");
    }
    Some(Picture {
        name: format!("{name}-metrics"),
        title: "Measured by epoch".into(),
        caption: "What was measured on the validation images after each epoch, beside the loss.".into(),
        canvas,
        table,
    })
}
