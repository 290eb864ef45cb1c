//! The random sampler: every param on its own, uniform over its domain or over its logarithm.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::seed::{self, Stream};
use foldwise_shared::space::Domain;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::value::{ParamValue, Params};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Uniform};
use sha2::{Digest, Sha256};

/// Always some: it never runs dry.
pub(super) fn params(spec: &StudySpec, number: TrialNumber) -> Option<Params> {
    completed(spec, Params::new(), number)
}

/// `params`, and a draw for every other param that such a trial has.
///
/// A param draws from a stream of its own, chosen by its name, so that fixing or adding one leaves the draws of
/// the others as they are.
pub(super) fn completed(spec: &StudySpec, mut params: Params, number: TrialNumber) -> Option<Params> {
    let rng = seed::rng(spec.study.seed, Stream::Suggest(number.0));
    for name in spec.space.in_order() {
        if let Some(param) = spec.space.0.get(name)
            && !params.contains_key(name)
            && spec.space.has(name, &params)
        {
            let mut rng = rng.clone();
            rng.set_stream(stream_of(name));
            params.insert(name.clone(), draw(&param.domain, &mut rng)?);
        }
    }
    Some(params)
}

/// The number of a param's stream: the first 8 bytes of the SHA-256 of its name, little endian.
fn stream_of(name: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A value of the domain; none only for one without values, which no study file has.
fn draw(domain: &Domain, rng: &mut impl Rng) -> Option<ParamValue> {
    if let Some(count @ 0..=1) = domain.cardinality() {
        return domain.value(count.checked_sub(1)?);
    }
    match *domain {
        // exp(log(x)) can miss x by a rounding, hence the clamps.
        Domain::Float { low, high, log: true, .. } => {
            Some(ParamValue::Float(log_uniform(low, high, rng)?.clamp(low, high)))
        }
        Domain::Float { low, high, step: None, .. } => {
            Some(ParamValue::Float(uniform(low, high, rng)?.clamp(low, high)))
        }
        // Half a value more on either side gives the bounds the share their neighbors have, as Optuna does it.
        Domain::Int { low, high, log: true, .. } => {
            let number = libm::round(log_uniform(low as f64 - 0.5, high as f64 + 0.5, rng)?);
            Some(ParamValue::Int((number as i64).clamp(low, high)))
        }
        _ => domain.value(rng.random_range(0..domain.cardinality()?)),
    }
}

/// None for bounds that are not finite, which no study file has.
fn uniform(low: f64, high: f64, rng: &mut impl Rng) -> Option<f64> {
    Some(Uniform::new_inclusive(low, high).ok()?.sample(rng))
}

fn log_uniform(low: f64, high: f64, rng: &mut impl Rng) -> Option<f64> {
    uniform(libm::log(low), libm::log(high), rng).map(libm::exp)
}
