//! AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2): Adam that shrinks the weights beside its step, as PyTorch's.

use foldwise_shared::model;
use tch::{TchError, Tensor};

use super::{Adam, Optimizer, OptimizerState, RestoreError};

/// The moments of one buffer of weights.
pub struct AdamW {
    adam: Adam,
    weight_decay: f64,
}

impl AdamW {
    /// No steps taken yet.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn new(weights: &Tensor, weight_decay: f64) -> Result<Self, TchError> {
        Ok(Self { adam: Adam::new(weights, 0.0)?, weight_decay })
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, weights: &mut Tensor, gradient: Tensor, learning_rate: f64) -> Result<(), TchError> {
        if self.weight_decay > 0.0 {
            let _shrunk = weights.f_mul_scalar_(1.0 - learning_rate * self.weight_decay)?;
        }
        self.adam.step(weights, gradient, learning_rate)
    }

    fn state(&self) -> Result<OptimizerState, TchError> {
        self.adam.state_of(model::Optimizer::AdamW)
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<(), RestoreError> {
        self.adam.restore_of(model::Optimizer::AdamW, state)
    }
}
