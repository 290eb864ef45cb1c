//! The percentile pruner: a trial that is strictly worse than a percentile of its peers is pruned. The median is
//! the 50th percentile; `paired` takes the trial's finished folds into account.

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::state::{Direction, Rule, Skip};

use super::peers::{Peers, mean};
use super::sorted::Sorted;
use super::{Look, Schedule, Standing, Verdict, best};

/// What is compared within a fold, and what the rules are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The fold alone.
    Median,
    /// The fold alone.
    Percentile,
    /// The mean of the values of the trial's finished folds and of the fold.
    Paired,
}

/// The rule of Optuna's `PercentilePruner`, fold by fold, and the same percentile for the means of finished folds. With
/// one fold its decisions are exactly Optuna's.
///
/// A peer of a fold is a trial that has completed it, whatever became of the trial later; of `paired`, one that has
/// completed all the folds in question. A NaN counts as a report, but has no place in the percentile.
#[derive(Debug, Clone)]
pub(super) struct Percentile {
    pub evidence: Evidence,
    /// The share of the peers, in percent from the best, within which a trial lives on.
    pub percentile: f64,
    /// Nothing is judged before this many trials have completed the fold, or all the folds, in question.
    pub startup_trials: u32,
    pub schedule: Schedule,
    /// How many peers must have a report there.
    pub min_peers: u32,
    pub direction: Direction,
    pub peers: Peers,
}

impl Percentile {
    pub fn epoch(&mut self, trial: &Standing) -> Verdict {
        if !trial.judged || !self.schedule.is_due(trial.curve) {
            return Verdict::Skipped(Skip::NotDue);
        }
        let (settings, (rule, _)) = (self.settings(), self.rules());
        let (others, values) = self.others(trial);
        let peers = self.peers.with(trial.fold, others);
        if peers.complete < settings.startup_trials.max(1) {
            return Verdict::Skipped(Skip::FewTrials);
        }
        let own = best(settings.direction, trial.curve.iter().flatten().copied());
        let mut none = Sorted::default();
        let peers = peers.epochs.get_mut(trial.curve.len() - 1).unwrap_or(&mut none);
        compare(settings, rule, own.map(|best| mean(&values, best)), peers)
    }

    /// To be judged before it becomes a peer, so that a trial is not compared with itself.
    pub fn fold_end(&mut self, trial: &Standing) -> Verdict {
        let verdict = self.judge_fold_end(trial);
        if let Some(value) = trial.value_of(trial.fold) {
            self.peers.add_fold(trial.number, trial.fold, trial.curve, value);
        }
        verdict
    }

    fn judge_fold_end(&mut self, trial: &Standing) -> Verdict {
        if !trial.judged {
            return Verdict::Skipped(Skip::NotDue);
        }
        let (folds, values): (Vec<FoldIndex>, Vec<f64>) = trial.finished.iter().copied().unzip();
        let Some((last, first)) = values.split_last() else { return Verdict::Skipped(Skip::NotDue) };
        let own = mean(first, *last);
        if !own.is_finite() {
            return Verdict::Skipped(Skip::NoNumber);
        }
        let (settings, (_, rule)) = (self.settings(), self.rules());
        let means = self.peers.means(folds);
        if means.count() < settings.startup_trials {
            return Verdict::Skipped(Skip::FewTrials);
        }
        compare(settings, rule, Some(own), means)
    }

    /// Those that it is compared with, after an epoch or after a fold.
    pub fn others_at(&mut self, trial: &Standing, epoch: bool) -> Vec<(TrialNumber, Option<f64>)> {
        if epoch {
            let (others, _) = self.others(trial);
            let peers =
                self.peers.with(trial.fold, others).epochs.get_mut(trial.curve.len().saturating_sub(1));
            peers.map(|peers| peers.others(trial.number)).unwrap_or_default()
        } else {
            let folds = trial.finished.iter().map(|(fold, _)| *fold).collect();
            self.peers.means(folds).others(trial.number)
        }
    }

    /// The finished folds besides the one in question that count, and the trial's values of them.
    fn others(&self, trial: &Standing) -> (Vec<FoldIndex>, Vec<f64>) {
        let paired = self.evidence == Evidence::Paired;
        trial.finished.iter().copied().filter(|(fold, _)| paired && *fold != trial.fold).unzip()
    }

    fn rules(&self) -> (Rule, Rule) {
        match self.evidence {
            Evidence::Median => (Rule::Median, Rule::MedianOfFolds),
            Evidence::Percentile => (Rule::Percentile, Rule::PercentileOfFolds),
            Evidence::Paired => (Rule::Paired, Rule::PairedOfFolds),
        }
    }

    fn settings(&self) -> Settings {
        let Self { percentile, startup_trials, min_peers, direction, .. } = *self;
        Settings { percentile, startup_trials, min_peers, direction }
    }
}

/// What of the pruner a comparison needs.
#[derive(Clone, Copy)]
struct Settings {
    percentile: f64,
    startup_trials: u32,
    min_peers: u32,
    direction: Direction,
}

fn compare(settings: Settings, rule: Rule, own: Option<f64>, peers: &mut Sorted) -> Verdict {
    let mut decision = Decision { peers: peers.count(), ..Decision::new(rule, own, None) };
    let Some(own) = own else { return Verdict::Looked(Look { decision, prune: true }) };
    if peers.reports() < settings.min_peers {
        return Verdict::Skipped(Skip::FewPeers);
    }
    let percentile = match settings.direction {
        Direction::Minimize => settings.percentile,
        Direction::Maximize => 100.0 - settings.percentile,
    };
    let Some(threshold) = peers.percentile(percentile) else { return Verdict::Skipped(Skip::NoNumber) };
    decision.threshold = Some(threshold);
    decision.percentile = Some(percentile);
    Verdict::Looked(Look { decision, prune: settings.direction.is_better(threshold, own) })
}
