//! What is in artifacts.

use std::fmt;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The part of a data set that something was measured on: where there are no test images those that were held out, and without
/// a hold-out all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Images that were held out.
    Validation,
    /// What the model was trained on.
    Training,
    /// Images that had no part in the training.
    #[default]
    #[serde(other)]
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validation => "validation",
            Self::Training => "training",
            Self::Test => "test",
        })
    }
}

/// What an evaluation measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Evaluation {
    /// The images that were measured on.
    pub images: u64,
    /// Of which part of the data set they are.
    #[serde(default)]
    pub part: Part,
    /// What all classes are called, from 0; empty where the data set has no names for them.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// The classes that occur among the codes, in the order of their pictures; empty where that is all of them, from 0.
    #[serde(default)]
    pub classes: Vec<u8>,
    /// Squared error a pixel over them.
    pub mse: f64,
    /// The divergence from the prior; of a variational network only.
    #[serde(default)]
    pub kl: Option<f64>,
    /// The whole loss.
    #[serde(default)]
    pub loss: Option<f64>,
    /// The error on input that is corrupted as in its training; of a denoiser only.
    #[serde(default)]
    pub own_corruption_mse: Option<f64>,
    /// The error over the deviation of noise.
    #[serde(default)]
    pub noise: Curve,
    /// The error over the fraction that a square hides.
    #[serde(default)]
    pub occlusion: Curve,
    /// How often the nearest codes have the same label.
    #[serde(default)]
    pub knn_accuracy: Option<f64>,
    /// How far apart the codes of the classes are, from -1 to 1.
    #[serde(default)]
    pub silhouette: Option<f64>,
    /// The shares of the first two principal components.
    #[serde(default)]
    pub explained_variance: Option<[f64; 2]>,
    /// How t-SNE went.
    #[serde(default)]
    pub tsne: Option<Tsne>,
}

/// An error over the strength of a corruption.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Curve {
    /// The strengths.
    pub level: Vec<f64>,
    /// The errors.
    pub mse: Vec<f64>,
}

impl Curve {
    /// Strength and error, in order of the strength.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = self
            .level
            .iter()
            .copied()
            .zip(self.mse.iter().copied())
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }
}

/// How t-SNE went.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Tsne {
    /// Its perplexity.
    pub perplexity: f64,
    /// Images in it.
    pub images: u64,
    /// The divergence it came to.
    #[serde(default)]
    pub kl_divergence: Option<f64>,
}

/// A learning-rate range test.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RangeTest {
    /// The learning rates, growing.
    pub learning_rate: Vec<f64>,
    /// The loss at each.
    pub loss: Vec<Option<f64>>,
    /// The same, smoothed.
    pub smoothed: Vec<Option<f64>>,
    /// The one that was chosen.
    pub chosen: f64,
}

/// How good a classifier is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Transfer {
    /// The images that it was judged by.
    pub images: u64,
    /// Of which part of the data set they are.
    #[serde(default)]
    pub part: Part,
    /// Cross entropy over them.
    pub loss: f64,
    /// The share of them that got the right class.
    pub accuracy: f64,
    /// What the classes are called, from 0; empty where the data set has no names for them.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// How often each class (row) was taken for each (column).
    pub confusion: Vec<Vec<u64>>,
    /// Seconds for the frozen features.
    #[serde(default)]
    pub feature_seconds: Option<f64>,
    /// Seconds in all.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// What the classes are called in a picture of several models: what all of those call them that have names; none if they differ.
pub(super) fn common_names<'a>(evaluations: impl IntoIterator<Item = &'a Evaluation>) -> &'a [String] {
    let names = evaluations.into_iter().map(|evaluation| evaluation.class_names.as_slice());
    let mut names = names.filter(|names| !names.is_empty());
    match names.next() {
        Some(first) if names.all(|other| other == first) => first,
        _ => &[],
    }
}

/// ` on test images`, if all of them were measured on those; nothing if some on others.
pub(super) fn on_images<'a>(evaluations: impl IntoIterator<Item = &'a Evaluation>) -> String {
    let mut parts = evaluations.into_iter().map(|evaluation| evaluation.part);
    match parts.next() {
        Some(part) if parts.all(|other| other == part) => format!(" on {part} images"),
        _ => String::new(),
    }
}

/// A sentence on who was measured on what, where that is not the same for all.
pub(super) fn other_images(measured: &[(&str, &Evaluation)]) -> Option<String> {
    let differ = on_images(measured.iter().map(|(_, evaluation)| *evaluation)).is_empty();
    let one = |(name, evaluation): &(&str, &Evaluation)| {
        format!("{name} on {} {} images", evaluation.images, evaluation.part)
    };
    let all: Vec<String> = measured.iter().map(one).collect();
    (differ && !all.is_empty())
        .then(|| format!("They were measured on different images: {}.", all.join(", ")))
}

/// What a class is called: its number where it has no name.
pub(super) fn class_name(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// JSON of a known form.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The tensors of a file, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensors(std::collections::BTreeMap<String, Tensor>);

/// A tensor of bytes or of 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its lengths.
    pub shape: Vec<usize>,
    /// Its bytes, if it has such.
    pub bytes: Vec<u8>,
    /// Its floats, if it has such.
    pub floats: Vec<f32>,
}

impl Tensors {
    /// Reads a file in the format of safetensors.
    ///
    /// # Errors
    /// Another format.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut tensors = std::collections::BTreeMap::new();
        for (name, view) in file.tensors() {
            let (mut bytes, mut floats) = (Vec::new(), Vec::new());
            match view.dtype() {
                Dtype::U8 => bytes = view.data().to_vec(),
                Dtype::F32 => {
                    let number = |part: &[u8]| f32::from_le_bytes([part[0], part[1], part[2], part[3]]);
                    floats = view.data().chunks_exact(4).map(number).collect();
                }
                // Nothing that a picture is made of.
                _ => continue,
            }
            tensors.insert(name.clone(), Tensor { shape: view.shape().to_vec(), bytes, floats });
        }
        Ok(Self(tensors))
    }

    /// A tensor; none if there is none of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Images of the shape [n, height, width]; none if there are none.
    pub(super) fn images(&self, name: &str) -> Option<Images<'_>> {
        let tensor = self.get(name)?;
        let (height, width, count) = match *tensor.shape.as_slice() {
            [height, width] => (height, width, 1),
            [.., height, width] => {
                let count = tensor.shape[..tensor.shape.len() - 2].iter().product();
                (height, width, count)
            }
            _ => return None,
        };
        let is_whole = count > 0 && height > 0 && width > 0 && tensor.bytes.len() == count * height * width;
        is_whole.then_some(Images { count, height, width, pixels: &tensor.bytes })
    }
}

/// Gray images of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images<'a> {
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pixels: &'a [u8],
}

impl<'a> Images<'a> {
    /// One of them.
    pub fn get(&self, at: usize) -> Option<crate::report::plot::Tile<'a>> {
        let size = self.height * self.width;
        let pixels = self.pixels.get(at * size..(at + 1) * size)?;
        Some(crate::report::plot::Tile { height: self.height, width: self.width, pixels })
    }
}

/// Squared error a pixel between two images, of pixels from 0 to 1.
pub(super) fn error(a: crate::report::plot::Tile<'_>, b: crate::report::plot::Tile<'_>) -> f64 {
    let sum: f64 =
        a.pixels.iter().zip(b.pixels).map(|(a, b)| ((f64::from(*a) - f64::from(*b)) / 255.0).powi(2)).sum();
    sum / a.pixels.len().max(1) as f64
}
