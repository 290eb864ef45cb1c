//! What programs that evaluate trials ask, report and tell.

use foldwise_shared::external::{Asked, Told, TrialNow, TrialReport};
use foldwise_shared::ids::{Epoch, FoldIndex, LeaseId, TrialNumber};
use foldwise_shared::value::Params;

use super::WireError;
use super::common::{params, params_from};
use super::record::word;
use crate::v1::{self, add_trial_request::Outcome as Added, tell_request::Outcome};

impl From<Asked> for v1::AskResponse {
    fn from(asked: Asked) -> Self {
        Self {
            trial: asked.trial.0,
            lease: asked.lease.0,
            lease_ms: asked.lease_ms,
            params: params(&asked.params),
            folds: asked.folds.into_iter().map(|fold| fold.0).collect(),
            epochs: asked.epochs,
        }
    }
}

impl TryFrom<v1::AskResponse> for Asked {
    type Error = WireError;

    fn try_from(wire: v1::AskResponse) -> Result<Self, WireError> {
        Ok(Self {
            trial: TrialNumber(wire.trial),
            lease: LeaseId(wire.lease),
            lease_ms: wire.lease_ms,
            params: params_from(wire.params)?,
            folds: wire.folds.into_iter().map(FoldIndex).collect(),
            epochs: wire.epochs,
        })
    }
}

impl From<TrialNow> for v1::TrialNow {
    fn from(now: TrialNow) -> Self {
        Self {
            trial: now.trial.0,
            state: now.state.to_string(),
            stop: now.is_to_stop(),
            value: now.value,
            reason: now.reason,
        }
    }
}

impl TryFrom<v1::TrialNow> for TrialNow {
    type Error = WireError;

    fn try_from(wire: v1::TrialNow) -> Result<Self, WireError> {
        Ok(Self {
            trial: TrialNumber(wire.trial),
            state: word("state", &wire.state)?,
            value: wire.value,
            reason: wire.reason,
        })
    }
}

impl From<&v1::ReportRequest> for TrialReport {
    fn from(wire: &v1::ReportRequest) -> Self {
        Self { fold: FoldIndex(wire.fold), epoch: Epoch(wire.epoch), value: wire.value, last: wire.last }
    }
}

/// What a request tells.
///
/// # Errors
/// It tells nothing.
pub fn told(outcome: Option<Outcome>) -> Result<Told, WireError> {
    let untrue = |field| WireError::wrong(field, "it can only be true; tell another outcome");
    match outcome.ok_or(WireError::Missing("outcome"))? {
        Outcome::Value(value) => Ok(Told::Values(vec![value])),
        Outcome::Values(wire) => Ok(Told::Values(wire.values)),
        Outcome::Failure(wire) => Ok(failed(wire)),
        Outcome::Reported(true) => Ok(Told::Reported),
        Outcome::Stopped(true) => Ok(Told::Stopped),
        Outcome::HandedBack(true) => Ok(Told::HandedBack),
        Outcome::Reported(false) => Err(untrue("reported")),
        Outcome::Stopped(false) => Err(untrue("stopped")),
        Outcome::HandedBack(false) => Err(untrue("handed_back")),
    }
}

/// A request that tells what came of a trial.
pub fn tell_request(
    study: String,
    trial: TrialNumber,
    lease: Option<LeaseId>,
    told: Told,
) -> v1::TellRequest {
    let outcome = match told {
        Told::Values(values) => Outcome::Values(v1::FoldValues { values }),
        Told::Failed { diverged, message } => Outcome::Failure(v1::Failure { message, diverged }),
        Told::Reported => Outcome::Reported(true),
        Told::Stopped => Outcome::Stopped(true),
        Told::HandedBack => Outcome::HandedBack(true),
    };
    v1::TellRequest { study, trial: trial.0, lease: lease.map(|lease| lease.0), outcome: Some(outcome) }
}

/// What came of a trial that was not asked for.
///
/// # Errors
/// The request does not say.
pub fn added(outcome: Option<Added>) -> Result<Told, WireError> {
    Ok(match outcome.ok_or(WireError::Missing("outcome"))? {
        Added::Value(value) => Told::Values(vec![value]),
        Added::Values(wire) => Told::Values(wire.values),
        Added::Failure(wire) => failed(wire),
    })
}

/// A request to add a trial; only values and failures can be told of one that was not asked for, anything else tells
/// nothing.
pub fn add_request(study: String, asker: String, all: &Params, told: Told) -> v1::AddTrialRequest {
    let outcome = match told {
        Told::Values(values) => Some(Added::Values(v1::FoldValues { values })),
        Told::Failed { diverged, message } => Some(Added::Failure(v1::Failure { message, diverged })),
        Told::Reported | Told::Stopped | Told::HandedBack => None,
    };
    v1::AddTrialRequest { study, asker, params: params(all), outcome }
}

fn failed(wire: v1::Failure) -> Told {
    Told::Failed { diverged: wire.diverged, message: wire.message }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::state::TrialState;
    use foldwise_shared::value::ParamValue;

    use super::*;

    #[test]
    fn what_is_asked_and_answered_comes_through() {
        let asked = Asked {
            trial: TrialNumber(3),
            lease: LeaseId(7),
            lease_ms: 1_000,
            params: Params::from([("a".to_owned(), ParamValue::Float(0.5))]),
            folds: vec![FoldIndex(0), FoldIndex(2)],
            epochs: 10,
        };
        assert_eq!(Asked::try_from(v1::AskResponse::from(asked.clone())), Ok(asked));
        let now =
            |state| TrialNow { trial: TrialNumber(1), state, value: Some(0.5), reason: Some("why".into()) };
        for state in TrialState::ALL.iter().copied() {
            let wire = v1::TrialNow::from(now(state));
            let goes_on = matches!(state, TrialState::Waiting | TrialState::Running);
            assert_eq!(wire.stop, !goes_on, "{state}");
            assert_eq!(TrialNow::try_from(wire), Ok(now(state)));
        }
        let wrong = v1::TrialNow { state: "lost".into(), ..now(TrialState::Running).into() };
        assert!(matches!(TrialNow::try_from(wrong), Err(WireError::Wrong { field: "state", .. })));
    }

    #[test]
    fn what_is_told_comes_through() {
        let failed = |diverged| Told::Failed { diverged, message: "why".into() };
        let all = [
            Told::Values(vec![0.5, 0.25]),
            Told::Reported,
            failed(true),
            failed(false),
            Told::Stopped,
            Told::HandedBack,
        ];
        for sent in all {
            let lease = Some(LeaseId(7));
            let request = tell_request("s".into(), TrialNumber(1), lease, sent.clone());
            assert_eq!(told(request.outcome), Ok(sent.clone()));
            let request = add_request("s".into(), String::new(), &Params::new(), sent.clone());
            match sent {
                Told::Values(_) | Told::Failed { .. } => assert_eq!(added(request.outcome), Ok(sent)),
                _ => assert_eq!(added(request.outcome), Err(WireError::Missing("outcome"))),
            }
        }
        assert_eq!(told(Some(Outcome::Value(0.5))), Ok(Told::Values(vec![0.5])));
        assert_eq!(told(None), Err(WireError::Missing("outcome")));
        assert!(matches!(
            told(Some(Outcome::Reported(false))),
            Err(WireError::Wrong { field: "reported", .. })
        ));
    }
}
