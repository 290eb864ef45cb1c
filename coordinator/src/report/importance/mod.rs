//! How much of the differences between trials each param explains: functional ANOVA over a random forest (Hutter, Hoos and
//! Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014), with the forest that Optuna's
//! `FanovaImportanceEvaluator` grows: 64 trees, every param looked at in every split, leaves of one trial.
//!
//! It differs from that evaluator in three points. A param is measured on the scale on which it is searched, so that a learning
//! rate drawn by its logarithm counts by its logarithm. The values of a choice count alike, where the evaluator also
//! averages over trials that have two of them. And trials without a conditional param stay: that they are without it is the
//! doing of the params on which it hangs, and counts as theirs; its own is what its value does where it is there, averaged over
//! all values of the others as if each went with each.

mod fanova;
mod forest;

#[cfg(test)]
mod tests;

use std::thread::available_parallelism;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use self::fanova::Share;

/// Trees of the forest.
const TREES: usize = 64;
/// Threads at most.
const THREADS: usize = 8;
/// Values that a choice can have and be more than a number.
const CATEGORIES: usize = 64;

/// The values of one param over all trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What its values are.
    pub kind: Kind,
    /// For each trial a place from 0 to 1, or the index of a category; none where the trial has no such param.
    pub values: Vec<Option<f64>>,
}

/// What the values of a param are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers.
    Number,
    /// So many categories.
    Category(usize),
}

/// The importance of each column for the targets, in their order: the share of the variance that the column explains by
/// itself, over the sum of these shares. All are 0 if there is nothing to explain. The same input gives the same answer,
/// whatever the number of cores.
pub fn importance(columns: &[Column], targets: &[f64], seed: u64) -> Vec<Share> {
    let rows = targets.len();
    let usable = rows >= 2
        && columns.iter().all(|column| column.values.len() == rows)
        && targets.iter().all(|target| target.is_finite());
    if !usable || columns.is_empty() {
        return vec![Share::default(); columns.len()];
    }
    let table = forest::Table::new(columns, targets);
    let threads = available_parallelism().map_or(1, usize::from).min(THREADS);
    let mut trees: Vec<Option<Vec<f64>>> = vec![None; TREES];
    std::thread::scope(|scope| {
        for (part, trees) in trees.chunks_mut(TREES.div_ceil(threads)).enumerate() {
            let table = &table;
            scope.spawn(move || {
                for (at, shares) in trees.iter_mut().enumerate() {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream((part * TREES.div_ceil(threads) + at) as u64);
                    *shares = fanova::shares(table, &forest::grow(table, &mut rng));
                }
            });
        }
    });
    fanova::normalized(&trees.into_iter().flatten().collect::<Vec<_>>(), columns.len())
}
