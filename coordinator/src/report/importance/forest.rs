//! Regression trees on bootstrap samples, grown to leaves of one trial: the boxes of their leaves.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::{CATEGORIES, Column, Kind};

/// Levels of a tree at most.
const DEPTH: u32 = 64;
/// Where a trial is that has no such number.
const ABSENT: f64 = -1.0;

/// The trials in the form in which trees are grown.
pub(super) struct Table {
    pub(super) features: Vec<Feature>,
    targets: Vec<f64>,
}

/// A column.
pub(super) enum Feature {
    /// Numbers, [`ABSENT`] where there is none, and the rows in their order.
    Number {
        values: Vec<f64>,
        order: Vec<u32>,
        /// The share of the rows without one.
        absent: f64,
    },
    /// Categories; those without one have the last.
    Category {
        values: Vec<u8>,
        /// How often each counts; they add up to 1.
        weights: Vec<f64>,
    },
}

/// The values of one feature in a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Side {
    /// Numbers above the first and up to the second.
    Between(f64, f64),
    /// The categories whose bits are set.
    Among(u128),
}

/// A leaf: what it predicts, and the box of which.
pub(super) struct Leaf {
    pub(super) value: f64,
    pub(super) sides: Vec<Side>,
}

impl Table {
    pub(super) fn new(columns: &[Column], targets: &[f64]) -> Self {
        let features = columns.iter().map(feature).collect();
        Self { features, targets: targets.to_vec() }
    }
}

fn feature(column: &Column) -> Feature {
    let rows = column.values.len();
    let missing = column.values.iter().filter(|value| value.is_none()).count() as f64 / rows.max(1) as f64;
    match column.kind {
        Kind::Category(count) if count < CATEGORIES => {
            let absent = count as u8;
            let values = column.values.iter();
            let values =
                values.map(|value| value.map_or(absent, |value| (value as u8).min(absent))).collect();
            let mut weights = vec![(1.0 - missing) / count.max(1) as f64; count];
            weights.push(missing);
            Feature::Category { values, weights }
        }
        kind => {
            let scale = match kind {
                Kind::Category(count) => (count.max(2) - 1) as f64,
                Kind::Number => 1.0,
            };
            let values: Vec<f64> = column
                .values
                .iter()
                .map(|value| value.map_or(ABSENT, |value| (value / scale).clamp(0.0, 1.0)))
                .collect();
            let mut order: Vec<u32> = (0..rows as u32).collect();
            order.sort_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
            Feature::Number { values, order, absent: missing }
        }
    }
}

impl Feature {
    /// All of it.
    fn whole(&self) -> Side {
        match self {
            Self::Number { .. } => Side::Between(f64::NEG_INFINITY, 1.0),
            Self::Category { weights, .. } => Side::Among((1_u128 << weights.len()) - 1),
        }
    }

    /// How much of it is in a side: all of it is 1.
    pub(super) fn measure(&self, side: Side) -> f64 {
        match (self, side) {
            (Self::Number { absent, .. }, Side::Between(low, high)) => {
                let without = if low < ABSENT { *absent } else { 0.0 };
                without + (1.0 - absent) * (high.max(0.0) - low.max(0.0))
            }
            (Self::Category { weights, .. }, Side::Among(bits)) => weights
                .iter()
                .enumerate()
                .filter(|(at, _)| bits >> at & 1 == 1)
                .map(|(_, weight)| weight)
                .sum(),
            _ => 0.0,
        }
    }
}

/// How a node is divided.
#[derive(Clone, Copy)]
enum Split {
    /// Numbers up to this one go left.
    At(f64),
    /// This category goes left.
    Is(u8),
}

/// A node that is to be divided or to become a leaf.
struct Node {
    start: usize,
    end: usize,
    depth: u32,
    sides: Vec<Side>,
}

/// What a tree is grown from: how often each row was drawn, and for each number the drawn rows in its order.
struct Growing<'a> {
    table: &'a Table,
    drawn: Vec<f64>,
    /// The drawn rows; a node is a range of them, and the same range of each of `orders`.
    rows: Vec<u32>,
    orders: Vec<Vec<u32>>,
    is_left: Vec<bool>,
    spare: Vec<u32>,
}

/// The leaves of a tree on a bootstrap sample.
pub(super) fn grow<R: Rng>(table: &Table, rng: &mut R) -> Vec<Leaf> {
    let count = table.targets.len();
    let mut drawn = vec![0.0; count];
    for _ in 0..count {
        drawn[rng.random_range(0..count)] += 1.0;
    }
    let is_drawn = |row: &u32| drawn[*row as usize] > 0.0;
    let rows: Vec<u32> = (0..count as u32).filter(is_drawn).collect();
    let orders = table
        .features
        .iter()
        .map(|feature| match feature {
            Feature::Number { order, .. } => order.iter().copied().filter(is_drawn).collect(),
            Feature::Category { .. } => Vec::new(),
        })
        .collect();
    let sides = table.features.iter().map(Feature::whole).collect();
    let end = rows.len();
    let mut growing =
        Growing { table, is_left: vec![false; count], spare: Vec::with_capacity(end), drawn, rows, orders };
    // Small nodes are divided by any feature alike: each gets its turn.
    let mut turns: Vec<usize> = (0..table.features.len()).collect();
    let mut leaves = Vec::new();
    let mut open = vec![Node { start: 0, end, depth: 0, sides }];
    while let Some(node) = open.pop() {
        let (weight, sum) = growing.totals(&node);
        turns.shuffle(rng);
        match growing.best_split(&node, weight, sum, &turns) {
            Some((feature, split)) => {
                let middle = growing.divide(&node, feature, split);
                let (left, right) = sides_of(node.sides[feature], split);
                let mut sides = node.sides.clone();
                sides[feature] = left;
                open.push(Node { end: middle, depth: node.depth + 1, sides, ..node });
                let mut sides = node.sides;
                sides[feature] = right;
                open.push(Node { start: middle, end: node.end, depth: node.depth + 1, sides });
            }
            None => leaves.push(Leaf { value: sum / weight, sides: node.sides }),
        }
    }
    leaves
}

fn sides_of(side: Side, split: Split) -> (Side, Side) {
    match (side, split) {
        (Side::Between(low, high), Split::At(at)) => (Side::Between(low, at), Side::Between(at, high)),
        (Side::Among(bits), Split::Is(category)) => {
            let bit = 1_u128 << category;
            (Side::Among(bits & bit), Side::Among(bits & !bit))
        }
        (side, _) => (side, side),
    }
}

impl Growing<'_> {
    /// The weight and the weighted sum of the targets of a node.
    fn totals(&self, node: &Node) -> (f64, f64) {
        self.rows[node.start..node.end].iter().fold((0.0, 0.0), |(weight, sum), row| {
            let row = *row as usize;
            (weight + self.drawn[row], sum + self.drawn[row] * self.table.targets[row])
        })
    }

    /// The split after which the targets differ least from their means, among equals the first by `turns`; none if nothing is
    /// to be divided.
    fn best_split(&self, node: &Node, weight: f64, sum: f64, turns: &[usize]) -> Option<(usize, Split)> {
        let rows = &self.rows[node.start..node.end];
        let first = self.table.targets[*rows.first()? as usize];
        if node.depth >= DEPTH || rows.iter().all(|row| self.table.targets[*row as usize] == first) {
            return None;
        }
        let mut best: Option<(f64, usize, Split)> = None;
        let mut offer = |gain: f64, feature: usize, split: Split| {
            if best.as_ref().is_none_or(|(known, ..)| gain > *known) {
                best = Some((gain, feature, split));
            }
        };
        let gain = |left_weight: f64, left_sum: f64| {
            let (right_weight, right_sum) = (weight - left_weight, sum - left_sum);
            left_sum * left_sum / left_weight + right_sum * right_sum / right_weight
        };
        for at in turns.iter().copied() {
            match &self.table.features[at] {
                Feature::Number { values, .. } => {
                    let order = &self.orders[at][node.start..node.end];
                    let (mut left_weight, mut left_sum) = (0.0, 0.0);
                    for pair in order.windows(2) {
                        let row = pair[0] as usize;
                        left_weight += self.drawn[row];
                        left_sum += self.drawn[row] * self.table.targets[row];
                        let (low, high) = (values[row], values[pair[1] as usize]);
                        // Who has it and who has not is another param's doing.
                        if low < high && low != ABSENT {
                            let between = low + (high - low) / 2.0;
                            offer(gain(left_weight, left_sum), at, Split::At(between.max(low)));
                        }
                    }
                }
                Feature::Category { values, weights } => {
                    let mut sums = vec![(0.0, 0.0); weights.len()];
                    for row in rows {
                        let row = *row as usize;
                        let entry = &mut sums[usize::from(values[row])];
                        entry.0 += self.drawn[row];
                        entry.1 += self.drawn[row] * self.table.targets[row];
                    }
                    for (category, (left_weight, left_sum)) in sums.into_iter().enumerate() {
                        // As above: the last one is to have none.
                        let is_absent = category + 1 == weights.len();
                        if left_weight > 0.0 && left_weight < weight && !is_absent {
                            offer(gain(left_weight, left_sum), at, Split::Is(category as u8));
                        }
                    }
                }
            }
        }
        best.map(|(_, feature, split)| (feature, split))
    }

    /// Puts the rows that go left before the others, everywhere, and says where those begin.
    fn divide(&mut self, node: &Node, feature: usize, split: Split) -> usize {
        let mut left = 0;
        for row in &self.rows[node.start..node.end] {
            let row = *row as usize;
            let goes_left = match (&self.table.features[feature], split) {
                (Feature::Number { values, .. }, Split::At(at)) => values[row] <= at,
                (Feature::Category { values, .. }, Split::Is(category)) => values[row] == category,
                _ => false,
            };
            self.is_left[row] = goes_left;
            left += usize::from(goes_left);
        }
        let range = node.start..node.end;
        partition(&mut self.rows[range.clone()], &self.is_left, &mut self.spare);
        for order in self.orders.iter_mut().filter(|order| !order.is_empty()) {
            partition(&mut order[range.clone()], &self.is_left, &mut self.spare);
        }
        node.start + left
    }
}

/// Moves those that go left to the front; among themselves all keep their order.
fn partition(rows: &mut [u32], is_left: &[bool], spare: &mut Vec<u32>) {
    spare.clear();
    let mut left = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        if is_left[row as usize] {
            rows[left] = row;
            left += 1;
        } else {
            spare.push(row);
        }
    }
    rows[left..].copy_from_slice(spare);
}
