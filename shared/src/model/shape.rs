//! The arithmetic of shapes: a convolution and the transposed convolution that mirrors it.

/// A strided convolution: kernel, stride and padding, the same on both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// The side of the kernel.
    pub kernel: i64,
    /// The step between outputs.
    pub stride: i64,
    /// Zeros around the input.
    pub padding: i64,
}

impl From<[i64; 3]> for ConvShape {
    fn from([kernel, stride, padding]: [i64; 3]) -> Self {
        Self { kernel, stride, padding }
    }
}

impl ConvShape {
    /// The length of the output for an input of `length`; none if the kernel does not fit.
    pub fn output(&self, length: i64) -> Option<i64> {
        let room = length + 2 * self.padding - self.kernel;
        (room >= 0 && self.stride > 0).then(|| room / self.stride + 1)
    }

    /// The length that the transposed convolution makes of `length`, without output padding.
    pub fn transposed(&self, length: i64) -> i64 {
        (length - 1) * self.stride - 2 * self.padding + self.kernel
    }
}

/// A convolution between two feature maps of (height, width), and how its mirror image comes back to the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Kernel, stride and padding.
    pub shape: ConvShape,
    /// What it takes.
    pub input: (i64, i64),
    /// What it gives.
    pub output: (i64, i64),
    /// Rows and columns that the transposed convolution adds at the end, so that it gives back the input's size.
    /// Always below the stride.
    pub output_padding: (i64, i64),
}

/// The layers of an encoder for images of `height` x `width`.
///
/// # Errors
/// A message that names the layer whose kernel does not fit into what it gets.
pub fn layers(convolutions: &[[i64; 3]], height: i64, width: i64) -> Result<Vec<Layer>, String> {
    let mut input = (height, width);
    let mut layers = Vec::with_capacity(convolutions.len());
    for (number, shape) in (1..).zip(convolutions.iter().copied().map(ConvShape::from)) {
        let along = |axis: &str, length: i64| {
            shape.output(length).ok_or_else(|| {
                let ConvShape { kernel, padding, .. } = shape;
                format!(
                    "images of {height}x{width}: convolution {number} (kernel {kernel}, padding {padding}) gets a {axis} of \
                     {length}, into which its kernel does not fit; use fewer or smaller convolutions"
                )
            })
        };
        let output = (along("height", input.0)?, along("width", input.1)?);
        let output_padding = (input.0 - shape.transposed(output.0), input.1 - shape.transposed(output.1));
        layers.push(Layer { shape, input, output, output_padding });
        input = output;
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lab_network_mirrors_with_output_paddings_of_one_one_and_none() {
        let layers = layers(&super::super::LAB_CONVOLUTIONS, 28, 28).expect("it fits");
        let found: Vec<_> = layers.iter().map(|layer| (layer.output, layer.output_padding)).collect();
        assert_eq!(found, [((14, 14), (1, 1)), ((7, 7), (1, 1)), ((3, 3), (0, 0))]);
    }

    #[test]
    fn a_kernel_that_does_not_fit_is_named() {
        let error = layers(&[[3, 2, 0], [5, 1, 0]], 9, 28).expect_err("4 rows");
        assert!(error.contains("convolution 2") && error.contains("height of 4"), "{error}");
        assert!(layers(&[[3, 2, 0]], 0, 28).is_err());
    }

    proptest! {
        #[test]
        fn the_mirror_gives_back_every_size(
            convolutions in prop::collection::vec((1i64..8, 1i64..4, 0i64..4), 1..5),
            height in 1i64..70,
            width in 1i64..70,
        ) {
            let convolutions: Vec<[i64; 3]> = convolutions
                .into_iter()
                .map(|(kernel, stride, padding)| [kernel, stride, padding.min(kernel - 1)])
                .collect();
            let Ok(layers) = layers(&convolutions, height, width) else { return Ok(()) };
            for Layer { shape, input, output, output_padding } in layers {
                prop_assert_eq!(shape.transposed(output.0) + output_padding.0, input.0);
                prop_assert_eq!(shape.transposed(output.1) + output_padding.1, input.1);
                prop_assert!((0..shape.stride).contains(&output_padding.0));
                prop_assert!((0..shape.stride).contains(&output_padding.1));
            }
        }
    }
}
