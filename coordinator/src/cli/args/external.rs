//! What can be written after `foldwise trial ask`, `report`, `tell`, `renew`, `add` and `enqueue`.

use std::time::Duration;

use clap::{ArgGroup, Args};
use foldwise_shared::external::{DEFAULT_ASKER, Told};
use foldwise_shared::ids::{Epoch, FoldIndex, LeaseId, TrialNumber};
use foldwise_shared::value::ParamValue;

use super::{SourceArgs, trial_number};

/// How long a lease may last: from a second to 31 days.
const LEASE_SECONDS: std::ops::RangeInclusive<u64> = 1..=31 * 24 * 3_600;

/// `foldwise trial ask`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The study file says objective = \"external\". The answer is JSON: the trial, its params, and the lease to name in what
follows. A lease that runs out without a report or a renewal frees the trial for whoever asks next. Exit code 1 when
there is no trial to give any more.

Examples:
  foldwise study create branin.toml --db b.db
  foldwise trial ask branin --db b.db
  {\"trial\":0,\"lease\":1,\"lease_ms\":600000,\"params\":{\"x\":1.5,\"y\":7.0},\"folds\":[0],\"epochs\":10000}
  foldwise trial tell branin 0 --lease 1 --value 0.7 --db b.db

  while asked=$(foldwise trial ask branin); do            # a whole search in a shell, with jq
    value=$(./objective $(jq '.params.x, .params.y' <<<$asked))
    foldwise trial tell branin $(jq .trial <<<$asked) --lease $(jq .lease <<<$asked) --value $value
  done")]
pub struct AskArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// What the program that asks is called in the tables `worker` and `attempt`.
    #[arg(long, value_name = "NAME", env = "FOLDWISE_ASKER", default_value = DEFAULT_ASKER)]
    pub asker: String,
    /// How long the lease lasts without a word, such as 90s or 2h.
    #[arg(long = "lease-time", value_name = "TIME", env = "FOLDWISE_LEASE_TIME", default_value = "10m")]
    #[arg(value_parser = lease_time)]
    pub lease_time: Duration,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// A trial that was asked for.
#[derive(Debug, Args)]
pub struct AskedTrial {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// The trial's number, from 0.
    #[arg(value_name = "NUMBER", value_parser = trial_number)]
    pub number: TrialNumber,
    /// The lease that `ask` gave; without it, whichever the trial has now.
    #[arg(long, value_name = "LEASE", env = "FOLDWISE_LEASE", value_parser = lease)]
    pub lease: Option<LeaseId>,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `foldwise trial report`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The answer is JSON; \"stop\" says whether to go on, \"reason\" why not. Then end the evaluation and tell --stopped.

Example:
  foldwise trial report net 3 --lease 7 --epoch 12 --value 0.31 | jq -e '.stop | not' || exit")]
pub struct ReportArgs {
    /// The trial.
    #[command(flatten)]
    pub trial: AskedTrial,
    /// The epoch, from 1; some may be left out.
    #[arg(long, value_name = "EPOCH", value_parser = epoch)]
    pub epoch: Epoch,
    /// The value; `nan` is judged as such.
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub value: f64,
    /// The fold, from 0.
    #[arg(long, value_name = "FOLD", default_value = "0", value_parser = fold)]
    pub fold: FoldIndex,
    /// The fold ends here, with the best of its values.
    #[arg(long, action = clap::ArgAction::SetTrue)]
    pub last: bool,
}

/// What came of a trial.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("outcome").required(true))]
pub struct OutcomeArgs {
    /// Its value; of several folds one each, with commas between.
    #[arg(long = "value", value_name = "VALUE", group = "outcome")]
    #[arg(value_delimiter = ',', allow_negative_numbers = true)]
    pub values: Option<Vec<f64>>,
    /// It failed, and why.
    #[arg(long, value_name = "MESSAGE", group = "outcome")]
    #[arg(num_args = 0..=1, default_missing_value = "")]
    pub failed: Option<String>,
    /// Its value would be NaN or infinite: stay away from there.
    #[arg(long, group = "outcome", action = clap::ArgAction::SetTrue)]
    pub diverged: bool,
}

impl OutcomeArgs {
    /// What these say; none if they say nothing.
    pub fn told(&self) -> Option<Told> {
        if let Some(values) = &self.values {
            return Some(Told::Values(values.clone()));
        }
        let failed = |diverged, message| Told::Failed { diverged, message };
        if self.diverged {
            return Some(failed(true, String::new()));
        }
        self.failed.clone().map(|message| failed(false, message))
    }
}

/// `foldwise trial tell`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  foldwise trial tell branin 3 --lease 7 --value 0.31
  foldwise trial tell net 4 --lease 8 --reported          # the best of what was reported
  foldwise trial tell net 5 --lease 9 --failed \"out of memory\"
  foldwise trial tell net 6 --lease 10 --stopped          # as a report was answered")]
pub struct TellArgs {
    /// The trial.
    #[command(flatten)]
    pub trial: AskedTrial,
    /// What came of it.
    #[command(flatten)]
    pub outcome: OutcomeArgs,
    /// Each fold has the best of its reported values.
    #[arg(long, group = "outcome", action = clap::ArgAction::SetTrue)]
    pub reported: bool,
    /// It was stopped, as it was told to be.
    #[arg(long, group = "outcome", action = clap::ArgAction::SetTrue)]
    pub stopped: bool,
    /// Somebody else is to do it.
    #[arg(long, group = "outcome", action = clap::ArgAction::SetTrue)]
    pub hand_back: bool,
}

impl TellArgs {
    /// What it says; none if it says nothing, which the parser refuses.
    pub fn told(&self) -> Option<Told> {
        let flags = [
            (self.reported, Told::Reported),
            (self.stopped, Told::Stopped),
            (self.hand_back, Told::HandedBack),
        ];
        let flag = flags.into_iter().find_map(|(given, told)| given.then_some(told));
        flag.or_else(|| self.outcome.told())
    }
}

/// `foldwise trial enqueue`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The trial goes before all that the sampler suggests, and counts in budget.trials. A value is read as JSON, or else as a
word.

Example:
  foldwise trial enqueue demo learning_rate=0.003 batch_size=128 optimizer=adam")]
pub struct EnqueueArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// Params; those that are left out are drawn at random.
    #[arg(value_name = "PARAM=VALUE", required = true, value_parser = param)]
    pub params: Vec<(String, ParamValue)>,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `foldwise trial add`
#[derive(Debug, Args)]
#[command(after_long_help = "\
For what was evaluated elsewhere, in a study with objective = \"external\": the sampler learns from it. It counts in
budget.trials.

Example:
  foldwise trial add branin x=3.1 y=2.4 --value 0.41")]
pub struct AddArgs {
    /// The study's name.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// All params.
    #[arg(value_name = "PARAM=VALUE", required = true, value_parser = param)]
    pub params: Vec<(String, ParamValue)>,
    /// What came of it.
    #[command(flatten)]
    pub outcome: OutcomeArgs,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
}

fn lease_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if LEASE_SECONDS.contains(&time.as_secs()) => Ok(time),
        Ok(_) => Err("a lease lasts from a second to 31 days".into()),
        Err(problem) => Err(format!("it is no time ({problem}); write 90s, 10m or 2h")),
    }
}

fn lease(text: &str) -> Result<LeaseId, String> {
    text.parse().map(LeaseId).map_err(|_| "a lease is a whole number, as `ask` gave it".into())
}

fn epoch(text: &str) -> Result<Epoch, String> {
    text.parse().map(Epoch).map_err(|_| "an epoch is a whole number from 1".into())
}

fn fold(text: &str) -> Result<FoldIndex, String> {
    text.parse().map(FoldIndex).map_err(|_| "a fold is a whole number from 0".into())
}

/// `name=value`: JSON, or else a word.
fn param(text: &str) -> Result<(String, ParamValue), String> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
        return Err("write a name, `=` and a value, such as learning_rate=0.003".into());
    };
    let value = match serde_json::from_str(value) {
        Ok(json) => ParamValue::from_json(json).ok_or("null is no value of a param")?,
        Err(_) => ParamValue::Text(value.to_owned()),
    };
    Ok((name.trim().to_owned(), value))
}
