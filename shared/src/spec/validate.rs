//! Resolves the defaults of a study file and checks what its types alone cannot.

use super::parse::nearest;
use super::pruner::resolve_pruner;
use super::{SamplerKind, SpecError, StudySpec};
use crate::model::{Optimizer, TrialSettings, settings};
use crate::space::Domain;
use crate::value::{ParamValue, Params};

/// The longest name of a study.
const NAME_LENGTH: usize = 64;
/// Epochs of a fold at most.
const MAX_EPOCHS: u32 = 1_000_000;
/// Folds of a trial at most.
const MAX_FOLDS: u32 = 1_000;
/// The combinations of a grid at most.
const MAX_GRID: u64 = 1_000_000;

pub(super) fn resolve_and_check(spec: &mut StudySpec) -> Result<(), SpecError> {
    if spec.version != 1 {
        return Err(SpecError::new(
            "version",
            format!("version {} is not known; this program reads version 1", spec.version),
        ));
    }
    check_name(&spec.study.name)?;
    check_data(spec)?;
    check_train(spec)?;
    check_space(spec)?;
    resolve_settings(spec);
    check_settings(spec)?;
    resolve_sampler(spec)?;
    resolve_pruner(spec)?;
    check_budget(spec)
}

pub(super) fn error(key: &str, message: impl Into<String>) -> Result<(), SpecError> {
    Err(SpecError::new(key, message))
}

fn check_name(name: &str) -> Result<(), SpecError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(fits) {
        return error(
            "study.name",
            format!("`{name}` is no name; use 1 to {NAME_LENGTH} letters, digits, `-`, `_` or `.`"),
        );
    }
    Ok(())
}

fn check_data(spec: &StudySpec) -> Result<(), SpecError> {
    let data = &spec.data;
    if data.dataset.trim().is_empty() {
        return error(
            "data.dataset",
            "it is empty; write mnist, fashion-mnist, synthetic-digits or a path to IDX files",
        );
    }
    match (data.folds, data.holdout) {
        (Some(folds), None) if !(2..=MAX_FOLDS).contains(&folds) => error(
            "data.folds",
            format!("{folds} folds cannot work; use 2 to {MAX_FOLDS}, or `holdout = n` for one split"),
        ),
        (None, Some(0)) => error("data.holdout", "nothing is held out; use at least 1 image"),
        (Some(_), Some(_)) => error("data.holdout", "give either `folds` or `holdout`, not both"),
        (None, None) => error("data", "give `folds = k` for cross-validation or `holdout = n` for one split"),
        _ => Ok(()),
    }?;
    if data.limit == Some(0) {
        return error("data.limit", "no image is left; use at least 2, or leave it out");
    }
    Ok(())
}

fn check_train(spec: &StudySpec) -> Result<(), SpecError> {
    let train = &spec.train;
    if !(1..=MAX_EPOCHS).contains(&train.epochs) {
        return error("train.epochs", format!("{} epochs cannot work; use 1 to {MAX_EPOCHS}", train.epochs));
    }
    if let Some(stopping) = train.early_stopping {
        if stopping.patience == 0 {
            return error(
                "train.early_stopping.patience",
                "use at least 1 epoch, or `early_stopping = false`",
            );
        }
        if !(stopping.min_delta >= 0.0 && stopping.min_delta.is_finite()) {
            return error(
                "train.early_stopping.min_delta",
                format!("use 0 or more, not {}", stopping.min_delta),
            );
        }
    }
    Ok(())
}

fn check_space(spec: &StudySpec) -> Result<(), SpecError> {
    let known = settings(spec.model.network);
    for (name, domain) in &spec.space.0 {
        let key = format!("space.{name}");
        let Some(setting) = known.iter().find(|setting| setting.name == name) else {
            let meant = nearest(name, known.iter().map(|setting| setting.name))
                .map(|word| format!("; did you mean `{word}`?"))
                .unwrap_or_default();
            let names = known.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            return error(&key, format!("the model knows no such param{meant} (known: {names})"));
        };
        if spec.fixed_setting(name).is_some() {
            return error(&key, format!("it is also fixed in [{}]; keep one of the two", setting.section));
        }
        setting.check_domain(domain).map_err(|message| SpecError::new(&key, message))?;
    }
    Ok(())
}

fn resolve_settings(spec: &mut StudySpec) {
    let searched = |name: &str| spec.space.0.contains_key(name);
    let (dropout, optimizer) = (searched("dropout"), searched("optimizer"));
    let (learning_rate, weight_decay) = (searched("learning_rate"), searched("weight_decay"));
    let batch_size = searched("batch_size");
    fn default<T>(slot: &mut Option<T>, searched: bool, value: T) {
        if !searched && slot.is_none() {
            *slot = Some(value);
        }
    }
    default(&mut spec.model.dropout, dropout, 0.0);
    default(&mut spec.train.optimizer, optimizer, Optimizer::Adam);
    default(&mut spec.train.learning_rate, learning_rate, 1e-3);
    default(&mut spec.train.weight_decay, weight_decay, 0.0);
    default(&mut spec.train.batch_size, batch_size, 256);
}

/// Every setting must have a value: the fixed ones are checked here, a searched one by any value of its domain.
fn check_settings(spec: &StudySpec) -> Result<(), SpecError> {
    for setting in settings(spec.model.network) {
        let key = format!("{}.{}", setting.section, setting.name);
        match spec.fixed_setting(setting.name) {
            Some(value) => setting.check(&value).map_err(|message| SpecError::new(&key, message))?,
            None if spec.space.0.contains_key(setting.name) => {}
            None => {
                return error(
                    &key,
                    format!("it has no default: fix it in [{}] or search it in [space]", setting.section),
                );
            }
        }
    }
    let any: Params = spec.space.0.iter().map(|(name, domain)| (name.clone(), any_value(domain))).collect();
    TrialSettings::resolve(spec, &any).map(|_| ()).map_err(|message| SpecError::new("space", message))
}

fn any_value(domain: &Domain) -> ParamValue {
    match domain {
        Domain::Float { low, .. } => ParamValue::Float(*low),
        Domain::Int { low, .. } => ParamValue::Int(*low),
        Domain::Choice(values) => values.first().cloned().unwrap_or(ParamValue::Bool(false)),
        Domain::Bool => ParamValue::Bool(false),
        Domain::Fixed(value) => value.clone(),
    }
}

fn resolve_sampler(spec: &mut StudySpec) -> Result<(), SpecError> {
    match spec.sampler.kind {
        SamplerKind::Tpe => error("sampler.kind", "tpe comes in a later version; use random or grid"),
        SamplerKind::Random if spec.sampler.points.is_some() => {
            error("sampler.points", "it belongs to kind = \"grid\" only")
        }
        SamplerKind::Random => Ok(()),
        SamplerKind::Grid => {
            let points = *spec.sampler.points.get_or_insert(5);
            if points == 0 {
                return error("sampler.points", "a param needs at least 1 value");
            }
            match spec.space.grid_len(points) {
                Some(size) if size <= MAX_GRID => Ok(()),
                _ => error(
                    "sampler",
                    format!(
                        "the grid has more than {MAX_GRID} combinations; use steps, fewer points or kind = \"random\""
                    ),
                ),
            }
        }
    }
}

fn check_budget(spec: &StudySpec) -> Result<(), SpecError> {
    let budget = &spec.budget;
    if budget.trials == Some(0) {
        return error("budget.trials", "a study of no trial finds nothing; use at least 1");
    }
    if let Some(total) = budget.total_epochs
        && total < u64::from(spec.train.epochs)
    {
        let epochs = spec.train.epochs;
        return error(
            "budget.total_epochs",
            format!("{total} epochs are too few for one fold of {epochs}; use at least {epochs}"),
        );
    }
    if let Some(text) = &budget.wall_time {
        match humantime::parse_duration(text) {
            Ok(span) if span.as_millis() > 0 => {}
            Ok(_) => return error("budget.wall_time", "no time is left; use more than 0, such as \"2h\""),
            Err(problem) => {
                return error(
                    "budget.wall_time",
                    format!("`{text}` is no duration ({problem}); write \"90s\", \"45m\" or \"2h 30m\""),
                );
            }
        }
    }
    let bounded = budget.trials.is_some() || budget.total_epochs.is_some() || budget.wall_time.is_some();
    if !bounded && spec.sampler.kind != SamplerKind::Grid {
        return error("budget", "the study would never end: give trials, total_epochs or wall_time");
    }
    Ok(())
}
