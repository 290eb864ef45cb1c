//! The train/validation splits of a study: computed once from its seed, the same for every trial and worker.

use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

use crate::seed::{Stream, rng};

/// How the training images are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// k folds; each is the validation part once.
    Folds(u32),
    /// One fold whose validation part has this many images.
    Holdout(u64),
    /// One fold that is trained on all images and validated on the same.
    Whole,
}

impl Scheme {
    /// The number of folds of a trial.
    pub fn folds(self) -> u32 {
        match self {
            Self::Folds(k) => k,
            Self::Holdout(_) | Self::Whole => 1,
        }
    }
}

/// A shuffled order of the images and where it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    order: Vec<u32>,
    /// The start of each validation part in `order`, and its end.
    parts: Vec<(usize, usize)>,
}

/// A scheme that does not fit the number of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// More folds than images, or fewer than two.
    #[error("{folds} folds of {images} images cannot work; use 2 to {images} folds")]
    Folds {
        /// Folds asked for.
        folds: u32,
        /// Images there are.
        images: usize,
    },
    /// Nothing held out, or nothing left to train on.
    #[error(
        "holding out {holdout} of {images} images cannot work; hold out at least 1 and fewer than {images}"
    )]
    Holdout {
        /// Images to hold out.
        holdout: u64,
        /// Images there are.
        images: usize,
    },
    /// More images than the splits can count.
    #[error("{images} images are too many; at most {}", u32::MAX)]
    TooMany {
        /// Images there are.
        images: usize,
    },
}

impl Splits {
    /// Shuffles `images` indices with the study's seed and cuts them; the sizes of folds differ by at most one.
    pub fn new(seed: u64, scheme: Scheme, images: usize) -> Result<Self, SplitError> {
        let count = u32::try_from(images).map_err(|_| SplitError::TooMany { images })?;
        let parts = match scheme {
            Scheme::Folds(folds) => {
                if folds < 2 || folds > count {
                    return Err(SplitError::Folds { folds, images });
                }
                let k = folds as usize;
                (0..k).map(|fold| (fold * images / k, (fold + 1) * images / k)).collect()
            }
            Scheme::Holdout(holdout) => {
                if holdout == 0 || holdout >= images as u64 {
                    return Err(SplitError::Holdout { holdout, images });
                }
                vec![(0, holdout as usize)]
            }
            Scheme::Whole => vec![(0, 0)],
        };
        let mut order: Vec<u32> = (0..count).collect();
        order.shuffle(&mut rng(seed, Stream::Split));
        Ok(Self { order, parts })
    }

    /// The number of folds.
    pub fn folds(&self) -> u32 {
        self.parts.len() as u32
    }

    /// The indices a fold is validated on; none if there is no such fold.
    pub fn validation(&self, fold: u32) -> Option<Vec<i64>> {
        let (start, end) = *self.parts.get(fold as usize)?;
        // Nothing is held out of the whole.
        let (start, end) = if start == end { (0, self.order.len()) } else { (start, end) };
        Some(self.order[start..end].iter().map(|index| i64::from(*index)).collect())
    }

    /// The indices a fold is trained on; none if there is no such fold.
    pub fn train(&self, fold: u32) -> Option<Vec<i64>> {
        let (start, end) = *self.parts.get(fold as usize)?;
        Some(self.order[..start].iter().chain(&self.order[end..]).map(|index| i64::from(*index)).collect())
    }

    /// SHA-256 over the cuts and the order, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (start, end) in &self.parts {
            hash.update((*start as u64).to_le_bytes());
            hash.update((*end as u64).to_le_bytes());
        }
        for index in &self.order {
            hash.update(index.to_le_bytes());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn folds_part_the_images(seed: u64, folds in 2u32..8, images in 8usize..300) {
            let splits = Splits::new(seed, Scheme::Folds(folds), images).expect("it fits");
            let mut seen = BTreeSet::new();
            for fold in 0..folds {
                let validation = splits.validation(fold).expect("a fold");
                let train = splits.train(fold).expect("a fold");
                let size = images / folds as usize;
                prop_assert!(validation.len() == size || validation.len() == size + 1);
                let both: BTreeSet<i64> = validation.iter().chain(&train).copied().collect();
                prop_assert_eq!(both.len(), images);
                prop_assert_eq!(validation.len() + train.len(), images);
                seen.extend(validation);
            }
            prop_assert_eq!(seen.len(), images);
            prop_assert!(splits.validation(folds).is_none());
        }
    }

    #[test]
    fn a_holdout_is_one_fold() {
        let splits = Splits::new(7, Scheme::Holdout(3), 10).expect("it fits");
        assert_eq!(splits.folds(), 1);
        assert_eq!(splits.validation(0).expect("a fold").len(), 3);
        assert_eq!(splits.train(0).expect("a fold").len(), 7);
    }

    #[test]
    fn the_whole_is_trained_on_and_validated_on() {
        let splits = Splits::new(7, Scheme::Whole, 10).expect("it fits");
        assert_eq!(splits.train(0).map(|part| part.len()), Some(10));
        assert_eq!(splits.train(0), splits.validation(0));
    }

    #[test]
    fn what_cannot_be_split() {
        for (scheme, images) in [
            (Scheme::Folds(1), 10),
            (Scheme::Folds(11), 10),
            (Scheme::Holdout(0), 10),
            (Scheme::Holdout(10), 10),
        ] {
            assert!(Splits::new(7, scheme, images).is_err(), "{scheme:?}");
        }
    }

    #[test]
    fn the_shuffle_is_pinned() {
        let splits = Splits::new(7, Scheme::Folds(3), 60_000).expect("it fits");
        assert_eq!(splits.digest(), GOLDEN);
    }

    const GOLDEN: &str = "a2b0b4f23ceadaf1ede920d55af77fc1277af0b78879872d9d73af3212c193e1";
}
