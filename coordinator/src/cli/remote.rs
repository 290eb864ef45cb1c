//! A coordinator as a query sees it: each method is one call, answered in our own types.

mod living;
mod models;
mod whole;

use std::time::Duration;

use foldwise_proto::MAX_MESSAGE_BYTES;
use foldwise_proto::convert::{WireError, add_request, params, tell_request};
use foldwise_proto::dial::{self, Address};
use foldwise_proto::v1::study_service_client::StudyServiceClient;
use foldwise_proto::v1::{
    self, AskRequest, CreateStudyRequest, EnqueueTrialRequest, GetCurveRequest, GetTrialRequest,
    ListStudiesRequest, ListTrialsRequest, RenewRequest, ReplayStudyRequest, ReportRequest, StudyRequest,
};
use foldwise_shared::external::{Asked, Told, TrialNow, TrialReport};
use foldwise_shared::ids::{LeaseId, TrialNumber};
use foldwise_shared::record::{
    AttemptRecord, DecisionRecord, EpochRecord, Explanation, ReplayRecord, StudyRecord, TrialRecord,
};
use foldwise_shared::value::Params;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::args::{SourceArgs, TlsArgs, TokenArgs, TrialOrder};
use super::error::CliError;
use super::source::ShownTrial;
use crate::store::TrialQuery;

pub use self::living::Watched;

/// How long to wait for somebody at the address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take; a coordinator that was stopped gives none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

type Client = StudyServiceClient<InterceptedService<Channel, Bearer>>;

/// A connection to a coordinator, and the threads it needs.
pub struct Remote {
    url: String,
    address: Address,
    tls: Option<dial::Tls>,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

/// Shows the secret with every call.
#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl TokenArgs {
    /// The secret, from the file or the variable.
    ///
    /// # Errors
    /// A file that cannot be read or is empty.
    pub fn read(&self) -> Result<Option<String>, CliError> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone().filter(|token| !token.is_empty()));
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::usage(format!("failed to read the token file {shown}: {error}")))?;
        match text.trim() {
            "" => Err(CliError::usage(format!(
                "the token file {shown} is empty; put one line with the secret in it"
            ))),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// The coordinator at `url`, whom we trust to be it, and where to call.
///
/// # Errors
/// An address that is none, certificates that cannot be used, or a token that would travel in clear to another machine.
pub fn callable(
    url: &str,
    has_token: bool,
    tls: &TlsArgs,
) -> Result<(Address, Option<dial::Tls>, Endpoint), CliError> {
    let usage = |error: &dyn std::error::Error| CliError::usage(error.to_string());
    let address: Address = url.parse().map_err(|error| usage(&error))?;
    let tls = dial::Tls::read(&address, has_token, &tls.files(), tls.insecure);
    let tls = tls.map_err(|error| usage(&error))?;
    let endpoint = dial::endpoint(&address, tls.as_ref())
        .map_err(|error| CliError::usage(format!("{url} cannot be called: {}", innermost(&error))))?;
    Ok((address, tls, endpoint))
}

impl Remote {
    /// Connects to the coordinator that the command line names, if it names one.
    ///
    /// # Errors
    /// As [`Self::connect`], or a token that cannot be read.
    pub fn named(args: &SourceArgs) -> Result<Option<Self>, CliError> {
        match &args.coordinator {
            Some(url) => Self::connect(url, args.token.read()?, &args.tls).map(Some),
            None => Ok(None),
        }
    }

    /// Connects to the coordinator at `url`, `http://` understood.
    ///
    /// # Errors
    /// An address that is none, certificates that cannot be used, nobody there, or somebody who is not trusted.
    pub fn connect(url: &str, token: Option<String>, tls: &TlsArgs) -> Result<Self, CliError> {
        let (address, tls, endpoint) = callable(url, token.is_some(), tls)?;
        let bearer = token.map(|token| bearer(&token)).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)?;
        let channel = runtime
            .block_on(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).connect())
            .map_err(|error| {
                let trouble = dial::trouble(&address, &error).map(|trouble| untrusted(url, trouble));
                trouble.unwrap_or_else(|| CliError::Happened {
                    message: format!("nobody answers at {url}: {}", innermost(&error)),
                    help: Some(
                        "`foldwise serve` starts a coordinator; --db reads a database without one".into(),
                    ),
                })
            })?;
        let client = StudyServiceClient::with_interceptor(channel, Bearer(bearer))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { url: url.to_owned(), address, tls, client, runtime })
    }

    /// Every study.
    pub fn studies(&self) -> Result<Vec<StudyRecord>, CliError> {
        let response = self.call(async |client| client.list_studies(ListStudiesRequest {}).await)?;
        response
            .studies
            .into_iter()
            .map(|study| study.try_into().map_err(|error| self.garbled(error)))
            .collect()
    }

    /// A study; none if there is none of that name.
    pub fn study(&self, name: &str) -> Result<Option<StudyRecord>, CliError> {
        let request = StudyRequest { name: name.to_owned() };
        let found = self.find(async |client| client.get_study(request).await)?;
        found.map(|study| study.try_into().map_err(|error| self.garbled(error))).transpose()
    }

    /// A page of trials.
    pub fn trials(&self, study: &str, query: &TrialQuery) -> Result<Vec<TrialRecord>, CliError> {
        let request = ListTrialsRequest {
            study: study.to_owned(),
            states: query.states.iter().map(ToString::to_string).collect(),
            sort: TrialOrder { key: query.sort, descending: query.descending }.to_string(),
            limit: query.limit.unwrap_or(0),
            offset: query.offset,
        };
        let response = self.call(async |client| client.list_trials(request).await)?;
        response
            .trials
            .into_iter()
            .map(|trial| trial.try_into().map_err(|error| self.garbled(error)))
            .collect()
    }

    /// A trial, the decisions about it and its attempts; none if the study has none of that number.
    pub fn trial(&self, study: &str, number: TrialNumber) -> Result<Option<ShownTrial>, CliError> {
        let request = GetTrialRequest { study: study.to_owned(), number: number.0 };
        let Some(response) = self.find(async |client| client.get_trial(request).await)? else {
            return Ok(None);
        };
        let Some(trial) = response.trial else { return Err(self.garbled(WireError::Missing("trial"))) };
        let trial = trial.try_into().map_err(|error| self.garbled(error))?;
        let decisions = response.decisions.into_iter().map(DecisionRecord::try_from);
        let decisions = decisions.collect::<Result<_, _>>().map_err(|error| self.garbled(error))?;
        let attempts = response.attempts.into_iter().map(AttemptRecord::try_from);
        let attempts = attempts.collect::<Result<_, _>>().map_err(|error| self.garbled(error))?;
        Ok(Some((trial, decisions, attempts)))
    }

    /// Why a trial was pruned; none if the study has none of that number.
    pub fn explain(&self, study: &str, number: TrialNumber) -> Result<Option<Explanation>, CliError> {
        let request = GetTrialRequest { study: study.to_owned(), number: number.0 };
        let found = self.find(async |client| client.explain_trial(request).await)?;
        found.map(|explanation| explanation.try_into().map_err(|error| self.garbled(error))).transpose()
    }

    /// What pruners would have made of a study.
    pub fn replay(
        &self,
        study: &str,
        pruners: &[String],
        overrides: &[String],
    ) -> Result<Vec<ReplayRecord>, CliError> {
        let request = ReplayStudyRequest {
            study: study.to_owned(),
            pruners: pruners.to_vec(),
            overrides: overrides.to_vec(),
        };
        let response = self.call(async |client| client.replay_study(request).await)?;
        response
            .replays
            .into_iter()
            .map(|replay| replay.try_into().map_err(|error| self.garbled(error)))
            .collect()
    }

    /// The epochs of a study, or of one trial.
    pub fn curve(
        &self,
        study: &str,
        trial: Option<TrialNumber>,
        all_attempts: bool,
    ) -> Result<Vec<EpochRecord>, CliError> {
        let request =
            GetCurveRequest { study: study.to_owned(), trial: trial.map(|trial| trial.0), all_attempts };
        let mut client = self.client.clone();
        self.runtime
            .block_on(async {
                let mut chunks = client.get_curve(request).await?.into_inner();
                let mut epochs = Vec::new();
                while let Some(chunk) = chunks.message().await? {
                    epochs.extend(chunk.epochs.into_iter().map(EpochRecord::from));
                }
                Ok(epochs)
            })
            .map_err(|status| self.refused(&status))
    }

    /// Records a study, and the study that it comes from.
    pub fn create(
        &self,
        spec: String,
        overrides: Vec<String>,
        parent: Option<String>,
    ) -> Result<StudyRecord, CliError> {
        let request = CreateStudyRequest { spec, overrides, parent };
        let study = self.call(async |client| client.create_study(request).await)?;
        study.try_into().map_err(|error| self.garbled(error))
    }

    /// Gives out no more leases of a study.
    pub fn pause(&self, name: &str) -> Result<StudyRecord, CliError> {
        let request = StudyRequest { name: name.to_owned() };
        let study = self.call(async |client| client.pause_study(request).await)?;
        study.try_into().map_err(|error| self.garbled(error))
    }

    /// Lets a paused study go on.
    pub fn unpause(&self, name: &str) -> Result<StudyRecord, CliError> {
        let request = StudyRequest { name: name.to_owned() };
        let study = self.call(async |client| client.resume_study(request).await)?;
        study.try_into().map_err(|error| self.garbled(error))
    }

    /// Ends a study.
    pub fn stop(&self, name: &str) -> Result<StudyRecord, CliError> {
        let request = StudyRequest { name: name.to_owned() };
        let study = self.call(async |client| client.stop_study(request).await)?;
        study.try_into().map_err(|error| self.garbled(error))
    }

    /// A trial to evaluate.
    pub fn ask(&self, study: &str, asker: &str, lease_ms: i64) -> Result<Asked, CliError> {
        let request = AskRequest { study: study.to_owned(), asker: asker.to_owned(), lease_ms };
        let asked = self.call(async |client| client.ask(request).await)?;
        asked.try_into().map_err(|error| self.garbled(error))
    }

    /// An intermediate value of a trial.
    pub fn report(
        &self,
        study: &str,
        trial: TrialNumber,
        lease: Option<LeaseId>,
        report: TrialReport,
    ) -> Result<TrialNow, CliError> {
        let TrialReport { fold, epoch, value, last } = report;
        let request = ReportRequest {
            study: study.to_owned(),
            trial: trial.0,
            lease: lease.map(|lease| lease.0),
            fold: fold.0,
            epoch: epoch.0,
            value,
            last,
        };
        self.trial_now(async |client| client.report(request).await)
    }

    /// What came of a trial.
    pub fn tell(
        &self,
        study: &str,
        trial: TrialNumber,
        lease: Option<LeaseId>,
        told: Told,
    ) -> Result<TrialNow, CliError> {
        let request = tell_request(study.to_owned(), trial, lease, told);
        self.trial_now(async |client| client.tell(request).await)
    }

    /// Keeps the lease of a trial.
    pub fn renew(
        &self,
        study: &str,
        trial: TrialNumber,
        lease: Option<LeaseId>,
    ) -> Result<TrialNow, CliError> {
        let lease = lease.map(|lease| lease.0);
        let request = RenewRequest { study: study.to_owned(), trial: trial.0, lease };
        self.trial_now(async |client| client.renew(request).await)
    }

    /// Adds a trial that was not asked for.
    pub fn add(&self, study: &str, params: &Params, told: Told) -> Result<TrialNow, CliError> {
        let request = add_request(study.to_owned(), String::new(), params, told);
        self.trial_now(async |client| client.add_trial(request).await)
    }

    /// Has params tried next.
    pub fn enqueue(&self, study: &str, given: &Params) -> Result<TrialNow, CliError> {
        let request = EnqueueTrialRequest { study: study.to_owned(), params: params(given) };
        self.trial_now(async |client| client.enqueue_trial(request).await)
    }

    fn trial_now(
        &self,
        call: impl AsyncFnOnce(&mut Client) -> Result<tonic::Response<v1::TrialNow>, Status>,
    ) -> Result<TrialNow, CliError> {
        self.call(call)?.try_into().map_err(|error| self.garbled(error))
    }

    fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut Client) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, CliError> {
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(call(&mut client));
        answer.map(tonic::Response::into_inner).map_err(|status| self.refused(&status))
    }

    fn find<T>(
        &self,
        call: impl AsyncFnOnce(&mut Client) -> Result<tonic::Response<T>, Status>,
    ) -> Result<Option<T>, CliError> {
        let mut client = self.client.clone();
        match self.runtime.block_on(call(&mut client)) {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.refused(&status)),
        }
    }

    fn refused(&self, status: &Status) -> CliError {
        if let Some(error) = self.unsafe_connection(status) {
            return error;
        }
        let message = match status.message() {
            "" => format!("the coordinator at {} answers: {}", self.url, status.code().description()),
            text => text.to_owned(),
        };
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => CliError::Usage {
                message: format!("the coordinator at {} refuses this: {message}", self.url),
                help: None,
            },
            Code::NotFound
            | Code::InvalidArgument
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange => CliError::Usage { message, help: None },
            Code::ResourceExhausted | Code::Aborted if !status.message().is_empty() => {
                CliError::Happened { message, help: None }
            }
            _ => CliError::Happened {
                message: format!("the coordinator at {} failed: {message}", self.url),
                help: None,
            },
        }
    }

    /// What TLS has to do with a call that failed.
    fn unsafe_connection(&self, status: &Status) -> Option<CliError> {
        if let Some(cause) = std::error::Error::source(status) {
            let trouble = dial::trouble(&self.address, cause);
            return trouble.or_else(|| self.look_closer()).map(|trouble| untrusted(&self.url, trouble));
        }
        // Without a cause of its own it came from the other side, unless the connection just went away.
        let went_away = matches!(status.code(), Code::Cancelled | Code::Unavailable | Code::Unknown);
        let trouble = if went_away { self.look_closer() } else { None };
        trouble.map(|trouble| untrusted(&self.url, trouble))
    }

    fn look_closer(&self) -> Option<dial::Trouble> {
        let tls = self.tls.as_ref()?;
        self.runtime.block_on(dial::diagnose(&self.address, tls))
    }

    fn garbled(&self, error: WireError) -> CliError {
        CliError::Happened {
            message: format!("the coordinator at {} sends what cannot be understood: {error}", self.url),
            help: Some("its version may be another; compare `foldwise --version` on both machines".into()),
        }
    }
}

/// The header that shows a secret.
fn bearer(token: &str) -> Result<MetadataValue<Ascii>, CliError> {
    let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
    let mut value = value.map_err(|_| {
        CliError::usage("the token has characters that cannot be sent; use letters and digits")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A connection that is not safe: certificates, keys or the address are wrong, or become right by themselves.
fn untrusted(url: &str, trouble: dial::Trouble) -> CliError {
    let message = format!("no safe connection to the coordinator at {url}: {}", trouble.message);
    if trouble.is_final { CliError::usage(message) } else { CliError::Happened { message, help: None } }
}

/// The cause behind all causes: tonic's own words are only "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(url: &str, token: Option<&str>) -> CliError {
        Remote::connect(url, token.map(str::to_owned), &TlsArgs::default()).err().expect(url)
    }

    #[test]
    fn an_address_that_cannot_be_called_is_the_users_mistake() {
        for (url, token, words) in [
            ("http://", None, "write it like http://head-node:7654"),
            ("a b", None, "write it like http://head-node:7654"),
            ("ftp://x", None, "write it like http://head-node:7654"),
            ("head", None, "no port"),
            ("https://head:7654", None, "https://head:7654 needs --tls-ca FILE"),
            ("http://head:7654", Some("secret"), "--insecure"),
        ] {
            let error = failure(url, token);
            assert!(matches!(error, CliError::Usage { .. }), "{url}: {error}");
            assert!(error.to_string().contains(words), "{url}: {error}");
        }
    }

    #[test]
    fn nobody_there_is_what_happened() {
        // Port 9 of the own machine: nobody listens there.
        let error = failure("127.0.0.1:9", Some("secret"));
        assert!(matches!(&error, CliError::Happened { help: Some(_), .. }), "{error}");
        assert!(error.to_string().starts_with("nobody answers at 127.0.0.1:9: "), "{error}");
    }

    #[test]
    fn a_token_file_beats_the_variable_and_must_not_be_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let args = TokenArgs { token_file: Some(path.clone()), token: Some("other".into()) };
        assert!(args.read().expect_err("not there").to_string().contains("failed to read"));
        std::fs::write(&path, "\n").expect("written");
        assert!(args.read().expect_err("empty").to_string().contains("is empty"));
        std::fs::write(&path, "secret\n").expect("written");
        assert_eq!(args.read().expect("a token"), Some("secret".into()));
    }
}
