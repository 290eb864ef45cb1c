//! Answers as tables for people: aligned columns without borders, short numbers, `-` where there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use foldwise_shared::decision::place;
use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{
    AttemptRecord, DecisionRecord, EpochRecord, FoldRecord, StudyRecord, TrialRecord,
};
use foldwise_shared::space::{Domain, Param};
use foldwise_shared::spec::{SamplerKind, StudySpec};
use foldwise_shared::split::Scheme;
use foldwise_shared::state::TrialState;
use foldwise_shared::value::short;

use super::rows::metric_names;
use super::{Answer, bench, fleet, hindsight, moment, span};
use crate::cli::data::{DataSummary, FetchedRow};

/// Blanks between two columns.
const GAP: u16 = 2;

pub(super) fn write(answer: Answer<'_>, out: &mut dyn Write) -> io::Result<()> {
    match answer {
        Answer::Studies(records) => writeln!(out, "{}", studies(records)),
        Answer::Study(record) => writeln!(out, "{}", study(record, None)),
        Answer::Shown(record, ledger) => writeln!(out, "{}", study(record, Some(ledger))),
        Answer::Workers(records) => writeln!(out, "{}", fleet::workers(records)),
        Answer::Ledger(ledger) => writeln!(out, "{}", fleet::ledger(ledger)),
        Answer::Trials(records) => writeln!(out, "{}", trials(records)),
        Answer::Trial(record, decisions, attempts) => write!(out, "{}", trial(record, decisions, attempts)),
        Answer::Best(study, record) => writeln!(out, "{}", best(study, record)),
        Answer::Curve(records) => writeln!(out, "{}", curve(records)),
        Answer::Explanation(explanation) => write!(out, "{}", hindsight::explanation(explanation)),
        Answer::Replays(records) => write!(out, "{}", hindsight::replays(records)),
        Answer::Fetched(rows) => writeln!(out, "{}", fetched(rows)),
        Answer::Data(summary) => write!(out, "{}", data(summary)),
        Answer::Search(comparison) => writeln!(out, "{}", bench::search_table(comparison)),
        Answer::Suggest(timings) => writeln!(out, "{}", bench::suggest_table(timings)),
        Answer::Load(load) => writeln!(out, "{}", bench::load_table(&load.figures)),
        Answer::Restart(rounds) => writeln!(out, "{}", bench::restart_table(rounds)),
    }
}

fn studies(records: &[StudyRecord]) -> String {
    let mut grid = Grid::new(&[
        "<study",
        "<state",
        ">priority",
        "<trials",
        ">epochs",
        ">best",
        ">trial",
        ">time",
        "<created",
    ]);
    for record in records {
        grid.row([
            record.name.clone(),
            record.state.to_string(),
            text(StudySpec::from_json(&record.spec).ok().map(|spec| spec.study.priority)),
            counts(&record.trials),
            record.epochs.to_string(),
            number(record.best.map(|best| best.value)),
            text(record.best.map(|best| best.number)),
            span(record.running_ms),
            moment(record.created_at),
        ]);
    }
    grid.finish()
}

fn study(record: &StudyRecord, ledger: Option<&Ledger>) -> String {
    let mut pairs = Pairs::new();
    pairs.row("study", &record.name);
    pairs.row("state", with_note(record.state.as_str(), record.message.as_deref()));
    let spec = StudySpec::from_json(&record.spec);
    if let Ok(spec) = &spec {
        if spec.is_external() {
            pairs.row("objective", format!("external, {} a trial", plural(spec.folds(), "fold")));
        } else {
            let split = match spec.scheme() {
                Scheme::Folds(folds) => plural(folds, "fold"),
                Scheme::Whole => "all images".to_owned(),
                Scheme::Holdout(images) => format!("{images} held out"),
            };
            let shape = format!("{} images of {}x{}", record.images, record.height, record.width);
            pairs.row("data", format!("{}, {shape}, {split}", spec.dataset()));
            pairs.row("training", training(spec));
        }
        let mut label = "space";
        for (name, param) in &spec.space.0 {
            pairs.row(label, format!("{name}: {}{}", describe(&param.domain), conditions(param)));
            label = "";
        }
        if spec.study.priority != 0 {
            pairs.row("priority", spec.study.priority.to_string());
        }
        pairs.row("sampler", sampler(spec));
        pairs.row("pruner", pruner(&spec.pruner_json()));
    }
    let budget = spec.map(|spec| spec.budget).unwrap_or_default();
    let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let all: u32 = record.trials.values().sum();
    let detail = if all == 0 { String::new() } else { format!(": {}", counts(&record.trials)) };
    pairs.row("trials", format!("{all}{}{detail}", of(budget.trials.map(|limit| limit.to_string()))));
    pairs.row(
        "epochs",
        format!("{}{}", record.epochs, of(budget.total_epochs.map(|limit| limit.to_string()))),
    );
    pairs.row("time", format!("{}{}", span(record.running_ms), of(budget.wall_time)));
    if let Some(ledger) = ledger {
        pairs.row("device time", fleet::account(ledger));
    }
    let best = record
        .best
        .map(|best| format!("trial {}: {} ({})", best.number, short(best.value), record.direction));
    pairs.row("best", text(best));
    pairs.row("created", moment(record.created_at));
    // An external objective's data is its own affair.
    if !record.data_digest.is_empty() {
        pairs.row("data digest", &record.data_digest);
    }
    pairs.finish()
}

fn training(spec: &StudySpec) -> String {
    let network = serde_json::to_value(spec.model.network).ok();
    let mut parts = vec![network.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_owned()];
    parts.push(format!("up to {} epochs", spec.epochs()));
    for name in ["latent_dim", "dropout", "optimizer", "learning_rate", "weight_decay", "batch_size"] {
        if let Some(value) = spec.fixed_setting(name) {
            parts.push(format!("{name} {value}"));
        }
    }
    if let Some(stopping) = spec.train.early_stopping {
        parts.push(format!("early stopping after {}", stopping.patience));
    }
    parts.join(", ")
}

fn sampler(spec: &StudySpec) -> String {
    let seed = spec.study.seed;
    match spec.sampler.kind {
        SamplerKind::Auto => format!("auto (a Gaussian process, then tpe), seed {seed}"),
        SamplerKind::Gp => format!("gp (a Gaussian process), seed {seed}"),
        SamplerKind::Tpe if spec.sampler.multivariate == Some(false) => {
            format!("tpe, each param on its own, seed {seed}")
        }
        SamplerKind::Tpe => format!("tpe, seed {seed}"),
        SamplerKind::Random => format!("random, seed {seed}"),
        SamplerKind::Sobol => format!("sobol, seed {seed}"),
        SamplerKind::Grid => "grid".to_owned(),
    }
}

/// A pruner with its settings, such as `median, startup_trials 3`, from its section as JSON text.
pub(super) fn pruner(section: &str) -> String {
    let section: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(section).unwrap_or_default();
    let setting = |(key, value): (&String, &serde_json::Value)| match value.as_f64() {
        Some(value) => format!("{key} {}", short(value)),
        None => value.as_str().unwrap_or_default().to_owned(),
    };
    section.iter().map(setting).collect::<Vec<_>>().join(", ")
}

fn conditions(param: &Param) -> String {
    let words = param.when.iter().map(|(other, value)| format!("{other} = {value}"));
    let words = words.collect::<Vec<_>>().join(" and ");
    if words.is_empty() { words } else { format!(", when {words}") }
}

fn plural(count: u32, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

fn describe(domain: &Domain) -> String {
    let log = |log: &bool| if *log { ", log" } else { "" };
    match domain {
        Domain::Float { low, high, log: scale, step } => {
            let step = step.map(|step| format!(", step {}", short(step))).unwrap_or_default();
            format!("{} to {}{}{step}", short(*low), short(*high), log(scale))
        }
        Domain::Int { low, high, log: scale, step } => {
            let step = if *step == 1 { String::new() } else { format!(", step {step}") };
            format!("{low} to {high}{}{step}", log(scale))
        }
        Domain::Choice(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "),
        Domain::Bool => "true | false".to_owned(),
        Domain::Fixed(value) => format!("{value} (fixed)"),
    }
}

fn trials(records: &[TrialRecord]) -> String {
    let params: BTreeSet<&String> = records.iter().flat_map(|trial| trial.params.keys()).collect();
    let mut header: Vec<String> = [">trial", "<state", ">value", ">std"].map(str::to_owned).into();
    header.extend(params.iter().map(|name| format!(">{name}")));
    header.extend([">folds", ">epochs", "<finished", "<reason"].map(str::to_owned));
    let mut grid = Grid::new(&header);
    for trial in records {
        let mut row =
            vec![trial.number.to_string(), trial.state.to_string(), number(trial.value), number(trial.std)];
        row.extend(params.iter().map(|name| text(trial.params.get(*name))));
        let complete = trial.folds.iter().filter(|fold| fold.state == TrialState::Complete).count();
        row.push(format!("{complete}/{}", trial.folds.len()));
        row.push(trial.folds.iter().map(|fold| fold.epochs).sum::<u32>().to_string());
        row.push(text(trial.finished_at.map(moment)));
        // Why a trial is complete is no news.
        row.push(text(trial.reason.as_ref().filter(|_| trial.state != TrialState::Complete)));
        grid.row(row);
    }
    grid.finish()
}

fn trial(record: &TrialRecord, decisions: &[DecisionRecord], attempts: &[AttemptRecord]) -> String {
    let mut pairs = Pairs::new();
    pairs.row("trial", record.number.to_string());
    pairs.row("state", with_note(record.state.as_str(), record.reason.as_deref()));
    pairs.row("value", plus_minus(record.value, record.std));
    if let Some(parent) = record.parent {
        pairs.row("tries again", format!("trial {parent}"));
    }
    pairs.row("created", moment(record.created_at));
    pairs.row("finished", text(record.finished_at.map(moment)));
    let mut params = Grid::new(&["<param", ">value", "<origin"]);
    for (name, value) in &record.params {
        params.row([name.clone(), value.to_string(), text(record.origins.get(name))]);
    }
    let mut page = format!("{}\n\n{}\n\n{}\n", pairs.finish(), params.finish(), folds(&record.folds));
    if !attempts.is_empty() {
        page.push_str(&format!("\n{}\n", fleet::attempts(attempts)));
    }
    for record in decisions {
        page.push_str(&format!("\n{}\n", decision(record)));
    }
    page
}

fn folds(records: &[FoldRecord]) -> String {
    let mut grid = Grid::new(&[">fold", "<state", ">value", ">best epoch", ">epochs", ">attempts"]);
    for fold in records {
        grid.row([
            fold.fold.to_string(),
            fold.state.to_string(),
            number(fold.value),
            text(fold.best_epoch),
            fold.epochs.to_string(),
            fold.attempts.to_string(),
        ]);
    }
    grid.finish()
}

/// What a rule saw, a number a line.
fn decision(record: &DecisionRecord) -> String {
    let decision = &record.decision;
    let mut pairs = Pairs::new();
    pairs.row("rule", decision.rule.as_str());
    pairs.row("at", place(record.fold, record.epoch));
    let count = |count: Option<u32>| count.map(|count| count.to_string());
    let rows = [
        ("own", decision.own.map(short)),
        ("threshold", decision.threshold.map(short)),
        ("peers", Some(decision.peers.to_string()).filter(|_| decision.peers > 0)),
        ("percentile", decision.percentile.map(short)),
        ("bracket", count(decision.bracket)),
        ("rung", count(decision.rung)),
        ("kept", count(decision.kept)),
        ("against", decision.against.map(|trial| format!("trial {trial}"))),
        ("alpha", decision.alpha.map(short)),
        ("standard error", decision.standard_error.map(short)),
        ("degrees", count(decision.degrees)),
        ("patience", count(decision.patience)),
    ];
    for (label, value) in rows {
        if let Some(value) = value {
            pairs.row(label, value);
        }
    }
    pairs.finish()
}

/// The best trial, its value and its params.
pub(in crate::cli) fn best(study: &StudyRecord, record: &TrialRecord) -> String {
    let mut pairs = Pairs::new();
    pairs.row("study", &study.name);
    pairs.row("trial", record.number.to_string());
    pairs.row("value", plus_minus(record.value, record.std));
    for (name, value) in &record.params {
        pairs.row(name, value.to_string());
    }
    pairs.finish()
}

fn curve(records: &[EpochRecord]) -> String {
    let metrics = metric_names(records);
    let measured: Vec<String> = metrics.iter().map(|name| format!(">{name}")).collect();
    let mut columns = vec![
        ">trial",
        ">fold",
        ">attempt",
        ">epoch",
        ">train loss",
        ">validation loss",
        ">learning rate",
        ">seconds",
    ];
    columns.extend(measured.iter().map(String::as_str));
    let mut grid = Grid::new(&columns);
    for record in records {
        let loss = |loss: Option<f64>| {
            if record.diverged && loss.is_none() { "diverged".into() } else { number(loss) }
        };
        let known = [
            record.trial.to_string(),
            record.fold.to_string(),
            record.attempt.to_string(),
            record.epoch.to_string(),
            loss(record.train_loss),
            loss(record.validation_loss),
            number(record.learning_rate),
            record.seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.2}")),
        ];
        grid.row(
            known.into_iter().chain(metrics.iter().map(|name| number(record.metrics.get(*name).copied()))),
        );
    }
    grid.finish()
}

fn fetched(rows: &[FetchedRow]) -> String {
    let mut grid = Grid::new(&["<data set", ">bytes", "<from", "<path"]);
    for row in rows {
        let from = row.downloaded_from.as_deref().unwrap_or("already here");
        grid.row([row.dataset.clone(), text(row.bytes), from.to_owned(), row.path.clone()]);
    }
    grid.finish()
}

fn data(summary: &DataSummary) -> String {
    let mut pairs = Pairs::new();
    pairs.row("data set", &summary.name);
    pairs.row("found in", &summary.origin);
    pairs.row("training", format!("{} images of {}x{}", summary.train_images, summary.height, summary.width));
    pairs.row("test", text(summary.test_images.map(|count| format!("{count} images"))));
    let classes: Vec<String> =
        summary.classes.iter().map(|class| format!("{}: {}", class.name, class.train_images)).collect();
    pairs.row("classes", if classes.is_empty() { "-".to_owned() } else { classes.join(", ") });
    pairs.row("digest", &summary.digest);
    format!("{}\n\n{}\n", pairs.finish(), summary.sketch.trim_end())
}

/// Trials by state in words, such as `7 complete, 5 pruned`.
pub(in crate::cli) fn counts(trials: &BTreeMap<TrialState, u32>) -> String {
    let words: Vec<String> = trials
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

pub(super) fn plus_minus(value: Option<f64>, std: Option<f64>) -> String {
    match (value, std) {
        (Some(value), Some(std)) => format!("{} ± {}", short(value), short(std)),
        (value, _) => number(value),
    }
}

pub(super) fn with_note(word: &str, note: Option<&str>) -> String {
    note.map_or_else(|| word.to_owned(), |note| format!("{word} ({note})"))
}

pub(super) fn number(value: Option<f64>) -> String {
    text(value.map(short))
}

pub(super) fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// What a worker or a file said must not break a line or steer the terminal.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A table with a header; a title starts with `<` or `>`, the side its column leans to.
pub(super) struct Grid(Table);

impl Grid {
    pub fn new<T: AsRef<str>>(titles: &[T]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(titles.iter().map(|title| tame(&title.as_ref()[1..])));
        for (column, title) in table.column_iter_mut().zip(titles) {
            column.set_padding((0, GAP));
            if title.as_ref().starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self(table)
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| tame(&cell)));
    }

    pub fn finish(&self) -> String {
        self.0.trim_fmt()
    }
}

/// Labels and what they stand for.
pub(super) struct Pairs(Table);

impl Pairs {
    pub fn new() -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        Self(table)
    }

    pub fn row(&mut self, label: &str, value: impl AsRef<str>) {
        self.0.add_row([tame(label), tame(value.as_ref())]);
    }

    pub fn finish(mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        self.0.trim_fmt()
    }
}
