//! The threshold pruner: a trial whose value leaves fixed bounds is pruned.

use foldwise_shared::decision::Decision;
use foldwise_shared::state::{Rule, Skip};

use super::{Look, Schedule, Standing, Verdict};

/// The rule of Optuna's `ThresholdPruner`, in every fold: the value of the epoch itself, not the best so far; NaN is
/// outside all bounds. What is better plays no part.
#[derive(Debug, Clone)]
pub(super) struct Threshold {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    pub schedule: Schedule,
}

impl Threshold {
    pub fn epoch(&self, trial: &Standing) -> Verdict {
        if !trial.judged || !self.schedule.is_due(trial.curve) {
            return Verdict::Skipped(Skip::NotDue);
        }
        let own = trial.curve.last().copied().flatten().filter(|value| !value.is_nan());
        let Some(value) = own else {
            let decision = Decision::new(Rule::Threshold, None, None);
            return Verdict::Looked(Look { decision, prune: true });
        };
        let below = self.lower.filter(|lower| value < *lower);
        let above = self.upper.filter(|upper| value > *upper);
        let bound = below.or(above).or_else(|| self.nearest(value));
        let decision = Decision::new(Rule::Threshold, own, bound);
        Verdict::Looked(Look { decision, prune: below.or(above).is_some() })
    }

    /// The bound that a value within them is nearest to.
    fn nearest(&self, value: f64) -> Option<f64> {
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) if value - lower < upper - value => Some(lower),
            (lower, upper) => upper.or(lower),
        }
    }
}
