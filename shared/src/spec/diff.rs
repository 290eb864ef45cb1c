//! The differences between two effective specs.

use serde_json::Value;

use super::{Flat, StudySpec};

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The key, dotted from the top.
    pub key: String,
    /// In the first spec; none if it is not there.
    pub first: Option<Value>,
    /// In the second spec; none if it is not there.
    pub second: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        write!(f, "{}: {} is stored, {} is given", self.key, show(&self.first), show(&self.second))
    }
}

/// Every key whose value differs, in the order of the keys.
pub fn differences(first: &StudySpec, second: &StudySpec) -> Vec<Difference> {
    let (first, second) = (flat(first), flat(second));
    let mut keys: Vec<&String> = first.keys().chain(second.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| first.get(*key) != second.get(*key))
        .map(|key| Difference {
            key: key.clone(),
            first: first.get(key).cloned(),
            second: second.get(key).cloned(),
        })
        .collect()
}

fn flat(spec: &StudySpec) -> Flat {
    let mut out = Flat::new();
    flatten("", serde_json::to_value(spec).unwrap_or_default(), &mut out);
    out
}

fn flatten(path: &str, value: Value, out: &mut Flat) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        value => {
            out.insert(path.to_owned(), value);
        }
    }
}
