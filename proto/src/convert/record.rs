//! Records of studies, trials, epochs and decisions.

use std::collections::BTreeMap;
use std::str::FromStr;

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::record::{Best, DecisionRecord, EpochRecord, FoldRecord, StudyRecord, TrialRecord};
use foldwise_shared::state::UnknownWord;

use super::{WireError, params, params_from};
use crate::v1;

pub(super) fn word<T: FromStr<Err = UnknownWord>>(field: &'static str, text: &str) -> Result<T, WireError> {
    text.parse().map_err(|error| WireError::wrong(field, error))
}

impl From<StudyRecord> for v1::Study {
    fn from(record: StudyRecord) -> Self {
        Self {
            id: record.id.0,
            name: record.name,
            state: record.state.to_string(),
            message: record.message,
            direction: record.direction.to_string(),
            spec: record.spec,
            spec_text: record.spec_text,
            data_digest: record.data_digest,
            splits_digest: record.splits_digest,
            images: record.images,
            height: record.height,
            width: record.width,
            created_at: record.created_at.0,
            running_ms: record.running_ms,
            trials: record.trials.into_iter().map(|(state, count)| (state.to_string(), count)).collect(),
            epochs: record.epochs,
            best: record.best.map(|best| v1::Best { number: best.number.0, value: best.value }),
            parent: record.parent,
        }
    }
}

impl TryFrom<v1::Study> for StudyRecord {
    type Error = WireError;

    fn try_from(wire: v1::Study) -> Result<Self, WireError> {
        Ok(Self {
            id: StudyId(wire.id),
            name: wire.name,
            state: word("state", &wire.state)?,
            message: wire.message,
            direction: word("direction", &wire.direction)?,
            spec: wire.spec,
            spec_text: wire.spec_text,
            data_digest: wire.data_digest,
            splits_digest: wire.splits_digest,
            images: wire.images,
            height: wire.height,
            width: wire.width,
            created_at: Millis(wire.created_at),
            running_ms: wire.running_ms,
            trials: wire
                .trials
                .into_iter()
                .map(|(state, count)| Ok((word("trials", &state)?, count)))
                .collect::<Result<_, WireError>>()?,
            epochs: wire.epochs,
            best: wire.best.map(|best| Best { number: TrialNumber(best.number), value: best.value }),
            parent: wire.parent,
        })
    }
}

impl From<TrialRecord> for v1::Trial {
    fn from(record: TrialRecord) -> Self {
        Self {
            number: record.number.0,
            state: record.state.to_string(),
            value: record.value,
            std: record.std,
            params: params(&record.params),
            origins: record.origins.into_iter().map(|(name, origin)| (name, origin.to_string())).collect(),
            reason: record.reason,
            created_at: record.created_at.0,
            finished_at: record.finished_at.map(|at| at.0),
            folds: record.folds.into_iter().map(v1::Fold::from).collect(),
            parent: record.parent.map(|parent| parent.0),
        }
    }
}

impl TryFrom<v1::Trial> for TrialRecord {
    type Error = WireError;

    fn try_from(wire: v1::Trial) -> Result<Self, WireError> {
        Ok(Self {
            number: TrialNumber(wire.number),
            state: word("state", &wire.state)?,
            value: wire.value,
            std: wire.std,
            params: params_from(wire.params)?,
            origins: wire
                .origins
                .into_iter()
                .map(|(name, origin)| Ok((name, word("origins", &origin)?)))
                .collect::<Result<BTreeMap<_, _>, WireError>>()?,
            reason: wire.reason,
            created_at: Millis(wire.created_at),
            finished_at: wire.finished_at.map(Millis),
            folds: wire.folds.into_iter().map(FoldRecord::try_from).collect::<Result<_, _>>()?,
            parent: wire.parent.map(TrialNumber),
        })
    }
}

impl From<FoldRecord> for v1::Fold {
    fn from(record: FoldRecord) -> Self {
        Self {
            fold: record.fold.0,
            state: record.state.to_string(),
            value: record.value,
            best_epoch: record.best_epoch.map(|epoch| epoch.0),
            epochs: record.epochs,
            attempts: record.attempts,
        }
    }
}

impl TryFrom<v1::Fold> for FoldRecord {
    type Error = WireError;

    fn try_from(wire: v1::Fold) -> Result<Self, WireError> {
        Ok(Self {
            fold: FoldIndex(wire.fold),
            state: word("state", &wire.state)?,
            value: wire.value,
            best_epoch: wire.best_epoch.map(Epoch),
            epochs: wire.epochs,
            attempts: wire.attempts,
        })
    }
}

impl From<EpochRecord> for v1::Epoch {
    fn from(record: EpochRecord) -> Self {
        Self {
            trial: record.trial.0,
            fold: record.fold.0,
            attempt: record.attempt.0,
            epoch: record.epoch.0,
            train_loss: record.train_loss,
            validation_loss: record.validation_loss,
            learning_rate: record.learning_rate,
            seconds: record.seconds,
            diverged: record.diverged,
            at: record.at.0,
            metrics: record.metrics,
        }
    }
}

impl From<v1::Epoch> for EpochRecord {
    fn from(wire: v1::Epoch) -> Self {
        Self {
            trial: TrialNumber(wire.trial),
            fold: FoldIndex(wire.fold),
            attempt: Attempt(wire.attempt),
            epoch: Epoch(wire.epoch),
            train_loss: wire.train_loss,
            validation_loss: wire.validation_loss,
            learning_rate: wire.learning_rate,
            seconds: wire.seconds,
            diverged: wire.diverged,
            at: Millis(wire.at),
            metrics: wire.metrics,
        }
    }
}

impl From<DecisionRecord> for v1::Decision {
    fn from(record: DecisionRecord) -> Self {
        let decision = record.decision;
        Self {
            trial: record.trial.0,
            fold: record.fold.0,
            epoch: record.epoch.map(|epoch| epoch.0),
            rule: decision.rule.to_string(),
            own: decision.own,
            threshold: decision.threshold,
            peers: decision.peers,
            percentile: decision.percentile,
            event_seq: record.event_seq,
            bracket: decision.bracket,
            rung: decision.rung,
            kept: decision.kept,
            against: decision.against.map(|trial| trial.0),
            alpha: decision.alpha,
            standard_error: decision.standard_error,
            degrees: decision.degrees,
            patience: decision.patience,
        }
    }
}

impl TryFrom<v1::Decision> for DecisionRecord {
    type Error = WireError;

    fn try_from(wire: v1::Decision) -> Result<Self, WireError> {
        let decision = Decision {
            rule: word("rule", &wire.rule)?,
            own: wire.own,
            threshold: wire.threshold,
            peers: wire.peers,
            percentile: wire.percentile,
            bracket: wire.bracket,
            rung: wire.rung,
            kept: wire.kept,
            against: wire.against.map(TrialNumber),
            alpha: wire.alpha,
            standard_error: wire.standard_error,
            degrees: wire.degrees,
            patience: wire.patience,
        };
        Ok(Self {
            trial: TrialNumber(wire.trial),
            fold: FoldIndex(wire.fold),
            epoch: wire.epoch.map(Epoch),
            decision,
            event_seq: wire.event_seq,
        })
    }
}
