//! `foldwise report`: reads all that a report is made of, and has it made.

use std::collections::BTreeSet;
use std::path::PathBuf;

use foldwise_shared::artifact::{ArtifactRecord, MODEL};
use foldwise_shared::ids::FoldIndex;
use foldwise_shared::record::{StudyRecord, TrialRecord};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::TrialState;

use super::args::{ReportPageArgs, TrialOrder};
use super::error::CliError;
use super::say;
use super::source::Source;
use crate::report::model::{self, File, Model, Run, shown_epochs};
use crate::report::search::{Search, drawn_trials};
use crate::report::{Report, Section, WriteError, write};
use crate::store::TrialSort;

/// What a study is, for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It tries params.
    Search,
    /// It trains a model with given params.
    Fit,
    /// It measures a model.
    Evaluation,
    /// It trains a classifier on a model.
    Transfer,
}

/// `foldwise report`
pub(super) fn execute(args: &ReportPageArgs) -> Result<(), CliError> {
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-report", args.study)));
    // Before anything is read, which may take a while.
    write::check(&folder).map_err(refused)?;
    let source = Source::open(&args.source)?;
    let study = source.study(&args.study)?;
    let mut others: Vec<&String> = args.others.iter().filter(|name| !name.trim().is_empty()).collect();
    others.retain(|name| **name != study.name);
    let others = others.into_iter().map(|name| source.study(name)).collect::<Result<Vec<_>, _>>()?;

    let command = command(args);
    let mut reading =
        Reading { source: &source, seen: BTreeSet::new(), sections: Vec::new(), models: Vec::new() };
    reading.take(&study, Some(&command))?;
    for other in &others {
        if role(other) == Role::Search {
            let name = &other.name;
            return Err(CliError::Usage {
                message: format!(
                    "--with {name}: `{name}` is a search; what stands beside another is a fit or an evaluation"
                ),
                help: Some(format!("`foldwise report {name}` makes a page of its own for it")),
            });
        }
        match role(other) {
            // By itself, also where the fit that it is of shows a newer one.
            Role::Evaluation => reading.evaluation(other)?,
            _ => reading.take(other, None)?,
        }
    }
    let Reading { sections, models, .. } = reading;
    let mut report = Report { title: format!("Foldwise: {}", study.name), sections };
    let mut compared = model::side_by_side(&models);
    compared.extend(models.iter().flat_map(Model::sections));
    report.sections.extend(compared);
    if let Some(first) = report.sections.first_mut()
        && !first.commands.contains(&command)
    {
        first.commands.insert(0, command);
    }
    write::write(&report, &folder).map_err(refused)?;
    say(&format!("{} pictures in {}", report.pictures().count(), folder.join("index.html").display()));
    Ok(())
}

/// The command that makes the page again.
fn command(args: &ReportPageArgs) -> String {
    let mut words = vec!["foldwise".to_owned(), "report".to_owned(), args.study.clone()];
    let mut flag = |name: &str, value: &dyn std::fmt::Display| {
        words.extend([name.to_owned(), quoted(&value.to_string())])
    };
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

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What a study is: its objective says so, and whether it is marked as a fit.
fn role(study: &StudyRecord) -> Role {
    let spec: serde_json::Value = serde_json::from_str(&study.spec).unwrap_or_default();
    match spec["study"]["objective"].as_str() {
        Some("evaluation") => Role::Evaluation,
        Some("transfer") => Role::Transfer,
        _ if spec["fit"].is_object() => Role::Fit,
        _ => Role::Search,
    }
}

/// The digest of the model that an evaluation is of.
fn measured(study: &StudyRecord) -> Option<String> {
    let spec: serde_json::Value = serde_json::from_str(&study.spec).ok()?;
    Some(spec["source"]["model"].as_str()?.to_owned())
}

/// A report while it is read.
struct Reading<'a> {
    source: &'a Source,
    /// Those that are in it already.
    seen: BTreeSet<String>,
    sections: Vec<Section>,
    models: Vec<Model>,
}

impl Reading<'_> {
    /// Takes in a study and all that came from it. `command` is there for the one that was asked for: that one must have
    /// something to show.
    fn take(&mut self, study: &StudyRecord, command: Option<&str>) -> Result<(), CliError> {
        if !self.seen.insert(study.name.clone()) {
            return Ok(());
        }
        let role = role(study);
        if study.best.is_none() {
            return match command {
                Some(_) => Err(unfinished(study)),
                None => Ok(()),
            };
        }
        match role {
            Role::Search => self.search(study, command)?,
            Role::Fit => {
                let fit = self.run(study, &["reconstruction", "range-test"])?;
                let artifacts = self.source.artifacts(study)?;
                let own = artifacts
                    .into_iter()
                    .rfind(|artifact| artifact.kind == MODEL && artifact.trial == fit.trial.number)
                    .map(|artifact| artifact.digest);
                let mut model = Model { name: study.name.clone(), fit: Some(fit), ..Model::default() };
                // Before what came from it.
                let place = self.models.len();
                for child in self.source.children(study)? {
                    self.child(&child, &mut model, own.as_deref())?;
                }
                self.models.insert(place, model);
                return Ok(());
            }
            Role::Evaluation => self.evaluation(study)?,
            Role::Transfer => {
                if study.trials.values().sum::<u32>() > 1 {
                    self.search(study, command)?;
                }
                let run = self.run(study, &TRANSFER)?;
                let mut sections = model::transfer(&run);
                if let Some(first) = sections.first_mut().filter(|_| study.trials.values().sum::<u32>() == 1)
                {
                    first.is_chapter = true;
                }
                self.sections.extend(sections);
            }
        }
        for child in self.source.children(study)? {
            self.take(&child, None)?;
        }
        Ok(())
    }

    /// Takes in an evaluation as a model of its own name.
    fn evaluation(&mut self, study: &StudyRecord) -> Result<(), CliError> {
        self.seen.insert(study.name.clone());
        let evaluation = Some(self.run(study, &EVALUATION)?);
        self.models.push(Model { name: study.name.clone(), evaluation, ..Model::default() });
        Ok(())
    }

    /// Takes in what came from a fit, whose model lies under the digest `own`.
    fn child(&mut self, child: &StudyRecord, model: &mut Model, own: Option<&str>) -> Result<(), CliError> {
        if child.best.is_none() || !self.seen.insert(child.name.clone()) {
            return Ok(());
        }
        match role(child) {
            // One of a model that somebody brought says nothing about the fit's.
            Role::Evaluation if own.is_some_and(|own| measured(child).is_some_and(|other| other != own)) => {
                self.evaluation(child)?;
            }
            Role::Evaluation => model.evaluation = Some(self.run(child, &EVALUATION)?),
            Role::Transfer => model.transfers.push(self.run(child, &TRANSFER)?),
            Role::Search | Role::Fit => {
                self.seen.remove(&child.name);
                self.take(child, None)?;
            }
        }
        Ok(())
    }

    fn search(&mut self, study: &StudyRecord, command: Option<&str>) -> Result<(), CliError> {
        let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
        let mut trials = Vec::new();
        self.source.each_trial(study, |trial| {
            trials.push(trial.clone());
            Ok(())
        })?;
        let (decisions, attempts) = self.source.history(study)?;
        let mut curves = Vec::new();
        let mut drawn = drawn_trials(&trials, study.direction);
        drawn.sort_unstable();
        for number in drawn {
            curves.extend(self.source.curve(study, Some(number), false)?);
        }
        let ledger = self.source.ledger(study)?;
        let prefix = command.map_or_else(|| format!("{}-", study.name), |_| String::new());
        let command = command.map_or_else(String::new, str::to_owned);
        let study = study.clone();
        let search = Search { study, spec, trials, decisions, attempts, curves, ledger, command, prefix };
        self.sections.extend(search.sections());
        // A transfer shows it among its own pictures.
        if role(&search.study) != Role::Transfer {
            let best = self.run(&search.study, &["range-test"])?;
            let range_test = model::range_test(&best);
            if !range_test.is_empty() {
                self.sections.push(range_test);
            }
        }
        Ok(())
    }

    /// The best trial of a study, with its files of these kinds.
    fn run(&self, study: &StudyRecord, kinds: &[&str]) -> Result<Run, CliError> {
        let best = TrialOrder { key: TrialSort::Value, descending: study.direction == BEST_LAST };
        let trial = self.source.trials(study, &[TrialState::Complete], best, Some(1))?;
        let trial: TrialRecord = trial.into_iter().next().ok_or_else(|| unfinished(study))?;
        let mut epochs = self.source.curve(study, Some(trial.number), false)?;
        epochs.retain(|epoch| epoch.fold == FoldIndex(0));
        let artifacts = self.source.artifacts(study)?;
        let wanted: Vec<&ArtifactRecord> = artifacts
            .iter()
            .filter(|artifact| artifact.trial == trial.number && kinds.contains(&artifact.kind.as_str()))
            .collect();
        let of_epochs = wanted.iter().filter(|artifact| artifact.kind == "reconstruction");
        let shown = shown_epochs(of_epochs.filter_map(|artifact| artifact.epoch).collect());
        let mut files = Vec::new();
        for artifact in wanted {
            let is_shown = artifact.epoch.is_some_and(|epoch| shown.contains(&epoch));
            if artifact.kind == "reconstruction" && !is_shown {
                continue;
            }
            let bytes = self.source.artifact(study, &artifact.digest)?;
            files.push(File { kind: artifact.kind.clone(), epoch: artifact.epoch, bytes });
        }
        Ok(Run { study: study.clone(), trial, epochs, files })
    }
}

const EVALUATION: [&str; 3] = ["evaluation", "pictures", "codes"];
const TRANSFER: [&str; 2] = ["transfer", "range-test"];
const BEST_LAST: foldwise_shared::state::Direction = foldwise_shared::state::Direction::Maximize;

/// There is nothing to report yet.
fn unfinished(study: &StudyRecord) -> CliError {
    let name = &study.name;
    let counts: Vec<String> = study.trials.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let counts = match counts.as_slice() {
        [] => "it has no trial yet".to_owned(),
        counts => format!("its trials: {}", counts.join(", ")),
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
        WriteError::Foreign { .. } | WriteError::Mixed { .. } => CliError::Usage {
            message: error.to_string(),
            help: Some(
                "--out DIR names another folder; only a report, with nothing else beside it, is written over"
                    .into(),
            ),
        },
        error => CliError::Happened { message: error.to_string(), help: None },
    }
}
