//! Black-box problems for judging a sampler: each has a space, a function to minimize and its known minimum.

use std::f64::consts::{E, PI};

use foldwise_shared::value::{ParamValue, Params};

/// A problem.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The space, as the lines of a `[space]` section.
    pub space: String,
    /// Its least value.
    pub minimum: f64,
    function: fn(&At) -> f64,
}

impl Problem {
    /// The value of a trial with these params; less is better.
    pub fn value(&self, params: &Params) -> f64 {
        (self.function)(&At(params))
    }

    /// Every problem; the first three are those that samplers are usually compared on here.
    pub fn all() -> Vec<Self> {
        let float = |low: f64, high: f64| format!("{{ float = [{low:?}, {high:?}] }}");
        let letters = || "{ choice = [\"a\", \"b\", \"c\", \"d\", \"e\"] }".to_owned();
        let problem =
            |name, about, space: String, minimum, function| Self { name, about, space, minimum, function };
        vec![
            problem("branin", "2 floats, three equal minima", BRANIN.into(), 0.0, branin as fn(&At) -> f64),
            problem("hartmann6", "6 floats, several minima", each("x", 6, float(0.0, 1.0)), 0.0, hartmann6),
            problem(
                "ae_like",
                "8 mixed params, like a search over autoencoders",
                AE_LIKE.into(),
                0.015464,
                ae_like,
            ),
            problem(
                "rosenbrock4",
                "4 floats, a bent valley",
                each("x", 4, float(-2.0, 2.0)),
                0.0,
                rosenbrock,
            ),
            problem(
                "ackley6",
                "6 floats, a funnel full of dents",
                each("x", 6, float(-15.0, 15.0)),
                0.0,
                ackley,
            ),
            problem(
                "rastrigin5",
                "5 floats, thousands of minima",
                each("x", 5, float(-5.12, 5.12)),
                0.0,
                rastrigin,
            ),
            problem(
                "levy8",
                "8 floats, ripples across each other",
                each("x", 8, float(-10.0, 10.0)),
                0.0,
                levy,
            ),
            problem("sphere20", "20 floats, a bowl", each("x", 20, float(-5.0, 5.0)), 0.0, sphere),
            problem(
                "goldstein",
                "2 floats, values up to a million",
                each("x", 2, float(-2.0, 2.0)),
                0.0,
                goldstein,
            ),
            problem("styblinski6", "6 floats, 64 minima", each("x", 6, float(-5.0, 5.0)), 0.0, styblinski),
            problem(
                "griewank3",
                "3 floats, a bowl with waves",
                each("x", 3, float(-50.0, 50.0)),
                0.0,
                griewank,
            ),
            problem(
                "michalewicz5",
                "5 floats, flat with narrow valleys",
                each("x", 5, float(0.0, PI)),
                -1.791e-7,
                michalewicz,
            ),
            problem("hartmann3", "3 floats, four minima", each("x", 3, float(0.0, 1.0)), 0.0, hartmann3),
            problem("steps3", "3 floats, a staircase", each("x", 3, float(0.0, 1.0)), 0.0, steps),
            problem(
                "ints5",
                "5 ints that depend on each other",
                each("n", 5, "{ int = [1, 20] }".into()),
                0.0,
                ints,
            ),
            problem("choices6", "6 choices that depend on each other", each("c", 6, letters()), 0.0, choices),
            problem(
                "mlp_like",
                "7 mixed params, a cliff where training diverges",
                MLP_LIKE.into(),
                0.0,
                mlp_like,
            ),
            problem(
                "branches",
                "7 params, of which a choice decides which there are",
                BRANCHES.into(),
                0.0061875,
                branches,
            ),
            problem(
                "boosting_like",
                "9 mixed params, two of which trade off",
                BOOSTING.into(),
                0.0,
                boosting_like,
            ),
        ]
    }
}

/// So many params of one domain, numbered from 0.
fn each(prefix: &str, count: usize, domain: String) -> String {
    (0..count).map(|index| format!("{prefix}{index} = {domain}\n")).collect()
}

const BRANIN: &str = "
x = { float = [-5.0, 10.0] }
y = { float = [0.0, 15.0] }";

const AE_LIKE: &str = "
lr = { float = [1e-5, 1.0], log = true }
l2 = { float = [1e-7, 1e-2], log = true }
dropout = { float = [0.0, 0.5] }
latent = { int = [2, 64] }
units = { int = [32, 512], log = true }
opt = { choice = [\"adam\", \"sgd\", \"adamax\"] }
conv = { choice = [\"a\", \"b\", \"c\"] }
inorm = { bool = true }";

const MLP_LIKE: &str = "
lr = { float = [1e-6, 1.0], log = true }
batch = { int = [8, 512], log = true }
layers = { int = [1, 8] }
width = { int = [16, 2048], log = true }
act = { choice = [\"relu\", \"tanh\", \"gelu\"] }
dropout = { float = [0.0, 0.7] }
wd = { float = [1e-8, 1e-1], log = true }";

const BRANCHES: &str = "
opt = { choice = [\"sgd\", \"adam\", \"plain\"] }
lr = { float = [1e-5, 1.0], log = true }
drop = { float = [0.0, 0.6] }
depth = { int = [1, 12] }
mom = { float = [0.0, 0.99], when = { opt = \"sgd\" } }
nest = { bool = true, when = { opt = \"sgd\" } }
b1 = { float = [0.5, 0.999], when = { opt = \"adam\" } }";

const BOOSTING: &str = "
eta = { float = [1e-3, 1.0], log = true }
depth = { int = [2, 16] }
sub = { float = [0.3, 1.0] }
col = { float = [0.3, 1.0] }
lam = { float = [1e-4, 1e3], log = true }
alpha = { float = [1e-6, 1e2], log = true }
trees = { int = [16, 2048], log = true }
mcw = { int = [1, 20] }
booster = { choice = [\"gbtree\", \"dart\", \"gblinear\"] }";

/// The params of a trial, read without ceremony: a problem knows what its space gives.
struct At<'a>(&'a Params);

impl At<'_> {
    fn number(&self, name: &str) -> f64 {
        self.0.get(name).and_then(ParamValue::as_f64).unwrap_or(f64::NAN)
    }

    fn log10(&self, name: &str) -> f64 {
        self.number(name).log10()
    }

    fn word(&self, name: &str) -> &str {
        self.0.get(name).and_then(ParamValue::as_str).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&ParamValue::Bool(true))
    }

    /// `x0`, `x1`, ...
    fn cube(&self) -> Vec<f64> {
        (0..self.0.len()).map(|dim| self.number(&format!("x{dim}"))).collect()
    }

    /// The same, moved so that the minimum is not in the middle.
    fn moved(&self, by: f64) -> Vec<f64> {
        self.cube().iter().zip(OFF_CENTER).map(|(x, off)| x - by * off).collect()
    }
}

const OFF_CENTER: [f64; 20] = [
    0.31, -0.27, 0.12, -0.44, 0.23, 0.05, -0.36, 0.41, -0.09, 0.18, -0.21, 0.37, -0.33, 0.02, 0.29, -0.48,
    0.14, -0.17, 0.26, -0.06,
];

fn branin(at: &At) -> f64 {
    let (x, y) = (at.number("x"), at.number("y"));
    (y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0).powi(2)
        + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos()
        + 10.0
        - 0.397887
}

/// The sum over `peaks` of their heights at `x`.
fn peaks<const N: usize>(x: &[f64], widths: [[f64; N]; 4], middles: [[f64; N]; 4]) -> f64 {
    let heights = [1.0, 1.2, 3.0, 3.2];
    let peak = |k: usize| {
        let distance: f64 = (0..N).map(|i| widths[k][i] * (x[i] - middles[k][i]).powi(2)).sum();
        heights[k] * (-distance).exp()
    };
    (0..4).map(peak).sum()
}

fn hartmann6(at: &At) -> f64 {
    let widths = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    let middles = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    3.32237 - peaks(&at.cube(), widths, middles)
}

fn hartmann3(at: &At) -> f64 {
    let widths = [[3.0, 10.0, 30.0], [0.1, 10.0, 35.0], [3.0, 10.0, 30.0], [0.1, 10.0, 35.0]];
    let middles = [
        [0.3689, 0.117, 0.2673],
        [0.4699, 0.4387, 0.747],
        [0.1091, 0.8732, 0.5547],
        [0.0381, 0.5743, 0.8828],
    ];
    3.86278 - peaks(&at.cube(), widths, middles)
}

fn ae_like(at: &At) -> f64 {
    let rate = match at.word("opt") {
        "adam" => -2.9,
        "sgd" => -1.0,
        _ => -2.2,
    };
    let convolution = match at.word("conv") {
        "a" => 0.0,
        "b" => 0.0011,
        _ => 0.002,
    };
    let latent = at.number("latent");
    0.012
        + 0.004 * (at.log10("lr") - rate).abs().powf(1.7)
        + 0.002 * (at.log10("l2") + 5.0).max(0.0).powi(2)
        + 0.03 * (at.number("dropout") - 0.08).powi(2)
        + 0.05 / latent
        + 0.00006 * latent
        + convolution
        + if at.flag("inorm") { 0.0 } else { 0.0006 }
        + 0.0015 * (at.number("units").log2() - 7.6).abs()
}

fn rosenbrock(at: &At) -> f64 {
    at.cube().windows(2).map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)).sum()
}

fn ackley(at: &At) -> f64 {
    let x = at.moved(10.0);
    let mean = |f: fn(f64) -> f64| x.iter().map(|x| f(*x)).sum::<f64>() / x.len() as f64;
    20.0 + E - 20.0 * (-0.2 * mean(|x| x * x).sqrt()).exp() - mean(|x| (2.0 * PI * x).cos()).exp()
}

fn rastrigin(at: &At) -> f64 {
    at.moved(2.0).iter().map(|x| x * x - 10.0 * (2.0 * PI * x).cos() + 10.0).sum()
}

fn levy(at: &At) -> f64 {
    let w: Vec<f64> = at.cube().iter().map(|x| 1.0 + (x - 1.0) / 4.0).collect();
    let (first, last) = (w[0], w[w.len() - 1]);
    let ripples = w[..w.len() - 1].iter();
    (PI * first).sin().powi(2)
        + ripples.map(|w| (w - 1.0).powi(2) * (1.0 + 10.0 * (PI * w + 1.0).sin().powi(2))).sum::<f64>()
        + (last - 1.0).powi(2) * (1.0 + (2.0 * PI * last).sin().powi(2))
}

fn sphere(at: &At) -> f64 {
    at.moved(5.0).iter().map(|x| x * x).sum()
}

fn goldstein(at: &At) -> f64 {
    let (x, y) = (at.number("x0"), at.number("x1"));
    let a = (x + y + 1.0).powi(2) * (19.0 - 14.0 * x + 3.0 * x * x - 14.0 * y + 6.0 * x * y + 3.0 * y * y);
    let b = (2.0 * x - 3.0 * y).powi(2)
        * (18.0 - 32.0 * x + 12.0 * x * x + 48.0 * y - 36.0 * x * y + 27.0 * y * y);
    (1.0 + a) * (30.0 + b) - 3.0
}

fn styblinski(at: &At) -> f64 {
    at.cube().iter().map(|x| (x.powi(4) - 16.0 * x * x + 5.0 * x) / 2.0 + 39.166_165_703_771_42).sum()
}

fn griewank(at: &At) -> f64 {
    let x = at.moved(20.0);
    let waves = x.iter().enumerate().map(|(i, x)| (x / (i as f64 + 1.0).sqrt()).cos());
    x.iter().map(|x| x * x).sum::<f64>() / 4000.0 - waves.product::<f64>() + 1.0
}

fn michalewicz(at: &At) -> f64 {
    let valley = |(i, x): (usize, &f64)| x.sin() * ((i as f64 + 1.0) * x * x / PI).sin().powi(20);
    4.687_658 - at.cube().iter().enumerate().map(valley).sum::<f64>()
}

fn steps(at: &At) -> f64 {
    let squares = at.cube().iter().zip([0.62, 0.21, 0.77]).map(|(x, best)| (x - best).powi(2)).sum::<f64>();
    (squares.sqrt() * 20.0).floor() / 20.0
}

fn ints(at: &At) -> f64 {
    let off = |name: &str, best: f64| at.number(name) - best;
    let d = [off("n0", 13.0), off("n1", 4.0), off("n2", 17.0), off("n3", 9.0), off("n4", 2.0)];
    d.iter().map(|d| d * d).sum::<f64>() / 20.0
        + 0.15 * (d[0] * d[1]).abs()
        + 0.1 * (d[2] + d[3]).abs()
        + if (d[4] as i64) % 3 == 0 { 0.0 } else { 0.5 }
}

fn choices(at: &At) -> f64 {
    let best = [2i64, 0, 4, 1, 3, 2];
    let index =
        |i: usize| at.word(&format!("c{i}")).bytes().next().map_or(0, |letter| i64::from(letter) - 97);
    let x: Vec<i64> = (0..6).map(index).collect();
    let alone = |i: usize| {
        [0.0, 0.3, 0.55, 0.8, 1.0][(x[i] - best[i]).rem_euclid(5) as usize] * (1.0 + 0.3 * i as f64)
    };
    let together = |i: usize| {
        let fits = (x[i] + x[i + 1]) % 5 == (best[i] + best[i + 1]) % 5;
        if fits { 0.0 } else { 0.25 }
    };
    (0..6).map(alone).sum::<f64>() + (0..5).map(together).sum::<f64>()
}

fn mlp_like(at: &At) -> f64 {
    let (rate, layers) = (at.log10("lr"), at.number("layers"));
    let edge = -1.3 - 0.15 * layers;
    if rate > edge {
        return 2.3 + 0.1 * (rate - edge);
    }
    let (activation, decay) = match at.word("act") {
        "relu" => (0.0, 1.0),
        "tanh" => (0.02, 0.3),
        _ => (-0.005, 1.0),
    };
    let best = -3.1 + 0.15 * (at.number("batch").log2() - 6.0) - 0.1 * (layers - 3.0);
    0.005
        + 0.05 * (1.0 - (-((rate - best) / 0.8).powi(2)).exp())
        + 0.06 * (best - 1.5 - rate).max(0.0)
        + 0.01 * (layers - 4.0).abs().powf(1.3)
        + 0.004 * (at.number("width").log2() - 8.5).powi(2)
        + 0.02 * (at.number("dropout") - 0.2).powi(2)
        + activation
        + 0.003 * (at.log10("wd") + 4.0).powi(2) * decay
}

fn branches(at: &At) -> f64 {
    let rate = at.log10("lr");
    let own = match at.word("opt") {
        "sgd" => {
            let momentum = at.number("mom");
            let nesterov = if at.flag("nest") { 0.05 * momentum } else { 0.0 };
            0.3 * (rate + 1.2).powi(2) + 2.0 * (momentum - 0.87).powi(2) + 0.05 - nesterov
        }
        "adam" => 0.2 * (rate + 2.9).powi(2) + 0.1 * ((1.0 - at.number("b1")).log10() + 0.9).powi(2) + 0.02,
        _ => 0.1 * (rate + 2.0).powi(2) + 0.15,
    };
    own + 0.5 * (at.number("drop") - 0.15).powi(2) + 0.02 * (at.number("depth") - 5.0).abs()
}

fn boosting_like(at: &At) -> f64 {
    let (rate, trees) = (at.log10("eta") + 1.4, at.number("trees").log2() - 8.5);
    let booster = match at.word("booster") {
        "gbtree" => 0.0,
        "dart" => 0.01,
        _ => 0.4,
    };
    0.25 * rate * rate
        + 0.01 * (at.number("depth") - 6.0).powi(2)
        + 0.4 * (at.number("sub") - 0.8).powi(2)
        + 0.3 * (at.number("col") - 0.65).powi(2)
        + 0.02 * (at.log10("lam") - 0.3).abs()
        + 0.015 * (at.log10("alpha") + 2.0).abs()
        + 0.05 * trees * trees
        + 0.1 * rate * trees
        + 0.0025 * (at.number("mcw") - 4.0).powi(2)
        + booster
}

#[cfg(test)]
mod tests {
    use foldwise_shared::spec::parse;
    use serde_json::{Value, json};

    use super::*;

    fn params(json: Value) -> Params {
        let pairs = json.as_object().expect("an object").clone().into_iter();
        pairs.map(|(name, value)| (name, ParamValue::from_json(value).expect("a value"))).collect()
    }

    fn problem(name: &str) -> Problem {
        Problem::all().into_iter().find(|problem| problem.name == name).unwrap_or_else(|| panic!("{name}"))
    }

    /// The functions of `deploy/bench/optuna_search.py` wrote these values.
    #[test]
    fn python_finds_the_same_values() {
        let samples: Vec<Value> = serde_json::from_str(include_str!("samples.json")).expect("JSON");
        assert_eq!(samples.len(), 3 * Problem::all().len());
        for sample in samples {
            let problem = problem(sample["problem"].as_str().expect("a name"));
            let (value, expected) = (
                problem.value(&params(sample["params"].clone())),
                sample["value"].as_f64().expect("a number"),
            );
            let error = (value - expected).abs();
            assert!(error <= 1e-12 * expected.abs().max(1.0), "{}: {value}, not {expected}", problem.name);
            assert!(value >= problem.minimum, "{}: {value} is less than the minimum", problem.name);
        }
    }

    #[test]
    fn the_minimum_is_where_it_is_said_to_be() {
        let cube = |x: &[f64]| -> Value {
            x.iter()
                .enumerate()
                .map(|(dim, x)| (format!("x{dim}"), json!(x)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let off =
            |by: f64, dims: usize| cube(&OFF_CENTER[..dims].iter().map(|off| by * off).collect::<Vec<_>>());
        let places = [
            ("branin", json!({"x": PI, "y": 2.275})),
            ("hartmann6", cube(&[0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573])),
            (
                "ae_like",
                json!({"lr": 1.2589254e-3, "l2": 1e-6, "dropout": 0.08, "latent": 29, "units": 194, "opt": "adam",
                       "conv": "a", "inorm": true}),
            ),
            ("rosenbrock4", cube(&[1.0; 4])),
            ("ackley6", off(10.0, 6)),
            ("rastrigin5", off(2.0, 5)),
            ("levy8", cube(&[1.0; 8])),
            ("sphere20", off(5.0, 20)),
            ("goldstein", cube(&[0.0, -1.0])),
            ("styblinski6", cube(&[-2.903534; 6])),
            ("griewank3", off(20.0, 3)),
            ("michalewicz5", cube(&[2.202906, PI / 2.0, 1.284992, 1.923058, 1.720470])),
            ("hartmann3", cube(&[0.114589, 0.555649, 0.852547])),
            ("steps3", cube(&[0.62, 0.21, 0.77])),
            ("ints5", json!({"n0": 13, "n1": 4, "n2": 17, "n3": 9, "n4": 2})),
            ("choices6", json!({"c0": "c", "c1": "a", "c2": "e", "c3": "b", "c4": "d", "c5": "c"})),
            (
                "mlp_like",
                json!({"lr": 2.238_721e-4, "batch": 8, "layers": 4, "width": 362, "act": "gelu", "dropout": 0.2,
                       "wd": 1e-4}),
            ),
            (
                "branches",
                json!({"opt": "sgd", "lr": 0.063_095_73, "drop": 0.15, "depth": 5, "mom": 0.8825, "nest": true}),
            ),
            (
                "boosting_like",
                json!({"eta": 0.039_811, "depth": 6, "sub": 0.8, "col": 0.65, "lam": 1.995_262, "alpha": 0.01,
                       "trees": 362, "mcw": 4, "booster": "gbtree"}),
            ),
        ];
        assert_eq!(places.len(), Problem::all().len());
        for (name, place) in places {
            let problem = problem(name);
            let above = problem.value(&params(place)) - problem.minimum;
            assert!((-1e-12..3e-6).contains(&above), "{name}: {above} above the minimum");
        }
    }

    #[test]
    fn every_space_is_that_of_a_study() {
        for problem in Problem::all() {
            let spec = parse(
                &format!(
                    "version = 1\nstudy = {{ name = \"p\", objective = \"external\" }}\nbudget = {{ trials = 1 }}\n[space]\n{}",
                    problem.space
                ),
                &[],
            );
            let count = problem.about.split(' ').next().and_then(|count| count.parse().ok());
            assert_eq!(spec.map(|spec| spec.space.0.len()).ok(), count, "{}", problem.name);
        }
    }
}
