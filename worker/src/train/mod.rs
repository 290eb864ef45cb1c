//! Training one fold of one trial: epochs, validation, early stopping, checkpoints, and
//! the test that finds its learning rate. Plain calls, no gRPC, no async.

mod checkpoint;
mod draws;
mod early_stopping;
mod error;
mod fit;
mod keeper;
mod learner;
pub mod optimizer;
mod range_test;
mod schedule;
mod trainer;

pub use checkpoint::{Best, Checkpoint, CheckpointError};
pub use draws::Draws;
pub(crate) use draws::mix;
pub use early_stopping::{EarlyStopper, StopperState};
pub use error::TrainError;
pub use fit::{Ending, EpochResult, FitTask, Flow, Listener, Plan, Start, fit, run};
pub use learner::{ImageLearner, Learner, Measured};
pub use range_test::{RangeTest, range_test, range_test_of, search};
pub use schedule::learning_rate;
pub(crate) use trainer::checked_indices;
pub use trainer::{LossParts, Picture, Trainer, Validated};

#[cfg(test)]
mod tests;
