//! Resolves the defaults of a study file and checks what its types alone cannot.

use super::parse::nearest;
use super::pruner::resolve_pruner;
use super::recovery::check_recovery;
use super::{SamplerKind, SpecError, StudySpec};
use crate::model::{Network, TrialSettings, settings};
use crate::space::{Domain, Grid};
use crate::value::{ParamValue, Params};

/// The longest name of a study.
const NAME_LENGTH: usize = 64;
/// Epochs of a fold at most.
const MAX_EPOCHS: u32 = 1_000_000;
/// Epochs that an external objective may report of a fold where its study file does not say.
const EXTERNAL_EPOCHS: u32 = 10_000;
/// Params of a space at most.
const MAX_PARAMS: usize = 1_000;
/// The longest name of a param.
const PARAM_LENGTH: usize = 256;
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
    check_space(spec)?;
    if spec.is_external() {
        check_external(spec)?;
    } else {
        check_data(spec)?;
        check_train(spec)?;
        check_settings(spec)?;
    }
    resolve_sampler(spec)?;
    resolve_pruner(spec)?;
    check_budget(spec)?;
    check_recovery(spec)
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
    if spec.dataset().trim().is_empty() {
        let what = if data.dataset.is_some() { "it is empty" } else { "it is missing" };
        return error(
            "data.dataset",
            format!(
                "{what}; write mnist, fashion-mnist, synthetic-digits or a path to IDX files or images by class"
            ),
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
    let Some(epochs) = train.epochs else {
        return error("train.epochs", "it is missing; say how many epochs a fold is trained at most");
    };
    check_epochs(epochs)?;
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

fn check_epochs(epochs: u32) -> Result<(), SpecError> {
    if (1..=MAX_EPOCHS).contains(&epochs) {
        return Ok(());
    }
    error("train.epochs", format!("{epochs} epochs cannot work; use 1 to {MAX_EPOCHS}"))
}

/// An external objective has no data and no model of ours: what is said of them would have no effect.
fn check_external(spec: &mut StudySpec) -> Result<(), SpecError> {
    let (data, model, train) = (&spec.data, &spec.model, &spec.train);
    let given = [
        ("data.dataset", data.dataset.is_some()),
        ("data.holdout", data.holdout.is_some()),
        ("data.limit", data.limit.is_some()),
        ("model.network", model.network.is_some()),
        ("model.latent_dim", model.latent_dim.is_some()),
        ("model.dropout", model.dropout.is_some()),
        ("train.optimizer", train.optimizer.is_some()),
        ("train.learning_rate", train.learning_rate.is_some()),
        ("train.weight_decay", train.weight_decay.is_some()),
        ("train.batch_size", train.batch_size.is_some()),
        ("train.early_stopping", train.early_stopping.is_some()),
    ];
    if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
        return error(
            key,
            "an external objective trains no network of ours; leave it out (a param that is always the same can \
             stand in [space] as `{ fixed = ... }`)",
        );
    }
    if spec.space.0.is_empty() {
        return error("space", "an external objective with nothing to search; name its params here");
    }
    if let Some(folds) = data.folds
        && !(2..=MAX_FOLDS).contains(&folds)
    {
        return error(
            "data.folds",
            format!("{folds} folds cannot work; use 2 to {MAX_FOLDS}, or leave it out for one value a trial"),
        );
    }
    check_epochs(*spec.train.epochs.get_or_insert(EXTERNAL_EPOCHS))
}

fn check_space(spec: &StudySpec) -> Result<(), SpecError> {
    if spec.space.0.len() > MAX_PARAMS {
        return error("space", format!("{} params are too many; at most {MAX_PARAMS}", spec.space.0.len()));
    }
    if let Some(name) = spec.space.0.keys().find(|name| name.is_empty() || name.len() > PARAM_LENGTH) {
        return error("space", format!("`{name}` is no name of a param; use 1 to {PARAM_LENGTH} bytes"));
    }
    spec.space
        .check_conditions()
        .map_err(|error| SpecError::new(format!("space.{}.when", error.name), error.message))
}

/// Every setting must have a value: the fixed ones are checked here, a searched one by every value of its domain.
fn check_settings(spec: &mut StudySpec) -> Result<(), SpecError> {
    let Some(network) = spec.model.network else {
        return error(
            "model.network",
            "it is missing; write \"lab\" (or study.objective = \"external\" for a program of your own)",
        );
    };
    check_searched(spec, network)?;
    resolve_settings(spec, network);
    for setting in settings(network) {
        let key = format!("{}.{}", setting.section, setting.name);
        match (spec.fixed_setting(setting.name), spec.space.0.get(setting.name)) {
            (Some(value), _) => setting.check(&value).map_err(|message| SpecError::new(&key, message))?,
            (None, Some(param)) if !param.when.is_empty() && setting.default.is_none() => {
                let key = format!("space.{}.when", setting.name);
                return error(&key, "every trial needs it, for it has no default; leave the condition out");
            }
            (None, Some(_)) => {}
            (None, None) => {
                return error(
                    &key,
                    format!("it has no default: fix it in [{}] or search it in [space]", setting.section),
                );
            }
        }
    }
    let any: Params =
        spec.space.0.iter().map(|(name, param)| (name.clone(), any_value(&param.domain))).collect();
    TrialSettings::resolve(spec, &any).map(|_| ()).map_err(|message| SpecError::new("space", message))
}

/// What is searched must be settings of the network, with values they can have.
fn check_searched(spec: &StudySpec, network: Network) -> Result<(), SpecError> {
    let known = settings(network);
    for (name, param) in &spec.space.0 {
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
        setting.check_domain(&param.domain).map_err(|message| SpecError::new(&key, message))?;
    }
    Ok(())
}

/// Fills in the defaults of what is neither fixed nor searched.
fn resolve_settings(spec: &mut StudySpec, network: Network) {
    for setting in settings(network) {
        let decided = spec.space.0.contains_key(setting.name) || spec.fixed_setting(setting.name).is_some();
        if let Some(default) = setting.default.filter(|_| !decided) {
            spec.fix_setting(setting.name, default);
        }
    }
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
    use SamplerKind::{Auto, Gp, Grid as GridKind, Random, Sobol, Tpe};
    let sampler = &mut spec.sampler;
    let keys: [(&str, bool, &[SamplerKind]); 3] = [
        ("startup_trials", sampler.startup_trials.is_some(), &[Auto, Gp, Tpe]),
        ("multivariate", sampler.multivariate.is_some(), &[Tpe]),
        ("points", sampler.points.is_some(), &[GridKind]),
    ];
    for (name, given, kinds) in keys {
        if given && !kinds.contains(&sampler.kind) {
            return error(&format!("sampler.{name}"), format!("it belongs to kind = {} only", words(kinds)));
        }
    }
    match sampler.kind {
        Random | Sobol => {}
        Auto | Gp => drop(sampler.startup_trials.get_or_insert(8)),
        Tpe => {
            sampler.startup_trials.get_or_insert(10);
            sampler.multivariate.get_or_insert(true);
        }
        GridKind => {
            let points = *sampler.points.get_or_insert(5);
            if points == 0 {
                return error("sampler.points", "a param needs at least 1 value");
            }
            if Grid::new(&spec.space, points).count(MAX_GRID).is_none() {
                return error(
                    "sampler",
                    format!(
                        "the grid has more than {MAX_GRID} combinations; use steps, fewer points or kind = \"random\""
                    ),
                );
            }
        }
    }
    if spec.sampler.startup_trials == Some(0) {
        return error("sampler.startup_trials", "nothing can be learned from no trial; use at least 1");
    }
    Ok(())
}

/// Words as they stand in a file: `"a", "b" or "c"`.
fn words<T: serde::Serialize>(words: &[T]) -> String {
    let quoted: Vec<String> =
        words.iter().map(|word| serde_json::to_string(word).unwrap_or_default()).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

fn check_budget(spec: &StudySpec) -> Result<(), SpecError> {
    let budget = &spec.budget;
    if budget.trials == Some(0) {
        return error("budget.trials", "a study of no trial finds nothing; use at least 1");
    }
    if let Some(total) = budget.total_epochs
        && total < u64::from(spec.lease_epochs())
    {
        let epochs = spec.lease_epochs();
        let what = if spec.is_external() { "trial" } else { "fold" };
        return error(
            "budget.total_epochs",
            format!("{total} epochs are too few for one {what} of {epochs}; use at least {epochs}"),
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
