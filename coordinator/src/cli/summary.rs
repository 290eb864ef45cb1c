//! What is said at the end of a run: the best trial, how the trials ended, what pruning saved, and what to try next.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{StudyRecord, TrialRecord};
use foldwise_shared::spec::{Objective, StudySpec};
use foldwise_shared::state::TrialState;

use super::next;
use super::render::{account, best_table, counts, span};

/// A run that is over.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a> {
    /// The study's spec.
    pub spec: &'a StudySpec,
    /// The study as it is now.
    pub study: &'a StudyRecord,
    /// All its trials.
    pub trials: &'a [TrialRecord],
    /// What it cost.
    pub ledger: &'a Ledger,
    /// Its database.
    pub database: &'a Path,
    /// How long this run took.
    pub elapsed: Duration,
}

impl Summary<'_> {
    /// The best trial as a table: the answer of a run, for standard output. None if no trial is complete.
    pub fn best(&self) -> Option<String> {
        let best = self.study.best?;
        let trial = self.trials.iter().find(|trial| trial.number == best.number)?;
        Some(best_table(self.study, trial))
    }

    /// How the trials ended, what pruning saved, how long it took: for standard error.
    pub fn account(&self) -> String {
        let mut by_state = BTreeMap::new();
        for trial in self.trials {
            *by_state.entry(trial.state).or_insert(0) += 1;
        }
        let mut text = format!("trials   {}: {}\n", self.trials.len(), counts(&by_state));
        if let Some(saving) = saving(self.spec, self.trials) {
            let Saving { pruned, skipped, planned } = saving;
            let share = 100.0 * skipped as f64 / planned as f64;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "pruning  {pruned} pruned: up to {skipped} of {planned} epochs were not trained ({share:.0} %)"
            );
        }
        let elapsed = span(i64::try_from(self.elapsed.as_millis()).unwrap_or(i64::MAX));
        let _ = writeln!(
            text,
            "time     {elapsed} (the study trained for {} in all), {} epochs recorded",
            span(self.study.running_ms),
            self.study.epochs
        );
        if self.study.epochs > 0 {
            let _ = writeln!(text, "devices  {}", account(self.ledger));
        }
        text
    }

    /// The commands to try next.
    pub fn next(&self) -> String {
        let name = &self.study.name;
        let place = next::database(self.database);
        let mut all = Vec::new();
        let is_search = self.spec.study.objective == Objective::Training && self.spec.fit.is_none();
        if is_search && self.study.best.is_some() {
            all.push(next::fit(&place, name));
        }
        if !is_search && self.study.best.is_some() && self.spec.study.objective != Objective::External {
            all.push(next::report(&place, name));
        }
        if let Some(best) = self.study.best {
            all.push(next::best(&place, name));
            all.push(next::curve(&place, name, best.number));
        }
        all.push(next::trials(&place, name));
        let pruned = self.trials.iter().rfind(|trial| trial.state == TrialState::Pruned);
        if let Some(trial) = pruned {
            all.push(next::explain(&place, name, trial.number));
            all.push(next::replay(&place, name));
        }
        all.push(next::sqlite(self.database, name));
        next::lines(&all)
    }
}

/// What pruning saved, in epochs.
struct Saving {
    pruned: usize,
    skipped: u64,
    planned: u64,
}

/// Without pruning each pruned trial would have cost at most folds * epochs, and the complete ones what they did.
/// "At most", since early stopping might have ended its folds sooner.
fn saving(spec: &StudySpec, trials: &[TrialRecord]) -> Option<Saving> {
    let whole = u64::from(spec.folds()) * u64::from(spec.epochs());
    let trained = |trial: &TrialRecord| trial.folds.iter().map(|fold| u64::from(fold.epochs)).sum::<u64>();
    let in_state = |state| trials.iter().filter(move |trial: &&TrialRecord| trial.state == state);
    let pruned = in_state(TrialState::Pruned).count();
    if pruned == 0 {
        return None;
    }
    let skipped = in_state(TrialState::Pruned).map(|trial| whole.saturating_sub(trained(trial))).sum();
    let complete: u64 = in_state(TrialState::Complete).map(trained).sum();
    let planned = complete + whole * pruned as u64;
    (planned > 0).then_some(Saving { pruned, skipped, planned })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn a_whole_summary() {
        let (spec, study, trials) = (samples::spec(&[]), samples::study(), samples::trials());
        let summary = Summary {
            spec: &spec,
            study: &study,
            trials: &trials,
            ledger: &samples::ledger(),
            database: Path::new("runs/d.db"),
            elapsed: Duration::from_millis(61_400),
        };
        let best = summary.best().expect("a best trial");
        insta::assert_snapshot!(format!("{best}\n\n{}\n{}", summary.account(), summary.next()));
    }

    #[test]
    fn pruning_is_measured_against_what_the_pruned_would_have_cost() {
        let spec = samples::spec(&[]);
        let saving = saving(&spec, &samples::trials()).expect("a trial was pruned");
        // Two complete trials of 24 and 18 epochs; the pruned one trained 8 + 2 of its 3 * 8.
        assert_eq!((saving.pruned, saving.skipped, saving.planned), (1, 14, 24 + 18 + 24));
    }

    #[test]
    fn nothing_complete_is_no_best() {
        let (spec, study) = (samples::spec(&[]), samples::fresh_study());
        let summary = Summary {
            spec: &spec,
            study: &study,
            trials: &[],
            ledger: &Ledger::default(),
            database: Path::new("./foldwise.db"),
            elapsed: Duration::ZERO,
        };
        assert_eq!(summary.best(), None);
        assert_eq!(
            summary.account(),
            "trials   0: -\ntime     0s (the study trained for 0s in all), 0 epochs recorded\n"
        );
        assert!(!summary.next().contains("foldwise best"), "{}", summary.next());
    }
}
