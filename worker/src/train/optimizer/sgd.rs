//! Stochastic gradient descent with Polyak's momentum and the L2 term added to the gradient, as PyTorch's without
//! dampening: the velocity is the momentum's share of the old one plus the gradient, and the step the learning rate times it.

use std::collections::BTreeMap;

use foldwise_shared::model;
use tch::{TchError, Tensor};

use super::{Optimizer, OptimizerState, RestoreError, to_host};

/// The name of its buffer.
const VELOCITY: &str = "velocity";

/// The velocity of one buffer of weights, where there is a momentum.
pub struct Sgd {
    velocity: Option<Tensor>,
    momentum: f64,
    steps: i32,
    weight_decay: f64,
}

impl Sgd {
    /// No steps taken yet.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn new(weights: &Tensor, weight_decay: f64, momentum: f64) -> Result<Self, TchError> {
        // From a velocity of 0 the first step is the gradient itself, which is what PyTorch starts with.
        let velocity = (momentum > 0.0).then(|| weights.f_detach()?.f_zeros_like()).transpose()?;
        Ok(Self { velocity, momentum, steps: 0, weight_decay })
    }
}

impl Optimizer for Sgd {
    fn step(
        &mut self,
        weights: &mut Tensor,
        mut gradient: Tensor,
        learning_rate: f64,
    ) -> Result<(), TchError> {
        self.steps = self.steps.saturating_add(1);
        if self.weight_decay > 0.0 {
            gradient = gradient.f_add_(&weights.f_mul_scalar(self.weight_decay)?)?;
        }
        if let Some(velocity) = &mut self.velocity {
            *velocity = velocity.f_mul_scalar_(self.momentum)?.f_add_(&gradient)?;
            gradient = velocity.f_mul_scalar(learning_rate)?;
        } else {
            gradient = gradient.f_mul_scalar_(learning_rate)?;
        }
        weights.f_sub_(&gradient).map(|_| ())
    }

    fn state(&self) -> Result<OptimizerState, TchError> {
        let mut buffers = BTreeMap::new();
        if let Some(velocity) = &self.velocity {
            buffers.insert(VELOCITY.into(), to_host(velocity)?);
        }
        Ok(OptimizerState { kind: model::Optimizer::Sgd, steps: self.steps.unsigned_abs(), buffers })
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<(), RestoreError> {
        let steps = state.steps_of(model::Optimizer::Sgd)?;
        match &self.velocity {
            Some(velocity) => {
                let [velocity] = state.tensors([VELOCITY], velocity)?;
                self.velocity = Some(velocity);
            }
            None => state.no_tensors()?,
        }
        self.steps = steps;
        Ok(())
    }
}
