//! The weights of a network in one flat buffer: an optimizer's step is then a handful of operations on one tensor,
//! and the backward pass returns one gradient.

use tch::{Device, Kind, TchError, Tensor};

use super::ParameterSpec;

/// The weights of one network on one device.
pub struct Parameters {
    specs: Vec<ParameterSpec>,
    flat: Tensor,
}

impl Parameters {
    /// First values, drawn from libtorch's generator on the CPU, so that they are the same for every device.
    ///
    /// # Errors
    /// What libtorch says, such as a lack of memory.
    pub fn random(specs: Vec<ParameterSpec>, device: Device) -> Result<Self, TchError> {
        let parts = specs
            .iter()
            .map(|spec| {
                Tensor::f_empty([spec.count()], (Kind::Float, Device::Cpu))?
                    .f_uniform_(-spec.bound, spec.bound)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let flat = Tensor::f_cat(&parts, 0)?.f_to(device)?.f_set_requires_grad(true)?;
        Ok(Parameters { specs, flat })
    }

    /// These values, in a row; gradients flow if they do through `flat`.
    pub fn of(specs: Vec<ParameterSpec>, flat: Tensor) -> Self {
        Parameters { specs, flat }
    }

    /// What the buffer holds, in its order.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// The buffer: a leaf of the gradient graph.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The weights in their shapes, as views of the buffer that gradients flow through.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn views(&self) -> Result<Vec<Tensor>, TchError> {
        let counts: Vec<i64> = self.specs.iter().map(ParameterSpec::count).collect();
        let parts = self.flat.f_split_with_sizes(&counts[..], 0)?;
        parts.iter().zip(&self.specs).map(|(part, spec)| part.f_view(&spec.shape[..])).collect()
    }

    /// Names and weights, as a model file has them.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn named(&self) -> Result<Vec<(String, Tensor)>, TchError> {
        let names = self.specs.iter().map(|spec| spec.name.clone());
        let views = self.views()?;
        Ok(names.zip(views.iter().map(Tensor::detach)).collect())
    }
}
