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

/// Trains the lab network (latent dimension 6, dropout 0.15) on the first images and takes the fastest epoch.
///
/// # Errors
/// As [`Trainer`]; no epochs are [`TrainError::Invalid`].
pub fn bench(images: &DeviceImages, settings: BenchSettings) -> Result<BenchResult, TrainError> {
    let count = settings.images.min(usize::try_from(images.len()).unwrap_or(usize::MAX));
    let train: Vec<i64> = (0..images.len()).take(count).collect();
    let trial = TrialSettings {
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
        batch_size: settings.batch_size,
        schedule: Schedule::Constant,
        epochs: settings.epochs,
        early_stopping: None,
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
