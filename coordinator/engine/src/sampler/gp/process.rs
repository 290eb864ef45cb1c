//! The Gaussian process itself: a Matérn kernel of smoothness 5/2 with a length for each dim, conditioned on values.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// The logarithms of what the kernel is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hyperparams {
    /// Of the length of each dim: over this distance values are alike. Two choices are 1 apart.
    pub log_lengths: Vec<f64>,
    /// Of the variance of values far from any other.
    pub log_variance: f64,
    /// Of the variance of values at the same point.
    pub log_noise: f64,
}

/// How two points differ.
#[derive(Debug, Clone)]
pub(super) struct Metric {
    /// By dim: 1 over the length squared.
    pub scales: Vec<f64>,
    /// By dim: whether its numbers are choices.
    pub choices: Vec<bool>,
}

/// A point of the process; see [`super::Inputs`].
pub(super) type Place = Vec<f64>;

pub(super) struct Process {
    metric: Metric,
    variance: f64,
    places: Vec<Place>,
    /// Of the matrix of covariances.
    factor: Cholesky<f64, Dyn>,
    /// Its inverse times the values.
    weights: DVector<f64>,
}

/// What a process says of a place: the mean and the variance of the value there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prediction {
    pub mean: f64,
    pub variance: f64,
}

/// The least variance that a prediction has.
const LEAST_VARIANCE: f64 = 1e-12;

/// What is added to the diagonal in any case, so that the matrix can be factored.
const JITTER: f64 = 1e-9;

impl Metric {
    pub fn new(hyperparams: &Hyperparams, choices: &[bool]) -> Self {
        let scales = hyperparams.log_lengths.iter().map(|length| libm::exp(-2.0 * length)).collect();
        Self { scales, choices: choices.to_vec() }
    }

    /// The squared difference on each dim, before it is scaled.
    pub fn differences<'a>(&'a self, a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        a.iter().zip(b).zip(&self.choices).map(|((a, b), choice)| match choice {
            true => f64::from(a != b),
            false => (a - b) * (a - b),
        })
    }

    /// The scaled distance, squared.
    pub fn squared(&self, a: &[f64], b: &[f64]) -> f64 {
        self.differences(a, b).zip(&self.scales).map(|(difference, scale)| difference * scale).sum()
    }
}

/// The correlation at a squared distance, and its derivative by the squared distance.
pub(super) fn matern(squared: f64) -> (f64, f64) {
    let distance = libm::sqrt(5.0 * squared);
    let decay = libm::exp(-distance);
    ((1.0 + distance + distance * distance / 3.0) * decay, -5.0 / 6.0 * (1.0 + distance) * decay)
}

/// The matrix of correlations of places; with the derivatives by the squared distances, below the diagonal.
pub(super) fn correlations(metric: &Metric, places: &[Place]) -> (DMatrix<f64>, DMatrix<f64>) {
    let count = places.len();
    let mut matrix = DMatrix::identity(count, count);
    let mut slopes = DMatrix::zeros(count, count);
    for column in 0..count {
        for row in column + 1..count {
            let (correlation, slope) = matern(metric.squared(&places[row], &places[column]));
            matrix[(row, column)] = correlation;
            matrix[(column, row)] = correlation;
            slopes[(row, column)] = slope;
        }
    }
    (matrix, slopes)
}

/// The factor of the matrix of covariances; none if it is too nearly singular even for `jitter`.
pub(super) fn factor(
    correlations: &DMatrix<f64>,
    hyperparams: &Hyperparams,
    jitter: f64,
) -> Option<Cholesky<f64, Dyn>> {
    let mut matrix = correlations * libm::exp(hyperparams.log_variance);
    let noise = libm::exp(hyperparams.log_noise) + jitter;
    for place in 0..matrix.nrows() {
        matrix[(place, place)] += noise;
    }
    Cholesky::new(matrix)
}

/// As [`factor`], with no more jitter than it takes.
pub(super) fn factor_somehow(
    correlations: &DMatrix<f64>,
    hyperparams: &Hyperparams,
) -> Option<Cholesky<f64, Dyn>> {
    [1.0, 1e2, 1e4, 1e6].iter().find_map(|times| factor(correlations, hyperparams, JITTER * times))
}

impl Process {
    /// A process that knows these values; none for numbers that no matrix can be made of.
    pub fn new(
        hyperparams: &Hyperparams,
        choices: &[bool],
        places: Vec<Place>,
        values: &[f64],
    ) -> Option<Self> {
        let metric = Metric::new(hyperparams, choices);
        let (matrix, _) = correlations(&metric, &places);
        let factor = factor_somehow(&matrix, hyperparams)?;
        let weights = factor.solve(&DVector::from_column_slice(values));
        let variance = libm::exp(hyperparams.log_variance);
        Some(Self { metric, variance, places, factor, weights })
    }

    pub fn metric(&self) -> &Metric {
        &self.metric
    }

    /// What the value at a place is expected to be.
    pub fn predict(&self, place: &[f64]) -> Prediction {
        let mut covariances = DVector::from_iterator(
            self.places.len(),
            self.places.iter().map(|known| self.variance * matern(self.metric.squared(known, place)).0),
        );
        let mean = covariances.dot(&self.weights);
        // With the factor L of the matrix, the variance that is explained is |L^-1 k|^2.
        self.factor.l_dirty().solve_lower_triangular_mut(&mut covariances);
        Prediction { mean, variance: (self.variance - covariances.norm_squared()).max(LEAST_VARIANCE) }
    }

    /// The same with the derivatives of mean and variance by each dim that is no choice.
    pub fn predict_slope(&self, place: &[f64]) -> (Prediction, Vec<f64>, Vec<f64>) {
        let count = self.places.len();
        let mut covariances = DVector::zeros(count);
        let mut slopes = vec![0.0; count];
        for (row, known) in self.places.iter().enumerate() {
            let (correlation, slope) = matern(self.metric.squared(known, place));
            covariances[row] = self.variance * correlation;
            slopes[row] = self.variance * slope;
        }
        let explained = self.factor.solve(&covariances);
        let mean = covariances.dot(&self.weights);
        let variance = (self.variance - explained.dot(&covariances)).max(LEAST_VARIANCE);
        let mut mean_slope = vec![0.0; place.len()];
        let mut variance_slope = vec![0.0; place.len()];
        for (row, known) in self.places.iter().enumerate() {
            let (by_mean, by_variance) =
                (slopes[row] * self.weights[row], -2.0 * slopes[row] * explained[row]);
            for dim in 0..place.len() {
                if !self.metric.choices[dim] {
                    let change = 2.0 * self.metric.scales[dim] * (place[dim] - known[dim]);
                    mean_slope[dim] += by_mean * change;
                    variance_slope[dim] += by_variance * change;
                }
            }
        }
        (Prediction { mean, variance }, mean_slope, variance_slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        let hyperparams =
            Hyperparams { log_lengths: vec![-1.0, -0.5, 0.3], log_variance: 0.2, log_noise: -9.0 };
        let places =
            [[0.1, 0.9, 0.0], [0.5, 0.4, 1.0], [0.8, 0.2, 0.0], [0.9, 0.8, 1.0]].map(Vec::from).to_vec();
        Process::new(&hyperparams, &[false, false, true], places, &[1.0, -0.5, 0.3, 2.0]).expect("a process")
    }

    #[test]
    fn known_values_are_expected_and_certain() {
        let process = process();
        let Prediction { mean, variance } = process.predict(&[0.5, 0.4, 1.0]);
        assert!((mean + 0.5).abs() < 1e-3 && variance < 1e-3, "{mean} {variance}");
        let far = process.predict(&[-40.0, 40.0, 7.0]);
        assert!(far.mean.abs() < 1e-9 && (far.variance - libm::exp(0.2)).abs() < 1e-9, "{far:?}");
    }

    #[test]
    fn slopes_are_those_of_small_steps() {
        let process = process();
        let place = [0.33, 0.6, 1.0];
        let (prediction, mean_slope, variance_slope) = process.predict_slope(&place);
        let plain = process.predict(&place);
        assert!((prediction.mean - plain.mean).abs() + (prediction.variance - plain.variance).abs() < 1e-9);
        for dim in 0..2 {
            let moved = |by: f64| {
                let mut moved = place;
                moved[dim] += by;
                process.predict(&moved)
            };
            let (up, down) = (moved(1e-5), moved(-1e-5));
            assert!(((up.mean - down.mean) / 2e-5 - mean_slope[dim]).abs() < 1e-5);
            assert!(((up.variance - down.variance) / 2e-5 - variance_slope[dim]).abs() < 1e-5);
        }
        assert_eq!((mean_slope[2], variance_slope[2]), (0.0, 0.0));
    }
}
