//! How long an epoch takes here: the figure to hold against other ways to train the same network.

use std::time::Instant;

use foldwise_shared::model::{
    Activation, LAB_CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS, LearningRate, ModelSettings, Network, Optimizer,
    Schedule, TrialSettings,
};
use foldwise_shared::spec::CorruptionSection;
use serde::Serialize;

use crate::images::DeviceImages;
use crate::train::{TrainError, Trainer};

/// What to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchSettings {
    /// The network.
    pub network: Network,
    /// Epochs; the fastest counts.
    pub epochs: u32,
    /// Use the first of the images.
    pub images: usize,
    /// Images a step.
    pub batch_size: i64,
}

/// What it took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BenchResult {
    /// Images an epoch.
    pub images: usize,
    /// Images a step.
    pub batch: i64,
    /// Threads of one operation.
    pub threads: i32,
    /// The fastest epoch, without validation.
    pub seconds_per_epoch: f64,
    /// The training loss of the last epoch, to see that it learns.
    pub loss: f64,
}

/// Trains a network under published settings on the first images and takes the fastest epoch.
///
/// # Errors
/// As [`Trainer`]; no epochs are [`TrainError::Invalid`].
pub fn bench(images: &DeviceImages, settings: BenchSettings) -> Result<BenchResult, TrainError> {
    let count = settings.images.min(usize::try_from(images.len()).unwrap_or(usize::MAX));
    let train: Vec<i64> = (0..images.len()).take(count).collect();
    let trial = TrialSettings {
        batch_size: settings.batch_size,
        epochs: settings.epochs,
        ..match settings.network {
            Network::Lab => lab(),
            Network::Symmetric => symmetric(),
        }
    };
    let mut trainer = Trainer::new(images, &train, &trial, 0)?;
    let mut fastest = f64::INFINITY;
    let mut loss = None;
    for epoch in 1..=settings.epochs {
        let started = Instant::now();
        loss = trainer.train_epoch(epoch, &|| false)?;
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    let loss = loss.ok_or_else(|| TrainError::Invalid("a benchmark needs at least 1 epoch".into()))?;
    Ok(BenchResult {
        images: count,
        batch: settings.batch_size,
        threads: tch::get_num_threads(),
        seconds_per_epoch: fastest,
        loss,
    })
}

/// The study of MNIST, with a latent dimension of 6.
fn lab() -> TrialSettings {
    TrialSettings {
        model: ModelSettings {
            network: Network::Lab,
            latent_dim: 6,
            dropout: 0.15,
            convolutions: LAB_CONVOLUTIONS.to_vec(),
            channels: LAB_CHANNELS.to_vec(),
            linear_units: LAB_UNITS,
            instance_norm: false,
            activation: Activation::Relu,
            variational: false,
            beta: 1.0,
        },
        corruption: CorruptionSection::default(),
        optimizer: Optimizer::Adam,
        learning_rate: LearningRate::Fixed(1.2e-3),
        momentum: 0.0,
        weight_decay: 8.8e-5,
        batch_size: 256,
        schedule: Schedule::Constant,
        epochs: 1,
        early_stopping: None,
    }
}

/// The study of FashionMNIST, but with Adam.
fn symmetric() -> TrialSettings {
    let lab = lab();
    TrialSettings {
        model: ModelSettings {
            network: Network::Symmetric,
            latent_dim: 30,
            dropout: 0.16,
            convolutions: vec![[3, 2, 1], [3, 2, 1], [3, 1, 0]],
            channels: vec![32, 32, 64],
            linear_units: 256,
            instance_norm: true,
            activation: Activation::LeakyRelu,
            ..lab.model.clone()
        },
        learning_rate: LearningRate::Fixed(2e-3),
        weight_decay: 5.27e-7,
        ..lab
    }
}
