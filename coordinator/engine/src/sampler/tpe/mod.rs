//! The tree-structured Parzen estimator: the best trials and all the others make a density each, and the next trial is
//! where the first is largest beside the second (Bergstra et al. 2011). The choices within it that differ from those of
//! the papers were made by measuring; `docs/benchmarks.md` has the figures.

mod mixture;

use std::ops::Range;

use rand::Rng;

use self::mixture::Mixture;
use super::encoding::Point;
use super::history::History;

/// The share of the trials that are the best, and how many at most. Bergstra et al. take 0.15, with no limit.
const BEST_SHARE: f64 = 0.15;
const BEST_MOST: usize = 50;

/// Points drawn from the density of the best, of which the one with the largest ratio is tried.
const CANDIDATES: usize = 16;

/// Further draws where all of them were tried before.
const MORE_CANDIDATES: usize = 64;

/// The weight of a running trial among those that are not the best: it is a liar that keeps others away, and half as
/// loud as one that is known to be bad.
const LIAR_WEIGHT: f64 = 0.5;

/// The point to try next. `running` are the points of the trials that are not finished.
pub(super) fn point(history: &History, running: &[Point], multivariate: bool, rng: &mut impl Rng) -> Point {
    let encoding = history.encoding();
    let mut point = vec![f64::NAN; encoding.dims().len()];
    for group in groups(history, multivariate) {
        if encoding.has(group[0], &point) {
            Ratio::new(history, running, &group).choose(history, running, &mut point, rng);
        }
    }
    point
}

/// Dims that are chosen together, in their order: those under the same conditions, or each alone.
fn groups(history: &History, multivariate: bool) -> Vec<Vec<usize>> {
    let dims = history.encoding().dims();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in 0..dims.len() {
        let same = |group: &&mut Vec<usize>| dims[group[0]].conditions() == dims[place].conditions();
        match groups.iter_mut().find(same).filter(|_| multivariate) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

/// The two densities over some dims.
struct Ratio<'a> {
    dims: &'a [usize],
    best: Mixture,
    others: Mixture,
}

impl<'a> Ratio<'a> {
    fn new(history: &History, running: &[Point], dims: &'a [usize]) -> Self {
        let has = |row: usize| !history.column(dims[0])[row].is_nan();
        let ranked = history.ranking().iter().map(|row| *row as usize).filter(|row| has(*row));
        let mut best: Vec<usize> = ranked.collect();
        best.truncate(best_count(best.len()));
        let mut is_best = vec![false; history.len()];
        for row in &best {
            is_best[*row] = true;
        }
        let others: Vec<usize> = (0..history.len()).filter(|row| has(*row) && !is_best[*row]).collect();
        let liars: Vec<&Point> = running.iter().filter(|point| !point[dims[0]].is_nan()).collect();
        let columns = |rows: &[usize], liars: &[&Point]| -> Vec<Vec<f64>> {
            let column = |dim: &usize| {
                let column = history.column(*dim);
                let finished = rows.iter().map(|row| column[*row]);
                finished.chain(liars.iter().map(|point| point[*dim])).collect()
            };
            dims.iter().map(column).collect()
        };
        let weights = others.iter().map(|_| 1.0).chain(liars.iter().map(|_| LIAR_WEIGHT)).collect();
        let kinds: Vec<_> = dims.iter().map(|dim| &history.encoding().dims()[*dim]).collect();
        Self {
            dims,
            best: Mixture::new(&kinds, columns(&best, &[]), rank_weights(best.len())),
            others: Mixture::new(&kinds, columns(&others, &liars), weights),
        }
    }

    /// Chooses the group's dims of `point`.
    fn choose(&self, history: &History, running: &[Point], point: &mut Point, rng: &mut impl Rng) {
        let last = self.dims.last() == Some(&(point.len() - 1));
        let is_new = |point: &Point| !last || !history.is_taken(running, point);
        let candidates = self.draw(0..CANDIDATES, history, point, rng);
        let fresh: Vec<&Point> = candidates.iter().filter(|candidate| is_new(candidate)).collect();
        // The first of equals.
        let mut chosen: Option<(f64, &Point)> = None;
        for candidate in fresh {
            let numbers: Vec<f64> = self.dims.iter().map(|dim| candidate[*dim]).collect();
            let best = self.best.log_density(&numbers);
            let loses = |others: f64| chosen.is_some_and(|(leader, _)| best - others <= leader);
            let Some(others) = self.others.log_density_unless(&numbers, loses) else { continue };
            if chosen.is_none_or(|(leader, _)| best - others > leader) {
                chosen = Some((best - others, candidate));
            }
        }
        if let Some((_, chosen)) = chosen {
            point.clone_from(chosen);
            return;
        }
        let mut more = self.draw(0..MORE_CANDIDATES, history, point, rng);
        let place = more.iter().position(is_new).unwrap_or(0);
        *point = more.swap_remove(place);
    }

    fn draw(&self, count: Range<usize>, history: &History, point: &Point, rng: &mut impl Rng) -> Vec<Point> {
        let dims = history.encoding().dims();
        let draw = |_| {
            let mut drawn = point.clone();
            for (dim, number) in self.dims.iter().zip(self.best.draw(rng)) {
                drawn[*dim] = if dims[*dim].is_choice() { number } else { dims[*dim].at(number) };
            }
            drawn
        };
        count.map(draw).collect()
    }
}

/// How many of so many trials are the best.
fn best_count(trials: usize) -> usize {
    (libm::ceil(BEST_SHARE * trials as f64) as usize).min(BEST_MOST)
}

/// Weights by rank, the best first, 1 in the mean: the logarithmic ones of CMA-ES (Hansen 2016).
fn rank_weights(count: usize) -> Vec<f64> {
    let weight = |rank: usize| libm::log(count as f64 + 1.0) - libm::log(rank as f64 + 1.0);
    let total: f64 = (0..count).map(weight).sum();
    (0..count).map(|rank| weight(rank) * count as f64 / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_weigh_most() {
        for count in [1, 2, 10, 50] {
            let weights = rank_weights(count);
            assert!((weights.iter().sum::<f64>() - count as f64).abs() < 1e-9);
            assert!(weights.windows(2).all(|pair| pair[0] > pair[1]) && weights[count - 1] > 0.0);
        }
        assert_eq!([0, 1, 6, 7, 20, 1000].map(best_count), [0, 1, 1, 2, 3, 50]);
    }
}
