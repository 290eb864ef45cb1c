//! The settings of models and training, what each may be, and the arithmetic of shapes: enough for a
//! coordinator without libtorch to refuse what no worker could train.

mod setting;
mod shape;
mod trial;
mod weights;
mod words;

pub use self::setting::{Default, FIND, Kind, Setting};
pub use self::shape::{ConvShape, Layer, layers};
pub(crate) use self::trial::check_networks;
pub use self::trial::{ModelSettings, TrialSettings, check_images};
pub use self::weights::{Weight, weights};
pub use self::words::{Activation, LearningRate, Network, Optimizer, Schedule};

use crate::spec::{Objective, StudySpec};

/// The convolutions of the "lab" network: kernel, stride, padding.
pub const LAB_CONVOLUTIONS: [[i64; 3]; 3] = [[3, 2, 1], [3, 2, 1], [3, 2, 0]];
/// Their channels.
pub const LAB_CHANNELS: [i64; 3] = [8, 16, 32];
/// The units of the "lab" network's linear layers.
pub const LAB_UNITS: i64 = 64;

/// The settings of a network and its training.
pub fn settings(network: Network) -> &'static [Setting] {
    match network {
        Network::Lab => setting::LAB,
        Network::Symmetric => setting::SYMMETRIC,
    }
}

/// The settings that a study fixes or searches: none for one that trains nothing.
pub fn settings_of(spec: &StudySpec) -> &'static [Setting] {
    match spec.study.objective {
        Objective::Training => spec.model.network.map_or(&[], settings),
        Objective::Transfer => setting::TRANSFER,
        Objective::Evaluation | Objective::External => &[],
    }
}
