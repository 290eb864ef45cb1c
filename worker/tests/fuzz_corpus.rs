//! Every checkpoint that fuzzing ever found worth keeping, read as the fuzz target reads it.

#[path = "../../deploy/fuzz/corpus.rs"]
mod corpus;
#[path = "../../deploy/fuzz/targets/checkpoint.rs"]
mod target;

use std::collections::BTreeMap;

use foldwise_shared::model::Optimizer;
use foldwise_worker::model::ParameterSpec;
use foldwise_worker::train::optimizer::OptimizerState;
use foldwise_worker::train::{Best, Checkpoint, StopperState};

#[test]
fn checkpoints_of_the_corpus() {
    corpus::run("checkpoint", target::check);
}

#[test]
#[ignore = "writes the first files of the corpus; run it when the format changes"]
fn write_seeds() {
    let whole = Checkpoint {
        epoch: 5,
        weights: vec![0.5, -1.0, f32::INFINITY, 0.0, -0.0, 1e-40, 2.0, 3.0],
        optimizer: OptimizerState {
            kind: Optimizer::Adam,
            steps: 40,
            buffers: BTreeMap::from([("mean".into(), vec![0.1; 8]), ("square".into(), vec![2.0; 8])]),
        },
        best: Best { epoch: 3, loss: 0.25, weights: vec![0.5; 8] },
        stopper: Some(StopperState { best: 0.25, epochs_without: 2 }),
    };
    let bytes = whole.to_bytes(target::IDENTITY, &target::specs()).expect("it fits");
    let plain =
        Checkpoint { stopper: None, ..whole }.to_bytes(target::IDENTITY, &target::specs()).expect("it fits");
    let folder = corpus::top().join("deploy/fuzz/corpus/checkpoint");
    let header = 8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1]);
    for (name, content) in [
        ("whole", &bytes[..]),
        ("without-early-stopping", &plain),
        ("torn", &bytes[..bytes.len() - 5]),
        ("header-alone", &bytes[..header]),
        ("endless-header", &[0xff; 8]),
    ] {
        std::fs::write(folder.join(name), content).expect("written");
    }
}
