//! The view `trials_NAME` of a study: a row a trial, a column a param.

use std::collections::BTreeSet;

use foldwise_shared::ids::StudyId;
use foldwise_shared::spec::StudySpec;
use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;

const COLUMNS: [&str; 7] = ["number", "state", "value", "std", "reason", "created_at", "finished_at"];

/// Creates the view of a new study. A param that is called like another column gets the prefix `param_`; a view whose
/// name differs from an earlier one in its case only gets the study's id as a suffix.
pub(super) fn create(tx: &Connection, study: StudyId, spec: &StudySpec) -> Result<(), Fault> {
    let mut taken =
        tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)")?;
    let mut name = format!("trials_{}", spec.study.name);
    while taken.query_row([&name], |row| row.get(0))? {
        name = format!("{name}_{study}");
    }
    let mut columns: Vec<String> = COLUMNS.iter().map(|column| format!("trial.{column}")).collect();
    let found = spec.finds_learning_rate().then_some("learning_rate");
    let params: BTreeSet<&str> = spec.space.0.keys().map(String::as_str).chain(found).collect();
    columns.extend(params.into_iter().map(|param| {
        let clash = COLUMNS.iter().any(|column| column.eq_ignore_ascii_case(param));
        let column = if clash { format!("param_{param}") } else { param.to_owned() };
        format!(
            "(SELECT param.value FROM param WHERE param.trial_id = trial.id AND param.name = {}) AS {}",
            quoted(param, '\''),
            quoted(&column, '"'),
        )
    }));
    tx.execute_batch(&format!(
        "CREATE VIEW {} AS\nSELECT {}\nFROM trial WHERE trial.study_id = {study}\nORDER BY trial.number",
        quoted(&name, '"'),
        columns.join(",\n    "),
    ))?;
    Ok(())
}

/// Removes the view of a study, whatever it is called.
pub(super) fn remove(tx: &Connection, study: StudyId) -> Result<(), Fault> {
    let end = format!("FROM trial WHERE trial.study_id = {study}\nORDER BY trial.number");
    let name: Option<String> = tx
        .prepare_cached(
            "SELECT name FROM sqlite_schema WHERE type = 'view' AND substr(name, 1, 7) = 'trials_' \
             AND substr(sql, -length(?1)) = ?1",
        )?
        .query_row([end], |row| row.get(0))
        .optional()?;
    if let Some(name) = name {
        tx.execute_batch(&format!("DROP VIEW {}", quoted(&name, '"')))?;
    }
    Ok(())
}

fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}
