//! Explanations and replays as tables for people.

use foldwise_shared::decision::{ordinal, place};
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::{CallRecord, Explanation, LookRecord, PeerRecord, ReplayRecord, StopRecord};
use foldwise_shared::state::{Direction, Rule, Skip};
use foldwise_shared::value::short;

use super::table::{Grid, Pairs, number, pruner, with_note};

/// What no replay knows.
pub(in crate::cli) const LIMITS: &str = "
The trials are those that were recorded, in their order; with another pruner others might have been tried. Epochs are
saved of those that were recorded: the study's own pruner saves no more of them. A trial that was pruned ends where it
ended; `unknown` counts those that a pruner would have let go on, to nobody knows what.";

/// The section of a pruner that never looks.
const NOBODY: &str = r#"{"kind":"none"}"#;

/// Lines kept at the start and the end of a long list, and around each place in it that matters.
const AROUND: usize = 3;

/// A line of the list of those that a trial was compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Line {
    /// One of them.
    Peer { place: u32, trial: TrialNumber, value: Option<f64> },
    /// The trial itself.
    Own { place: u32, value: Option<f64> },
    /// What it had to reach.
    Threshold(f64),
    /// So many are left out.
    Gap(usize),
}

/// The whole list, the best first; of equals the trial itself first, and the threshold behind all who reach it.
pub(super) fn lines(explanation: &Explanation) -> Vec<Line> {
    let Some(call) = explanation.call.as_ref().filter(|call| !call.peers.is_empty()) else {
        return Vec::new();
    };
    let peer = |peer: &PeerRecord| Line::Peer { place: 0, trial: peer.trial, value: peer.value };
    let mut lines: Vec<Line> = call.peers.iter().map(peer).collect();
    lines.push(Line::Own { place: 0, value: call.look.decision.own });
    lines.extend(call.look.decision.threshold.map(Line::Threshold));
    let order = |line: &Line| match *line {
        Line::Own { value, .. } => (value, 0),
        Line::Peer { value, .. } => (value, 1),
        Line::Threshold(value) => (Some(value), 2),
        Line::Gap(_) => (None, 3),
    };
    lines.sort_by(|a, b| {
        let ((a, a_kind), (b, b_kind)) = (order(a), order(b));
        let values = match (a, b, explanation.direction) {
            (Some(a), Some(b), Direction::Minimize) => a.total_cmp(&b),
            (Some(a), Some(b), Direction::Maximize) => b.total_cmp(&a),
            // NaN, which has no value, comes last.
            (a, b, _) => b.is_some().cmp(&a.is_some()),
        };
        values.then(a_kind.cmp(&b_kind))
    });
    let mut places = 1..;
    for line in &mut lines {
        if let Line::Peer { place, .. } | Line::Own { place, .. } = line {
            *place = places.next().unwrap_or_default();
        }
    }
    lines
}

/// The same with what is far from both ends, the trial and the threshold left out.
fn thinned(all: Vec<Line>) -> Vec<Line> {
    let marks: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Peer { .. }))
        .map(|(index, _)| index)
        .collect();
    let kept = |index: usize| {
        index < AROUND
            || index + AROUND >= all.len()
            || marks.iter().any(|mark| mark.abs_diff(index) <= AROUND)
    };
    let mut out = Vec::new();
    for (index, line) in all.iter().enumerate() {
        match out.last_mut() {
            _ if kept(index) => out.push(*line),
            Some(Line::Gap(count)) => *count += 1,
            _ => out.push(Line::Gap(1)),
        }
    }
    out
}

/// Why a trial was pruned, or how near it came to that.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let mut pairs = Pairs::new();
    pairs.row("trial", explanation.trial.to_string());
    let value = explanation.value.map(|value| format!("value {}", short(value)));
    pairs.row("state", with_note(explanation.state.as_str(), value.as_deref()));
    pairs.row("pruner", pruner(&explanation.pruner));
    let pruned = explanation.call.as_ref().filter(|call| call.look.prune);
    match (&explanation.call, pruned) {
        (Some(call), Some(_)) => {
            pairs.row("why", sentence(&call.look));
            pairs.row("to live on", to_live(explanation, call));
        }
        (Some(call), None) => {
            pairs.row("looks", format!("{}, none of which stopped it", explanation.looks.len()));
            pairs.row("closest", sentence(&call.look));
            if let (Some(margin), Some(own)) = (call.margin, call.look.decision.own) {
                pairs.row("margin", with_share(margin, own));
            }
        }
        (None, _) if explanation.pruner == NOBODY => pairs.row("looks", "none: this study prunes nobody"),
        (None, _) => pairs.row("looks", "none"),
    }
    if let Some(call) = explanation.call.as_ref().filter(|call| !call.peers.is_empty()) {
        pairs.row("place", format!("{} of {}", ordinal(call.place.into()), call.peers.len() + 1));
    }
    let mut label = "not judged";
    for (skip, count) in &explanation.skipped {
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        pairs.row(label, format!("{times}: {}", why_not(*skip)));
        label = "";
    }
    if let Some(note) = difference(explanation) {
        pairs.row("note", note);
    }
    let mut page = format!("{}\n", pairs.finish());
    let peers = peers(explanation);
    if !peers.is_empty() {
        page.push_str(&format!("\n{peers}\n"));
    }
    if pruned.is_none() && !explanation.looks.is_empty() {
        page.push_str(&format!("\n{}\n", looks(explanation)));
    }
    page
}

fn sentence(look: &LookRecord) -> String {
    look.decision.sentence(look.prune, look.fold, look.epoch)
}

/// What the trial would have needed.
fn to_live(explanation: &Explanation, call: &CallRecord) -> String {
    let decision = &call.look.decision;
    let Some(own) = decision.own else { return "a value that is a number".into() };
    let Some(threshold) = decision.threshold else {
        return "nothing would have helped: bootstrap_trials only fill the rung".into();
    };
    let most = match (decision.rule, explanation.direction) {
        (Rule::Threshold, _) if own < threshold => "at least",
        (Rule::Threshold, _) | (_, Direction::Minimize) => "at most",
        _ => "at least",
    };
    let margin = with_share(call.margin.unwrap_or((own - threshold).abs()), own);
    let change = if own > threshold { "less" } else { "more" };
    format!("{most} {}: {margin} {change}", short(threshold))
}

/// A number, and what share of another it is.
fn with_share(number: f64, of: f64) -> String {
    if of == 0.0 || !of.is_finite() {
        return short(number);
    }
    format!("{} ({} %)", short(number), short((1000.0 * number / of.abs()).round() / 10.0))
}

fn why_not(skip: Skip) -> &'static str {
    match skip {
        Skip::NotDue => "nothing is due there (a warm-up, or between two intervals or rungs)",
        Skip::FewTrials => "too few trials had come so far",
        Skip::FewPeers => "too few of its peers have a value there",
        Skip::Improving => "it still improved",
        Skip::NoNumber => "there was no number to compare with",
    }
}

/// Where what is computed again differs from what was stored.
fn difference(explanation: &Explanation) -> Option<String> {
    let order = "an earlier version recorded it, and the order within a millisecond is a guess";
    let Some(stored) = explanation.stored else {
        return (!explanation.exact).then(|| order.to_owned());
    };
    let call = explanation.call.as_ref().map(|call| call.look);
    let found = call.filter(|look| (look.fold, look.epoch) == (stored.fold, stored.epoch));
    let why = if explanation.exact { "which it should not" } else { order };
    match found {
        Some(look) if look.decision == stored.decision => (!explanation.exact).then(|| order.to_owned()),
        _ => Some(format!(
            "stored was: {}; what is computed again differs: {why}",
            stored.decision.reason(stored.fold, stored.epoch)
        )),
    }
}

fn peers(explanation: &Explanation) -> String {
    let lines = thinned(lines(explanation));
    let Some(call) = explanation.call.as_ref().filter(|_| !lines.is_empty()) else { return String::new() };
    let title = format!(">value at {}", place(call.look.fold, call.look.epoch));
    let mut grid = Grid::new(&[">place", ">trial", title.as_str(), "<"]);
    for line in lines {
        let row = match line {
            Line::Peer { place, trial, value } => {
                let against = call.look.decision.against == Some(trial);
                let note = if against { "compared with this one" } else { "" };
                [place.to_string(), trial.to_string(), value.map_or("NaN".into(), short), note.into()]
            }
            Line::Own { place, value } => [
                place.to_string(),
                explanation.trial.to_string(),
                value.map_or("NaN".into(), short),
                "<- this trial".into(),
            ],
            Line::Threshold(value) => ["".into(), "".into(), short(value), "-- had to reach".into()],
            Line::Gap(count) => ["".into(), "".into(), format!("... {count} more"), "".into()],
        };
        grid.row(row);
    }
    grid.finish()
}

/// The looks at a trial that lived, those around the closest at least.
fn looks(explanation: &Explanation) -> String {
    let all = &explanation.looks;
    let closest = explanation.call.as_ref().and_then(|call| all.iter().position(|look| *look == call.look));
    let mut grid = Grid::new(&[">fold", ">epoch", ">own", ">threshold", ">peers", "<"]);
    let mut left_out = 0;
    for (index, look) in all.iter().enumerate() {
        let near = closest.is_some_and(|closest| closest.abs_diff(index) <= AROUND);
        if !near && index >= AROUND && index + AROUND < all.len() {
            left_out += 1;
            continue;
        }
        gap(&mut grid, &mut left_out);
        grid.row([
            look.fold.to_string(),
            look.epoch.map_or("end".into(), |epoch| epoch.to_string()),
            number(look.decision.own),
            number(look.decision.threshold),
            look.decision.peers.to_string(),
            if closest == Some(index) { "<- the closest".into() } else { String::new() },
        ]);
    }
    grid.finish()
}

fn gap(grid: &mut Grid, left_out: &mut usize) {
    if *left_out > 0 {
        let more = format!("... {left_out} more");
        grid.row(["".into(), "".into(), more, "".into(), "".into(), "".into()]);
        *left_out = 0;
    }
}

/// Pruners side by side; of a single one beside the study's own, each trial that it would have stopped too.
pub(super) fn replays(records: &[ReplayRecord]) -> String {
    let best = records.iter().map(|record| &record.best).max_by_key(|best| best.len());
    let mut header: Vec<String> =
        ["<pruner", ">stopped", ">epochs saved", ">share"].map(str::to_owned).into();
    for (place, best) in best.iter().flat_map(|best| best.iter()).enumerate() {
        let place =
            if place == 0 { "best".to_owned() } else { format!("{} best", ordinal(place as f64 + 1.0)) };
        header.push(format!("<{place}: trial {}", best.trial));
    }
    header.push(">unknown".to_owned());
    let mut grid = Grid::new(&header);
    for record in records {
        let share = 100.0 * record.saved as f64 / (record.recorded as f64).max(1.0);
        let mut row = vec![
            record.name.clone(),
            format!("{} of {}", record.stopped.len(), record.trials),
            format!("{} of {}", record.saved, record.recorded),
            format!("{share:.0} %"),
        ];
        row.extend(record.best.iter().map(|best| {
            match record.stopped.iter().find(|stop| stop.trial == best.trial) {
                Some(stop) => format!("stopped at {}", place(stop.look.fold, stop.look.epoch)),
                None => "lives".to_owned(),
            }
        }));
        row.push(record.unknown.len().to_string());
        grid.row(row);
    }
    let mut page = format!("{}\n", grid.finish());
    if let [_, asked] = records
        && !asked.stopped.is_empty()
    {
        page.push_str(&format!("\n{}\n", stops(&asked.stopped)));
    }
    if records.iter().any(|record| !record.exact) {
        page.push_str(
            "\nnote: an earlier version recorded it, and the order within a millisecond is a guess\n",
        );
    }
    page
}

fn stops(stops: &[StopRecord]) -> String {
    let mut grid = Grid::new(&[">trial", "<in fact", ">epochs saved", "<would have been stopped"]);
    for stop in stops {
        grid.row([
            stop.trial.to_string(),
            stop.state.to_string(),
            stop.saved.to_string(),
            sentence(&stop.look),
        ]);
    }
    grid.finish()
}
