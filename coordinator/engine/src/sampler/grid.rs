//! The grid sampler: every combination once, in the order of the params' names, the last name fastest.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::space::Domain;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::value::{ParamValue, Params};

/// How many trials the grid of a study has; `u64::MAX` if a number cannot count them.
pub fn grid_len(spec: &StudySpec) -> u64 {
    spec.space.grid_len(points(spec)).unwrap_or(u64::MAX)
}

/// The combination at `number`; none past the last.
pub(super) fn params(spec: &StudySpec, number: TrialNumber) -> Option<Params> {
    let points = points(spec);
    let mut rest = u64::from(number.0);
    let mut params = Params::new();
    for (name, domain) in spec.space.0.iter().rev() {
        let len = domain.grid_len(points).max(1);
        params.insert(name.clone(), value(domain, points, rest % len)?);
        rest /= len;
    }
    (rest == 0).then_some(params)
}

/// A spec that was parsed always has them.
fn points(spec: &StudySpec) -> u32 {
    spec.sampler.points.unwrap_or(1)
}

/// The value at `index` of the [`Domain::grid_len`] values, in rising order; the first and the last are the bounds.
fn value(domain: &Domain, points: u32, index: u64) -> Option<ParamValue> {
    let last = domain.grid_len(points).checked_sub(1)?;
    match *domain {
        Domain::Float { low, high, log, step: None } => {
            Some(ParamValue::Float(spaced(low, high, log, index, last)))
        }
        // Where the logarithmic points lie closer than 1 they would round to the same number: count up by 1 until
        // they have caught up. From there they are more than 1 apart, so all of them differ.
        Domain::Int { low, high, log: true, .. } => {
            let rounded = libm::round(spaced(low as f64, high as f64, true, index, last)) as i64;
            Some(ParamValue::Int(rounded.max(low + index as i64).min(high)))
        }
        _ => domain.value(index),
    }
}

/// The point at `index` of `0..=last`, evenly spaced from `low` to `high`, or their logarithms are.
fn spaced(low: f64, high: f64, log: bool, index: u64, last: u64) -> f64 {
    if index == 0 {
        return low;
    }
    if index >= last {
        return high;
    }
    let part = index as f64 / last as f64;
    let between = |low: f64, high: f64| low + (high - low) * part;
    let point = if log { libm::exp(between(libm::log(low), libm::log(high))) } else { between(low, high) };
    point.clamp(low, high)
}
