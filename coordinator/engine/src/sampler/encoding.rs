//! A trial's params as numbers, and back: what samplers that learn compute with.
//!
//! A numeric param is its place between its bounds, from 0 to 1, on a logarithmic scale where it has one; a choice is
//! the index of its value. A param that the trial does not have is NaN.

use foldwise_shared::space::{Domain, Space};
use foldwise_shared::value::{ParamValue, Params};
use rand::{Rng, RngExt};

/// A trial's params: a number for each [`Dim`] of the [`Encoding`].
pub(crate) type Point = Vec<f64>;

/// The params of a space that can differ between trials, each after those its conditions name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoding {
    space: Space,
    dims: Vec<Dim>,
}

/// A param with more than one value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dim {
    name: String,
    domain: Domain,
    kind: Kind,
    /// The ends of the scale: of the values themselves, or of their logarithms.
    low: f64,
    high: f64,
    log: bool,
    /// The dims before it that must have one of these numbers, for a trial to have this one.
    when: Vec<Condition>,
}

/// A dim and the numbers of it that are wanted.
type Condition = (usize, Vec<f64>);

/// How the numbers of a dim compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any number from 0 to 1.
    Real,
    /// One number in each of so many cells, which fill 0 to 1.
    Cells(u64),
    /// So many indices, all equally far from each other.
    Choice(usize),
}

impl Encoding {
    pub fn new(space: &Space) -> Self {
        let mut encoding = Self { space: space.clone(), dims: Vec::new() };
        for name in space.in_order() {
            let dim =
                encoding.conditions(name).and_then(|when| Dim::new(name, &space.0.get(name)?.domain, when));
            encoding.dims.extend(dim);
        }
        encoding
    }

    /// The conditions of a param, on dims that are there already; none if no trial ever has it.
    fn conditions(&self, name: &str) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        for (other, values) in self.space.wanted(name) {
            match self.dims.iter().position(|dim| dim.name == *other) {
                Some(place) => {
                    let numbers = values.iter().filter_map(|value| self.dims[place].number(value));
                    conditions.push((place, numbers.collect()));
                }
                // It has one value only, and is there under conditions of its own.
                None if self
                    .space
                    .0
                    .get(other)?
                    .domain
                    .value(0)
                    .is_some_and(|only| values.contains(&only)) =>
                {
                    conditions.extend(self.conditions(other)?);
                }
                None => return None,
            }
        }
        Some(conditions)
    }

    pub fn dims(&self) -> &[Dim] {
        &self.dims
    }

    /// How many points there are; none if they are not finite in number, or more than can be counted. Points of
    /// conditional spaces are counted as if every trial had every param.
    pub fn cardinality(&self) -> Option<u64> {
        self.dims.iter().try_fold(1u64, |all, dim| all.checked_mul(dim.domain.cardinality()?))
    }

    /// The point of a trial's params.
    pub fn encode(&self, params: &Params) -> Point {
        let number =
            |dim: &Dim| params.get(&dim.name).and_then(|value| dim.number(value)).unwrap_or(f64::NAN);
        self.dims.iter().map(number).collect()
    }

    /// The params at a point, those with one value included.
    pub fn decode(&self, point: &[f64]) -> Params {
        let mut params = Params::new();
        for name in self.space.in_order() {
            if !self.space.has(name, &params) {
                continue;
            }
            let Some(param) = self.space.0.get(name) else { continue };
            let place = self.dims.iter().position(|dim| dim.name == *name);
            let value = match place {
                Some(place) => point.get(place).and_then(|number| self.dims[place].value(*number)),
                None => param.domain.value(0),
            };
            params.extend(value.map(|value| (name.clone(), value)));
        }
        params
    }

    /// The point nearest to `unit`, which has a number from 0 to 1 for each dim; of a choice all values take alike.
    pub fn point_at(&self, unit: &[f64]) -> Point {
        let mut point: Point = self.dims.iter().zip(unit).map(|(dim, unit)| dim.at(*unit)).collect();
        self.mask(&mut point);
        point
    }

    /// A point drawn uniformly.
    pub fn random(&self, rng: &mut impl Rng) -> Point {
        let unit: Vec<f64> = self.dims.iter().map(|_| rng.random()).collect();
        self.point_at(&unit)
    }

    /// Whether a point has dim `place`, by the dims before it.
    pub fn has(&self, place: usize, point: &[f64]) -> bool {
        self.dims[place].when.iter().all(|(other, wanted)| wanted.contains(&point[*other]))
    }

    /// Takes from a point what it cannot have.
    pub fn mask(&self, point: &mut [f64]) {
        for place in 0..self.dims.len() {
            if !self.has(place, point) {
                point[place] = f64::NAN;
            }
        }
    }

    /// Gives a point the middle, or first, value of what it must have and has not, and takes from it what it cannot
    /// have.
    pub fn mend(&self, point: &mut [f64]) {
        for place in 0..self.dims.len() {
            if !self.has(place, point) {
                point[place] = f64::NAN;
            } else if point[place].is_nan() {
                let dim = &self.dims[place];
                point[place] = dim.at(if matches!(dim.kind, Kind::Choice(_)) { 0.0 } else { 0.5 });
            }
        }
    }
}

impl Dim {
    /// None for a param with one value.
    fn new(name: &str, domain: &Domain, when: Vec<Condition>) -> Option<Self> {
        let count = domain.cardinality();
        if count == Some(1) {
            return None;
        }
        let (kind, low, high, log) = match (domain, count) {
            (Domain::Float { low, high, log: true, .. }, _) => {
                (Kind::Real, libm::log(*low), libm::log(*high), true)
            }
            (Domain::Float { low, high, step: None, .. }, _) => (Kind::Real, *low, *high, false),
            // Half a value more on either side gives the bounds the share their neighbors have.
            (Domain::Int { low, high, log: true, .. }, Some(count)) => {
                let end = |bound: f64| libm::log(bound);
                (Kind::Cells(count), end(*low as f64 - 0.5), end(*high as f64 + 0.5), true)
            }
            (Domain::Float { .. } | Domain::Int { .. }, Some(count)) => {
                (Kind::Cells(count), 0.0, count as f64, false)
            }
            (_, count) => (Kind::Choice(usize::try_from(count?).ok()?), 0.0, 1.0, false),
        };
        Some(Self { name: name.to_owned(), domain: domain.clone(), kind, low, high, log, when })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn is_choice(&self) -> bool {
        matches!(self.kind, Kind::Choice(_))
    }

    /// Half the width of a cell, if all have the same.
    pub fn half_cell(&self) -> Option<f64> {
        match self.kind {
            Kind::Cells(count) if !self.log => Some(0.5 / count as f64),
            _ => None,
        }
    }

    /// Whether points have it under conditions only, and under which.
    pub fn conditions(&self) -> &[Condition] {
        &self.when
    }

    /// The number of a value; none if it has none.
    fn number(&self, value: &ParamValue) -> Option<f64> {
        let scaled = |number: f64| (number - self.low) / (self.high - self.low);
        match (&self.domain, self.kind) {
            (_, Kind::Choice(count)) => (0..count)
                .find(|index| self.domain.value(*index as u64).as_ref() == Some(value))
                .map(|i| i as f64),
            (_, Kind::Real) | (Domain::Int { log: true, .. }, _) => {
                let number = value.as_f64()?;
                Some(scaled(if self.log { libm::log(number) } else { number }).clamp(0.0, 1.0))
            }
            (Domain::Int { low, step, .. }, _) => Some(scaled(((value.as_i64()? - low) / step) as f64 + 0.5)),
            (Domain::Float { low, step, .. }, _) => {
                Some(scaled(libm::round((value.as_f64()? - low) / step.unwrap_or(1.0)) + 0.5))
            }
            _ => None,
        }
    }

    /// The value of a number; none for NaN.
    fn value(&self, number: f64) -> Option<ParamValue> {
        if number.is_nan() {
            return None;
        }
        let place = self.low + number * (self.high - self.low);
        Some(match (&self.domain, self.kind) {
            (Domain::Float { low, high, .. }, Kind::Real) => {
                let value = if self.log { libm::exp(place) } else { place };
                ParamValue::Float(value.clamp(*low, *high))
            }
            (Domain::Int { low, high, log: true, .. }, _) => {
                ParamValue::Int((libm::round(libm::exp(place)) as i64).clamp(*low, *high))
            }
            (domain, Kind::Cells(count)) => domain.value((libm::floor(place) as u64).min(count - 1))?,
            (domain, _) => domain.value(number as u64)?,
        })
    }

    /// The number that a place from 0 to 1 stands for.
    pub fn at(&self, unit: f64) -> f64 {
        match self.kind {
            Kind::Real => unit,
            Kind::Choice(count) => libm::floor(unit * count as f64).min(count as f64 - 1.0),
            Kind::Cells(_) => self.value(unit).and_then(|value| self.number(&value)).unwrap_or(unit),
        }
    }

    /// The numbers beside a cell's, or of all the other choices; nothing for a real number.
    pub fn neighbors(&self, number: f64) -> Vec<f64> {
        match self.kind {
            Kind::Real => Vec::new(),
            Kind::Choice(count) => {
                (0..count).map(|index| index as f64).filter(|other| *other != number).collect()
            }
            Kind::Cells(_) => [-1, 1].into_iter().filter_map(|by| self.beside(number, by)).collect(),
        }
    }

    /// The number of the cell `by` cells further; none past the ends.
    fn beside(&self, number: f64, by: i64) -> Option<f64> {
        let next = match (&self.domain, self.value(number)?) {
            (Domain::Int { step, .. }, ParamValue::Int(value)) => {
                ParamValue::Int(value.checked_add(by * step)?)
            }
            (Domain::Float { step, .. }, ParamValue::Float(value)) => {
                ParamValue::Float(value + by as f64 * step.unwrap_or(0.0))
            }
            _ => return None,
        };
        if self.domain.contains(&next) { self.number(&next) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn encoding(space: &str) -> Encoding {
        Encoding::new(&toml::from_str(space).expect(space))
    }

    /// Points at these places of the unit cube, as JSON.
    fn check(space: &str, cases: &[(&[f64], &str)]) {
        let encoding = encoding(space);
        for (unit, expected) in cases {
            let point = encoding.point_at(unit);
            let params = encoding.decode(&point);
            assert_eq!(serde_json::to_string(&params).expect("JSON"), *expected, "{space} at {unit:?}");
            let again = encoding.encode(&params);
            let same = |a: &f64, b: &f64| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
            assert!(again.iter().zip(&point).all(|(a, b)| same(a, b)), "{again:?} {point:?}");
        }
    }

    #[test]
    fn places_and_values() {
        check("a = { float = [-1.0, 3.0] }", &[(&[0.0], r#"{"a":-1.0}"#), (&[0.25], r#"{"a":0.0}"#)]);
        check("a = { float = [1.0, 16.0], log = true }", &[(&[0.5], r#"{"a":4.0}"#)]);
        check(
            "a = { int = [1, 4] }",
            &[(&[0.0], r#"{"a":1}"#), (&[0.26], r#"{"a":2}"#), (&[1.0], r#"{"a":4}"#)],
        );
        check("a = { int = [10, 40], step = 10 }", &[(&[0.6], r#"{"a":30}"#)]);
        check("a = { float = [0.0, 0.5], step = 0.25 }", &[(&[0.4], r#"{"a":0.25}"#)]);
        check("a = { int = [1, 100], log = true }", &[(&[0.5], r#"{"a":7}"#), (&[1.0], r#"{"a":100}"#)]);
        check("a = { choice = [\"x\", \"y\"] }\nb = { fixed = 3 }", &[(&[0.5], r#"{"a":"y","b":3}"#)]);
        check(
            "a = { bool = true }\nb = { float = [0.0, 1.0], when = { a = true } }",
            &[(&[0.9, 0.5], r#"{"a":true,"b":0.5}"#), (&[0.1, 0.5], r#"{"a":false}"#)],
        );
        // What waits for a constant waits for what the constant waits for.
        check(
            "a = { bool = true }\nb = { fixed = 1, when = { a = true } }\nc = { bool = true, when = { b = 1 } }\n\
             d = { bool = true, when = { e = 2 } }\ne = { fixed = 1 }",
            &[(&[0.9, 0.9], r#"{"a":true,"b":1,"c":true,"e":1}"#), (&[0.1, 0.9], r#"{"a":false,"e":1}"#)],
        );
    }

    #[test]
    fn neighbors_are_one_step_away() {
        let values = |space: &str, unit: f64| {
            let encoding = encoding(space);
            let dim = &encoding.dims()[0];
            let all = dim.neighbors(dim.at(unit)).into_iter().filter_map(|number| dim.value(number));
            all.map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(values("a = { int = [1, 9], step = 4 }", 0.5), "1 9");
        assert_eq!(values("a = { int = [1, 9], step = 4 }", 0.0), "5");
        assert_eq!(values("a = { int = [1, 1000], log = true }", 0.9999), "999");
        assert_eq!(values("a = { float = [0.0, 1.0], step = 0.1 }", 0.35), "0.2 0.4");
        assert_eq!(values("a = { choice = [1, 2, 3] }", 0.5), "1 3");
        assert_eq!(values("a = { float = [0.0, 1.0] }", 0.5), "");
    }

    #[test]
    fn random_points_are_uniform_over_cells() {
        let encoding = encoding("a = { int = [1, 40], log = true }\nb = { choice = [1, 2, 3, 4] }");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let params = encoding.decode(&encoding.random(&mut rng));
            counts[params["b"].as_i64().expect("a number") as usize - 1] += 1;
            assert!((1..=40).contains(&params["a"].as_i64().expect("a number")));
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
