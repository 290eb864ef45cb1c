//! A param as a study file has it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Domain, Param};
use crate::value::ParamValue;

/// A param as it is written in a study file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Param")]
pub(super) struct Entry {
    /// `[low, high]`: a real number between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    float: Option<(f64, f64)>,
    /// `[low, high]`: a whole number between the two, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    int: Option<(i64, i64)>,
    /// The values to choose from, in any TOML type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    choice: Option<Vec<ParamValue>>,
    /// `true`: the param is true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bool: Option<bool>,
    /// Always this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    fixed: Option<ParamValue>,
    /// For float and int: draw on a logarithmic scale; the low bound must be above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<bool>,
    /// For float and int: only `low`, `low + step`, `low + 2 step`, ... up to `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<f64>,
    /// Only trials in which these other params have these values have this one: `{ optimizer = "sgd" }`, or a list of
    /// values for any of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    when: BTreeMap<String, ParamValue>,
}

impl TryFrom<Entry> for Param {
    type Error = String;

    fn try_from(mut entry: Entry) -> Result<Self, String> {
        let when = std::mem::take(&mut entry.when);
        Ok(Self { domain: entry.domain()?, when })
    }
}

impl Entry {
    fn domain(self) -> Result<Domain, String> {
        let entry = self;
        let kinds = [
            entry.float.is_some(),
            entry.int.is_some(),
            entry.choice.is_some(),
            entry.bool.is_some(),
            entry.fixed.is_some(),
        ];
        if kinds.into_iter().filter(|given| *given).count() != 1 {
            return Err("give exactly one of float, int, choice, bool or fixed".into());
        }
        let log = entry.log.unwrap_or(false);
        if let Some((low, high)) = entry.float {
            return float(low, high, log, entry.step);
        }
        if let Some((low, high)) = entry.int {
            return int(low, high, log, entry.step);
        }
        if entry.log.is_some() || entry.step.is_some() {
            return Err("log and step belong to float and int only".into());
        }
        if let Some(values) = entry.choice {
            return choice(values);
        }
        match (entry.bool, entry.fixed) {
            (Some(true), _) => Ok(Domain::Bool),
            (Some(false), _) => {
                Err("write `bool = true`, or `fixed = false` for a param that is always false".into())
            }
            (None, Some(value)) => {
                finite(&value)?;
                Ok(Domain::Fixed(value))
            }
            (None, None) => Err("give exactly one of float, int, choice, bool or fixed".into()),
        }
    }
}

fn float(low: f64, high: f64, log: bool, step: Option<f64>) -> Result<Domain, String> {
    if !low.is_finite() || !high.is_finite() || !(high - low).is_finite() {
        return Err(format!("the bounds {low} and {high} must be finite"));
    }
    if low > high {
        return Err(format!("the low bound {low} is above the high bound {high}; swap them"));
    }
    if log && low <= 0.0 {
        return Err(format!("a logarithmic scale needs a low bound above 0, not {low}"));
    }
    if let Some(step) = step {
        if log {
            return Err("log and step exclude each other; keep one".into());
        }
        if !step.is_finite() || step <= 0.0 {
            return Err(format!("the step must be above 0, not {step}"));
        }
        if (high - low) / step > 1e15 {
            return Err(format!(
                "a step of {step} makes more values than a number can count; use a larger one"
            ));
        }
    }
    Ok(Domain::Float { low, high, log, step })
}

fn int(low: i64, high: i64, log: bool, step: Option<f64>) -> Result<Domain, String> {
    if low > high {
        return Err(format!("the low bound {low} is above the high bound {high}; swap them"));
    }
    if log && low <= 0 {
        return Err(format!("a logarithmic scale needs a low bound of at least 1, not {low}"));
    }
    if high.checked_sub(low).is_none_or(|span| span >= 1 << 53) {
        return Err(format!("the bounds {low} and {high} are too far apart; at most 2^53"));
    }
    let step = match step {
        None => 1,
        Some(_) if log => return Err("log and step exclude each other; keep one".into()),
        Some(step) if step >= 1.0 && step.fract() == 0.0 && step < 9e15 => step as i64,
        Some(step) => {
            return Err(format!("the step of an int must be a whole number of at least 1, not {step}"));
        }
    };
    Ok(Domain::Int { low, high, log, step })
}

fn choice(values: Vec<ParamValue>) -> Result<Domain, String> {
    if values.is_empty() {
        return Err("a choice needs at least one value".into());
    }
    for (position, value) in values.iter().enumerate() {
        finite(value)?;
        // 1 and 1.0 are written apart and mean the same.
        let same = |other: &ParamValue| {
            other == value || value.as_f64().is_some_and(|number| other.as_f64() == Some(number))
        };
        if values[..position].iter().any(same) {
            return Err(format!("the choice `{value}` stands there twice"));
        }
    }
    Ok(Domain::Choice(values))
}

fn finite(value: &ParamValue) -> Result<(), String> {
    match value {
        ParamValue::Float(number) if !number.is_finite() => Err(format!("{number} is no finite number")),
        _ => Ok(()),
    }
}

impl From<Param> for Entry {
    fn from(Param { domain, when }: Param) -> Self {
        let empty = Self { when, ..Self::default() };
        match domain {
            Domain::Float { low, high, log, step } => {
                Self { float: Some((low, high)), log: log.then_some(true), step, ..empty }
            }
            Domain::Int { low, high, log, step } => Self {
                int: Some((low, high)),
                log: log.then_some(true),
                step: (step != 1).then_some(step as f64),
                ..empty
            },
            Domain::Choice(values) => Self { choice: Some(values), ..empty },
            Domain::Bool => Self { bool: Some(true), ..empty },
            Domain::Fixed(value) => Self { fixed: Some(value), ..empty },
        }
    }
}
