//! The index that percentiles are read from: what the trials of one study reached, by fold and epoch and by set of
//! finished folds.

use std::collections::BTreeMap;

use foldwise_shared::ids::{FoldIndex, TrialNumber};

use super::sorted::Sorted;

/// How many sets of folds keep their values sorted; with more of them all are computed anew when they are asked for.
const MOST_SETS: usize = 256;

/// The values of all folds that are Complete. A trial's fold counts whatever becomes of the trial later.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    folds: usize,
    /// Fold values by trial.
    values: BTreeMap<TrialNumber, BTreeMap<FoldIndex, f64>>,
    /// Curves by fold, where sets of folds may be asked for that are not there yet.
    curves: Option<BTreeMap<FoldIndex, Curves>>,
    /// For a fold and a set of others, rising: the trials that have completed all of them.
    epochs: BTreeMap<(FoldIndex, Vec<FoldIndex>), FoldPeers>,
    /// For a set of folds, rising: the means over exactly these of the trials that have completed all of them.
    means: BTreeMap<Vec<FoldIndex>, Sorted>,
}

/// One fold's validation losses by trial.
type Curves = BTreeMap<TrialNumber, Vec<Option<f64>>>;

/// One fold of all trials that completed it (and a set of others).
#[derive(Debug, Clone, Default)]
pub(super) struct FoldPeers {
    /// How many they are.
    pub complete: u32,
    /// By epoch, the first at 0: their means over the other folds' values and the value at this epoch.
    pub epochs: Vec<Sorted>,
}

impl FoldPeers {
    fn add(&mut self, trial: TrialNumber, others: &[f64], curve: &[Option<f64>]) {
        self.complete += 1;
        if self.epochs.len() < curve.len() {
            self.epochs.resize_with(curve.len(), Sorted::default);
        }
        for (epoch, value) in self.epochs.iter_mut().zip(curve) {
            if let Some(value) = value {
                epoch.insert(trial, mean(others, *value));
            }
        }
    }
}

impl Peers {
    /// No peers yet. `paired`: a fold will be asked for together with others.
    pub fn new(folds: u32, paired: bool) -> Self {
        let alone = (0..folds).map(|fold| ((FoldIndex(fold), Vec::new()), FoldPeers::default())).collect();
        let curves = paired.then(BTreeMap::new);
        Self { folds: folds as usize, curves, epochs: alone, ..Self::default() }
    }

    /// A fold became Complete: its validation loss by epoch, epoch 1 first, and its value. A fold that is there already,
    /// or that the study does not have, changes nothing.
    pub fn add_fold(&mut self, trial: TrialNumber, fold: FoldIndex, curve: &[Option<f64>], value: f64) {
        if !self.epochs.contains_key(&(fold, Vec::new())) {
            return;
        }
        let own = self.values.entry(trial).or_default();
        if own.contains_key(&fold) {
            return;
        }
        own.insert(fold, value);
        let curves = self.curves.as_mut().map(|curves| {
            curves.entry(fold).or_default().insert(trial, curve.to_vec());
            &*curves
        });
        for ((of, others), peers) in &mut self.epochs {
            if *of != fold && others.binary_search(&fold).is_err() {
                continue;
            }
            let curve = match curves {
                _ if *of == fold => Some(curve),
                Some(curves) => curves.get(of).and_then(|by_trial| by_trial.get(&trial)).map(Vec::as_slice),
                None => None,
            };
            if let (Some(others), Some(curve)) = (values_of(others, own), curve) {
                peers.add(trial, &others, curve);
            }
        }
        for (set, means) in &mut self.means {
            if set.binary_search(&fold).is_ok()
                && let Some(mean) = mean_over(set, own)
            {
                means.insert(trial, mean);
            }
        }
    }

    /// The trials that have completed a fold and all `others`, which are in rising order.
    pub fn with(&mut self, fold: FoldIndex, others: Vec<FoldIndex>) -> &mut FoldPeers {
        if self.epochs.len() >= self.folds + MOST_SETS && !self.epochs.contains_key(&(fold, others.clone())) {
            self.epochs.retain(|(_, others), _| others.is_empty());
        }
        let (values, curves) = (&self.values, &self.curves);
        self.epochs.entry((fold, others)).or_insert_with_key(|(fold, others)| {
            let mut peers = FoldPeers::default();
            for (trial, curve) in curves.iter().flat_map(|curves| curves.get(fold)).flatten() {
                if let Some(others) = values.get(trial).and_then(|own| values_of(others, own)) {
                    peers.add(*trial, &others, curve);
                }
            }
            peers
        })
    }

    /// The peers' means over exactly these folds, given in rising order.
    pub fn means(&mut self, set: Vec<FoldIndex>) -> &mut Sorted {
        if self.means.len() >= MOST_SETS && !self.means.contains_key(&set) {
            self.means.clear();
        }
        let values = &self.values;
        self.means.entry(set).or_insert_with_key(|set| {
            Sorted::new(values.iter().filter_map(|(trial, own)| Some((*trial, mean_over(set, own)?))))
        })
    }
}

/// A trial's values of these folds; none if it lacks one of them.
fn values_of(set: &[FoldIndex], own: &BTreeMap<FoldIndex, f64>) -> Option<Vec<f64>> {
    set.iter().map(|fold| own.get(fold).copied()).collect()
}

/// The mean of a trial's values over these folds; none if it lacks one of them or it is not finite.
fn mean_over(set: &[FoldIndex], own: &BTreeMap<FoldIndex, f64>) -> Option<f64> {
    let values = values_of(set, own)?;
    let (last, first) = values.split_last()?;
    Some(mean(first, *last)).filter(|mean| mean.is_finite())
}

/// The mean of some values and one more, summed in their order.
pub(super) fn mean(values: &[f64], one_more: f64) -> f64 {
    (values.iter().sum::<f64>() + one_more) / (values.len() as f64 + 1.0)
}
