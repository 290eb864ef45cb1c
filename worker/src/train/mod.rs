//! Training one fold of one trial: epochs, validation, early stopping. Plain calls, no gRPC, no async.

mod early_stopping;
mod error;
mod fit;
pub mod optimizer;
mod trainer;

pub use early_stopping::EarlyStopper;
pub use error::TrainError;
pub use fit::{Ending, EpochResult, FitTask, Flow, fit};
pub use trainer::Trainer;

#[cfg(test)]
mod tests;
