//! What samplers learn from: an index of the finished trials of one study, updated with each of them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use foldwise_shared::ids::{Millis, TrialNumber};
use foldwise_shared::space::Space;
use foldwise_shared::state::Direction;
use foldwise_shared::value::Params;

use super::encoding::{Encoding, Point};
use super::gp;

/// The observations of a study. It is a function of the set of its finished trials: in whatever order they are added,
/// the same set makes the same history.
#[derive(Debug, Clone)]
pub struct History {
    encoding: Encoding,
    direction: Direction,
    /// In the order in which the trials finished; by number among those that did so in the same millisecond.
    rows: Vec<Row>,
    /// The points of the rows, a column for each dim.
    columns: Vec<Vec<f64>>,
    /// Places in `rows`, the best first; see [`Outcome`].
    ranking: Vec<u32>,
    /// Fingerprints of the points of finished trials, where there are only so many points.
    seen: BTreeSet<u64>,
    /// What the Gaussian process has worked out for the rows it has seen; it holds nothing that is not in them.
    pub(super) memo: gp::Memo,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    trial: TrialNumber,
    finished_at: Millis,
    outcome: Outcome,
}

/// What became of a trial, for a sampler. The better outcome of two is the one with a value; of two values the better
/// one; then the pruned trial that came further, with the better value there; a trial that diverged is the worst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// It has a value.
    Complete(f64),
    /// It was stopped early.
    Pruned(Progress),
    /// Its loss was not finite.
    Diverged,
}

/// How far a pruned trial came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Epochs over all its folds.
    pub epochs: u32,
    /// The mean over its folds of their best values so far; none without one.
    pub value: Option<f64>,
}

impl History {
    /// No trial yet.
    pub fn new(space: &Space, direction: Direction) -> Self {
        let encoding = Encoding::new(space);
        let columns = vec![Vec::new(); encoding.dims().len()];
        Self {
            encoding,
            direction,
            rows: Vec::new(),
            columns,
            ranking: Vec::new(),
            seen: BTreeSet::new(),
            memo: gp::Memo::default(),
        }
    }

    /// A trial finished, with something to learn from.
    pub fn add(&mut self, trial: TrialNumber, params: &Params, finished_at: Millis, outcome: Outcome) {
        let point = self.encoding.encode(params);
        if self.encoding.cardinality().is_some() {
            self.seen.insert(fingerprint(&point));
        }
        let row = Row { trial, finished_at, outcome };
        let place =
            self.rows.partition_point(|other| (other.finished_at, other.trial) < (finished_at, trial));
        if place < self.rows.len() {
            for ranked in &mut self.ranking {
                *ranked += u32::from(*ranked as usize >= place);
            }
            self.memo.forget_from(place);
        }
        self.rows.insert(place, row);
        for (column, number) in self.columns.iter_mut().zip(&point) {
            column.insert(place, *number);
        }
        let rank = self.ranking.partition_point(|other| self.order(*other as usize, place).is_lt());
        self.ranking.insert(rank, place as u32);
    }

    /// Which of two rows is better (less); the earlier trial among equals.
    fn order(&self, a: usize, b: usize) -> Ordering {
        let value = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) if self.direction == Direction::Maximize => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        };
        let outcome = match (&self.rows[a].outcome, &self.rows[b].outcome) {
            (Outcome::Complete(a), Outcome::Complete(b)) => value(Some(*a), Some(*b)),
            (Outcome::Pruned(a), Outcome::Pruned(b)) => {
                b.epochs.cmp(&a.epochs).then_with(|| value(a.value, b.value))
            }
            (a, b) => a.class().cmp(&b.class()),
        };
        outcome.then_with(|| self.rows[a].trial.cmp(&self.rows[b].trial))
    }

    pub(super) fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// How many finished trials there are to learn from.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Places of the rows, the best first.
    pub(super) fn ranking(&self) -> &[u32] {
        &self.ranking
    }

    /// The numbers of all rows on one dim.
    pub(super) fn column(&self, dim: usize) -> &[f64] {
        &self.columns[dim]
    }

    /// The point of a row.
    pub(super) fn point(&self, row: usize) -> Point {
        self.columns.iter().map(|column| column[row]).collect()
    }

    /// What became of the trial of a row, where less is better.
    pub(super) fn outcome(&self, row: usize) -> Outcome {
        self.rows[row].outcome
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether a finished trial, or one of those that run, has this point already, in a space with only so many points.
    pub(super) fn is_taken(&self, running: &[Point], point: &[f64]) -> bool {
        let same = |other: &Point| other.iter().zip(point).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
        self.encoding.cardinality().is_some()
            && (self.seen.contains(&fingerprint(point)) || running.iter().any(same))
    }

    /// Whether every point that there is was tried.
    pub(super) fn is_exhausted(&self) -> bool {
        self.encoding.cardinality().is_some_and(|points| self.seen.len() as u64 >= points)
    }
}

impl Outcome {
    fn class(&self) -> u8 {
        match self {
            Self::Complete(_) => 0,
            Self::Pruned(_) => 1,
            Self::Diverged => 2,
        }
    }
}

/// FNV-1a over the bits of a point; all kinds of NaN are one.
fn fingerprint(point: &[f64]) -> u64 {
    let bits = point.iter().map(|number| if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() });
    bits.flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
