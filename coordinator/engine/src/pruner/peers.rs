//! The index that pruners judge by: what the trials of one study reached, by fold and epoch and by set of folds.

use std::collections::BTreeMap;

use foldwise_shared::ids::{FoldIndex, TrialNumber};

/// How many sets of folds keep their means; with more of them all are computed anew when they are asked for.
const MOST_SETS: usize = 256;

/// The values of all folds that are Complete. A trial's fold counts whatever becomes of the trial later.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    folds: Vec<FoldPeers>,
    /// Fold values by trial.
    values: BTreeMap<TrialNumber, BTreeMap<FoldIndex, f64>>,
    /// For a set of folds, rising: the means over exactly these of the trials that have completed all of them.
    means: BTreeMap<Vec<FoldIndex>, Sorted>,
}

/// One fold of all trials that completed it.
#[derive(Debug, Clone, Default)]
struct FoldPeers {
    complete: u32,
    /// By epoch, the first at 0.
    epochs: Vec<Sorted>,
}

impl Peers {
    /// No peers yet, for a study with this many folds.
    pub fn new(folds: u32) -> Self {
        Self { folds: vec![FoldPeers::default(); folds as usize], ..Self::default() }
    }

    /// A fold became Complete: its validation loss by epoch, epoch 1 first, none where it is missing or not finite,
    /// and its value. A fold that is there already, or that the study does not have, changes nothing.
    pub fn add_fold(&mut self, trial: TrialNumber, fold: FoldIndex, curve: &[Option<f64>], value: f64) {
        let Some(peers) = self.folds.get_mut(fold.0 as usize) else { return };
        let own = self.values.entry(trial).or_default();
        if own.contains_key(&fold) {
            return;
        }
        own.insert(fold, value);
        peers.complete += 1;
        if peers.epochs.len() < curve.len() {
            peers.epochs.resize_with(curve.len(), Sorted::default);
        }
        for (epoch, loss) in peers.epochs.iter_mut().zip(curve) {
            epoch.insert(*loss);
        }
        for (set, means) in &mut self.means {
            if set.binary_search(&fold).is_ok() {
                means.insert(mean_over(set, own));
            }
        }
    }

    /// How many trials have completed a fold.
    pub(super) fn complete(&self, fold: FoldIndex) -> u32 {
        self.folds.get(fold.0 as usize).map_or(0, |peers| peers.complete)
    }

    /// The peers' values of a fold at an epoch, counted from 0 here; none if no peer came so far.
    pub(super) fn at(&self, fold: FoldIndex, epoch: usize) -> Option<&Sorted> {
        self.folds.get(fold.0 as usize)?.epochs.get(epoch)
    }

    /// The peers' means over exactly these folds, given in rising order.
    pub(super) fn means(&mut self, set: Vec<FoldIndex>) -> &Sorted {
        if self.means.len() >= MOST_SETS && !self.means.contains_key(&set) {
            self.means.clear();
        }
        let values = &self.values;
        self.means.entry(set).or_insert_with_key(|set| {
            Sorted::new(values.values().filter_map(|own| mean_over(set, own)).collect())
        })
    }
}

/// The mean of a trial's values over these folds; none if it lacks one of them.
fn mean_over(set: &[FoldIndex], own: &BTreeMap<FoldIndex, f64>) -> Option<f64> {
    mean(set.iter().map(|fold| own.get(fold).copied()).collect::<Option<Vec<f64>>>()?)
}

/// The mean of values, summed in their order; none if there is none or it is not finite.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    Some(sum / count).filter(|mean: &f64| mean.is_finite())
}

/// Finite values in rising order.
#[derive(Debug, Clone, Default)]
pub(super) struct Sorted(Vec<f64>);

impl Sorted {
    fn new(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    fn insert(&mut self, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        let place = self.0.partition_point(|other| *other < value);
        self.0.insert(place, value);
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The percentile by linear interpolation, with the arithmetic of numpy's `percentile` (method "linear"); none
    /// if there is no value.
    pub(super) fn percentile(&self, percentile: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        let place = last as f64 * (percentile / 100.0).clamp(0.0, 1.0);
        let below = libm::floor(place);
        let part = place - below;
        let low = *self.0.get(below as usize)?;
        let high = *self.0.get((below as usize + 1).min(last))?;
        // numpy goes from the nearer of the two.
        let between =
            if part >= 0.5 { high - (high - low) * (1.0 - part) } else { low + (high - low) * part };
        Some(between).filter(|value| value.is_finite())
    }
}
