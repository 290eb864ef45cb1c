//! How good and how fast the samplers are: a search over problems whose minimum is known, beside what Optuna reaches
//! on them, and the time of one suggestion. Nothing here touches a database.

mod problems;
mod reference;
mod statistics;

pub mod search;
pub mod suggest;

pub use self::problems::Problem;
pub use self::statistics::Quartiles;

use foldwise_shared::spec::{SpecError, StudySpec, parse};

/// The samplers that can be judged by searches with different seeds.
pub const SAMPLERS: [&str; 5] = ["auto", "gp", "tpe", "random", "sobol"];

/// A study of a space, given as the lines of a `[space]` section, whose objective is somewhere else.
fn study(space: &str, sampler: &str, seed: u64, trials: u32) -> Result<StudySpec, SpecError> {
    let text = format!(
        "version = 1\nstudy = {{ name = \"bench\", seed = {seed}, objective = \"external\" }}\n\
         sampler = {{ kind = \"{sampler}\" }}\nbudget = {{ trials = {trials} }}\n[space]\n{space}\n"
    );
    parse(&text, &[])
}

/// Why a comparison came to no end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A space or a sampler that no study can have.
    #[error("the study of a problem: {0}")]
    Study(#[from] SpecError),
    /// The stored searches cannot be read.
    #[error("the stored searches of Optuna: {0}")]
    Reference(serde_json::Error),
    /// The sampler had no more to give.
    #[error("the sampler has come to its end")]
    Exhausted,
}
