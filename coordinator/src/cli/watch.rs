//! `foldwise watch`: the progress of a study that another process runs, until it ends.

use std::io::IsTerminal;
use std::time::Duration;

use foldwise_shared::fleet::WorkerState;
use foldwise_shared::ids::StudyId;
use foldwise_shared::record::{StudyEvent, StudyRecord};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{StudyState, TrialState};

use super::args::{SourceArgs, TrialOrder, WatchArgs};
use super::error::CliError;
use super::live::{LiveInfo, LiveKind, LiveView};
use super::remote::{Remote, Watched};
use super::render::{self, Format, best_table};
use super::run::choose;
use super::say;
use super::source::Source;
use crate::store::{Reader, TrialSort};

/// How long to wait for an event before the clock of the view moves on, and between two looks into a database.
const MOMENT: Duration = Duration::from_secs(1);
/// How long to wait at most before a coordinator that went away is called again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Watches a study to its end.
///
/// # Errors
/// No such study, or a coordinator that refuses.
pub fn execute(args: &WatchArgs) -> Result<(), CliError> {
    if args.output.format == Format::Csv {
        return Err(CliError::usage(
            "a study that lives is no table of CSV; `-o json` gives a line an event",
        ));
    }
    let source = Source::open(&args.source)?;
    let name = choose(source.studies()?, args.study.as_deref())?.name;
    let look = Look { source: &args.source, format: args.output.format, plain: args.plain };
    match source {
        Source::Server(remote) => {
            let source = until_end(look, *remote, &name)?;
            end(look, &source, &name)
        }
        Source::File(reader) => in_file(look, &Source::File(reader), &name),
    }
}

/// Where one looks, and how that is shown.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    /// Where.
    pub source: &'a SourceArgs,
    /// How; json gives a line an event.
    pub format: Format,
    /// Plain lines even on a terminal.
    pub plain: bool,
}

/// Shows a study of a coordinator until it has ended, through every loss of the connection; gives back the last one.
pub(super) fn until_end(look: Look<'_>, remote: Remote, name: &str) -> Result<Source, CliError> {
    let mut source = Source::Server(Box::new(remote));
    let mut was_lost = false;
    loop {
        let lost = match follow(look, &source, name, was_lost) {
            Ok(None) => return Ok(source),
            Ok(Some(lost)) => lost,
            // Between two calls it may go away as well.
            Err(CliError::Happened { message, .. }) => message,
            Err(error) => return Err(error),
        };
        say(&format!("{lost}; calling it until it is back"));
        source = Source::Server(Box::new(call_again(look)?));
        was_lost = true;
    }
}

/// Shows what happens until the study has ended, or the coordinator is lost; then why. After a loss it says that it sees again.
fn follow(look: Look<'_>, source: &Source, name: &str, was_lost: bool) -> Result<Option<String>, CliError> {
    let Source::Server(remote) = source else { return Ok(None) };
    // Watched first, so that nothing falls between the record and the first event.
    let mut watch = remote.watch(name)?;
    if was_lost {
        say("the coordinator is back");
    }
    let study = source.study(name)?;
    if study.state == StudyState::Ended {
        return Ok(None);
    }
    let mut view = open(look, source, &study)?;
    loop {
        match watch.next(MOMENT)? {
            Watched::Nothing => view.tick(),
            Watched::Event(event) => {
                view.show(&event)?;
                if is_end(&event) {
                    view.finish();
                    return Ok(None);
                }
            }
            Watched::Lost(why) => {
                view.finish();
                return Ok(Some(why));
            }
        }
    }
}

fn call_again(look: Look<'_>) -> Result<Remote, CliError> {
    let mut pause = Duration::from_millis(200);
    loop {
        std::thread::sleep(pause);
        match Remote::named(look.source) {
            Ok(Some(remote)) => return Ok(remote),
            Ok(None) => return Err(CliError::usage("no coordinator is named")),
            Err(CliError::Happened { .. }) => pause = (pause * 2).min(LONGEST_PAUSE),
            Err(error) => return Err(error),
        }
    }
}

/// A database that another process writes: its log is looked at again and again.
fn in_file(look: Look<'_>, source: &Source, name: &str) -> Result<(), CliError> {
    let Source::File(reader) = source else { return Ok(()) };
    let mut seen = reader.last_event()?;
    let study = source.study(name)?;
    if study.state == StudyState::Ended {
        return end(look, source, name);
    }
    let mut view = open(look, source, &study)?;
    loop {
        for (seq, event) in events_since(reader, study.id, seen)? {
            seen = seq;
            view.show(&event)?;
            if is_end(&event) {
                view.finish();
                return end(look, source, name);
            }
        }
        view.tick();
        std::thread::sleep(MOMENT);
    }
}

fn events_since(reader: &Reader, study: StudyId, seen: i64) -> Result<Vec<(i64, StudyEvent)>, CliError> {
    Ok(reader.events_since(study, seen)?)
}

fn is_end(event: &StudyEvent) -> bool {
    matches!(event, StudyEvent::StudyChanged { state: StudyState::Ended, .. })
}

/// What is said at the end: the best trial, where people read.
fn end(look: Look<'_>, source: &Source, name: &str) -> Result<(), CliError> {
    if look.format == Format::Json {
        return Ok(());
    }
    let studies = source.studies()?;
    let Some(study) = studies.iter().find(|study| study.name == name) else {
        say(&format!("study {name} was deleted"));
        return Ok(());
    };
    let message = study.message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
    say(&format!("study {name} is {}{message}", study.state));
    if let Some(best) = study.best {
        let (trial, ..) = source.trial(study, best.number)?;
        let table = best_table(study, &trial);
        render::to_stdout(|out| writeln!(out, "{table}"))?;
    }
    Ok(())
}

/// Where events go.
enum Shown {
    Json,
    Live(Box<LiveView>),
}

fn open(look: Look<'_>, source: &Source, study: &StudyRecord) -> Result<Shown, CliError> {
    if look.format == Format::Json {
        return Ok(Shown::Json);
    }
    let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let unfinished = [TrialState::Waiting, TrialState::Running, TrialState::Stopping];
    let order = TrialOrder { key: TrialSort::Number, descending: false };
    let trials = source.trials(study, &unfinished, order, None)?;
    let at_work =
        |state: Option<WorkerState>| matches!(state, Some(WorkerState::Connected | WorkerState::Draining));
    let workers =
        source.workers()?.into_iter().filter(|worker| at_work(worker.state)).map(|worker| worker.name);
    let verbose = tracing::enabled!(tracing::Level::INFO);
    let plain = look.plain || !std::io::stdout().is_terminal();
    let kind = if plain { LiveKind::Lines { verbose } } else { LiveKind::choose(false, verbose) };
    let info = LiveInfo { spec, study: study.clone(), trials, workers: workers.collect() };
    Ok(Shown::Live(Box::new(LiveView::new(info, kind))))
}

impl Shown {
    fn show(&mut self, event: &StudyEvent) -> Result<(), CliError> {
        match self {
            Self::Live(view) => {
                view.on_event(event);
                view.written()
            }
            Self::Json => {
                let line = render::event_json(event);
                render::to_stdout(|out| writeln!(out, "{line}"))
            }
        }
    }

    fn tick(&mut self) {
        if let Self::Live(view) = self {
            view.tick();
        }
    }

    fn finish(&mut self) {
        if let Self::Live(view) = self {
            view.finish();
        }
    }
}
