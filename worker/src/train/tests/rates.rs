//! Optimizers, schedules and the range test.

use foldwise_data::{Dataset, Locations};
use foldwise_shared::model::{Optimizer, Schedule};

use super::*;

#[test]
fn every_optimizer_learns_and_resumes_to_the_bit() {
    let _alone = alone();
    let images = squares(200);
    for (optimizer, rate, momentum) in [
        (Optimizer::AdamW, 3e-3, 0.0),
        (Optimizer::Adamax, 1e-2, 0.0),
        (Optimizer::Sgd, 0.5, 0.0),
        (Optimizer::Sgd, 0.5, 0.9),
        (Optimizer::RmsProp, 1e-3, 0.0),
        (Optimizer::RmsProp, 1e-3, 0.5),
    ] {
        let learning_rate = LearningRate::Fixed(rate);
        let settings = TrialSettings { epochs: 3, optimizer, learning_rate, momentum, ..settings() };
        let (_, epochs) = curve(&images, &settings, 7);
        assert!(epochs[2].train_loss < 0.9 * epochs[0].train_loss, "{optimizer}: {epochs:?}");
        assert_eq!(resumes_to_the_bit(&images, &settings), Ending::Completed);
    }
}

#[test]
fn a_cosine_goes_on_where_it_was() {
    let _alone = alone();
    let images = squares(200);
    let settings = TrialSettings { epochs: 4, schedule: Schedule::Cosine, ..settings() };
    let (_, epochs) = curve(&images, &settings, 7);
    let rates: Vec<f64> = epochs.iter().map(|epoch| epoch.learning_rate).collect();
    // 0, 1/4, 1/2 and 3/4 of the way.
    for (rate, share) in rates.iter().zip([1.0, 0.853_553_390_6, 0.5, 0.146_446_609_4]) {
        assert!((rate - 3e-3 * share).abs() < 1e-12, "{rates:?}");
    }
    resumes_to_the_bit(&images, &settings);
    let (_, constant) = curve(&images, &TrialSettings { schedule: Schedule::Constant, ..settings }, 7);
    // Even within the first epoch the rate has changed.
    assert_ne!(bits(&epochs)[0], bits(&constant)[0]);
}

/// A loss that falls along a logistic curve over the logarithm of the rate, and explodes at 1.
fn falling(middle: f64) -> impl FnMut(f64) -> Result<Option<f64>, TrainError> {
    move |rate: f64| {
        let along = (rate.log10() - middle) * 6.0;
        let explodes = if rate > 1.0 { (rate - 1.0) * 50.0 } else { 0.0 };
        Ok(Some(1.0 - 0.8 / (1.0 + (-along).exp()) + explodes))
    }
}

#[test]
fn the_steepest_descent_is_chosen() {
    for middle in [-4.0, -2.5] {
        let found = search(falling(middle)).expect("it falls").expect("no interrupt");
        // The moving average trails behind by its mean age of about 19 steps, which are 0.77 of a power of ten.
        let behind = found.chosen.log10() - middle;
        assert!((0.0..0.8).contains(&behind), "{} for 1e{middle}", found.chosen);
        assert_eq!(found.learning_rate.len(), found.loss.len());
        assert_eq!(found.smoothed.len(), found.loss.len());
        assert!(found.loss.len() < 200, "it ends when it diverges");
        assert_eq!(found.learning_rate[0], 1e-7);
        assert!((found.smoothed[0] - found.loss[0]).abs() < 1e-12);
        let growth = found.learning_rate[1] / found.learning_rate[0];
        assert!((growth.powi(199) - 1e8).abs() < 1.0, "{growth}");
        assert!(found.learning_rate.contains(&found.chosen));
    }
}

#[test]
fn the_smoothed_loss_is_a_corrected_moving_average() {
    let mut losses = [4.0, 2.0].into_iter().chain((0..).map(|step| 2.0 - f64::from(step) * 0.01));
    let found = search(|_| Ok(losses.next())).expect("it falls").expect("it goes on");
    // 0.05 * 4 / 0.05; then (0.95 * 0.2 + 0.05 * 2) / (1 - 0.95^2).
    assert!((found.smoothed[0] - 4.0).abs() < 1e-12);
    assert!((found.smoothed[1] - 0.29 / 0.0975).abs() < 1e-12);
    assert_eq!(found.loss.len(), 200);
}

#[test]
fn a_test_that_only_diverges_says_so() {
    let diverged = |result: Result<Option<RangeTest>, TrainError>| {
        let error = result.expect_err("it does not fall");
        assert!(matches!(error, TrainError::Diverged(_)), "{error:?}");
        assert!(error.to_string().contains("learning_rate"), "{error}");
    };
    diverged(search(|_| Ok(Some(f64::NAN))));
    diverged(search(|rate| Ok(Some(rate))));
    let mut steps = 0;
    diverged(search(|_| {
        steps += 1;
        Ok(Some(if steps < 12 { 1.0 } else { f64::INFINITY }))
    }));
    assert_eq!(search(|_| Ok(None)).expect("an interrupt"), None);
}

#[test]
fn a_range_test_leaves_no_trace() {
    let _alone = alone();
    let images = squares(200);
    let train: Vec<i64> = (0..150).collect();
    let (_, plain) = curve(&images, &settings(), 7);
    let find = TrialSettings { learning_rate: LearningRate::Find, schedule: Schedule::Cosine, ..settings() };
    let test = || range_test(&images, &train, &find, 7, &|| false).expect("it falls").expect("no interrupt");
    let found = test();
    // 150 images are 5 batches: it went over them 40 times.
    assert!(found.loss.len() > 100, "{}", found.loss.len());
    let (_, after) = curve(&images, &settings(), 7);
    assert_eq!(bits(&after), bits(&plain));
    assert_eq!(test(), found);
    assert_eq!(range_test(&images, &train, &find, 7, &|| true).expect("an interrupt"), None);
    let error = Trainer::new(&images, &train, &find, 7).err().expect("no rate").to_string();
    assert!(error.contains("still to be found"), "{error}");
}

/// Real images where there are some, else drawn ones.
pub(super) fn digits(count: usize) -> DeviceImages {
    let locations = Locations::from_env();
    let dataset = Dataset::open("mnist", &locations)
        .or_else(|_| Dataset::open("synthetic-digits", &locations))
        .expect("drawn digits at least");
    let bytes = dataset.train().bytes()[..count * 28 * 28].to_vec();
    DeviceImages::new(std::sync::Arc::new(bytes), count, 28, 28, tch::Device::Cpu).expect("the size fits")
}

#[test]
fn the_rates_of_digits_make_sense() {
    let _alone = alone();
    let images = digits(10_000);
    let train: Vec<i64> = (0..10_000).collect();
    for (optimizer, low, high) in [
        (Optimizer::Adam, 1e-4, 1e-1),
        (Optimizer::AdamW, 1e-4, 1e-1),
        (Optimizer::Adamax, 1e-4, 1e-1),
        (Optimizer::RmsProp, 1e-5, 1e-1),
        (Optimizer::Sgd, 1e-3, 10.0),
    ] {
        let settings = TrialSettings {
            optimizer,
            learning_rate: LearningRate::Find,
            momentum: if optimizer == Optimizer::Sgd { 0.9 } else { 0.0 },
            batch_size: 64,
            model: network(0.0, 6),
            ..settings()
        };
        let found = range_test(&images, &train, &settings, 3, &|| false).expect("it falls").expect("a rate");
        println!("{optimizer}: {:.2e} of {} steps", found.chosen, found.loss.len());
        assert!((low..high).contains(&found.chosen), "{optimizer}: {}", found.chosen);
    }
}
