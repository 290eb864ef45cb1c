//! How much of the variance of a tree's prediction each feature explains by itself.

use super::forest::{Feature, Leaf, Side, Table};

/// The importance of a param.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share {
    /// Its share; those of all params add up to 1.
    pub mean: f64,
    /// How much the trees of the forest differ about it: their standard deviation.
    pub std: f64,
}

/// For each feature the variance of its marginal prediction over the variance of the whole; none for a tree that predicts
/// the same everywhere.
pub(super) fn shares(table: &Table, leaves: &[Leaf]) -> Option<Vec<f64>> {
    let measures: Vec<Vec<f64>> = leaves
        .iter()
        .map(|leaf| {
            table.features.iter().zip(&leaf.sides).map(|(feature, side)| feature.measure(*side)).collect()
        })
        .collect();
    let volumes: Vec<f64> = measures.iter().map(|measures| measures.iter().product()).collect();
    let whole: f64 = volumes.iter().sum();
    let mean = leaves.iter().zip(&volumes).map(|(leaf, volume)| leaf.value * volume).sum::<f64>() / whole;
    let variance =
        leaves.iter().zip(&volumes).map(|(leaf, volume)| volume * (leaf.value - mean).powi(2)).sum::<f64>()
            / whole;
    if !(variance > 0.0 && variance.is_finite()) {
        return None;
    }
    let share = |(at, feature): (usize, &Feature)| {
        // What a leaf adds to the marginal prediction wherever its side of the feature is.
        let parts = leaves.iter().zip(&volumes).zip(&measures).filter_map(|((leaf, volume), measures)| {
            let own = measures[at];
            (own > 0.0).then(|| (leaf.sides[at], (leaf.value - mean) * volume / own))
        });
        let explained = match feature {
            Feature::Number { absent, .. } => number(*absent, parts),
            Feature::Category { weights, .. } => category(weights, parts),
        };
        explained / variance
    };
    Some(table.features.iter().enumerate().map(share).collect())
}

/// The variance of the marginal prediction of a number where it is there.
fn number(absent: f64, parts: impl Iterator<Item = (Side, f64)>) -> f64 {
    let mut changes: Vec<(f64, f64)> = Vec::new();
    for (side, part) in parts {
        let Side::Between(low, high) = side else { continue };
        let (low, high) = (low.max(0.0), high.max(0.0));
        if high > low {
            changes.push((low, part));
            changes.push((high, -part));
        }
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut mean, mut square, mut height, mut from) = (0.0, 0.0, 0.0, 0.0);
    for (at, change) in changes {
        mean += height * (at - from);
        square += height * height * (at - from);
        height += change;
        from = at;
    }
    (1.0 - absent) * (square - mean * mean).max(0.0)
}

/// The variance of the marginal prediction over the categories that trials have; the last is to have none.
fn category(weights: &[f64], parts: impl Iterator<Item = (Side, f64)>) -> f64 {
    let mut heights = vec![0.0; weights.len()];
    for (side, part) in parts {
        let Side::Among(bits) = side else { continue };
        for (at, height) in heights.iter_mut().enumerate() {
            if bits >> at & 1 == 1 {
                *height += part;
            }
        }
    }
    let there = weights.len().saturating_sub(1);
    let present: f64 = weights[..there].iter().sum();
    if present <= 0.0 {
        return 0.0;
    }
    let all = || weights[..there].iter().zip(&heights);
    let mean = all().map(|(weight, height)| weight * height).sum::<f64>() / present;
    all().map(|(weight, height)| weight * (height - mean).powi(2)).sum()
}

/// The mean over the trees, and so that the features add up to 1.
pub(super) fn normalized(trees: &[Vec<f64>], features: usize) -> Vec<Share> {
    let count = trees.len() as f64;
    let of = |at: usize| trees.iter().map(move |tree| tree[at]);
    let means: Vec<f64> = (0..features).map(|at| of(at).sum::<f64>() / count).collect();
    let sum: f64 = means.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return vec![Share::default(); features];
    }
    let share = |(at, mean): (usize, &f64)| {
        let variance = of(at).map(|share| (share - mean).powi(2)).sum::<f64>() / count;
        Share { mean: mean / sum, std: variance.sqrt() / sum }
    };
    means.iter().enumerate().map(share).collect()
}
