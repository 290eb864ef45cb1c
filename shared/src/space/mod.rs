//! The space of a study: which params are searched, over what, which are fixed, and which of them a trial has.

mod domain;
mod entry;

mod conditions;
mod grid;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{ParamValue, Params};

pub use self::conditions::ConditionError;
pub use self::domain::{Domain, steps};
pub use self::grid::Grid;

use self::entry::Entry;

/// Params by name, in the order of their names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Space(pub BTreeMap<String, Param>);

/// A param of the space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Entry", into = "Entry")]
#[schemars(with = "Entry")]
pub struct Param {
    /// What it may be.
    pub domain: Domain,
    /// When a trial has it: each of these params must be there and have that value, or one of that list of values.
    pub when: BTreeMap<String, ParamValue>,
}

impl From<Domain> for Param {
    /// A param that every trial has.
    fn from(domain: Domain) -> Self {
        Self { domain, when: BTreeMap::new() }
    }
}

impl Space {
    /// The same params with each number as its domain has it: a whole one for an int, a real one for a float.
    pub fn typed(&self, mut params: Params) -> Params {
        for (name, value) in &mut params {
            if let Some(typed) = self.0.get(name).and_then(|param| param.domain.typed(value)) {
                *value = typed;
            }
        }
        params
    }

    /// Whether these are all the params of a trial, no more and no less, each with a value of its domain.
    ///
    /// # Errors
    /// The first param that is missing, too much, or has a value it cannot have; and what would be right.
    pub fn check(&self, params: &Params) -> Result<(), String> {
        if let Some(name) = params.keys().find(|name| !self.0.contains_key(*name)) {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("`{name}` is no param of this study; there are: {known}"));
        }
        for (name, param) in &self.0 {
            match params.get(name) {
                Some(value) if !param.domain.contains(value) => {
                    let kind = value.kind();
                    return Err(format!("`{name}` cannot be {value}, {kind}; it must be {}", param.domain));
                }
                Some(_) if !self.has(name, params) => {
                    return Err(format!(
                        "`{name}` is not there when {}; leave it out",
                        self.unmet(name, params)
                    ));
                }
                None if self.has(name, params) => {
                    return Err(format!("`{name}` is missing; it must be {}", param.domain));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
