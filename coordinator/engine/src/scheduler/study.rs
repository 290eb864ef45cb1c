//! The scheduler's picture of a study: its unfinished trials, its peers and its budget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, Millis, StudyId, TrialNumber};
use foldwise_shared::spec::{Release, StudySpec};
use foldwise_shared::split::Scheme;
use foldwise_shared::state::{FailureClass, StudyState, TrialState};
use foldwise_shared::value::Params;

use super::event::DataInfo;
use super::pace::Pace;
use crate::pruner::Pruner;
use crate::sampler::{History, Outcome, Progress, Suggestion, has_more, suggest};

pub(super) struct Study {
    pub id: StudyId,
    pub spec: Arc<StudySpec>,
    pub data: Arc<DataInfo>,
    pub state: StudyState,
    pub pruner: Pruner,
    pub history: History,
    /// The trials that are not finished.
    pub active: BTreeMap<TrialNumber, Trial>,
    pub next_number: TrialNumber,
    /// Epochs recorded, those of ended attempts included.
    pub spent: u64,
    /// Epochs that open attempts may still record.
    pub reserved: u64,
    /// Attempts that are open and whose lease has not expired.
    pub training: u32,
    pub wall_time_ms: Option<i64>,
    pub running_ms: i64,
    /// What of `running_ms` is recorded.
    pub recorded_ms: i64,
    /// The longest epoch that was reported since this coordinator started, in milliseconds; 0 if none was.
    pub slowest_ms: i64,
    /// It is Paused because no worker that was there could train it; one that can lets it go on.
    pub paused_as_unfit: bool,
    /// Failed trials of class invalid or error since one went well.
    pub failed_in_a_row: u32,
}

pub(super) struct Trial {
    pub params: Params,
    pub state: TrialState,
    /// How and why it will end, once that is decided.
    pub ending: Option<(TrialState, String)>,
    pub folds: Vec<Fold>,
}

pub(super) struct Fold {
    pub state: TrialState,
    pub value: Option<f64>,
    pub best_epoch: Option<Epoch>,
    pub last_attempt: Attempt,
    pub failures: BTreeMap<FailureClass, u32>,
    pub open: Option<Open>,
    /// What the next attempt goes on from.
    pub checkpoint: Option<Checkpoint>,
    /// Validation losses by epoch, epoch 1 first, those of the newest attempt that covers it; none where an epoch is missing, NaN where it was not finite.
    pub curve: Vec<Option<f64>>,
}

/// An attempt that is not over.
pub(super) struct Open {
    pub attempt: Attempt,
    pub incarnation: String,
    /// The epoch it started after.
    pub start: Epoch,
    pub pace: Pace,
    /// The kinds of results that it has stored since this coordinator started.
    pub kinds: BTreeSet<String>,
    /// Its worker fell silent: the fold may be leased again, and until then the worker may come back.
    pub expired: bool,
    /// It was told to stop.
    pub stopping: Option<StopOrder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopOrder {
    Now,
    AfterEpoch,
}

impl Fold {
    pub fn new() -> Self {
        Self {
            state: TrialState::Waiting,
            value: None,
            best_epoch: None,
            last_attempt: Attempt(0),
            failures: BTreeMap::new(),
            open: None,
            checkpoint: None,
            curve: Vec::new(),
        }
    }

    /// The epoch after which the next attempt starts.
    pub fn checkpoint_epoch(&self) -> Epoch {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.epoch).unwrap_or_default()
    }

    pub fn is_training(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.expired)
    }

    /// Whether a loss was not finite.
    pub fn has_diverged(&self) -> bool {
        self.curve.iter().flatten().any(|loss| loss.is_nan())
    }

    /// The epochs of the newest attempt that are recorded.
    pub fn recorded(&self) -> u32 {
        self.curve.iter().flatten().count() as u32
    }

    /// The least loss of the curve (the greatest, where more is better) and its epoch. Where nothing is held out nothing is
    /// chosen by a loss: it is the last, whose weights are the ones that are kept.
    pub fn best(&self, spec: &StudySpec) -> Option<(f64, Epoch)> {
        let losses = || (1..).map(Epoch).zip(&self.curve);
        if spec.scheme() == Scheme::Whole {
            let finite =
                losses().filter_map(|(epoch, loss)| Some((loss.filter(|loss| !loss.is_nan())?, epoch)));
            return finite.last();
        }
        let mut best: Option<(f64, Epoch)> = None;
        for (epoch, value) in losses() {
            if let Some(value) = value.filter(|value| !value.is_nan())
                && best.is_none_or(|(least, _)| spec.study.direction.is_better(value, least))
            {
                best = Some((value, epoch));
            }
        }
        best
    }
}

impl Trial {
    pub fn has_open(&self) -> bool {
        self.folds.iter().any(|fold| fold.open.is_some())
    }

    /// The values of the finished folds, in the order of the folds.
    pub fn finished(&self) -> Vec<(FoldIndex, f64)> {
        let folds = (0..).map(FoldIndex).zip(&self.folds);
        folds.filter_map(|(index, fold)| Some((index, fold.value?))).collect()
    }

    /// What a sampler can learn from the end of this trial: nothing from one that was cancelled or failed by bad luck.
    fn outcome(&self, spec: &StudySpec, end: TrialState, value: Option<f64>) -> Option<Outcome> {
        match end {
            TrialState::Complete => value.map(Outcome::Complete),
            TrialState::Pruned => {
                let epochs = self.folds.iter().map(|fold| fold.curve.len() as u32).sum();
                let best: Vec<f64> =
                    self.folds.iter().filter_map(|fold| fold.best(spec)).map(|(value, _)| value).collect();
                let value = (!best.is_empty()).then(|| mean(&best));
                Some(Outcome::Pruned(Progress { epochs, value }))
            }
            TrialState::Failed => {
                let diverged = |fold: &Fold| fold.failures.contains_key(&FailureClass::Diverged);
                self.folds.iter().any(diverged).then_some(Outcome::Diverged)
            }
            _ => None,
        }
    }

    /// The mean of the fold values and their sample deviation (n - 1 in the denominator).
    pub fn value(&self) -> (f64, Option<f64>) {
        let values: Vec<f64> = self.folds.iter().filter_map(|fold| fold.value).collect();
        let count = values.len() as f64;
        let mean = mean(&values);
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = libm::sqrt(squares / (count - 1.0));
        (mean, (values.len() > 1 && deviation.is_finite()).then_some(deviation))
    }
}

fn mean(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let sum: f64 = values.iter().sum();
    // The sum of finite losses may still be too large for a number; their mean is not.
    if sum.is_finite() { sum / count } else { values.iter().map(|value| value / count).sum() }
}

impl Study {
    pub fn new(id: StudyId, spec: StudySpec, data: DataInfo) -> Self {
        Self {
            id,
            state: StudyState::Running,
            pruner: Pruner::from_spec(&spec),
            history: History::new(&spec.space, spec.study.direction),
            wall_time_ms: spec.wall_time_ms(),
            spec: Arc::new(spec),
            data: Arc::new(data),
            active: BTreeMap::new(),
            next_number: TrialNumber(0),
            spent: 0,
            reserved: 0,
            training: 0,
            running_ms: 0,
            recorded_ms: 0,
            slowest_ms: 0,
            paused_as_unfit: false,
            failed_in_a_row: 0,
        }
    }

    pub fn fold_mut(&mut self, key: AttemptKey) -> Option<&mut Fold> {
        self.active.get_mut(&key.trial)?.folds.get_mut(key.fold.0 as usize)
    }

    pub fn fold(&self, key: AttemptKey) -> Option<&Fold> {
        self.active.get(&key.trial)?.folds.get(key.fold.0 as usize)
    }

    /// Whether the epochs of one more lease of a new trial are left in the budget.
    pub fn has_epochs(&self) -> bool {
        self.can_reserve(self.spec.lease_epochs())
    }

    /// Whether so many epochs are left in the budget.
    fn can_reserve(&self, epochs: u32) -> bool {
        let wanted = self.spent + self.reserved + u64::from(epochs);
        self.spec.budget.total_epochs.is_none_or(|total| wanted <= total)
    }

    /// Whether the epochs that a fold still needs are left in the budget.
    fn can_afford(&self, fold: &Fold) -> bool {
        // Who asks for a trial gets all of its folds or none.
        let needed = self.spec.lease_epochs().saturating_sub(fold.checkpoint_epoch().0);
        self.can_reserve(needed)
    }

    /// Milliseconds until the wall-time budget is used up; none without one.
    pub fn time_left(&self) -> Option<i64> {
        self.wall_time_ms.map(|budget| budget.saturating_sub(self.running_ms))
    }

    /// Whether state, budget and sampler allow another trial.
    pub fn has_next(&self) -> bool {
        let allowed = self.spec.budget.trials.is_none_or(|trials| self.next_number.0 < trials);
        allowed && self.state == StudyState::Running && has_more(&self.spec, self.next_number)
    }

    /// The params of the next trial, if there is to be one.
    pub fn next_suggestion(&mut self) -> Option<Suggestion> {
        if !self.has_next() {
            return None;
        }
        let running: Vec<&Params> = self.active.values().map(|trial| &trial.params).collect();
        suggest(&self.spec, &mut self.history, &running, self.next_number)
    }

    /// A trial is over: the sampler learns from it what there is to learn.
    pub fn learn(
        &mut self,
        number: TrialNumber,
        trial: &Trial,
        end: TrialState,
        value: Option<f64>,
        at: Millis,
    ) {
        if let Some(outcome) = trial.outcome(&self.spec, end, value) {
            self.history.add(number, &trial.params, at, outcome);
        }
    }

    /// Whether the next fold of a trial waits until the one before has survived.
    pub fn races(&self) -> bool {
        match self.spec.data.release {
            Release::All => false,
            Release::Race => true,
            Release::Auto => !self.pruner.is_none(),
        }
    }

    /// The waiting folds whose epochs are left in the budget, in the order in which they are leased: of the oldest trial the
    /// lowest; the first alone while it is to find a param for the others. With `apart`, only folds of trials of which no other fold is in training.
    pub fn waiting(&self, apart: bool) -> impl Iterator<Item = (TrialNumber, FoldIndex)> {
        let may_run = move |trial: &Trial| {
            trial.ending.is_none() && !(apart && trial.folds.iter().any(Fold::is_training))
        };
        self.active.iter().filter(move |(_, trial)| may_run(trial)).flat_map(move |(number, trial)| {
            let finding = trial.is_finding(&self.spec);
            let waits = move |(index, fold): &(FoldIndex, &Fold)| {
                let ready = !finding || *index == FoldIndex(0);
                ready && fold.state == TrialState::Waiting && self.can_afford(fold)
            };
            (0..).map(FoldIndex).zip(&trial.folds).filter(waits).map(|(fold, _)| (*number, fold))
        })
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::spec::parse;

    use super::*;

    #[test]
    fn the_last_epoch_is_the_best_where_nothing_is_held_out() {
        let spec = |holdout: u32| {
            let text = format!(
                "version = 1\nfit = {{}}\nstudy = {{ name = \"f\" }}\ndata = {{ dataset = \"mnist\", holdout = {holdout} }}\n\
                 train = {{ epochs = 3 }}\nmodel = {{ network = \"lab\", latent_dim = 6 }}\n"
            );
            parse(&text, &[]).expect("a study file")
        };
        let fold = Fold { curve: vec![Some(0.3), Some(0.1), Some(0.2)], ..Fold::new() };
        assert_eq!(fold.best(&spec(5)), Some((0.1, Epoch(2))));
        assert_eq!(fold.best(&spec(0)), Some((0.2, Epoch(3))));
        assert_eq!(Fold::new().best(&spec(0)), None);
    }
}
