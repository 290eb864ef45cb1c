//! `foldwise curve`: the losses of a study, epoch by epoch.

use super::args::CurveArgs;
use super::error::CliError;
use super::render::{self, Answer};
use super::source::Source;

/// Shows the losses.
///
/// # Errors
/// An unknown study or trial, or a database or coordinator that does not answer.
pub fn execute(args: &CurveArgs) -> Result<(), CliError> {
    let query = &args.study.query;
    let source = Source::open(&query.source)?;
    let study = source.study(&args.study.name)?;
    if let Some(number) = args.trial {
        // A trial that is not there would otherwise look like one without epochs.
        source.trial(&study, number)?;
    }
    let epochs = source.curve(&study, args.trial, args.all_attempts)?;
    render::print(Answer::Curve(&epochs), query.output.format)
}
