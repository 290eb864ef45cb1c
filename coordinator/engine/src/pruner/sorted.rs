//! Values of trials in order: what percentiles and rungs are read from.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::state::Direction;

/// One value each of some trials, in rising order. NaN has no place among them, but counts as a report.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sorted {
    values: Vec<(f64, TrialNumber)>,
    nan: Vec<TrialNumber>,
}

impl Sorted {
    /// The values of these trials.
    pub fn new(values: impl IntoIterator<Item = (TrialNumber, f64)>) -> Self {
        let mut sorted = Self::default();
        for (trial, value) in values {
            if value.is_nan() { sorted.nan.push(trial) } else { sorted.values.push((value, trial)) }
        }
        sorted.values.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        sorted
    }

    pub fn insert(&mut self, trial: TrialNumber, value: f64) {
        if value.is_nan() {
            self.nan.push(trial);
        } else {
            let place = self.place(trial, value);
            self.values.insert(place, (value, trial));
        }
    }

    /// Takes a value out that is there.
    pub fn remove(&mut self, trial: TrialNumber, value: f64) {
        let place = self.place(trial, value);
        if self.values.get(place).is_some_and(|found| found.1 == trial) {
            self.values.remove(place);
        }
    }

    fn place(&self, trial: TrialNumber, value: f64) -> usize {
        self.values.partition_point(|other| other.0.total_cmp(&value).then(other.1.cmp(&trial)).is_lt())
    }

    /// How many trials have a value, without NaN.
    pub fn count(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    /// How many trials have reported, NaN or not.
    pub fn reports(&self) -> u32 {
        self.count().saturating_add(u32::try_from(self.nan.len()).unwrap_or(u32::MAX))
    }

    /// The n-th best value, from 0.
    pub fn nth_best(&self, direction: Direction, n: usize) -> Option<f64> {
        let place = match direction {
            Direction::Minimize => n,
            Direction::Maximize => self.values.len().checked_sub(n + 1)?,
        };
        Some(self.values.get(place)?.0)
    }

    /// Every trial but one with its value, those with NaN last.
    pub fn others(&self, than: TrialNumber) -> Vec<(TrialNumber, Option<f64>)> {
        let values = self.values.iter().map(|(value, trial)| (*trial, Some(*value)));
        let nan = self.nan.iter().map(|trial| (*trial, None));
        values.chain(nan).filter(|(trial, _)| *trial != than).collect()
    }

    /// The percentile by linear interpolation, with the arithmetic of numpy's `percentile` (method "linear"); none
    /// if there is no value, or if the interpolation gives none between infinities.
    pub fn percentile(&self, percentile: f64) -> Option<f64> {
        let last = self.values.len().checked_sub(1)?;
        let place = last as f64 * (percentile / 100.0).clamp(0.0, 1.0);
        let below = libm::floor(place);
        let part = place - below;
        let (low, _) = *self.values.get(below as usize)?;
        let (high, _) = *self.values.get((below as usize + 1).min(last))?;
        // numpy goes from the nearer of the two.
        let between =
            if part >= 0.5 { high - (high - low) * (1.0 - part) } else { low + (high - low) * part };
        Some(between).filter(|value| !value.is_nan())
    }
}
