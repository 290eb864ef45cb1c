//! `foldwise trial`: list, show and explain; what evaluates trials is in `external`.

use super::args::{NamedTrial, TrialCommand, TrialListArgs};
use super::error::CliError;
use super::render::{self, Answer, Format};
use super::source::Source;
use super::{external, living, next};

/// Does what a `foldwise trial` command says.
///
/// # Errors
/// An unknown study or trial, or a database or coordinator that does not answer.
pub fn execute(command: &TrialCommand) -> Result<(), CliError> {
    match command {
        TrialCommand::List(args) => list(args),
        TrialCommand::Show(named) => show(named),
        TrialCommand::Explain(named) => explain(named),
        TrialCommand::Ask(args) => external::ask(args),
        TrialCommand::Report(args) => external::report(args),
        TrialCommand::Tell(args) => external::tell(args),
        TrialCommand::Renew(trial) => external::renew(trial),
        TrialCommand::Add(args) => external::add(args),
        TrialCommand::Enqueue(args) => external::enqueue(args),
        TrialCommand::Retry(trial) => living::retry(trial),
        TrialCommand::Stop(trial) => living::stop(trial),
    }
}

fn list(args: &TrialListArgs) -> Result<(), CliError> {
    let source = Source::open(&args.query.source)?;
    let study = source.study(&args.study)?;
    let trials = source.trials(&study, &args.states, args.sort, args.limit)?;
    render::print(Answer::Trials(&trials), args.query.output.format)
}

fn show(named: &NamedTrial) -> Result<(), CliError> {
    let NamedTrial { study, number, query } = named;
    let source = Source::open(&query.source)?;
    let study = source.study(study)?;
    let (trial, decisions, attempts) = source.trial(&study, *number)?;
    render::print(Answer::Trial(&trial, &decisions, &attempts), query.output.format)?;
    if query.output.format == Format::Table && !decisions.is_empty() {
        next::show(&[next::explain(&next::place(&query.source), &study.name, *number)]);
    }
    Ok(())
}

fn explain(named: &NamedTrial) -> Result<(), CliError> {
    let NamedTrial { study, number, query } = named;
    let source = Source::open(&query.source)?;
    let study = source.study(study)?;
    let explanation = source.explain(&study, *number)?;
    render::print(Answer::Explanation(&explanation), query.output.format)?;
    if query.output.format == Format::Table {
        let place = next::place(&query.source);
        let mut all = vec![next::curve(&place, &study.name, *number)];
        // The first one that did better, to compare the curves.
        let peers = explanation.call.iter().flat_map(|call| &call.peers);
        all.extend(peers.take(1).map(|peer| next::rival(&place, &study.name, peer.trial)));
        all.push(next::replay(&place, &study.name));
        next::show(&all);
    }
    Ok(())
}
