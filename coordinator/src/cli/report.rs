//! `foldwise report`: reads all that a report is made of, and has it made.

use std::path::PathBuf;

use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::TrialState;

use super::args::ReportPageArgs;
use super::error::CliError;
use super::say;
use super::source::Source;
use crate::report::search::{Search, drawn_trials};
use crate::report::{Report, WriteError, write};

/// `foldwise report`
pub(super) fn execute(args: &ReportPageArgs) -> Result<(), CliError> {
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-report", args.study)));
    // Before anything is read, which may take a while.
    write::check(&folder).map_err(refused)?;
    let source = Source::open(&args.source)?;
    let study = source.study(&args.study)?;
    let mut report = Report { title: format!("Foldwise: {}", study.name), sections: Vec::new() };
    report.sections.extend(search(&source, &study, command(args))?.sections());
    write::write(&report, &folder).map_err(refused)?;
    say(&format!("{} pictures in {}", report.pictures().count(), folder.join("index.html").display()));
    Ok(())
}

/// The command that makes the page again.
fn command(args: &ReportPageArgs) -> String {
    let mut words = vec!["foldwise".to_owned(), "report".to_owned(), args.study.clone()];
    let mut flag =
        |name: &str, value: &dyn std::fmt::Display| words.extend([name.to_owned(), value.to_string()]);
    match &args.source.coordinator {
        Some(url) => flag("--coordinator", url),
        None => flag("--db", &args.source.database().display()),
    }
    if let Some(out) = &args.out {
        flag("--out", &out.display());
    }
    args.others.iter().for_each(|other| flag("--with", other));
    words.join(" ")
}

fn search(source: &Source, study: &StudyRecord, command: String) -> Result<Search, CliError> {
    let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let mut trials = Vec::new();
    source.each_trial(study, |trial| {
        trials.push(trial.clone());
        Ok(())
    })?;
    if !trials.iter().any(|trial| trial.state == TrialState::Complete) {
        return Err(unfinished(study));
    }
    let (decisions, attempts) = source.history(study)?;
    let mut curves = Vec::new();
    let mut drawn = drawn_trials(&trials, study.direction);
    drawn.sort_unstable();
    for number in drawn {
        curves.extend(source.curve(study, Some(number), false)?);
    }
    let ledger = source.ledger(study)?;
    Ok(Search { study: study.clone(), spec, trials, decisions, attempts, curves, ledger, command })
}

/// There is nothing to report yet.
fn unfinished(study: &StudyRecord) -> CliError {
    let name = &study.name;
    let counts: Vec<String> = study.trials.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let counts = if counts.is_empty() {
        "it has no trial yet".to_owned()
    } else {
        format!("its trials: {}", counts.join(", "))
    };
    CliError::Usage {
        message: format!("study `{name}` has no complete trial to report; {counts}"),
        help: Some(format!(
            "`foldwise resume {name}` goes on with it, `foldwise watch {name}` shows how far it is, and \
             `foldwise trial list {name}` why trials failed"
        )),
    }
}

fn refused(error: WriteError) -> CliError {
    match error {
        WriteError::Foreign { .. } => CliError::Usage {
            message: error.to_string(),
            help: Some("--out DIR names another folder; only a report is written over".into()),
        },
        error => CliError::Happened { message: error.to_string(), help: None },
    }
}
