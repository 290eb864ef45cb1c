//! The sequential test: after each finished fold, whether the trial is worse than the best complete trial by more than
//! chance explains.

use std::collections::BTreeMap;

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::state::{Direction, Rule, Skip};

use super::{Look, Standing, Verdict, student};

/// A one-sided paired t test on the folds that a trial has finished.
///
/// A fold value is taken for the sum of what the trial is worth, how hard the fold is, and noise. The noise is estimated
/// from what trial means and fold means leave over of all complete trials (a two-way layout: residuals with (n - 1)(k - 1)
/// degrees of freedom), so that two folds are enough to tell a difference from chance.
///
/// The other side is the complete trial that is best *on the folds that this trial has not finished*. The best of many owes
/// a part of its lead to luck; chosen by other folds, it has been lucky there and not where it is compared. `alpha` bounds
/// the chance that a trial which is worth as much as the best is stopped at any of its looks: it is split evenly over the k
/// folds, one part more than there are looks, which makes up for an estimate of the noise that is not quite independent of
/// the choice. The decision record on the sequential test has the measured rates.
#[derive(Debug, Clone)]
pub(super) struct Sequential {
    alpha: f64,
    /// Nothing is judged before this many trials are complete.
    startup_trials: u32,
    folds: u32,
    direction: Direction,
    /// The fold values of the complete trials, in the order of the folds.
    complete: BTreeMap<TrialNumber, Vec<f64>>,
    /// Of the complete trials; none if it has to be computed anew.
    noise: Option<Noise>,
}

/// The spread of fold values that neither trial nor fold explains.
#[derive(Debug, Clone, Copy)]
struct Noise {
    variance: f64,
    degrees: u32,
}

impl Sequential {
    pub fn new(alpha: f64, startup_trials: u32, folds: u32, direction: Direction) -> Self {
        Self { alpha, startup_trials, folds, direction, complete: BTreeMap::new(), noise: None }
    }

    pub fn fold_end(&mut self, trial: &Standing) -> Verdict {
        if trial.finished.len() >= self.folds as usize {
            if trial.finished.iter().all(|(_, value)| value.is_finite()) {
                let values = trial.finished.iter().map(|(_, value)| *value).collect();
                self.complete.insert(trial.number, values);
                self.noise = None;
            }
            return Verdict::Skipped(Skip::NotDue);
        }
        if !trial.judged || trial.finished.is_empty() {
            return Verdict::Skipped(Skip::NotDue);
        }
        if self.complete.len() < self.startup_trials.max(2) as usize {
            return Verdict::Skipped(Skip::FewTrials);
        }
        self.test(trial.finished).map_or(Verdict::Skipped(Skip::NoNumber), Verdict::Looked)
    }

    fn test(&mut self, finished: &[(FoldIndex, f64)]) -> Option<Look> {
        let folds: Vec<usize> = finished.iter().map(|(fold, _)| fold.0 as usize).collect();
        let ahead: Vec<usize> = (0..self.folds as usize).filter(|fold| !folds.contains(fold)).collect();
        let mut best: Option<(TrialNumber, f64)> = None;
        for (number, values) in &self.complete {
            let mean = mean_over(values, &ahead)?;
            if best.is_none_or(|(_, least)| self.direction.is_better(mean, least)) {
                best = Some((*number, mean));
            }
        }
        let (against, _) = best?;
        let noise = *self.noise.get_or_insert_with(|| Noise::of(&self.complete));
        let standard_error = libm::sqrt(2.0 * noise.variance / folds.len() as f64);
        if !(standard_error > 0.0 && standard_error.is_finite()) {
            return None;
        }
        let alpha = self.alpha / f64::from(self.folds);
        let margin = student::quantile(1.0 - alpha, noise.degrees) * standard_error;
        let reference = mean_over(self.complete.get(&against)?, &folds)?;
        let threshold = match self.direction {
            Direction::Minimize => reference + margin,
            Direction::Maximize => reference - margin,
        };
        let own = finished.iter().map(|(_, value)| value).sum::<f64>() / finished.len() as f64;
        let decision = Decision {
            peers: self.complete.len() as u32,
            against: Some(against),
            alpha: Some(alpha),
            standard_error: Some(standard_error),
            degrees: Some(noise.degrees),
            ..Decision::new(Rule::Sequential, Some(own), Some(threshold))
        };
        Some(Look { decision, prune: self.direction.is_better(threshold, own) })
    }

    /// The complete trials with their means over the folds that a trial has finished.
    pub fn others_at(&self, trial: &Standing) -> Vec<(TrialNumber, Option<f64>)> {
        let folds: Vec<usize> = trial.finished.iter().map(|(fold, _)| fold.0 as usize).collect();
        self.complete.iter().map(|(number, values)| (*number, mean_over(values, &folds))).collect()
    }
}

impl Noise {
    /// In the order of the trials' numbers, so that it does not depend on who was complete first.
    fn of(complete: &BTreeMap<TrialNumber, Vec<f64>>) -> Self {
        let folds = complete.values().next().map_or(0, Vec::len);
        // What a fold's value is above its trial's mean; then the spread of that within each fold (Welford).
        let mut means = vec![0.0; folds];
        let mut squares = 0.0;
        for (count, values) in complete.values().enumerate() {
            let level = values.iter().sum::<f64>() / values.len() as f64;
            for (mean, value) in means.iter_mut().zip(values) {
                let above = value - level - *mean;
                *mean += above / (count as f64 + 1.0);
                squares += above * (value - level - *mean);
            }
        }
        let degrees = complete.len().saturating_sub(1) * folds.saturating_sub(1);
        Self { variance: squares / degrees as f64, degrees: u32::try_from(degrees).unwrap_or(u32::MAX) }
    }
}

/// The mean of a trial's values over these folds, in their order; none if it lacks one.
fn mean_over(values: &[f64], folds: &[usize]) -> Option<f64> {
    let sum = folds.iter().map(|fold| values.get(*fold).copied()).sum::<Option<f64>>()?;
    Some(sum / folds.len() as f64)
}
