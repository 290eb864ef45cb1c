//! What a param may be: its values, how many there are, and their order.

use crate::value::ParamValue;

/// What a param may be.
#[derive(Debug, Clone, PartialEq)]
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

    /// A number as this domain has it, where it is written as another kind of number: 3.0 for an int, 3 for a float.
    pub fn typed(&self, value: &ParamValue) -> Option<ParamValue> {
        let number = value.as_f64()?;
        match self {
            Self::Float { .. } => Some(ParamValue::Float(number)),
            // Every whole number of this size is a float of its own.
            Self::Int { .. } if libm::trunc(number) == number && number.abs() < 9.0e15 => {
                Some(ParamValue::Int(number as i64))
            }
            Self::Choice(values) => values.iter().find(|choice| choice.as_f64() == Some(number)).cloned(),
            Self::Fixed(fixed) if fixed.as_f64() == Some(number) => Some(fixed.clone()),
            _ => None,
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
}

/// How many whole steps of `step` fit between `low` and `high`, forgiving a billionth of rounding.
pub fn steps(low: f64, high: f64, step: f64) -> u64 {
    libm::floor((high - low) / step * (1.0 + 1e-12) + 1e-9) as u64
}

impl std::fmt::Display for Domain {
    /// What a value must be, as in "it must be a number from 0 to 1".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float { low, high, step, .. } => {
                write!(f, "a number from {low} to {high}")?;
                step.map_or(Ok(()), |step| write!(f, " in steps of {step}"))
            }
            Self::Int { low, high, step, .. } => {
                write!(f, "a whole number from {low} to {high}")?;
                if *step == 1 { Ok(()) } else { write!(f, " in steps of {step}") }
            }
            Self::Choice(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "one of {}", values.join(", "))
            }
            Self::Bool => f.write_str("true or false"),
            Self::Fixed(value) => write!(f, "{value}"),
        }
    }
}
