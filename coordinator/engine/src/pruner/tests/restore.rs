//! A pruner that is rebuilt from what is stored knows what the old one knew.

use proptest::prelude::*;

use super::*;

const SECTIONS: [&str; 9] = [
    "{ kind = \"median\", startup_trials = 1 }",
    "{ kind = \"percentile\", percentile = 40, startup_trials = 2, patience = 1 }",
    "{ kind = \"paired\", startup_trials = 1 }",
    "{ kind = \"successive-halving\", reduction_factor = 2 }",
    "{ kind = \"successive-halving\", reduction_factor = 2, patience = 0 }",
    "{ kind = \"hyperband\", reduction_factor = 2, bootstrap_trials = 1 }",
    "{ kind = \"threshold\", upper = 8, warmup_epochs = 1 }",
    "{ kind = \"patience\", patience = 1 }",
    "{ kind = \"sequential\", startup_trials = 2, alpha = 0.5 }",
];

const FOLDS: u32 = 3;
const EPOCHS: u32 = 4;

/// A study as a scheduler would lead it; folds may run side by side, and start again.
struct Study {
    bench: Bench,
    decisions: Vec<Option<Decision>>,
    looks: u32,
}

impl Study {
    fn note(&mut self, trial: u32, verdict: Verdict) {
        self.decisions.resize(self.bench.trials.len(), None);
        self.looks += u32::from(matches!(verdict, Verdict::Looked(_)));
        if let Some(decision) = verdict.prune() {
            self.decisions[trial as usize].get_or_insert(decision);
        }
    }

    fn step(&mut self, trial: u32, fold: u32, kind: u8, value: f64) {
        let found = self.bench.fold(trial, fold).clone();
        let pruned = self.decisions.get(trial as usize).copied().flatten().is_some();
        if found.value.is_some() {
            return;
        }
        let length = found.curve.len() as u32;
        match kind {
            0 if length > 0 && !pruned => self.bench.start(trial, fold),
            1 if length > 0 && !pruned => {
                let verdict = self.bench.end(trial, fold);
                self.note(trial, verdict);
            }
            _ if length < EPOCHS => {
                self.bench.fold(trial, fold).curve.push(Some(value));
                // What comes after the decision is recorded, and judged no more.
                let verdict = self.bench.with(trial, fold, !pruned, Pruner::epoch);
                self.note(trial, verdict);
            }
            _ => {}
        }
    }

    fn restored(&self) -> Pruner {
        let mut pruner = Pruner::from_spec(&self.bench.spec);
        for (number, folds) in (0..).map(TrialNumber).zip(&self.bench.trials) {
            let found: Vec<FoundFold> =
                folds.iter().map(|fold| FoundFold { curve: &fold.curve, value: fold.value }).collect();
            let decision = self.decisions.get(number.0 as usize).and_then(Option::as_ref);
            pruner.restore(number, &found, decision);
        }
        pruner
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_pruner_goes_on_as_the_old_one_would(
        section in proptest::sample::select(SECTIONS.to_vec()),
        before in proptest::collection::vec((0u32..6, 0u32..FOLDS, 0u8..12, 0u32..40), 0..150),
        after in proptest::collection::vec((0u32..8, 0u32..FOLDS, 0u8..12, 0u32..40), 1..60),
    ) {
        let mut study = Study { bench: Bench::new(FOLDS, EPOCHS, section), decisions: Vec::new(), looks: 0 };
        for (trial, fold, kind, value) in before {
            study.step(trial, fold, kind, f64::from(value) / 4.0);
        }
        let bench = Bench { spec: study.bench.spec.clone(), pruner: study.restored(), trials: study.bench.trials.clone() };
        let mut twin = Study { bench, decisions: study.decisions.clone(), looks: study.looks };
        for (trial, fold, kind, value) in after {
            study.step(trial, fold, kind, f64::from(value) / 4.0);
            twin.step(trial, fold, kind, f64::from(value) / 4.0);
            prop_assert_eq!((&study.decisions, study.looks), (&twin.decisions, twin.looks), "{}", section);
        }
    }
}
