//! `foldwise trial`: list and show.

use super::args::{QueryArgs, TrialCommand, TrialListArgs};
use super::error::CliError;
use super::render::{self, Answer};
use super::source::Source;
use foldwise_shared::ids::TrialNumber;

/// Does what a `foldwise trial` command says.
///
/// # Errors
/// An unknown study or trial, or a database or coordinator that does not answer.
pub fn execute(command: &TrialCommand) -> Result<(), CliError> {
    match command {
        TrialCommand::List(args) => list(args),
        TrialCommand::Show { study, number, query } => show(study, *number, query),
    }
}

fn list(args: &TrialListArgs) -> Result<(), CliError> {
    let source = Source::open(&args.query.source)?;
    let study = source.study(&args.study)?;
    let trials = source.trials(&study, &args.states, args.sort, args.limit)?;
    render::print(Answer::Trials(&trials), args.query.output.format)
}

fn show(study: &str, number: TrialNumber, query: &QueryArgs) -> Result<(), CliError> {
    let source = Source::open(&query.source)?;
    let study = source.study(study)?;
    let (trial, decisions) = source.trial(&study, number)?;
    render::print(Answer::Trial(&trial, &decisions), query.output.format)
}
