use std::cell::Cell;

use foldwise_shared::model::TrialSettings;
use foldwise_shared::spec::EarlyStopping;

use super::*;
use crate::images::DeviceImages;
use crate::testing::{alone, settings, squares};

/// Trains on three quarters of the images and returns every epoch.
fn curve(images: &DeviceImages, settings: &TrialSettings, seed: u64) -> (Ending, Vec<EpochResult>) {
    let cut = images.len() * 3 / 4;
    let (train, validation): (Vec<i64>, Vec<i64>) = ((0..cut).collect(), (cut..images.len()).collect());
    let task = FitTask { images, train: &train, validation: &validation, settings, seed };
    let mut epochs = Vec::new();
    let ending = fit(task, &|| false, &mut |epoch| {
        epochs.push(*epoch);
        Flow::Continue
    });
    (ending.expect("it trains"), epochs)
}

fn bits(epochs: &[EpochResult]) -> Vec<(u64, u64)> {
    epochs.iter().map(|epoch| (epoch.train_loss.to_bits(), epoch.validation_loss.to_bits())).collect()
}

#[test]
fn it_learns() {
    let _alone = alone();
    let images = squares(512);
    let settings = TrialSettings { epochs: 30, dropout: 0.0, ..settings() };
    let (ending, epochs) = curve(&images, &settings, 1);
    assert_eq!(ending, Ending::Completed);
    assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    // 8x8 of 28x28 pixels are 1: the best constant image has an error of about 0.07.
    let last = epochs[29];
    assert!(last.validation_loss < 0.02 && last.train_loss < 0.02, "{last:?}");
    assert!(epochs.iter().all(|epoch| epoch.seconds > 0.0 && epoch.learning_rate == 3e-3));
}

#[test]
fn the_same_seed_gives_the_same_curve() {
    let _alone = alone();
    let images = squares(200);
    let settings = settings();
    let (_, first) = curve(&images, &settings, 7);
    // Other work in between, with draws of its own and another count of epochs.
    let (_, other) = curve(&images, &TrialSettings { epochs: 2, dropout: 0.4, ..settings }, 8);
    let (_, again) = curve(&images, &settings, 7);
    assert_eq!(bits(&first), bits(&again));
    assert_ne!(bits(&first)[0], bits(&other)[0]);
}

#[test]
fn the_curve_does_not_depend_on_how_long_it_may_get() {
    let _alone = alone();
    let images = squares(200);
    let (_, short) = curve(&images, &settings(), 7);
    let (_, long) = curve(&images, &TrialSettings { epochs: 5, ..settings() }, 7);
    assert_eq!(bits(&short), bits(&long[..3]));
}

#[test]
fn two_learning_rates_start_from_the_same_weights_and_order() {
    let _alone = alone();
    let images = squares(200);
    // So little that the weights stay: then the loss is that of the first weights.
    let still = TrialSettings { learning_rate: 1e-12, dropout: 0.0, epochs: 1, ..settings() };
    let (_, one) = curve(&images, &still, 7);
    let (_, two) = curve(&images, &TrialSettings { learning_rate: 2e-12, weight_decay: 1e-3, ..still }, 7);
    assert!((one[0].validation_loss - two[0].validation_loss).abs() < 1e-9);
    let (_, other) = curve(&images, &still, 8);
    assert!((one[0].validation_loss - other[0].validation_loss).abs() > 1e-9);
}

#[test]
fn a_divergence_is_reported_and_ends_it() {
    let _alone = alone();
    let images = squares(200);
    let (ending, epochs) = curve(&images, &TrialSettings { learning_rate: 1e6, ..settings() }, 1);
    assert_eq!(ending, Ending::Diverged);
    let last = epochs.last().expect("at least one epoch");
    assert!(!last.is_finite(), "{last:?}");
    assert!(epochs[..epochs.len() - 1].iter().all(EpochResult::is_finite));
}

#[test]
fn early_stopping_ends_it() {
    let _alone = alone();
    let images = squares(64);
    let early_stopping = Some(EarlyStopping { patience: 2, min_delta: 10.0 });
    let (ending, epochs) = curve(&images, &TrialSettings { epochs: 9, early_stopping, ..settings() }, 1);
    // The first loss is an improvement on none; then nothing is better by 10.
    assert_eq!((ending, epochs.len()), (Ending::EarlyStopped, 3));
}

#[test]
fn a_stop_is_obeyed_after_an_epoch_and_between_batches() {
    let _alone = alone();
    let images = squares(128);
    let indices: Vec<i64> = (0..128).collect();
    let settings = settings();
    let task =
        FitTask { images: &images, train: &indices, validation: &indices, settings: &settings, seed: 1 };
    let epochs = Cell::new(0);
    let mut stop_after_two = |epoch: &EpochResult| {
        epochs.set(epoch.epoch);
        if epoch.epoch == 2 { Flow::Stop } else { Flow::Continue }
    };
    assert_eq!(fit(task, &|| false, &mut stop_after_two).expect("it trains"), Ending::Stopped);
    assert_eq!(epochs.get(), 2);

    // 128 images are 4 batches an epoch: the sixth question comes in the second epoch.
    let asked = Cell::new(0);
    let interrupt = || {
        asked.set(asked.get() + 1);
        asked.get() == 6
    };
    epochs.set(0);
    let ending = fit(task, &interrupt, &mut |epoch| {
        epochs.set(epoch.epoch);
        Flow::Continue
    });
    assert_eq!(ending.expect("it trains"), Ending::Stopped);
    assert_eq!((epochs.get(), asked.get()), (1, 6));
}

#[test]
fn what_cannot_work_is_an_error_and_no_panic() {
    let _alone = alone();
    let images = squares(8);
    let good: &[i64] = &[0, 1, 2];
    let check = |train: &[i64], validation: &[i64], settings: TrialSettings, message: &str| {
        let task = FitTask { images: &images, train, validation, settings: &settings, seed: 1 };
        let error = fit(task, &|| false, &mut |_| Flow::Continue).expect_err(message);
        assert!(matches!(error, TrainError::Invalid(_)), "{error:?}");
        assert!(error.to_string().contains(message), "{error}");
    };
    check(&[], good, settings(), "the training part has no images");
    check(good, &[], settings(), "the validation part has no images");
    check(&[0, 8], good, settings(), "names image 8; there are 8");
    check(good, &[-1], settings(), "names image -1");
    check(good, good, TrialSettings { batch_size: 0, ..settings() }, "batch_size is 0");
    check(good, good, TrialSettings { dropout: 1.0, ..settings() }, "dropout is 1");
    check(good, good, TrialSettings { latent_dim: 0, ..settings() }, "latent_dim is 0");
}

#[test]
fn losses_are_means_over_images_whatever_the_batches() {
    let _alone = alone();
    let images = squares(100);
    let indices: Vec<i64> = (0..100).collect();
    let loss = |batch_size| {
        let settings = TrialSettings { batch_size, learning_rate: 1e-12, dropout: 0.0, ..settings() };
        let mut trainer = Trainer::new(&images, &indices, &settings, 3).expect("it can be built");
        let train = trainer.train_epoch(1, &|| false).expect("it trains").expect("no interrupt");
        (
            train,
            trainer.validate(&trainer.validation(&indices).expect("all are there")).expect("it validates"),
        )
    };
    let (train, validation) = loss(100);
    assert!((train - validation).abs() < 1e-7, "{train} {validation}");
    // A last batch of 2 images counts as 2 images.
    assert!((loss(7).0 - train).abs() < 1e-7);
}
