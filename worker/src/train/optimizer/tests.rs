use foldwise_shared::model;
use serde::Deserialize;
use tch::{Kind, Tensor};

use super::*;

/// What PyTorch made of the same gradients; `testdata/optimizers.py` wrote it.
#[derive(Deserialize)]
struct Fixture {
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    optimizer: String,
    learning_rate: f64,
    weight_decay: f64,
    momentum: f64,
    weights: Vec<Vec<f64>>,
}

impl Case {
    fn build(&self, weights: &Tensor) -> Box<dyn Optimizer> {
        let kind: model::Optimizer = self.optimizer.parse().expect("an optimizer");
        build(kind, weights, self.weight_decay, self.momentum).expect("small")
    }

    fn name(&self) -> String {
        format!("{}, decay {}, momentum {}", self.optimizer, self.weight_decay, self.momentum)
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("testdata/optimizers.json")).expect("a fixture")
}

#[test]
fn twenty_steps_are_those_of_pytorch() {
    let Fixture { start, gradients, cases } = fixture();
    assert_eq!((gradients.len(), cases.len()), (20, 14));
    for case in cases {
        let mut weights = Tensor::from_slice(&start);
        let mut optimizer = case.build(&weights);
        for (step, (gradient, expected)) in (1..).zip(gradients.iter().zip(&case.weights)) {
            optimizer.step(&mut weights, Tensor::from_slice(gradient), case.learning_rate).expect("a step");
            for (here, there) in to_host(&weights).expect("host memory").into_iter().zip(expected) {
                let difference = (f64::from(here) - there).abs() / there.abs().max(1.0);
                assert!(difference < 1e-6, "{} step {step}: {here}, not {there}", case.name());
            }
        }
        assert!((weights.double_value(&[0]) - 0.5).abs() > 1e-3, "{}: it moved", case.name());
        // The weight without a gradient only shrinks.
        let still = (weights.double_value(&[5]) + 0.25).abs() < 1e-9;
        assert_eq!(still, case.weight_decay == 0.0, "{}", case.name());
    }
}

#[test]
fn each_goes_on_from_its_state_to_the_bit() {
    let Fixture { start, gradients, cases } = fixture();
    for case in &cases {
        let run = |cut: usize| {
            let mut weights = Tensor::from_slice(&start);
            let mut optimizer = case.build(&weights);
            for (step, gradient) in gradients.iter().enumerate() {
                if step == cut {
                    let state = optimizer.state().expect("host memory");
                    assert_eq!(state.steps as usize, step);
                    optimizer = case.build(&weights);
                    optimizer.restore(&state).expect("its own state");
                }
                let gradient = Tensor::from_slice(gradient);
                optimizer.step(&mut weights, gradient, case.learning_rate).expect("a step");
            }
            let bits = to_host(&weights).expect("host memory").into_iter().map(f32::to_bits);
            bits.collect::<Vec<_>>()
        };
        let whole = run(usize::MAX);
        for cut in 0..gradients.len() {
            assert_eq!(run(cut), whole, "{}, cut after {cut} steps", case.name());
        }
    }
}

#[test]
fn the_state_of_another_is_refused_and_changes_nothing() {
    let Fixture { start, gradients, cases } = fixture();
    let weights = Tensor::from_slice(&start);
    for case in &cases {
        for other in &cases {
            let mut state_of = other.build(&weights);
            state_of.step(&mut weights.copy(), Tensor::from_slice(&gradients[0]), 0.1).expect("a step");
            let state = state_of.state().expect("host memory");
            let mut optimizer = case.build(&weights);
            let before = optimizer.state().expect("host memory");
            let same = (&case.optimizer, case.momentum) == (&other.optimizer, other.momentum);
            let restored = optimizer.restore(&state);
            assert_eq!(restored.is_ok(), same, "{} from {}", case.name(), other.name());
            if let Err(error) = restored {
                assert!(error.to_string().starts_with("its optimizer"), "{error}");
                assert_eq!(optimizer.state().expect("host memory"), before);
            }
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_reaches_the_weights() {
    for case in fixture().cases {
        let mut weights = Tensor::from_slice(&[1.0f32, 2.0]);
        let gradient = Tensor::from_slice(&[f32::NAN, 1.0]);
        case.build(&weights).step(&mut weights, gradient, 0.1).expect("a step");
        let finite = weights.isfinite().to_kind(Kind::Int64);
        assert_eq!(Vec::<i64>::try_from(finite).expect("two"), [0, 1], "{}", case.name());
    }
}
