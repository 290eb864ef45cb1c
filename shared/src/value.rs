//! The value of a param.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One set of params, by name.
pub type Params = BTreeMap<String, ParamValue>;

/// The value of one param: a scalar, or a table or list of settings kept as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite real number.
    Float(f64),
    /// A word.
    Text(String),
    /// A table or a list of settings.
    Table(Box<serde_json::Value>),
}

impl ParamValue {
    /// As a real number, if it is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// As a whole number, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// As a word, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Table(table) if table.is_array() => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(flag) => (*flag).into(),
            Self::Int(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Table(table) => (**table).clone(),
        }
    }

    /// From JSON; none for null, which is no value of a param.
    pub fn from_json(json: serde_json::Value) -> Option<Self> {
        use serde_json::Value;
        Some(match json {
            Value::Null => return None,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64()?),
            },
            Value::String(text) => Self::Text(text),
            table => Self::Table(Box::new(table)),
        })
    }
}

impl std::fmt::Display for ParamValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(flag) => flag.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => f.write_str(&short(*number)),
            Self::Text(text) => f.write_str(text),
            Self::Table(table) => table.fmt(f),
        }
    }
}

/// A number as a person reads it: at most five significant digits, an exponent where it is small or large.
pub fn short(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let size = number.abs();
    if !(1e-3..1e6).contains(&size) {
        let text = format!("{number:.4e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trim_zeros(mantissa));
    }
    let before = (libm::floor(libm::log10(size)) as i32 + 1).max(-2);
    let decimals = (5 - before).clamp(0, 7) as usize;
    trim_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A study may have millions of them.
    #[test]
    fn a_value_is_no_larger_than_a_word() {
        assert_eq!(size_of::<ParamValue>(), size_of::<String>());
    }

    #[test]
    fn short_keeps_five_digits() {
        for (number, text) in [
            (0.0, "0"),
            (0.15, "0.15"),
            (0.023_456_789, "0.023457"),
            (8.8e-5, "8.8e-5"),
            (12.0, "12"),
            (123_456.7, "123457"),
            (-0.5, "-0.5"),
            (2.5e7, "2.5e7"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn json_round_trip() {
        for text in ["true", "3", "0.25", "\"adam\"", "[1,2]", "{\"a\":1}"] {
            let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let value = ParamValue::from_json(json.clone()).expect("a value");
            assert_eq!(value.to_json(), json);
        }
        assert_eq!(ParamValue::from_json(serde_json::Value::Null), None);
    }
}
