//! A density over points: a kernel around each trial, and one over the whole space so that no place is ruled out.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use crate::sampler::encoding::{Dim, Kind};

/// The widest kernel, of standard deviation 1 around the middle: the prior.
const PRIOR_MIDDLE: f64 = 0.5;
const PRIOR_WIDTH: f64 = 1.0;

/// Kernels get no narrower than a hundredth of the range (Bergstra et al. 2011, the "magic clip").
const NARROWEST: f64 = 0.01;

/// What lies so far below the largest term is none of a sum of exponentials in double precision.
const NEGLIGIBLE: f64 = 40.0;

/// A weighted sum of products of one-dimensional kernels: a normal one cut off at the bounds for a number, and for a
/// choice one that favors the trial's own value.
pub(super) struct Mixture {
    axes: Vec<Axis>,
    /// Of each kernel, the prior last: the logarithm of its weight over its scale factors.
    log_factors: Vec<f64>,
    /// Running sums of the weights, the last one 1.
    cumulated: Vec<f64>,
}

/// One dim of all kernels.
enum Axis {
    /// Middles, the prior's last; all but the prior share a width.
    Number { middles: Vec<f64>, width: f64 },
    /// Values, and the probabilities of a kernel's own value and of each other one. The prior has no value.
    Choice { values: Vec<f64>, own: f64, other: f64, count: usize },
}

impl Mixture {
    /// The mixture of the kernels around the points with these `columns`, a column for each dim.
    pub fn new(dims: &[&Dim], columns: Vec<Vec<f64>>, mut weights: Vec<f64>) -> Self {
        let points = weights.len();
        weights.push(1.0);
        let total: f64 = weights.iter().sum();
        let mut log_factors: Vec<f64> = weights.iter().map(|weight| libm::log(weight / total)).collect();
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        if let Some(last) = cumulated.last_mut() {
            *last = 1.0;
        }
        // The masses within the bounds, multiplied up so that one logarithm serves all dims.
        let mut masses = vec![1.0; points + 1];
        let mut scale = 0.0;
        let tail = Tail::new();
        let shrinking = libm::pow(points.max(1) as f64, -1.0 / (dims.len() as f64 + 4.0));
        let axes: Vec<Axis> = dims
            .iter()
            .zip(columns)
            .map(|(dim, column)| match dim.kind() {
                Kind::Choice(count) => Axis::choice(column, count),
                _ => {
                    let width = width(&column, shrinking).max(dim.half_cell().unwrap_or(0.0));
                    let mut middles = column;
                    for (mass, middle) in masses.iter_mut().zip(&middles) {
                        *mass *= tail.mass_within(*middle, width);
                    }
                    scale += libm::log(width);
                    middles.push(PRIOR_MIDDLE);
                    masses[points] *= tail.mass_within(PRIOR_MIDDLE, PRIOR_WIDTH);
                    fold_small(&mut masses, &mut log_factors);
                    Axis::Number { middles, width }
                }
            })
            .collect();
        for (factor, mass) in log_factors.iter_mut().zip(&masses) {
            *factor -= libm::log(*mass);
        }
        for factor in &mut log_factors[..points] {
            *factor -= scale;
        }
        Self { axes, log_factors, cumulated }
    }

    /// A point of the mixture: a number for each dim, not yet in the middle of its cell.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<f64> {
        let lot: f64 = rng.random();
        let kernel = self.cumulated.partition_point(|sum| *sum <= lot).min(self.cumulated.len() - 1);
        self.axes.iter().map(|axis| axis.draw(kernel, rng)).collect()
    }

    /// The logarithm of the density at a point, up to a constant that is the same for all mixtures over these dims.
    pub fn log_density(&self, point: &[f64]) -> f64 {
        self.log_density_unless(point, |_| false).unwrap_or(f64::NEG_INFINITY)
    }

    /// The same; none if a number that it is not below is enough to know that it does not matter.
    pub fn log_density_unless(&self, point: &[f64], is_enough: impl Fn(f64) -> bool) -> Option<f64> {
        let mut terms = self.log_factors.clone();
        for (axis, number) in self.axes.iter().zip(point) {
            axis.add_log_kernels(*number, &mut terms);
        }
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if is_enough(largest) {
            return None;
        }
        let above = terms.iter().filter(|term| **term > largest - NEGLIGIBLE);
        Some(largest + libm::log(above.map(|term| libm::exp(term - largest)).sum()))
    }
}

/// Moves masses that are about to become 0 into the logarithms.
fn fold_small(masses: &mut [f64], log_factors: &mut [f64]) {
    for (mass, factor) in masses.iter_mut().zip(log_factors) {
        if *mass < 1e-200 {
            *factor -= libm::log(*mass);
            *mass = 1.0;
        }
    }
}

/// Scott's rule (1992): the standard deviation, smaller the more points there are.
fn width(column: &[f64], shrinking: f64) -> f64 {
    let count = column.len() as f64;
    let mean = column.iter().sum::<f64>() / count.max(1.0);
    let squares: f64 = column.iter().map(|number| (number - mean) * (number - mean)).sum();
    let deviation = libm::sqrt(squares / (count - 1.0).max(1.0));
    (1.059 * deviation * shrinking).clamp(NARROWEST.max(1.0 / (count + 2.0)), 1.0)
}

/// The probabilities that a standard normal number is larger than 0, 1/64, 2/64, ...: read between the lines they are
/// right to a hundred-thousandth, and a history needs many.
struct Tail([f64; Self::LAST + 2]);

impl Tail {
    const STEPS: f64 = 64.0;
    /// Beyond it the probability is less than a billionth.
    const END: f64 = 6.0;
    const LAST: usize = 384;

    fn new() -> Self {
        let upper = |number: f64| 0.5 * libm::erfc(number * std::f64::consts::FRAC_1_SQRT_2);
        Self(std::array::from_fn(|step| upper(step as f64 / Self::STEPS)))
    }

    fn at(&self, number: f64) -> f64 {
        // Without a branch before the table, so that several are on their way at once.
        let place = number * Self::STEPS;
        let step = (place as u32 as usize).min(Self::LAST);
        let read = self.0[step] + (place - step as f64) * (self.0[step + 1] - self.0[step]);
        if number >= Self::END { 0.0 } else { read }
    }

    /// The part of a normal density around `middle` that lies between 0 and 1.
    fn mass_within(&self, middle: f64, width: f64) -> f64 {
        1.0 - self.at(middle / width) - self.at((1.0 - middle) / width)
    }
}

impl Axis {
    /// A kernel gives its own value one trial's worth, and shares the prior's among all.
    fn choice(values: Vec<f64>, count: usize) -> Self {
        let prior = 1.0 / (values.len() as f64 + 1.0);
        let total = 1.0 + prior * count as f64;
        Self::Choice { values, own: (1.0 + prior) / total, other: prior / total, count }
    }

    fn draw(&self, kernel: usize, rng: &mut impl Rng) -> f64 {
        match self {
            Self::Number { middles, width } => {
                let width = if kernel + 1 == middles.len() { PRIOR_WIDTH } else { *width };
                // More than a third of any kernel lies between the bounds.
                loop {
                    let normal: f64 = StandardNormal.sample(rng);
                    let number = middles[kernel] + width * normal;
                    if (0.0..=1.0).contains(&number) {
                        return number;
                    }
                }
            }
            Self::Choice { values, other, count, .. } => {
                let lot: f64 = rng.random();
                match values.get(kernel) {
                    Some(own) if lot >= *other * *count as f64 => *own,
                    Some(_) => libm::floor(lot / other).min(*count as f64 - 1.0),
                    None => libm::floor(lot * *count as f64).min(*count as f64 - 1.0),
                }
            }
        }
    }

    /// Adds the logarithm of each kernel at `number`, without its scale factors.
    fn add_log_kernels(&self, number: f64, terms: &mut [f64]) {
        match self {
            Self::Number { middles, width } => {
                let Some(last) = middles.len().checked_sub(1) else { return };
                let narrow = std::f64::consts::FRAC_1_SQRT_2 / width;
                for (term, middle) in terms[..last].iter_mut().zip(middles) {
                    let distance = (number - middle) * narrow;
                    *term -= distance * distance;
                }
                let distance = (number - PRIOR_MIDDLE) / PRIOR_WIDTH;
                terms[last] -= 0.5 * distance * distance;
            }
            Self::Choice { values, own, other, count } => {
                let (own, other) = (libm::log(*own), libm::log(*other));
                for (term, value) in terms.iter_mut().zip(values) {
                    *term += if *value == number { own } else { other };
                }
                if let Some(prior) = terms.get_mut(values.len()) {
                    *prior -= libm::log(*count as f64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::sampler::encoding::Encoding;

    fn mixture(space: &str, columns: &[&[f64]]) -> Mixture {
        let encoding = Encoding::new(&toml::from_str(space).expect(space));
        let dims: Vec<&Dim> = encoding.dims().iter().collect();
        let columns: Vec<Vec<f64>> = columns.iter().map(|column| column.to_vec()).collect();
        let weights = vec![1.0; columns[0].len()];
        Mixture::new(&dims, columns, weights)
    }

    #[test]
    fn the_density_sums_to_one() {
        const STEPS: usize = 20_000;
        let number = "a = { float = [0.0, 1.0] }";
        for column in [&[0.0, 0.02, 0.9, 1.0][..], &[0.5], &[0.3, 0.3, 0.3], &[]] {
            let mixture = mixture(number, &[column]);
            let places = (0..STEPS).map(|step| (step as f64 + 0.5) / STEPS as f64);
            let sum: f64 = places.map(|place| libm::exp(mixture.log_density(&[place]))).sum();
            // The factor 1 / sqrt(2 pi) is left out.
            let total = sum / STEPS as f64 / libm::sqrt(2.0 * std::f64::consts::PI);
            assert!((total - 1.0).abs() < 1e-4, "{column:?}: {total}");
        }
        let mixture = mixture("a = { choice = [1, 2, 3] }", &[&[0.0, 0.0, 2.0]]);
        let total: f64 = (0..3).map(|choice| libm::exp(mixture.log_density(&[f64::from(choice)]))).sum();
        assert!((total - 1.0).abs() < 1e-12, "{total}");
    }

    #[test]
    fn draws_follow_the_density() {
        const DRAWS: usize = 20_000;
        let space = "a = { float = [0.0, 1.0] }\nb = { choice = [1, 2, 3] }";
        let mixture = mixture(space, &[&[0.0, 0.1, 0.8], &[2.0, 2.0, 0.0]]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [[0usize; 10]; 3];
        for _ in 0..DRAWS {
            let point = mixture.draw(&mut rng);
            counts[point[1] as usize][((point[0] * 10.0) as usize).min(9)] += 1;
        }
        for (choice, counts) in counts.iter().enumerate() {
            for (cell, count) in counts.iter().enumerate() {
                let places = (0..50).map(|step| (cell as f64 + (f64::from(step) + 0.5) / 50.0) / 10.0);
                let density: f64 =
                    places.map(|place| libm::exp(mixture.log_density(&[place, choice as f64]))).sum();
                let expected = DRAWS as f64 * density / 500.0 / libm::sqrt(2.0 * std::f64::consts::PI);
                let error = (*count as f64 - expected).abs();
                assert!(error < 4.5 * libm::sqrt(expected) + 2.0, "{choice} {cell}: {count}, not {expected}");
            }
        }
    }

    #[test]
    fn tails_are_those_of_a_normal_number() {
        for (number, expected) in [(0.0, 0.5), (1.0, 0.158_655_254), (2.5, 0.006_209_665), (7.0, 0.0)] {
            assert!((Tail::new().at(number) - expected).abs() < 1e-5);
        }
    }
}
