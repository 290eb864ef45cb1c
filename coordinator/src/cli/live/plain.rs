//! The progress as lines, for a log file or a pipe.

use foldwise_shared::record::StudyEvent;
use foldwise_shared::value::{Params, short};

use super::view::View;

/// The line at the start.
pub(super) fn opening(view: &View) -> String {
    let workers: Vec<&str> = view.workers().map(|(name, _)| name).collect();
    let workers =
        if workers.is_empty() { String::new() } else { format!(", workers {}", workers.join(", ")) };
    format!("study {}: {}{workers}", view.study, view.progress())
}

/// The line about an event, if it is worth one.
pub(super) fn line(view: &View, event: &StudyEvent, verbose: bool) -> Option<String> {
    Some(match event {
        StudyEvent::TrialCreated { trial, params } if params.is_empty() => format!("trial {trial} begins"),
        StudyEvent::TrialCreated { trial, params } => format!("trial {trial}: {}", words(params)),
        StudyEvent::AttemptStarted { trial, fold, attempt, worker, device } if verbose => {
            format!("trial {trial} fold {fold}: attempt {attempt} on {worker} ({device})")
        }
        StudyEvent::Epoch { record, .. } if verbose => {
            let loss = record.validation_loss.map_or_else(|| "diverged".to_owned(), short);
            let seconds = record.seconds.map(|seconds| format!(" ({seconds:.1} s)")).unwrap_or_default();
            format!("trial {} fold {} epoch {}: {loss}{seconds}", record.trial, record.fold, record.epoch)
        }
        StudyEvent::PhaseBegan { trial, fold, name, .. } if verbose => {
            format!("trial {trial} fold {fold}: {name}")
        }
        StudyEvent::AttemptStarted { .. } | StudyEvent::Epoch { .. } | StudyEvent::PhaseBegan { .. } => {
            return None;
        }
        StudyEvent::AttemptStopped { trial, fold, worker } if verbose => {
            format!("trial {trial} fold {fold}: stopped on {worker}")
        }
        StudyEvent::AttemptStopped { .. } => return None,
        StudyEvent::AttemptFailed { trial, fold, attempt, worker, class, message } => {
            let message = if message.is_empty() { String::new() } else { format!(": {message}") };
            format!("trial {trial} fold {fold}: attempt {attempt} on {worker} failed, {class}{message}")
        }
        StudyEvent::FoldFinished { trial, fold, value, epochs, .. } => {
            let plural = if *epochs == 1 { "" } else { "s" };
            format!("trial {trial} fold {fold}: {} after {epochs} epoch{plural}", short(*value))
        }
        StudyEvent::TrialFinished { trial, state, value, reason } => match value {
            Some(value) => format!("trial {trial}: {state}, value {}", short(*value)),
            None => format!("trial {trial}: {state}, {reason}"),
        },
        StudyEvent::StudyChanged { state, message } => {
            let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            format!("study {}: {state}{message}", view.study)
        }
    })
}

fn words(params: &Params) -> String {
    params.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use foldwise_shared::state::TrialState;

    use super::*;
    use crate::cli::samples;

    fn lines(verbose: bool) -> String {
        let mut view = View::new(&samples::live());
        let events = [
            samples::created(5),
            samples::started(5, 0, "w0"),
            samples::epoch_event(5, 0, 1, Some(0.0712), "w0"),
            samples::failed(5, 0, "w0"),
            samples::epoch_event(5, 0, 2, None, "w1"),
            samples::fold_finished(5, 0, "w1", 0.0512),
            samples::trial_finished(5, TrialState::Pruned, None),
            samples::trial_finished(6, TrialState::Complete, Some(0.05)),
            samples::ended(),
        ];
        let mut text = opening(&view);
        for event in &events {
            if let Some(line) = line(&view, event, verbose) {
                text.push('\n');
                text.push_str(&line);
            }
            view.on_event(event);
        }
        text
    }

    #[test]
    fn folds_and_trials_have_a_line() {
        insta::assert_snapshot!(lines(false));
    }

    #[test]
    fn verbose_has_epochs_too() {
        insta::assert_snapshot!(lines(true));
    }
}
