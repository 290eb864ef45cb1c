//! Pruners: who stops a trial early. Each judges a trial by the [`Peers`] of one study and remembers nothing.

mod peers;
mod percentile;

#[cfg(test)]
mod tests;

use foldwise_shared::ids::FoldIndex;
use foldwise_shared::spec::{PrunerKind, StudySpec};

pub use self::peers::Peers;
pub use self::percentile::Percentile;

/// Why a trial is pruned.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The rule: "median" (within a fold) or "median-of-folds" (after a fold).
    pub rule: &'static str,
    /// The trial's own number.
    pub own: f64,
    /// The number it had to reach.
    pub threshold: f64,
    /// How many trials it was compared with.
    pub peers: u32,
    /// The percentile of theirs that is the threshold.
    pub percentile: f64,
}

/// The pruner of a study.
#[derive(Debug, Clone, PartialEq)]
pub enum Pruner {
    /// Every trial is trained to its end.
    None,
    /// Stop a trial that is worse than a percentile of its peers.
    Percentile(Percentile),
}

impl Pruner {
    /// The pruner that a study file asks for; a spec that was parsed has every setting of it.
    pub fn from_spec(spec: &StudySpec) -> Self {
        let settings = &spec.pruner;
        match settings.kind {
            PrunerKind::None => Self::None,
            PrunerKind::Median => Self::Percentile(Percentile {
                percentile: 50.0,
                startup_trials: settings.startup_trials.unwrap_or_default(),
                warmup_epochs: settings.warmup_epochs.unwrap_or_default(),
                interval_epochs: settings.interval_epochs.unwrap_or_default(),
                min_peers: settings.min_peers.unwrap_or_default(),
                direction: spec.study.direction,
            }),
        }
    }

    /// After an epoch of a running fold: `curve` is this fold's own validation loss so far, epoch 1 first, none
    /// where it is missing or not finite; its last entry is the epoch to judge. Some if the trial is to be pruned.
    pub fn judge_epoch(&self, peers: &Peers, fold: FoldIndex, curve: &[Option<f64>]) -> Option<Decision> {
        match self {
            Self::None => None,
            Self::Percentile(rule) => rule.judge_epoch(peers, fold, curve),
        }
    }

    /// After a fold finished while others of the trial are not: `own` are the values of the trial's finished folds.
    /// To be asked before the fold is added to the peers, so that a trial is not compared with itself.
    pub fn judge_folds(&self, peers: &mut Peers, own: &[(FoldIndex, f64)]) -> Option<Decision> {
        match self {
            Self::None => None,
            Self::Percentile(rule) => rule.judge_folds(peers, own),
        }
    }
}
