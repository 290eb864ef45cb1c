//! RMSprop (Tieleman and Hinton, lecture 6.5 of "Neural Networks for Machine Learning", 2012) with the L2 term added to the
//! gradient and an optional momentum, as PyTorch's, not centered.

use std::collections::BTreeMap;

use foldwise_shared::model;
use tch::{TchError, Tensor};

use super::{Optimizer, OptimizerState, RestoreError, to_host};

const ALPHA: f64 = 0.99;
const EPSILON: f64 = 1e-8;

/// The names of its buffers.
const SQUARE: &str = "square";
const VELOCITY: &str = "velocity";

/// The mean square of the gradients of one buffer of weights, and its velocity where there is a momentum.
pub struct RmsProp {
    square: Tensor,
    velocity: Option<Tensor>,
    momentum: f64,
    steps: i32,
    weight_decay: f64,
}

impl RmsProp {
    /// No steps taken yet.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn new(weights: &Tensor, weight_decay: f64, momentum: f64) -> Result<Self, TchError> {
        let square = weights.f_detach()?.f_zeros_like()?;
        let velocity = (momentum > 0.0).then(|| square.f_zeros_like()).transpose()?;
        Ok(Self { square, velocity, momentum, steps: 0, weight_decay })
    }
}

impl Optimizer for RmsProp {
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
        self.square =
            self.square.f_mul_scalar_(ALPHA)?.f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - ALPHA)?)?;
        let mut step = gradient.f_div_(&self.square.f_sqrt()?.f_add_scalar_(EPSILON)?)?;
        if let Some(velocity) = &mut self.velocity {
            *velocity = velocity.f_mul_scalar_(self.momentum)?.f_add_(&step)?;
            step = velocity.f_mul_scalar(learning_rate)?;
        } else {
            step = step.f_mul_scalar_(learning_rate)?;
        }
        weights.f_sub_(&step).map(|_| ())
    }

    fn state(&self) -> Result<OptimizerState, TchError> {
        let mut buffers = BTreeMap::from([(SQUARE.into(), to_host(&self.square)?)]);
        if let Some(velocity) = &self.velocity {
            buffers.insert(VELOCITY.into(), to_host(velocity)?);
        }
        Ok(OptimizerState { kind: model::Optimizer::RmsProp, steps: self.steps.unsigned_abs(), buffers })
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<(), RestoreError> {
        let steps = state.steps_of(model::Optimizer::RmsProp)?;
        if self.velocity.is_some() {
            let [square, velocity] = state.tensors([SQUARE, VELOCITY], &self.square)?;
            (self.square, self.velocity) = (square, Some(velocity));
        } else {
            let [square] = state.tensors([SQUARE], &self.square)?;
            self.square = square;
        }
        self.steps = steps;
        Ok(())
    }
}
