//! How much each code should lie beside each of its neighbors.

use super::super::neighbors::{self, Neighbor};
use super::super::{Codes, EmbedError, Watch};

/// How near the entropy of a code's neighbors must come to the logarithm of the perplexity.
const TOLERANCE: f64 = 1e-5;

/// Halvings in the search for it.
const HALVINGS: u32 = 100;

/// The joint probabilities of pairs of neighbors, each pair once. They sum to 1 over both directions.
#[derive(Debug)]
pub(super) struct Affinities {
    count: usize,
    /// Where the pairs of each code begin, and one more.
    starts: Vec<u32>,
    /// The other code of each pair, the one with the higher index.
    others: Vec<u32>,
    values: Vec<f32>,
}

impl Affinities {
    /// Those of the `3 * perplexity + 1` nearest neighbors of each code; none if the watch says stop.
    pub fn new(codes: Codes<'_>, perplexity: f64, watch: Watch<'_>) -> Result<Option<Self>, EmbedError> {
        if !(perplexity.is_finite() && perplexity >= 1.0) {
            return Err(EmbedError::NoPerplexity(perplexity));
        }
        let rows = codes.len();
        let needed = (3.0 * perplexity).ceil() as usize;
        let needed = needed.saturating_add(1);
        if rows < needed {
            return Err(EmbedError::Perplexity { perplexity, needed, rows, most: (rows - 1) / 3 });
        }
        let k = ((3.0 * perplexity) as usize + 1).min(rows - 1);
        let Some(neighbors) = neighbors::nearest(codes, k, watch) else { return Ok(None) };
        Ok(Some(Self::of_neighbors(&neighbors, rows, k, perplexity)))
    }

    fn of_neighbors(neighbors: &[Neighbor], count: usize, k: usize, perplexity: f64) -> Self {
        // Both directions of a pair become one entry: the mean, as a share of all codes. Once as i beside j it is half of it.
        let mut pairs = Vec::with_capacity(neighbors.len());
        let mut shares = vec![0.0; k];
        for (code, near) in neighbors.chunks_exact(k).enumerate() {
            conditional(near, perplexity, &mut shares);
            for (near, share) in near.iter().zip(&shares) {
                let code = code as u32;
                let key = u64::from(code.min(near.index)) << 32 | u64::from(code.max(near.index));
                pairs.push((key, share / (2.0 * count as f64)));
            }
        }
        pairs.sort_unstable_by_key(|(key, _)| *key);
        let mut starts = vec![0_u32; count + 1];
        let mut others = Vec::with_capacity(pairs.len());
        let mut values = Vec::with_capacity(pairs.len());
        for both in pairs.chunk_by(|left, right| left.0 == right.0) {
            let key = both.first().map_or(0, |(key, _)| *key);
            starts[(key >> 32) as usize + 1] += 1;
            others.push((key & 0xffff_ffff) as u32);
            // Two terms: their order makes no difference.
            values.push(both.iter().map(|(_, value)| value).sum::<f64>() as f32);
        }
        for code in 0..count {
            starts[code + 1] += starts[code];
        }
        Self { count, starts, others, values }
    }

    /// The pairs of one code with those after it: indices and probabilities.
    fn pairs(&self, code: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.starts[code] as usize..self.starts[code + 1] as usize;
        self.others[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// Adds `factor` times the attraction of each point to the sums.
    pub fn attract(&self, points: &[[f32; 2]], factor: f32, sums: &mut [[f32; 2]]) {
        for code in 0..self.count {
            let [x, y] = points[code];
            let (mut sum_x, mut sum_y) = (0.0, 0.0);
            for (other, value) in self.pairs(code) {
                let [other_x, other_y] = points[other as usize];
                let (dx, dy) = (x - other_x, y - other_y);
                let pull = factor * value / (1.0 + dx * dx + dy * dy);
                sum_x += pull * dx;
                sum_y += pull * dy;
                let sum = &mut sums[other as usize];
                sum[0] -= pull * dx;
                sum[1] -= pull * dy;
            }
            sums[code][0] += sum_x;
            sums[code][1] += sum_y;
        }
    }

    /// The sum of `p log(p / q)` over all pairs of neighbors, `q` being the closeness of their points as a share of that of all
    /// pairs of points.
    pub fn kl_divergence(&self, points: &[[f32; 2]]) -> f64 {
        let normalizer = closeness_of_all(points).ln();
        let mut sum = 0.0;
        for code in 0..self.count {
            let [x, y] = points[code].map(f64::from);
            for (other, value) in self.pairs(code).filter(|(_, value)| *value > 0.0) {
                let [other_x, other_y] = points[other as usize].map(f64::from);
                let apart = (1.0 + (x - other_x).powi(2) + (y - other_y).powi(2)).ln();
                let value = f64::from(value);
                sum += 2.0 * value * (value.ln() + apart + normalizer);
            }
        }
        sum
    }
}

/// The sum of `1 / (1 + squared distance)` over all pairs of different points, in both directions.
pub(super) fn closeness_of_all(points: &[[f32; 2]]) -> f64 {
    let xs: Vec<f32> = points.iter().map(|[x, _]| *x).collect();
    let ys: Vec<f32> = points.iter().map(|[_, y]| *y).collect();
    let mut sum = 0.0;
    for (at, [x, y]) in points.iter().enumerate() {
        let after = xs[at + 1..].chunks(512).zip(ys[at + 1..].chunks(512));
        for (xs, ys) in after {
            // Four sums at a time, for whole vectors.
            let mut lanes = [0.0_f32; 4];
            let close = |other_x: f32, other_y: f32| {
                let (dx, dy) = (x - other_x, y - other_y);
                1.0 / (1.0 + dx * dx + dy * dy)
            };
            let (x_fours, x_rest) = xs.as_chunks::<4>();
            let (y_fours, y_rest) = ys.as_chunks::<4>();
            for (xs, ys) in x_fours.iter().zip(y_fours) {
                for lane in 0..4 {
                    lanes[lane] += close(xs[lane], ys[lane]);
                }
            }
            let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| close(*x, *y)).sum();
            sum += f64::from(rest + lanes.iter().sum::<f32>());
        }
    }
    2.0 * sum
}

/// The probability of each neighbor: a Gaussian of its distance, as wide as it takes for the entropy to be the logarithm of
/// the perplexity. Sums to 1.
fn conditional(neighbors: &[Neighbor], perplexity: f64, shares: &mut [f64]) {
    let wanted = perplexity.ln();
    // Only differences matter, and the nearest one keeps the exponentials from vanishing.
    // A square that is too large for its type counts as the largest there is.
    let squared = |near: &Neighbor| f64::from(near.squared.min(f32::MAX));
    let nearest = neighbors.first().map_or(0.0, squared);
    let farther = |near: &Neighbor| squared(near) - nearest;
    let spread = neighbors.iter().map(farther).sum::<f64>() / neighbors.len() as f64;
    // 1 over twice the variance; where all are equally far, every one is right.
    let mut precision = if spread > 0.0 { 1.0 / spread } else { 1.0 };
    let (mut low, mut high) = (0.0, f64::INFINITY);
    for _ in 0..HALVINGS {
        let (mut sum, mut moment) = (0.0, 0.0);
        for (share, near) in shares.iter_mut().zip(neighbors) {
            let farther = farther(near);
            *share = (-precision * farther).exp();
            sum += *share;
            moment += *share * farther;
        }
        let entropy = sum.ln() + precision * moment / sum;
        shares.iter_mut().for_each(|share| *share /= sum);
        if (entropy - wanted).abs() < TOLERANCE || spread == 0.0 {
            return;
        }
        if entropy > wanted {
            low = precision;
            precision = if high.is_infinite() { precision * 2.0 } else { f64::midpoint(low, high) };
        } else {
            high = precision;
            precision = f64::midpoint(low, high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perplexity_is_the_number_of_neighbors_that_count() {
        let neighbors: Vec<Neighbor> =
            (0..30).map(|at| Neighbor { squared: 5.0 + at as f32, index: at }).collect();
        let mut shares = vec![0.0; 30];
        for perplexity in [1.5, 4.0, 10.0, 25.0] {
            conditional(&neighbors, perplexity, &mut shares);
            let entropy: f64 = shares.iter().map(|share| -share * share.max(1e-300).ln()).sum();
            assert!((entropy - f64::ln(perplexity)).abs() < 1e-4, "{perplexity}: {}", entropy.exp());
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(shares.is_sorted_by(|left, right| left >= right));
        }
    }

    #[test]
    fn equal_and_infinite_distances_give_shares_too() {
        let mut shares = vec![0.0; 4];
        for squared in
            [[0.0; 4], [3.0; 4], [0.0, 0.0, 0.0, f32::INFINITY], [f32::INFINITY; 4], [0.0, 0.0, 0.0, 1e-30]]
        {
            let neighbors = squared.map(|squared| Neighbor { squared, index: 0 });
            conditional(&neighbors, 2.0, &mut shares);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{squared:?}: {shares:?}");
        }
    }

    #[test]
    fn pairs_stand_once_and_sum_to_one() {
        // 0 and 1 are each other's neighbors; 2 has 1, which does not have it.
        let near = |index, squared| Neighbor { squared, index };
        let affinities = Affinities::of_neighbors(&[near(1, 1.0), near(0, 1.0), near(1, 4.0)], 3, 1, 1.0);
        assert_eq!(affinities.pairs(0).collect::<Vec<_>>(), [(1, 2.0 / 6.0)]);
        assert_eq!(affinities.pairs(1).collect::<Vec<_>>(), [(2, 1.0 / 6.0)]);
        assert_eq!(affinities.pairs(2).count(), 0);
        let total: f32 = (0..3).flat_map(|code| affinities.pairs(code)).map(|(_, value)| 2.0 * value).sum();
        assert!((total - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_divergence_of_a_hand() {
        // Three points, of which 0 and 1 are 1 apart, 2 is far from both: q01 = (1/2) / Z.
        let near = |index, squared| Neighbor { squared, index };
        let affinities = Affinities::of_neighbors(&[near(1, 1.0), near(0, 1.0), near(1, 4.0)], 3, 1, 1.0);
        let points = [[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]];
        let [close, far, farthest] = [1.0 / 2.0, 1.0 / 10.0, 1.0 / 11.0];
        let normalizer = 2.0 * (close + far + farthest);
        let term = |p: f64, q: f64| 2.0 * p * (p / (q / normalizer)).ln();
        let expected = term(2.0 / 6.0, close) + term(1.0 / 6.0, far);
        assert!((affinities.kl_divergence(&points) - expected).abs() < 1e-6);
    }
}
