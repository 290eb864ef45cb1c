//! Resolves the defaults of a study file and checks what its types alone cannot.

use super::Objective;
use super::corruption::check_corruption;
use super::fitted::check_fitted;
use super::parse::nearest;
use super::pruner::resolve_pruner;
use super::recovery::check_recovery;
use super::{SamplerKind, SpecError, StudySpec};
use crate::model::{Network, Optimizer, Setting, TrialSettings, check_networks, settings, settings_of};
use crate::space::{Domain, Grid};
use crate::value::{ParamValue, Params};

/// The longest name of a study.
pub const NAME_LENGTH: usize = 64;
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
    check_fitted(spec)?;
    spec.size.clear();
    if spec.is_external() {
        check_external(spec)?;
    } else {
        check_data(spec)?;
        check_train(spec)?;
        check_corruption(&spec.corruption)?;
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
    // What such a study does not say of its data is that of its source.
    let awaits = spec.awaits_source();
    if spec.dataset().trim().is_empty() && !(awaits && data.dataset.is_none()) {
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
        (None, Some(0)) if !may_hold_out_nothing(spec) => error(
            "data.holdout",
            "nothing is held out; use at least 1 image (only a fit is trained on all of them)",
        ),
        (Some(_), Some(_)) => error("data.holdout", "give either `folds` or `holdout`, not both"),
        (None, None) if !awaits => {
            error("data", "give `folds = k` for cross-validation or `holdout = n` for one split")
        }
        _ => Ok(()),
    }?;
    if data.limit == Some(0) {
        return error("data.limit", "no image is left; use at least 2, or leave it out");
    }
    Ok(())
}

/// Whether a study chooses nothing by its validation loss: no trial, and no epoch.
fn may_hold_out_nothing(spec: &StudySpec) -> bool {
    let chooses = spec.train.early_stopping.is_some() || !spec.space.0.is_empty();
    spec.study.objective == Objective::Evaluation || (spec.fit.is_some() && !chooses)
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
    let mut given = vec![
        ("data.dataset".to_owned(), data.dataset.is_some()),
        ("data.holdout".to_owned(), data.holdout.is_some()),
        ("data.limit".to_owned(), data.limit.is_some()),
        ("model.network".to_owned(), model.network.is_some()),
    ];
    // The symmetric network has every setting that there is.
    given.extend(settings(Network::Symmetric).iter().map(|Setting { name, section, .. }| {
        (format!("{section}.{name}"), spec.fixed_setting(name).is_some())
    }));
    given.push(("train.early_stopping".to_owned(), train.early_stopping.is_some()));
    given.push(("corruption".to_owned(), !spec.corruption.is_none()));
    given.push(("evaluate".to_owned(), spec.evaluate.is_some()));
    if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
        return error(
            &key,
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
    if spec.study.objective == Objective::Training && spec.model.network.is_none() {
        return error(
            "model.network",
            "it is missing; write \"lab\" or \"symmetric\" (or study.objective = \"external\" for a program of your own)",
        );
    }
    check_foreign(spec)?;
    check_searched(spec)?;
    resolve_settings(spec)?;
    for setting in settings_of(spec) {
        let key = format!("{}.{}", setting.section, setting.name);
        match (spec.fixed_setting(setting.name), spec.space.0.get(setting.name)) {
            (Some(value), _) => setting.check(&value).map_err(|message| SpecError::new(&key, message))?,
            (None, Some(param)) if !param.when.is_empty() && setting.default.is_none() => {
                let key = format!("space.{}.when", setting.name);
                return error(&key, "every trial needs it, for it has no default; leave the condition out");
            }
            (None, None) if setting.default.is_none() => {
                return error(
                    &key,
                    format!("it has no default: fix it in [{}] or search it in [space]", setting.section),
                );
            }
            _ => {}
        }
    }
    check_depending(spec)?;
    check_networks(spec)?;
    if spec.model.network.is_none() || spec.study.objective == Objective::Evaluation {
        return Ok(());
    }
    let any: Params =
        spec.space.0.iter().map(|(name, param)| (name.clone(), any_value(&param.domain))).collect();
    TrialSettings::resolve(spec, &any).map(|_| ()).map_err(|message| SpecError::new("space", message))
}

/// What is fixed must be settings of the network.
fn check_foreign(spec: &StudySpec) -> Result<(), SpecError> {
    let known = settings_of(spec);
    // The network of a source comes with all its settings.
    let taken = spec.source.as_ref().is_some_and(|source| source.model.is_some());
    for Setting { name, section, .. } in settings(Network::Symmetric) {
        let foreign =
            !known.iter().any(|setting| setting.name == *name) && spec.fixed_setting(name).is_some();
        if foreign && !(taken && *section == "model") {
            let names = known.iter().filter(|setting| setting.section == *section);
            let names = names.map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            let whose = match spec.study.objective {
                Objective::Training => "this network",
                _ => "such a study",
            };
            return error(
                &format!("{section}.{name}"),
                format!("it is no setting of {whose} (there: {names})"),
            );
        }
    }
    Ok(())
}

/// A setting that has a meaning only beside some values of another is searched and fixed only beside those.
fn check_depending(spec: &StudySpec) -> Result<(), SpecError> {
    let momentous: Vec<&str> = Optimizer::ALL
        .iter()
        .filter(|optimizer| optimizer.has_momentum())
        .map(|optimizer| optimizer.as_str())
        .collect();
    let depending: [(&str, &str, Vec<ParamValue>, String); 2] = [
        (
            "momentum",
            "optimizer",
            momentous.iter().map(|word| ParamValue::Text((*word).into())).collect(),
            format!("only {} have a momentum", momentous.join(" and ")),
        ),
        ("beta", "variational", vec![ParamValue::Bool(true)], "only a variational network has a beta".into()),
    ];
    for (name, other, wanted, why) in depending {
        let Some(setting) = settings_of(spec).iter().find(|setting| setting.name == name) else { continue };
        let fixed = spec.fixed_setting(name).is_some();
        let Some(param) = spec.space.0.get(name).map(Some).or(fixed.then_some(None)) else { continue };
        let key = if fixed { format!("{}.{name}", setting.section) } else { format!("space.{name}") };
        let values = match spec.space.0.get(other) {
            Some(searched) => possible_values(&searched.domain),
            None => spec.fixed_setting(other).into_iter().collect(),
        };
        if !values.iter().any(|value| wanted.contains(value)) {
            return error(&key, format!("{why}; leave it out"));
        }
        // A value that is fixed is of no harm beside others; one that is searched would be searched in vain.
        let Some(param) = param.filter(|_| spec.space.0.contains_key(other)) else { continue };
        let asked = param.when.get(other).map_or(values, asked_values);
        if !asked.iter().all(|value| wanted.contains(value)) {
            let list: Vec<String> = wanted.iter().map(|value| value.to_json().to_string()).collect();
            let list = if let [one] = &list[..] { one.clone() } else { format!("[{}]", list.join(", ")) };
            return error(&key, format!("{why}; add when = {{ {other} = {list} }}"));
        }
    }
    Ok(())
}

/// The values that a condition asks for: one, or any of a list.
fn asked_values(condition: &ParamValue) -> Vec<ParamValue> {
    match condition.to_json() {
        serde_json::Value::Array(values) => values.into_iter().filter_map(ParamValue::from_json).collect(),
        _ => vec![condition.clone()],
    }
}

/// The values of a domain that has few.
fn possible_values(domain: &Domain) -> Vec<ParamValue> {
    match domain {
        Domain::Choice(values) => values.clone(),
        Domain::Bool => vec![ParamValue::Bool(true), ParamValue::Bool(false)],
        Domain::Fixed(value) => vec![value.clone()],
        Domain::Float { .. } | Domain::Int { .. } => Vec::new(),
    }
}

/// What is searched must be settings of the network, with values they can have.
fn check_searched(spec: &StudySpec) -> Result<(), SpecError> {
    let known = settings_of(spec);
    for (name, param) in &spec.space.0 {
        let key = format!("space.{name}");
        let Some(setting) = known.iter().find(|setting| setting.name == name) else {
            let meant = nearest(name, known.iter().map(|setting| setting.name))
                .map(|word| format!("; did you mean `{word}`?"))
                .unwrap_or_default();
            let names = known.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            return error(&key, format!("the model knows no such param{meant} (known: {names})"));
        };
        // The source's value is another trial's.
        let taken = setting.section == "model" && spec.study.objective == Objective::Transfer;
        if spec.fixed_setting(name).is_some() && !taken {
            return error(&key, format!("it is also fixed in [{}]; keep one of the two", setting.section));
        }
        setting.check_domain(&param.domain).map_err(|message| SpecError::new(&key, message))?;
    }
    Ok(())
}

/// Fills in the defaults of what is neither fixed nor searched.
fn resolve_settings(spec: &mut StudySpec) -> Result<(), SpecError> {
    for setting in settings_of(spec) {
        let decided = spec.space.0.contains_key(setting.name) || spec.fixed_setting(setting.name).is_some();
        // Nothing of the network is known before its source is.
        let unknown = setting.section == "model" && spec.model.network.is_none();
        if let Some(default) = setting.default.filter(|_| setting.written && !decided && !unknown) {
            let key = format!("{}.{}", setting.section, setting.name);
            spec.fix_setting(setting.name, &default.into())
                .map_err(|message| SpecError::new(key, message))?;
        }
    }
    Ok(())
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
