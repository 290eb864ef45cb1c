//! The worker: leases folds, trains them with libtorch, and reports every epoch.

pub mod agent;
pub mod objective;

pub mod corruption;
pub mod device;
pub mod images;
pub mod model;
pub mod model_file;
mod tensors;
pub mod train;
pub mod transfer;

pub mod bench;
pub mod embed;
pub mod evaluate;
pub mod fitted;

pub mod supervisor;

#[cfg(test)]
mod testing;
