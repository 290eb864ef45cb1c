//! What Optuna reached: the best values of its own searches, as `deploy/bench/optuna_search.py` wrote them.

use std::collections::BTreeMap;

use super::BenchError;

/// Optuna's samplers: TPE as Optuna 5 has it by default, and with each param on its own.
pub(super) const REFERENCES: [&str; 2] = ["tpe", "tpe_classic"];

/// The best values of searches with different seeds, by problem.
pub(super) struct Reference(BTreeMap<String, Searches>);

/// By trials that run at a time, by sampler, by finished trials.
type Searches = BTreeMap<u32, BTreeMap<String, BTreeMap<u32, Vec<f64>>>>;

impl Reference {
    /// The stored searches.
    pub fn stored() -> Result<Self, BenchError> {
        Ok(Self(serde_json::from_str(include_str!("optuna.json")).map_err(BenchError::Reference)?))
    }

    /// The best values after so many finished trials, one a search; none where that was not recorded.
    pub fn values(&self, problem: &str, parallel: u32, sampler: &str, trials: u32) -> Option<&[f64]> {
        self.0.get(problem)?.get(&parallel)?.get(sampler)?.get(&trials).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Problem, Quartiles};

    #[test]
    fn every_problem_has_its_searches() {
        let reference = Reference::stored().expect("the file can be read");
        for problem in Problem::all() {
            for parallel in [1, 8] {
                for sampler in REFERENCES {
                    for trials in [25, 50, 100, 150] {
                        let values = reference.values(problem.name, parallel, sampler, trials);
                        let values =
                            values.unwrap_or_else(|| panic!("{} {parallel} {sampler}", problem.name));
                        assert_eq!(values.len(), 15);
                        assert!(values.is_sorted(), "{} {parallel} {sampler} {trials}", problem.name);
                        assert!(values[0] >= problem.minimum, "{}: {}", problem.name, values[0]);
                    }
                }
            }
        }
        assert!(reference.values("branin", 2, "tpe", 100).is_none());
    }

    #[test]
    fn the_quartiles_are_those_that_were_known_before() {
        let reference = Reference::stored().expect("the file can be read");
        for (problem, parallel, sampler, trials, q1, median, q3) in [
            ("branin", 1, "tpe", 100, 0.014_149_561_8, 0.028_379_437_4, 0.049_444_419_6),
            ("hartmann6", 8, "tpe_classic", 150, 0.192_280_384, 0.247_049_881, 0.454_639_482),
            ("ae_like", 1, "tpe", 50, 0.016_052_109_2, 0.016_597_641_6, 0.017_730_972_7),
        ] {
            let values = reference.values(problem, parallel, sampler, trials).expect("recorded");
            assert_eq!(Quartiles::of(values), Some(Quartiles { q1, median, q3 }), "{problem}");
        }
    }
}
