//! Samplers: who chooses the params of a trial. Each is a pure function of the study's spec, of its [`History`] and of
//! the trials that run; nothing else is remembered, so a restart changes nothing.

mod encoding;
mod history;

mod grid;
mod random;
mod sobol;

mod gp;
mod tpe;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::seed::{self, Stream};
use foldwise_shared::space::{Domain, Space};
use foldwise_shared::spec::{SamplerKind, StudySpec};
use foldwise_shared::state::Origin;
use foldwise_shared::value::Params;
use rand::Rng;

pub use self::grid::grid_len;
pub use self::history::{History, Outcome, Progress};

use self::encoding::Point;

/// The sizes up to which `auto` lets a Gaussian process choose, whose cost grows with the square of the trials.
const AUTO_TRIALS: usize = 256;
const AUTO_DIMS: usize = 64;

/// Random points that are tried in search of one that no trial had.
const TRIES: usize = 1_000;

/// The params of a trial and where each came from; both have every param that the trial has.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The values.
    pub params: Params,
    /// [`Origin::Fixed`] or [`Origin::Sampled`].
    pub origins: BTreeMap<String, Origin>,
}

impl Suggestion {
    /// These params, where each that the space does not fix is of this origin.
    pub fn new(space: &Space, params: Params, origin: Origin) -> Self {
        let of = |name: &String| match space.0.get(name).map(|param| &param.domain) {
            Some(Domain::Fixed(_)) => Origin::Fixed,
            _ => origin,
        };
        let origins = params.keys().map(|name| (name.clone(), of(name))).collect();
        Self { params, origins }
    }
}

/// Whether the sampler has something to give to the trial `number`; only a grid comes to an end.
pub fn has_more(spec: &StudySpec, number: TrialNumber) -> bool {
    spec.sampler.kind != SamplerKind::Grid || u64::from(number.0) < grid_len(spec)
}

/// These params and, for those that are left out, what the random sampler gives the trial `number`.
pub fn completed(spec: &StudySpec, given: &Params, number: TrialNumber) -> Params {
    // None only for a domain without values, which no study file has.
    random::completed(spec, given.clone(), number).unwrap_or_default()
}

/// What the trial `number` is to try; none when the sampler has nothing more to give. `running` are the params of the
/// trials that are not finished. The same arguments give the same bits on every machine.
pub fn suggest(
    spec: &StudySpec,
    history: &mut History,
    running: &[&Params],
    number: TrialNumber,
) -> Option<Suggestion> {
    let params = match spec.sampler.kind {
        SamplerKind::Random => random::params(spec, number),
        SamplerKind::Grid => grid::params(spec, number),
        SamplerKind::Sobol => {
            Some(history.encoding().decode(&sobol::point(spec, history.encoding(), number)))
        }
        SamplerKind::Auto | SamplerKind::Gp | SamplerKind::Tpe => {
            let running: Vec<Point> =
                running.iter().map(|params| history.encoding().encode(params)).collect();
            let point = learned(spec, history, &running, number);
            Some(history.encoding().decode(&point))
        }
    }?;
    Some(Suggestion::new(&spec.space, params, Origin::Sampled))
}

/// The point of a sampler that learns; while it has nothing to learn from, the next Sobol point.
fn learned(spec: &StudySpec, history: &mut History, running: &[Point], number: TrialNumber) -> Point {
    let mut rng = seed::rng(spec.study.seed, Stream::Suggest(number.0));
    if history.len() < spec.sampler.startup_trials.unwrap_or(1) as usize {
        return unless_taken(sobol::point(spec, history.encoding(), number), history, running, &mut rng);
    }
    let small = history.len() <= AUTO_TRIALS && history.encoding().dims().len() <= AUTO_DIMS;
    let by_process = match spec.sampler.kind {
        SamplerKind::Gp => true,
        SamplerKind::Auto => small,
        _ => false,
    };
    let from_process = if by_process { gp::point(history, running, number.0, &mut rng) } else { None };
    let multivariate = spec.sampler.multivariate.unwrap_or(true);
    let point = from_process.unwrap_or_else(|| tpe::point(history, running, multivariate, &mut rng));
    unless_taken(point, history, running, &mut rng)
}

/// A point, or another one if a trial had it already and there is one that none had.
fn unless_taken(point: Point, history: &History, running: &[Point], rng: &mut impl Rng) -> Point {
    if !history.is_taken(running, &point) || history.is_exhausted() {
        return point;
    }
    let mut others = (0..TRIES).map(|_| history.encoding().random(rng));
    others.find(|other| !history.is_taken(running, other)).unwrap_or(point)
}
