//! The grid sampler: every combination once.

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::space::Grid;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::value::Params;

/// How many trials the grid of a study has; `u64::MAX` if a number cannot count them.
pub fn grid_len(spec: &StudySpec) -> u64 {
    grid(spec).count(u64::MAX).unwrap_or(u64::MAX)
}

/// The combination at `number`; none past the last.
pub(super) fn params(spec: &StudySpec, number: TrialNumber) -> Option<Params> {
    grid(spec).params(u64::from(number.0))
}

/// A spec that was parsed always has the points.
fn grid(spec: &StudySpec) -> Grid<'_> {
    Grid::new(&spec.space, spec.sampler.points.unwrap_or(1))
}
