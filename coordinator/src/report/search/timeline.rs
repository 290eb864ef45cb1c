//! Who trained what, and when.

use std::collections::BTreeMap;
use std::fmt::Write;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::AttemptRecord;
use foldwise_shared::state::{AttemptState, TrialState};

use super::{Search, WIDTH};
use crate::report::plot::{Area, Canvas, Frame, Marker, Scale, legend, number, states};
use crate::report::{Picture, Table};

/// Workers that have a line of their own.
const WORKERS: usize = 60;

/// How an attempt ended, as the picture colors it.
fn ending(attempt: &AttemptRecord) -> (&'static str, &'static str) {
    match (attempt.state, attempt.failure) {
        (AttemptState::Complete, _) => ("complete", states(TrialState::Complete)),
        (AttemptState::Stopped, _) => ("stopped", states(TrialState::Pruned)),
        (AttemptState::Failed, _) => ("failed", states(TrialState::Failed)),
        (AttemptState::Running, _) => ("running", states(TrialState::Running)),
    }
}

/// A line of the picture: attempts of a worker none of which overlap.
type Lane<'a> = Vec<&'a (TrialNumber, AttemptRecord)>;

/// What runs side by side on one worker lies in lanes of its own.
fn lanes(mut attempts: Vec<&(TrialNumber, AttemptRecord)>, now: i64) -> Vec<Lane<'_>> {
    attempts.sort_by_key(|(_, attempt)| attempt.started_at);
    let end = |attempt: &AttemptRecord| attempt.ended_at.map_or(now, |at| at.0);
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    for attempt in attempts {
        let free = lanes
            .iter_mut()
            .find(|lane| lane.last().is_some_and(|(_, last)| end(last) <= attempt.1.started_at.0));
        match free {
            Some(lane) => lane.push(attempt),
            None => lanes.push(vec![attempt]),
        }
    }
    lanes
}

pub(super) fn picture(search: &Search) -> Option<Picture> {
    let first = search.attempts.iter().map(|(_, attempt)| attempt.started_at.0).min()?;
    let ends = search.attempts.iter().map(|(_, attempt)| attempt.ended_at.unwrap_or(attempt.started_at).0);
    let last = ends.max()?.max(first + 1);
    let mut workers: BTreeMap<&str, Vec<&(TrialNumber, AttemptRecord)>> = BTreeMap::new();
    for attempt in &search.attempts {
        workers.entry(&attempt.1.worker).or_default().push(attempt);
    }
    let count = workers.len();
    let rows: Vec<(&str, Vec<Lane<'_>>)> =
        workers.into_iter().take(WORKERS).map(|(name, attempts)| (name, lanes(attempts, last))).collect();
    let lane_count: usize = rows.iter().map(|(_, lanes)| lanes.len()).sum();
    let high = (400.0 / lane_count as f64).clamp(4.0, 22.0);
    let height = rows.iter().map(|(_, lanes)| (lanes.len() as f64 * high).max(13.0) + 4.0).sum::<f64>();

    let (unit, unit_ms) = match last - first {
        span if span < 300_000 => ("seconds", 1e3),
        span if span < 3 * 3_600_000 => ("minutes", 6e4),
        _ => ("hours", 3.6e6),
    };
    let area = Area { left: 120.0, top: 12.0, width: WIDTH - 250.0, height };
    let mut canvas = Canvas::new(WIDTH, height + 62.0);
    let frame = Frame {
        area,
        x: Scale::Linear { low: 0.0, high: (last - first) as f64 / unit_ms },
        y: Scale::Linear { low: 0.0, high: 1.0 },
    };
    frame.draw_x(&mut canvas, &format!("{unit} since the first attempt began"));
    let mut kinds: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (_, attempt) in &search.attempts {
        let (name, color) = ending(attempt);
        kinds.entry(name).or_insert((color, 0)).1 += 1;
    }
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    let mut top = area.top;
    for (worker, lanes) in &rows {
        let tall = (lanes.len() as f64 * high).max(13.0);
        let label: String = worker.chars().take(17).collect();
        canvas.text(
            (area.left - 8.0, top + tall / 2.0 + 4.0),
            crate::report::plot::Anchor::End,
            10.5,
            "soft",
            &label,
        );
        for (at, lane) in lanes.iter().enumerate() {
            let y = top + at as f64 * high;
            bars(lane, &frame, (first, last, unit_ms), (y + 0.5, high - 1.0), &mut paths);
        }
        top += tall + 4.0;
    }
    for (name, path) in &paths {
        let color = kinds.get(name).map_or("#888888", |(color, _)| color);
        canvas.path(path, &format!("fill=\"{color}\""));
    }
    let left = area.left + area.width + 20.0;
    legend(
        &mut canvas,
        (left, 26.0),
        kinds.iter().map(|(name, (color, count))| (Marker::Disk, *color, format!("{name} ({count})"))),
    );

    let header = [
        "worker",
        "device",
        "trial",
        "fold",
        "attempt",
        "state",
        "failure",
        "started_at",
        "ended_at",
        "epochs",
    ];
    let mut table = Table::new(&header);
    for (trial, attempt) in &search.attempts {
        table.row([
            attempt.worker.clone(),
            attempt.device.clone(),
            trial.to_string(),
            attempt.fold.to_string(),
            attempt.attempt.to_string(),
            attempt.state.to_string(),
            attempt.failure.map_or_else(String::new, |class| class.to_string()),
            attempt.started_at.0.to_string(),
            attempt.ended_at.map_or_else(String::new, |at| at.0.to_string()),
            attempt.epochs.to_string(),
        ]);
    }
    let more = if count > WORKERS {
        format!(" The first {WORKERS} of {count} workers are drawn.")
    } else {
        String::new()
    };
    Some(Picture {
        name: "timeline".into(),
        title: "Timeline of the workers".into(),
        caption: format!(
            "Each attempt at a fold as a bar, from its lease to its end, by worker. Stopped: it was pruned, cancelled or handed \
             back as it was told to.{more}"
        ),
        canvas,
        table,
    })
}

/// Draws the bars of a lane; those of one color that are closer than half a pixel become one.
fn bars<'a>(
    lane: &[&'a (TrialNumber, AttemptRecord)],
    frame: &Frame,
    (first, last, unit_ms): (i64, i64, f64),
    (y, height): (f64, f64),
    paths: &mut BTreeMap<&'a str, String>,
) {
    let mut close = |bar: Option<(&'static str, f64, f64)>| {
        if let Some((name, from, to)) = bar {
            let width = number((to - from).max(0.6));
            // A string takes all that is written.
            let _ = write!(
                paths.entry(name).or_default(),
                "M{} {}h{width}v{}h-{width}z",
                number(from),
                number(y),
                number(height)
            );
        }
    };
    let mut bar: Option<(&'static str, f64, f64)> = None;
    for (_, attempt) in lane {
        let place = |at: i64| frame.px((at - first) as f64 / unit_ms);
        let (from, to) = (place(attempt.started_at.0), place(attempt.ended_at.map_or(last, |at| at.0)));
        let (name, _) = ending(attempt);
        bar = match bar {
            Some((known, start, end)) if known == name && from - end < 0.5 && to - start < 4.0 => {
                Some((known, start, to.max(end)))
            }
            other => {
                close(other);
                // A gap that shows where one bar ends and the next begins.
                Some((name, from, (to - 0.4).max(from)))
            }
        };
    }
    close(bar);
}
