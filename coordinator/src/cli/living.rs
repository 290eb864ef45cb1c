//! `foldwise study extend`, `delete` and `ledger`, `foldwise trial retry` and `stop`.

use std::io::{IsTerminal, Write};

use foldwise_engine::scheduler::Event;
use foldwise_shared::external::TrialNow;
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{BudgetSection, StudySpec};
use foldwise_shared::state::StudyState;

use super::args::{DeleteArgs, ExtendArgs, NamedStudy, SteeredTrial};
use super::error::CliError;
use super::remote::Remote;
use super::render::{self, Answer, Format};
use super::source::Source;
use super::{external, next, say, study};
use crate::coordinator::{find_study, request_offline};
use crate::store::Reader;

/// `foldwise study extend`
pub(super) fn extend(args: &ExtendArgs) -> Result<(), CliError> {
    let ExtendArgs { name, query, .. } = args;
    let more = args.more();
    let before = Source::open(&query.source)?.study(name)?;
    let study = match Remote::named(&query.source)? {
        Some(remote) => remote.extend(name, &more)?,
        None => {
            let database = query.source.database();
            request_offline(&database, name, |study| Event::ExtendStudy { study, more, ended: None })
                .map_err(study::refused)?;
            find_study(&Reader::open(&database)?, name)?
        }
    };
    render::print(Answer::Study(&study), query.output.format)?;
    for line in growth(&before, &study) {
        say(&line);
    }
    if before.state == StudyState::Ended {
        say("it had ended and goes on; its finished trials stay as they are");
    }
    let place = next::place(&query.source);
    match query.source.coordinator {
        Some(_) => next::show(&[next::watch(&place, name)]),
        None if study::is_external(&study) => next::show(&[next::ask(&place, name)]),
        None => next::show(&[next::resume(&place, name)]),
    }
    Ok(())
}

/// What grew, a line each.
fn growth(before: &StudyRecord, after: &StudyRecord) -> Vec<String> {
    let budget =
        |study: &StudyRecord| StudySpec::from_json(&study.spec).map(|spec| spec.budget).unwrap_or_default();
    let (before, after): (BudgetSection, BudgetSection) = (budget(before), budget(after));
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let rows = [
        ("trials", text(before.trials.map(u64::from)), text(after.trials.map(u64::from))),
        ("total_epochs", text(before.total_epochs), text(after.total_epochs)),
        ("wall_time", before.wall_time, after.wall_time),
    ];
    let grown = rows.into_iter().filter(|(_, before, after)| before != after);
    grown
        .map(|(key, before, after)| {
            format!("budget.{key} was {}, is {}", before.unwrap_or_default(), after.unwrap_or_default())
        })
        .collect()
}

/// `foldwise study delete`
pub(super) fn delete(args: &DeleteArgs) -> Result<(), CliError> {
    let DeleteArgs { name, yes, force, source } = args;
    let force = *force;
    let found = Source::open(source)?.study(name)?;
    let trials: u32 = found.trials.values().sum();
    let what = format!("study `{name}` with {trials} trials and {} epochs", found.epochs);
    if !yes && !confirmed(&what)? {
        say("nothing is deleted");
        return Ok(());
    }
    match Remote::named(source)? {
        Some(remote) => remote.delete(name, force)?,
        None => {
            let event = |study| Event::DeleteStudy { study, force, artifacts: Vec::new() };
            request_offline(&source.database(), name, event).map_err(study::refused)?;
        }
    }
    say(&format!("deleted {what}"));
    next::show(&[next::studies(&next::place(source))]);
    Ok(())
}

/// Asks a person; where there is none, that is an error.
fn confirmed(what: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CliError::Usage {
            message: format!("this would delete {what}, and nobody is there to be asked"),
            help: Some("give --yes if that is meant".into()),
        });
    }
    let mut err = std::io::stderr();
    write!(err, "delete {what}, for good? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// `foldwise study ledger`
pub(super) fn ledger(named: &NamedStudy) -> Result<(), CliError> {
    let source = Source::open(&named.query.source)?;
    let study = source.study(&named.name)?;
    let ledger = source.ledger(&study)?;
    render::print(Answer::Ledger(&ledger), named.query.output.format)?;
    if named.query.output.format == Format::Table {
        say(render::LEDGER_NOTE);
    }
    Ok(())
}

/// `foldwise trial retry`
pub(super) fn retry(args: &SteeredTrial) -> Result<(), CliError> {
    let SteeredTrial { study, number, source } = args;
    let now = match Remote::named(source)? {
        Some(remote) => remote.retry_trial(study, *number)?,
        None => offline(args, |study| Event::RetryTrial { study, trial: *number, found: None })?,
    };
    external::print_now(&now)?;
    say(&format!(
        "trial {} tries the params of trial {number} once more; it counts in budget.trials",
        now.trial
    ));
    next::show(&[next::shown(&next::place(source), study, now.trial)]);
    Ok(())
}

/// `foldwise trial stop`
pub(super) fn stop(args: &SteeredTrial) -> Result<(), CliError> {
    let SteeredTrial { study, number, source } = args;
    let now = match Remote::named(source)? {
        Some(remote) => remote.stop_trial(study, *number)?,
        None => offline(args, |study| Event::StopTrial { study, trial: *number })?,
    };
    external::print_now(&now)?;
    let place = next::place(source);
    next::show(&[next::shown(&place, study, *number), next::retry(&place, study, *number)]);
    Ok(())
}

fn offline(
    args: &SteeredTrial,
    event: impl FnOnce(foldwise_shared::ids::StudyId) -> Event,
) -> Result<TrialNow, CliError> {
    external::trial_now(&args.source, &args.study, event)
}
