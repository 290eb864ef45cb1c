//! Bayesian optimization with a Gaussian process: a model of the objective that knows how sure it is, and the next
//! trial where the most improvement is to be expected. For expensive trials and small studies: it costs milliseconds a
//! suggestion, and needs the fewest trials of all samplers here.

mod improvement;
mod process;

mod minimize;

mod fit;
mod search;
mod warp;

use foldwise_shared::state::Direction;
use rand::Rng;

use self::process::{Hyperparams, Place, Process};
use self::search::{Landscape, search};
use self::warp::Warp;
use super::encoding::{Encoding, Point};
use super::history::{History, Outcome};

/// The fewest trials that a process learns from.
const FEWEST: usize = 3;

/// The most trials that it learns from; of more, the best and the latest, half of this number each.
const MOST: usize = 256;

/// Hyperparams are fitted anew when there are this many times as many trials.
const GROWTH: f64 = 1.2;

/// Every second suggestion takes lengths this many times as long: where the fit trusts too far, it looks further.
const HEDGE: f64 = 0.5;

/// From this noise on the best value itself is not believed, but the mean there.
const NOISY: f64 = 1e-3;

/// The fit of the longest part of the history that it is due for, so that not every suggestion makes it again.
#[derive(Debug, Clone, Default)]
pub(super) struct Memo(Option<Fitted>);

#[derive(Debug, Clone)]
struct Fitted {
    /// It knows the first so many rows.
    rows: usize,
    warp: Warp,
    hyperparams: Hyperparams,
}

impl Memo {
    /// The rows from this one on are others now.
    pub fn forget_from(&mut self, row: usize) {
        if self.0.as_ref().is_some_and(|fitted| fitted.rows > row) {
            self.0 = None;
        }
    }
}

/// How points lie in the process: as they are, and a param that is not there in the middle, or a choice of its own.
pub(super) struct Inputs {
    choices: Vec<bool>,
}

impl Inputs {
    fn new(encoding: &Encoding) -> Self {
        Self { choices: encoding.dims().iter().map(|dim| dim.is_choice()).collect() }
    }

    pub fn place(&self, point: &[f64]) -> Place {
        let place = |(number, choice): (&f64, &bool)| match (number.is_nan(), choice) {
            (true, true) => -1.0,
            (true, false) => 0.5,
            (false, _) => *number,
        };
        point.iter().zip(&self.choices).map(place).collect()
    }
}

/// The point to try next; none where a process has nothing to say: too few trials, values that are all alike, or no
/// point left. `running` are the points of the trials that are not finished, `number` is that of the new one.
pub(super) fn point(
    history: &mut History,
    running: &[Point],
    number: u32,
    rng: &mut impl Rng,
) -> Option<Point> {
    let inputs = Inputs::new(history.encoding());
    let known = Known::of_first(history, history.len(), &inputs)?;
    let Fitted { warp, mut hyperparams, .. } = fitted(history, &inputs)?;
    if number % 2 == 1 {
        for length in &mut hyperparams.log_lengths {
            *length += libm::log(HEDGE);
        }
    }
    let warped = warp.apply(&known.values).values;
    let process = Process::new(&hyperparams, &inputs.choices, known.places.clone(), &warped)?;
    let best = if libm::exp(hyperparams.log_noise) > NOISY {
        known.places.iter().map(|place| process.predict(place).mean).fold(f64::INFINITY, f64::min)
    } else {
        warped.iter().copied().fold(f64::INFINITY, f64::min)
    };
    let process = if running.is_empty() {
        process
    } else {
        believing(&process, &hyperparams, known.places, warped, &inputs, running)?
    };
    let landscape = Landscape { encoding: history.encoding(), inputs: &inputs, process: &process, best };
    let leaders: Vec<Point> =
        history.ranking().iter().take(search::BEST).map(|row| history.point(*row as usize)).collect();
    search(&landscape, &leaders, |point| history.is_taken(running, point), rng)
}

/// The process with the running trials added, as if each had come to the value that is expected of it: nobody is sent
/// where somebody is.
fn believing(
    process: &Process,
    hyperparams: &Hyperparams,
    mut places: Vec<Place>,
    mut values: Vec<f64>,
    inputs: &Inputs,
    running: &[Point],
) -> Option<Process> {
    for point in running {
        let place = inputs.place(point);
        values.push(process.predict(&place).mean);
        places.push(place);
    }
    Process::new(hyperparams, &inputs.choices, places, &values)
}

/// What a process learns from.
struct Known {
    places: Vec<Place>,
    /// Less is better.
    values: Vec<f64>,
}

impl Known {
    /// The first `count` rows of a history, or of them the best and the latest. None if they are too few, or have no two
    /// values that differ.
    fn of_first(history: &History, count: usize, inputs: &Inputs) -> Option<Self> {
        let ranked: Vec<usize> =
            history.ranking().iter().map(|row| *row as usize).filter(|row| *row < count).collect();
        let values = values(history, &ranked)?;
        let latest = count.saturating_sub(MOST / 2)..count;
        let is_kept = |(rank, row): (usize, &usize)| count <= MOST || rank < MOST / 2 || latest.contains(row);
        let mut kept: Vec<(usize, f64)> = ranked
            .iter()
            .enumerate()
            .filter(|(rank, row)| is_kept((*rank, row)))
            .map(|(rank, row)| (*row, values[rank]))
            .collect();
        kept.sort_by_key(|(row, _)| *row);
        let place = |(row, _): &(usize, f64)| inputs.place(&history.point(*row));
        Some(Self {
            places: kept.iter().map(place).collect(),
            values: kept.iter().map(|(_, value)| *value).collect(),
        })
    }
}

/// The values of rows in the order of their ranks, where less is better. Pruned trials, which are worse than most, get
/// those of the worse half of the complete ones, in the order of their ranks; a trial that diverged gets the worst.
fn values(history: &History, ranked: &[usize]) -> Option<Vec<f64>> {
    let sign = if history.direction() == Direction::Maximize { -1.0 } else { 1.0 };
    let complete = |row: &usize| match history.outcome(*row) {
        Outcome::Complete(value) => Some(sign * value),
        _ => None,
    };
    let mut values: Vec<f64> = ranked.iter().map_while(complete).collect();
    let (count, best, worst) = (values.len(), *values.first()?, *values.last()?);
    if ranked.len() < FEWEST || best == worst {
        return None;
    }
    let is_pruned = |row: &&usize| matches!(history.outcome(**row), Outcome::Pruned(_));
    let pruned = ranked.iter().filter(is_pruned).count();
    for place in 0..pruned {
        let standing = 0.5 + 0.5 * (place + 1) as f64 / (pruned + 1) as f64;
        values.push(values[libm::round(standing * (count - 1) as f64) as usize]);
    }
    values.resize(ranked.len(), worst);
    Some(values)
}

/// The fit that is due for a history: made from its first rows, so that it is the same whenever it is made.
fn fitted(history: &mut History, inputs: &Inputs) -> Option<Fitted> {
    let rows = due(history.len());
    if let Some(fitted) = history.memo.0.as_ref().filter(|fitted| fitted.rows == rows) {
        return Some(fitted.clone());
    }
    let known = Known::of_first(history, rows, inputs)?;
    let fits = Warp::ALL.map(|warp| {
        let warped = warp.apply(&known.values);
        let (hyperparams, log_posterior) = fit::fit(&known.places, &warped.values, &inputs.choices);
        (log_posterior + warped.log_stretch, Fitted { rows, warp, hyperparams })
    });
    let [first, second] = fits;
    let fitted = if second.0 > first.0 { second.1 } else { first.1 };
    history.memo.0 = Some(fitted.clone());
    Some(fitted)
}

/// The largest number of trials, not above `count`, at which a fit is made.
fn due(count: usize) -> usize {
    let mut due = FEWEST;
    loop {
        let next = (libm::ceil(due as f64 * GROWTH) as usize).max(due + 1);
        if next > count {
            return due.min(count);
        }
        due = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_are_due_at_growing_intervals() {
        assert_eq!([3, 4, 5, 7, 8, 100, 150].map(due), [3, 4, 5, 6, 8, 84, 147]);
    }
}
