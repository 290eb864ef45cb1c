//! The optimizers, each on one flat buffer of weights.

mod adam;
mod adamax;
mod adamw;
mod rmsprop;
mod sgd;
mod state;
#[cfg(test)]
mod tests;

use foldwise_shared::model;
use tch::{TchError, Tensor};

pub use adam::Adam;
pub use adamax::Adamax;
pub use adamw::AdamW;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;
pub use state::OptimizerState;

/// One rule of how a gradient changes the weights.
pub trait Optimizer {
    /// Changes `weights` in place; `gradient` has their shape and is used up. Called without gradient tracking.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    fn step(&mut self, weights: &mut Tensor, gradient: Tensor, learning_rate: f64) -> Result<(), TchError>;

    /// Everything it has learned, on the host: with it, another goes on as this one would.
    ///
    /// # Errors
    /// What libtorch says.
    fn state(&self) -> Result<OptimizerState, TchError>;

    /// Goes on from the state of another.
    ///
    /// # Errors
    /// [`RestoreError`]: the state is of another kind of optimizer, or of other weights; nothing has changed then.
    fn restore(&mut self, state: &OptimizerState) -> Result<(), RestoreError>;
}

/// Why an optimizer cannot go on from a state.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It does not fit.
    #[error("{0}")]
    Unfit(String),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TchError),
}

impl OptimizerState {
    /// The steps taken, if it is the state of such an optimizer.
    fn steps_of(&self, kind: model::Optimizer) -> Result<i32, RestoreError> {
        if self.kind != kind {
            return Err(RestoreError::Unfit(format!("its optimizer is {}, not {kind}", self.kind)));
        }
        i32::try_from(self.steps)
            .map_err(|_| RestoreError::Unfit(format!("its optimizer took {} steps", self.steps)))
    }

    /// Refuses any buffer.
    fn no_tensors(&self) -> Result<(), RestoreError> {
        let found: Vec<&str> = self.buffers.keys().map(String::as_str).collect();
        if found.is_empty() {
            Ok(())
        } else {
            Err(RestoreError::Unfit(format!("its optimizer has the buffers {found:?}, and needs none")))
        }
    }

    /// The buffers of these names on the device of `like`, each with as many values; refuses others.
    fn tensors<const N: usize>(&self, names: [&str; N], like: &Tensor) -> Result<[Tensor; N], RestoreError> {
        let unfit = |message: String| Err(RestoreError::Unfit(message));
        let found: Vec<&str> = self.buffers.keys().map(String::as_str).collect();
        if self.buffers.len() != N || !names.iter().all(|name| self.buffers.contains_key(*name)) {
            return unfit(format!("its optimizer has the buffers {found:?}, not {names:?}"));
        }
        let mut tensors = Vec::with_capacity(N);
        for name in names {
            let values = self.buffers.get(name).map(Vec::as_slice).unwrap_or_default();
            if values.len() != like.numel() {
                let (there, here) = (values.len(), like.numel());
                return unfit(format!("the buffer {name} of its optimizer has {there} values, not {here}"));
            }
            tensors.push(Tensor::f_from_slice(values)?.f_to(like.device())?);
        }
        tensors.try_into().map_err(|_| RestoreError::Unfit("its optimizer has other buffers".into()))
    }
}

/// The values of a tensor of 32-bit floats, in a row, on the host.
///
/// # Errors
/// What libtorch says.
pub(super) fn to_host(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let tensor = tensor.f_detach()?.f_to(tch::Device::Cpu)?.f_contiguous()?;
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

/// The optimizer of that name for a buffer like `weights`; `momentum` is for those that have one.
///
/// # Errors
/// What libtorch says, such as a lack of memory.
pub fn build(
    optimizer: model::Optimizer,
    weights: &Tensor,
    weight_decay: f64,
    momentum: f64,
) -> Result<Box<dyn Optimizer>, TchError> {
    Ok(match optimizer {
        model::Optimizer::Adam => Box::new(Adam::new(weights, weight_decay)?),
        model::Optimizer::AdamW => Box::new(AdamW::new(weights, weight_decay)?),
        model::Optimizer::Adamax => Box::new(Adamax::new(weights, weight_decay)?),
        model::Optimizer::Sgd => Box::new(Sgd::new(weights, weight_decay, momentum)?),
        model::Optimizer::RmsProp => Box::new(RmsProp::new(weights, weight_decay, momentum)?),
    })
}
