//! Samplers: who chooses the params of a trial. Each is a file with one function
//! `params(spec, number) -> Option<Params>`, pure in its arguments; what a sampler learns from comes in as one more.

mod grid;
mod random;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::space::Domain;
use foldwise_shared::spec::{SamplerKind, StudySpec};
use foldwise_shared::state::Origin;
use foldwise_shared::value::Params;

pub use self::grid::grid_len;

/// The params of a trial and where each came from; both have every param of the space.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The values.
    pub params: Params,
    /// [`Origin::Fixed`] or [`Origin::Sampled`].
    pub origins: BTreeMap<String, Origin>,
}

/// What the trial `number` is to try; none when the sampler has nothing more to give (the grid is done).
/// The same arguments give the same bits on every machine.
pub fn suggest(spec: &StudySpec, number: TrialNumber) -> Option<Suggestion> {
    let params = match spec.sampler.kind {
        SamplerKind::Random => random::params(spec, number),
        SamplerKind::Grid => grid::params(spec, number),
        // A study file that asks for it is refused.
        SamplerKind::Tpe => None,
    }?;
    let origin = |domain: &Domain| match domain {
        Domain::Fixed(_) => Origin::Fixed,
        _ => Origin::Sampled,
    };
    let origins = spec.space.0.iter().map(|(name, domain)| (name.clone(), origin(domain))).collect();
    Some(Suggestion { params, origins })
}
