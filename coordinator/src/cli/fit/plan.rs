//! Which study a fit is to be, by what stands on the command line.

use std::path::Path;

use foldwise_data::{Dataset, Locations};
use foldwise_shared::ids::{Epoch, TrialNumber};
use foldwise_shared::record::{StudyRecord, TrialRecord};
use foldwise_shared::spec::{FitOn, FitOptions, Objective, SpecError, StudySpec, fit_of, parse};
use foldwise_shared::state::TrialState;
use foldwise_shared::value::Params;

use super::params;
use super::stage::{Planned, Stage};
use crate::cli::args::FitArgs;
use crate::cli::error::CliError;
use crate::cli::next;
use crate::cli::source::Source;
use crate::cli::study::read_file;

/// The fit of a study, or of a study file.
///
/// # Errors
/// Whatever cannot be fitted, and what would be right.
pub(super) fn plan(args: &FitArgs, stage: &Stage<'_>) -> Result<Planned, CliError> {
    if args.target.ends_with(".toml") { of_file(args) } else { of_study(args, stage) }
}

fn of_file(args: &FitArgs) -> Result<Planned, CliError> {
    let file = Path::new(&args.target);
    if args.trial.is_some() {
        return Err(CliError::Usage {
            message: format!("--trial is for a trial of a study; the file {} has none", file.display()),
            help: Some("name the study in place of its file, or give the params with --params".into()),
        });
    }
    let (_, spec) = read_file(file, &args.overlay.overrides())?;
    let wrong = |error: SpecError| CliError::Spec { file: file.to_owned(), error };
    let params = match &args.params {
        Some(path) => spec.space.typed(params::read(path)?),
        None => Params::new(),
    };
    if args.params.is_none() && !spec.space.0.is_empty() && spec.study.objective == Objective::Training {
        let searched = spec.space.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(CliError::Usage {
            message: format!("{}: nothing says what to fit: {searched} are still searched", file.display()),
            help: Some(format!(
                "search first, with `foldwise run {0}` and `foldwise fit {1}`; or give the params with --params",
                file.display(),
                spec.study.name
            )),
        });
    }
    let images = match (args.on, spec.data.folds) {
        // Only the size of a fold asks for it.
        (FitOn::Split, Some(_)) if !spec.is_external() => {
            let dataset = Dataset::open(spec.dataset(), &Locations::from_env())?;
            spec.images_used(dataset.train().len()) as u64
        }
        _ => 0,
    };
    let own = if spec.fit.is_some() { spec.study.name.clone() } else { format!("{}-fit", spec.study.name) };
    let name = args.name.clone().unwrap_or(own);
    let options = FitOptions { name, on: args.on, epochs: args.epochs, best_epoch: None, images };
    let fit = fit_of(&spec, &params, &options).map_err(|error| match &args.params {
        Some(path) if params.contains_key(&error.key) || spec.space.0.contains_key(&error.key) => {
            CliError::Spec { file: path.clone(), error }
        }
        _ => wrong(error),
    })?;
    Planned::new(fit, None)
}

fn of_study(args: &FitArgs, stage: &Stage<'_>) -> Result<Planned, CliError> {
    if args.overlay.size.is_some() {
        return Err(CliError::Usage {
            message: format!("--size is for a study file; the study `{}` has its size already", args.target),
            help: Some("a file's name ends in .toml; --epochs and --set change the fit of a study".into()),
        });
    }
    let source = stage.open()?;
    let study = source.study(&args.target)?;
    let parent = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let place = next::place(&args.source);
    if parent.fit.is_some() {
        let of = study.parent.as_deref().unwrap_or("a study file");
        return Err(CliError::Usage {
            message: format!("`{}` is itself a fit, of {of}", study.name),
            help: Some(format!(
                "`foldwise evaluate {0}{place}` measures it; `foldwise resume {0}{place}` goes on with it",
                study.name
            )),
        });
    }
    let (params, best_epoch) = chosen(args, &source, &study, &parent, &place)?;
    let name = args.name.clone().unwrap_or_else(|| format!("{}-fit", study.name));
    let options = FitOptions { name, on: args.on, epochs: args.epochs, best_epoch, images: study.images };
    let fit = fit_of(&parent, &params, &options).map_err(|error| match &args.params {
        Some(path) => CliError::Spec { file: path.clone(), error },
        None => CliError::usage(format!("the fit of `{}`: {error}", study.name)),
    })?;
    Planned::new(overlaid(fit, &args.overlay.sets)?, Some(study))
}

/// Lays settings over a study that no file holds.
pub(in crate::cli) fn overlaid(spec: StudySpec, sets: &[String]) -> Result<StudySpec, CliError> {
    if sets.is_empty() {
        return Ok(spec);
    }
    let text = spec.to_toml().map_err(|error| CliError::Other(error.into()))?;
    parse(&text, sets).map_err(|error| {
        // Nobody has seen the lines.
        let error = SpecError { line: None, ..error };
        CliError::usage(format!("the study `{}`: {error}", spec.study.name))
    })
}

/// The params that are fitted, and the epoch at which they were best.
fn chosen(
    args: &FitArgs,
    source: &Source,
    study: &StudyRecord,
    parent: &StudySpec,
    place: &str,
) -> Result<(Params, Option<u32>), CliError> {
    if let Some(path) = &args.params {
        return Ok((parent.space.typed(params::read(path)?), None));
    }
    if parent.study.objective != Objective::Training {
        // The one who makes the fit says why it cannot be.
        return Ok((Params::new(), None));
    }
    let number = match (args.trial, study.best) {
        (Some(number), _) => number,
        (None, Some(best)) => best.number,
        (None, None) => {
            let name = &study.name;
            return Err(CliError::Usage {
                message: format!(
                    "study `{name}` has no complete trial yet, so there are no best params to fit"
                ),
                help: Some(format!(
                    "go on with it: foldwise resume {name}{place}; or give the params with --params"
                )),
            });
        }
    };
    let (trial, ..) = source.trial(study, number)?;
    check_complete(&trial, number, study, place)?;
    let best = best_epoch(&trial);
    Ok((trial.params, best))
}

fn check_complete(
    trial: &TrialRecord,
    number: TrialNumber,
    study: &StudyRecord,
    place: &str,
) -> Result<(), CliError> {
    if trial.state == TrialState::Complete {
        return Ok(());
    }
    let name = &study.name;
    Err(CliError::Usage {
        message: format!("trial {number} of study `{name}` is {}, not complete", trial.state),
        help: Some(format!(
            "`foldwise trial list {name}{place} --state complete --sort value` has those that are; --params fits any params"
        )),
    })
}

/// The mean over the folds of the epochs at which they were best.
fn best_epoch(trial: &TrialRecord) -> Option<u32> {
    let best: Vec<u32> =
        trial.folds.iter().filter_map(|fold| fold.best_epoch).map(|Epoch(epoch)| epoch).collect();
    let sum: u64 = best.iter().map(|epoch| u64::from(*epoch)).sum();
    let count = best.len() as u64;
    (count > 0).then(|| u32::try_from((sum + count / 2) / count).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_best_epoch_is_the_mean_over_the_folds() {
        let mut trial = samples::trials().remove(0);
        let epochs = [Some(4), Some(7), Some(9)];
        for (fold, epoch) in trial.folds.iter_mut().zip(epochs) {
            fold.best_epoch = epoch.map(Epoch);
        }
        assert_eq!(trial.folds.len(), 3);
        assert_eq!(best_epoch(&trial), Some(7), "20 / 3, rounded");
        trial.folds.iter_mut().for_each(|fold| fold.best_epoch = None);
        assert_eq!(best_epoch(&trial), None);
    }

    #[test]
    fn settings_over_a_fit_have_no_lines() {
        let spec = samples::spec(&[]);
        let wrong = overlaid(spec.clone(), &["train.epochs=0".into()]).expect_err("none");
        assert!(wrong.to_string().contains("--set train.epochs=0: train.epochs"), "{wrong}");
        let other = overlaid(spec, &["train.epochs=9".into()]).expect("a study");
        assert_eq!(other.train.epochs, Some(9));
    }
}
