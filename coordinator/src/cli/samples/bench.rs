//! What benchmarks gave.

use crate::bench::Quartiles;
use crate::bench::search::{Cell, Comparison, Standing, Versus};
use crate::bench::suggest::Timing;

pub fn comparison() -> Comparison {
    let quartiles = |q1, median, q3| Quartiles { q1, median, q3 };
    let cell = |trials, sampler: &str, regret, versus| Cell {
        problem: "branin".into(),
        parallel: 8,
        trials,
        sampler: sampler.into(),
        regret,
        optuna_tpe: Some(quartiles(0.0123, 0.0456, 0.0789)),
        optuna_tpe_classic: Some(quartiles(0.02, 0.04, 0.06)),
        versus,
    };
    let versus = |reference: &str, ratio, less, p_worse| {
        Some(Versus { reference: reference.into(), ratio, less, p_worse })
    };
    let auto = cell(
        100,
        "auto",
        quartiles(1.234_567e-5, 2.5e-4, 0.001_234_56),
        versus("tpe_classic", Some(0.00625), true, 0.999_96),
    );
    let tpe = cell(100, "tpe", quartiles(0.05, 0.06, 1234.567), versus("tpe", Some(1.3158), false, 0.0123));
    let alone = Cell {
        optuna_tpe: None,
        optuna_tpe_classic: None,
        ..cell(75, "auto", quartiles(0.0, 0.0, 1.5e7), None)
    };
    let standing = |sampler: &str, mean_rank, compared, worse, less| Standing {
        sampler: sampler.into(),
        mean_rank,
        compared,
        worse,
        less,
    };
    Comparison {
        cells: vec![alone, auto, tpe],
        samplers: vec![
            standing("auto", Some(1.0), 1, 0, 1),
            standing("tpe", Some(4.0), 1, 1, 0),
            standing("optuna tpe", Some(3.0), 0, 0, 0),
            standing("optuna tpe_classic", Some(2.0), 0, 0, 0),
        ],
    }
}

pub fn timings() -> Vec<Timing> {
    let timing = |sampler: &str, trials, median_ms, p99_ms, memory_mib| Timing {
        sampler: sampler.into(),
        trials,
        running: 64,
        params: 20,
        suggestions: 500,
        median_ms,
        p99_ms,
        memory_mib,
    };
    vec![timing("auto", 100, 12.345_678, 34.5, Some(15.4)), timing("random", 10_000, 0.012_345, 0.1, None)]
}
