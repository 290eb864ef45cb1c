//! The files that workers store of folds. The worker's crate needs libtorch, so that what reads them is included by its path.
#![no_main]

mod model {
    #[path = "../../../../worker/src/model/parameter_spec.rs"]
    mod parameter_spec;
    pub use parameter_spec::ParameterSpec;
}

mod train {
    #[path = "../../../../worker/src/train/checkpoint.rs"]
    mod checkpoint;
    #[path = "../../../../worker/src/train/early_stopping.rs"]
    mod early_stopping;
    pub mod optimizer {
        #[path = "../../../../../worker/src/train/optimizer/state.rs"]
        mod state;
        pub use state::OptimizerState;
    }
    pub use checkpoint::Checkpoint;
    pub use early_stopping::StopperState;
}

#[path = "../targets/checkpoint.rs"]
mod target;

use model::ParameterSpec;
use train::Checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
