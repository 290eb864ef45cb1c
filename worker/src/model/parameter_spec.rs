//! What a network says of its weights; no tensor is named here, so that what reads files of weights can be fuzzed without libtorch.

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
