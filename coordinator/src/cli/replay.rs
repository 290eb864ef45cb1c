//! `foldwise replay`: what other pruners would have made of a study.

use super::args::ReplayArgs;
use super::error::CliError;
use super::render::{self, Answer, Format};
use super::source::Source;

/// Shows the study's own pruner and others side by side.
///
/// # Errors
/// An unknown study, a pruner that could not work in it, or a database or coordinator that does not answer.
pub fn execute(args: &ReplayArgs) -> Result<(), CliError> {
    let query = &args.study.query;
    let source = Source::open(&query.source)?;
    let study = source.study(&args.study.name)?;
    let sets: Vec<String> =
        args.sets.iter().map(|set| set.trim().trim_start_matches("pruner.").to_owned()).collect();
    let replays = source.replay(&study, &args.pruners, &sets)?;
    render::print(Answer::Replays(&replays), query.output.format)?;
    if query.output.format == Format::Table {
        super::say(render::REPLAY_LIMITS);
    }
    Ok(())
}
