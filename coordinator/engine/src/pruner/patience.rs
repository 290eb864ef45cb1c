//! The patience pruner: a trial whose fold has got no better for a while is pruned. By itself, or as a condition for
//! any other rule that judges epochs.

use foldwise_shared::decision::Decision;
use foldwise_shared::state::{Direction, Rule, Skip};

use super::{Look, Standing, Verdict, best};

/// The rule of Optuna's `PatientPruner`, in every fold: the best of its last `patience` + 1 reports is worse, by more than
/// `min_delta`, than the best of all before. NaN is left out on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Patience {
    pub patience: u32,
    pub min_delta: f64,
    pub direction: Direction,
}

impl Patience {
    pub fn epoch(&self, trial: &Standing) -> Verdict {
        if !trial.judged {
            return Verdict::Skipped(Skip::NotDue);
        }
        let Some((own, threshold)) = self.last_and_before(trial.curve) else {
            return Verdict::Skipped(Skip::NotDue);
        };
        let mut decision = Decision::new(Rule::Patience, Some(own), Some(threshold));
        decision.patience = Some(self.patience);
        Verdict::Looked(Look { decision, prune: self.direction.is_better(threshold, own) })
    }

    /// Whether a fold has got no better, so that another rule may judge it.
    pub fn is_exhausted(&self, curve: &[Option<f64>]) -> bool {
        self.last_and_before(curve).is_some_and(|(own, threshold)| self.direction.is_better(threshold, own))
    }

    /// The best of the last reports, and the best before with the margin added to it; none if there are too few.
    fn last_and_before(&self, curve: &[Option<f64>]) -> Option<(f64, f64)> {
        let mut reports = curve.iter().rev().flatten().copied();
        let last = best(self.direction, reports.by_ref().take(self.patience as usize + 1));
        let before = best(self.direction, reports);
        let margin = match self.direction {
            Direction::Minimize => self.min_delta,
            Direction::Maximize => -self.min_delta,
        };
        Some((last?, before? + margin))
    }
}
