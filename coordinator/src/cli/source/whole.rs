//! What a report asks for: whole studies, those that came from them, and their files.

use foldwise_shared::artifact::ArtifactRecord;
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::{AttemptRecord, DecisionRecord, StudyRecord};

use super::Source;
use crate::artifacts::Artifacts;
use crate::cli::error::CliError;

/// The decisions about the trials of a study, and all attempts with their trials.
pub type History = (Vec<DecisionRecord>, Vec<(TrialNumber, AttemptRecord)>);

impl Source {
    /// Every decision and every attempt of a study, each by trial.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn history(&self, study: &StudyRecord) -> Result<History, CliError> {
        match self {
            Self::File(reader) => {
                let mut decisions = reader.decisions(study.id, None)?;
                decisions.sort_by_key(|record| record.trial);
                Ok((decisions, reader.all_attempts(study.id)?))
            }
            Self::Server(remote) => remote.history(&study.name, study.trials.values().sum()),
        }
    }

    /// The studies that came from a study, oldest first: its fits, and of those the evaluations and transfers.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn children(&self, study: &StudyRecord) -> Result<Vec<StudyRecord>, CliError> {
        match self {
            Self::File(reader) => reader.children(study.id)?.iter().map(|name| self.study(name)).collect(),
            Self::Server(remote) => remote.children(&study.name),
        }
    }

    /// The artifacts of a study but its checkpoints, by trial, fold, kind and epoch.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn artifacts(&self, study: &StudyRecord) -> Result<Vec<ArtifactRecord>, CliError> {
        let mut artifacts = Vec::new();
        loop {
            let offset = u32::try_from(artifacts.len()).unwrap_or(u32::MAX);
            let page = match self {
                Self::File(reader) => reader.artifacts(study.id, super::PAGE, offset)?,
                Self::Server(remote) => remote.artifacts(&study.name, super::PAGE, offset)?,
            };
            let last = page.len() < super::PAGE as usize;
            artifacts.extend(page);
            if last {
                return Ok(artifacts);
            }
        }
    }

    /// The content of an artifact of a study.
    ///
    /// # Errors
    /// The study has no such artifact, its file is gone or is not what is recorded of it, or the coordinator does not answer.
    pub fn artifact(&self, study: &StudyRecord, digest: &str) -> Result<Vec<u8>, CliError> {
        match self {
            Self::File(reader) => match reader.artifact_bytes(study.id, digest)? {
                Some(recorded) => Artifacts::of(reader.path(), None)
                    .read(digest, recorded)
                    .map_err(|error| CliError::Happened { message: error.to_string(), help: None }),
                None => Err(CliError::usage(format!("study `{}` has no artifact {digest}", study.name))),
            },
            Self::Server(remote) => remote.artifact(&study.name, digest),
        }
    }
}
