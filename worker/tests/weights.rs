//! A coordinator without libtorch knows the weights of every network by arithmetic alone: the same that a worker makes.

use foldwise_shared::model::{
    Activation, LAB_CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS, ModelSettings, Network, weights,
};
use foldwise_worker::model::build;
use tch::Device;

fn lab() -> ModelSettings {
    ModelSettings {
        network: Network::Lab,
        latent_dim: 6,
        dropout: 0.1,
        convolutions: LAB_CONVOLUTIONS.to_vec(),
        channels: LAB_CHANNELS.to_vec(),
        linear_units: LAB_UNITS,
        instance_norm: false,
        activation: Activation::Relu,
        variational: false,
        beta: 1.0,
    }
}

#[test]
fn both_sides_know_the_same_weights() {
    let symmetric = ModelSettings {
        network: Network::Symmetric,
        convolutions: vec![[5, 2, 2], [3, 1, 0], [2, 1, 1]],
        channels: vec![4, 10, 3],
        linear_units: 20,
        instance_norm: true,
        ..lab()
    };
    for (settings, height, width) in [(lab(), 28, 28), (symmetric.clone(), 28, 28), (symmetric, 20, 11)] {
        for variational in [false, true] {
            let settings = ModelSettings { variational, ..settings.clone() };
            let network = build(&settings, height, width, Device::Cpu).expect("a network");
            let made: Vec<_> =
                network.parameters().into_iter().map(|weight| (weight.name, weight.shape)).collect();
            let known = weights(&settings, height, width).expect("weights");
            let known: Vec<_> = known.into_iter().map(|weight| (weight.name, weight.shape)).collect();
            assert_eq!(made, known, "{settings:?}");
        }
    }
}
