//! People's side of the wire: make, steer, query and watch studies, and evaluate trials.

use std::pin::Pin;

use foldwise_data::Locations;
use foldwise_engine::scheduler::{self, Event};
use foldwise_proto::convert::{added, clean_message, params_from, told};
use foldwise_proto::v1::{self, study_service_server::StudyService};
use foldwise_shared::external::{DEFAULT_LEASE_MS, Told, TrialReport};
use foldwise_shared::fleet::{Handover, WorkerRecord, WorkerState};
use foldwise_shared::ids::{LeaseId, StudyId, TrialNumber};
use foldwise_shared::record::{StudyEvent, StudyRecord};
use foldwise_shared::spec::Extension;
use foldwise_shared::state::StudyState;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{artifacts, status};
use crate::coordinator::{
    Coordinator, CoordinatorError, DataPaths, Sources, find_study, find_study_id, prepare_within,
};
use crate::hindsight;
use crate::store::{TrialQuery, TrialSort};

/// Trials of one answer at most.
const PAGE: u32 = 1_000;
/// Trials whose curves are read ahead of the caller.
const CURVES_AHEAD: usize = 4;
/// The longest study file, in bytes.
const SPEC_BYTES: usize = 1 << 20;
/// Settings laid over a study file or over pruners, at most.
const OVERRIDES: usize = 1_000;
/// Pruners of one replay at most.
const PRUNERS: usize = 100;

/// `StudyService` over a coordinator.
#[derive(Clone)]
pub struct Studies {
    coordinator: Coordinator,
    data_paths: DataPaths,
}

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Studies {
    pub(super) fn new(coordinator: Coordinator, data_paths: DataPaths) -> Self {
        Self { coordinator, data_paths }
    }

    async fn steer(&self, name: String, event: fn(StudyId) -> Event) -> Answer<v1::Study> {
        let study = self.coordinator.study(&name).await.map_err(status::from_coordinator)?;
        if study.state == StudyState::Ended {
            return Err(status::from_coordinator(CoordinatorError::Ended(name)));
        }
        self.coordinator.request(event(study.id)).await.map_err(status::from_coordinator)?;
        self.answer(&name).await
    }

    /// Asks the loop for something about a study.
    async fn request(
        &self,
        name: String,
        event: impl FnOnce(StudyId) -> Event,
    ) -> Result<scheduler::Answer, Status> {
        let found = self.coordinator.read(move |reader| find_study_id(reader, &name));
        let study = found.await.map_err(status::from_coordinator)?;
        self.coordinator.request(event(study)).await.map_err(status::from_coordinator)
    }

    async fn request_trial(
        &self,
        name: String,
        event: impl FnOnce(StudyId) -> Event,
    ) -> Answer<v1::TrialNow> {
        match self.request(name, event).await? {
            scheduler::Answer::Trial(now) => Ok(Response::new(now.into())),
            other => Err(status::wrong_answer(&other)),
        }
    }

    /// The workers as the loop knows them, and those that are gone as the tables do; of this name only, if one is given.
    async fn workers(&self, name: Option<String>) -> Answer<v1::ListWorkersResponse> {
        let there = match self.coordinator.request(Event::ListWorkers).await {
            Ok(scheduler::Answer::Workers(workers)) => workers,
            Ok(other) => return Err(status::wrong_answer(&other)),
            Err(error) => return Err(status::from_coordinator(error)),
        };
        let known = self.coordinator.read(|reader| Ok(reader.workers()?));
        let known = known.await.map_err(status::from_coordinator)?;
        let mut workers = with_gone(there, known);
        workers.retain(|worker| name.as_ref().is_none_or(|name| worker.name == *name));
        Ok(Response::new(v1::ListWorkersResponse {
            workers: workers.into_iter().map(v1::Worker::from).collect(),
        }))
    }

    async fn answer(&self, name: &str) -> Answer<v1::Study> {
        let study = self.coordinator.study(name).await.map_err(status::from_coordinator)?;
        Ok(Response::new(study.into()))
    }
}

#[tonic::async_trait]
impl StudyService for Studies {
    type GetCurveStream = Events<v1::CurveChunk>;
    type FetchArtifactStream = Events<v1::ArtifactPiece>;
    type WatchStudyStream = Events<v1::StudyEvent>;

    async fn create_study(&self, request: Request<v1::CreateStudyRequest>) -> Answer<v1::Study> {
        let request = request.into_inner();
        at_most("spec", request.spec.len(), SPEC_BYTES, "bytes")?;
        at_most("overrides", request.overrides.len(), OVERRIDES, "settings")?;
        let (data_paths, sources) = (self.data_paths.clone(), Sources::of(&self.coordinator.database()));
        let v1::CreateStudyRequest { spec, overrides, parent } = request;
        let prepared = tokio::task::spawn_blocking(move || {
            prepare_within(&spec, &overrides, &Locations::from_env(), &data_paths, &sources)
        });
        let study = prepared.await.map_err(|_| status::from_coordinator(CoordinatorError::Closed))?;
        let mut study = study.map_err(|error| status::from_coordinator(error.into()))?;
        if let Some(parent) = parent {
            let found = self.coordinator.read(move |reader| find_study_id(reader, &parent)).await;
            study.parent = Some(found.map_err(status::from_coordinator)?);
        }
        let created = self.coordinator.create(study).await.map_err(status::from_coordinator)?;
        Ok(Response::new(created.into()))
    }

    async fn get_study(&self, request: Request<v1::StudyRequest>) -> Answer<v1::Study> {
        self.answer(&request.into_inner().name).await
    }

    async fn list_studies(&self, _: Request<v1::ListStudiesRequest>) -> Answer<v1::ListStudiesResponse> {
        let studies =
            self.coordinator.read(|reader| Ok(reader.studies()?)).await.map_err(status::from_coordinator)?;
        Ok(Response::new(v1::ListStudiesResponse {
            studies: studies.into_iter().map(v1::Study::from).collect(),
        }))
    }

    async fn pause_study(&self, request: Request<v1::StudyRequest>) -> Answer<v1::Study> {
        self.steer(request.into_inner().name, Event::PauseStudy).await
    }

    async fn resume_study(&self, request: Request<v1::StudyRequest>) -> Answer<v1::Study> {
        self.steer(request.into_inner().name, Event::UnpauseStudy).await
    }

    async fn stop_study(&self, request: Request<v1::StudyRequest>) -> Answer<v1::Study> {
        self.steer(request.into_inner().name, Event::StopStudy).await
    }

    async fn extend_study(&self, request: Request<v1::ExtendStudyRequest>) -> Answer<v1::Study> {
        let v1::ExtendStudyRequest { name, trials, epochs, wall_time_ms } = request.into_inner();
        let more = Extension { trials, epochs, wall_time_ms };
        self.request(name.clone(), |study| Event::ExtendStudy { study, more, ended: None }).await?;
        self.answer(&name).await
    }

    async fn delete_study(
        &self,
        request: Request<v1::DeleteStudyRequest>,
    ) -> Answer<v1::DeleteStudyResponse> {
        let v1::DeleteStudyRequest { name, force } = request.into_inner();
        self.request(name, |study| Event::DeleteStudy { study, force, artifacts: Vec::new() }).await?;
        Ok(Response::new(v1::DeleteStudyResponse {}))
    }

    async fn get_ledger(&self, request: Request<v1::StudyRequest>) -> Answer<v1::Ledger> {
        let name = request.into_inner().name;
        let ledger = self.coordinator.read(move |reader| {
            let study = find_study_id(reader, &name)?;
            Ok(reader.ledger(study)?)
        });
        Ok(Response::new(ledger.await.map_err(status::from_coordinator)?.into()))
    }

    async fn retry_trial(&self, request: Request<v1::TrialRequest>) -> Answer<v1::TrialNow> {
        let v1::TrialRequest { study, trial } = request.into_inner();
        let trial = TrialNumber(trial);
        self.request_trial(study, |study| Event::RetryTrial { study, trial, found: None }).await
    }

    async fn stop_trial(&self, request: Request<v1::TrialRequest>) -> Answer<v1::TrialNow> {
        let v1::TrialRequest { study, trial } = request.into_inner();
        self.request_trial(study, |study| Event::StopTrial { study, trial: TrialNumber(trial) }).await
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Answer<v1::ListWorkersResponse> {
        self.workers(None).await
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Answer<v1::ListWorkersResponse> {
        let v1::DrainWorkerRequest { name, handover } = request.into_inner();
        let handover = match handover.as_str() {
            "" => Handover::default(),
            word => word.parse().map_err(|error| status::wrong_word("handover", error))?,
        };
        let event = Event::DrainWorker { name: name.clone(), handover };
        self.coordinator.request(event).await.map_err(status::from_coordinator)?;
        self.workers(Some(name)).await
    }

    async fn undrain_worker(
        &self,
        request: Request<v1::UndrainWorkerRequest>,
    ) -> Answer<v1::ListWorkersResponse> {
        let name = request.into_inner().name;
        let event = Event::UndrainWorker { name: name.clone() };
        self.coordinator.request(event).await.map_err(status::from_coordinator)?;
        self.workers(Some(name)).await
    }

    async fn get_trial(&self, request: Request<v1::GetTrialRequest>) -> Answer<v1::GetTrialResponse> {
        let v1::GetTrialRequest { study: name, number } = request.into_inner();
        let missing = status::no_trial(&name, number);
        let read = self.coordinator.read(move |reader| {
            let study = find_study(reader, &name)?;
            let Some(trial) = reader.trial(study.id, TrialNumber(number))? else { return Ok(None) };
            let decisions = reader.decisions(study.id, Some(TrialNumber(number)))?;
            Ok(Some((trial, decisions, reader.attempts(study.id, TrialNumber(number))?)))
        });
        let (trial, decisions, attempts) = read.await.map_err(status::from_coordinator)?.ok_or(missing)?;
        Ok(Response::new(v1::GetTrialResponse {
            trial: Some(trial.into()),
            decisions: decisions.into_iter().map(v1::Decision::from).collect(),
            attempts: attempts.into_iter().map(v1::Attempt::from).collect(),
        }))
    }

    async fn list_trials(&self, request: Request<v1::ListTrialsRequest>) -> Answer<v1::ListTrialsResponse> {
        let request = request.into_inner();
        let states = request.states.iter().map(|state| state.parse());
        let states =
            states.collect::<Result<Vec<_>, _>>().map_err(|error| status::wrong_word("states", error))?;
        let (sort, descending) = match request.sort.strip_prefix('-') {
            Some(sort) => (sort, true),
            None => (request.sort.as_str(), false),
        };
        let sort = if sort.is_empty() {
            TrialSort::default()
        } else {
            sort.parse().map_err(|error| status::wrong_word("sort", error))?
        };
        let limit = if request.limit == 0 { PAGE } else { request.limit.min(PAGE) };
        let query = TrialQuery { states, sort, descending, limit: Some(limit), offset: request.offset };
        let trials = self.coordinator.read(move |reader| {
            let study = find_study(reader, &request.study)?;
            Ok(reader.trials(study.id, &query)?)
        });
        let trials = trials.await.map_err(status::from_coordinator)?;
        Ok(Response::new(v1::ListTrialsResponse {
            trials: trials.into_iter().map(v1::Trial::from).collect(),
        }))
    }

    async fn explain_trial(&self, request: Request<v1::GetTrialRequest>) -> Answer<v1::Explanation> {
        let v1::GetTrialRequest { study: name, number } = request.into_inner();
        let missing = status::no_trial(&name, number);
        let read = self.coordinator.read(move |reader| {
            let study = find_study(reader, &name)?;
            Ok(hindsight::explain(reader, &study, TrialNumber(number))?)
        });
        let explanation = read.await.map_err(status::from_coordinator)?.ok_or(missing)?;
        Ok(Response::new(explanation.into()))
    }

    async fn replay_study(
        &self,
        request: Request<v1::ReplayStudyRequest>,
    ) -> Answer<v1::ReplayStudyResponse> {
        let v1::ReplayStudyRequest { study: name, pruners, overrides } = request.into_inner();
        at_most("pruners", pruners.len(), PRUNERS, "pruners")?;
        at_most("overrides", overrides.len(), OVERRIDES, "settings")?;
        let read = self.coordinator.read(move |reader| {
            let study = find_study(reader, &name)?;
            Ok(hindsight::replay(reader, &study, &pruners, &overrides)?)
        });
        let replays = read.await.map_err(status::from_coordinator)?;
        Ok(Response::new(v1::ReplayStudyResponse {
            replays: replays.into_iter().map(v1::Replay::from).collect(),
        }))
    }

    async fn get_curve(&self, request: Request<v1::GetCurveRequest>) -> Answer<Self::GetCurveStream> {
        let v1::GetCurveRequest { study: name, trial, all_attempts } = request.into_inner();
        let study = self.coordinator.study(&name).await.map_err(status::from_coordinator)?;
        let numbers = match trial {
            Some(number) => number..number.saturating_add(1),
            None => 0..study.trials.values().sum(),
        };
        let coordinator = self.coordinator.clone();
        let (sender, receiver) = mpsc::channel(CURVES_AHEAD);
        tokio::spawn(async move {
            let chunks = sender.clone();
            // A trial at a time: the curves of a large study are more than a coordinator should hold.
            let read = coordinator.read(move |reader| {
                for number in numbers {
                    let rows = reader.curve(study.id, Some(TrialNumber(number)), all_attempts)?;
                    let epochs: Vec<_> = rows.into_iter().map(v1::Epoch::from).collect();
                    // A caller that went away wants no more.
                    if !epochs.is_empty() && chunks.blocking_send(Ok(v1::CurveChunk { epochs })).is_err() {
                        break;
                    }
                }
                Ok(())
            });
            if let Err(error) = read.await {
                let _ = sender.send(Err(status::from_coordinator(error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_children(&self, request: Request<v1::StudyRequest>) -> Answer<v1::ListStudiesResponse> {
        let name = request.into_inner().name;
        let read = self.coordinator.read(move |reader| {
            let names = reader.children(find_study_id(reader, &name)?)?;
            let studies = names.iter().map(|name| reader.study(name)).collect::<Result<Vec<_>, _>>()?;
            Ok(studies.into_iter().flatten().map(v1::Study::from).collect())
        });
        let studies = read.await.map_err(status::from_coordinator)?;
        Ok(Response::new(v1::ListStudiesResponse { studies }))
    }

    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Answer<v1::ListArtifactsResponse> {
        let v1::ListArtifactsRequest { study: name, limit, offset } = request.into_inner();
        let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
        let read = self.coordinator.read(move |reader| {
            let study = find_study_id(reader, &name)?;
            Ok(reader.artifacts(study, limit, offset)?)
        });
        let artifacts = read.await.map_err(status::from_coordinator)?;
        let artifacts = artifacts.into_iter().map(v1::Artifact::from).collect();
        Ok(Response::new(v1::ListArtifactsResponse { artifacts }))
    }

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Answer<Self::FetchArtifactStream> {
        let v1::FetchArtifactRequest { study: name, digest } = request.into_inner();
        let pieces = artifacts::fetch(&self.coordinator, name, digest).await?;
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn put_model(&self, request: Request<Streaming<v1::ModelChunk>>) -> Answer<v1::ModelStored> {
        artifacts::put_model(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(v1::ModelStored {}))
    }

    async fn ask(&self, request: Request<v1::AskRequest>) -> Answer<v1::AskResponse> {
        let v1::AskRequest { study, asker, lease_ms } = request.into_inner();
        let lease_ms = if lease_ms == 0 { DEFAULT_LEASE_MS } else { lease_ms };
        match self.request(study, |study| Event::Ask { study, asker, lease_ms }).await? {
            scheduler::Answer::Asked(asked) => Ok(Response::new(asked.into())),
            other => Err(status::wrong_answer(&other)),
        }
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Answer<v1::TrialNow> {
        let request = request.into_inner();
        let report = TrialReport::from(&request);
        let (trial, lease) = (TrialNumber(request.trial), request.lease.map(LeaseId));
        self.request_trial(request.study, |study| Event::Report { study, trial, lease, report }).await
    }

    async fn tell(&self, request: Request<v1::TellRequest>) -> Answer<v1::TrialNow> {
        let v1::TellRequest { study, trial, lease, outcome } = request.into_inner();
        let told = clean(told(outcome).map_err(|error| status::from_wire(&error))?);
        let (trial, lease) = (TrialNumber(trial), lease.map(LeaseId));
        self.request_trial(study, |study| Event::Tell { study, trial, lease, told }).await
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::TrialNow> {
        let v1::RenewRequest { study, trial, lease } = request.into_inner();
        let (trial, lease) = (TrialNumber(trial), lease.map(LeaseId));
        self.request_trial(study, |study| Event::Renew { study, trial, lease }).await
    }

    async fn add_trial(&self, request: Request<v1::AddTrialRequest>) -> Answer<v1::TrialNow> {
        let v1::AddTrialRequest { study, asker, params, outcome } = request.into_inner();
        let params = params_from(params).map_err(|error| status::from_wire(&error))?;
        let told = clean(added(outcome).map_err(|error| status::from_wire(&error))?);
        self.request_trial(study, |study| Event::AddTrial { study, asker, params, told }).await
    }

    async fn enqueue_trial(&self, request: Request<v1::EnqueueTrialRequest>) -> Answer<v1::TrialNow> {
        let v1::EnqueueTrialRequest { study, params } = request.into_inner();
        let params = params_from(params).map_err(|error| status::from_wire(&error))?;
        self.request_trial(study, |study| Event::Enqueue { study, params }).await
    }

    async fn watch_study(&self, request: Request<v1::StudyRequest>) -> Answer<Self::WatchStudyStream> {
        // Subscribed first, so that nothing falls between the record and the first event.
        let mut events = self.coordinator.subscribe();
        let study =
            self.coordinator.study(&request.into_inner().name).await.map_err(status::from_coordinator)?;
        let (sender, receiver) = mpsc::channel(256);
        tokio::spawn(async move {
            let first = state_of(&study);
            let mut ended = is_end(&first);
            if sender.send(Ok(first.into())).await.is_err() {
                return;
            }
            while !ended {
                let item = match events.recv().await {
                    Ok((id, _)) if id != study.id => continue,
                    Ok((_, event)) => {
                        ended = is_end(&event);
                        Ok(StudyEvent::clone(&event).into())
                    }
                    Err(RecvError::Lagged(missed)) => {
                        ended = true;
                        Err(status::fell_behind(missed))
                    }
                    Err(RecvError::Closed) => return,
                };
                // A watcher that went away wants no more.
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// What a program says of a failure is shown to people.
fn clean(told: Told) -> Told {
    match told {
        Told::Failed { diverged, message } => Told::Failed { diverged, message: clean_message(message) },
        told => told,
    }
}

fn at_most(field: &str, given: usize, most: usize, unit: &str) -> Result<(), Status> {
    if given > most { Err(status::too_many(field, given, most, unit)) } else { Ok(()) }
}

/// Those that are there, and of each other name the newest process that was, by name.
fn with_gone(there: Vec<WorkerRecord>, known: Vec<WorkerRecord>) -> Vec<WorkerRecord> {
    let mut workers = there;
    for worker in known {
        if !workers.iter().any(|other| other.name == worker.name) {
            workers.push(WorkerRecord { state: Some(WorkerState::Gone), ..worker });
        }
    }
    workers.sort_by(|a, b| (&a.name, &a.incarnation).cmp(&(&b.name, &b.incarnation)));
    workers
}

fn state_of(study: &StudyRecord) -> StudyEvent {
    StudyEvent::StudyChanged { state: study.state, message: study.message.clone() }
}

fn is_end(event: &StudyEvent) -> bool {
    matches!(event, StudyEvent::StudyChanged { state: StudyState::Ended, .. })
}
