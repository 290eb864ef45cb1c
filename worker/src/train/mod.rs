//! Training one fold of one trial: epochs, validation, early stopping, checkpoints. Plain calls, no gRPC, no async.

mod checkpoint;
mod early_stopping;
mod error;
mod fit;
mod keeper;
pub mod optimizer;
mod trainer;

pub use checkpoint::{Best, Checkpoint, CheckpointError};
pub use early_stopping::{EarlyStopper, StopperState};
pub use error::TrainError;
pub use fit::{Ending, EpochResult, FitTask, Flow, Listener, Start, fit};
pub use trainer::Trainer;

#[cfg(test)]
mod tests;
