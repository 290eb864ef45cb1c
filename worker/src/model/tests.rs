use foldwise_shared::model;
use tch::{Device, Kind, Reduction, Tensor};

use super::*;
use crate::testing::{alone, settings};

fn lab(layout: Layout) -> Lab {
    Lab::new(6, 0.0, layout, Device::Cpu).expect("it can be built")
}

#[test]
fn names_and_shapes_are_those_of_pytorch() {
    let expected: &[(&str, &[i64])] = &[
        ("enc.0.weight", &[8, 1, 3, 3]),
        ("enc.0.bias", &[8]),
        ("enc.2.weight", &[16, 8, 3, 3]),
        ("enc.2.bias", &[16]),
        ("enc.4.weight", &[32, 16, 3, 3]),
        ("enc.4.bias", &[32]),
        ("enc.7.weight", &[64, 288]),
        ("enc.7.bias", &[64]),
        ("enc.10.weight", &[6, 64]),
        ("enc.10.bias", &[6]),
        ("dec.0.weight", &[64, 6]),
        ("dec.0.bias", &[64]),
        ("dec.3.weight", &[288, 64]),
        ("dec.3.bias", &[288]),
        ("dec.6.weight", &[32, 16, 3, 3]),
        ("dec.6.bias", &[16]),
        ("dec.8.weight", &[16, 8, 3, 3]),
        ("dec.8.bias", &[8]),
        ("dec.10.weight", &[8, 1, 3, 3]),
        ("dec.10.bias", &[1]),
    ];
    for layout in [Layout::ImagesFirst, Layout::ImagesLast] {
        let specs = lab(layout).parameters();
        let found: Vec<(&str, &[i64])> =
            specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect();
        assert_eq!(found, expected);
        // The fan-in of a transposed convolution is PyTorch's: its outputs times the kernel.
        assert_eq!(specs[2].bound, 1.0 / 72.0_f64.sqrt());
        assert_eq!(specs[18].bound, 1.0 / 9.0_f64.sqrt());
    }
}

#[test]
fn first_weights_fill_their_range() {
    let _alone = alone();
    tch::manual_seed(1);
    let parameters = Parameters::random(lab(Layout::ImagesLast).parameters(), Device::Cpu).expect("small");
    let named = parameters.named().expect("views");
    let (name, weight) = &named[6];
    assert_eq!(name, "enc.7.weight");
    let (least, most) = (weight.min().double_value(&[]), weight.max().double_value(&[]));
    let bound = 1.0 / 288.0_f64.sqrt();
    assert!(least >= -bound && least < -0.99 * bound && most <= bound && most > 0.99 * bound);
}

/// Output and gradients with each layout, in double precision, on the same weights and images.
#[test]
fn both_layouts_are_the_same_network() {
    let _alone = alone();
    tch::manual_seed(5);
    let images = Tensor::rand([7, 784], (Kind::Double, Device::Cpu));
    let specs = lab(Layout::ImagesFirst).parameters();
    let weights: Vec<Tensor> = specs
        .iter()
        .map(|spec| (Tensor::rand(&spec.shape[..], (Kind::Double, Device::Cpu)) - 0.5) * 0.4)
        .collect();
    let run = |layout: Layout| {
        let weights: Vec<Tensor> =
            weights.iter().map(|weight| weight.copy().set_requires_grad(true)).collect();
        let batch = layout.arrange(images.shallow_clone()).expect("it fits");
        let output = lab(layout).forward(&weights, &batch, false).expect("it runs");
        assert_eq!(output.size(), batch.size());
        let loss = output.mse_loss(&batch, Reduction::Mean);
        let output = if layout == Layout::ImagesLast { output.tr() } else { output };
        (output, Tensor::run_backward(&[loss], &weights, false, false))
    };
    let (plain, plain_gradients) = run(Layout::ImagesFirst);
    let (fast, fast_gradients) = run(Layout::ImagesLast);
    let difference = |left: &Tensor, right: &Tensor| (left - right).abs().max().double_value(&[]);
    assert!(difference(&plain, &fast) < 1e-12);
    for ((plain, fast), spec) in plain_gradients.iter().zip(&fast_gradients).zip(&specs) {
        let largest = plain.abs().max().double_value(&[]);
        assert!(largest > 1e-9, "{}: the test must not compare zeros", spec.name);
        assert!(difference(plain, fast) < 1e-12 + 1e-10 * largest, "{}", spec.name);
    }
}

#[test]
fn dropout_is_for_training_only() {
    let _alone = alone();
    tch::manual_seed(2);
    let network = Lab::new(6, 0.5, Layout::ImagesLast, Device::Cpu).expect("it can be built");
    let weights =
        Parameters::random(network.parameters(), Device::Cpu).and_then(|p| p.views()).expect("small");
    let batch = Tensor::rand([784, 3], (Kind::Float, Device::Cpu));
    let run = |training| network.forward(&weights, &batch, training).expect("it runs");
    assert_eq!(run(false), run(false));
    assert_ne!(run(true), run(true));
}

#[test]
fn wrong_images_and_weights_are_errors() {
    let error = build(&settings().model, 32, 32, Device::Cpu).err().expect("it is for 28x28");
    assert!(matches!(&error, BuildError::Shape(text) if text.contains("28x28")), "{error}");
    assert_eq!(settings().model.network, model::Network::Lab);
    let batch = Tensor::zeros([784, 1], (Kind::Float, Device::Cpu));
    assert!(lab(Layout::ImagesLast).forward(&[], &batch, false).is_err());
}
