//! `[pruner]`: which kind has which keys, their defaults, and settings that could never act.

use super::parse::{apply, read};
use super::validate::error;
use super::{PrunerKind, PrunerSection, SpecError, StudySpec};

use PrunerKind::{Hyperband, Median, Paired, Patience, Percentile, Sequential, SuccessiveHalving, Threshold};

/// Every key but `kind`, and the kinds that have it.
const KEYS: &[(&str, &[PrunerKind])] = &[
    ("percentile", &[Percentile, Paired]),
    ("startup_trials", &[Median, Percentile, Paired, Sequential]),
    ("warmup_epochs", &[Median, Percentile, Paired, Threshold]),
    ("interval_epochs", &[Median, Percentile, Paired, Threshold]),
    ("min_peers", &[Median, Percentile, Paired]),
    ("min_resource", &[SuccessiveHalving, Hyperband]),
    ("max_resource", &[Hyperband]),
    ("reduction_factor", &[SuccessiveHalving, Hyperband]),
    ("min_early_stopping_rate", &[SuccessiveHalving]),
    ("bootstrap_trials", &[SuccessiveHalving, Hyperband]),
    ("lower", &[Threshold]),
    ("upper", &[Threshold]),
    ("alpha", &[Sequential]),
    ("patience", &[Median, Percentile, SuccessiveHalving, Hyperband, Threshold, Patience, Paired]),
    ("min_delta", &[Median, Percentile, SuccessiveHalving, Hyperband, Threshold, Patience, Paired]),
];

/// The kinds that have a key of `[pruner]`; none if there is no such key, or if every kind has it.
pub fn pruners_with(key: &str) -> &'static [PrunerKind] {
    KEYS.iter().find(|(name, _)| *name == key).map_or(&[], |(_, kinds)| kinds)
}

/// The same study with another pruner: `KIND`, `KIND,key=value,...` or a TOML table. Of `overrides` (`key=value`) those
/// are laid over it whose key this kind has.
///
/// # Errors
/// What is no pruner, or one that could not work in this study.
pub fn with_pruner(spec: &StudySpec, text: &str, overrides: &[String]) -> Result<StudySpec, SpecError> {
    let text = text.trim();
    let mut table = toml::Table::new();
    if text.starts_with('{') {
        apply(&mut table, &format!("pruner={text}"))?;
    } else {
        for (position, part) in text.split(',').map(str::trim).enumerate() {
            let key = match (position, part.contains('=')) {
                (0, false) => "kind=",
                (_, true) => "",
                (_, false) => {
                    let message =
                        format!("`{part}` is no setting; write KIND,key=value,..., one pruner at a time");
                    return Err(SpecError::new("pruner", message));
                }
            };
            apply(&mut table, &format!("pruner.{key}{part}"))?;
        }
    }
    let section = match table.remove("pruner") {
        Some(toml::Value::Table(section)) => section,
        _ => return Err(SpecError::new("pruner", "write a kind, or a table such as { kind = \"median\" }")),
    };
    let kind = read_section(section.clone())?.kind;
    table.insert("pruner".to_owned(), section.into());
    for set in overrides {
        let key = set.split('=').next().unwrap_or_default().trim();
        let mut alone = toml::Table::new();
        apply(&mut alone, &format!("pruner.{set}"))?;
        if pruners_with(key).contains(&kind) {
            apply(&mut table, &format!("pruner.{set}"))?;
        } else if let Some(toml::Value::Table(alone)) = alone.remove("pruner") {
            // A key of another kind; one that no kind has is an error.
            read_section(alone)?;
        }
    }
    let section = match table.remove("pruner") {
        Some(toml::Value::Table(section)) => read_section(section)?,
        _ => PrunerSection::default(),
    };
    let mut spec = StudySpec { pruner: section, ..spec.clone() };
    resolve_pruner(&mut spec)?;
    Ok(spec)
}

fn read_section(section: toml::Table) -> Result<PrunerSection, SpecError> {
    read(section).map_err(|error| {
        let key = if error.key.is_empty() { "pruner".into() } else { format!("pruner.{}", error.key) };
        SpecError { key, ..error }
    })
}

/// Fills in the defaults of the kind, and refuses what it does not have or could never act by.
pub(super) fn resolve_pruner(spec: &mut StudySpec) -> Result<(), SpecError> {
    check_keys(&spec.pruner)?;
    let (folds, epochs, whole) = (spec.folds(), spec.epochs(), spec.whole_epochs());
    let pruner = &mut spec.pruner;
    match pruner.kind {
        PrunerKind::None => Ok(()),
        Median => resolve_peers(pruner, folds, epochs),
        Percentile if pruner.percentile.is_none() => error(
            "pruner.percentile",
            "it has no default: write percentile = 25 to let the best quarter live",
        ),
        Percentile => resolve_peers(pruner, folds, epochs),
        Paired => {
            pruner.percentile.get_or_insert(50.0);
            resolve_peers(pruner, folds, epochs)
        }
        SuccessiveHalving => {
            pruner.reduction_factor.get_or_insert(4);
            pruner.min_early_stopping_rate.get_or_insert(0);
            resolve_ladder(pruner, whole)
        }
        Hyperband => {
            pruner.reduction_factor.get_or_insert(3);
            let max = *pruner.max_resource.get_or_insert(whole);
            if max > whole {
                let message =
                    format!("all folds together have {whole} epochs; use at most {whole}, not {max}");
                return error("pruner.max_resource", message);
            }
            resolve_ladder(pruner, whole)?;
            let min = pruner.min_resource.unwrap_or_default();
            if max < min {
                return error(
                    "pruner.max_resource",
                    format!("{max} is below min_resource; use at least {min}"),
                );
            }
            Ok(())
        }
        Threshold => resolve_threshold(pruner, epochs),
        Patience if pruner.patience.is_none() => {
            error("pruner.patience", "it has no default: write patience = 5 to wait for 5 epochs")
        }
        Patience => Ok(()),
        Sequential => resolve_sequential(pruner, folds),
    }?;
    resolve_patience(pruner, epochs)
}

fn check_keys(pruner: &PrunerSection) -> Result<(), SpecError> {
    let given = serde_json::to_value(pruner).unwrap_or_default();
    for (key, kinds) in KEYS.iter().filter(|(key, _)| !given[*key].is_null()) {
        if !kinds.contains(&pruner.kind) {
            let (kind, have) = (pruner.kind, if kinds.len() == 1 { "has" } else { "have" });
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            let message = format!(
                "kind = \"{kind}\" has no such key ({} {have} it); take it out (over a file: replace the \
                 whole section, --set 'pruner={{ kind = \"{kind}\" }}')",
                kinds.join(", "),
            );
            return error(&format!("pruner.{key}"), message);
        }
    }
    Ok(())
}

/// `median`, `percentile` and `paired`.
fn resolve_peers(pruner: &mut PrunerSection, folds: u32, epochs: u32) -> Result<(), SpecError> {
    pruner.startup_trials.get_or_insert(5);
    if *pruner.min_peers.get_or_insert(1) == 0 {
        return error("pruner.min_peers", "use at least 1");
    }
    if let Some(percentile) = pruner.percentile
        && !(percentile > 0.0 && percentile < 100.0)
    {
        return error("pruner.percentile", format!("use more than 0 and less than 100, not {percentile}"));
    }
    // Several folds are judged after each of them, whatever the warm-up.
    resolve_interval(pruner, if folds > 1 { u32::MAX } else { epochs })
}

fn resolve_interval(pruner: &mut PrunerSection, epochs: u32) -> Result<(), SpecError> {
    let warmup = *pruner.warmup_epochs.get_or_insert(0);
    if warmup >= epochs {
        let message = format!("a fold of {epochs} epochs would never be judged; use less than {epochs}");
        return error("pruner.warmup_epochs", message);
    }
    if *pruner.interval_epochs.get_or_insert(1) == 0 {
        return error("pruner.interval_epochs", "use at least 1");
    }
    Ok(())
}

/// `successive-halving` and `hyperband`.
fn resolve_ladder(pruner: &mut PrunerSection, whole: u32) -> Result<(), SpecError> {
    let min = *pruner.min_resource.get_or_insert(1);
    pruner.bootstrap_trials.get_or_insert(0);
    let factor = pruner.reduction_factor.unwrap_or_default();
    if factor < 2 {
        let message = format!("one in {factor} is nobody to stop; use at least 2");
        return error("pruner.reduction_factor", message);
    }
    if min == 0 {
        return error("pruner.min_resource", "use at least 1");
    }
    if min >= whole {
        let message =
            format!("the first rung would be at the end of a trial of {whole} epochs; use less than {whole}");
        return error("pruner.min_resource", message);
    }
    let rate = pruner.min_early_stopping_rate.unwrap_or(0);
    if first_rung(min, factor, rate).is_none_or(|first| first >= u64::from(whole)) {
        let most = (0..rate)
            .take_while(|rate| first_rung(min, factor, *rate).is_some_and(|first| first < u64::from(whole)))
            .last()
            .unwrap_or(0);
        let message = format!(
            "the first rung would be past the end of a trial of {whole} epochs; use at most {most} with \
             reduction_factor {factor}"
        );
        return error("pruner.min_early_stopping_rate", message);
    }
    Ok(())
}

fn first_rung(min: u32, factor: u32, rate: u32) -> Option<u64> {
    u64::from(min).checked_mul(u64::from(factor).checked_pow(rate)?)
}

fn resolve_threshold(pruner: &mut PrunerSection, epochs: u32) -> Result<(), SpecError> {
    for (key, bound) in [("lower", pruner.lower), ("upper", pruner.upper)] {
        if bound.is_some_and(|bound| !bound.is_finite()) {
            return error(&format!("pruner.{key}"), "use a finite number, or leave it out");
        }
    }
    match (pruner.lower, pruner.upper) {
        (None, None) => error("pruner.kind", "threshold needs a bound: give lower, upper or both"),
        (Some(lower), Some(upper)) if lower > upper => {
            let message =
                format!("{lower} is above upper, {upper}, so that every trial would stop; swap them");
            error("pruner.lower", message)
        }
        _ => resolve_interval(pruner, epochs),
    }
}

fn resolve_sequential(pruner: &mut PrunerSection, folds: u32) -> Result<(), SpecError> {
    if folds < 2 {
        let message =
            "sequential compares finished folds, and there is but one; give data.folds, or use median";
        return error("pruner.kind", message);
    }
    let startup = *pruner.startup_trials.get_or_insert(5);
    if startup < 2 {
        let message = format!("the spread of differences takes at least 2 complete trials, not {startup}");
        return error("pruner.startup_trials", message);
    }
    let alpha = *pruner.alpha.get_or_insert(0.05);
    if !(alpha > 0.0 && alpha <= 0.5) {
        return error("pruner.alpha", format!("use more than 0 and at most 0.5, not {alpha}"));
    }
    Ok(())
}

fn resolve_patience(pruner: &mut PrunerSection, epochs: u32) -> Result<(), SpecError> {
    let Some(patience) = pruner.patience else {
        return match pruner.min_delta {
            Some(_) => error("pruner.min_delta", "it belongs to patience; give patience too, or take it out"),
            None => Ok(()),
        };
    };
    if patience.saturating_add(1) >= epochs {
        let message = match epochs.checked_sub(2) {
            Some(most) => format!("a fold of {epochs} epochs would never be judged; use at most {most}"),
            None => "a fold of 1 epoch cannot get worse; take it out".to_owned(),
        };
        return error("pruner.patience", message);
    }
    let delta = *pruner.min_delta.get_or_insert(0.0);
    if !(delta >= 0.0 && delta.is_finite()) {
        return error("pruner.min_delta", format!("use 0 or more, not {delta}"));
    }
    Ok(())
}
