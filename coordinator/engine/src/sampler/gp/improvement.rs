//! The expected improvement on the best value, as a logarithm, so that its slope is felt where it is tiny (Ament et al.
//! 2023, arXiv 2310.20708).

use super::process::Prediction;

/// The logarithm of the expected improvement below `best`, and its derivatives by the mean and by the variance.
pub(super) fn log_improvement(prediction: Prediction, best: f64) -> (f64, f64, f64) {
    let deviation = libm::sqrt(prediction.variance);
    let z = (best - prediction.mean) / deviation;
    let (log_h, slope) = log_h(z);
    let by_deviation = (1.0 - slope * z) / deviation;
    (log_h + libm::log(deviation), -slope / deviation, by_deviation / (2.0 * deviation))
}

/// The logarithm of h(z) = density(z) + z probability(z) of a standard normal number, and its derivative.
fn log_h(z: f64) -> (f64, f64) {
    const ROOT_OF_2_PI: f64 = 2.506_628_274_631_000_7;
    let density = libm::exp(-0.5 * z * z) / ROOT_OF_2_PI;
    let probability = 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
    if z > -5.0 {
        let h = density + z * probability;
        return (libm::log(h), probability / h);
    }
    // Both terms nearly cancel: their asymptotic series.
    let inverse = 1.0 / (z * z);
    let h = inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse)));
    let probability = (1.0 - inverse * (1.0 - inverse * (3.0 - 15.0 * inverse))) / -z;
    (-0.5 * z * z - libm::log(ROOT_OF_2_PI) + libm::log(h), probability / h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_improvements() {
        // A standard normal number lies 1 / sqrt(2 pi) below 0 in the mean, counting what lies above as 0.
        let at = |mean: f64, variance: f64, best: f64| {
            libm::exp(log_improvement(Prediction { mean, variance }, best).0)
        };
        assert!((at(0.0, 1.0, 0.0) - 0.398_942_280).abs() < 1e-8);
        assert!((at(1.0, 4.0, 1.0) - 2.0 * 0.398_942_280).abs() < 1e-8);
        assert!((at(-30.0, 1.0, 0.0) - 30.0).abs() < 1e-9);
    }

    #[test]
    fn slopes_are_those_of_small_steps_far_out_too() {
        for (mean, variance) in [(0.0, 1.0), (2.0, 0.5), (4.9, 1.0), (5.1, 1.0), (40.0, 1.0), (-3.0, 0.1)] {
            let value = |mean: f64, variance: f64| log_improvement(Prediction { mean, variance }, 0.0).0;
            let (_, by_mean, by_variance) = log_improvement(Prediction { mean, variance }, 0.0);
            let expected = (value(mean + 1e-6, variance) - value(mean - 1e-6, variance)) / 2e-6;
            assert!(
                (by_mean - expected).abs() < 2e-3 * expected.abs(),
                "{mean} {variance}: {by_mean} {expected}"
            );
            let expected = (value(mean, variance + 1e-6) - value(mean, variance - 1e-6)) / 2e-6;
            let error = (by_variance - expected).abs();
            assert!(error < 2e-3 * expected.abs() + 1e-4, "{mean} {variance}: {by_variance} {expected}");
        }
    }
}
