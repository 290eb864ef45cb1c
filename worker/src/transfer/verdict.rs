//! What a classifier is worth on images that it has not seen.

use serde::Serialize;
use tch::{Kind, Tensor};

use super::{EVALUATION_BATCH, Features, Head};
use crate::model::Parameters;
use crate::train::{Learner, TrainError};

/// What a classifier came to; its JSON is the file that is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The images.
    pub images: usize,
    /// Of which part of the data set they are: `test`, or `validation` where it has no test images.
    pub part: &'static str,
    /// The epoch of the weights: the best one.
    pub epoch: u32,
    /// The mean cross entropy.
    pub loss: f64,
    /// The share of images whose class was found.
    pub accuracy: f64,
    /// What the data set calls its classes, from 0, where it has names for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// How many images of each class (row) were taken for each class (column).
    pub confusion: Vec<Vec<i64>>,
    /// How long the features of all images took, once.
    pub feature_seconds: f64,
    /// How long all of it took, the features included.
    pub seconds: f64,
}

/// Judges the weights of a classifier, in a row, by the images of `head` that `indices` name: their mean cross entropy, and
/// how many of each class were taken for which.
///
/// # Errors
/// [`TrainError::Invalid`] for weights of another classifier, or no images; what libtorch says.
pub fn judge(head: &Head<'_>, weights: &[f32], indices: &[i64]) -> Result<(f64, Vec<Vec<i64>>), TrainError> {
    let _guard = tch::no_grad_guard();
    let specs = head.specs();
    let expected: i64 = specs.iter().map(crate::model::ParameterSpec::count).sum();
    if weights.len() as i64 != expected || indices.is_empty() {
        let found = weights.len();
        return Err(TrainError::Invalid(format!(
            "a classifier of {expected} weights got {found}, or no images"
        )));
    }
    let device = head.device();
    let weights = Parameters::of(specs, Tensor::f_from_slice(weights)?.f_to(device)?).views()?;
    let Features { values, labels } = head.features;
    let classes = head.classes;
    let mut loss = 0.0;
    let mut counts = Tensor::f_zeros([classes * classes], (Kind::Int64, device))?;
    for part in indices.chunks(EVALUATION_BATCH) {
        let part = Tensor::f_from_slice(part)?.f_to(device)?;
        let labels = labels.f_index_select(0, &part)?;
        let logits = head.logits(&weights, &values.f_index_select(0, &part)?, false)?;
        let sum = logits.f_cross_entropy_loss(&labels, None::<&Tensor>, tch::Reduction::Sum, -100, 0.0)?;
        loss += sum.f_double_value(&[])?;
        let cells = labels.f_mul_scalar(classes)?.f_add(&logits.f_argmax(1, false)?)?;
        let ones = Tensor::f_ones_like(&cells)?;
        counts = counts.f_scatter_add_(0, &cells, &ones)?;
    }
    let flat = Vec::<i64>::try_from(&counts.f_to(tch::Device::Cpu)?)?;
    let confusion = flat.chunks(usize::try_from(classes).unwrap_or(1)).map(<[i64]>::to_vec).collect();
    Ok((loss / indices.len() as f64, confusion))
}

/// The share of the diagonal.
pub(crate) fn accuracy(confusion: &[Vec<i64>]) -> f64 {
    let all: i64 = confusion.iter().flatten().sum();
    let right: i64 = confusion.iter().enumerate().filter_map(|(class, row)| row.get(class)).sum();
    right as f64 / all.max(1) as f64
}
