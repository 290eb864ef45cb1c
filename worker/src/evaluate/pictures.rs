//! What a model makes of images and of codes, to be looked at.

use foldwise_shared::spec::Corruption;
use tch::{Device, Kind, TchError, Tensor};

use super::codes::{CodeTable, MOST_COLUMNS};
use super::{Halt, Watch};
use crate::corruption;
use crate::fitted::FittedModel;
use crate::images::DeviceImages;
use crate::train::TrainError;

/// Codes on the line between two centroids, both ends among them.
pub const MORPHING_STEPS: i64 = 10;

/// Pixels of all morphings at most: with many classes or large images only those of the first classes are made.
const MOST_PIXELS: i64 = 1 << 26;

/// Which images are shown, by their position among those that are measured.
pub(super) struct Choice(Vec<i64>);

impl Choice {
    /// Of labelled images the first of each class, then the second of each, and so on; of others the first ones.
    pub fn new(labels: Option<&[u8]>, images: usize, wanted: usize) -> Self {
        let wanted = wanted.min(images);
        let Some(labels) = labels else { return Self((0..wanted as i64).collect()) };
        let mut seen = [0_usize; 256];
        // The round of each image, its class and its position: in their order.
        let mut ranked: Vec<(usize, u8, i64)> = (0..)
            .zip(labels)
            .map(|(position, label)| {
                let round = &mut seen[usize::from(*label)];
                *round += 1;
                (*round, *label, position)
            })
            .collect();
        ranked.sort_unstable();
        Self(ranked.into_iter().take(wanted).map(|(_, _, position)| position).collect())
    }

    /// The positions on a device.
    pub fn positions(&self, device: Device) -> Result<Tensor, TchError> {
        Tensor::f_from_slice(&self.0)?.f_to(device)
    }
}

/// Images before and after a model, each `[images, pixels]`.
pub(super) struct Grid {
    pub original: Tensor,
    pub corrupted: Tensor,
    pub reconstructed: Tensor,
}

impl Grid {
    pub fn new(
        model: &FittedModel,
        images: &DeviceImages,
        chosen: &Tensor,
        steps: &[Corruption],
    ) -> Result<Self, TrainError> {
        let layout = model.network.layout();
        let original = images.batch(chosen, layout)?;
        let corrupted = corruption::apply(steps, &original, layout, images.height(), images.width())?;
        let reconstructed = model.network.forward(&model.weights, &corrupted, false)?.pixels;
        let first = |batch: Tensor| layout.images_first(batch);
        Ok(Self {
            original: first(original)?,
            corrupted: first(corrupted)?,
            reconstructed: first(reconstructed)?,
        })
    }
}

/// The pixels of codes of such images, `[codes, pixels]` on the host, some codes at a time.
pub(super) fn decode(
    model: &FittedModel,
    images: &DeviceImages,
    codes: &Tensor,
    watch: &Watch<'_>,
) -> Result<Tensor, Halt> {
    let count = codes.size2()?.0;
    let most = images.evaluation_batch(model.network.layout());
    let mut parts = Vec::new();
    for start in (0..count).step_by(most) {
        watch.go_on()?;
        let part = codes.f_narrow(0, start, (count - start).min(most as i64))?;
        let part = part.f_to_kind(Kind::Float)?.f_to(images.device())?;
        parts.push(model.network.decode(&model.weights, &part)?.f_to(Device::Cpu)?);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// Whether codes can be drawn: of a plain network, the covariance of its own must not be too large.
pub(super) fn draws_codes(model: &FittedModel, codes: &CodeTable) -> bool {
    model.settings.variational || codes.columns <= MOST_COLUMNS
}

/// Codes that were drawn: of a variational network from the standard normal distribution, which it was trained to fill; of a plain
/// one from the normal distribution with the mean and the covariance of its own codes. `[count, latent]` on the host.
pub(super) fn random_codes(model: &FittedModel, codes: &CodeTable, count: i64) -> Result<Tensor, TrainError> {
    let drawn = Tensor::f_randn([count, codes.columns as i64], (Kind::Double, Device::Cpu))?;
    if model.settings.variational || codes.rows < 2 {
        return Ok(drawn);
    }
    let own = codes.tensor()?;
    let mean = own.f_mean_dim(&[0_i64][..], true, Kind::Double)?;
    let centered = own.f_sub(&mean)?;
    let covariance = centered.f_tr()?.f_matmul(&centered)?.f_div_scalar((codes.rows - 1) as f64)?;
    // By its eigenvectors, since a number that is the same in all codes leaves it without a Cholesky factor.
    let (values, vectors) = covariance.f_linalg_eigh("L")?;
    let scale = values.f_clamp_min(0.0)?.f_sqrt()?;
    Ok(drawn.f_mul(&scale)?.f_matmul(&vectors.f_tr()?)?.f_add(&mean)?)
}

/// The codes on the lines between all pairs of centroids, `[classes * classes * 10, latent]`, and their shape but for the latents:
/// row by row the class that a line begins at, then the one it ends at.
pub(super) fn morphing(centroids: &Tensor, pixels: i64) -> Result<(Tensor, [i64; 3]), TrainError> {
    let (all, latent) = centroids.size2()?;
    let fits = |classes: i64| classes * classes * MORPHING_STEPS <= MOST_PIXELS / pixels.max(1);
    let classes = (1..=all).rev().find(|classes| fits(*classes)).unwrap_or(1);
    let own = centroids.f_narrow(0, 0, classes)?;
    let from = own.f_view([classes, 1, 1, latent])?;
    let to = own.f_view([1, classes, 1, latent])?;
    let along = Tensor::f_linspace(0.0, 1.0, MORPHING_STEPS, (Kind::Float, own.device()))?.f_view([
        1,
        1,
        MORPHING_STEPS,
        1,
    ])?;
    let lines = from.f_mul(&along.f_neg()?.f_add_scalar(1.0)?)?.f_add(&to.f_mul(&along)?)?;
    Ok((lines.f_reshape([-1, latent])?, [classes, classes, MORPHING_STEPS]))
}
