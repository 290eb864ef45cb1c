//! How good and how fast it is. The samplers: a search over problems whose minimum is known, beside what Optuna reaches on
//! them, and the time of one suggestion; nothing of that touches a database. The coordinator, as a process of its own: under
//! many workers, and after a restart on a large database.

mod problems;
mod reference;
mod statistics;

pub mod importance;
pub mod search;
pub mod suggest;

mod served;

pub mod load;
pub mod restart;

pub use self::problems::Problem;
pub use self::statistics::Quartiles;

use std::io;

use foldwise_proto::convert::WireError;
use foldwise_shared::spec::{SpecError, StudySpec, parse};

use crate::store::StoreError;

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
    /// A folder, a process or a socket that the system does not give.
    #[error("{what}: {source}")]
    System {
        /// What was to be done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The coordinator is not there, refuses, or is gone.
    #[error("{0}")]
    Coordinator(String),
    /// It says what cannot be understood.
    #[error("the coordinator sends what cannot be understood: {0}")]
    Wire(#[from] WireError),
    /// The database that was to be filled.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An acknowledged report is not in the database: what must never happen.
    #[error("{acknowledged} reports were acknowledged, and {recorded} are in the database")]
    Lost {
        /// Reports that were acknowledged.
        acknowledged: u64,
        /// Reports that are there.
        recorded: u64,
    },
}

impl BenchError {
    fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::System { what, source }
    }

    /// Whether what was written is to blame.
    pub fn is_user_error(&self) -> bool {
        matches!(self, Self::Study(_))
    }
}
