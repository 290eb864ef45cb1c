//! The files that workers store of folds. The worker's crate needs libtorch, so that what reads them is included by its path.
#![no_main]

#[path = "../../../worker/src/train/checkpoint.rs"]
mod checkpoint;
#[path = "../../../worker/src/train/early_stopping.rs"]
mod early_stopping;
#[path = "../../../worker/src/model/parameter_spec.rs"]
mod parameter_spec;
#[path = "../../../worker/src/train/optimizer/state.rs"]
mod state;
#[path = "../targets/checkpoint.rs"]
mod target;
#[path = "../../../worker/src/tensors.rs"]
mod tensors;

/// Where the reader looks for them.
mod model {
    pub use crate::parameter_spec::ParameterSpec;
}
mod optimizer {
    pub use crate::state::OptimizerState;
}

use checkpoint::Checkpoint;
use early_stopping::StopperState;
use parameter_spec::ParameterSpec;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
