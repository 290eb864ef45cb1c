//! Order statistics: quartiles, ranks, and a test whether one sample is larger than another.

use serde::Serialize;

/// The middle of a sample and the middles of its halves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quartiles {
    /// A quarter of the sample is less.
    pub q1: f64,
    /// Half of the sample is less.
    pub median: f64,
    /// Three quarters of the sample are less.
    pub q3: f64,
}

impl Quartiles {
    /// Those of a sample in any order; none of an empty one.
    pub fn of(sample: &[f64]) -> Option<Self> {
        let sorted = sorted(sample);
        let at = |share| quantile(&sorted, share);
        Some(Self { q1: at(0.25)?, median: at(0.5)?, q3: at(0.75)? })
    }
}

/// A sample in rising order.
pub(super) fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// What a share of a sample in rising order is less than; between two of its numbers read off the line that joins them,
/// as `statistics.quantiles` of Python has it: of 15 numbers the quartiles are the 4th, the 8th and the 12th.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = (share * (sorted.len() + 1) as f64 - 1.0).clamp(0.0, last as f64);
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// The ranks of numbers from 1 for the least; equal ones share the mean of theirs.
pub(super) fn ranks(numbers: &[f64]) -> Vec<f64> {
    let rank = |number: &f64| {
        let less = numbers.iter().filter(|other| other.total_cmp(number).is_lt()).count();
        let equal = numbers.iter().filter(|other| other.total_cmp(number).is_eq()).count();
        less as f64 + (equal as f64 + 1.0) / 2.0
    };
    numbers.iter().map(rank).collect()
}

/// The one-sided test of Mann and Whitney (1947): the probability that `a` would exceed `b` as much as it does or more
/// if both came from one distribution. By the normal approximation, corrected for ties and for continuity.
pub(super) fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    let both: Vec<f64> = a.iter().chain(b).copied().collect();
    let ranks = ranks(&both);
    let above = ranks[..a.len()].iter().sum::<f64>() - n * (n + 1.0) / 2.0;
    let total = n + m;
    let ties: f64 = sorted(&both)
        .chunk_by(|x, y| x == y)
        .map(|equal| {
            let count = equal.len() as f64;
            count * count * count - count
        })
        .sum();
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 || variance.is_nan() {
        // All are equal, or there are none.
        return 1.0;
    }
    let z = (above - n * m / 2.0 - 0.5) / variance.sqrt();
    0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_python() {
        let quartiles = Quartiles::of(&[4.0, 1.0, 3.0, 2.0]).expect("a sample");
        assert_eq!(quartiles, Quartiles { q1: 1.25, median: 2.5, q3: 3.75 });
        let one = Quartiles::of(&[7.0]).expect("a sample");
        assert_eq!((one.q1, one.median, one.q3), (7.0, 7.0, 7.0));
        assert_eq!(Quartiles::of(&[]), None);
        assert_eq!(quantile(&[0.0, 10.0], 0.99), Some(10.0));
    }

    #[test]
    fn equal_numbers_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[5.0, 5.0, 5.0]), [2.0, 2.0, 2.0]);
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn the_test_of_mann_and_whitney_is_that_of_scipy() {
        // mannwhitneyu(a, b, alternative="greater", method="asymptotic").pvalue
        let rising: Vec<f64> = (0..30).map(f64::from).collect();
        let between: Vec<f64> = (0..15).map(|number| f64::from(number) + 0.5).collect();
        let cases: [(&[f64], &[f64], f64); 4] = [
            (&[1.1, 2.2, 3.3, 4.4, 5.5], &[0.1, 0.2, 2.5, 3.0], 0.088_954_797_493_491_22),
            (&[1.0, 2.0, 2.0, 3.0, 5.0, 5.0], &[2.0, 2.0, 2.0, 4.0], 0.366_052_560_386_032_6),
            (&[0.0, 0.0, 1.0], &[0.0, 2.0, 2.0, 3.0], 0.952_258_383_951_226_3),
            (&rising, &between, 0.005_933_675_993_746_048),
        ];
        for (a, b, expected) in cases {
            let found = mann_whitney(a, b);
            assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        }
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0]), 1.0);
        assert_eq!(mann_whitney(&[], &[1.0]), 1.0);
    }
}
