//! The time of the importance of params, over trials from a file: `deploy/bench/optuna_importance.py` gives the same to Optuna.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::report::importance::{Column, Kind, importance};

/// Trials as the file has them.
#[derive(Debug, Clone, Deserialize)]
struct Input {
    columns: Vec<InputColumn>,
    targets: Vec<f64>,
}

/// A param over all trials.
#[derive(Debug, Clone, Deserialize)]
struct InputColumn {
    /// How many categories it has, if it is one.
    categories: Option<usize>,
    /// Places from 0 to 1, or the indices of categories.
    values: Vec<Option<f64>>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Trials.
    pub trials: usize,
    /// Params.
    pub params: usize,
    /// The middle of the times, in seconds.
    pub seconds: f64,
    /// The importance of each param.
    pub importance: Vec<f64>,
}

/// Why it was not measured.
#[derive(Debug, thiserror::Error)]
pub enum ImportanceError {
    /// The file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{}: {message}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// Measures it so many times.
///
/// # Errors
/// A file that cannot be read, or whose columns are of different lengths.
pub fn run(path: &Path, runs: u32) -> Result<Figures, ImportanceError> {
    let text = std::fs::read(path)
        .map_err(|source| ImportanceError::Unreadable { path: path.to_owned(), source })?;
    let wrong = |message: String| ImportanceError::Wrong { path: path.to_owned(), message };
    let Input { columns, targets } =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if let Some(at) = columns.iter().position(|column| column.values.len() != targets.len()) {
        let (has, needs) = (columns[at].values.len(), targets.len());
        return Err(wrong(format!("column {at} has {has} values; there are {needs} targets")));
    }
    let columns: Vec<Column> = columns
        .into_iter()
        .map(|column| Column {
            kind: column.categories.map_or(Kind::Number, Kind::Category),
            values: column.values,
        })
        .collect();
    let mut times = Vec::new();
    let mut found = Vec::new();
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        found = importance(&columns, &targets, 0);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let importance = found.into_iter().map(|share| share.mean).collect();
    Ok(Figures { trials: targets.len(), params: columns.len(), seconds: times[times.len() / 2], importance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_come_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input.json");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write(
            r#"{"columns":[{"values":[0.1,0.5,0.9]},{"values":[1,0,1],"categories":2}],"targets":[1,2,3]}"#,
        );
        let figures = run(&path, 2).expect("figures");
        assert_eq!((figures.trials, figures.params), (3, 2));
        assert!(figures.importance[0] > figures.importance[1], "{figures:?}");
        write(r#"{"columns":[{"values":[0.1]}],"targets":[1,2]}"#);
        let message = run(&path, 1).expect_err("wrong").to_string();
        assert!(message.ends_with("column 0 has 1 values; there are 2 targets"), "{message}");
        assert!(run(&folder.path().join("x"), 1).is_err());
    }
}
