//! Params, attempts and failure classes.

use std::collections::BTreeMap;

use foldwise_shared::ids::{self, Attempt, FoldIndex, StudyId, TrialNumber};
use foldwise_shared::state;
use foldwise_shared::value::{ParamValue, Params};

use super::WireError;
use crate::v1::{self, value::Kind};

/// Params to the wire.
pub fn params(params: &Params) -> BTreeMap<String, v1::Value> {
    params.iter().map(|(name, param)| (name.clone(), value(param))).collect()
}

/// The value of a param to the wire.
pub fn value(value: &ParamValue) -> v1::Value {
    v1::Value { kind: Some(kind(value)) }
}

fn kind(value: &ParamValue) -> Kind {
    match value {
        ParamValue::Bool(flag) => Kind::Flag(*flag),
        ParamValue::Int(number) => Kind::Whole(*number),
        ParamValue::Float(number) => Kind::Real(*number),
        ParamValue::Text(text) => Kind::Text(text.clone()),
        ParamValue::Table(table) => Kind::Json(table.to_string()),
    }
}

/// Params from the wire.
///
/// # Errors
/// A value without a kind, or JSON that is none.
pub fn params_from(wire: BTreeMap<String, v1::Value>) -> Result<Params, WireError> {
    wire.into_iter().map(|(name, value)| Ok((name, value_from(Some(value))?))).collect()
}

/// The value of a param from the wire.
///
/// # Errors
/// None, one without a kind, or JSON that is none.
pub fn value_from(wire: Option<v1::Value>) -> Result<ParamValue, WireError> {
    let kind = wire.and_then(|value| value.kind).ok_or(WireError::Missing("params.value"))?;
    Ok(match kind {
        Kind::Flag(flag) => ParamValue::Bool(flag),
        Kind::Whole(number) => ParamValue::Int(number),
        Kind::Real(number) => ParamValue::Float(number),
        Kind::Text(text) => ParamValue::Text(text),
        Kind::Json(text) => ParamValue::Table(
            serde_json::from_str(&text).map_err(|error| WireError::wrong("params.json", error))?,
        ),
    })
}

/// An attempt to the wire.
pub fn attempt_key(key: ids::AttemptKey) -> v1::AttemptKey {
    v1::AttemptKey { study: key.study.0, trial: key.trial.0, fold: key.fold.0, attempt: key.attempt.0 }
}

/// An attempt from the wire.
///
/// # Errors
/// None given, or one that no coordinator gives out.
pub fn attempt_key_from(wire: Option<v1::AttemptKey>) -> Result<ids::AttemptKey, WireError> {
    let key = wire.ok_or(WireError::Missing("key"))?;
    if key.attempt == 0 {
        return Err(WireError::wrong("key.attempt", "attempts count from 1"));
    }
    Ok(ids::AttemptKey {
        study: StudyId(key.study),
        trial: TrialNumber(key.trial),
        fold: FoldIndex(key.fold),
        attempt: Attempt(key.attempt),
    })
}

/// A failure class to the wire.
pub fn failure(class: state::FailureClass) -> i32 {
    use state::FailureClass as From;
    use v1::FailureClass as To;
    let to = match class {
        From::Lost => To::Lost,
        From::Preempted => To::Preempted,
        From::OutOfMemory => To::OutOfMemory,
        From::Diverged => To::Diverged,
        From::Invalid => To::Invalid,
        From::Error => To::Error,
    };
    to.into()
}

/// A failure class from the wire.
///
/// # Errors
/// A number that is none.
pub fn failure_from(wire: i32) -> Result<state::FailureClass, WireError> {
    use state::FailureClass as To;
    use v1::FailureClass as From;
    Ok(match From::try_from(wire).map_err(|error| WireError::wrong("failure", error))? {
        From::Unspecified => return Err(WireError::Missing("failure")),
        From::Lost => To::Lost,
        From::Preempted => To::Preempted,
        From::OutOfMemory => To::OutOfMemory,
        From::Diverged => To::Diverged,
        From::Invalid => To::Invalid,
        From::Error => To::Error,
    })
}
