//! `[corruption]`: what is done to an autoencoder's input.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;

/// `[corruption]`: each with a probability of its own, drawn for every image anew. They come in the order in which they
/// stand here.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorruptionSection {
    /// Left and right changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizontal_flip: Option<Flip>,
    /// Top and bottom changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vertical_flip: Option<Flip>,
    /// Normal noise added to each pixel, which may leave [0, 1] by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaussian: Option<Gaussian>,
    /// A square set to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occlusion: Option<Occlusion>,
    /// A rectangle of any place, size and aspect ratio set to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing: Option<Erasing>,
}

/// A flip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// The share of images, from 0 to 1. Default: 1.
    #[serde(default = "always")]
    pub probability: f64,
}

/// Normal noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gaussian {
    /// The share of images, from 0 to 1. Default: 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// The standard deviation, from 0, where a pixel is from 0 to 1.
    pub deviation: f64,
}

/// A square without an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Occlusion {
    /// The share of images, from 0 to 1. Default: 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// The share of pixels, from 0 to 1.
    pub fraction: f64,
}

/// A rectangle without an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Erasing {
    /// The share of images, from 0 to 1. Default: 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// The least and the greatest share of pixels, above 0 and at most 1. Default: [0.02, 0.33].
    #[serde(default = "area")]
    pub area: (f64, f64),
    /// The least and the greatest height by width, above 0. Default: [0.3, 3.3].
    #[serde(default = "aspect")]
    pub aspect: (f64, f64),
}

fn always() -> f64 {
    1.0
}

fn area() -> (f64, f64) {
    (0.02, 0.33)
}

fn aspect() -> (f64, f64) {
    (0.3, 3.3)
}

/// One thing done to images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Corruption {
    /// Left and right changed.
    HorizontalFlip(Flip),
    /// Top and bottom changed.
    VerticalFlip(Flip),
    /// Normal noise.
    Gaussian(Gaussian),
    /// A square set to 0.
    Occlusion(Occlusion),
    /// A rectangle set to 0.
    Erasing(Erasing),
}

impl Corruption {
    /// The share of images.
    pub fn probability(&self) -> f64 {
        match self {
            Self::HorizontalFlip(Flip { probability }) | Self::VerticalFlip(Flip { probability }) => {
                *probability
            }
            Self::Gaussian(Gaussian { probability, .. }) => *probability,
            Self::Occlusion(Occlusion { probability, .. }) => *probability,
            Self::Erasing(Erasing { probability, .. }) => *probability,
        }
    }
}

impl CorruptionSection {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        self == &Self::default()
    }

    /// What is done, one after another.
    pub fn steps(&self) -> Vec<Corruption> {
        let Self { horizontal_flip, vertical_flip, gaussian, occlusion, erasing } = *self;
        let steps = [
            horizontal_flip.map(Corruption::HorizontalFlip),
            vertical_flip.map(Corruption::VerticalFlip),
            gaussian.map(Corruption::Gaussian),
            occlusion.map(Corruption::Occlusion),
            erasing.map(Corruption::Erasing),
        ];
        steps.into_iter().flatten().collect()
    }
}

pub(super) fn check_corruption(section: &CorruptionSection) -> Result<(), SpecError> {
    let share = |key: String, number: f64| {
        if (0.0..=1.0).contains(&number) {
            return Ok(());
        }
        Err(SpecError::new(key, format!("{number} cannot work; use 0 to 1")))
    };
    let range = |key: &str, (low, high): (f64, f64), most: f64| {
        if 0.0 < low && low <= high && high <= most {
            return Ok(());
        }
        let up_to = if most.is_finite() { format!(" and at most {most}") } else { String::new() };
        let message =
            format!("[{low}, {high}] cannot work; use [low, high], both above 0{up_to}, the smaller first");
        Err(SpecError::new(format!("corruption.erasing.{key}"), message))
    };
    for step in section.steps() {
        let name = match step {
            Corruption::HorizontalFlip(_) => "horizontal_flip",
            Corruption::VerticalFlip(_) => "vertical_flip",
            Corruption::Gaussian(_) => "gaussian",
            Corruption::Occlusion(_) => "occlusion",
            Corruption::Erasing(_) => "erasing",
        };
        share(format!("corruption.{name}.probability"), step.probability())?;
        match step {
            Corruption::Gaussian(Gaussian { deviation, .. })
                if !(deviation >= 0.0 && deviation.is_finite()) =>
            {
                let message = format!("{deviation} cannot work; use a number from 0");
                return Err(SpecError::new("corruption.gaussian.deviation", message));
            }
            Corruption::Occlusion(Occlusion { fraction, .. }) => {
                share("corruption.occlusion.fraction".into(), fraction)?;
            }
            Corruption::Erasing(Erasing { area, aspect, .. }) => {
                range("area", area, 1.0)?;
                range("aspect", aspect, f64::MAX)?;
            }
            _ => {}
        }
    }
    Ok(())
}
