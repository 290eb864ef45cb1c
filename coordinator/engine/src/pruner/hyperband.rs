//! Hyperband: several ladders of successive halving, which differ in where the first rung is; each trial climbs one.
//! Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", 2018.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::seed::{Stream, rng};
use rand::Rng;

use super::successive_halving::{Ladder, SuccessiveHalving};

/// The brackets and how many trials each is to get. Bracket b leaves out the first b rungs.
///
/// Their number and their shares are those of Optuna's `HyperbandPruner`, computed with whole numbers where Optuna takes a
/// logarithm, so that a whole power of the factor is never one short. A trial's bracket is drawn from the study's seed and
/// the trial's number; Optuna hashes the study's name.
#[derive(Debug, Clone)]
pub(super) struct Hyperband {
    seed: u64,
    brackets: Vec<SuccessiveHalving>,
    shares: Vec<u64>,
}

impl Hyperband {
    pub fn new(ladder: Ladder, max_resource: u32, seed: u64) -> Self {
        let shares = shares(ladder.min_resource, max_resource, ladder.factor);
        let bracket = |index: u32| Ladder { rate: index, bracket: Some(index), ..ladder };
        let brackets = (0..shares.len() as u32).map(|index| SuccessiveHalving::new(bracket(index))).collect();
        Self { seed, brackets, shares }
    }

    /// The ladder of a trial.
    pub fn ladder(&mut self, number: TrialNumber) -> Option<&mut SuccessiveHalving> {
        let bracket = self.bracket(number);
        self.brackets.get_mut(bracket)
    }

    pub fn bracket(&self, number: TrialNumber) -> usize {
        let all: u64 = self.shares.iter().sum();
        let mut place = rng(self.seed, Stream::Bracket(number.0)).next_u64() % all.max(1);
        self.shares
            .iter()
            .position(|share| {
                let here = place < *share;
                place = place.saturating_sub(*share);
                here
            })
            .unwrap_or(0)
    }
}

/// The shares of the brackets: with n of them, bracket b gets ceil(n * factor^s / (s + 1)), s = n - 1 - b.
pub(super) fn shares(min_resource: u32, max_resource: u32, factor: u32) -> Vec<u64> {
    let (min, factor) = (u64::from(min_resource.max(1)), u64::from(factor.max(2)));
    let powers = std::iter::successors(Some(1u64), |power| power.checked_mul(factor));
    let powers: Vec<u64> = powers
        .take_while(|power| {
            min.checked_mul(*power).is_some_and(|resource| resource <= u64::from(max_resource))
        })
        .collect();
    let count = powers.len() as u64;
    let share = |(s, power): (usize, &u64)| (count * power).div_ceil(s as u64 + 1);
    powers.iter().enumerate().rev().map(share).collect()
}
