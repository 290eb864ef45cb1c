//! `foldwise trial ask`, `report`, `tell`, `renew`, `add` and `enqueue`: trials in the hands of other programs. The
//! answers are JSON, for those programs.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use foldwise_engine::scheduler::{Answer, Event};
use foldwise_shared::external::{Asked, TrialNow, TrialReport};
use foldwise_shared::ids::StudyId;
use foldwise_shared::value::{ParamValue, Params};
use serde_json::{Value, json};

use super::args::{AddArgs, AskArgs, AskedTrial, EnqueueArgs, ReportArgs, SourceArgs, TellArgs};
use super::error::CliError;
use super::remote::Remote;
use super::{next, render, study};
use crate::coordinator::request_offline;

/// `foldwise trial ask`
pub(super) fn ask(args: &AskArgs) -> Result<(), CliError> {
    let AskArgs { study, asker, lease_time, source } = args;
    let lease_ms = i64::try_from(lease_time.as_millis()).unwrap_or(i64::MAX);
    let asked = match Remote::named(source)? {
        Some(remote) => remote.ask(study, asker, lease_ms)?,
        None => {
            let asker = asker.clone();
            match offline(source, study, |study| Event::Ask { study, asker, lease_ms })? {
                Answer::Asked(asked) => asked,
                other => return Err(wrong_answer(&other)),
            }
        }
    };
    print(&json!(asked))?;
    // A program that reads the answer needs no hint.
    if std::io::stdout().is_terminal() {
        next::show(&[tell_next(&asked, study, source)]);
    }
    Ok(())
}

fn tell_next(asked: &Asked, study: &str, source: &SourceArgs) -> next::Next {
    let Asked { trial, lease, folds, .. } = asked;
    let values = vec!["VALUE"; folds.len().max(1)].join(",");
    next::Next {
        command: format!(
            "foldwise trial tell {study} {trial} --lease {lease} --value {values}{}",
            next::place(source)
        ),
        purpose: "what came of it",
    }
}

/// `foldwise trial report`
pub(super) fn report(args: &ReportArgs) -> Result<(), CliError> {
    let ReportArgs { trial, epoch, value, fold, last } = args;
    let report = TrialReport { fold: *fold, epoch: *epoch, value: *value, last: *last };
    let AskedTrial { study, number, lease, source } = trial;
    let now = match Remote::named(source)? {
        Some(remote) => remote.report(study, *number, *lease, report)?,
        None => {
            trial_now(source, study, |study| Event::Report { study, trial: *number, lease: *lease, report })?
        }
    };
    print_now(&now)
}

/// `foldwise trial tell`
pub(super) fn tell(args: &TellArgs) -> Result<(), CliError> {
    let told = args.told().ok_or_else(nothing_told)?;
    let AskedTrial { study, number, lease, source } = &args.trial;
    let now = match Remote::named(source)? {
        Some(remote) => remote.tell(study, *number, *lease, told)?,
        None => trial_now(source, study, |study| Event::Tell { study, trial: *number, lease: *lease, told })?,
    };
    print_now(&now)
}

/// `foldwise trial renew`
pub(super) fn renew(trial: &AskedTrial) -> Result<(), CliError> {
    let AskedTrial { study, number, lease, source } = trial;
    let now = match Remote::named(source)? {
        Some(remote) => remote.renew(study, *number, *lease)?,
        None => trial_now(source, study, |study| Event::Renew { study, trial: *number, lease: *lease })?,
    };
    print_now(&now)
}

/// `foldwise trial add`
pub(super) fn add(args: &AddArgs) -> Result<(), CliError> {
    let told = args.outcome.told().ok_or_else(nothing_told)?;
    let params = params(&args.params)?;
    let now = match Remote::named(&args.source)? {
        Some(remote) => remote.add(&args.study, &params, told)?,
        None => trial_now(&args.source, &args.study, |study| Event::AddTrial {
            study,
            asker: String::new(),
            params,
            told,
        })?,
    };
    print_now(&now)
}

/// `foldwise trial enqueue`
pub(super) fn enqueue(args: &EnqueueArgs) -> Result<(), CliError> {
    let params = params(&args.params)?;
    let now = match Remote::named(&args.source)? {
        Some(remote) => remote.enqueue(&args.study, &params)?,
        None => trial_now(&args.source, &args.study, |study| Event::Enqueue { study, params })?,
    };
    print_now(&now)?;
    next::show(&[next::shown(&next::place(&args.source), &args.study, now.trial)]);
    Ok(())
}

fn params(given: &[(String, ParamValue)]) -> Result<Params, CliError> {
    let mut names = BTreeSet::new();
    match given.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => Err(CliError::usage(format!("the param `{name}` is given twice"))),
        None => Ok(given.iter().cloned().collect()),
    }
}

fn offline(
    source: &SourceArgs,
    name: &str,
    event: impl FnOnce(StudyId) -> Event,
) -> Result<Answer, CliError> {
    request_offline(&source.database(), name, event).map_err(study::refused)
}

pub(super) fn trial_now(
    source: &SourceArgs,
    name: &str,
    event: impl FnOnce(StudyId) -> Event,
) -> Result<TrialNow, CliError> {
    match offline(source, name, event)? {
        Answer::Trial(now) => Ok(now),
        other => Err(wrong_answer(&other)),
    }
}

pub(super) fn print_now(now: &TrialNow) -> Result<(), CliError> {
    let mut value = json!(now);
    value["stop"] = now.is_to_stop().into();
    print(&value)
}

fn print(value: &Value) -> Result<(), CliError> {
    render::to_stdout(|out| writeln!(out, "{value}"))
}

/// The parser asks for an outcome.
fn nothing_told() -> CliError {
    CliError::usage("nothing is told; give --value, or one of the other outcomes")
}

fn wrong_answer(answer: &Answer) -> CliError {
    CliError::Other(anyhow::anyhow!("the coordinator answered {answer:?}"))
}
