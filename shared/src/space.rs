//! The space of a study: which params are searched, over what, and which are fixed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{ParamValue, Params};

/// Params by name, in the order of their names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Space(pub BTreeMap<String, Domain>);

/// What a param may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Entry", into = "Entry")]
#[schemars(with = "Entry")]
pub enum Domain {
    /// A real number in `[low, high]`, on a logarithmic scale or on multiples of `step` from `low`.
    Float {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
        /// Whether equal ratios count alike.
        log: bool,
        /// The distance between values.
        step: Option<f64>,
    },
    /// A whole number in `[low, high]`, on a logarithmic scale or on multiples of `step` from `low`.
    Int {
        /// The least value.
        low: i64,
        /// The greatest value.
        high: i64,
        /// Whether equal ratios count alike.
        log: bool,
        /// The distance between values, at least 1.
        step: i64,
    },
    /// One of several values, without an order.
    Choice(Vec<ParamValue>),
    /// true or false.
    Bool,
    /// Always this value; recorded with each trial, not searched.
    Fixed(ParamValue),
}

/// A param as it is written in a study file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Param")]
pub struct Entry {
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
}

impl TryFrom<Entry> for Domain {
    type Error = String;

    fn try_from(entry: Entry) -> Result<Self, String> {
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
            (Some(true), _) => Ok(Self::Bool),
            (Some(false), _) => {
                Err("write `bool = true`, or `fixed = false` for a param that is always false".into())
            }
            (None, Some(value)) => {
                finite(&value)?;
                Ok(Self::Fixed(value))
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
        if values[..position].contains(value) {
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

impl From<Domain> for Entry {
    fn from(domain: Domain) -> Self {
        let empty = Self::default();
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

impl Domain {
    /// Whether `value` is one this param can take. Steps are compared with a tolerance of a billionth of a step.
    pub fn contains(&self, value: &ParamValue) -> bool {
        match (self, value) {
            (Self::Float { low, high, step, .. }, value) => value.as_f64().is_some_and(|number| {
                let on_step = step.is_none_or(|step| {
                    let steps = (number - low) / step;
                    (steps - libm::round(steps)).abs() <= 1e-9 * libm::fmax(1.0, steps.abs())
                });
                (*low..=*high).contains(&number) && on_step
            }),
            (Self::Int { low, high, step, .. }, ParamValue::Int(number)) => {
                (*low..=*high).contains(number) && (number - low) % step == 0
            }
            (Self::Choice(values), value) => values.contains(value),
            (Self::Bool, ParamValue::Bool(_)) => true,
            (Self::Fixed(fixed), value) => fixed == value,
            _ => false,
        }
    }

    /// How many values there are; none for a continuous param.
    pub fn cardinality(&self) -> Option<u64> {
        match self {
            Self::Float { low, high, .. } if low == high => Some(1),
            Self::Float { step: None, .. } => None,
            Self::Float { low, high, step: Some(step), .. } => Some(steps(*low, *high, *step) + 1),
            Self::Int { low, high, step, .. } => Some(((high - low) / step) as u64 + 1),
            Self::Choice(values) => Some(values.len() as u64),
            Self::Bool => Some(2),
            Self::Fixed(_) => Some(1),
        }
    }

    /// The value at `index` of the [`cardinality`](Self::cardinality) values, in their order; none past the last
    /// and for a continuous param.
    pub fn value(&self, index: u64) -> Option<ParamValue> {
        if index >= self.cardinality()? {
            return None;
        }
        Some(match self {
            Self::Float { low, high, step, .. } => {
                ParamValue::Float(libm::fmin(low + index as f64 * step.unwrap_or(0.0), *high))
            }
            Self::Int { low, step, .. } => ParamValue::Int(low + index as i64 * step),
            Self::Choice(values) => values.get(usize::try_from(index).ok()?)?.clone(),
            Self::Bool => ParamValue::Bool(index == 1),
            Self::Fixed(value) => value.clone(),
        })
    }

    /// How many values a grid takes of this param: `points` of a float without a step, at most `points` of an int
    /// on a logarithmic scale, else every one.
    pub fn grid_len(&self, points: u32) -> u64 {
        let points = u64::from(points);
        match self {
            Self::Int { log: true, .. } => self.cardinality().unwrap_or(points).min(points),
            _ => self.cardinality().unwrap_or(points),
        }
    }
}

/// How many whole steps of `step` fit between `low` and `high`, forgiving a billionth of rounding.
pub fn steps(low: f64, high: f64, step: f64) -> u64 {
    libm::floor((high - low) / step * (1.0 + 1e-12) + 1e-9) as u64
}

impl Space {
    /// The params that are searched.
    pub fn searched(&self) -> impl Iterator<Item = (&String, &Domain)> {
        self.0.iter().filter(|(_, domain)| !matches!(domain, Domain::Fixed(_)))
    }

    /// How many combinations a grid has; none if a number cannot count them. See [`Domain::grid_len`].
    pub fn grid_len(&self, points: u32) -> Option<u64> {
        self.0.values().try_fold(1u64, |size, domain| size.checked_mul(domain.grid_len(points)))
    }

    /// The params that are fixed, with their values.
    pub fn fixed(&self) -> Params {
        self.0
            .iter()
            .filter_map(|(name, domain)| match domain {
                Domain::Fixed(value) => Some((name.clone(), value.clone())),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Domain, String> {
        let table: toml::Table = toml::from_str(&format!("p = {text}")).map_err(|error| error.to_string())?;
        table["p"].clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn entries_that_work() {
        for (text, cardinality) in [
            ("{ float = [0, 1] }", None),
            ("{ float = [5e-4, 5e-2], log = true }", None),
            ("{ float = [0.0, 0.3], step = 0.1 }", Some(4)),
            ("{ float = [0.5, 0.5] }", Some(1)),
            ("{ int = [128, 256], step = 8 }", Some(17)),
            ("{ int = [10, 40], step = 2 }", Some(16)),
            ("{ choice = [\"adam\", 3, 0.5, true, [3, 2, 1], { a = 1 }] }", Some(6)),
            ("{ bool = true }", Some(2)),
            ("{ fixed = \"adam\" }", Some(1)),
        ] {
            let domain = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(domain.cardinality(), cardinality, "{text}");
            let json = serde_json::to_value(&domain).expect("JSON");
            assert_eq!(serde_json::from_value::<Domain>(json).expect("a domain"), domain, "{text}");
        }
    }

    #[test]
    fn entries_that_do_not() {
        for (text, part) in [
            ("{ float = [1.0, 0.5] }", "above the high bound"),
            ("{ float = [0.0, 1.0], log = true }", "above 0"),
            ("{ float = [nan, 1.0] }", "finite"),
            ("{ float = [0.0, 1.0], step = 0.0 }", "step must be above 0"),
            ("{ float = [0.1, 1.0], step = 0.1, log = true }", "exclude"),
            ("{ int = [5, 1] }", "above the high bound"),
            ("{ int = [0, 10], log = true }", "at least 1"),
            ("{ int = [0, 10], step = 0.5 }", "whole number"),
            ("{ choice = [] }", "at least one"),
            ("{ choice = [1, 1] }", "twice"),
            ("{ bool = false }", "bool = true"),
            ("{ }", "exactly one"),
            ("{ float = [0, 1], int = [0, 1] }", "exactly one"),
            ("{ bool = true, log = true }", "belong to float and int"),
            ("{ float = [0, 1], logg = true }", "unknown field"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn values_by_index() {
        for (text, values) in [
            ("{ float = [0.0, 0.3], step = 0.1 }", "0 0.1 0.2 0.3"),
            ("{ float = [0.5, 0.5] }", "0.5"),
            ("{ float = [0.0, 1.0] }", ""),
            ("{ int = [3, 8], step = 2 }", "3 5 7"),
            ("{ choice = [\"adam\", 3] }", "adam 3"),
            ("{ bool = true }", "false true"),
            ("{ fixed = 4 }", "4"),
        ] {
            let domain = parse(text).expect(text);
            let all: Vec<ParamValue> = (0..).map_while(|index| domain.value(index)).collect();
            assert!(all.iter().all(|value| domain.contains(value)), "{text}: {all:?}");
            assert_eq!(all.iter().map(ParamValue::to_string).collect::<Vec<_>>().join(" "), values, "{text}");
        }
    }

    #[test]
    fn grid_sizes() {
        for (text, count) in [
            ("{ float = [0, 1] }", 5),
            ("{ float = [0.5, 0.5] }", 1),
            ("{ float = [0.0, 0.9], step = 0.1 }", 10),
            ("{ int = [1, 100], log = true }", 5),
            ("{ int = [1, 3], log = true }", 3),
            ("{ int = [1, 100] }", 100),
            ("{ fixed = 1 }", 1),
        ] {
            assert_eq!(parse(text).expect(text).grid_len(5), count, "{text}");
        }
        let wide = parse("{ int = [0, 9007199254740991] }").expect("a domain");
        let space = Space(["a", "b"].map(|name| (name.to_owned(), wide.clone())).into());
        assert_eq!(space.grid_len(5), None);
    }

    #[test]
    fn contains_its_values_only() {
        let domain = parse("{ float = [0.0, 0.5], step = 0.1 }").expect("a domain");
        assert!(domain.contains(&ParamValue::Float(0.1 + 0.2)));
        assert!(!domain.contains(&ParamValue::Float(0.25)));
        assert!(!domain.contains(&ParamValue::Float(0.6)));
        let domain = parse("{ int = [128, 256], step = 8 }").expect("a domain");
        assert!(domain.contains(&ParamValue::Int(136)));
        assert!(!domain.contains(&ParamValue::Int(130)));
        assert!(!domain.contains(&ParamValue::Float(136.0)));
    }
}
