//! Tests of the pruners.

mod ladder;
mod optuna;
mod percentile;
mod restore;
mod sequential;
mod simple;

use foldwise_shared::spec::{self, StudySpec};

use super::*;

/// A study of `folds` folds (1 is a hold-out) of `epochs` epochs with this `[pruner]` section.
fn study(folds: u32, epochs: u32, direction: Direction, section: &str) -> StudySpec {
    let split = if folds == 1 { "holdout = 9".to_owned() } else { format!("folds = {folds}") };
    let text = format!(
        "version = 1\nstudy = {{ name = \"s\", seed = 7, direction = \"{direction}\" }}\n\
         data = {{ dataset = \"mnist\", {split} }}\nmodel = {{ network = \"lab\", latent_dim = 4 }}\n\
         train = {{ epochs = {epochs} }}\nbudget = {{ trials = 3 }}\npruner = {section}\n"
    );
    spec::parse(&text, &[]).unwrap_or_else(|error| panic!("{section}: {error}"))
}

/// A curve as `"3 - 2.5"`: `-` is an epoch without a report.
fn curve(text: &str) -> Vec<Option<f64>> {
    text.split_whitespace().map(|word| (word != "-").then(|| word.parse().expect(word))).collect()
}

/// A study in which trials report, fold by fold.
struct Bench {
    spec: StudySpec,
    pruner: Pruner,
    trials: Vec<Vec<Fold>>,
}

#[derive(Debug, Clone, Default)]
struct Fold {
    curve: Vec<Option<f64>>,
    value: Option<f64>,
}

impl Bench {
    fn new(folds: u32, epochs: u32, section: &str) -> Self {
        Self::of(study(folds, epochs, Direction::Minimize, section))
    }

    fn of(spec: StudySpec) -> Self {
        Self { pruner: Pruner::from_spec(&spec), spec, trials: Vec::new() }
    }

    fn fold(&mut self, trial: u32, fold: u32) -> &mut Fold {
        let (index, folds) = (trial as usize, self.spec.scheme().folds() as usize);
        if self.trials.len() <= index {
            self.trials.resize_with(index + 1, || vec![Fold::default(); folds]);
        }
        &mut self.trials[index][fold as usize]
    }

    fn finished(&self, trial: u32) -> Vec<(FoldIndex, f64)> {
        let folds = (0..).map(FoldIndex).zip(&self.trials[trial as usize]);
        folds.filter_map(|(index, fold)| Some((index, fold.value?))).collect()
    }

    fn epoch(&mut self, trial: u32, fold: u32, value: Option<f64>) -> Verdict {
        self.fold(trial, fold).curve.push(value);
        self.with(trial, fold, true, Pruner::epoch)
    }

    /// The fold finishes with the best of its curve, or 1 where there is none.
    fn end(&mut self, trial: u32, fold: u32) -> Verdict {
        let direction = self.spec.study.direction;
        let fold_ended = self.fold(trial, fold);
        fold_ended.value = best(direction, fold_ended.curve.iter().flatten().copied()).or(Some(1.0));
        let whole = self.finished(trial).len() == self.trials[trial as usize].len();
        self.with(trial, fold, !whole, Pruner::fold_end)
    }

    fn start(&mut self, trial: u32, fold: u32) {
        self.fold(trial, fold).curve.clear();
        self.pruner.start(&Standing {
            number: TrialNumber(trial),
            fold: FoldIndex(fold),
            curve: &[],
            finished: &[],
            judged: false,
        });
    }

    fn with<T>(
        &mut self,
        trial: u32,
        fold: u32,
        judged: bool,
        ask: impl FnOnce(&mut Pruner, &Standing) -> T,
    ) -> T {
        let finished = self.finished(trial);
        let curve = &self.trials[trial as usize][fold as usize].curve;
        let (number, fold) = (TrialNumber(trial), FoldIndex(fold));
        ask(&mut self.pruner, &Standing { number, fold, curve, finished: &finished, judged })
    }

    /// A whole fold of a trial; the verdict on its last epoch, and on its end.
    fn whole(&mut self, trial: u32, fold: u32, text: &str) -> (Verdict, Verdict) {
        let mut last = Verdict::Skipped(Skip::NotDue);
        for value in curve(text) {
            last = self.epoch(trial, fold, value);
        }
        (last, self.end(trial, fold))
    }
}

/// Own number, threshold and number of peers, with `<` where the trial lives on; or why there was no look.
fn show(verdict: Verdict) -> String {
    match verdict {
        Verdict::Skipped(skip) => skip.to_string(),
        Verdict::Looked(Look { decision, prune }) => {
            let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| number.to_string());
            let (own, threshold) = (number(decision.own), number(decision.threshold));
            format!("{own} {} {threshold} of {}", if prune { ">" } else { "<" }, decision.peers)
        }
    }
}
