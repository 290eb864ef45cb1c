//! `foldwise best`: the best trial of a study.

use super::args::BestArgs;
use super::error::CliError;
use super::next;
use super::render::{self, Answer, Format};
use super::source::Source;

/// Shows the best trial.
///
/// # Errors
/// An unknown study, one without a complete trial, or a database or coordinator that does not answer.
pub fn execute(args: &BestArgs) -> Result<(), CliError> {
    let query = &args.study.query;
    let source = Source::open(&query.source)?;
    let study = source.study(&args.study.name)?;
    let place = next::place(&query.source);
    let Some(best) = study.best else {
        let so_far =
            if study.trials.is_empty() { "none has begun".into() } else { render::counts(&study.trials) };
        return Err(CliError::Happened {
            message: format!("study `{}` has no complete trial: {so_far}", study.name),
            help: Some(format!("`foldwise study show {}{place}` tells how far it is", study.name)),
        });
    };
    let (trial, ..) = source.trial(&study, best.number)?;
    render::print(Answer::Best(&study, &trial), query.output.format)?;
    if query.output.format == Format::Table {
        next::show(&[
            next::trial(&place, &study.name, best.number),
            next::curve(&place, &study.name, best.number),
            next::trials(&place, &study.name),
        ]);
    }
    Ok(())
}
