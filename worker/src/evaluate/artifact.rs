//! The files of an evaluation: numbers as JSON, pictures and codes as safetensors.

use std::collections::BTreeMap;

use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::codes::CodeTable;
use crate::tensors::bytes_of;
use crate::train::TrainError;

/// The numbers of an evaluation; its JSON is the file that is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The images that were measured on.
    pub images: usize,
    /// Of which part of the data set they are: `test`; where it has no test images `validation`, or `training` if no
    /// image is held out.
    pub part: &'static str,
    /// The squared error per pixel.
    pub mse: f64,
    /// For a variational network: the KL divergence of the codes from the standard normal distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// What the training made small.
    pub loss: f64,
    /// For a denoiser: the squared error where the input is corrupted as in its training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_corruption_mse: Option<f64>,
    /// The squared error against the deviation of the noise.
    pub noise: Levels,
    /// The squared error against the share of occluded pixels.
    pub occlusion: Levels,
    /// The codes that what follows is of: those of the first images.
    pub codes: usize,
    /// What the data set calls its classes, from 0, where it has names for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The classes that occur among them, in the order of their pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<u8>>,
    /// The share of codes that have the class of their neighbors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_accuracy: Option<f64>,
    /// How many neighbors had a vote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbors: Option<usize>,
    /// The mean silhouette of the codes by class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silhouette: Option<f64>,
    /// The share of the variance along the two principal components, if they were computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained_variance: Option<[f64; 2]>,
    /// The map of the codes, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsne: Option<TsneSummary>,
    /// What was left out because the codes have too many numbers: `pca`, `tsne`, `random`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<&'static str>,
    /// How long each part took.
    pub seconds: BTreeMap<String, f64>,
}

/// An error at each level of a corruption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Levels {
    /// The levels.
    pub level: Vec<f64>,
    /// The squared error per pixel at each.
    pub mse: Vec<f64>,
}

/// How a map came about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TsneSummary {
    /// The perplexity, which is lower than the study's where there are too few codes for that.
    pub perplexity: f64,
    /// The codes on it.
    pub images: usize,
    /// How far it is from what it should show.
    pub kl_divergence: f64,
}

/// Pictures by name, as gray values.
pub(super) struct PicturesFile {
    height: i64,
    width: i64,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
    /// The classes of the centroids.
    pub classes: Option<Vec<u8>>,
}

impl PicturesFile {
    pub fn new(height: i64, width: i64) -> Self {
        Self { height, width, tensors: Vec::new(), classes: None }
    }

    /// Adds images of `[images, pixels]` in `[0, 1]`, what is outside cut off; `shape` takes the place of the number of images.
    pub fn add(&mut self, name: &str, images: &Tensor, shape: &[i64]) -> Result<(), TrainError> {
        let gray = images.f_clamp(0.0, 1.0)?.f_mul_scalar(255.0)?.f_round()?.f_to_kind(Kind::Uint8)?;
        let gray = gray.f_to(tch::Device::Cpu)?.f_contiguous()?;
        let mut bytes = vec![0_u8; gray.numel()];
        gray.f_copy_data(&mut bytes, gray.numel())?;
        let count = [gray.size2()?.0];
        let axes = if shape.is_empty() { &count[..] } else { shape };
        let sides = axes.iter().copied().chain([self.height, self.width]);
        let shape = sides.map(|side| usize::try_from(side).unwrap_or_default()).collect();
        self.tensors.push((name.to_owned(), shape, bytes));
        Ok(())
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let views = self.tensors.iter().map(|(name, shape, bytes)| (name.as_str(), Dtype::U8, shape, bytes));
        file(views.collect())
    }
}

/// Codes, and where they lie.
pub(super) struct CodesFile<'a> {
    pub codes: &'a CodeTable,
    pub pca: Option<&'a [[f32; 2]]>,
    pub tsne: Option<&'a [[f32; 2]]>,
}

impl CodesFile<'_> {
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let CodeTable { values, rows, columns, labels } = self.codes;
        let codes = bytes_of(values);
        let [pca, tsne] =
            [self.pca, self.tsne].map(|points| points.map(|points| bytes_of(points.as_flattened())));
        let (code, point, label) = (vec![*rows, *columns], vec![*rows, 2], vec![*rows]);
        let mut tensors = vec![("codes", Dtype::F32, &code, &codes)];
        if let Some(pca) = &pca {
            tensors.push(("pca", Dtype::F32, &point, pca));
        }
        if let Some(labels) = labels {
            tensors.push(("labels", Dtype::U8, &label, labels));
        }
        if let Some(tsne) = &tsne {
            tensors.push(("tsne", Dtype::F32, &point, tsne));
        }
        file(tensors)
    }
}

fn file(tensors: Vec<(&str, Dtype, &Vec<usize>, &Vec<u8>)>) -> Result<Vec<u8>, TrainError> {
    let views = tensors
        .into_iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| serialize(views, None))
        .map_err(|error| TrainError::Invalid(format!("the file cannot be written: {error}")))
}
