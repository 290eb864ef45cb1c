//! A file with a line for everything the coordinator acknowledged: what a check of its durability is held against.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use foldwise_shared::ids::{AttemptKey, Epoch};
use serde::Serialize;

use super::work::{EpochReport, Outcome};

/// Appends JSON lines, each with one write call.
#[derive(Debug)]
pub struct AckLog {
    file: File,
    path: PathBuf,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    key: &'a AttemptKey,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What {
    /// JSON has no NaN and no infinity: they become null.
    Epoch {
        epoch: Epoch,
        validation_loss: Option<f64>,
    },
    End {
        end: &'static str,
    },
}

impl AckLog {
    /// Opens or makes the file. In a folder, every process gets its own: `NAME-PID.jsonl`.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn open(path: &Path, worker: &str) -> io::Result<Self> {
        let path = if path.is_dir() { path.join(file_name(worker)) } else { path.to_owned() };
        let file = OpenOptions::new().append(true).create(true).open(&path);
        Ok(Self { file: file.map_err(|error| with_path(&error, &path))?, path })
    }

    /// An epoch was acknowledged.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn epoch(&mut self, key: AttemptKey, report: &EpochReport) -> io::Result<()> {
        let validation_loss = Some(report.validation_loss).filter(|loss| loss.is_finite());
        self.write(key, What::Epoch { epoch: report.epoch, validation_loss })
    }

    /// The end of an attempt was acknowledged.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn end(&mut self, key: AttemptKey, outcome: &Outcome) -> io::Result<()> {
        let end = match outcome {
            Outcome::Finished { .. } => "finished",
            Outcome::Failed { .. } => "failed",
            Outcome::Declined { .. } => "declined",
        };
        self.write(key, What::End { end })
    }

    fn write(&mut self, key: AttemptKey, what: What) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { key: &key, what })?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| with_path(&error, &self.path))
    }
}

fn file_name(worker: &str) -> String {
    let safe: String = worker
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' })
        .collect();
    format!("{safe}-{}.jsonl", std::process::id())
}

fn with_path(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("the ack log {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use foldwise_shared::ids::{Attempt, FoldIndex, StudyId, TrialNumber};

    use super::*;

    const KEY: AttemptKey =
        AttemptKey { study: StudyId(1), trial: TrialNumber(0), fold: FoldIndex(2), attempt: Attempt(1) };

    fn report(validation_loss: f64) -> EpochReport {
        EpochReport {
            epoch: Epoch(5),
            train_loss: 0.1,
            validation_loss,
            learning_rate: 1e-3,
            seconds: 1.0,
            metrics: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn lines_are_json_and_appended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("acks");
        for loss in [0.0412, f64::NAN] {
            AckLog::open(&path, "w").expect("opened").epoch(KEY, &report(loss)).expect("written");
        }
        AckLog::open(&path, "w")
            .expect("opened")
            .end(KEY, &Outcome::Finished { stopped: true })
            .expect("written");
        assert_eq!(
            std::fs::read_to_string(&path).expect("text"),
            concat!(
                r#"{"study":1,"trial":0,"fold":2,"attempt":1,"epoch":5,"validation_loss":0.0412}"#,
                "\n",
                r#"{"study":1,"trial":0,"fold":2,"attempt":1,"epoch":5,"validation_loss":null}"#,
                "\n",
                r#"{"study":1,"trial":0,"fold":2,"attempt":1,"end":"finished"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_folder_gets_a_file_a_process() {
        let folder = tempfile::tempdir().expect("a folder");
        AckLog::open(folder.path(), "a/b c").expect("opened");
        let name = format!("a_b_c-{}.jsonl", std::process::id());
        assert!(folder.path().join(name).is_file());
    }

    #[test]
    fn an_error_names_the_file() {
        let error = AckLog::open(Path::new("/nowhere/at/all"), "w").expect_err("no such folder");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
