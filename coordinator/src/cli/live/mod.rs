//! The progress of a study while it runs. The [`View`] is fed by the study's events alone; the terminal and the plain
//! lines are two readers of it.

mod plain;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::time::Instant;

use foldwise_shared::record::{StudyEvent, StudyRecord, TrialRecord};
use foldwise_shared::spec::StudySpec;

use self::terminal::Terminal;
use self::view::View;
use super::error::CliError;
use super::render::to_stdout;
use super::say;

/// What is known when the view begins.
#[derive(Debug, Clone)]
pub struct LiveInfo {
    /// The study's spec.
    pub spec: StudySpec,
    /// The study so far.
    pub study: StudyRecord,
    /// Its trials so far.
    pub trials: Vec<TrialRecord>,
    /// The workers that are started, by name.
    pub workers: Vec<String>,
}

/// How the progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveKind {
    /// A bar for the study, a line a worker.
    Terminal,
    /// A line for each fold and trial that ends; each epoch too, if verbose.
    Plain {
        /// Whether each epoch gets a line.
        verbose: bool,
    },
    /// The same lines on standard output: they are the answer.
    Lines {
        /// Whether each epoch gets a line.
        verbose: bool,
    },
}

impl LiveKind {
    /// Plain where it is asked for or standard error is no terminal.
    pub fn choose(plain: bool, verbose: bool) -> Self {
        if plain || !std::io::stderr().is_terminal() { Self::Plain { verbose } } else { Self::Terminal }
    }
}

/// The progress of a study, on standard error but for [`LiveKind::Lines`].
pub struct LiveView {
    view: View,
    output: Output,
    started: Instant,
    /// Why nobody reads the lines any more.
    unread: Option<CliError>,
}

enum Output {
    Terminal(Terminal),
    Plain { verbose: bool },
    Lines { verbose: bool },
}

impl LiveView {
    /// Begins to show.
    pub fn new(info: LiveInfo, kind: LiveKind) -> Self {
        let view = View::new(&info);
        let output = match kind {
            LiveKind::Terminal => Output::Terminal(Terminal::new(&view)),
            LiveKind::Plain { verbose } => {
                say(&plain::opening(&view));
                Output::Plain { verbose }
            }
            LiveKind::Lines { verbose } => Output::Lines { verbose },
        };
        let mut live = Self { view, output, started: Instant::now(), unread: None };
        if matches!(live.output, Output::Lines { .. }) {
            live.answer(&plain::opening(&live.view));
        }
        live
    }

    /// Writes a line to standard output.
    fn answer(&mut self, line: &str) {
        if let Err(error) = to_stdout(|out| writeln!(out, "{line}")) {
            self.unread = Some(error);
        }
    }

    /// Whether what was shown so far could be written.
    ///
    /// # Errors
    /// It could not.
    pub fn written(&mut self) -> Result<(), CliError> {
        self.unread.take().map_or(Ok(()), Err)
    }

    /// The clock moved on.
    pub fn tick(&mut self) {
        if let Output::Terminal(terminal) = &mut self.output {
            terminal.draw(&self.view, self.started.elapsed());
        }
    }

    /// Shows what happened.
    pub fn on_event(&mut self, event: &StudyEvent) {
        self.view.on_event(event);
        match &mut self.output {
            Output::Terminal(terminal) => terminal.draw(&self.view, self.started.elapsed()),
            Output::Plain { verbose } => {
                if let Some(line) = plain::line(&self.view, event, *verbose) {
                    say(&line);
                }
            }
            Output::Lines { verbose } => {
                let line = plain::line(&self.view, event, *verbose);
                line.iter().for_each(|line| self.answer(line));
            }
        }
    }

    /// Says something, above the bars.
    pub fn message(&mut self, text: &str) {
        match &mut self.output {
            Output::Terminal(terminal) => terminal.message(text),
            Output::Plain { .. } | Output::Lines { .. } => say(text),
        }
    }

    /// Ends the showing; the bars go away.
    pub fn finish(&mut self) {
        if let Output::Terminal(terminal) = &mut self.output {
            terminal.finish();
        }
    }
}
