//! What an optimizer knows, as numbers; no tensor is named here, so that its reader can be fuzzed without libtorch.

use std::collections::BTreeMap;

use foldwise_shared::model;

/// What an optimizer has learned.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerState {
    /// Which optimizer.
    pub kind: model::Optimizer,
    /// Steps taken.
    pub steps: u32,
    /// Its buffers by name, each with a value a weight.
    pub buffers: BTreeMap<String, Vec<f32>>,
}
