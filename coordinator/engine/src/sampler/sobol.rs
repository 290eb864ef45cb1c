//! The quasi-random sampler: scrambled Sobol points, which are random and lie evenly.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::seed::{self, Stream};
use foldwise_shared::spec::StudySpec;
use rand::RngExt;

use super::encoding::{Encoding, Point};

/// Points of one sequence; then another one begins.
const POINTS: u32 = 1 << 16;
/// Dims of one sequence; dims beyond read another one.
const DIMS: usize = 256;

/// The point of a trial: `number` in Owen-scrambled Sobol sequences (Burley 2020, "Practical Hash-based Owen
/// Scrambling") that the study's seed chooses.
pub(super) fn point(spec: &StudySpec, encoding: &Encoding, number: TrialNumber) -> Point {
    let mut rng = seed::rng(spec.study.seed, Stream::Sobol(number.0 / POINTS));
    let sequences: Vec<u32> = (0..encoding.dims().len().div_ceil(DIMS)).map(|_| rng.random()).collect();
    let unit: Vec<f64> = (0..encoding.dims().len())
        .map(|dim| {
            let place = sobol_burley::sample(number.0 % POINTS, (dim % DIMS) as u32, sequences[dim / DIMS]);
            f64::from(place)
        })
        .collect();
    encoding.point_at(&unit)
}
