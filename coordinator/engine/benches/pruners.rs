//! What a judgement costs, by pruner and by the number of trials that have come before: after an epoch, at a rung, after a
//! fold.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use foldwise_engine::pruner::{Pruner, Standing};
use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::spec::parse;

const FOLDS: u32 = 3;
const EPOCHS: u32 = 30;

const PRUNERS: [&str; 8] = [
    "median",
    "percentile,percentile=25",
    "paired",
    "successive-halving",
    "hyperband",
    "threshold,upper=9",
    "patience,patience=5",
    "sequential",
];

fn pruner(section: &str) -> Pruner {
    let text = format!(
        "version = 1\nstudy = {{ name = \"bench\" }}\ndata = {{ dataset = \"mnist\", folds = {FOLDS} }}\n\
         model = {{ network = \"lab\", latent_dim = 4 }}\ntrain = {{ epochs = {EPOCHS} }}\nbudget = {{ trials = 9 }}\n"
    );
    let spec = parse(&text, &[]).expect("a study file");
    Pruner::from_spec(&foldwise_shared::spec::with_pruner(&spec, section, &[]).expect(section))
}

/// Ever better, on another level for each trial, with a little noise.
fn curve(trial: u32, fold: u32) -> Vec<Option<f64>> {
    let mix = |word: u32| f64::from(word.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24);
    let level = mix(trial + 1);
    (1..=EPOCHS)
        .map(|epoch| Some(level + 1.0 / f64::from(epoch) + 0.05 * mix(trial * 97 + fold * 31 + epoch)))
        .collect()
}

/// A pruner that has seen this many trials to their end.
fn seen(section: &str, trials: u32) -> Pruner {
    let mut pruner = pruner(section);
    for trial in 0..trials {
        let mut finished = Vec::new();
        for fold in (0..FOLDS).map(FoldIndex) {
            let (number, curve) = (TrialNumber(trial), curve(trial, fold.0));
            for end in 1..=curve.len() {
                let curve = &curve[..end];
                pruner.epoch(&Standing { number, fold, curve, finished: &finished, judged: false });
            }
            finished.push((fold, curve[EPOCHS as usize - 1].unwrap_or_default()));
            pruner.fold_end(&Standing { number, fold, curve: &curve, finished: &finished, judged: false });
        }
    }
    pruner
}

fn judgements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for section in PRUNERS {
        let kind = section.split(',').next().unwrap_or_default();
        for trials in [100, 1_000, 10_000] {
            let mut pruner = seen(section, trials);
            let number = TrialNumber(trials);
            let first = [(FoldIndex(0), 0.5)];
            // In the middle of the second fold; with three folds of 30 epochs the last rung of factor 4 is at 64, epoch 4 of
            // fold 2, and that of factor 3 at 27, epoch 27 of fold 0.
            let whole = curve(trials, 1);
            let standing =
                Standing { number, fold: FoldIndex(1), curve: &whole[..15], finished: &first, judged: true };
            if kind != "sequential" {
                group.bench_function(BenchmarkId::new(format!("{kind}: epoch"), trials), |bencher| {
                    bencher.iter(|| black_box(pruner.epoch(black_box(&standing))));
                });
            }
            if ["successive-halving", "hyperband"].contains(&kind) {
                // Better than all others, which then make room for it, so that it is never pruned.
                let best = [Some(0.0); 9];
                let early = Standing { fold: FoldIndex(0), curve: &best, finished: &[], ..standing };
                group.bench_function(BenchmarkId::new(format!("{kind}: its rungs"), trials), |bencher| {
                    bencher.iter(|| {
                        pruner.start(&Standing {
                            number,
                            fold: FoldIndex(0),
                            curve: &[],
                            finished: &[],
                            judged: false,
                        });
                        black_box(pruner.epoch(black_box(&early)))
                    });
                });
            }
            if ["median", "paired", "sequential"].contains(&kind) {
                // It is judged, and from then on one that others are compared with.
                let finished = [(FoldIndex(0), 0.5), (FoldIndex(1), 0.5)];
                let end = Standing { curve: &whole, finished: &finished, ..standing };
                // What is kept sorted from the first look on is there.
                pruner.fold_end(&Standing { number: TrialNumber(trials + 1), ..end });
                group.bench_function(BenchmarkId::new(format!("{kind}: end of a fold"), trials), |bencher| {
                    bencher.iter_batched_ref(
                        || pruner.clone(),
                        |pruner| black_box(pruner.fold_end(black_box(&end))),
                        BatchSize::PerIteration,
                    );
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, judgements);
criterion_main!(benches);
