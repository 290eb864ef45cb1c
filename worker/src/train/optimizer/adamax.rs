//! Adamax (Kingma and Ba, arXiv 1412.6980, algorithm 2) with the L2 term added to the gradient, as PyTorch's.

use std::collections::BTreeMap;

use foldwise_shared::model;
use tch::{TchError, Tensor};

use super::{Optimizer, OptimizerState, RestoreError, to_host};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The names of its buffers.
const MEAN: &str = "mean";
const GREATEST: &str = "greatest";

/// The mean of the gradients of one buffer of weights, and the greatest of them, which fades.
pub struct Adamax {
    mean: Tensor,
    greatest: Tensor,
    steps: i32,
    weight_decay: f64,
}

impl Adamax {
    /// No steps taken yet.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn new(weights: &Tensor, weight_decay: f64) -> Result<Self, TchError> {
        let weights = weights.f_detach()?;
        Ok(Self { mean: weights.f_zeros_like()?, greatest: weights.f_zeros_like()?, steps: 0, weight_decay })
    }
}

impl Optimizer for Adamax {
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
        self.mean = self.mean.f_lerp_(&gradient, 1.0 - BETA1)?;
        // PyTorch adds the epsilon to the new gradient only, so that a division by 0 cannot happen.
        let size = gradient.f_abs_()?.f_add_scalar_(EPSILON)?;
        self.greatest = self.greatest.f_mul_scalar_(BETA2)?.f_maximum(&size)?;
        let correction = 1.0 - BETA1.powi(self.steps);
        let step = self.mean.f_div(&self.greatest)?.f_mul_scalar_(learning_rate / correction)?;
        weights.f_sub_(&step).map(|_| ())
    }

    fn state(&self) -> Result<OptimizerState, TchError> {
        let buffers = BTreeMap::from([
            (MEAN.into(), to_host(&self.mean)?),
            (GREATEST.into(), to_host(&self.greatest)?),
        ]);
        Ok(OptimizerState { kind: model::Optimizer::Adamax, steps: self.steps.unsigned_abs(), buffers })
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<(), RestoreError> {
        let steps = state.steps_of(model::Optimizer::Adamax)?;
        let [mean, greatest] = state.tensors([MEAN, GREATEST], &self.mean)?;
        (self.mean, self.greatest, self.steps) = (mean, greatest, steps);
        Ok(())
    }
}
