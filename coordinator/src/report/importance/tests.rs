use std::f64::consts::PI;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn numbers(values: impl Iterator<Item = f64>) -> Column {
    Column { kind: Kind::Number, values: values.map(Some).collect() }
}

fn means(columns: &[Column], targets: &[f64]) -> Vec<f64> {
    importance(columns, targets, 1).into_iter().map(|share| share.mean).collect()
}

fn uniform(count: usize, columns: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..columns).map(|_| (0..count).map(|_| rng.random::<f64>()).collect()).collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    for (found_one, expected_one) in found.iter().zip(expected) {
        assert!((found_one - expected_one).abs() < tolerance, "found {found:?}, expected {expected:?}");
    }
    assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{found:?}");
}

/// y = a + 2 b + 3 c: the variances are 1 : 4 : 9.
#[test]
fn a_sum_is_divided_by_the_variances_of_its_parts() {
    let x = uniform(2_000, 4, 3);
    let targets: Vec<f64> = (0..2_000).map(|row| x[0][row] + 2.0 * x[1][row] + 3.0 * x[2][row]).collect();
    let columns: Vec<Column> = x.iter().map(|column| numbers(column.iter().copied())).collect();
    close(&means(&columns, &targets), &[1.0 / 14.0, 4.0 / 14.0, 9.0 / 14.0, 0.0], 0.02);
}

/// The Ishigami function, whose shares are known: sin a + 7 sin^2 b + 0.1 c^4 sin a, each from -pi to pi. By themselves a, b
/// and c explain 0.3139, 0.4424 and 0 of the variance (Ishigami and Homma, 1990).
#[test]
fn what_a_param_explains_only_with_another_is_not_its_own() {
    let x = uniform(4_000, 3, 5);
    let angle = |column: usize, row: usize| (x[column][row] * 2.0 - 1.0) * PI;
    let targets: Vec<f64> = (0..4_000)
        .map(|row| {
            let (a, b, c) = (angle(0, row), angle(1, row), angle(2, row));
            a.sin() + 7.0 * b.sin().powi(2) + 0.1 * c.powi(4) * a.sin()
        })
        .collect();
    let columns: Vec<Column> = x.iter().map(|column| numbers(column.iter().copied())).collect();
    // A forest smooths the fourth power away, ours like any other.
    close(&means(&columns, &targets), &[0.415, 0.585, 0.0], 0.05);
}

/// Three categories with the values 0, 0 and 3 have the variance 2; a number from 0 to 2 has 1/3.
#[test]
fn categories_count_alike() {
    let x = uniform(3_000, 2, 7);
    let category: Vec<f64> = x[0].iter().map(|value| (value * 3.0).floor()).collect();
    let targets: Vec<f64> =
        (0..3_000).map(|row| if category[row] == 2.0 { 3.0 } else { 0.0 } + 2.0 * x[1][row]).collect();
    let columns = [
        Column { kind: Kind::Category(3), values: category.iter().copied().map(Some).collect() },
        numbers(x[1].iter().copied()),
    ];
    close(&means(&columns, &targets), &[6.0 / 7.0, 1.0 / 7.0], 0.02);
}

/// Trials of the second of two categories have a number, worth twice itself; the first category is worth 1, and the second 3 by
/// itself. The number moves the mean over both categories by itself, so it explains 1/12 for the half of the trials that has
/// it. The second category is worth 4 on average over the number and, as the tree has it, 3 without: 3.5 against 1.
#[test]
fn whether_a_trial_has_a_param_is_the_doing_of_another() {
    let x = uniform(3_000, 2, 9);
    let category: Vec<f64> = x[0].iter().map(|value| f64::from(*value < 0.5)).collect();
    let values: Vec<Option<f64>> = (0..3_000).map(|row| (category[row] == 1.0).then(|| x[1][row])).collect();
    let targets: Vec<f64> = values.iter().map(|value| value.map_or(1.0, |value| 3.0 + 2.0 * value)).collect();
    let columns = [
        Column { kind: Kind::Number, values },
        Column { kind: Kind::Category(2), values: category.into_iter().map(Some).collect() },
    ];
    let (number, category) = (1.0 / 24.0, 25.0 / 16.0);
    let whole = number + category;
    close(&means(&columns, &targets), &[number / whole, category / whole], 0.01);
}

/// Half of the trials have a number; it is worth itself times 2, and not having it is worth 1, which is its mean. So of the
/// variance within those that have it (1/3, for half of the trials) all is the number's.
#[test]
fn a_param_counts_where_it_is_there() {
    let x = uniform(3_000, 3, 9);
    let values: Vec<Option<f64>> = (0..3_000).map(|row| (x[0][row] < 0.5).then(|| x[1][row])).collect();
    let targets: Vec<f64> =
        (0..3_000).map(|row| values[row].map_or(1.0, |value| 2.0 * value) + x[2][row]).collect();
    let columns = [Column { kind: Kind::Number, values }, numbers(x[2].iter().copied())];
    // 1/3 for half of the trials against 1/12.
    close(&means(&columns, &targets), &[2.0 / 3.0, 1.0 / 3.0], 0.03);
}

#[test]
fn nothing_to_explain_is_no_importance() {
    let column = || numbers([0.1, 0.5, 0.9].into_iter());
    assert_eq!(means(&[column(), column()], &[2.0, 2.0, 2.0]), [0.0, 0.0]);
    assert_eq!(means(&[column()], &[1.0]), [0.0]);
    assert_eq!(means(&[column()], &[1.0, f64::NAN, 2.0]), [0.0]);
    assert!(means(&[], &[1.0, 2.0]).is_empty());
    // One value for all is no reason for anything.
    let same = numbers([0.5, 0.5, 0.5].into_iter());
    close(&means(&[column(), same], &[1.0, 2.0, 3.0]), &[1.0, 0.0], 1e-9);
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let x = uniform(300, 2, 1);
    let columns: Vec<Column> = x.iter().map(|column| numbers(column.iter().copied())).collect();
    let targets: Vec<f64> = (0..300).map(|row| x[0][row] * x[1][row]).collect();
    assert_eq!(importance(&columns, &targets, 4), importance(&columns, &targets, 4));
    assert_ne!(importance(&columns, &targets, 4), importance(&columns, &targets, 5));
}

/// What `deploy/bench/optuna_importance.py --record` wrote: trials, and what Optuna's evaluator makes of them.
#[test]
fn optuna_finds_the_same() {
    let stored: serde_json::Value = serde_json::from_str(include_str!("optuna.json")).expect("JSON");
    let cases = stored["cases"].as_array().expect("cases");
    assert!(cases.len() >= 3);
    for case in cases {
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value
                .as_array()
                .expect("numbers")
                .iter()
                .map(|number| number.as_f64().expect("a number"))
                .collect()
        };
        let columns: Vec<Column> = case["columns"]
            .as_array()
            .expect("columns")
            .iter()
            .map(|column| {
                let values = numbers(&column["values"]).into_iter().map(Some).collect();
                let categories = column["categories"].as_u64();
                let kind = categories.map_or(Kind::Number, |count| Kind::Category(count as usize));
                Column { kind, values }
            })
            .collect();
        // As there, the mean of five forests.
        let targets = numbers(&case["targets"]);
        let forests: Vec<_> = (0..5).map(|seed| importance(&columns, &targets, seed)).collect();
        let mean = |at: usize| forests.iter().map(|shares| shares[at].mean).sum::<f64>() / 5.0;
        let found: Vec<f64> = (0..columns.len()).map(mean).collect();
        let expected = numbers(&case["importance"]);
        let tolerance = case["tolerance"].as_f64().expect("a tolerance");
        close(&found, &expected, tolerance);
    }
}
