//! Corrupted inputs and variational networks: what goes in, what is compared, and what of it is drawn.

use foldwise_shared::spec::{CorruptionSection, Flip, Gaussian, Occlusion};
use tch::{Kind, Tensor};

use super::*;

fn noise() -> CorruptionSection {
    CorruptionSection {
        gaussian: Some(Gaussian { probability: 0.5, deviation: 0.4 }),
        horizontal_flip: Some(Flip { probability: 0.5 }),
        ..CorruptionSection::default()
    }
}

#[test]
fn the_input_is_corrupted_and_the_target_is_not() {
    let _alone = alone();
    let images = squares(100);
    let indices: Vec<i64> = (0..100).collect();
    let still =
        TrialSettings { learning_rate: LearningRate::Fixed(1e-12), model: network(0.0, 4), ..settings() };
    // All of each image is occluded: whatever the image, the network gets zeros.
    let blind = TrialSettings {
        corruption: CorruptionSection {
            occlusion: Some(Occlusion { probability: 1.0, fraction: 1.0 }),
            ..CorruptionSection::default()
        },
        ..still.clone()
    };
    let learns = TrialSettings { learning_rate: LearningRate::Fixed(1e-2), ..still.clone() };
    let mut plain = Trainer::new(&images, &indices, &learns, 3).expect("it can be built");
    for epoch in 1..=100 {
        plain.train_epoch(epoch, &|| false).expect("it trains");
    }
    let best = Best { epoch: 1, loss: 1.0, weights: Vec::new() };
    let learned = plain.checkpoint(100, best, None).expect("host memory");
    let zeros = Tensor::zeros([1, 784], (Kind::Float, tch::Device::Cpu));
    let of_zeros = plain.reconstruct(&zeros).expect("a picture").output;
    let batch = images
        .batch(&Tensor::from_slice(&indices), crate::model::Layout::ImagesFirst)
        .expect("they are there");
    let expected = (batch - Tensor::from_slice(&of_zeros)).square().mean(Kind::Double).double_value(&[]);

    let mut trainer = Trainer::new(&images, &indices, &blind, 3).expect("it can be built");
    trainer.restore(&learned).expect("the same weights");
    let validation = trainer.validation(&indices).expect("all are there");
    let validated = trainer.validate(&validation).expect("it validates");
    assert!((validated.loss - expected).abs() < 1e-6, "{} {expected}", validated.loss);
    let trained = trainer.train_epoch(1, &|| false).expect("it trains").expect("no interrupt");
    assert!((trained - expected).abs() < 1e-6, "{trained} {expected}");
    let clear = plain.validate(&validation).expect("it validates").loss;
    assert!((clear - expected).abs() > 1e-3, "{clear}");
}

#[test]
fn validation_images_are_corrupted_the_same_way_every_time() {
    let _alone = alone();
    let images = squares(100);
    let indices: Vec<i64> = (0..100).collect();
    let settings = TrialSettings { corruption: noise(), ..settings() };
    let mut trainer = Trainer::new(&images, &indices, &settings, 3).expect("it can be built");
    let validation = trainer.validation(&indices).expect("all are there");
    let validate = || trainer.validate(&validation).expect("it validates").loss;
    let first = validate();
    tch::manual_seed(99);
    assert_eq!(validate().to_bits(), first.to_bits());

    // Training draws the same whether there was a validation or not.
    let epochs = |validates: bool| {
        let mut trainer = Trainer::new(&images, &indices, &settings, 3).expect("it can be built");
        (1..=3)
            .map(|epoch| {
                let loss = trainer.train_epoch(epoch, &|| false).expect("it trains").expect("no interrupt");
                if validates {
                    trainer.validate(&validation).expect("it validates");
                }
                loss.to_bits()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(epochs(true), epochs(false));
    trainer.train_epoch(1, &|| false).expect("it trains");
}

#[test]
fn a_denoiser_resumes_to_the_bit_and_shows_one_picture() {
    let _alone = alone();
    let images = squares(200);
    let settings = TrialSettings { epochs: 3, corruption: noise(), ..settings() };
    resumes_to_the_bit(&images, &settings);

    let always = CorruptionSection {
        gaussian: Some(Gaussian { probability: 1.0, deviation: 0.4 }),
        ..CorruptionSection::default()
    };
    let indices: Vec<i64> = (0..100).collect();
    let settings = TrialSettings { corruption: always, ..settings };
    let mut trainer = Trainer::new(&images, &indices, &settings, 3).expect("it can be built");
    let image =
        images.batch(&Tensor::from_slice(&[5i64]), crate::model::Layout::ImagesFirst).expect("it is there");
    let before = trainer.reconstruct(&image).expect("a picture");
    trainer.train_epoch(1, &|| false).expect("it trains");
    let after = trainer.reconstruct(&image).expect("a picture");
    assert_eq!((&before.input, &before.corrupted), (&after.input, &after.corrupted));
    assert_ne!(before.output, after.output);
    assert!(before.corrupted.is_some_and(|corrupted| corrupted != before.input));
}

#[test]
fn a_variational_network_reports_what_its_loss_is_made_of() {
    let _alone = alone();
    let images = squares(200);
    let variational = ModelSettings { variational: true, beta: 2.0, ..network(0.1, 4) };
    let settings = TrialSettings { epochs: 3, model: variational, ..settings() };
    let (ending, epochs) = curve(&images, &settings, 7);
    assert_eq!(ending, Ending::Completed);
    for epoch in &epochs {
        let LossParts { mse, kl } = epoch.parts.expect("it is variational");
        assert!(mse > 0.0 && mse < 1.0 && kl >= 0.0, "{epoch:?}");
        let whole = 784.0 * mse + 2.0 * kl;
        assert!((epoch.validation_loss - whole).abs() < 1e-4 * whole, "{epoch:?}");
    }
    assert!(epochs[2].validation_loss < epochs[0].validation_loss);
    resumes_to_the_bit(&images, &settings);
    let (_, plain) = curve(&images, &super::settings(), 7);
    assert!(plain.iter().all(|epoch| epoch.parts.is_none()));
}
