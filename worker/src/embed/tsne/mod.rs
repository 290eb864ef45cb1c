//! t-SNE (van der Maaten and Hinton 2008) by the Barnes-Hut approximation (van der Maaten 2014,
//! <https://jmlr.org/papers/v15/vandermaaten14a.html>), with what scikit-learn does by default since: the first two principal
//! components as a start (Kobak and Berens 2019), and a learning rate that grows with the number of points (Belkina et al. 2019).
//!
//! The path of the data: `affinities` says which codes should lie together, `repulsion` what keeps points apart, and
//! here the points are moved.

mod affinities;
mod repulsion;

use std::ops::ControlFlow;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::{Codes, EmbedError, Step, Watch, pca};
use affinities::Affinities;
use repulsion::Repulsion;

/// Gradient steps, of which the first 250 are exaggerated.
pub const ITERATIONS: u32 = 1_000;

const EXAGGERATED: u32 = 250;

/// Codes that should lie together attract each other by so much more at first, so that clusters form.
const EXAGGERATION: f32 = 12.0;

const MOMENTUM_EXAGGERATED: f32 = 0.5;
const MOMENTUM: f32 = 0.8;

/// A cell of points whose side is less than this share of its distance counts as one point.
const THETA: f32 = 0.5;

/// The deviation of the points at the start, along the first principal component.
const START: f64 = 1e-4;

/// What tells equal codes apart at the start, as a share of [`START`].
const JITTER: f64 = 1e-2;

const LEAST_GAIN: f32 = 0.01;

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TsneSettings {
    /// How many neighbors of a code count, from 1 to a third of the codes.
    pub perplexity: f64,
    /// Of the start; the same seed gives the same points on the same kind of machine.
    pub seed: u64,
}

/// Codes as points in the plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// A point for each code, around 0.
    pub points: Vec<[f32; 2]>,
    /// The Kullback-Leibler divergence of the points' closeness from the codes', which is what was made small: over the
    /// neighbors of each code, with the exact sum over all pairs of points.
    pub kl_divergence: f64,
}

/// Lays codes out in the plane, so that those that are close stay close. None if the watch, which is asked before each
/// of the 1,000 iterations and while neighbors are looked for, says stop.
///
/// # Errors
/// [`EmbedError::Perplexity`] or [`EmbedError::NoPerplexity`].
pub fn tsne(
    codes: Codes<'_>,
    settings: TsneSettings,
    watch: Watch<'_>,
) -> Result<Option<Embedding>, EmbedError> {
    let Some(affinities) = Affinities::new(codes, settings.perplexity, watch)? else { return Ok(None) };
    let points = start(codes, settings.seed)?;
    let Some(points) = descend(&affinities, points, ITERATIONS, watch) else { return Ok(None) };
    let kl_divergence = affinities.kl_divergence(&points);
    Ok(Some(Embedding { points, kl_divergence }))
}

/// The first two principal components, made small, and a little noise.
fn start(codes: Codes<'_>, seed: u64) -> Result<Vec<[f32; 2]>, EmbedError> {
    let components = pca(codes)?;
    let squares: f64 = components.points.iter().map(|[x, _]| f64::from(*x).powi(2)).sum();
    let deviation = (squares / codes.len() as f64).sqrt();
    let scale = if deviation > 0.0 { START / deviation } else { 0.0 };
    // A component without variance would stay a line.
    let noise = components.explained_variance.map(|share| if share > 0.0 { JITTER * START } else { START });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut place = |value: f32, noise: f64| {
        let drawn: f64 = StandardNormal.sample(&mut rng);
        (f64::from(value) * scale + noise * drawn) as f32
    };
    Ok(components.points.iter().map(|[x, y]| [place(*x, noise[0]), place(*y, noise[1])]).collect())
}

/// Gradient descent with momentum and a gain for each coordinate (Jacobs 1988).
fn descend(
    affinities: &Affinities,
    mut points: Vec<[f32; 2]>,
    iterations: u32,
    watch: Watch<'_>,
) -> Option<Vec<[f32; 2]>> {
    let count = points.len();
    // Codes by exaggeration; a quarter of it, since the gradient here has its factor 4.
    let learning_rate = (count as f32 / EXAGGERATION / 4.0).max(50.0);
    let mut repulsion = Repulsion::new();
    let mut gradient = vec![[0.0; 2]; count];
    let mut updates = vec![[0.0_f32; 2]; count];
    let mut gains = vec![[1.0_f32; 2]; count];
    for iteration in 0..iterations {
        if watch(Step::Iteration(iteration)) == ControlFlow::Break(()) {
            return None;
        }
        if iteration == EXAGGERATED {
            updates.fill([0.0; 2]);
            gains.fill([1.0; 2]);
        }
        let (exaggeration, momentum) =
            if iteration < EXAGGERATED { (EXAGGERATION, MOMENTUM_EXAGGERATED) } else { (1.0, MOMENTUM) };
        gradient_at(affinities, &points, exaggeration, THETA, &mut repulsion, &mut gradient);
        let steps = gradient.as_flattened().iter().zip(updates.as_flattened_mut());
        let places = points.as_flattened_mut().iter_mut().zip(gains.as_flattened_mut());
        for ((slope, update), (place, gain)) in steps.zip(places) {
            *gain = if *update * slope < 0.0 { *gain + 0.2 } else { (*gain * 0.8).max(LEAST_GAIN) };
            *update = momentum * *update - learning_rate * *gain * slope;
            *place += *update;
        }
    }
    center(&mut points);
    Some(points)
}

/// The gradient of the divergence: attraction along the affinities, repulsion between all.
fn gradient_at(
    affinities: &Affinities,
    points: &[[f32; 2]],
    exaggeration: f32,
    theta: f32,
    repulsion: &mut Repulsion,
    gradient: &mut [[f32; 2]],
) {
    let forces = repulsion.forces(points, theta);
    let share = (-4.0 / forces.normalizer) as f32;
    for (slope, force) in gradient.iter_mut().zip(forces.forces) {
        *slope = force.map(|part| share * part);
    }
    affinities.attract(points, 4.0 * exaggeration, gradient);
}

fn center(points: &mut [[f32; 2]]) {
    for axis in 0..2 {
        let mean = points.iter().map(|point| f64::from(point[axis])).sum::<f64>() / points.len() as f64;
        points.iter_mut().for_each(|point| point[axis] -= mean as f32);
    }
}

#[cfg(test)]
mod tests;
