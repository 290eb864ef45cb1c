//! `foldwise fit`: the params of a trial trained once more, as a study of one trial whose model is kept, measured and written
//! to files.

mod files;
mod fitted;
mod params;
mod plan;
mod stage;

use std::path::PathBuf;

use foldwise_shared::value::short;

pub(super) use self::fitted::{Fitted, find_fit, outcome};
pub(super) use self::plan::overlaid;
pub(super) use self::stage::{Planned, Stage};

use super::args::FitArgs;
use super::error::CliError;
use super::{evaluate, next, render, say};

/// Fits a study or a study file.
///
/// # Errors
/// Params, a study or a file that cannot be fitted, a fit that fails, or an interruption.
pub fn execute(args: &FitArgs) -> Result<(), CliError> {
    let stage = Stage::new(&args.source, &args.workers);
    let planned = plan::plan(args, &stage)?;
    let name = planned.spec.study.name.clone();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(&name));
    files::check_folder(&out, &name)?;
    let place = next::place(&args.source);

    let evaluate = planned.spec.evaluate.clone();
    let (study, is_new) = stage.carry_out(planned)?;
    if !is_new {
        say(&format!("the fit {name} is finished already; nothing is left to train"));
    }
    let mut fitted = Fitted::of(&stage.open()?, study, &place)?;
    let written = files::write(&stage.open()?, &fitted, &out)?;
    let (value, epoch) = (short(fitted.value), fitted.epoch);
    let mut lines = vec![
        format!("fit         {name}: validation loss {value} at epoch {epoch}"),
        format!("model       {}", written.model.display()),
        format!("params      {}", written.params.display()),
    ];
    // As it is asked for now, which may be another way than when it was trained.
    fitted.spec.evaluate = evaluate;
    // What is trained is told even where its evaluation fails.
    let measured = match args.no_evaluation {
        true => Ok(None),
        false => evaluate::measure(&stage, &fitted, None, None, &[], &place).map(Some),
    };
    if let Ok(Some(measured)) = &measured {
        lines.push(format!("evaluation  {}", measured.line()));
    }
    render::to_stdout(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    measured?;
    next::show(&[next::report(&place, &name), next::curve(&place, &name, fitted.trial)]);
    Ok(())
}
