//! Ends a fold whose validation loss gets no better.

use foldwise_shared::spec::EarlyStopping;
use serde::{Deserialize, Serialize};

/// Counts the epochs since the last improvement.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyStopper {
    settings: EarlyStopping,
    best: f64,
    epochs_without: u32,
}

impl EarlyStopper {
    /// Nothing seen yet.
    pub fn new(settings: EarlyStopping) -> Self {
        EarlyStopper { settings, best: f64::INFINITY, epochs_without: 0 }
    }

    /// Takes the loss of the next epoch; true if the fold should end with it.
    pub fn observe(&mut self, loss: f64) -> bool {
        if loss < self.best - self.settings.min_delta {
            self.best = loss;
            self.epochs_without = 0;
        } else {
            self.epochs_without += 1;
        }
        self.is_done()
    }

    /// Whether the fold should have ended by now.
    pub fn is_done(&self) -> bool {
        self.epochs_without >= self.settings.patience
    }

    /// What it has seen so far.
    pub fn state(&self) -> StopperState {
        StopperState { best: self.best, epochs_without: self.epochs_without }
    }

    /// Goes on from what another has seen.
    pub fn restore(settings: EarlyStopping, state: StopperState) -> Self {
        EarlyStopper { settings, best: state.best, epochs_without: state.epochs_without }
    }
}

/// What an [`EarlyStopper`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopperState {
    /// The loss that the next must be below.
    pub best: f64,
    /// Epochs since then.
    pub epochs_without: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patience: u32, min_delta: f64, losses: &[f64], stops_at: Option<usize>) {
        let mut stopper = EarlyStopper::new(EarlyStopping { patience, min_delta });
        assert_eq!(losses.iter().position(|&loss| stopper.observe(loss)), stops_at);
    }

    #[test]
    fn stops_after_patience_epochs_without_an_improvement() {
        check(2, 0.0, &[1.0, 0.9, 0.95, 0.9, 0.1], Some(3));
        check(2, 0.0, &[1.0, 0.9, 0.95, 0.89, 0.9], None);
        check(1, 0.0, &[1.0, 1.0], Some(1));
    }

    #[test]
    fn small_steps_add_up_but_do_not_count_one_by_one() {
        check(2, 0.1, &[1.0, 0.95, 0.92], Some(2));
        check(2, 0.1, &[1.0, 0.95, 0.85, 0.8, 0.76], Some(4));
    }
}
