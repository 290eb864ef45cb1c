//! The optimizers, each on one flat buffer of weights.

mod adam;

use foldwise_shared::model;
use tch::{TchError, Tensor};

pub use adam::Adam;

/// One rule of how a gradient changes the weights.
pub trait Optimizer {
    /// Changes `weights` in place; `gradient` has their shape and is used up. Called without gradient tracking.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    fn step(&mut self, weights: &mut Tensor, gradient: Tensor, learning_rate: f64) -> Result<(), TchError>;
}

/// The optimizer of that name for a buffer like `weights`.
///
/// # Errors
/// What libtorch says, such as a lack of memory.
pub fn build(
    optimizer: model::Optimizer,
    weights: &Tensor,
    weight_decay: f64,
) -> Result<Box<dyn Optimizer>, TchError> {
    match optimizer {
        model::Optimizer::Adam => Ok(Box::new(Adam::new(weights, weight_decay)?)),
    }
}
