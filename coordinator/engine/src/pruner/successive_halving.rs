//! Successive halving without waiting (ASHA): at each rung of a ladder a trial lives on if it is among the best of those
//! that have come there so far. Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020.

use std::collections::BTreeMap;

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::state::{Direction, Rule, Skip};

use super::sorted::Sorted;
use super::{Look, Standing, Verdict};

/// Where the rungs of a ladder are, and who may climb on.
///
/// The resource of an epoch is its place in the folds of a trial laid end to end: epoch e of fold f is resource
/// f * `epochs` + e. Rung r is at `min_resource` * `factor`^(`rate` + r), so that a trial climbs one ladder through its
/// folds and not one in each. A rung is one epoch of one fold, and only trials that came to that very place compete there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ladder {
    pub rule: Rule,
    pub bracket: Option<u32>,
    /// Epochs of a fold at most.
    pub epochs: u32,
    /// Epochs of all folds at most. There is no rung at the very last: nothing would be saved.
    pub whole: u32,
    pub min_resource: u32,
    pub factor: u32,
    pub rate: u32,
    /// The first trials at a rung, this many, only fill it and are pruned.
    pub bootstrap: u32,
    pub direction: Direction,
}

/// A ladder and those on it. With one fold its decisions are those of Optuna's `SuccessiveHalvingPruner`, but for the rung at
/// the very last epoch, which Optuna has: the value at the rung itself, against that of all trials in any state that
/// have come there; ties live on.
///
/// A trial is at its next rung only when it has come to all before, in whatever order its folds report: what a fold that
/// runs ahead has to show waits until then. A fold that ends before its rung (by early stopping) competes with its last
/// value, unless it is the last fold. Where a trial waits to get no better (`patience`), it comes to a rung at the first epoch from there on at which
/// it may be judged, with the value it has then.
#[derive(Debug, Clone)]
pub(super) struct SuccessiveHalving {
    ladder: Ladder,
    rungs: Vec<Rung>,
    trials: BTreeMap<TrialNumber, Climb>,
}

/// An epoch of a fold, and who has come there.
#[derive(Debug, Clone)]
struct Rung {
    fold: FoldIndex,
    epoch: u32,
    values: Sorted,
}

/// How far a trial is. All of it follows from the trial's curves and, if it was pruned, from where.
#[derive(Debug, Clone, Default)]
struct Climb {
    /// What it has to show, rung by rung; those that it has not come to may be there already.
    values: Vec<Option<f64>>,
    /// How many rungs it has come to, and is among the values of.
    reached: usize,
    /// It was pruned: what still comes in of it counts for nobody.
    pruned: bool,
}

impl SuccessiveHalving {
    pub fn new(ladder: Ladder) -> Self {
        let (epochs, factor) = (u64::from(ladder.epochs.max(1)), u64::from(ladder.factor.max(2)));
        let first = factor
            .checked_pow(ladder.rate)
            .and_then(|power| u64::from(ladder.min_resource.max(1)).checked_mul(power));
        let resources = std::iter::successors(first, |resource| resource.checked_mul(factor));
        let rung = |resource: u64| Rung {
            fold: FoldIndex(((resource - 1) / epochs) as u32),
            epoch: ((resource - 1) % epochs) as u32 + 1,
            values: Sorted::default(),
        };
        let rungs = resources.take_while(|resource| *resource < u64::from(ladder.whole)).map(rung).collect();
        Self { ladder, rungs, trials: BTreeMap::new() }
    }

    /// A fold is trained (again) from its start: the trial has come to no rung of it nor, so, to any behind those.
    pub fn start(&mut self, number: TrialNumber, fold: FoldIndex) {
        let Some(first) = self.rungs.iter().position(|rung| rung.fold == fold) else { return };
        self.step_down(number, first);
        if let Some(climb) = self.trials.get_mut(&number) {
            for (value, rung) in climb.values.iter_mut().zip(&self.rungs) {
                if rung.fold == fold {
                    *value = None;
                }
            }
        }
    }

    /// `may_be_judged`: its patience is at its end, or it has none.
    pub fn epoch(&mut self, trial: &Standing, may_be_judged: bool) -> Verdict {
        if !may_be_judged {
            return Verdict::Skipped(Skip::Improving);
        }
        if trial.curve.last().copied().flatten().is_none() {
            return Verdict::Skipped(Skip::NotDue);
        }
        let epochs = trial.curve.len() as u32;
        self.show(trial, |rung| rung.epoch <= epochs)
    }

    /// After the last of the folds there is nothing to go on to, so nobody has to come to a rung there that early stopping
    /// left out.
    pub fn fold_end(&mut self, trial: &Standing) -> Verdict {
        let end = u64::from(self.ladder.epochs).saturating_mul(u64::from(trial.fold.0) + 1);
        if end >= u64::from(self.ladder.whole) {
            return Verdict::Skipped(Skip::NotDue);
        }
        self.show(trial, |_| true)
    }

    /// The trial has its last value to show at these rungs of its fold, and climbs as far as it can.
    fn show(&mut self, trial: &Standing, at: impl Fn(&Rung) -> bool) -> Verdict {
        let Some(last) = trial.curve.iter().rev().flatten().next() else {
            return Verdict::Skipped(Skip::NotDue);
        };
        let climb = self.trials.entry(trial.number).or_default();
        climb.values.resize(self.rungs.len(), None);
        for (value, rung) in climb.values.iter_mut().zip(&self.rungs) {
            if rung.fold == trial.fold && value.is_none() && at(rung) {
                *value = Some(*last);
            }
        }
        let mut verdict = Verdict::Skipped(Skip::NotDue);
        while !climb.pruned
            && let Some(Some(value)) = climb.values.get(climb.reached).copied()
        {
            let Some(rung) = self.rungs.get_mut(climb.reached) else { break };
            let mut decision = Decision {
                bracket: self.ladder.bracket,
                rung: Some(climb.reached as u32),
                ..Decision::new(self.ladder.rule, Some(value), None)
            };
            let prune = if value.is_nan() {
                decision.own = None;
                decision.peers = rung.values.count();
                true
            } else {
                rung.values.insert(trial.number, value);
                climb.reached += 1;
                self.ladder.judge(value, &mut rung.values, &mut decision)
            };
            if trial.judged {
                climb.pruned = prune;
                verdict = Verdict::Looked(Look { decision, prune });
            } else if value.is_nan() {
                break;
            }
        }
        verdict
    }

    /// After a restart: this trial was pruned at a rung, and came to none behind it.
    pub fn settle(&mut self, number: TrialNumber, rung: u32) {
        self.step_down(number, rung as usize + 1);
        if let Some(climb) = self.trials.get_mut(&number) {
            climb.pruned = true;
        }
    }

    /// Leaves a trial on its first rungs only, this many.
    fn step_down(&mut self, number: TrialNumber, keep: usize) {
        let Some(climb) = self.trials.get_mut(&number) else { return };
        for index in keep..climb.reached {
            if let (Some(rung), Some(Some(value))) = (self.rungs.get_mut(index), climb.values.get(index)) {
                rung.values.remove(number, *value);
            }
        }
        climb.reached = climb.reached.min(keep);
    }

    /// Those that have come to a rung besides a trial.
    pub fn others_at(&mut self, number: TrialNumber, rung: u32) -> Vec<(TrialNumber, Option<f64>)> {
        self.rungs.get_mut(rung as usize).map(|rung| rung.values.others(number)).unwrap_or_default()
    }
}

impl Ladder {
    /// Whether a value, which is among those at the rung, is to be pruned; adds to the decision what it was compared with.
    fn judge(&self, own: f64, values: &mut Sorted, decision: &mut Decision) -> bool {
        let count = values.count();
        decision.peers = count.saturating_sub(1);
        if count <= self.bootstrap {
            decision.kept = Some(0);
            return true;
        }
        let kept = (count / self.factor.max(1)).max(1);
        decision.kept = Some(kept);
        decision.threshold = values.nth_best(self.direction, kept as usize - 1);
        decision.threshold.is_some_and(|threshold| self.direction.is_better(threshold, own))
    }
}
