//! The learning rate of each step.

use std::f64::consts::PI;

use foldwise_shared::model::Schedule;

/// The learning rate of the step `step`, from 0, of a training of `steps`, which starts with `first`. It is a function of the step's
/// number alone, so that a resumed training goes on as if it had not been interrupted.
///
/// The cosine is that of Loshchilov and Hutter (SGDR, arXiv 1608.03983, equation 5) without restarts, to 0, as PyTorch's
/// `CosineAnnealingLR` that is stepped after each batch.
pub fn learning_rate(schedule: Schedule, first: f64, step: u64, steps: u64) -> f64 {
    match schedule {
        Schedule::Constant => first,
        Schedule::Cosine => {
            let part = (step as f64 / steps.max(1) as f64).min(1.0);
            first * 0.5 * (1.0 + (PI * part).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_goes_from_the_first_rate_to_nothing() {
        let rate = |step| learning_rate(Schedule::Cosine, 0.2, step, 100);
        assert_eq!(rate(0), 0.2);
        for (step, expected) in [(25, 0.170_710_678), (50, 0.1), (75, 0.029_289_322), (100, 0.0)] {
            assert!((rate(step) - expected).abs() < 1e-9, "{step}");
        }
        assert!((0..100).all(|step| rate(step) > rate(step + 1)));
        assert!(rate(200).abs() < 1e-12 && learning_rate(Schedule::Cosine, 0.2, 0, 0) == 0.2);
    }

    #[test]
    fn a_constant_stays() {
        assert!((0..9).all(|step| learning_rate(Schedule::Constant, 0.3, step, 3) == 0.3));
    }
}
