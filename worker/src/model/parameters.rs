//! The weights of a network in one flat buffer: an optimizer's step is then a handful of operations on one tensor,
//! and the backward pass returns one gradient.

use tch::{Device, Kind, TchError, Tensor};

/// One weight or bias: PyTorch's name and shape, and the range of its first values.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// PyTorch's name, such as `enc.0.weight`.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<i64>,
    /// It starts uniform in `[-bound, bound]`.
    pub bound: f64,
}

impl ParameterSpec {
    /// The weight and the bias of a layer, starting as PyTorch's own layers do: uniform within one over the square
    /// root of the fan-in, which PyTorch takes from everything but the weight's first axis (for a transposed
    /// convolution too, where that axis is the input).
    pub fn layer(name: &str, weight_shape: &[i64], biases: i64) -> [ParameterSpec; 2] {
        let fan_in: i64 = weight_shape[1..].iter().product();
        let bound = 1.0 / (fan_in as f64).sqrt();
        [
            ParameterSpec { name: format!("{name}.weight"), shape: weight_shape.to_vec(), bound },
            ParameterSpec { name: format!("{name}.bias"), shape: vec![biases], bound },
        ]
    }

    /// How many numbers it has.
    pub fn count(&self) -> i64 {
        self.shape.iter().product()
    }
}

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
