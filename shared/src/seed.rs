//! One random stream a purpose, so that one more draw here does not shift the draws there.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The params of the trial with this number.
    Suggest(u32),
    /// The scrambling of this sequence of Sobol points.
    Sobol(u32),
    /// The shuffle behind the splits.
    Split,
    /// The initial weights and the batch order of this fold.
    Fold(u32),
    /// The bracket of the trial with this number.
    Bracket(u32),
}

/// The generator of a stream: ChaCha8, keyed with SHA-256 of the study's seed and the stream's name.
pub fn rng(seed: u64, stream: Stream) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(seed, stream))
}

/// The seed a worker trains a fold with; the same for every trial, so that folds compare like with like.
/// It fits an `i64`, for libtorch takes one.
pub fn fold_seed(seed: u64, fold: u32) -> u64 {
    let key = key(seed, Stream::Fold(fold));
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key[..8]);
    u64::from_le_bytes(bytes) >> 1
}

fn key(seed: u64, stream: Stream) -> [u8; 32] {
    let (name, index) = match stream {
        Stream::Suggest(number) => ("suggest", number),
        Stream::Sobol(sequence) => ("sobol", sequence),
        Stream::Split => ("split", 0),
        Stream::Fold(fold) => ("fold", fold),
        Stream::Bracket(number) => ("bracket", number),
    };
    let mut hash = Sha256::new();
    hash.update(b"foldwise 1 ");
    hash.update(name.as_bytes());
    hash.update(seed.to_le_bytes());
    hash.update(index.to_le_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng;

    use super::*;

    #[test]
    fn streams_are_pinned_and_apart() {
        assert_eq!(
            (rng(7, Stream::Suggest(0)).next_u64(), rng(7, Stream::Suggest(1)).next_u64(), fold_seed(7, 0)),
            GOLDEN
        );
        assert_ne!(fold_seed(7, 0), fold_seed(7, 1));
        assert_ne!(fold_seed(7, 0), fold_seed(8, 0));
    }

    const GOLDEN: (u64, u64, u64) =
        (8_926_119_799_615_740_224, 14_806_401_841_845_122_578, 4_481_494_077_736_596_351);
}
