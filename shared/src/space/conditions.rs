//! Which params a trial has: conditions on the values of others.

use std::collections::BTreeSet;

use super::{Domain, Space};
use crate::value::{ParamValue, Params};

/// A condition that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// The param whose condition it is.
    pub name: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Space {
    /// Whether a trial with `params` has the param `name`, given that those its conditions name are decided.
    pub fn has(&self, name: &str, params: &Params) -> bool {
        self.0.get(name).is_some_and(|param| {
            param.when.iter().all(|(other, wanted)| self.is_met(other, wanted, params.get(other)))
        })
    }

    /// The conditions of a param: another param, and the values of it that meet them.
    pub fn wanted(&self, name: &str) -> impl Iterator<Item = (&String, Vec<ParamValue>)> {
        let conditions = self.0.get(name).into_iter().flat_map(|param| &param.when);
        conditions
            .filter_map(|(other, wanted)| Some((other, wanted_values(&self.0.get(other)?.domain, wanted))))
    }

    fn is_met(&self, other: &str, wanted: &ParamValue, value: Option<&ParamValue>) -> bool {
        let (Some(param), Some(value)) = (self.0.get(other), value) else { return false };
        wanted_values(&param.domain, wanted).contains(value)
    }

    /// The conditions of `name` that `params` do not meet, in words.
    pub(super) fn unmet(&self, name: &str, params: &Params) -> String {
        let Some(param) = self.0.get(name) else { return String::new() };
        let unmet =
            param.when.iter().filter(|(other, wanted)| !self.is_met(other, wanted, params.get(*other)));
        let words = unmet.map(|(other, _)| match params.get(other) {
            Some(value) => format!("`{other}` is {value}"),
            None => format!("there is no `{other}`"),
        });
        words.collect::<Vec<_>>().join(" and ")
    }

    /// The names of the params, each after those its conditions name, else in their order. Params of a loop, which
    /// [`check_conditions`](Self::check_conditions) refuses, are left out.
    pub fn in_order(&self) -> Vec<&String> {
        let mut placed = BTreeSet::new();
        let mut order = Vec::with_capacity(self.0.len());
        loop {
            let ready = self.0.iter().find(|(name, param)| {
                !placed.contains(*name) && param.when.keys().all(|other| placed.contains(other))
            });
            let Some((name, _)) = ready else { return order };
            placed.insert(name);
            order.push(name);
        }
    }

    /// Checks that every condition names another param that can have the wanted value, and that they form no loop.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_conditions(&self) -> Result<(), ConditionError> {
        for (name, param) in &self.0 {
            let wrong = |message: String| ConditionError { name: name.clone(), message };
            for (other, wanted) in &param.when {
                let Some(Domain::Float { .. }) = self.0.get(other).map(|param| &param.domain) else {
                    self.check_wanted(other, wanted).map_err(wrong)?;
                    continue;
                };
                return Err(wrong(format!(
                    "`when` asks for a value of `{other}`, a real number; only a choice, a bool or an int can be asked for"
                )));
            }
        }
        let placed = self.in_order();
        let Some(first) = self.0.keys().find(|name| !placed.contains(name)) else { return Ok(()) };
        // From a param that waits, one that it waits for, and so on: some param comes twice.
        let mut path = vec![first];
        loop {
            let waits_for = path
                .last()
                .and_then(|name| self.0.get(*name))
                .and_then(|param| param.when.keys().find(|other| !placed.contains(other)));
            let Some(next) = waits_for else { return Ok(()) };
            if let Some(start) = path.iter().position(|name| *name == next) {
                let names =
                    path[start..].iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let message =
                    format!("the conditions of {names} form a loop: none of them could ever be decided");
                return Err(ConditionError { name: path[start].clone(), message });
            }
            path.push(next);
        }
    }

    fn check_wanted(&self, other: &str, wanted: &ParamValue) -> Result<(), String> {
        let Some(param) = self.0.get(other) else {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("`when` asks for `{other}`, which is no param of this space ({known})"));
        };
        let values = wanted_values(&param.domain, wanted);
        match values.iter().find(|value| !param.domain.contains(value)) {
            None if values.is_empty() => Err(format!("`when` asks for no value of `{other}` at all")),
            None => Ok(()),
            Some(value) => {
                Err(format!("`when` asks for `{other}` to be {value}, but it can only be {}", param.domain))
            }
        }
    }
}

/// The values that a condition on a param with this domain allows: the one that is written, or those of a list.
fn wanted_values(domain: &Domain, wanted: &ParamValue) -> Vec<ParamValue> {
    let list = match wanted {
        ParamValue::Table(table) if !domain.contains(wanted) => table.as_array(),
        _ => None,
    };
    match list {
        Some(list) => list.iter().cloned().filter_map(ParamValue::from_json).collect(),
        None => vec![wanted.clone()],
    }
}
