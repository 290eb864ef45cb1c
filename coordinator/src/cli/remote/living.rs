//! Calls that steer and watch studies and workers that live.

use foldwise_proto::v1::{
    DeleteStudyRequest, DrainWorkerRequest, ExtendStudyRequest, GetCurveRequest, ListWorkersRequest,
    ListWorkersResponse, StudyRequest, TrialRequest, UndrainWorkerRequest,
};
use foldwise_shared::external::TrialNow;
use foldwise_shared::fleet::{Handover, WorkerRecord};
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{EpochRecord, StudyEvent, StudyRecord};
use foldwise_shared::spec::Extension;
use tonic::{Code, Streaming};

use super::Remote;
use crate::cli::error::CliError;

/// The events of a study as they come.
pub struct Watch<'a> {
    remote: &'a Remote,
    events: Streaming<foldwise_proto::v1::StudyEvent>,
}

/// What comes next of a study that is watched.
pub enum Watched {
    /// Something happened.
    Event(Box<StudyEvent>),
    /// Nothing for a moment.
    Nothing,
    /// The coordinator went away, or we were too slow for it.
    Lost(String),
}

impl Remote {
    /// Gives a study a larger budget.
    pub fn extend(&self, name: &str, more: &Extension) -> Result<StudyRecord, CliError> {
        let Extension { trials, epochs, wall_time_ms } = *more;
        let request = ExtendStudyRequest { name: name.to_owned(), trials, epochs, wall_time_ms };
        let study = self.call(async |client| client.extend_study(request).await)?;
        study.try_into().map_err(|error| self.garbled(error))
    }

    /// Removes a study.
    pub fn delete(&self, name: &str, force: bool) -> Result<(), CliError> {
        let request = DeleteStudyRequest { name: name.to_owned(), force };
        self.call(async |client| client.delete_study(request).await).map(drop)
    }

    /// What a study cost.
    pub fn ledger(&self, name: &str) -> Result<Ledger, CliError> {
        let request = StudyRequest { name: name.to_owned() };
        let ledger = self.call(async |client| client.get_ledger(request).await)?;
        ledger.try_into().map_err(|error| self.garbled(error))
    }

    /// Has the params of a trial tried once more.
    pub fn retry_trial(&self, study: &str, trial: TrialNumber) -> Result<TrialNow, CliError> {
        let request = TrialRequest { study: study.to_owned(), trial: trial.0 };
        self.trial_now(async |client| client.retry_trial(request).await)
    }

    /// Cancels a trial.
    pub fn stop_trial(&self, study: &str, trial: TrialNumber) -> Result<TrialNow, CliError> {
        let request = TrialRequest { study: study.to_owned(), trial: trial.0 };
        self.trial_now(async |client| client.stop_trial(request).await)
    }

    /// Every worker.
    pub fn workers(&self) -> Result<Vec<WorkerRecord>, CliError> {
        let response = self.call(async |client| client.list_workers(ListWorkersRequest {}).await)?;
        self.worker_records(response)
    }

    /// Gives the workers of a name no more folds.
    pub fn drain_worker(&self, name: &str, handover: Handover) -> Result<Vec<WorkerRecord>, CliError> {
        let request = DrainWorkerRequest { name: name.to_owned(), handover: handover.to_string() };
        let response = self.call(async |client| client.drain_worker(request).await)?;
        self.worker_records(response)
    }

    /// Gives them folds again.
    pub fn undrain_worker(&self, name: &str) -> Result<Vec<WorkerRecord>, CliError> {
        let request = UndrainWorkerRequest { name: name.to_owned() };
        let response = self.call(async |client| client.undrain_worker(request).await)?;
        self.worker_records(response)
    }

    fn worker_records(&self, response: ListWorkersResponse) -> Result<Vec<WorkerRecord>, CliError> {
        let workers = response.workers.into_iter().map(WorkerRecord::try_from);
        workers.collect::<Result<_, _>>().map_err(|error| self.garbled(error))
    }

    /// Hands on the live epochs of a study, trial by trial, as they come.
    pub fn each_epoch(
        &self,
        study: &str,
        mut take: impl FnMut(EpochRecord) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let request = GetCurveRequest { study: study.to_owned(), trial: None, all_attempts: false };
        let mut client = self.client.clone();
        let chunks = self.runtime.block_on(async { client.get_curve(request).await });
        let mut chunks = chunks.map_err(|status| self.refused(&status))?.into_inner();
        loop {
            let chunk = self.runtime.block_on(chunks.message()).map_err(|status| self.refused(&status))?;
            let Some(chunk) = chunk else { return Ok(()) };
            for epoch in chunk.epochs {
                take(epoch.into())?;
            }
        }
    }

    /// Begins to watch a study; its state comes first.
    pub fn watch(&self, name: &str) -> Result<Watch<'_>, CliError> {
        let request = StudyRequest { name: name.to_owned() };
        let events = self.call(async |client| client.watch_study(request).await)?;
        Ok(Watch { remote: self, events })
    }
}

impl Watch<'_> {
    /// Waits a moment for the next event.
    ///
    /// # Errors
    /// What comes cannot be understood, or the coordinator refuses to go on.
    pub fn next(&mut self, moment: std::time::Duration) -> Result<Watched, CliError> {
        let Self { remote, events } = self;
        // A message that has come in part is kept by the stream.
        let next = remote.runtime.block_on(async { tokio::time::timeout(moment, events.message()).await });
        Ok(match next {
            Err(_) => Watched::Nothing,
            Ok(Ok(Some(event))) => {
                Watched::Event(Box::new(event.try_into().map_err(|error| remote.garbled(error))?))
            }
            Ok(Ok(None)) => Watched::Lost("the coordinator closed the connection".into()),
            Ok(Err(status)) => match status.code() {
                Code::Unauthenticated
                | Code::PermissionDenied
                | Code::NotFound
                | Code::FailedPrecondition => {
                    return Err(remote.refused(&status));
                }
                _ => Watched::Lost(remote.refused(&status).to_string()),
            },
        })
    }
}
