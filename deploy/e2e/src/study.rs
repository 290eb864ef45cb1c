//! Study files small enough to train in seconds.

use std::fmt;

/// A search over the learning rate, written as a study file by `to_string`.
#[derive(Debug, Clone)]
pub struct Study {
    /// Its name.
    pub name: &'static str,
    /// Folds of a trial.
    pub folds: u32,
    /// Images in use: sets how long an epoch takes.
    pub limit: u64,
    /// Epochs of a fold.
    pub epochs: u32,
    /// Trials in all.
    pub trials: u32,
    /// What stands in `[pruner]`.
    pub pruner: &'static str,
}

impl Default for Study {
    fn default() -> Self {
        Self { name: "e2e", folds: 2, limit: 240, epochs: 3, trials: 4, pruner: "kind = \"none\"" }
    }
}

impl Study {
    /// What stands in `[pruner]` to have hopeless trials pruned from the third on.
    pub const MEDIAN: &str = "kind = \"median\"\nstartup_trials = 2";

    /// The data set: real MNIST where `FOLDWISE_DATA` leads to it, else digits that are drawn.
    pub fn dataset() -> &'static str {
        if std::env::var_os("FOLDWISE_DATA").is_some() { "mnist" } else { "synthetic-digits" }
    }
}

impl fmt::Display for Study {
    /// The range of the learning rate is so wide that most of it is hopeless, and a pruner finds something to prune.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, folds, limit, epochs, trials, pruner } = self;
        let dataset = Self::dataset();
        write!(
            f,
            "version = 1

[study]
name = \"{name}\"
seed = 7

[data]
dataset = \"{dataset}\"
folds = {folds}
limit = {limit}

[model]
network = \"lab\"
latent_dim = 4

[train]
epochs = {epochs}
batch_size = 32

[space]
learning_rate = {{ float = [1e-6, 1e-2], log = true }}
dropout = {{ float = [0.0, 0.3] }}

[sampler]
kind = \"random\"

[pruner]
{pruner}

[budget]
trials = {trials}
"
        )
    }
}
