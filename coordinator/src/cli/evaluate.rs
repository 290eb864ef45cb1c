//! `foldwise evaluate`: a model measured on the test images, as a study of one trial.

use std::path::Path;

use foldwise_shared::model::ModelSettings;
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{NAME_LENGTH, StudySpec, differences, evaluation_of};
use foldwise_shared::value::{Params, short};

use super::args::EvaluateArgs;
use super::error::CliError;
use super::fit::{Fitted, Planned, Stage, find_fit, outcome, overlaid};
use super::source::Source;
use super::{next, render, say};
use crate::model_file::ModelFile;
use crate::report::model::Evaluation;

/// Measures a fit's model, or another one of the same network.
///
/// # Errors
/// No fit, a model of another shape, or whatever stops a run.
pub fn execute(args: &EvaluateArgs) -> Result<(), CliError> {
    let stage = Stage::new(&args.source, &args.workers);
    let place = next::place(&args.source);
    let fitted = find_fit(&stage.open()?, &args.study, &place)?;
    if fitted.study.name != args.study {
        say(&format!("measures {}, the newest fit of {}", fitted.study.name, args.study));
    }
    let model = args.model.as_deref().map(|path| read_model(path, &fitted)).transpose()?;
    let measured = measure(&stage, &fitted, model, args.name.as_deref(), &args.sets, &place)?;
    render::to_stdout(|out| writeln!(out, "evaluation  {}", measured.line()))?;
    next::show(&[next::report(&place, &fitted.study.name)]);
    Ok(())
}

/// A model file that is one of the fit's network.
fn read_model(path: &Path, fitted: &Fitted) -> Result<ModelFile, CliError> {
    let shown = path.display();
    let wrong = |message: String| CliError::usage(format!("{shown}: {message}"));
    let bytes = std::fs::read(path)
        .map_err(|error| CliError::usage(format!("failed to read the model {shown}: {error}")))?;
    let model = ModelFile::read(bytes).map_err(|error| wrong(error.to_string()))?;
    let settings = ModelSettings::resolve(&fitted.spec, &Params::new()).map_err(wrong)?;
    let (height, width) = (fitted.study.height, fitted.study.width);
    model
        .check(&settings, height, width)
        .map_err(|error| wrong(format!("{error} (study `{}`)", fitted.study.name)))?;
    Ok(model)
}

/// What came of an evaluation.
pub(super) struct Measured {
    name: String,
    loss: f64,
    over: String,
}

impl Measured {
    /// For people.
    pub fn line(&self) -> String {
        format!("{}: error {} a pixel{}", self.name, short(self.loss), self.over)
    }
}

/// Runs the evaluation of a fit's model, or of the one that is brought.
///
/// # Errors
/// A setting that cannot be, or an evaluation that fails.
pub(super) fn measure(
    stage: &Stage<'_>,
    fitted: &Fitted,
    model: Option<ModelFile>,
    name: Option<&str>,
    sets: &[String],
    place: &str,
) -> Result<Measured, CliError> {
    let file = model.as_ref().map_or_else(|| fitted.model.clone(), ModelFile::artifact);
    let wanted = |name: &str| -> Result<StudySpec, CliError> {
        let spec = evaluation_of(&fitted.spec, name, Some(&file.digest));
        let spec = spec.map_err(|error| {
            CliError::usage(format!("the evaluation of `{}`: {error}", fitted.study.name))
        })?;
        overlaid(spec, sets)
    };
    let spec = match name {
        Some(name) => wanted(name)?,
        None => free(stage, &fitted.study.name, wanted)?,
    };
    let name = spec.study.name.clone();
    let planned = Planned { model, ..Planned::new(spec, Some(fitted.study.clone()))? };
    let (study, is_new) = stage.carry_out(planned)?;
    if !is_new {
        say(&format!("the evaluation {name} is there already; nothing is left to measure"));
    }
    let source = stage.open()?;
    let trial = outcome(&source, &study, "evaluation", place)?;
    Ok(Measured { name, loss: trial.value.unwrap_or(f64::NAN), over: images(&source, &study)? })
}

/// Which images an evaluation is over, in words; nothing where its numbers do not say.
fn images(source: &Source, study: &StudyRecord) -> Result<String, CliError> {
    let numbers = source.artifacts(study)?.into_iter().find(|artifact| artifact.kind == "evaluation");
    let Some(numbers) = numbers else { return Ok(String::new()) };
    let numbers = serde_json::from_slice::<Evaluation>(&source.artifact(study, &numbers.digest)?);
    Ok(numbers.map_or_else(
        |_| String::new(),
        |numbers| format!(", over {} {} images", numbers.images, numbers.part),
    ))
}

/// The evaluation under the first name that is free, or that has the same evaluation already.
fn free(
    stage: &Stage<'_>,
    fit: &str,
    wanted: impl Fn(&str) -> Result<StudySpec, CliError>,
) -> Result<StudySpec, CliError> {
    let mut number = 1;
    loop {
        let name = numbered(fit, number);
        let spec = wanted(&name)?;
        let stored = stage.find(&spec.study.name)?;
        let stored = stored.and_then(|study| StudySpec::from_json(&study.spec).ok());
        let is_other = stored.is_some_and(|stored| !differences(&stored, &spec).is_empty());
        // A name that stands in a setting is the one that is wanted.
        if !is_other || spec.study.name != name {
            return Ok(spec);
        }
        number += 1;
    }
}

/// The name of a fit's evaluation; of a long one the start, so that it is a name.
fn numbered(fit: &str, number: u32) -> String {
    let end = if number == 1 { "-evaluation".to_owned() } else { format!("-evaluation-{number}") };
    let start = fit.get(..NAME_LENGTH.saturating_sub(end.len())).unwrap_or(fit);
    format!("{start}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_of_a_long_name_has_a_name_too() {
        assert_eq!(numbered("fit", 1), "fit-evaluation");
        assert_eq!(numbered("fit", 12), "fit-evaluation-12");
        let long = "x".repeat(NAME_LENGTH);
        for number in [1, 2, u32::MAX] {
            let name = numbered(&long, number);
            assert_eq!(name.len(), NAME_LENGTH, "{name}");
            assert!(name.contains("x-evaluation"), "{name}");
        }
    }
}
