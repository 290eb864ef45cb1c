//! Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) with the L2 term added to the gradient, as PyTorch's.

use std::collections::BTreeMap;

use foldwise_shared::model;
use tch::{TchError, Tensor};

use super::{Optimizer, OptimizerState, RestoreError, to_host};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The names of its buffers.
const MEAN: &str = "mean";
const SQUARE: &str = "square";

/// The moments of one buffer of weights.
pub struct Adam {
    mean: Tensor,
    square: Tensor,
    steps: i32,
    weight_decay: f64,
}

impl Adam {
    /// No steps taken yet.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn new(weights: &Tensor, weight_decay: f64) -> Result<Self, TchError> {
        let weights = weights.f_detach()?;
        Ok(Adam { mean: weights.f_zeros_like()?, square: weights.f_zeros_like()?, steps: 0, weight_decay })
    }
}

impl Adam {
    /// Its state under the name of an optimizer that is made of it.
    pub(super) fn state_of(&self, kind: model::Optimizer) -> Result<OptimizerState, TchError> {
        let buffers =
            BTreeMap::from([(MEAN.into(), to_host(&self.mean)?), (SQUARE.into(), to_host(&self.square)?)]);
        Ok(OptimizerState { kind, steps: self.steps.unsigned_abs(), buffers })
    }

    /// Goes on from a state of that name.
    pub(super) fn restore_of(
        &mut self,
        kind: model::Optimizer,
        state: &OptimizerState,
    ) -> Result<(), RestoreError> {
        let steps = state.steps_of(kind)?;
        let [mean, square] = state.tensors([MEAN, SQUARE], &self.mean)?;
        (self.mean, self.square, self.steps) = (mean, square, steps);
        Ok(())
    }
}

impl Optimizer for Adam {
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
        self.square = self.square.f_lerp_(&gradient.f_square()?, 1.0 - BETA2)?;
        let mean_correction = 1.0 - BETA1.powi(self.steps);
        let square_correction = 1.0 - BETA2.powi(self.steps);
        let divisor =
            self.square.f_sqrt()?.f_div_scalar_(square_correction.sqrt())?.f_add_scalar_(EPSILON)?;
        let step = self.mean.f_div(&divisor)?.f_mul_scalar_(learning_rate / mean_correction)?;
        weights.f_sub_(&step).map(|_| ())
    }

    fn state(&self) -> Result<OptimizerState, TchError> {
        self.state_of(model::Optimizer::Adam)
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<(), RestoreError> {
        self.restore_of(model::Optimizer::Adam, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_libtorch() {
        let start = [0.5, -1.0, 2.0, 0.0];
        let gradients = [[0.1, -0.2, 3.0, 1e-4], [0.3, 0.2, -1.0, 0.0], [-0.1, 0.2, 0.5, 2.0]];

        let store = tch::nn::VarStore::new(tch::Device::Cpu);
        let expected = store.root().var_copy("w", &Tensor::from_slice(&start).to_kind(tch::Kind::Float));
        let mut reference = tch::nn::OptimizerConfig::build(tch::nn::adam(0.9, 0.999, 0.01), &store, 0.02)
            .expect("an optimizer");

        let mut weights = Tensor::from_slice(&start).to_kind(tch::Kind::Float);
        let mut adam = Adam::new(&weights, 0.01).expect("small");
        for gradient in gradients {
            let gradient = Tensor::from_slice(&gradient).to_kind(tch::Kind::Float);
            reference.backward_step(&(&expected * &gradient).sum(tch::Kind::Float));
            adam.step(&mut weights, gradient, 0.02).expect("a step");
            let difference = (&weights - &expected).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{difference}");
        }
        assert!((weights.double_value(&[0]) - 0.5).abs() > 1e-3, "it moved");
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let weights = Tensor::from_slice(&[0.5f32, -1.0]);
        let mut adam = Adam::new(&weights, 0.0).expect("small");
        let good = adam.state().expect("host memory");
        let check = |change: fn(&mut OptimizerState), words: &str| {
            let mut state = good.clone();
            change(&mut state);
            let error = Adam::new(&weights, 0.0).expect("small").restore(&state).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        };
        check(|state| drop(state.buffers.remove("mean")), "not [\"mean\", \"square\"]");
        check(|state| drop(state.buffers.insert("other".into(), vec![0.0; 2])), "other");
        check(
            |state| drop(state.buffers.insert("mean".into(), vec![0.0; 3])),
            "mean of its optimizer has 3 values",
        );
        check(|state| state.steps = u32::MAX, "took 4294967295 steps");
        adam.restore(&good).expect("it fits");
    }
}
