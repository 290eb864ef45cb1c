//! Values of trials in order: what percentiles and rungs are read from.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::state::Direction;

/// Values in one run at most: what an insertion moves does not grow with the trials.
const RUN: usize = 512;

/// One value each of some trials, in rising order. NaN has no place among them, but counts as a report.
///
/// Values are put in order when they are asked for: after a restart thousands come at once, of which few are asked for soon.
#[derive(Debug, Clone, Default)]
pub(super) struct Sorted {
    /// Laid end to end they are all values but the fresh ones. None is empty.
    runs: Vec<Vec<Entry>>,
    /// What is not in its place yet, in any order.
    fresh: Vec<Entry>,
    /// How many values there are, the fresh ones included.
    count: usize,
    nan: Vec<TrialNumber>,
}

type Entry = (f64, TrialNumber);

fn is_before(a: &Entry, b: &Entry) -> bool {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt()
}

impl Sorted {
    /// The values of these trials.
    pub fn new(values: impl IntoIterator<Item = (TrialNumber, f64)>) -> Self {
        let mut sorted = Self::default();
        for (trial, value) in values {
            sorted.insert(trial, value);
        }
        sorted
    }

    pub fn insert(&mut self, trial: TrialNumber, value: f64) {
        if value.is_nan() {
            self.nan.push(trial);
            return;
        }
        self.count += 1;
        self.fresh.push((value, trial));
    }

    /// Puts everything fresh in its place.
    fn settle(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        if fresh.len() > RUN / 2 {
            fresh.extend(self.runs.drain(..).flatten());
            fresh.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            self.runs = fresh.chunks(RUN / 2).map(<[Entry]>::to_vec).collect();
            return;
        }
        for entry in fresh.drain(..) {
            self.place(entry);
        }
        // Its memory is of use for the next ones.
        self.fresh = fresh;
    }

    fn place(&mut self, entry: Entry) {
        let index = self.run_of(&entry).min(self.runs.len().saturating_sub(1));
        let Some(run) = self.runs.get_mut(index) else {
            self.runs.push(vec![entry]);
            return;
        };
        run.insert(run.partition_point(|other| is_before(other, &entry)), entry);
        if run.len() > RUN {
            let second = run.split_off(RUN / 2);
            self.runs.insert(index + 1, second);
        }
    }

    /// Takes a value out that is there.
    pub fn remove(&mut self, trial: TrialNumber, value: f64) {
        self.settle();
        let entry = (value, trial);
        let index = self.run_of(&entry);
        let Some(run) = self.runs.get_mut(index) else { return };
        let place = run.partition_point(|other| is_before(other, &entry));
        if run.get(place).is_some_and(|found| found.1 == trial) {
            run.remove(place);
            self.count -= 1;
            if run.is_empty() {
                self.runs.remove(index);
            }
        }
    }

    /// The first run that does not end before an entry: where it is, if it is there.
    fn run_of(&self, entry: &Entry) -> usize {
        self.runs.partition_point(|run| run.last().is_some_and(|last| is_before(last, entry)))
    }

    /// The n-th smallest value, from 0.
    fn nth(&mut self, mut n: usize) -> Option<f64> {
        self.settle();
        for run in &self.runs {
            if let Some((value, _)) = run.get(n) {
                return Some(*value);
            }
            n -= run.len();
        }
        None
    }

    /// How many trials have a value, without NaN.
    pub fn count(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }

    /// How many trials have reported, NaN or not.
    pub fn reports(&self) -> u32 {
        self.count().saturating_add(u32::try_from(self.nan.len()).unwrap_or(u32::MAX))
    }

    /// The n-th best value, from 0.
    pub fn nth_best(&mut self, direction: Direction, n: usize) -> Option<f64> {
        let place = match direction {
            Direction::Minimize => n,
            Direction::Maximize => self.count.checked_sub(n + 1)?,
        };
        self.nth(place)
    }

    /// Every trial but one with its value, those with NaN last.
    pub fn others(&mut self, than: TrialNumber) -> Vec<(TrialNumber, Option<f64>)> {
        self.settle();
        let values = self.runs.iter().flatten().map(|(value, trial)| (*trial, Some(*value)));
        let nan = self.nan.iter().map(|trial| (*trial, None));
        values.chain(nan).filter(|(trial, _)| *trial != than).collect()
    }

    /// The percentile by linear interpolation, with the arithmetic of numpy's `percentile` (method "linear"); none
    /// if there is no value, or if the interpolation gives none between infinities.
    pub fn percentile(&mut self, percentile: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let place = last as f64 * (percentile / 100.0).clamp(0.0, 1.0);
        let below = libm::floor(place);
        let part = place - below;
        let low = self.nth(below as usize)?;
        let high = self.nth((below as usize + 1).min(last))?;
        // numpy goes from the nearer of the two.
        let between =
            if part >= 0.5 { high - (high - low) * (1.0 - part) } else { low + (high - low) * part };
        Some(between).filter(|value| !value.is_nan())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_stay_in_order_as_they_come_and_go() {
        let value = |trial: u32| f64::from(trial.wrapping_mul(2_654_435_761) >> 22);
        let mut sorted = Sorted::default();
        let mut plain: Vec<Entry> = Vec::new();
        let check = |sorted: &mut Sorted, plain: &mut Vec<Entry>| {
            plain.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let expected: Vec<_> = plain.iter().map(|(value, trial)| (*trial, Some(*value))).collect();
            assert_eq!(sorted.others(TrialNumber(u32::MAX)), expected);
            assert_eq!(sorted.count() as usize, plain.len());
            for n in [0, plain.len() / 3, plain.len()] {
                assert_eq!(sorted.nth(n), plain.get(n).map(|(value, _)| *value), "{n}");
            }
            assert!(sorted.runs.iter().all(|run| (1..=RUN).contains(&run.len())));
        };
        for trial in 0..3_000 {
            sorted.insert(TrialNumber(trial), value(trial));
            plain.push((value(trial), TrialNumber(trial)));
            // Asked for after each, after a few, and then after very many.
            if trial < 700 || (trial < 2_000 && trial % 50 == 0) {
                check(&mut sorted, &mut plain);
            }
        }
        check(&mut sorted, &mut plain);
        assert!(sorted.runs.len() > 5);
        for trial in (0..3_000).filter(|trial| trial % 7 != 0) {
            sorted.remove(TrialNumber(trial), value(trial));
            sorted.remove(TrialNumber(trial), value(trial)); // it is not there any more
        }
        plain.retain(|(_, trial)| trial.0 % 7 == 0);
        check(&mut sorted, &mut plain);
        for trial in (0..3_000).step_by(7) {
            sorted.remove(TrialNumber(trial), value(trial));
        }
        check(&mut sorted, &mut Vec::new());
        assert!(sorted.runs.is_empty());
    }
}
