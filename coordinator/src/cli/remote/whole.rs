//! Calls for whole studies, those that came from them, and their files.

use std::sync::Arc;

use foldwise_proto::MAX_ARTIFACT;
use foldwise_proto::convert::artifacts_from;
use foldwise_proto::v1::{
    FetchArtifactRequest, GetTrialRequest, GetTrialResponse, ListArtifactsRequest, StudyRequest,
};
use foldwise_shared::artifact::ArtifactRecord;
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::{AttemptRecord, DecisionRecord, StudyRecord};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::Remote;
use crate::cli::error::CliError;
use crate::cli::source::History;

/// Trials that are asked for at once.
const AT_ONCE: usize = 16;

impl Remote {
    /// Every decision and every attempt of the first `trials` trials.
    pub fn history(&self, study: &str, trials: u32) -> Result<History, CliError> {
        let asked: Result<Vec<(u32, GetTrialResponse)>, Status> = self.runtime.block_on(async {
            let places = Arc::new(Semaphore::new(AT_ONCE));
            let mut calls = JoinSet::new();
            for number in 0..trials {
                let (mut client, places) = (self.client.clone(), Arc::clone(&places));
                let request = GetTrialRequest { study: study.to_owned(), number };
                calls.spawn(async move {
                    // The semaphore is never closed.
                    let _place = places.acquire().await;
                    client.get_trial(request).await.map(|answer| (number, answer.into_inner()))
                });
            }
            let mut answers = Vec::with_capacity(trials as usize);
            while let Some(answer) = calls.join_next().await {
                answers.push(answer.map_err(|error| Status::internal(error.to_string()))??);
            }
            Ok(answers)
        });
        let mut answers = asked.map_err(|status| self.refused(&status))?;
        answers.sort_by_key(|(number, _)| *number);
        let (mut decisions, mut attempts) = (Vec::new(), Vec::new());
        for (number, answer) in answers {
            for decision in answer.decisions {
                decisions.push(DecisionRecord::try_from(decision).map_err(|error| self.garbled(error))?);
            }
            for attempt in answer.attempts {
                let attempt = AttemptRecord::try_from(attempt).map_err(|error| self.garbled(error))?;
                attempts.push((TrialNumber(number), attempt));
            }
        }
        Ok((decisions, attempts))
    }

    /// The studies that came from a study.
    pub fn children(&self, study: &str) -> Result<Vec<StudyRecord>, CliError> {
        let request = StudyRequest { name: study.to_owned() };
        let response = self.call(async |client| client.list_children(request).await)?;
        let studies = response.studies.into_iter();
        studies.map(|study| study.try_into().map_err(|error| self.garbled(error))).collect()
    }

    /// A page of the artifacts of a study.
    pub fn artifacts(&self, study: &str, limit: u32, offset: u32) -> Result<Vec<ArtifactRecord>, CliError> {
        let request = ListArtifactsRequest { study: study.to_owned(), limit, offset };
        let response = self.call(async |client| client.list_artifacts(request).await)?;
        artifacts_from(response).map_err(|error| self.garbled(error))
    }

    /// The content of an artifact.
    pub fn artifact(&self, study: &str, digest: &str) -> Result<Vec<u8>, CliError> {
        let request = FetchArtifactRequest { study: study.to_owned(), digest: digest.to_owned() };
        let mut client = self.client.clone();
        self.runtime
            .block_on(async {
                let mut pieces = client.fetch_artifact(request).await?.into_inner();
                let mut bytes = Vec::new();
                while let Some(piece) = pieces.message().await? {
                    bytes.extend(piece.data);
                    if bytes.len() as u64 > MAX_ARTIFACT {
                        return Err(Status::internal(format!("it sends more than {MAX_ARTIFACT} bytes")));
                    }
                }
                Ok(bytes)
            })
            .map_err(|status| match self.refused(&status) {
                // It was listed, so that its name is not what is wrong.
                CliError::Usage { message, help } if status.code() == Code::NotFound => {
                    CliError::Happened { message, help }
                }
                error => error,
            })
    }
}
