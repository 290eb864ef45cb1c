use foldwise_shared::model::{Activation, LAB_CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS};
use tch::{Device, Kind, Tensor};

use super::activation::normalize;
use super::convolution::Side;
use super::*;
use crate::testing::alone;

const LAYOUTS: [Layout; 2] = [Layout::ImagesFirst, Layout::ImagesLast];
const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn lab_settings() -> ModelSettings {
    ModelSettings {
        network: model::Network::Lab,
        latent_dim: 6,
        dropout: 0.0,
        convolutions: LAB_CONVOLUTIONS.to_vec(),
        channels: LAB_CHANNELS.to_vec(),
        linear_units: LAB_UNITS,
        instance_norm: false,
        activation: Activation::Relu,
        variational: false,
        beta: 2.0,
    }
}

fn symmetric_settings() -> ModelSettings {
    ModelSettings {
        network: model::Network::Symmetric,
        latent_dim: 5,
        convolutions: vec![[3, 2, 1], [3, 2, 1], [3, 1, 0]],
        channels: vec![4, 3, 5],
        linear_units: 16,
        instance_norm: true,
        activation: Activation::LeakyRelu,
        ..lab_settings()
    }
}

/// Networks with the images they are for: plain and variational, with and without normalization, with each activation,
/// square and not, odd and even, padded on no side, with a kernel of one pixel and steps that leave pixels out.
fn networks() -> Vec<(ModelSettings, (i64, i64))> {
    let odd = ModelSettings {
        convolutions: vec![[5, 3, 0], [1, 1, 0], [2, 2, 1]],
        channels: vec![2, 6, 3],
        activation: Activation::Elu,
        ..symmetric_settings()
    };
    let one = ModelSettings {
        convolutions: vec![[4, 2, 2]],
        channels: vec![3],
        instance_norm: false,
        activation: Activation::Gelu,
        ..symmetric_settings()
    };
    let plain = [
        (lab_settings(), (28, 28)),
        (symmetric_settings(), (28, 28)),
        (symmetric_settings(), (17, 30)),
        (odd.clone(), (16, 23)),
        (ModelSettings { activation: Activation::Silu, instance_norm: false, ..odd }, (31, 12)),
        (one.clone(), (7, 4)),
        (ModelSettings { activation: Activation::Tanh, instance_norm: true, ..one }, (1, 9)),
    ];
    let variational = |(settings, image): &(ModelSettings, _)| {
        (ModelSettings { variational: true, ..settings.clone() }, *image)
    };
    let both: Vec<_> = plain.iter().map(variational).collect();
    plain.into_iter().chain(both).collect()
}

fn network(settings: &ModelSettings, image: (i64, i64), layout: Layout) -> Autoencoder {
    build_in(settings, image, layout, Device::Cpu).expect("it can be built")
}

fn lab(layout: Layout) -> Autoencoder {
    network(&lab_settings(), (28, 28), layout)
}

/// Weights in double precision in one buffer, so that one that is not used has a gradient too: 0.
fn random_weights(network: &Autoencoder) -> Tensor {
    let count: i64 = network.parameters().iter().map(ParameterSpec::count).sum();
    (Tensor::rand([count], DOUBLE) - 0.5) * 0.6
}

fn views(network: &Autoencoder, flat: &Tensor) -> Vec<Tensor> {
    let mut start = 0;
    let view = |spec: ParameterSpec| {
        let part = flat.narrow(0, start, spec.count()).view(&spec.shape[..]);
        start += spec.count();
        part
    };
    network.parameters().into_iter().map(view).collect()
}

fn difference(left: &Tensor, right: &Tensor) -> f64 {
    assert_eq!(left.size(), right.size());
    (left - right).abs().max().double_value(&[])
}

fn names(network: &Autoencoder) -> Vec<(String, Vec<i64>)> {
    network.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect()
}

fn expected(names: &[(&str, &[i64])]) -> Vec<(String, Vec<i64>)> {
    names.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

#[test]
fn names_and_shapes_are_those_of_pytorch() {
    let all: &[(&str, &[i64])] = &[
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
    for layout in LAYOUTS {
        assert_eq!(names(&lab(layout)), expected(all));
        let specs = lab(layout).parameters();
        // The fan-in of a transposed convolution is PyTorch's: its outputs times the kernel.
        assert_eq!(specs[2].bound, 1.0 / 72.0_f64.sqrt());
        assert_eq!(specs[18].bound, 1.0 / 9.0_f64.sqrt());
    }
    let variational = ModelSettings { variational: true, ..lab_settings() };
    let mut with = expected(all);
    with.splice(10..10, expected(&[("log_variance.weight", &[6, 64]), ("log_variance.bias", &[6])]));
    assert_eq!(names(&network(&variational, (28, 28), Layout::ImagesLast)), with);
}

#[test]
fn the_symmetric_network_names_its_layers_in_the_order_of_use() {
    let settings = ModelSettings { variational: true, ..symmetric_settings() };
    // 17x30 -> 9x15 -> 5x8 -> 3x6
    let all: &[(&str, &[i64])] = &[
        ("encoder.convolutions.0.weight", &[4, 1, 3, 3]),
        ("encoder.convolutions.0.bias", &[4]),
        ("encoder.convolutions.1.weight", &[3, 4, 3, 3]),
        ("encoder.convolutions.1.bias", &[3]),
        ("encoder.convolutions.2.weight", &[5, 3, 3, 3]),
        ("encoder.convolutions.2.bias", &[5]),
        ("encoder.linear.weight", &[16, 90]),
        ("encoder.linear.bias", &[16]),
        ("encoder.latent.weight", &[5, 16]),
        ("encoder.latent.bias", &[5]),
        ("encoder.log_variance.weight", &[5, 16]),
        ("encoder.log_variance.bias", &[5]),
        ("decoder.latent.weight", &[16, 5]),
        ("decoder.latent.bias", &[16]),
        ("decoder.linear.weight", &[90, 16]),
        ("decoder.linear.bias", &[90]),
        ("decoder.convolutions.0.weight", &[5, 3, 3, 3]),
        ("decoder.convolutions.0.bias", &[3]),
        ("decoder.convolutions.1.weight", &[3, 4, 3, 3]),
        ("decoder.convolutions.1.bias", &[4]),
        ("decoder.convolutions.2.weight", &[4, 1, 3, 3]),
        ("decoder.convolutions.2.bias", &[1]),
    ];
    let network = network(&settings, (17, 30), Layout::ImagesLast);
    assert_eq!(names(&network), expected(all));
    assert_eq!(network.first_linear(), (6, 7));
    assert_eq!(network.feature_count(), 90);
    let specs = network.parameters();
    assert_eq!(specs[6].bound, 1.0 / 90.0_f64.sqrt());
    assert_eq!((specs[16].bound, specs[17].bound), (1.0 / 27.0_f64.sqrt(), 1.0 / 27.0_f64.sqrt()));
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

#[test]
fn every_network_gives_back_the_shape_it_takes() {
    let _alone = alone();
    tch::manual_seed(3);
    for (settings, (height, width)) in networks() {
        for layout in LAYOUTS {
            let network = network(&settings, (height, width), layout);
            let weights = views(&network, &random_weights(&network));
            let batch = layout.arrange(Tensor::rand([3, height * width], DOUBLE)).expect("it fits");
            let output = network.forward(&weights, &batch, false).expect("it runs");
            assert_eq!(output.pixels.size(), batch.size());
            let range = (output.pixels.min().double_value(&[]), output.pixels.max().double_value(&[]));
            assert!(range.0 > 0.0 && range.1 < 1.0 && range.1 - range.0 > 1e-3, "{range:?}");
            assert_eq!(output.latent.is_some(), settings.variational);

            let codes = network.encode(&weights, &batch).expect("it runs");
            assert_eq!(codes.size(), [3, settings.latent_dim]);
            let pixels = network.decode(&weights, &codes).expect("it runs");
            assert_eq!(pixels.size(), [3, height * width]);
            // Without training the mean is the code.
            let whole = layout.images_first(output.pixels).expect("it fits");
            assert!(difference(&pixels, &whole) < 1e-12);
            if let Some(latent) = output.latent {
                let mean = layout.images_first(latent.mean).expect("it fits");
                assert!(difference(&codes, &mean) < 1e-12);
                assert_eq!(layout.images_first(latent.log_variance).expect("it fits").size(), codes.size());
            }
            let features = network.features(&weights, &batch).expect("it runs");
            assert_eq!(features.size(), [3, network.feature_count()]);
            let (weight, bias) = network.first_linear();
            assert_eq!(weights[weight].size(), [settings.linear_units, network.feature_count()]);
            assert_eq!(weights[bias].size(), [settings.linear_units]);
        }
    }
}

/// Everything that a network gives, and all gradients, on the same weights and images in both layouts.
#[test]
fn both_layouts_are_the_same_network() {
    let _alone = alone();
    for (settings, image) in networks() {
        tch::manual_seed(5);
        let images = Tensor::rand([7, image.0 * image.1], DOUBLE);
        let specs = network(&settings, image, Layout::ImagesFirst).parameters();
        let flat = random_weights(&network(&settings, image, Layout::ImagesFirst));
        let run = |layout: Layout| {
            let network = network(&settings, image, layout);
            let flat = flat.copy().set_requires_grad(true);
            let weights = views(&network, &flat);
            let batch = layout.arrange(images.shallow_clone()).expect("it fits");
            // The draws of a variational network are the same for both.
            tch::manual_seed(6);
            let output = network.forward(&weights, &batch, true).expect("it runs");
            let losses = Losses::of(&output, &batch, layout, settings.beta).expect("shapes fit");
            let gradient = Tensor::run_backward(&[&losses.total], &[&flat], false, false).remove(0);
            let _guard = tch::no_grad_guard();
            let codes = network.encode(&weights, &batch).expect("it runs");
            let found = vec![
                layout.images_first(output.pixels).expect("it fits"),
                losses.total,
                losses.mse,
                losses.kl.unwrap_or_else(|| Tensor::zeros([1], DOUBLE)),
                network.decode(&weights, &codes).expect("it runs"),
                codes,
                network.features(&weights, &batch).expect("it runs"),
            ];
            (found, views(&network, &gradient))
        };
        let (plain, plain_gradients) = run(Layout::ImagesFirst);
        let (fast, fast_gradients) = run(Layout::ImagesLast);
        for (plain, fast) in plain.iter().zip(&fast) {
            let largest = 1.0 + plain.abs().max().double_value(&[]);
            assert!(difference(plain, fast) < 1e-11 * largest, "{settings:?}");
        }
        for ((plain, fast), spec) in plain_gradients.iter().zip(&fast_gradients).zip(&specs) {
            let largest = plain.abs().max().double_value(&[]);
            let idle = settings.instance_norm && is_normalized_bias(&spec.name, &settings);
            assert_eq!(largest < 1e-12, idle, "{}: {largest} in {settings:?}", spec.name);
            assert!(difference(plain, fast) < 1e-12 + 1e-9 * largest, "{} in {settings:?}", spec.name);
        }
    }
}

/// Whether a bias is taken away again by the normalization after its convolution.
fn is_normalized_bias(name: &str, settings: &ModelSettings) -> bool {
    let last = format!("decoder.convolutions.{}.bias", settings.convolutions.len() - 1);
    name.contains("convolutions") && name.ends_with("bias") && name != last
}

/// Gradients against differences of the loss, in training: with dropout and draws that are the same at each run.
#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let _alone = alone();
    for (settings, image) in networks() {
        let settings = ModelSettings { dropout: 0.25, ..settings };
        for layout in LAYOUTS {
            tch::manual_seed(7);
            let network = network(&settings, image, layout);
            let flat = random_weights(&network).set_requires_grad(true);
            let batch = layout.arrange(Tensor::rand([4, image.0 * image.1], DOUBLE)).expect("it fits");
            let loss = |flat: &Tensor| {
                tch::manual_seed(8);
                let output = network.forward(&views(&network, flat), &batch, true).expect("it runs");
                Losses::of(&output, &batch, layout, settings.beta).expect("shapes fit").total
            };
            let gradient = Tensor::run_backward(&[loss(&flat)], &[&flat], false, false).remove(0);
            let _guard = tch::no_grad_guard();
            let mut start = 0;
            for spec in network.parameters() {
                let own = gradient.narrow(0, start, spec.count());
                let steepest = own.abs().argmax(None, false).int64_value(&[]);
                for index in [0, steepest, spec.count() - 1] {
                    let step = 1e-5;
                    let along = |step: f64| {
                        let moved = flat.detach().copy();
                        let _ = moved.get(start + index).g_add_scalar_(step);
                        loss(&moved).double_value(&[])
                    };
                    let slope = (along(step) - along(-step)) / (2.0 * step);
                    let found = own.double_value(&[index]);
                    let near = (found - slope).abs() < 1e-7 + 1e-4 * slope.abs();
                    assert!(near, "{} {index}: {found}, not {slope}, in {settings:?}", spec.name);
                }
                start += spec.count();
            }
        }
    }
}

#[test]
fn instance_normalization_is_of_each_channel_of_each_image() {
    // Two images of two channels of 1x4 pixels.
    let images = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0, 7.0]);
    let images = Tensor::stack(&[images.shallow_clone(), images.flip([0]) * 10.0], 0);
    let side = Side { channels: 2, height: 1, width: 4 };
    // Mean 2.5, variance 1.25; of the other image 25 and 125.
    let small = 1.0 / (1.25_f64 + 1e-5).sqrt();
    let large = 10.0 / (125.0_f64 + 1e-5).sqrt();
    let expected = [
        [-1.5 * small, -0.5 * small, 0.5 * small, 1.5 * small, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.5 * large, 0.5 * large, -0.5 * large, -1.5 * large],
    ];
    let expected = Tensor::from_slice(expected.as_flattened()).view([2, 8]);
    let first = normalize(Layout::ImagesFirst, side, &images).expect("it fits");
    assert!(difference(&first, &expected) < 1e-12, "{first}");
    let last = Layout::ImagesLast;
    let arranged = last.pixel_by_pixel(&last.arrange(images).expect("it fits"), side).expect("it fits");
    let found = normalize(last, side, &arranged).expect("it fits");
    let found = last.images_first(last.channel_by_channel(&found, side).expect("it fits")).expect("it fits");
    assert!(difference(&found, &expected) < 1e-12, "{found}");
}

#[test]
fn the_losses_are_those_computed_by_hand() {
    // Of the first image: (1 + 1 - 0 - 1) / 2 + (4 + 4 - ln 4 - 1) / 2; of the second: 0.
    let kl = (0.5 + 3.5 - 4.0_f64.ln() / 2.0) / 2.0;
    for layout in LAYOUTS {
        let arrange =
            |values: [f64; 4]| layout.arrange(Tensor::from_slice(&values).view([2, 2])).expect("it fits");
        let target = arrange([0.0, 1.0, 1.0, 1.0]);
        let latent = || Gaussian {
            mean: arrange([1.0, -2.0, 0.0, 0.0]),
            log_variance: arrange([0.0, 4.0_f64.ln(), 0.0, 0.0]),
        };
        let losses = |latent: Option<Gaussian>| {
            let output = Reconstruction { pixels: arrange([0.5, 0.5, 1.0, 0.0]), latent };
            let Losses { total, mse, kl } = Losses::of(&output, &target, layout, 2.0).expect("shapes fit");
            let value = |tensor: Tensor| tensor.double_value(&[]);
            (value(total), value(mse), kl.map(value))
        };
        assert_eq!(losses(None), (0.375, 0.375, None));
        let (total, mse, found) = losses(Some(latent()));
        assert_eq!(mse, 0.375);
        assert!((found.expect("variational") - kl).abs() < 1e-12, "{found:?}, not {kl}");
        assert!((total - (0.75 + 2.0 * kl)).abs() < 1e-12, "{total}");
    }
}

#[test]
fn a_variance_beyond_all_numbers_shows_in_the_loss() {
    let _alone = alone();
    let settings = ModelSettings { variational: true, ..lab_settings() };
    let network = network(&settings, (28, 28), Layout::ImagesLast);
    let mut weights = views(&network, &random_weights(&network));
    assert_eq!(network.parameters()[11].name, "log_variance.bias");
    let _ = weights[11].fill_(1e4);
    let batch = Tensor::rand([784, 2], DOUBLE);
    let output = network.forward(&weights, &batch, true).expect("it runs");
    let losses = Losses::of(&output, &batch, Layout::ImagesLast, 1.0).expect("shapes fit");
    assert!(!losses.total.double_value(&[]).is_finite());
}

#[test]
fn dropout_and_draws_are_for_training_only() {
    let _alone = alone();
    tch::manual_seed(2);
    let dropout = ModelSettings { dropout: 0.5, ..lab_settings() };
    let variational = ModelSettings { variational: true, ..lab_settings() };
    for settings in [dropout, variational] {
        let network = network(&settings, (28, 28), Layout::ImagesLast);
        let weights =
            Parameters::random(network.parameters(), Device::Cpu).and_then(|p| p.views()).expect("small");
        let batch = Tensor::rand([784, 3], (Kind::Float, Device::Cpu));
        let run = |training| network.forward(&weights, &batch, training).expect("it runs").pixels;
        assert_eq!(run(false), run(false));
        assert_ne!(run(true), run(true));
    }
}

/// Codes with mean 1 and variance e, whatever the image: the draws have that mean and variance too.
#[test]
fn a_code_is_drawn_from_its_distribution() {
    let _alone = alone();
    tch::manual_seed(4);
    let settings = ModelSettings { variational: true, ..lab_settings() };
    for layout in LAYOUTS {
        let network = network(&settings, (28, 28), layout);
        let ones = layout.arrange(Tensor::ones([20_000, 6], DOUBLE)).expect("it fits");
        let codes = network.draw(&ones, &ones).expect("it runs");
        assert_eq!(codes.size(), ones.size());
        let mean = codes.mean(None).double_value(&[]);
        let variance = codes.var(true).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.02 && (variance - 1.0_f64.exp()).abs() < 0.05, "{mean} {variance}");
    }
}

#[test]
fn what_cannot_be_built_says_which_layer() {
    let fails = |settings: ModelSettings, (height, width): (i64, i64), words: &str| {
        let error = build(&settings, height, width, Device::Cpu).err().expect("there is no such network");
        assert!(matches!(&error, BuildError::Shape(text) if text.contains(words)), "{error}, not {words}");
    };
    let (lab, symmetric) = (lab_settings, symmetric_settings);
    fails(lab(), (32, 32), "28x28");
    fails(ModelSettings { channels: vec![8, 16, 31], ..lab() }, (28, 28), "31");
    fails(ModelSettings { latent_dim: 0, ..lab() }, (28, 28), "latent_dim is 0");
    fails(ModelSettings { dropout: 1.0, ..lab() }, (28, 28), "dropout is 1");
    fails(symmetric(), (28, 5), "convolution 3");
    fails(ModelSettings { channels: vec![4, 3], ..symmetric() }, (28, 28), "3 convolutions and 2");
    fails(ModelSettings { channels: vec![4, 0, 5], ..symmetric() }, (28, 28), "convolution 2");
    fails(
        ModelSettings { convolutions: vec![[3, 2, 1], [3, 0, 1], [3, 1, 0]], ..symmetric() },
        (28, 28),
        "convolution 2: kernel 3, stride 0",
    );
    fails(ModelSettings { linear_units: 0, ..symmetric() }, (28, 28), "linear_units is 0");
    fails(
        ModelSettings { convolutions: vec![], channels: vec![], ..symmetric() },
        (28, 28),
        "0 convolutions",
    );
    fails(symmetric(), (0, 28), "0x28");
    // 9 -> 5 -> 3 -> 1
    fails(symmetric(), (9, 9), "convolution 3 gives a single pixel");
}

#[test]
fn wrong_weights_are_errors() {
    let batch = Tensor::zeros([784, 1], (Kind::Float, Device::Cpu));
    let error = lab(Layout::ImagesLast).forward(&[], &batch, false).expect_err("20 are wanted");
    assert!(error.to_string().contains("20 weights and biases, not 0"), "{error}");
}
