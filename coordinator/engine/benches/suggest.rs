//! How long a suggestion takes, while 64 trials run: a trial finishes, the history takes it up, and the sampler suggests
//! the next.

use std::collections::VecDeque;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use foldwise_engine::sampler::{History, Outcome, suggest};
use foldwise_shared::ids::{Millis, TrialNumber};
use foldwise_shared::spec::{SamplerKind, StudySpec, parse};
use foldwise_shared::value::{ParamValue, Params};

const RUNNING: u32 = 64;

fn spec(sampler: &str) -> StudySpec {
    let sets = [format!("sampler.kind={sampler}")];
    parse(include_str!("../../../deploy/bench/suggest.toml"), &sets).expect("a study file")
}

/// A study in which some trials are finished and some run.
#[derive(Clone)]
struct Load {
    history: History,
    running: VecDeque<(TrialNumber, Params)>,
    next: u32,
}

impl Load {
    fn new(spec: &StudySpec, trials: u32) -> Self {
        let mut random = spec.clone();
        random.sampler.kind = SamplerKind::Random;
        let mut load = Self {
            history: History::new(&spec.space, spec.study.direction),
            running: VecDeque::new(),
            next: 0,
        };
        (0..trials + RUNNING).for_each(|_| load.begin(&random));
        (0..trials).for_each(|_| load.finish());
        load
    }

    fn step(&mut self, spec: &StudySpec) {
        self.finish();
        self.begin(spec);
    }

    fn begin(&mut self, spec: &StudySpec) {
        let number = TrialNumber(self.next);
        let running: Vec<&Params> = self.running.iter().map(|(_, params)| params).collect();
        let suggestion =
            suggest(spec, &mut self.history, &running, number).expect("a sampler without an end");
        self.running.push_back((number, suggestion.params));
        self.next += 1;
    }

    fn finish(&mut self) {
        let (number, params) = self.running.pop_front().expect("trials run");
        let value = value(&params);
        self.history.add(number, &params, Millis(number.0.into()), Outcome::Complete(value));
    }
}

fn value(params: &Params) -> f64 {
    let of =
        |value: &ParamValue| value.as_f64().map_or(0.5, |number| (number / (1.0 + number.abs())).powi(2));
    params.values().map(of).sum()
}

fn suggestions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("suggest");
    group.sample_size(20);
    for sampler in ["auto", "tpe", "random", "sobol"] {
        let spec = spec(sampler);
        for trials in [100, 1_000, 10_000] {
            let mut start = Load::new(&spec, trials);
            start.step(&spec);
            // What is worked out once for a history, and once for a copy of it, is not part of a suggestion.
            let warm = || {
                let mut load = start.clone();
                load.step(&spec);
                load
            };
            group.bench_function(format!("{sampler}/{trials}"), |bencher| {
                bencher.iter_batched_ref(warm, |load| load.step(&spec), BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, suggestions);
criterion_main!(benches);
