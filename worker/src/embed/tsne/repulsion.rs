//! What keeps points apart: each is pushed away by every other. Points that lie together are taken for one where they are far
//! away (Barnes and Hut 1986), in a quadtree that is built anew for each iteration.
//!
//! The tree is walked once for all points of a leaf, not once for each: what acts on them is gathered in a list, over which
//! the arithmetic then runs in whole vectors. A cell is judged from the nearest side of the leaf, so the result is at least as
//! exact as that of a walk for each point.

/// A leaf has at most so many points (more only where their places are the same to 16 bits a side).
const LEAF: usize = 8;

/// Bits of a side of the plane in the order of the points.
const BITS: u32 = 16;

/// The quadtree and its memory, which every iteration uses again.
#[derive(Debug, Default)]
pub(super) struct Repulsion {
    /// Places in the order of the Morton curve, each with the index of its point.
    order: Vec<u64>,
    xs: Vec<f32>,
    ys: Vec<f32>,
    /// Depth first: a cell, its first child with all below it, the next.
    cells: Vec<Cell>,
    acting: Acting,
    forces: Vec<[f32; 2]>,
}

/// Forces without the normalizer.
#[derive(Debug)]
pub(super) struct Forces<'a> {
    /// For each point the sum of `difference / (1 + squared distance)^2`.
    pub forces: &'a [[f32; 2]],
    /// The sum of `1 / (1 + squared distance)` over all pairs of different points, in both directions.
    pub normalizer: f64,
}

#[derive(Debug)]
struct Cell {
    /// Where its points are on the mean.
    x: f32,
    y: f32,
    count: f32,
    /// The square of its side.
    side: f32,
    /// Its points, in the order of the curve.
    begin: u32,
    end: u32,
    /// The cell after all that are in this one.
    next: u32,
    is_leaf: bool,
}

/// What acts on the points of a leaf.
#[derive(Debug, Default)]
struct Acting {
    xs: Vec<f32>,
    ys: Vec<f32>,
    counts: Vec<f32>,
}

impl Repulsion {
    pub fn new() -> Self {
        Self::default()
    }

    /// The forces on all points; with `theta` 0 they are exact, up to 0.7 a cell is never taken for one point by its own.
    pub fn forces(&mut self, points: &[[f32; 2]], theta: f32) -> Forces<'_> {
        self.build(points);
        self.forces.clear();
        self.forces.resize(points.len(), [0.0; 2]);
        let mut normalizer = 0.0;
        for leaf in self.cells.iter().filter(|cell| cell.is_leaf) {
            let range = leaf.begin as usize..leaf.end as usize;
            gather(&self.cells, &self.xs, &self.ys, range.clone(), theta, &mut self.acting);
            for begin in range.clone().step_by(LEAF) {
                let end = (begin + LEAF).min(range.end);
                let sums = self.acting.sum(&self.xs[begin..end], &self.ys[begin..end]);
                for (lane, packed) in self.order[begin..end].iter().enumerate() {
                    self.forces[(packed & 0xffff_ffff) as usize] = [sums.x[lane], sums.y[lane]];
                    // Without the point's closeness to itself.
                    normalizer += f64::from(sums.closeness[lane]) - 1.0;
                }
            }
        }
        Forces { forces: &self.forces, normalizer: normalizer.max(f64::MIN_POSITIVE) }
    }

    fn build(&mut self, points: &[[f32; 2]]) {
        let bound = |axis: usize| {
            let values = points.iter().map(|point| point[axis]);
            values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let [(left, right), (bottom, top)] = [bound(0), bound(1)];
        let side = (right - left).max(top - bottom).max(f32::MIN_POSITIVE);
        let scale = (1_u32 << BITS) as f32 / side;
        let most = (1_u32 << BITS) - 1;
        let place = |value: f32, low: f32| (((value - low) * scale) as u32).min(most);
        self.order.clear();
        self.order.extend(points.iter().enumerate().map(|(index, [x, y])| {
            let curve = interleave(place(*x, left)) | interleave(place(*y, bottom)) << 1;
            u64::from(curve) << 32 | index as u64
        }));
        self.order.sort_unstable();
        self.xs.clear();
        self.ys.clear();
        for packed in &self.order {
            let [x, y] = points[(packed & 0xffff_ffff) as usize];
            self.xs.push(x);
            self.ys.push(y);
        }
        self.cells.clear();
        self.cell(0, points.len(), BITS, side);
    }

    /// Appends the cell of these points and all in it; `level` is the number of times it can still be divided. Returns the sums of
    /// its places.
    fn cell(&mut self, begin: usize, end: usize, level: u32, side: f32) -> (f32, f32) {
        let at = self.cells.len();
        let is_leaf = end - begin <= LEAF || level == 0;
        let count = (end - begin) as f32;
        let (begin_u32, end_u32) = (begin as u32, end as u32);
        self.cells.push(Cell {
            x: 0.0,
            y: 0.0,
            count,
            side: side * side,
            begin: begin_u32,
            end: end_u32,
            next: 0,
            is_leaf,
        });
        let mut sums = (0.0, 0.0);
        if is_leaf {
            sums = (self.xs[begin..end].iter().sum(), self.ys[begin..end].iter().sum());
        } else {
            let shift = 32 + 2 * (level - 1);
            let mut rest = begin;
            for quadrant in 0..4 {
                let inside = |packed: &u64| packed >> shift & 3 <= quadrant;
                let split = rest + self.order[rest..end].partition_point(inside);
                if split > rest {
                    let (x, y) = self.cell(rest, split, level - 1, side / 2.0);
                    sums = (sums.0 + x, sums.1 + y);
                }
                rest = split;
            }
        }
        let next = self.cells.len() as u32;
        let cell = &mut self.cells[at];
        (cell.x, cell.y, cell.next) = (sums.0 / count, sums.1 / count, next);
        sums
    }
}

/// Spreads 16 bits over the even places of 32.
fn interleave(bits: u32) -> u32 {
    let bits = (bits | bits << 8) & 0x00ff_00ff;
    let bits = (bits | bits << 4) & 0x0f0f_0f0f;
    let bits = (bits | bits << 2) & 0x3333_3333;
    (bits | bits << 1) & 0x5555_5555
}

/// Lists what acts on a range of points, themselves among it.
fn gather(
    cells: &[Cell],
    xs: &[f32],
    ys: &[f32],
    range: std::ops::Range<usize>,
    theta: f32,
    acting: &mut Acting,
) {
    acting.clear();
    let bound = |values: &[f32]| {
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
    };
    let (left, right) = bound(&xs[range.clone()]);
    let (bottom, top) = bound(&ys[range]);
    let theta = theta * theta;
    let mut at = 0;
    while let Some(cell) = cells.get(at) {
        let dx = (left - cell.x).max(cell.x - right).max(0.0);
        let dy = (bottom - cell.y).max(cell.y - top).max(0.0);
        if cell.side < theta * (dx * dx + dy * dy) {
            acting.push(cell.x, cell.y, cell.count);
            at = cell.next as usize;
        } else if cell.is_leaf {
            for point in cell.begin as usize..cell.end as usize {
                acting.push(xs[point], ys[point], 1.0);
            }
            at = cell.next as usize;
        } else {
            at += 1;
        }
    }
}

struct Sums {
    x: [f32; LEAF],
    y: [f32; LEAF],
    closeness: [f32; LEAF],
}

impl Acting {
    fn clear(&mut self) {
        self.xs.clear();
        self.ys.clear();
        self.counts.clear();
    }

    fn push(&mut self, x: f32, y: f32, count: f32) {
        self.xs.push(x);
        self.ys.push(y);
        self.counts.push(count);
    }

    /// What acts on each of at most [`LEAF`] points.
    fn sum(&self, xs: &[f32], ys: &[f32]) -> Sums {
        let mut at = ([0.0; LEAF], [0.0; LEAF]);
        at.0[..xs.len()].copy_from_slice(xs);
        at.1[..ys.len()].copy_from_slice(ys);
        let mut sums = Sums { x: [0.0; LEAF], y: [0.0; LEAF], closeness: [0.0; LEAF] };
        for ((x, y), count) in self.xs.iter().zip(&self.ys).zip(&self.counts) {
            for lane in 0..LEAF {
                let (dx, dy) = (at.0[lane] - x, at.1[lane] - y);
                let close = 1.0 / (1.0 + dx * dx + dy * dy);
                let closeness = count * close;
                let push = closeness * close;
                sums.closeness[lane] += closeness;
                sums.x[lane] += push * dx;
                sums.y[lane] += push * dy;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::super::affinities::closeness_of_all;
    use super::*;

    /// Points in two heaps and some far away.
    fn points(count: usize) -> Vec<[f32; 2]> {
        let draw = |at: usize| ((at * 7919 + 13) % 10_007) as f32 / 10_007.0;
        (0..count)
            .map(|at| {
                let heap = [0.0, 6.0, 40.0 * draw(at + 5)][at % 3];
                [heap + draw(at), draw(at * 3 + 1) - heap]
            })
            .collect()
    }

    fn exact(points: &[[f32; 2]]) -> Vec<[f64; 2]> {
        let one = |[x, y]: [f32; 2]| {
            points.iter().fold([0.0; 2], |sum, [other_x, other_y]| {
                let (dx, dy) = (f64::from(x) - f64::from(*other_x), f64::from(y) - f64::from(*other_y));
                let push = (1.0 + dx * dx + dy * dy).powi(-2);
                [sum[0] + push * dx, sum[1] + push * dy]
            })
        };
        points.iter().copied().map(one).collect()
    }

    /// The largest difference from the exact forces, as a share of the largest force.
    fn error(points: &[[f32; 2]], theta: f32) -> f64 {
        let mut repulsion = Repulsion::new();
        let found = repulsion.forces(points, theta);
        let expected = exact(points);
        let largest = expected.as_flattened().iter().fold(0.0_f64, |most, part| most.max(part.abs()));
        let normalizer = closeness_of_all(points);
        let close = 1e-5 + 0.02 * f64::from(theta);
        assert!((found.normalizer / normalizer - 1.0).abs() < close, "{} {normalizer}", found.normalizer);
        let pairs = found.forces.as_flattened().iter().zip(expected.as_flattened());
        pairs.fold(0.0, |most: f64, (found, expected)| most.max((f64::from(*found) - expected).abs()))
            / largest
    }

    #[test]
    fn without_approximation_the_forces_are_those_of_all_pairs() {
        for count in [2, 8, 9, 100, 700] {
            let found = error(&points(count), 0.0);
            assert!(found < 1e-5, "{count}: {found}");
        }
    }

    #[test]
    fn approximated_forces_are_close() {
        let found = error(&points(1500), 0.5);
        assert!(found > 1e-6 && found < 0.02, "{found}");
    }

    #[test]
    fn points_in_one_place_push_nobody_and_end() {
        let mut repulsion = Repulsion::new();
        assert_eq!(repulsion.forces(&[[3.0, 4.0]], 0.5).forces, [[0.0; 2]]);
        let found = repulsion.forces(&[[3.0, 4.0]; 50], 0.5);
        assert_eq!(found.forces, [[0.0; 2]; 50]);
        assert!((found.normalizer - 50.0 * 49.0).abs() < 1e-3, "{}", found.normalizer);
        let mut heap = vec![[0.0, 0.0]; 40];
        heap.push([1000.0, 0.0]);
        let found = repulsion.forces(&heap, 0.5);
        assert!(found.forces[40][0] > 0.0 && found.forces[0][0] < 0.0);
    }

    #[test]
    fn memory_is_used_again_without_a_trace() {
        let mut repulsion = Repulsion::new();
        repulsion.forces(&points(900), 0.5);
        let after: Vec<[f32; 2]> = repulsion.forces(&points(300), 0.5).forces.to_vec();
        assert_eq!(after, Repulsion::new().forces(&points(300), 0.5).forces);
    }
}
