//! `foldwise study`: create, list, show, pause, unpause and stop; the others are in `living` and `export`.

use std::path::Path;

use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{self, StudySpec};
use foldwise_shared::state::StudyState;

use super::args::{NamedStudy, QueryArgs, StudyCommand};
use super::error::CliError;
use super::next::{self, Next};
use super::remote::Remote;
use super::render::{self, Answer, Format};
use super::source::Source;
use super::{export, living};
use crate::coordinator::{Change, CoordinatorError, offline};
use crate::store::StoreError;

/// Does what a `foldwise study` command says.
///
/// # Errors
/// A wrong study file, an unknown study, or a database or coordinator that does not answer.
pub fn execute(command: &StudyCommand) -> Result<(), CliError> {
    match command {
        StudyCommand::Create { file, overlay, query } => create(file, overlay.overrides(), query),
        StudyCommand::List { states, query } => list(states, query),
        StudyCommand::Show(named) => show(named),
        StudyCommand::Pause(named) => steer(named, Steer::Pause),
        StudyCommand::Unpause(named) => steer(named, Steer::Unpause),
        StudyCommand::Stop(named) => steer(named, Steer::Stop),
        StudyCommand::Extend(args) => living::extend(args),
        StudyCommand::Delete(args) => living::delete(args),
        StudyCommand::Export(args) => export::execute(args),
        StudyCommand::Ledger(named) => living::ledger(named),
    }
}

/// The text of a study file and what it means with the settings laid over it.
///
/// # Errors
/// A file that cannot be read, or the first thing that is wrong in it.
pub fn read_file(file: &Path, sets: &[String]) -> Result<(String, StudySpec), CliError> {
    let text = std::fs::read_to_string(file).map_err(|error| CliError::Usage {
        message: format!("failed to read the study file {}: {error}", file.display()),
        help: Some(
            "deploy/studies/ has examples, and `foldwise schema` prints what a study file may hold".into(),
        ),
    })?;
    let spec = spec::parse(&text, sets).map_err(|error| CliError::Spec { file: file.to_owned(), error })?;
    Ok((text, spec))
}

fn create(file: &Path, overrides: Vec<String>, query: &QueryArgs) -> Result<(), CliError> {
    let (text, _) = read_file(file, &overrides)?;
    let study = match Remote::named(&query.source)? {
        Some(remote) => remote.create(text, overrides, None)?,
        None => {
            change(&query.source.database(), Change::Create { text, overrides }).map_err(
                |error| match error {
                    CliError::Coordinator(CoordinatorError::Create(error)) => CliError::create(file, error),
                    error => error,
                },
            )?
        }
    };
    render::print(Answer::Study(&study), query.output.format)?;
    let place = next::place(&query.source);
    if is_external(&study) {
        super::say("created; it waits for programs that ask for its trials");
        next::show(&[next::ask(&place, &study.name)]);
        return Ok(());
    }
    if query.source.coordinator.is_none() {
        super::say("created; it waits for workers");
        next::show(&[next::resume(&place, &study.name)]);
    } else {
        super::say("created; workers that are there have it now, others when they come");
        next::show(&[next::watch(&place, &study.name)]);
    }
    Ok(())
}

/// A running coordinator is the only one who may change its database.
fn change(database: &Path, change: Change) -> Result<StudyRecord, CliError> {
    offline(database, change).map_err(refused)
}

/// What a coordinator says that is there for one event only.
pub(super) fn refused(error: CoordinatorError) -> CliError {
    match error {
        CoordinatorError::Store(error @ StoreError::Held { .. }) => CliError::Happened {
            message: error.to_string(),
            help: Some("a `foldwise serve` is asked with --coordinator and the address it printed; a `foldwise run` is ended first (Ctrl-C)".into()),
        },
        error => error.into(),
    }
}

fn list(states: &[StudyState], query: &QueryArgs) -> Result<(), CliError> {
    let mut studies = Source::open(&query.source)?.studies()?;
    studies.retain(|study| states.is_empty() || states.contains(&study.state));
    render::print(Answer::Studies(&studies), query.output.format)
}

fn show(named: &NamedStudy) -> Result<(), CliError> {
    let source = Source::open(&named.query.source)?;
    let study = source.study(&named.name)?;
    if named.query.output.format != Format::Table {
        render::print(Answer::Study(&study), named.query.output.format)?;
    } else {
        let ledger = source.ledger(&study)?;
        render::print(Answer::Shown(&study, &ledger), Format::Table)?;
        next::show(&after_show(&study, &next::place(&named.query.source)));
    }
    Ok(())
}

fn after_show(study: &StudyRecord, place: &str) -> Vec<Next> {
    let name = &study.name;
    let mut all = vec![next::trials(place, name)];
    if let Some(best) = study.best {
        all.push(next::best(place, name));
        all.push(next::curve(place, name, best.number));
    }
    if study.state != StudyState::Ended && is_external(study) {
        all.push(next::ask(place, name));
    } else if study.state != StudyState::Ended && place.contains("--coordinator") {
        all.push(next::watch(place, name));
    } else if study.state != StudyState::Ended {
        all.push(next::resume(place, name));
    }
    all
}

/// Whether programs ask for its trials; a spec that cannot be read is nobody's to run.
pub(super) fn is_external(study: &StudyRecord) -> bool {
    StudySpec::from_json(&study.spec).is_ok_and(|spec| spec.is_external())
}

#[derive(Clone, Copy)]
enum Steer {
    Pause,
    Unpause,
    Stop,
}

fn steer(named: &NamedStudy, steer: Steer) -> Result<(), CliError> {
    let source = Source::open(&named.query.source)?;
    // An unknown name is answered with the known ones before anything is changed.
    let name = source.study(&named.name)?.name;
    let study = match (source, steer) {
        (Source::Server(remote), Steer::Pause) => remote.pause(&name)?,
        (Source::Server(remote), Steer::Unpause) => remote.unpause(&name)?,
        (Source::Server(remote), Steer::Stop) => remote.stop(&name)?,
        (Source::File(reader), steer) => {
            drop(reader);
            let change = match steer {
                Steer::Pause => Change::Pause(name),
                Steer::Unpause => Change::Unpause(name),
                Steer::Stop => Change::Stop(name),
            };
            self::change(&named.query.source.database(), change)?
        }
    };
    render::print(Answer::Studies(std::slice::from_ref(&study)), named.query.output.format)?;
    if named.query.output.format == Format::Table {
        let place = next::place(&named.query.source);
        next::show(&match steer {
            Steer::Pause => vec![next::unpause(&place, &study.name)],
            Steer::Unpause if named.query.source.coordinator.is_some() => {
                vec![next::watch(&place, &study.name)]
            }
            Steer::Unpause => vec![next::resume(&place, &study.name)],
            Steer::Stop => vec![next::extend(&place, &study.name), next::trials(&place, &study.name)],
        });
    }
    Ok(())
}
