//! Pruners: who stops a trial early. A [`Pruner`] is told what the trials of one study reach, and judges them by it.
//!
//! Invariant: what a pruner knows follows from the curves and the finished folds of the trials and from who was pruned
//! at which rung, whatever the order; so that it can be rebuilt after a restart.

mod peers;
mod sorted;

mod percentile;

mod hyperband;
mod successive_halving;

mod patience;
mod threshold;

mod sequential;
mod student;

#[cfg(test)]
mod tests;

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::spec::{PrunerKind, StudySpec};
use foldwise_shared::state::{Direction, Rule, Skip};

use self::hyperband::Hyperband;
use self::patience::Patience;
use self::peers::Peers;
use self::percentile::{Evidence, Percentile};
use self::sequential::Sequential;
use self::successive_halving::{Ladder, SuccessiveHalving};
use self::threshold::Threshold;

/// A trial as it stands when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Its number.
    pub number: TrialNumber,
    /// The fold that reported an epoch or finished.
    pub fold: FoldIndex,
    /// That fold's validation loss by epoch, epoch 1 first; none where an epoch is missing, NaN where that was reported.
    pub curve: &'a [Option<f64>],
    /// The values of its finished folds, in the order of the folds.
    pub finished: &'a [(FoldIndex, f64)],
    /// False once its end is decided: what still comes in counts for others, but is not judged.
    pub judged: bool,
}

impl Standing<'_> {
    fn value_of(&self, fold: FoldIndex) -> Option<f64> {
        self.finished.iter().find(|(finished, _)| *finished == fold).map(|(_, value)| *value)
    }
}

/// What a pruner saw when it looked at a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// The numbers.
    pub decision: Decision,
    /// Whether the trial is to be pruned.
    pub prune: bool,
}

/// What comes of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The trial was not judged.
    Skipped(Skip),
    /// It was; of several rungs at once, this is the last.
    Looked(Look),
}

impl Verdict {
    /// The decision, if the trial is to be pruned.
    pub fn prune(self) -> Option<Decision> {
        match self {
            Self::Looked(Look { decision, prune: true }) => Some(decision),
            _ => None,
        }
    }
}

/// A fold of a trial as it is found after a restart.
#[derive(Debug, Clone, Copy)]
pub struct FoundFold<'a> {
    /// Its curve, as in [`Standing::curve`].
    pub curve: &'a [Option<f64>],
    /// Its value, if it is finished.
    pub value: Option<f64>,
}

/// The pruner of a study, with all it has to know of the study's trials.
#[derive(Debug, Clone)]
pub struct Pruner {
    rule: Kind,
    /// A condition for the rule to judge an epoch.
    patience: Option<Patience>,
}

#[derive(Debug, Clone)]
enum Kind {
    None,
    Percentile(Percentile),
    SuccessiveHalving(SuccessiveHalving),
    Hyperband(Hyperband),
    Threshold(Threshold),
    Patience(Patience),
    Sequential(Sequential),
}

impl Pruner {
    /// The pruner that a study file asks for; a spec that was parsed has every setting of it.
    pub fn from_spec(spec: &StudySpec) -> Self {
        let (settings, direction) = (&spec.pruner, spec.study.direction);
        let folds = spec.scheme().folds();
        let schedule = Schedule {
            warmup_epochs: settings.warmup_epochs.unwrap_or_default(),
            interval_epochs: settings.interval_epochs.unwrap_or_default(),
        };
        let percentile = |evidence, percentile: Option<f64>| {
            Kind::Percentile(Percentile {
                evidence,
                percentile: percentile.unwrap_or(50.0),
                startup_trials: settings.startup_trials.unwrap_or_default(),
                schedule,
                min_peers: settings.min_peers.unwrap_or_default(),
                direction,
                peers: Peers::new(folds, evidence == Evidence::Paired),
            })
        };
        let ladder = |rule| Ladder {
            rule,
            bracket: None,
            epochs: spec.epochs(),
            whole: spec.whole_epochs(),
            min_resource: settings.min_resource.unwrap_or_default(),
            factor: settings.reduction_factor.unwrap_or_default(),
            rate: settings.min_early_stopping_rate.unwrap_or_default(),
            bootstrap: settings.bootstrap_trials.unwrap_or_default(),
            direction,
        };
        let patience = settings.patience.map(|patience| Patience {
            patience,
            min_delta: settings.min_delta.unwrap_or_default(),
            direction,
        });
        let rule = match (settings.kind, patience) {
            (PrunerKind::Patience, Some(patience)) => {
                return Self { rule: Kind::Patience(patience), patience: None };
            }
            (PrunerKind::None | PrunerKind::Patience, _) => Kind::None,
            (PrunerKind::Median, _) => percentile(Evidence::Median, None),
            (PrunerKind::Percentile, _) => percentile(Evidence::Percentile, settings.percentile),
            (PrunerKind::Paired, _) => percentile(Evidence::Paired, settings.percentile),
            (PrunerKind::SuccessiveHalving, _) => {
                Kind::SuccessiveHalving(SuccessiveHalving::new(ladder(Rule::SuccessiveHalving)))
            }
            (PrunerKind::Hyperband, _) => Kind::Hyperband(Hyperband::new(
                ladder(Rule::Hyperband),
                settings.max_resource.unwrap_or_else(|| spec.whole_epochs()),
                spec.study.seed,
            )),
            (PrunerKind::Threshold, _) => {
                Kind::Threshold(Threshold { lower: settings.lower, upper: settings.upper, schedule })
            }
            (PrunerKind::Sequential, _) => Kind::Sequential(Sequential::new(
                settings.alpha.unwrap_or_default(),
                settings.startup_trials.unwrap_or_default(),
                folds,
                direction,
            )),
        };
        Self { rule, patience }
    }

    /// Whether every trial is trained to its end.
    pub fn is_none(&self) -> bool {
        matches!(self.rule, Kind::None)
    }

    /// A fold is trained, perhaps again, and goes on after the epochs of its curve; what it reached beyond them is gone.
    pub fn start(&mut self, trial: &Standing) {
        let Some(ladder) = self.ladder(trial.number) else { return };
        ladder.start(trial.number, trial.fold);
        self.walk(Standing { judged: false, ..*trial });
    }

    /// Tells of the epochs of a curve one after the other.
    fn walk(&mut self, trial: Standing) {
        for end in 1..=trial.curve.len() {
            self.epoch(&Standing { curve: trial.curve.get(..end).unwrap_or_default(), ..trial });
        }
    }

    /// After an epoch of a running fold, the last of the trial's curve.
    pub fn epoch(&mut self, trial: &Standing) -> Verdict {
        let exhausted = self.patience.is_none_or(|patience| patience.is_exhausted(trial.curve));
        let verdict = match &mut self.rule {
            Kind::None | Kind::Sequential(_) => Verdict::Skipped(Skip::NotDue),
            Kind::SuccessiveHalving(ladder) => ladder.epoch(trial, exhausted),
            Kind::Hyperband(brackets) => match brackets.ladder(trial.number) {
                Some(ladder) => ladder.epoch(trial, exhausted),
                None => Verdict::Skipped(Skip::NotDue),
            },
            _ if !exhausted => Verdict::Skipped(Skip::Improving),
            Kind::Percentile(rule) => rule.epoch(trial),
            Kind::Threshold(rule) => rule.epoch(trial),
            Kind::Patience(rule) => rule.epoch(trial),
        };
        match (verdict, self.patience) {
            (Verdict::Looked(mut look), Some(patience)) => {
                look.decision.patience = Some(patience.patience);
                Verdict::Looked(look)
            }
            (verdict, _) => verdict,
        }
    }

    /// After a fold finished; it is among the finished ones, and if it is the last, the trial is not judged. Patience is about
    /// curves that go on, so it has no say here.
    pub fn fold_end(&mut self, trial: &Standing) -> Verdict {
        match &mut self.rule {
            Kind::None | Kind::Threshold(_) | Kind::Patience(_) => Verdict::Skipped(Skip::NotDue),
            Kind::Percentile(rule) => rule.fold_end(trial),
            Kind::SuccessiveHalving(ladder) => ladder.fold_end(trial),
            Kind::Hyperband(brackets) => match brackets.ladder(trial.number) {
                Some(ladder) => ladder.fold_end(trial),
                None => Verdict::Skipped(Skip::NotDue),
            },
            Kind::Sequential(rule) => rule.fold_end(trial),
        }
    }

    /// After a restart: a trial as it is found, its folds in their order, and why it was pruned, if it was.
    pub fn restore(&mut self, number: TrialNumber, folds: &[FoundFold], decision: Option<&Decision>) {
        let mut finished = Vec::new();
        for (fold, found) in (0..).map(FoldIndex).zip(folds) {
            let curve = found.curve;
            let standing = Standing { number, fold, curve, finished: &finished, judged: false };
            if self.ladder(number).is_some() {
                self.walk(standing);
            }
            if let Some(value) = found.value {
                finished.push((fold, value));
                self.fold_end(&Standing { number, fold, curve, finished: &finished, judged: false });
            }
        }
        if let (Some(rung), Some(ladder)) = (decision.and_then(|decision| decision.rung), self.ladder(number))
        {
            ladder.settle(number, rung);
        }
    }

    /// The others that a look at this trial compared it with, best known by their values there; none where one is NaN.
    /// `epoch`: the look was after an epoch and not after a fold.
    pub fn others(&mut self, trial: &Standing, look: &Look, epoch: bool) -> Vec<(TrialNumber, Option<f64>)> {
        match (&mut self.rule, look.decision.rung) {
            (Kind::Percentile(rule), _) => rule.others_at(trial, epoch),
            (Kind::Sequential(rule), _) => rule.others_at(trial),
            (Kind::SuccessiveHalving(ladder), Some(rung)) => ladder.others_at(trial.number, rung),
            (Kind::Hyperband(brackets), Some(rung)) => brackets
                .ladder(trial.number)
                .map(|ladder| ladder.others_at(trial.number, rung))
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn ladder(&mut self, number: TrialNumber) -> Option<&mut SuccessiveHalving> {
        match &mut self.rule {
            Kind::SuccessiveHalving(ladder) => Some(ladder),
            Kind::Hyperband(brackets) => brackets.ladder(number),
            _ => None,
        }
    }
}

/// Which epochs of a fold are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schedule {
    /// Epochs at the start that are not.
    warmup_epochs: u32,
    /// After the warm-up the first epoch with a report of every so many is; 0 counts as 1.
    interval_epochs: u32,
}

impl Schedule {
    /// Whether the last epoch of `curve` is the first with a report in its interval after the warm-up.
    fn is_due(self, curve: &[Option<f64>]) -> bool {
        let Some((Some(_), before)) = curve.split_last() else { return false };
        let Some(since_warmup) = before.len().checked_sub(self.warmup_epochs as usize) else { return false };
        let in_interval = since_warmup % self.interval_epochs.max(1) as usize;
        before.iter().rev().take(in_interval).all(Option::is_none)
    }
}

/// The best of some values, without NaN.
fn best(direction: Direction, values: impl Iterator<Item = f64>) -> Option<f64> {
    values
        .filter(|value| !value.is_nan())
        .reduce(|best, value| if direction.is_better(value, best) { value } else { best })
}
