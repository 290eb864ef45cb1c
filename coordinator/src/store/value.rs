//! Words and param values as columns.

use std::error::Error;
use std::str::FromStr;

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::value::ParamValue;
use rusqlite::Row;
use rusqlite::types::{ToSqlOutput, Type, ValueRef};

/// Reads a column that holds one of a set of words.
pub(super) fn word<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

/// The same where the column may be null.
pub(super) fn optional_word<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => word(row, column).map(Some),
    }
}

/// A count that is 64 bits wide, which SQLite has with a sign only.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// The columns `kind` and `value` of a param.
pub(super) fn param_columns(value: &ParamValue) -> (&'static str, ToSqlOutput<'_>) {
    match value {
        ParamValue::Bool(flag) => ("bool", (*flag).into()),
        ParamValue::Int(number) => ("int", (*number).into()),
        ParamValue::Float(number) => ("float", (*number).into()),
        ParamValue::Text(text) => ("text", text.as_str().into()),
        ParamValue::Table(json) => ("json", json.to_string().into()),
    }
}

/// Reads `kind` at `column` and `value` in the next one.
pub(super) fn param(row: &Row<'_>, column: usize) -> rusqlite::Result<ParamValue> {
    let next = column + 1;
    Ok(match row.get_ref(column)?.as_str()? {
        "bool" => ParamValue::Bool(row.get(next)?),
        "int" => ParamValue::Int(row.get(next)?),
        "float" => ParamValue::Float(row.get(next)?),
        "text" => ParamValue::Text(row.get(next)?),
        "json" => {
            let text = row.get_ref(next)?.as_str()?;
            ParamValue::Table(serde_json::from_str(text).map_err(|error| unreadable(next, error))?)
        }
        kind => return Err(unreadable(column, format!("unknown kind of param `{kind}`"))),
    })
}

/// The columns of `decision AS d` that [`decision`] reads.
pub(super) const DECISION: &str = "d.rule, d.own, d.threshold, d.peers, d.percentile, d.bracket, d.rung, d.kept, \
    d.against, d.alpha, d.standard_error, d.degrees, d.patience";

/// Reads what a rule saw from `column` on.
pub(super) fn decision(row: &Row<'_>, column: usize) -> rusqlite::Result<Decision> {
    Ok(Decision {
        rule: word(row, column)?,
        own: row.get(column + 1)?,
        threshold: row.get(column + 2)?,
        peers: row.get(column + 3)?,
        percentile: row.get(column + 4)?,
        bracket: row.get(column + 5)?,
        rung: row.get(column + 6)?,
        kept: row.get(column + 7)?,
        against: row.get::<_, Option<u32>>(column + 8)?.map(TrialNumber),
        alpha: row.get(column + 9)?,
        standard_error: row.get(column + 10)?,
        degrees: row.get(column + 11)?,
        patience: row.get(column + 12)?,
    })
}

fn unreadable(column: usize, error: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}
