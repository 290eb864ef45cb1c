//! What is said between a coordinator and a program that evaluates trials: ask, report, tell.

use serde::Serialize;

use crate::ids::{Epoch, FoldIndex, LeaseId, TrialNumber};
use crate::state::TrialState;
use crate::value::Params;

/// How long a lease lasts without a word where whoever asks does not say: ten minutes.
pub const DEFAULT_LEASE_MS: i64 = 600_000;

/// What a program that asks is called where it does not say.
pub const DEFAULT_ASKER: &str = "asker";

/// A trial that was given to a program to evaluate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// Its number.
    pub trial: TrialNumber,
    /// The lease, to be named in whatever is said of the trial.
    pub lease: LeaseId,
    /// How long it lasts without a word, in milliseconds.
    pub lease_ms: i64,
    /// The params.
    pub params: Params,
    /// The folds that have no value yet.
    pub folds: Vec<FoldIndex>,
    /// Epochs of a fold that can be reported at most.
    pub epochs: u32,
}

/// An intermediate value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrialReport {
    /// The fold; 0 where a trial has one value.
    pub fold: FoldIndex,
    /// The epoch, from 1; some may be left out.
    pub epoch: Epoch,
    /// The value; NaN and infinite ones are recorded as none and judged as NaN.
    pub value: f64,
    /// Whether the fold ends here, with the best of its values.
    pub last: bool,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A value for each fold.
    Values(Vec<f64>),
    /// Each fold has the best of its reported values.
    Reported,
    /// It has no value and will not get one.
    Failed {
        /// Its value would be NaN or infinite: the sampler is to keep away from there.
        diverged: bool,
        /// What there is to say about it.
        message: String,
    },
    /// It was stopped, as it was told to be.
    Stopped,
    /// Somebody else is to do it.
    HandedBack,
}

/// Where a trial is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialNow {
    /// Its number.
    pub trial: TrialNumber,
    /// Its state.
    pub state: TrialState,
    /// Its value, if it is Complete.
    pub value: Option<f64>,
    /// Why it ended or is to stop.
    pub reason: Option<String>,
}

impl TrialNow {
    /// Whether there is nothing more to be done for it.
    pub fn is_to_stop(&self) -> bool {
        self.state == TrialState::Stopping || self.state.is_finished()
    }
}
