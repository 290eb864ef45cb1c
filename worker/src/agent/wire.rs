//! The edge: from our own types to the worker's messages, and from the coordinator's messages to our own types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldwise_proto::convert::{
    WireError, attempt_key, attempt_key_from, device_use, failure, params_from, value,
};
use foldwise_proto::v1::{
    self, ack::What, assign::Work, from_worker::Message as From, to_worker::Message as To,
};
use foldwise_shared::checkpoint::is_digest;
use foldwise_shared::device::DeviceUse;
use foldwise_shared::ids::{AttemptKey, Epoch};

use super::outbox::Report;
use super::work::{FoldWork, Outcome, StartPoint, StudyWork};

/// What the coordinator says.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The answer to a hello.
    Welcome {
        /// The version of the wire it speaks.
        wire_version: u32,
        /// How often to send a heartbeat.
        heartbeat: Duration,
    },
    /// Train these.
    Assign {
        /// The folds.
        tasks: Vec<FoldWork>,
        /// Folds that make no sense here, and why.
        unusable: Vec<(AttemptKey, String)>,
    },
    /// Stop an attempt and say that it finished.
    Stop {
        /// The attempt.
        key: AttemptKey,
        /// Let the running epoch end and report it first.
        after_epoch: bool,
    },
    /// An epoch is durable.
    EpochRecorded {
        /// The attempt.
        key: AttemptKey,
        /// The epoch.
        epoch: Epoch,
    },
    /// A param that an attempt found is durable, with this value or with an earlier one.
    ParamRecorded {
        /// The attempt.
        key: AttemptKey,
        /// The param.
        name: String,
    },
    /// The end of an attempt is durable.
    EndRecorded {
        /// The attempt.
        key: AttemptKey,
    },
    /// An attempt is dead.
    Revoked {
        /// The attempt.
        key: AttemptKey,
    },
}

/// The message that a report is.
pub fn report(key: AttemptKey, report: &Report) -> v1::FromWorker {
    let key = Some(attempt_key(key));
    message(match report.clone() {
        Report::Epoch(report) => From::Epoch(v1::EpochReport {
            key,
            epoch: report.epoch.0,
            train_loss: report.train_loss,
            validation_loss: report.validation_loss,
            learning_rate: report.learning_rate,
            seconds: report.seconds,
            metrics: report.metrics,
        }),
        Report::Derived { name, value: found } => {
            From::Derived(v1::Derived { key, name, value: Some(value(&found)) })
        }
        Report::End(Outcome::Finished { stopped }) => From::Finished(v1::Finished { key, stopped }),
        Report::End(Outcome::Failed { class, message }) => {
            From::Failed(v1::Failed { key, failure: failure(class), message })
        }
        Report::End(Outcome::Declined { message }) => From::Declined(v1::Declined { key, message }),
    })
}

/// How many attempts the worker can run side by side, those that run included.
pub fn ready(slots: u32) -> v1::FromWorker {
    message(From::Ready(v1::Ready { slots }))
}

/// What an attempt does that is no epoch.
pub fn phase(key: AttemptKey, name: String) -> v1::FromWorker {
    message(From::Phase(v1::Phase { key: Some(attempt_key(key)), name }))
}

/// A sign of life, with how busy the device is.
pub fn heartbeat(used: Option<DeviceUse>) -> v1::FromWorker {
    message(From::Heartbeat(v1::Heartbeat { device_use: used.map(device_use) }))
}

/// The first message of a stream.
pub fn hello(hello: v1::Hello) -> v1::FromWorker {
    message(From::Hello(hello))
}

/// An attempt that the worker holds.
pub fn held(key: AttemptKey, acknowledged: Epoch) -> v1::Held {
    v1::Held { key: Some(attempt_key(key)), acknowledged_epoch: acknowledged.0 }
}

fn message(message: From) -> v1::FromWorker {
    v1::FromWorker { message: Some(message) }
}

impl TryFrom<v1::ToWorker> for Told {
    type Error = WireError;

    fn try_from(wire: v1::ToWorker) -> Result<Self, WireError> {
        Ok(match wire.message.ok_or(WireError::Missing("message"))? {
            To::Welcome(welcome) => Self::Welcome {
                wire_version: welcome.wire_version,
                heartbeat: Duration::from_millis(
                    u64::try_from(welcome.heartbeat_ms)
                        .ok()
                        .filter(|millis| *millis > 0)
                        .ok_or_else(|| WireError::wrong("heartbeat_ms", "it must be above 0"))?,
                ),
            },
            To::Assign(assign) => match assign.work.ok_or(WireError::Missing("work"))? {
                Work::TrainFolds(folds) => train_folds(folds)?,
            },
            To::Stop(stop) => Self::Stop { key: attempt_key_from(stop.key)?, after_epoch: stop.after_epoch },
            To::Ack(ack) => {
                let key = attempt_key_from(ack.key)?;
                match ack.what.ok_or(WireError::Missing("what"))? {
                    What::Epoch(epoch) => Self::EpochRecorded { key, epoch: Epoch(epoch) },
                    What::Param(name) => Self::ParamRecorded { key, name },
                    What::End(_) => Self::EndRecorded { key },
                }
            }
            To::Revoked(revoked) => Self::Revoked { key: attempt_key_from(revoked.key)? },
        })
    }
}

fn train_folds(folds: v1::TrainFolds) -> Result<Told, WireError> {
    let v1::TrainFolds { lease: _, tasks, spec, data_digest, splits_digest, images, source } = folds;
    if !source.is_empty() && !is_digest(&source) {
        return Err(WireError::wrong("source", "the model to start from is named by its SHA-256"));
    }
    let source = Some(source).filter(|source| !source.is_empty());
    let study = Arc::new(StudyWork { spec, data_digest, splits_digest, images, source });
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    for task in tasks {
        let key = attempt_key_from(task.key)?;
        match fold(key, &study, task.params, task.seed, task.start_epoch, &task.checkpoint) {
            Ok(work) => usable.push(work),
            Err(message) => unusable.push((key, message)),
        }
    }
    Ok(Told::Assign { tasks: usable, unusable })
}

fn fold(
    key: AttemptKey,
    study: &Arc<StudyWork>,
    params: BTreeMap<String, v1::Value>,
    seed: u64,
    start_epoch: u32,
    checkpoint: &str,
) -> Result<FoldWork, String> {
    let start = match (start_epoch, is_digest(checkpoint)) {
        (0, _) if checkpoint.is_empty() => None,
        (1.., true) => Some(StartPoint { epoch: Epoch(start_epoch), digest: checkpoint.to_owned() }),
        _ => {
            return Err(format!(
                "the checkpoint of epoch {start_epoch} has the digest {checkpoint:?}; one goes with the other"
            ));
        }
    };
    let params = params_from(params).map_err(|error| error.to_string())?;
    Ok(FoldWork { key, study: Arc::clone(study), params, seed, start, source: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(attempt: u32) -> v1::FoldTask {
        v1::FoldTask {
            key: Some(v1::AttemptKey { study: 1, trial: 2, fold: 0, attempt }),
            params: BTreeMap::from([(
                "dropout".into(),
                v1::Value { kind: Some(v1::value::Kind::Real(0.25)) },
            )]),
            seed: 9,
            start_epoch: 0,
            checkpoint: String::new(),
        }
    }

    fn assign(tasks: Vec<v1::FoldTask>) -> Result<Told, WireError> {
        let folds = v1::TrainFolds { tasks, spec: "{}".into(), images: 10, ..Default::default() };
        let message = Some(To::Assign(v1::Assign { work: Some(Work::TrainFolds(folds)) }));
        Told::try_from(v1::ToWorker { message })
    }

    #[test]
    fn a_fold_that_makes_no_sense_spares_the_others() {
        let nowhere = v1::FoldTask { start_epoch: 3, ..task(2) };
        let resumed = v1::FoldTask { start_epoch: 3, checkpoint: "0a".repeat(32), ..task(4) };
        let anew = v1::FoldTask { checkpoint: "0a".repeat(32), ..task(5) };
        let valueless =
            v1::FoldTask { params: BTreeMap::from([("x".into(), v1::Value { kind: None })]), ..task(3) };
        let Ok(Told::Assign { tasks, unusable }) = assign(vec![task(1), nowhere, valueless, resumed, anew])
        else {
            panic!("an assignment")
        };
        assert_eq!(tasks.len(), 2);
        assert_eq!(tasks[0].start, None);
        assert_eq!(tasks[1].start, Some(StartPoint { epoch: Epoch(3), digest: "0a".repeat(32) }));
        assert_eq!((tasks[0].seed, tasks[0].study.images), (9, 10));
        assert_eq!(tasks[0].params["dropout"].as_f64(), Some(0.25));
        let attempts: Vec<u32> = unusable.iter().map(|(key, _)| key.attempt.0).collect();
        assert_eq!(attempts, [2, 3, 5]);
        assert!(unusable[0].1.contains("epoch 3"), "{}", unusable[0].1);
    }

    #[test]
    fn what_cannot_be_answered_is_an_error() {
        assert_eq!(assign(vec![task(0)]), Err(WireError::wrong("key.attempt", "attempts count from 1")));
        assert_eq!(Told::try_from(v1::ToWorker { message: None }), Err(WireError::Missing("message")));
        let welcome = v1::Welcome { wire_version: 1, lease_ms: 1, heartbeat_ms: 0 };
        assert!(Told::try_from(v1::ToWorker { message: Some(To::Welcome(welcome)) }).is_err());
    }
}
