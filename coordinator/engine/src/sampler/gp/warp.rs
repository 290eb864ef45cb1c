//! Values as a Gaussian process wants them: normally distributed, so that a few very bad ones do not hide the
//! differences among the good. Less is better here.

/// A rising function of the values with one free exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Warp {
    /// Yeo and Johnson 2000: bends both ends.
    YeoJohnson,
    /// Box and Cox 1964 on the distance to a little below the best: up to its logarithm, so that the smallest values
    /// spread.
    BoxCox,
}

/// Values after a warp, brought to mean 0 and deviation 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Warped {
    pub values: Vec<f64>,
    /// The logarithm of how much the warp stretches, over all values: what makes the likelihoods of two warps
    /// comparable.
    pub log_stretch: f64,
}

/// How far below the best the distances of Box and Cox begin, in parts of its distance to the median.
const BELOW_BEST: f64 = 0.02;

/// Values differ by more than this, in deviations, or not at all: so that the rounding of a shifted or scaled objective
/// changes nothing.
const RESOLUTION: f64 = 1.0 / (1u64 << 32) as f64;

impl Warp {
    pub const ALL: [Self; 2] = [Self::YeoJohnson, Self::BoxCox];

    /// Warps values, of which there is at least one; the exponent is the one that makes them most nearly normal.
    pub fn apply(self, values: &[f64]) -> Warped {
        let (mut plain, _) = standardized(values);
        for value in &mut plain {
            *value = libm::round(*value / RESOLUTION) * RESOLUTION;
        }
        match self {
            Self::YeoJohnson => {
                let log_slopes: f64 = plain.iter().map(|v| v.signum() * libm::log(1.0 + v.abs())).sum();
                let bend = |value: f64, exponent: f64| {
                    if value >= 0.0 {
                        power(1.0 + value, exponent)
                    } else {
                        -power(1.0 - value, 2.0 - exponent)
                    }
                };
                bent(&plain, (-30..=20).map(|tenths| f64::from(tenths) / 10.0), bend, log_slopes)
            }
            Self::BoxCox => {
                let mut sorted = plain.clone();
                sorted.sort_by(f64::total_cmp);
                let (best, median) = (sorted[0], sorted[sorted.len() / 2]);
                let origin = best - BELOW_BEST * (median - best).max(1e-9);
                let distances: Vec<f64> = plain.iter().map(|value| value - origin).collect();
                let log_slopes = distances.iter().map(|distance| libm::log(*distance)).sum();
                bent(&distances, (0..=10).map(|tenths| f64::from(tenths) / 10.0), power, log_slopes)
            }
        }
    }
}

/// (base ^ exponent - 1) / exponent, which is the logarithm where the exponent is 0.
fn power(base: f64, exponent: f64) -> f64 {
    if exponent.abs() < 1e-6 { libm::log(base) } else { (libm::pow(base, exponent) - 1.0) / exponent }
}

/// `values` under the bend whose exponent has the largest normal likelihood. At exponent p the bend's log slopes sum up
/// to (p - 1) `log_slopes`.
fn bent(
    values: &[f64],
    exponents: impl Iterator<Item = f64>,
    bend: impl Fn(f64, f64) -> f64,
    log_slopes: f64,
) -> Warped {
    let count = values.len() as f64;
    let at = |exponent: f64| {
        let bent: Vec<f64> = values.iter().map(|value| bend(*value, exponent)).collect();
        let (values, deviation) = standardized(&bent);
        let log_stretch = (exponent - 1.0) * log_slopes - count * libm::log(deviation);
        Warped { values, log_stretch }
    };
    let likelier = |best: Warped, next: Warped| if next.log_stretch > best.log_stretch { next } else { best };
    exponents.map(at).reduce(likelier).unwrap_or_else(|| at(1.0))
}

/// Values with mean 0 and deviation 1, and the deviation they had.
fn standardized(values: &[f64]) -> (Vec<f64>, f64) {
    let count = values.len().max(1) as f64;
    // Values near the end of what a number can hold are brought down first.
    let largest = values.iter().fold(1e-300, |largest: f64, value| largest.max(value.abs()));
    let small: Vec<f64> = values.iter().map(|value| value / largest).collect();
    let mean = small.iter().sum::<f64>() / count;
    let squares: f64 = small.iter().map(|value| (value - mean) * (value - mean)).sum();
    let deviation = libm::sqrt(squares / count).max(1e-12);
    (small.iter().map(|value| (value - mean) / deviation).collect(), deviation * largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_stays_and_the_scale_is_one() {
        let values: Vec<f64> = (1..40).map(|i| libm::exp(f64::from(i) / 3.0)).collect();
        for warp in Warp::ALL {
            let Warped { values: warped, .. } = warp.apply(&values);
            assert!(warped.windows(2).all(|pair| pair[0] < pair[1]), "{warp:?}");
            let mean = warped.iter().sum::<f64>() / warped.len() as f64;
            let variance = warped.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / warped.len() as f64;
            assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-9, "{warp:?}: {mean} {variance}");
        }
        // Equal ratios become nearly equal steps, where the plain values have nearly all of them in the last.
        let Warped { values: warped, .. } = Warp::BoxCox.apply(&values);
        assert!(warped[20] - warped[10] > 0.3, "{warped:?}");
    }

    #[test]
    fn shift_and_scale_do_not_matter() {
        let values = [0.3, 0.1, 5.0, 2.25, 0.7, 0.10001];
        for warp in Warp::ALL {
            let plain = warp.apply(&values);
            for (times, plus) in [(1.0, 1000.0), (1e-3, 0.0), (12345.678, -3.3)] {
                let moved = warp.apply(&values.map(|value| value * times + plus));
                assert_eq!(moved.values, plain.values, "{warp:?} {times} {plus}");
            }
        }
    }

    #[test]
    fn values_that_are_all_alike_or_huge() {
        for warp in Warp::ALL {
            for values in [&[2.0, 2.0, 2.0][..], &[1.0], &[f64::MAX, -f64::MAX, 0.0]] {
                let Warped { values, log_stretch } = warp.apply(values);
                assert!(
                    values.iter().all(|value| value.is_finite()) && log_stretch.is_finite(),
                    "{values:?}"
                );
            }
        }
    }
}
