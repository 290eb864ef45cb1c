//! The nearest neighbors of each code, by comparing all with all: in the 10 to 40 dimensions of a code a tree of
//! points spares little, and this loop runs over whole vectors.

use std::ops::ControlFlow;

use super::{Codes, Step, Watch};

/// Codes whose distances are kept together: their sums stay in the fastest cache.
const BLOCK: usize = 1024;

/// Codes between two looks at the watch.
const WATCHED: usize = 64;

/// Another code, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbor {
    pub squared: f32,
    pub index: u32,
}

/// Codes turned around: all values of a dimension beside one another.
pub(super) struct Columns {
    values: Vec<f32>,
    rows: usize,
}

impl Columns {
    pub fn new(codes: Codes<'_>) -> Self {
        let (rows, columns) = (codes.len(), codes.columns());
        let mut values = vec![0.0; rows * columns];
        for (row, code) in codes.rows().enumerate() {
            for (column, value) in code.iter().enumerate() {
                values[column * rows + row] = *value;
            }
        }
        Self { values, rows }
    }

    /// The squared distances from one code to all, in their order.
    pub fn squared_distances(&self, code: &[f32], distances: &mut [f32]) {
        for (block, sums) in distances.chunks_mut(BLOCK).enumerate() {
            sums.fill(0.0);
            for (value, column) in code.iter().zip(self.values.chunks_exact(self.rows)) {
                for (sum, other) in sums.iter_mut().zip(&column[block * BLOCK..]) {
                    let difference = value - other;
                    *sum += difference * difference;
                }
            }
        }
    }
}

/// The `k` nearest others of each code, nearest first (of equally near ones the earlier first), `k` for each code in turn;
/// none if the watch says stop. `k` is at least 1 and less than the number of codes.
pub(super) fn nearest(codes: Codes<'_>, k: usize, watch: Watch<'_>) -> Option<Vec<Neighbor>> {
    let columns = Columns::new(codes);
    let mut distances = vec![0.0; codes.len()];
    let mut candidates = Vec::with_capacity(codes.len());
    let mut found = Vec::with_capacity(codes.len() * k);
    for (row, code) in codes.rows().enumerate() {
        if row % WATCHED == 0 && watch(Step::Neighbors(row)) == ControlFlow::Break(()) {
            return None;
        }
        columns.squared_distances(code, &mut distances);
        candidates.clear();
        // Of positive floats the bits have the order of the values; a sum that overflows is infinite, and last.
        let others = distances.iter().enumerate().filter(|(other, _)| *other != row);
        candidates.extend(others.map(|(other, squared)| u64::from(squared.to_bits()) << 32 | other as u64));
        if k < candidates.len() {
            candidates.select_nth_unstable(k - 1);
        }
        let nearest = candidates.get_mut(..k).unwrap_or_default();
        nearest.sort_unstable();
        found.extend(nearest.iter().map(|packed| Neighbor {
            squared: f32::from_bits((packed >> 32) as u32),
            index: (packed & 0xffff_ffff) as u32,
        }));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_ties_in_order() {
        let values = [0.0, 0.0, 3.0, 4.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0];
        let codes = Codes::new(&values, 5, 2).expect("codes");
        let found = nearest(codes, 3, &mut |_| ControlFlow::Continue(())).expect("not stopped");
        let near: Vec<(u32, f32)> = found[..3].iter().map(|near| (near.index, near.squared)).collect();
        assert_eq!(near, [(3, 0.0), (2, 1.0), (4, 1.0)]);
        let near: Vec<(u32, f32)> = found[3..6].iter().map(|near| (near.index, near.squared)).collect();
        assert_eq!(near, [(2, 20.0), (0, 25.0), (3, 25.0)]);
        assert!(nearest(codes, 3, &mut |_| ControlFlow::Break(())).is_none());
    }

    #[test]
    fn a_block_more_or_less_makes_no_difference() {
        let values: Vec<f32> = (0..3 * (BLOCK + 7)).map(|at| ((at * 7919) % 1009) as f32).collect();
        let codes = Codes::new(&values, BLOCK + 7, 3).expect("codes");
        let columns = Columns::new(codes);
        let mut distances = vec![0.0; codes.len()];
        let code: Vec<f32> = codes.rows().nth(5).expect("a code").to_vec();
        columns.squared_distances(&code, &mut distances);
        for (row, distance) in codes.rows().zip(distances) {
            let expected: f32 = row.iter().zip(&code).map(|(left, right)| (left - right).powi(2)).sum();
            assert_eq!(distance, expected);
        }
    }
}
