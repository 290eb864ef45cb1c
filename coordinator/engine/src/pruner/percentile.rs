//! The percentile pruner: a trial that is strictly worse than a percentile of its peers is pruned. The median is
//! the 50th percentile.

use std::collections::BTreeMap;

use foldwise_shared::ids::FoldIndex;
use foldwise_shared::state::Direction;

use super::Decision;
use super::peers::{Peers, Sorted, mean};

/// The rule of Optuna's `PercentilePruner`, fold by fold, and the same percentile for the means of folds.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentile {
    /// The share of the peers, in percent from the best, within which a trial lives on.
    pub percentile: f64,
    /// Nothing is judged before this many trials have completed the fold, or all the folds, in question.
    pub startup_trials: u32,
    /// Epochs at the start of a fold that are not judged.
    pub warmup_epochs: u32,
    /// After the warm-up the first epoch with a value of every so many is judged; 0 counts as 1.
    pub interval_epochs: u32,
    /// How many peers must have a value there.
    pub min_peers: u32,
    /// What is better.
    pub direction: Direction,
}

impl Percentile {
    pub(super) fn judge_epoch(
        &self,
        peers: &Peers,
        fold: FoldIndex,
        curve: &[Option<f64>],
    ) -> Option<Decision> {
        if peers.complete(fold) < self.startup_trials || !self.is_due(curve) {
            return None;
        }
        let best = curve.iter().flatten().copied().filter(|value| value.is_finite());
        let best =
            best.reduce(|best, value| if self.direction.is_better(value, best) { value } else { best })?;
        self.compare("median", best, peers.at(fold, curve.len() - 1)?)
    }

    pub(super) fn judge_folds(&self, peers: &mut Peers, own: &[(FoldIndex, f64)]) -> Option<Decision> {
        let own: BTreeMap<FoldIndex, f64> = own.iter().copied().collect();
        let mean = mean(own.values().copied())?;
        let means = peers.means(own.into_keys().collect());
        if means.count() < self.startup_trials {
            return None;
        }
        self.compare("median-of-folds", mean, means)
    }

    /// Whether the last epoch of `curve` is the first with a value in its interval after the warm-up.
    fn is_due(&self, curve: &[Option<f64>]) -> bool {
        let Some((Some(_), before)) = curve.split_last() else { return false };
        let Some(since_warmup) = before.len().checked_sub(self.warmup_epochs as usize) else { return false };
        let in_interval = since_warmup % self.interval_epochs.max(1) as usize;
        before.iter().rev().take(in_interval).all(Option::is_none)
    }

    fn compare(&self, rule: &'static str, own: f64, peers: &Sorted) -> Option<Decision> {
        if peers.count() < self.min_peers {
            return None;
        }
        let percentile = match self.direction {
            Direction::Minimize => self.percentile,
            Direction::Maximize => 100.0 - self.percentile,
        };
        let threshold = peers.percentile(percentile)?;
        let peers = peers.count();
        self.direction.is_better(threshold, own).then_some(Decision {
            rule,
            own,
            threshold,
            peers,
            percentile,
        })
    }
}
