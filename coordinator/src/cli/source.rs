//! Where a query looks: into a database on this machine, or at a coordinator. The answers are the same.

mod whole;

use foldwise_shared::fleet::WorkerRecord;
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{
    AttemptRecord, DecisionRecord, EpochRecord, Explanation, ReplayRecord, StudyRecord, TrialRecord,
};
use foldwise_shared::state::TrialState;

use super::args::{SourceArgs, TrialOrder};
use super::error::CliError;
use super::remote::Remote;
use crate::hindsight;
use crate::store::{Reader, TrialQuery};

pub use self::whole::History;

/// Trials read at a time; all of a study come in pages, so that no page is too large for one message.
const PAGE: u32 = 1000;

/// A trial, the decisions about it, and its attempts.
pub type ShownTrial = (TrialRecord, Vec<DecisionRecord>, Vec<AttemptRecord>);

/// Where a query looks.
pub enum Source {
    /// Into a database.
    File(Reader),
    /// At a coordinator.
    Server(Box<Remote>),
}

impl Source {
    /// Opens the database, or connects to the coordinator.
    ///
    /// # Errors
    /// No such database, none at all, or nobody at the address.
    pub fn open(args: &SourceArgs) -> Result<Self, CliError> {
        match Remote::named(args)? {
            Some(remote) => Ok(Self::Server(Box::new(remote))),
            None => Ok(Self::File(Reader::open(&args.database())?)),
        }
    }

    /// Every study, oldest first.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn studies(&self) -> Result<Vec<StudyRecord>, CliError> {
        match self {
            Self::File(reader) => Ok(reader.studies()?),
            Self::Server(remote) => remote.studies(),
        }
    }

    /// A study.
    ///
    /// # Errors
    /// There is none of that name; the message has those there are.
    pub fn study(&self, name: &str) -> Result<StudyRecord, CliError> {
        let found = match self {
            Self::File(reader) => reader.study(name)?,
            Self::Server(remote) => remote.study(name)?,
        };
        match found {
            Some(study) => Ok(study),
            None => Err(unknown_study(name, &self.studies()?)),
        }
    }

    /// The trials of a study in these states (all without), in that order, at most `limit`.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn trials(
        &self,
        study: &StudyRecord,
        states: &[TrialState],
        order: TrialOrder,
        limit: Option<u32>,
    ) -> Result<Vec<TrialRecord>, CliError> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let mut trials = Vec::new();
        while trials.len() < limit {
            let size = PAGE.min(u32::try_from(limit - trials.len()).unwrap_or(PAGE));
            let offset = u32::try_from(trials.len()).unwrap_or(u32::MAX);
            let query = TrialQuery {
                states: states.to_vec(),
                sort: order.key,
                descending: order.descending,
                limit: Some(size),
                offset,
            };
            let page = match self {
                Self::File(reader) => reader.trials(study.id, &query)?,
                Self::Server(remote) => remote.trials(&study.name, &query)?,
            };
            let last = page.len() < size as usize;
            trials.extend(page);
            if last {
                break;
            }
        }
        Ok(trials)
    }

    /// A trial, the decisions about it, and its attempts.
    ///
    /// # Errors
    /// The study has no trial of that number.
    pub fn trial(&self, study: &StudyRecord, number: TrialNumber) -> Result<ShownTrial, CliError> {
        let found = match self {
            Self::File(reader) => match reader.trial(study.id, number)? {
                Some(trial) => {
                    let decisions = reader.decisions(study.id, Some(number))?;
                    Some((trial, decisions, reader.attempts(study.id, number)?))
                }
                None => None,
            },
            Self::Server(remote) => remote.trial(&study.name, number)?,
        };
        found.ok_or_else(|| unknown_trial(study, number))
    }

    /// Why a trial was pruned, or how near it came to that.
    ///
    /// # Errors
    /// The study has no trial of that number.
    pub fn explain(&self, study: &StudyRecord, number: TrialNumber) -> Result<Explanation, CliError> {
        let found = match self {
            Self::File(reader) => hindsight::explain(reader, study, number)?,
            Self::Server(remote) => remote.explain(&study.name, number)?,
        };
        found.ok_or_else(|| unknown_trial(study, number))
    }

    /// What pruners would have made of the trials of a study; see [`hindsight::replay`].
    ///
    /// # Errors
    /// A pruner that could not work in the study.
    pub fn replay(
        &self,
        study: &StudyRecord,
        pruners: &[String],
        overrides: &[String],
    ) -> Result<Vec<ReplayRecord>, CliError> {
        match self {
            Self::File(reader) => Ok(hindsight::replay(reader, study, pruners, overrides)?),
            Self::Server(remote) => remote.replay(&study.name, pruners, overrides),
        }
    }

    /// The epochs of a study, or of one trial, in order; with `all_attempts` also those that a newer attempt has
    /// replaced.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn curve(
        &self,
        study: &StudyRecord,
        trial: Option<TrialNumber>,
        all_attempts: bool,
    ) -> Result<Vec<EpochRecord>, CliError> {
        match self {
            Self::File(reader) => Ok(reader.curve(study.id, trial, all_attempts)?),
            Self::Server(remote) => remote.curve(&study.name, trial, all_attempts),
        }
    }

    /// Hands on all trials of a study by number, with no more than a page of them in memory.
    ///
    /// # Errors
    /// The database or the coordinator does not answer, or the taker takes no more.
    pub fn each_trial(
        &self,
        study: &StudyRecord,
        mut take: impl FnMut(&TrialRecord) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut offset = 0;
        loop {
            let query = TrialQuery { limit: Some(PAGE), offset, ..TrialQuery::default() };
            let page = match self {
                Self::File(reader) => reader.trials(study.id, &query)?,
                Self::Server(remote) => remote.trials(&study.name, &query)?,
            };
            page.iter().try_for_each(&mut take)?;
            if page.len() < PAGE as usize {
                return Ok(());
            }
            offset = offset.saturating_add(PAGE);
        }
    }

    /// Hands on the live epochs of a study, with no more than those of a trial in memory.
    ///
    /// # Errors
    /// As [`Self::each_trial`].
    pub fn each_epoch(
        &self,
        study: &StudyRecord,
        mut take: impl FnMut(EpochRecord) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        match self {
            Self::File(reader) => {
                for number in 0..study.trials.values().sum() {
                    let epochs = reader.curve(study.id, Some(TrialNumber(number)), false)?;
                    epochs.into_iter().try_for_each(&mut take)?;
                }
                Ok(())
            }
            Self::Server(remote) => remote.each_epoch(&study.name, take),
        }
    }

    /// What a study cost.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn ledger(&self, study: &StudyRecord) -> Result<Ledger, CliError> {
        match self {
            Self::File(reader) => Ok(reader.ledger(study.id)?),
            Self::Server(remote) => remote.ledger(&study.name),
        }
    }

    /// The workers, as far as they are known there.
    ///
    /// # Errors
    /// The database or the coordinator does not answer.
    pub fn workers(&self) -> Result<Vec<WorkerRecord>, CliError> {
        match self {
            Self::File(reader) => Ok(reader.workers()?),
            Self::Server(remote) => remote.workers(),
        }
    }
}

/// There is no study of that name: lists those there are, the most alike first.
pub fn unknown_study(name: &str, known: &[StudyRecord]) -> CliError {
    let mut names: Vec<&str> = known.iter().map(|study| study.name.as_str()).collect();
    names.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    match names.as_slice() {
        [] => CliError::Usage {
            message: format!("there is no study `{name}`, nor any other"),
            help: Some("`foldwise run FILE` creates one; --db names another database".into()),
        },
        names => CliError::usage(format!("there is no study `{name}`; there is: {}", names.join(", "))),
    }
}

fn unknown_trial(study: &StudyRecord, number: TrialNumber) -> CliError {
    let name = &study.name;
    let message = match study.trials.values().sum::<u32>() {
        0 => format!("study `{name}` has no trial {number}: it has none yet"),
        count => format!("study `{name}` has no trial {number}: its trials are 0 to {}", count - 1),
    };
    CliError::usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn an_unknown_study_brings_the_known_ones_nearest_first() {
        let named = |name: &str| StudyRecord { name: name.into(), ..samples::study() };
        let error = unknown_study("mnist-randm", &[named("demo"), named("mnist-random")]);
        assert_eq!(error.to_string(), "there is no study `mnist-randm`; there is: mnist-random, demo");
        assert!(unknown_study("x", &[]).to_string().ends_with("nor any other"));
    }

    #[test]
    fn an_unknown_trial_brings_the_range() {
        let message = unknown_trial(&samples::study(), TrialNumber(9)).to_string();
        assert_eq!(message, "study `demo` has no trial 9: its trials are 0 to 4");
    }
}
