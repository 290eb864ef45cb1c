//! Which lengths, variance and noise explain the values best.

use nalgebra::DVector;

use super::minimize::minimize;
use super::process::{Hyperparams, Metric, Place, correlations, factor};

/// Steps of the search at most.
const STEPS: usize = 20;

/// A normal prior on the logarithm of a hyperparameter, and its bounds.
#[derive(Debug, Clone, Copy)]
struct Prior {
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
}

impl Prior {
    /// For lengths: the more dims, the longer (Hvarfner et al. 2024, arXiv 2402.02229, whose log-normal density of the
    /// length has its mode here).
    fn length(dims: usize) -> Self {
        let mean = std::f64::consts::SQRT_2 + 0.5 * libm::log(dims as f64) - 3.0;
        Self { mean, deviation: libm::sqrt(3.0), low: libm::log(0.02), high: libm::log(20.0) }
    }

    /// For the variance of values that were brought to variance 1.
    fn variance() -> Self {
        Self { mean: 0.0, deviation: 1.0, low: libm::log(0.05), high: libm::log(20.0) }
    }

    /// For the noise: anything from none to all.
    fn noise() -> Self {
        Self { mean: libm::log(1e-4), deviation: 3.0, low: libm::log(1e-6), high: 0.0 }
    }
}

/// The hyperparams with the largest posterior density, and the logarithm of that density up to a constant.
pub(super) fn fit(places: &[Place], values: &[f64], choices: &[bool]) -> (Hyperparams, f64) {
    let dims = choices.len();
    let mut priors = vec![Prior::length(dims.max(1)); dims];
    priors.extend([Prior::variance(), Prior::noise()]);
    let mut start: Vec<f64> = priors.iter().map(|prior| prior.mean).collect();
    start[dims + 1] = libm::log(1e-3);
    let low: Vec<f64> = priors.iter().map(|prior| prior.low).collect();
    let high: Vec<f64> = priors.iter().map(|prior| prior.high).collect();
    let (found, value) = minimize(start, &low, &high, STEPS, |place, gradient| {
        negative_log_posterior(place, places, values, choices, &priors, gradient)
    });
    (unpack(&found), -value)
}

fn unpack(logarithms: &[f64]) -> Hyperparams {
    let dims = logarithms.len() - 2;
    Hyperparams {
        log_lengths: logarithms[..dims].to_vec(),
        log_variance: logarithms[dims],
        log_noise: logarithms[dims + 1],
    }
}

/// Minus the log marginal likelihood (Rasmussen and Williams 2006, 2.30 and 5.9, without the constant) and the log
/// prior, with the gradient.
fn negative_log_posterior(
    logarithms: &[f64],
    places: &[Place],
    values: &[f64],
    choices: &[bool],
    priors: &[Prior],
    gradient: &mut [f64],
) -> f64 {
    let hyperparams = unpack(logarithms);
    let metric = Metric::new(&hyperparams, choices);
    let (matrix, slopes) = correlations(&metric, places);
    let Some(factor) = factor(&matrix, &hyperparams, 1e-9) else { return f64::INFINITY };
    let values = DVector::from_column_slice(values);
    let weights = factor.solve(&values);
    let log_determinant: f64 = 2.0 * factor.l_dirty().diagonal().iter().map(|d| libm::log(*d)).sum::<f64>();
    let mut result = 0.5 * (values.dot(&weights) + log_determinant);
    let inverse = factor.inverse();
    let (variance, noise) = (libm::exp(hyperparams.log_variance), libm::exp(hyperparams.log_noise));
    let dims = choices.len();
    gradient.fill(0.0);
    // With W = K^-1 - w w' the derivative by a hyperparameter is half the trace of W times that of K.
    let mut by_variance = 0.0;
    for column in 0..places.len() {
        let diagonal = inverse[(column, column)] - weights[column] * weights[column];
        by_variance += 0.5 * diagonal;
        gradient[dims + 1] += 0.5 * noise * diagonal;
        for row in column + 1..places.len() {
            let both = inverse[(row, column)] - weights[row] * weights[column];
            by_variance += both * matrix[(row, column)];
            let by_distance = both * variance * slopes[(row, column)];
            for (dim, difference) in metric.differences(&places[row], &places[column]).enumerate() {
                gradient[dim] -= 2.0 * by_distance * difference * metric.scales[dim];
            }
        }
    }
    gradient[dims] = variance * by_variance;
    for ((slope, logarithm), prior) in gradient.iter_mut().zip(logarithms).zip(priors) {
        let away = (logarithm - prior.mean) / prior.deviation;
        result += 0.5 * away * away;
        *slope += away / prior.deviation;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> (Vec<Place>, Vec<f64>) {
        let places: Vec<Place> = (0..25)
            .map(|i| vec![f64::from(i * 7 % 25) / 25.0, f64::from(i * 11 % 25) / 25.0, f64::from(i % 3)])
            .collect();
        let value = |place: &Place| libm::sin(9.0 * place[0]) + 0.3 * place[2];
        let values = places.iter().map(value).collect();
        (places, values)
    }

    #[test]
    fn the_gradient_is_that_of_small_steps() {
        let (places, values) = data();
        let choices = [false, false, true];
        let priors =
            [Prior::length(3), Prior::length(3), Prior::length(3), Prior::variance(), Prior::noise()];
        let at = [-1.2, 0.1, 0.4, 0.3, -4.0];
        let mut gradient = [0.0; 5];
        let mut other = [0.0; 5];
        negative_log_posterior(&at, &places, &values, &choices, &priors, &mut gradient);
        for i in 0..5 {
            let mut moved = |by: f64| {
                let mut moved = at;
                moved[i] += by;
                negative_log_posterior(&moved, &places, &values, &choices, &priors, &mut other)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (gradient[i] - expected).abs() < 1e-4 * expected.abs().max(1.0),
                "{i}: {gradient:?} {expected}"
            );
        }
    }

    #[test]
    fn a_dim_without_effect_gets_a_long_length() {
        let (places, values) = data();
        let (found, _) = fit(&places, &values, &[false, false, true]);
        assert!(found.log_lengths[1] > found.log_lengths[0] + 1.0, "{found:?}");
        assert!(found.log_noise < -5.0, "{found:?}");
    }
}
