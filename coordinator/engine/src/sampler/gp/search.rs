//! Finds the point with the largest expected improvement: many points at random, the best of them climbed from.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::Inputs;
use super::improvement::log_improvement;
use super::minimize::minimize;
use super::process::Process;
use crate::sampler::encoding::{Encoding, Kind, Point};

/// Points drawn from the whole space.
const ANYWHERE: usize = 400;
/// Points near the best trials, by how far away: standard deviations of each number.
const NEARBY: usize = 200;
const HOW_NEAR: [f64; 3] = [0.2, 0.05, 0.01];
/// The trials that they are near to.
pub(super) const BEST: usize = 4;
/// Points that are climbed from; no two closer than this (in lengths of the kernel, squared).
const STARTS: usize = 4;
const APART: f64 = 0.01;
/// Steps of a climb, and how often numbers and choices take turns.
const STEPS: usize = 20;
const TURNS: usize = 2;

/// What the search is about.
pub(super) struct Landscape<'a> {
    pub encoding: &'a Encoding,
    pub inputs: &'a Inputs,
    pub process: &'a Process,
    /// The value to improve on.
    pub best: f64,
}

/// A point and the logarithm of the improvement that is expected there.
type Scored = (f64, Point);

/// The most promising point that is not taken; none if all are that were looked at. `best` are the points of the best
/// trials.
pub(super) fn search(
    landscape: &Landscape<'_>,
    best: &[Point],
    is_taken: impl Fn(&Point) -> bool,
    rng: &mut impl Rng,
) -> Option<Point> {
    let encoding = landscape.encoding;
    let anywhere: Vec<Point> = (0..ANYWHERE).map(|_| encoding.random(rng)).collect();
    let nearby = (0..NEARBY).filter_map(|turn| {
        let from = best.get(turn % best.len().max(1))?;
        Some(near(encoding, from, HOW_NEAR[turn % HOW_NEAR.len()], rng))
    });
    let mut scored: Vec<Scored> =
        anywhere.into_iter().chain(nearby).map(|point| (landscape.score(&point), point)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let climbed = starts(landscape, &scored).into_iter().map(|start| landscape.climb(start));
    let found = climbed.filter(|(_, point)| !is_taken(point));
    let highest = found.reduce(|best, next| if next.0 > best.0 { next } else { best });
    highest.or_else(|| scored.into_iter().find(|(_, point)| !is_taken(point))).map(|(_, point)| point)
}

/// The highest points that are not too close to each other.
fn starts(landscape: &Landscape<'_>, scored: &[Scored]) -> Vec<Scored> {
    let metric = landscape.process.metric();
    let mut starts: Vec<(Vec<f64>, Scored)> = Vec::new();
    for (score, point) in scored {
        let place = landscape.inputs.place(point);
        if starts.iter().all(|(other, _)| metric.squared(other, &place) > APART) {
            starts.push((place, (*score, point.clone())));
        }
        if starts.len() == STARTS {
            break;
        }
    }
    starts.into_iter().map(|(_, start)| start).collect()
}

/// A point near another: about a third of its params differ, one of them surely.
fn near(encoding: &Encoding, from: &Point, deviation: f64, rng: &mut impl Rng) -> Point {
    let mut point = from.clone();
    let dims = encoding.dims();
    if dims.is_empty() {
        return point;
    }
    let share = (2.0 / dims.len() as f64).clamp(0.3, 1.0);
    let sure = rng.random_range(0..dims.len());
    for (place, dim) in dims.iter().enumerate() {
        if point[place].is_nan() {
            point[place] = dim.at(rng.random());
            continue;
        }
        if place != sure && rng.random::<f64>() > share {
            continue;
        }
        point[place] = match dim.kind() {
            Kind::Choice(_) if rng.random() => dim.at(rng.random()),
            Kind::Choice(_) => point[place],
            Kind::Real | Kind::Cells(_) => {
                let normal: f64 = StandardNormal.sample(rng);
                let moved = dim.at((point[place] + deviation * normal).clamp(0.0, 1.0));
                let beside = dim.neighbors(point[place]);
                match beside.as_slice() {
                    // A step too small for its cell is a step to the next one.
                    [first, .., last] if moved == point[place] => {
                        if normal < 0.0 {
                            *first
                        } else {
                            *last
                        }
                    }
                    [only] if moved == point[place] => *only,
                    _ => moved,
                }
            }
        };
    }
    encoding.mask(&mut point);
    point
}

impl Landscape<'_> {
    fn score(&self, point: &Point) -> f64 {
        log_improvement(self.process.predict(&self.inputs.place(point)), self.best).0
    }

    /// Goes up from a point: along the slope of its numbers, and from choice to choice.
    fn climb(&self, start: Scored) -> Scored {
        let mut highest = start;
        for _ in 0..TURNS {
            let before = highest.0;
            highest = self.climb_numbers(highest);
            highest = self.climb_choices(highest);
            if highest.0 - before < 1e-6 {
                break;
            }
        }
        highest
    }

    fn climb_numbers(&self, from: Scored) -> Scored {
        let dims = self.encoding.dims();
        let moves: Vec<bool> =
            dims.iter().zip(&from.1).map(|(dim, number)| !dim.is_choice() && !number.is_nan()).collect();
        if !moves.contains(&true) {
            return from;
        }
        let start = self.inputs.place(&from.1);
        // What must not move has both bounds where it is.
        let bound = |end: f64| -> Vec<f64> {
            start.iter().zip(&moves).map(|(number, moves)| if *moves { end } else { *number }).collect()
        };
        let (low, high) = (bound(0.0), bound(1.0));
        let (found, _) = minimize(start, &low, &high, STEPS, |place, gradient| {
            let (prediction, mean_slope, variance_slope) = self.process.predict_slope(place);
            let (value, by_mean, by_variance) = log_improvement(prediction, self.best);
            for (dim, slope) in gradient.iter_mut().enumerate() {
                *slope = -(by_mean * mean_slope[dim] + by_variance * variance_slope[dim]);
            }
            -value
        });
        let mut point = from.1.clone();
        for (place, dim) in dims.iter().enumerate().filter(|(place, _)| moves[*place]) {
            point[place] = dim.at(found[place]);
        }
        self.encoding.mend(&mut point);
        self.higher(from, point)
    }

    fn climb_choices(&self, from: Scored) -> Scored {
        let mut highest = from;
        for (place, dim) in self.encoding.dims().iter().enumerate() {
            if highest.1[place].is_nan() {
                continue;
            }
            for other in dim.neighbors(highest.1[place]) {
                let mut point = highest.1.clone();
                point[place] = other;
                self.encoding.mend(&mut point);
                highest = self.higher(highest, point);
                if highest.1[place].is_nan() {
                    break;
                }
            }
        }
        highest
    }

    fn higher(&self, old: Scored, new: Point) -> Scored {
        let score = self.score(&new);
        if score > old.0 { (score, new) } else { old }
    }
}
