//! The progress as bars on a terminal: one for the study, a line a worker.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::view::View;

/// The length of the study's bar: its share in steps of a thousandth.
const STEPS: u64 = 1000;

/// How often the clock on the study's line moves.
const TICK: Duration = Duration::from_secs(1);

/// Bars on standard error.
pub(super) struct Terminal {
    bars: MultiProgress,
    study: ProgressBar,
    workers: BTreeMap<String, ProgressBar>,
}

impl Terminal {
    pub fn new(view: &View) -> Self {
        let bars = MultiProgress::new();
        let study = bars.add(ProgressBar::new(STEPS));
        let known = view.done(Duration::ZERO).is_some();
        study.set_style(style(if known {
            "{prefix:.bold} {bar:24.green/dim} {elapsed} · {wide_msg}"
        } else {
            "{prefix:.bold} {spinner} {elapsed} · {wide_msg}"
        }));
        study.set_prefix(view.study.clone());
        study.enable_steady_tick(TICK);
        let mut terminal = Self { bars, study, workers: BTreeMap::new() };
        terminal.draw(view, Duration::ZERO);
        terminal
    }

    pub fn draw(&mut self, view: &View, elapsed: Duration) {
        if let Some(done) = view.done(elapsed) {
            self.study.set_position((done * STEPS as f64) as u64);
        }
        self.study.set_message(view.study_line(elapsed));
        for (name, worker) in view.workers() {
            let bar = self.workers.entry(name.to_owned()).or_insert_with(|| {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(style("  {prefix:.dim} {wide_msg}"));
                bar.set_prefix(name.to_owned());
                bar
            });
            let line = view.worker_line(worker);
            if bar.message() != line {
                bar.set_message(line);
            }
        }
    }

    pub fn message(&mut self, text: &str) {
        // Fails only where standard error is gone, and then nobody reads.
        let _ = self.bars.println(text);
    }

    pub fn finish(&mut self) {
        for bar in self.workers.values() {
            bar.finish_and_clear();
        }
        self.study.finish_and_clear();
        let _ = self.bars.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
