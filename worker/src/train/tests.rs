mod inputs;
mod rates;

use std::cell::Cell;

use foldwise_shared::model::{LearningRate, ModelSettings, TrialSettings};
use foldwise_shared::spec::{CheckpointSection, EarlyStopping, Keep};

use super::*;
use crate::images::DeviceImages;
use crate::model::ParameterSpec;
use crate::testing::{alone, settings, squares};

const NONE: CheckpointSection =
    CheckpointSection { every_seconds: f64::MAX, every_epochs: None, keep: Keep::None };

/// Answers each epoch.
struct OnEpoch<F>(F);

impl<F: FnMut(&EpochResult) -> Flow> Listener for OnEpoch<F> {
    fn epoch(&mut self, result: &EpochResult) -> Flow {
        (self.0)(result)
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, _specs: &[ParameterSpec], _last: bool) {
        panic!("nobody wanted a checkpoint after epoch {}", checkpoint.epoch);
    }
}

/// Trains on three quarters of the images and returns every epoch.
fn network(dropout: f64, latent_dim: i64) -> ModelSettings {
    ModelSettings { dropout, latent_dim, ..settings().model }
}

fn curve(images: &DeviceImages, settings: &TrialSettings, seed: u64) -> (Ending, Vec<EpochResult>) {
    let cut = images.len() * 3 / 4;
    let (train, validation): (Vec<i64>, Vec<i64>) = ((0..cut).collect(), (cut..images.len()).collect());
    let task = FitTask {
        images,
        train: &train,
        validation: &validation,
        settings,
        seed,
        checkpoints: &NONE,
        last_is_best: false,
        start: None,
    };
    let mut epochs = Vec::new();
    let mut listener = OnEpoch(|epoch: &EpochResult| {
        epochs.push(*epoch);
        Flow::Continue
    });
    let ending = fit(task, &|| false, &mut listener);
    (ending.expect("it trains"), epochs)
}

fn bits(epochs: &[EpochResult]) -> Vec<(u64, u64)> {
    epochs.iter().map(|epoch| (epoch.train_loss.to_bits(), epoch.validation_loss.to_bits())).collect()
}

#[test]
fn it_learns() {
    let _alone = alone();
    let images = squares(512);
    let settings = TrialSettings { epochs: 30, model: network(0.0, 4), ..settings() };
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
    let (_, other) =
        curve(&images, &TrialSettings { epochs: 2, model: network(0.4, 4), ..settings.clone() }, 8);
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
    let still = TrialSettings {
        learning_rate: LearningRate::Fixed(1e-12),
        model: network(0.0, 4),
        epochs: 1,
        ..settings()
    };
    let (_, one) = curve(&images, &still, 7);
    let (_, two) = curve(
        &images,
        &TrialSettings { learning_rate: LearningRate::Fixed(2e-12), weight_decay: 1e-3, ..still.clone() },
        7,
    );
    assert!((one[0].validation_loss - two[0].validation_loss).abs() < 1e-9);
    let (_, other) = curve(&images, &still, 8);
    assert!((one[0].validation_loss - other[0].validation_loss).abs() > 1e-9);
}

#[test]
fn a_divergence_is_reported_and_ends_it() {
    let _alone = alone();
    let images = squares(200);
    let (ending, epochs) =
        curve(&images, &TrialSettings { learning_rate: LearningRate::Fixed(1e6), ..settings() }, 1);
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
    let task = FitTask {
        images: &images,
        train: &indices,
        validation: &indices,
        settings: &settings,
        seed: 1,
        checkpoints: &NONE,
        last_is_best: false,
        start: None,
    };
    let epochs = Cell::new(0);
    let mut stop_after_two = OnEpoch(|epoch: &EpochResult| {
        epochs.set(epoch.epoch);
        if epoch.epoch == 2 { Flow::Stop } else { Flow::Continue }
    });
    assert_eq!(fit(task.clone(), &|| false, &mut stop_after_two).expect("it trains"), Ending::Stopped);
    assert_eq!(epochs.get(), 2);

    // 128 images are 4 batches an epoch: the sixth question comes in the second epoch.
    let asked = Cell::new(0);
    let interrupt = || {
        asked.set(asked.get() + 1);
        asked.get() == 6
    };
    epochs.set(0);
    let mut count = OnEpoch(|epoch: &EpochResult| {
        epochs.set(epoch.epoch);
        Flow::Continue
    });
    let ending = fit(task, &interrupt, &mut count);
    assert_eq!(ending.expect("it trains"), Ending::Stopped);
    assert_eq!((epochs.get(), asked.get()), (1, 6));
}

#[test]
fn what_cannot_work_is_an_error_and_no_panic() {
    let _alone = alone();
    let images = squares(8);
    let good: &[i64] = &[0, 1, 2];
    let check = |train: &[i64], validation: &[i64], settings: TrialSettings, message: &str| {
        let task = FitTask {
            images: &images,
            train,
            validation,
            settings: &settings,
            seed: 1,
            checkpoints: &NONE,
            last_is_best: false,
            start: None,
        };
        let error = fit(task, &|| false, &mut OnEpoch(|_: &EpochResult| Flow::Continue)).expect_err(message);
        assert!(matches!(error, TrainError::Invalid(_)), "{error:?}");
        assert!(error.to_string().contains(message), "{error}");
    };
    check(&[], good, settings(), "the training part has no images");
    check(good, &[], settings(), "the validation part has no images");
    check(&[0, 8], good, settings(), "names image 8; there are 8");
    check(good, &[-1], settings(), "names image -1");
    check(good, good, TrialSettings { batch_size: 0, ..settings() }, "batch_size is 0");
    check(good, good, TrialSettings { model: network(1.0, 4), ..settings() }, "dropout is 1");
    check(good, good, TrialSettings { model: network(0.1, 0), ..settings() }, "latent_dim is 0");
}

#[test]
fn losses_are_means_over_images_whatever_the_batches() {
    let _alone = alone();
    let images = squares(100);
    let indices: Vec<i64> = (0..100).collect();
    let loss = |batch_size| {
        let settings = TrialSettings {
            batch_size,
            learning_rate: LearningRate::Fixed(1e-12),
            model: network(0.0, 4),
            ..settings()
        };
        let mut trainer = Trainer::new(&images, &indices, &settings, 3).expect("it can be built");
        let train = trainer.train_epoch(1, &|| false).expect("it trains").expect("no interrupt");
        (
            train,
            trainer
                .validate(&trainer.validation(&indices).expect("all are there"))
                .expect("it validates")
                .loss,
        )
    };
    let (train, validation) = loss(100);
    assert!((train - validation).abs() < 1e-7, "{train} {validation}");
    // A last batch of 2 images counts as 2 images.
    assert!((loss(7).0 - train).abs() < 1e-7);
}

/// Keeps the epochs and the checkpoints, each as a file, of a training that it stops after an epoch.
#[derive(Default)]
struct Diary {
    stop_after: u32,
    epochs: Vec<EpochResult>,
    checkpoints: Vec<(u32, Vec<u8>, bool)>,
}

impl Listener for Diary {
    fn epoch(&mut self, result: &EpochResult) -> Flow {
        self.epochs.push(*result);
        if result.epoch == self.stop_after { Flow::Stop } else { Flow::Continue }
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, specs: &[ParameterSpec], last: bool) {
        let epoch = checkpoint.epoch;
        assert_eq!(self.epochs.last().map(|result| result.epoch), Some(epoch), "after its epoch");
        self.checkpoints.push((epoch, checkpoint.to_bytes("me", specs).expect("it fits"), last));
    }
}

/// Trains on three quarters of the images, from a checkpoint if there is one.
fn train_on(
    images: &DeviceImages,
    settings: &TrialSettings,
    checkpoints: &CheckpointSection,
    start: Option<(u32, &[u8])>,
    stop_after: u32,
) -> (Ending, Diary) {
    let cut = images.len() * 3 / 4;
    let (train, validation): (Vec<i64>, Vec<i64>) = ((0..cut).collect(), (cut..images.len()).collect());
    let start = start.map(|(epoch, file)| Start { file: file.to_vec(), epoch, identity: "me" });
    let task = FitTask {
        images,
        train: &train,
        validation: &validation,
        settings,
        seed: 7,
        checkpoints,
        last_is_best: false,
        start,
    };
    let mut diary = Diary { stop_after, ..Diary::default() };
    let ending = fit(task, &|| false, &mut diary).expect("it trains");
    (ending, diary)
}

/// A fold that is cut after any epoch, and after each, has the curve, the end and the last checkpoint of one that is not.
fn resumes_to_the_bit(images: &DeviceImages, settings: &TrialSettings) -> Ending {
    let policy = CheckpointSection { every_seconds: 0.0, every_epochs: None, keep: Keep::All };
    let (ending, whole) = train_on(images, settings, &policy, None, 0);
    let epochs = whole.epochs.len() as u32;
    assert_eq!(whole.checkpoints.len() as u32, epochs);
    assert!(whole.checkpoints.last().is_some_and(|(epoch, _, last)| (*epoch, *last) == (epochs, true)));
    for (epoch, file, last) in &whole.checkpoints {
        // Other work in between, with draws of its own.
        train_on(images, &TrialSettings { epochs: 1, ..settings.clone() }, &NONE, None, 0);
        let (resumed, rest) = train_on(images, settings, &policy, Some((*epoch, file)), 0);
        assert_eq!(resumed, ending, "cut after epoch {epoch}");
        assert_eq!(bits(&rest.epochs), bits(&whole.epochs[*epoch as usize..]), "cut after epoch {epoch}");
        assert_eq!(*last, rest.epochs.is_empty());
        if !last {
            let after = &whole.checkpoints[*epoch as usize..];
            assert!(rest.checkpoints == after, "cut after epoch {epoch}: other checkpoints");
        }
    }
    // Cut after every epoch.
    let stops = CheckpointSection { every_seconds: f64::MAX, ..policy };
    let mut epochs: Vec<EpochResult> = Vec::new();
    let mut start: Option<(u32, Vec<u8>)> = None;
    let end = loop {
        let from = start.as_ref().map(|(epoch, file)| (*epoch, file.as_slice()));
        let (end, mut one) = train_on(images, settings, &stops, from, epochs.len() as u32 + 1);
        assert_eq!(one.epochs.len(), 1);
        epochs.append(&mut one.epochs);
        let (epoch, file, last) = one.checkpoints.pop().expect("one at the stop");
        assert_eq!(last, end != Ending::Stopped);
        if end != Ending::Stopped {
            break end;
        }
        start = Some((epoch, file));
    };
    assert_eq!((end, bits(&epochs)), (ending, bits(&whole.epochs)));
    ending
}

#[test]
fn a_resumed_fold_has_the_same_curve() {
    let _alone = alone();
    let images = squares(200);
    let full = TrialSettings { epochs: 6, model: network(0.2, 4), weight_decay: 1e-3, ..settings() };
    assert_eq!(resumes_to_the_bit(&images, &full), Ending::Completed);
    // A loss that gets worse for a while, and patience that is counted across cuts.
    let early_stopping = Some(EarlyStopping { patience: 3, min_delta: 0.02 });
    let early =
        TrialSettings { epochs: 40, learning_rate: LearningRate::Fixed(1e-2), early_stopping, ..full };
    assert_eq!(resumes_to_the_bit(&images, &early), Ending::EarlyStopped);
}

#[test]
fn a_resumed_fold_of_mnist_has_the_same_curve() {
    let _alone = alone();
    let locations = foldwise_data::Locations::from_env();
    // Real images where there are some, else drawn ones.
    let dataset = foldwise_data::Dataset::open("mnist", &locations)
        .or_else(|_| foldwise_data::Dataset::open("synthetic-digits", &locations))
        .expect("drawn digits at least");
    let pixels = 28 * 28;
    let bytes = dataset.train().bytes()[..400 * pixels].to_vec();
    let images =
        DeviceImages::new(std::sync::Arc::new(bytes), 400, 28, 28, tch::Device::Cpu).expect("the size fits");
    let early_stopping = Some(EarlyStopping { patience: 2, min_delta: 0.0 });
    let settings = TrialSettings { epochs: 5, model: network(0.15, 4), early_stopping, ..settings() };
    resumes_to_the_bit(&images, &settings);
}

#[test]
fn checkpoints_are_made_as_the_policy_says() {
    let _alone = alone();
    let images = squares(64);
    let settings = TrialSettings { epochs: 6, ..settings() };
    let check = |policy: CheckpointSection, stop_after: u32, expected: &[(u32, bool)]| {
        let (_, diary) = train_on(&images, &settings, &policy, None, stop_after);
        let made: Vec<(u32, bool)> =
            diary.checkpoints.iter().map(|(epoch, _, last)| (*epoch, *last)).collect();
        assert_eq!(made, expected, "{policy:?}, stopped after {stop_after}");
    };
    let policy = |every_seconds, every_epochs, keep| CheckpointSection { every_seconds, every_epochs, keep };
    check(policy(1e9, None, Keep::Unfinished), 0, &[]);
    check(policy(1e9, Some(2), Keep::Unfinished), 0, &[(2, false), (4, false)]);
    check(policy(1e9, Some(4), Keep::All), 0, &[(4, false), (6, true)]);
    check(policy(0.0, None, Keep::Unfinished), 3, &[(1, false), (2, false), (3, false)]);
    check(policy(1e9, None, Keep::Unfinished), 3, &[(3, false)]);
    check(policy(0.0, Some(1), Keep::None), 3, &[]);
    // Stopped with the last epoch, it is complete.
    check(policy(1e9, None, Keep::Unfinished), 6, &[]);
}

#[test]
fn a_diverged_epoch_has_no_checkpoint() {
    let _alone = alone();
    let images = squares(200);
    let policy = CheckpointSection { every_seconds: 0.0, every_epochs: None, keep: Keep::All };
    let settings = TrialSettings { learning_rate: LearningRate::Fixed(1e6), ..settings() };
    let (ending, diary) = train_on(&images, &settings, &policy, None, 0);
    assert_eq!(ending, Ending::Diverged);
    assert_eq!(diary.checkpoints.len(), diary.epochs.len() - 1);
}

#[test]
fn the_best_weights_are_those_of_the_best_epoch() {
    let _alone = alone();
    let images = squares(200);
    let policy = CheckpointSection { every_seconds: 0.0, every_epochs: None, keep: Keep::All };
    let settings = TrialSettings { epochs: 8, learning_rate: LearningRate::Fixed(3e-2), ..settings() };
    let (_, diary) = train_on(&images, &settings, &policy, None, 0);
    let specs = crate::model::build(&settings.model, 28, 28, tch::Device::Cpu).expect("it fits").parameters();
    let read = |(_, file, _): &(u32, Vec<u8>, bool)| {
        Checkpoint::from_bytes(file, "me", &specs).expect("its own file")
    };
    let best = diary
        .epochs
        .iter()
        .min_by(|one, other| one.validation_loss.total_cmp(&other.validation_loss))
        .expect("an epoch");
    let last = read(diary.checkpoints.last().expect("the last"));
    assert_eq!((last.best.epoch, last.best.loss), (best.epoch, best.validation_loss));
    assert_eq!(last.best.weights, read(&diary.checkpoints[best.epoch as usize - 1]).weights);
}
