//! The grid of a space: every combination of the values that a grid takes of each param.

use super::{Domain, Space};
use crate::value::{ParamValue, Params};

/// Every combination once: in the order of the params' names, the last name fastest; params that the conditions of
/// others name come before all the rest.
#[derive(Debug)]
pub struct Grid<'a> {
    space: &'a Space,
    /// Values of a float without a step, and of an int on a logarithmic scale at most.
    points: u32,
    /// The params that conditions name, each after those of its own conditions.
    heads: Vec<&'a String>,
    /// All others.
    rest: Vec<&'a String>,
}

impl<'a> Grid<'a> {
    /// The grid of a space with so many points a param.
    pub fn new(space: &'a Space, points: u32) -> Self {
        let is_head = |name: &&String| space.0.values().any(|param| param.when.contains_key(*name));
        let (heads, rest) = space.in_order().into_iter().partition::<Vec<_>, _>(is_head);
        let mut grid = Self { space, points, heads, rest };
        grid.rest.sort();
        grid
    }

    /// How many combinations there are; none if they are more than `most`.
    pub fn count(&self, most: u64) -> Option<u64> {
        let mut total = 0u64;
        let ended = self.each_head(0, &mut Params::new(), &mut |heads| {
            let count = self.rest_len(heads).and_then(|count| total.checked_add(count));
            total = count.filter(|count| *count <= most).ok_or(())?;
            Ok(())
        });
        ended.is_ok().then_some(total)
    }

    /// The combination at `index`; none past the last.
    pub fn params(&self, index: u64) -> Option<Params> {
        let mut left = index;
        let mut found = None;
        let _ = self.each_head(0, &mut Params::new(), &mut |heads| {
            match self.rest_len(heads) {
                Some(count) if left >= count => left -= count,
                _ => {
                    found = self.with_rest(heads.clone(), left);
                    return Err(());
                }
            }
            Ok(())
        });
        found
    }

    /// Calls `visit` with each combination of the heads, until it has enough.
    fn each_head(
        &self,
        at: usize,
        params: &mut Params,
        visit: &mut impl FnMut(&Params) -> Result<(), ()>,
    ) -> Result<(), ()> {
        let Some(name) = self.heads.get(at) else { return visit(params) };
        if !self.space.has(name, params) {
            return self.each_head(at + 1, params, visit);
        }
        let Some(param) = self.space.0.get(*name) else { return Ok(()) };
        for index in 0..param.domain.grid_len(self.points) {
            let Some(value) = param.domain.grid_value(self.points, index) else { break };
            params.insert((*name).clone(), value);
            self.each_head(at + 1, params, visit)?;
        }
        params.remove(*name);
        Ok(())
    }

    /// The params of a trial beside its heads, with their domains.
    fn rest_of<'b>(
        &'b self,
        heads: &'b Params,
    ) -> impl DoubleEndedIterator<Item = (&'a String, &'a Domain)> + 'b {
        let present = self.rest.iter().filter(|name| self.space.has(name, heads));
        present.filter_map(|name| Some((*name, &self.space.0.get(*name)?.domain)))
    }

    /// How many combinations they have; none if a number cannot count them.
    fn rest_len(&self, heads: &Params) -> Option<u64> {
        self.rest_of(heads).try_fold(1u64, |size, (_, domain)| size.checked_mul(domain.grid_len(self.points)))
    }

    fn with_rest(&self, mut params: Params, index: u64) -> Option<Params> {
        let mut left = index;
        let rest: Vec<_> = self.rest_of(&params).collect();
        for (name, domain) in rest.into_iter().rev() {
            let len = domain.grid_len(self.points).max(1);
            params.insert(name.clone(), domain.grid_value(self.points, left % len)?);
            left /= len;
        }
        (left == 0).then_some(params)
    }
}

impl Domain {
    /// How many values a grid takes of this param: `points` of a float without a step, at most `points` of an int
    /// on a logarithmic scale, else every one.
    pub fn grid_len(&self, points: u32) -> u64 {
        let points = u64::from(points);
        match self {
            Self::Int { log: true, .. } => self.cardinality().unwrap_or(points).min(points),
            _ => self.cardinality().unwrap_or(points),
        }
    }

    /// The value at `index` of the [`grid_len`](Self::grid_len) values, in rising order; the first and the last are
    /// the bounds.
    pub fn grid_value(&self, points: u32, index: u64) -> Option<ParamValue> {
        let last = self.grid_len(points).checked_sub(1)?;
        match *self {
            Self::Float { low, high, log, step: None } => {
                Some(ParamValue::Float(spaced(low, high, log, index, last)))
            }
            // Where the logarithmic points lie closer than 1 they would round to the same number: count up by 1 until
            // they have caught up. From there they are more than 1 apart, so all of them differ.
            Self::Int { low, high, log: true, .. } => {
                let rounded = libm::round(spaced(low as f64, high as f64, true, index, last)) as i64;
                Some(ParamValue::Int(rounded.max(low + index as i64).min(high)))
            }
            _ => self.value(index),
        }
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
