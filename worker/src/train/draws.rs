//! What libtorch's generator is seeded for.

/// One purpose of random draws in a fold. The generator is global and cannot be saved, so it is seeded anew for each of them:
/// then nothing depends on what ran before, and one more draw here does not shift the draws there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draws {
    /// The first weights.
    Weights,
    /// The order of the batches, dropped units, corruptions and codes of an epoch, from 1.
    Epoch(u32),
    /// The corruptions of the validation images, the same after every epoch.
    Validation,
    /// The batches of the range test.
    RangeTest,
    /// The corruption of the image that is watched, the same after every epoch.
    Picture,
}

impl Draws {
    /// Seeds libtorch's generators, from the seed of the fold.
    pub fn seed(self, seed: u64) {
        let number = match self {
            Self::Weights => 0,
            Self::Epoch(epoch) => u64::from(epoch),
            Self::Validation => 1 << 32,
            Self::RangeTest => (1 << 32) + 1,
            Self::Picture => (1 << 32) + 2,
        };
        tch::manual_seed(mix(seed, number + 1).cast_signed());
    }
}

/// The seed of a purpose, by its number. SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) keeps the streams of neighboring
/// seeds apart.
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
