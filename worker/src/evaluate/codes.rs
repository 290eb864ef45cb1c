//! The codes of images, the middle of each class among them, and how they lie.

use std::ops::ControlFlow;

use tch::{Device, Kind, Tensor};

use super::artifact::TsneSummary;
use super::{EvaluateTask, Halt, Purpose, Watch};
use crate::embed::{Codes, Pca, TsneSettings, knn_accuracy, pca, silhouette, tsne};
use crate::train::TrainError;

/// Numbers of a code of which a covariance is computed at most: it has their square, and its eigenvectors take their cube.
pub(super) const MOST_COLUMNS: usize = 2048;

/// The codes of the first images, on the host.
pub(super) struct CodeTable {
    /// Row by row.
    pub values: Vec<f32>,
    /// How many there are.
    pub rows: usize,
    /// The numbers of each.
    pub columns: usize,
    /// The class of each, where they are known.
    pub labels: Option<Vec<u8>>,
}

/// The mean code of each class that occurs.
pub(super) struct Centroids {
    /// The classes, in order.
    pub classes: Vec<u8>,
    /// `[classes, latent]`, on the host.
    pub codes: Tensor,
}

/// The codes of the first images, as many as the study says.
pub(super) fn encode(
    task: &EvaluateTask<'_>,
    indices: &Tensor,
    watch: &Watch<'_>,
) -> Result<CodeTable, Halt> {
    let EvaluateTask { model, images, section, .. } = *task;
    let layout = model.network.layout();
    let count = indices.size1()?.min(i64::try_from(section.codes).unwrap_or(i64::MAX));
    let most = images.evaluation_batch(layout);
    let mut parts = Vec::new();
    for start in (0..count).step_by(most) {
        watch.go_on()?;
        let length = (count - start).min(most as i64);
        let batch = images.batch(&indices.f_narrow(0, start, length)?, layout)?;
        parts.push(model.network.encode(&model.weights, &batch)?.f_to(Device::Cpu)?);
    }
    let codes = Tensor::f_cat(&parts, 0)?.f_contiguous()?;
    let columns = usize::try_from(codes.size2()?.1).unwrap_or_default();
    let mut values = vec![0.0_f32; codes.numel()];
    codes.f_copy_data(&mut values, codes.numel())?;
    let rows = usize::try_from(count).unwrap_or_default();
    let labels = task.labels.map(|labels| labels.iter().copied().take(rows).collect());
    Ok(CodeTable { values, rows, columns, labels })
}

impl CodeTable {
    fn codes(&self) -> Result<Codes<'_>, TrainError> {
        Ok(Codes::new(&self.values, self.rows, self.columns)?)
    }

    /// `[codes, latent]` in double precision, on the host.
    pub fn tensor(&self) -> Result<Tensor, TrainError> {
        let shape = [self.rows as i64, self.columns as i64];
        Ok(Tensor::f_from_slice(&self.values)?.f_view(shape)?.f_to_kind(Kind::Double)?)
    }

    /// The mean code of each class; none without labels.
    pub fn centroids(&self) -> Result<Option<Centroids>, TrainError> {
        let Some(labels) = &self.labels else { return Ok(None) };
        let mut sums = vec![(0_usize, vec![0.0_f64; self.columns]); 256];
        for (label, code) in labels.iter().zip(self.values.chunks_exact(self.columns)) {
            let Some((count, sum)) = sums.get_mut(usize::from(*label)) else { continue };
            *count += 1;
            for (sum, value) in sum.iter_mut().zip(code) {
                *sum += f64::from(*value);
            }
        }
        let (mut classes, mut means) = (Vec::new(), Vec::new());
        for (class, (count, sum)) in (0..=255_u8).zip(sums).filter(|(_, (count, _))| *count > 0) {
            classes.push(class);
            means.extend(sum.into_iter().map(|sum| (sum / count as f64) as f32));
        }
        let codes = Tensor::f_from_slice(&means)?.f_view([classes.len() as i64, self.columns as i64])?;
        Ok(Some(Centroids { classes, codes }))
    }
}

/// How codes lie.
pub(super) struct Mapped {
    /// Their principal components, unless they have too many numbers.
    pub pca: Option<Pca>,
    /// Their map, if one is wanted and there are enough of them.
    pub tsne: Option<Map>,
    /// How many have the class of their neighbors.
    pub knn_accuracy: Option<f64>,
    /// How far the classes stand apart.
    pub silhouette: Option<f64>,
    /// How many neighbors had a vote.
    pub neighbors: Option<usize>,
    /// What is left out because the codes have too many numbers.
    pub skipped: Vec<&'static str>,
}

/// A map of codes by t-SNE.
pub(super) struct Map {
    pub points: Vec<[f32; 2]>,
    pub summary: TsneSummary,
}

/// Computes what the study wants of the codes. Where there are too few of them for the perplexity or the neighbors that it asks
/// for, the most there can be are taken.
pub(super) fn map(task: &EvaluateTask<'_>, table: &CodeTable, watch: &mut Watch<'_>) -> Result<Mapped, Halt> {
    let codes = table.codes()?;
    let mut skipped = Vec::new();
    let wide = table.columns > MOST_COLUMNS;
    let pca = if wide {
        skipped.push("pca");
        None
    } else if codes.len() > 1 {
        Some(pca(codes).map_err(TrainError::from)?)
    } else {
        Some(Pca { points: vec![[0.0, 0.0]], explained_variance: [0.0, 0.0] })
    };

    let mut separation = (None, None, None);
    if let Some(labels) = &table.labels {
        let neighbors = (task.section.neighbors as usize).min(codes.len().saturating_sub(1));
        if neighbors > 0 {
            separation.0 = Some(watch.part("neighbors", |watch| {
                finished(knn_accuracy(codes, labels, neighbors, &mut |_| flow(watch)))
            })?);
            separation.1 = Some(neighbors);
        }
        let classes = (0..=255).filter(|class| labels.contains(class)).count();
        if classes > 1 && classes < codes.len() {
            separation.2 = Some(
                watch
                    .part("silhouette", |watch| finished(silhouette(codes, labels, &mut |_| flow(watch))))?,
            );
        }
    }
    let (knn_accuracy, neighbors, silhouette) = separation;

    let most = (codes.len().saturating_sub(1) / 3) as f64;
    let wanted = task.section.tsne && most >= 1.0;
    if wanted && wide {
        // It begins with the principal components.
        skipped.push("tsne");
    }
    let tsne = if wanted && !wide {
        let perplexity = task.section.perplexity.min(most);
        let settings = TsneSettings { perplexity, seed: Purpose::Tsne.seed_of(task.seed) };
        let embedding = watch.part("t-SNE", |watch| finished(tsne(codes, settings, &mut |_| flow(watch))))?;
        let kl_divergence = embedding.kl_divergence;
        let summary = TsneSummary { perplexity, images: codes.len(), kl_divergence };
        Some(Map { points: embedding.points, summary })
    } else {
        None
    };
    Ok(Mapped { pca, tsne, knn_accuracy, silhouette, neighbors, skipped })
}

fn flow(watch: &Watch<'_>) -> ControlFlow<()> {
    if (watch.interrupt)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn finished<T>(result: Result<Option<T>, crate::embed::EmbedError>) -> Result<T, Halt> {
    result.map_err(TrainError::from)?.ok_or(Halt::Interrupted)
}
