use foldwise_shared::spec::{Corruption, Erasing, Flip, Gaussian, Occlusion};
use tch::{Kind, Tensor};

use super::*;
use crate::testing::alone;

const ALWAYS: Flip = Flip { probability: 1.0 };
const HALF: Flip = Flip { probability: 0.5 };

/// Corrupts images of `height` x `width` in both layouts, from the same generator state, and makes sure that they agree.
fn corrupt(steps: &[Corruption], images: &Tensor, height: i64, width: i64) -> Tensor {
    let before = images.copy();
    tch::manual_seed(11);
    let first = apply(steps, images, Layout::ImagesFirst, height, width).expect("it fits");
    let turned = images.tr().contiguous();
    tch::manual_seed(11);
    let last = apply(steps, &turned, Layout::ImagesLast, height, width).expect("it fits");
    assert_eq!(last.size(), turned.size());
    assert!(first.equal(&last.tr()), "the layouts differ: {steps:?}");
    assert!(images.equal(&before) && turned.equal(&before.tr()), "the batch itself is left alone");
    first
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.reshape([-1])).expect("floats")
}

/// Whether each image is the same as before.
fn unchanged(images: &Tensor, after: &Tensor) -> Vec<bool> {
    let same = images.eq_tensor(after).all_dim(1, false).to_kind(Kind::Int64);
    Vec::<i64>::try_from(same).expect("numbers").into_iter().map(|same| same == 1).collect()
}

fn share_of(flags: &[bool]) -> f64 {
    flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64
}

#[test]
fn flips_are_exact_and_come_one_after_another() {
    let _alone = alone();
    let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([1, 6]);
    let flip = |steps: &[Corruption]| values(&corrupt(steps, &image, 2, 3));
    let (horizontal, vertical) = (Corruption::HorizontalFlip(ALWAYS), Corruption::VerticalFlip(ALWAYS));
    assert_eq!(flip(&[horizontal]), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(flip(&[vertical]), [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    assert_eq!(flip(&[horizontal, vertical]), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    assert_eq!(flip(&[]), values(&image));
}

#[test]
fn a_share_of_the_images_is_changed_whole() {
    let _alone = alone();
    let images = Tensor::rand([4000, 12], (Kind::Float, tch::Device::Cpu));
    let flipped = images.view([-1, 3, 4]).flip([2]).reshape([4000, 12]);
    let after = corrupt(&[Corruption::HorizontalFlip(HALF)], &images, 3, 4);
    let (same, turned) = (unchanged(&images, &after), unchanged(&flipped, &after));
    // A third of a percent of all sets of 4,000 are as far off as 0.024.
    assert!((share_of(&same) - 0.5).abs() < 0.024, "{}", share_of(&same));
    assert!(same.iter().zip(&turned).all(|(same, turned)| same != turned));

    let never = Corruption::HorizontalFlip(Flip { probability: 0.0 });
    assert_eq!(share_of(&unchanged(&images, &corrupt(&[never], &images, 3, 4))), 1.0);
    // Of four with probability 0.5 each, 1 in 16 images has none.
    let four = [
        Corruption::HorizontalFlip(HALF),
        Corruption::VerticalFlip(HALF),
        Corruption::Gaussian(Gaussian { probability: 0.5, deviation: 0.4 }),
        Corruption::Erasing(Erasing { probability: 0.5, area: (0.1, 0.4), aspect: (0.5, 2.0) }),
    ];
    let whole = share_of(&unchanged(&images, &corrupt(&four, &images, 3, 4)));
    assert!((whole - 0.0625).abs() < 0.0115, "{whole}");
}

#[test]
fn noise_has_its_mean_and_deviation_and_is_not_cut_off() {
    let _alone = alone();
    let images = Tensor::full([500, 100], 0.5, (Kind::Float, tch::Device::Cpu));
    let gaussian = |deviation| Corruption::Gaussian(Gaussian { probability: 1.0, deviation });
    let noise = corrupt(&[gaussian(0.4)], &images, 10, 10) - 0.5;
    let (mean, deviation) = (noise.mean(Kind::Double), noise.std(true));
    assert!(mean.double_value(&[]).abs() < 4.0 * 0.4 / 50_000f64.sqrt());
    assert!((deviation.double_value(&[]) - 0.4).abs() < 0.005);
    assert!(noise.min().double_value(&[]) < -1.0 && noise.max().double_value(&[]) > 1.0);
    // Every image and every pixel has its own.
    assert!((noise.std_dim(&[0i64][..], true, false) - 0.4).abs().max().double_value(&[]) < 0.06);
    assert!((noise.std_dim(&[1i64][..], true, false) - 0.4).abs().max().double_value(&[]) < 0.13);
    assert!(corrupt(&[gaussian(0.0)], &images, 10, 10).equal(&images));
}

/// The rows and columns that an image of ones has lost, if they are a rectangle: top, left, height, width.
fn hole(image: &[f32], width: usize) -> Option<(usize, usize, usize, usize)> {
    let zeros: Vec<(usize, usize)> =
        (0..image.len()).filter(|&at| image[at] == 0.0).map(|at| (at / width, at % width)).collect();
    let (top, left) = (zeros.iter().map(|zero| zero.0).min()?, zeros.iter().map(|zero| zero.1).min()?);
    let (bottom, right) = (zeros.iter().map(|zero| zero.0).max()?, zeros.iter().map(|zero| zero.1).max()?);
    let (height, wide) = (bottom + 1 - top, right + 1 - left);
    assert_eq!(zeros.len(), height * wide, "the hole is a rectangle");
    Some((top, left, height, wide))
}

fn holes(step: Corruption, count: i64, height: i64, width: i64) -> Vec<Option<(usize, usize, usize, usize)>> {
    let ones = Tensor::ones([count, height * width], (Kind::Float, tch::Device::Cpu));
    let after = values(&corrupt(&[step], &ones, height, width));
    after.chunks_exact((height * width) as usize).map(|image| hole(image, width as usize)).collect()
}

#[test]
fn an_occlusion_is_a_square_of_its_share_anywhere_within_the_image() {
    let _alone = alone();
    let occlusion = |fraction, probability| Corruption::Occlusion(Occlusion { probability, fraction });
    let found = holes(occlusion(0.2, 1.0), 3000, 28, 28);
    // The side is sqrt(0.2 * 784) = 12.52.
    assert!(found.iter().all(|hole| hole.is_some_and(|(_, _, height, width)| (height, width) == (13, 13))));
    let count = |top: usize| found.iter().flatten().filter(|hole| hole.0 == top).count();
    let across = |left: usize| found.iter().flatten().filter(|hole| hole.1 == left).count();
    for place in 0..=15 {
        // 187.5 expected, with a deviation of 13.3.
        assert!((130..=245).contains(&count(place)), "{} at row {place}", count(place));
        assert!((130..=245).contains(&across(place)), "{} at column {place}", across(place));
    }
    assert!(holes(occlusion(1.0, 1.0), 3, 28, 28).iter().all(|hole| *hole == Some((0, 0, 28, 28))));
    assert!(holes(occlusion(0.0, 1.0), 3, 28, 28).iter().all(Option::is_none));
    // In an image that is no square, the same share of each side.
    assert!(
        holes(occlusion(0.25, 1.0), 50, 4, 10)
            .iter()
            .all(|hole| hole.is_some_and(|hole| (hole.2, hole.3) == (2, 5)))
    );
    let half: Vec<bool> = holes(occlusion(0.2, 0.5), 3000, 8, 8).iter().map(Option::is_some).collect();
    assert!((share_of(&half) - 0.5).abs() < 0.03);
}

#[test]
fn an_erased_rectangle_has_an_area_and_an_aspect_within_its_bounds() {
    let _alone = alone();
    let erasing = Corruption::Erasing(Erasing { probability: 1.0, area: (0.1, 0.3), aspect: (0.5, 2.0) });
    let found = holes(erasing, 3000, 40, 40);
    let (mut areas, mut tall) = (Vec::new(), 0);
    for (top, left, height, width) in found.iter().map(|hole| hole.expect("all of them fit")) {
        assert!(top + height <= 40 && left + width <= 40);
        // A side that is rounded is off by up to a half.
        let (height, width) = (height as f64, width as f64);
        let least = (height - 0.5) * (width - 0.5) / 1600.0;
        let most = (height + 0.5) * (width + 0.5) / 1600.0;
        assert!(most >= 0.1 && least <= 0.3, "{height} x {width}");
        assert!((height + 0.5) / (width - 0.5) >= 0.5 && (height - 0.5) / (width + 0.5) <= 2.0);
        areas.push(height * width / 1600.0);
        tall += usize::from(height > width) + usize::from(height >= width);
    }
    let mean = areas.iter().sum::<f64>() / areas.len() as f64;
    assert!((mean - 0.2).abs() < 0.005, "{mean}");
    // The logarithm of the aspect is uniform, so as many are tall as are flat.
    assert!((tall as f64 / 6000.0 - 0.5).abs() < 0.03, "{tall}");
    assert!(areas.iter().any(|area| *area < 0.12) && areas.iter().any(|area| *area > 0.28));
}

#[test]
fn a_rectangle_that_never_fits_leaves_the_image_whole() {
    let _alone = alone();
    let erasing = |aspect| Corruption::Erasing(Erasing { probability: 1.0, area: (0.9, 1.0), aspect });
    assert!(holes(erasing((9.0, 10.0)), 50, 28, 28).iter().all(Option::is_none));
    // A few of ten fit: nearly all images find one.
    let found: Vec<bool> = holes(erasing((0.8, 1.25)), 400, 28, 28).iter().map(Option::is_some).collect();
    assert!((0.5..1.0).contains(&share_of(&found)), "{}", share_of(&found));
}

#[test]
fn the_same_state_gives_the_same_images() {
    let _alone = alone();
    let images = Tensor::rand([20, 64], (Kind::Float, tch::Device::Cpu));
    let steps = [
        Corruption::HorizontalFlip(HALF),
        Corruption::Gaussian(Gaussian { probability: 0.5, deviation: 0.1 }),
        Corruption::Occlusion(Occlusion { probability: 0.5, fraction: 0.1 }),
    ];
    assert!(corrupt(&steps, &images, 8, 8).equal(&corrupt(&steps, &images, 8, 8)));
    assert!(apply(&steps, &images, Layout::ImagesFirst, 8, 9).is_err(), "another shape");
}
