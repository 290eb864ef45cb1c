//! The study file: its keys, their defaults, and what they must be.

mod corruption;
mod diff;
mod error;
mod extend;
mod fit;
mod fitted;
mod model;
mod parse;
mod pruner;
mod recovery;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::corruption::{Corruption, CorruptionSection, Erasing, Flip, Gaussian, Occlusion};
pub use self::diff::{Difference, differences};
pub use self::error::SpecError;
pub use self::extend::Extension;
pub use self::fit::{FitOn, FitOptions, check_params, evaluation_of, fit_of};
pub use self::fitted::{EvaluateSection, FitSection, SourceSection};
pub use self::model::{EarlyStopping, ModelSection, TrainSection};
pub use self::parse::{parse, place};
pub use self::pruner::{pruners_with, with_pruner};
pub use self::recovery::{CheckpointSection, Keep, RetrySection};
pub use self::validate::NAME_LENGTH;

use crate::space::Space;
use crate::split::Scheme;
use crate::state::{Direction, words};

/// A whole study file. After [`parse`] every default is resolved: this is what is stored and compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Foldwise study file")]
pub struct StudySpec {
    /// The version of this format; 1.
    pub version: u32,
    /// What the study is called and what it wants.
    pub study: StudySection,
    /// The images and how they are split.
    #[serde(default)]
    pub data: DataSection,
    /// The network. A setting stands here (fixed) or in `[space]` (searched).
    #[serde(default)]
    pub model: ModelSection,
    /// How a fold is trained. A setting stands here (fixed) or in `[space]` (searched).
    #[serde(default)]
    pub train: TrainSection,
    /// What is done to the input in training: with it an autoencoder learns to undo it.
    #[serde(default, skip_serializing_if = "CorruptionSection::is_none")]
    pub corruption: CorruptionSection,
    /// The model that an evaluation or a transfer starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSection>,
    /// That the trial's model is kept, and what is watched while it is trained. `foldwise fit` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitSection>,
    /// What is measured of a fitted model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<EvaluateSection>,
    /// The params: a name and what it may be.
    #[serde(default)]
    pub space: Space,
    /// Who chooses the params of the next trial.
    #[serde(default)]
    pub sampler: SamplerSection,
    /// Who stops a trial early.
    #[serde(default)]
    pub pruner: PrunerSection,
    /// When the study ends; whichever is reached first.
    #[serde(default)]
    pub budget: BudgetSection,
    /// When workers store how far they are, so that an interrupted fold goes on from there.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    /// How often a fold is tried again after a failure.
    #[serde(default)]
    pub retry: RetrySection,
    /// Other sizes of the study: `[size.laptop]` has dotted keys and their values, which `--size laptop` lays over the file.
    #[serde(default, skip_serializing)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, serde_json::Value>>")]
    pub size: Sizes,
}

/// The sizes of a study by name: what each lays over the file.
type Sizes = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// `[study]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudySection {
    /// Letters, digits, `-`, `_` and `.`; at most 64, unique in a database.
    pub name: String,
    /// Whether the smaller or the larger value wins. Default: minimize.
    #[serde(default = "minimize")]
    pub direction: Direction,
    /// Everything random in the study is drawn from it. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Who finds out the value of a trial. Default: training.
    #[serde(default)]
    pub objective: Objective,
    /// Where several studies wait for workers, those with the highest priority go first; equal ones share evenly.
    /// Default: 0.
    #[serde(default)]
    pub priority: i32,
}

/// Who finds out the value of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Workers, by training the network of `[model]`.
    #[default]
    Training,
    /// A program of yours, which asks for trials and tells their values; there is no `[model]` then.
    External,
    /// Workers, by measuring the model of `[source]` on the test images. One trial, one epoch; `foldwise evaluate` makes such
    /// a study.
    Evaluation,
    /// Workers, by training a classifier on the frozen convolutions of the model of `[source]`; its value is the cross
    /// entropy.
    Transfer,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// `mnist`, `fashion-mnist`, `synthetic-digits`, or a path to IDX files or to a folder of images by class. Must
    /// be given for training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// k-fold cross-validation: the number of folds, at least 2. Either this or `holdout`; an external objective may
    /// leave out both and has one fold then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<u32>,
    /// Hold-out validation: the number of training images kept for it. Either this or `folds`. 0 for a fit on all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<u64>,
    /// Use the first n training images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// When the folds of a trial may start. Default: auto.
    #[serde(default)]
    pub release: Release,
}

/// When the folds of a trial may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// `race` while other trials can fill the slots; `all` where nothing is pruned.
    #[default]
    Auto,
    /// As soon as a slot is free.
    All,
    /// The next when the trial has survived the one before.
    Race,
}

/// `[sampler]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplerSection {
    /// Default: auto.
    #[serde(default)]
    pub kind: SamplerKind,
    /// For `auto`, `gp` and `tpe`: the first so many trials are spread evenly over the space; nothing is learned
    /// before as many are finished. Default: 8; for `tpe` 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_trials: Option<u32>,
    /// For `tpe`: whether params are chosen together (`true`) or each on its own. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivariate: Option<bool>,
    /// For `grid`: how many values a float without a step gets, its bounds included, and an int on a logarithmic
    /// scale at most. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<u32>,
}

/// The samplers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// A Gaussian process while the study is small, then `tpe`.
    #[default]
    Auto,
    /// A Gaussian process over the whole study.
    Gp,
    /// The tree-structured Parzen estimator.
    Tpe,
    /// Every param on its own, uniform over its domain (or its logarithm).
    Random,
    /// Scrambled Sobol points: random, and evenly spread.
    Sobol,
    /// Every combination once, in order.
    Grid,
}

/// `[pruner]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrunerSection {
    /// Default: none.
    #[serde(default)]
    pub kind: PrunerKind,
    /// For `percentile` (no default) and `paired` (default: 50): the share of the peers, in percent from the best,
    /// within which a trial lives on; above 0, below 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// For `median`, `percentile` and `paired`: no trial is pruned before this many have completed the fold in
    /// question. For `sequential`: not before this many trials are complete, at least 2. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_trials: Option<u32>,
    /// For `median`, `percentile`, `paired` and `threshold`: epochs at the start of each fold that are not judged.
    /// Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_epochs: Option<u32>,
    /// For `median`, `percentile`, `paired` and `threshold`: judge every this many epochs after the warm-up.
    /// Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_epochs: Option<u32>,
    /// For `median`, `percentile` and `paired`: how many peers must have a value at the epoch. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_peers: Option<u32>,
    /// For `successive-halving` and `hyperband`: the epoch of the first rung, counted through the folds of a trial one
    /// after another. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_resource: Option<u32>,
    /// For `hyperband`: the epochs that the most patient bracket is made for. Default: all epochs of all folds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_resource: Option<u32>,
    /// For `successive-halving` (default: 4) and `hyperband` (default: 3): each rung is this many times as far as the
    /// one before, and one in this many lives on; at least 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduction_factor: Option<u32>,
    /// For `successive-halving`: so many rungs at the start are left out. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_early_stopping_rate: Option<u32>,
    /// For `successive-halving` and `hyperband`: the first trials at a rung, this many, only fill it and stop there.
    /// Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_trials: Option<u32>,
    /// For `threshold`: a trial with a value below it is stopped. This, `upper` or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// For `threshold`: a trial with a value above it is stopped. This, `lower` or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// For `sequential`: the chance, above 0 and at most 0.5, to stop a trial that is as good as the best one.
    /// Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Stop a trial only if its fold has been no better for this many epochs. By itself with `kind = "patience"`, and a
    /// condition more for every other kind that judges epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// For `patience`: what counts as better: at least this much. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_delta: Option<f64>,
}

words!(
    /// The pruners there are.
    #[derive(Default)]
    PrunerKind {
        /// Every trial is trained to its end.
        #[default]
        None = "none",
        /// Stop a trial that is worse than the median of its peers, fold by fold.
        Median = "median",
        /// Stop a trial that is worse than a percentile of its peers, fold by fold.
        Percentile = "percentile",
        /// Stop a trial that is not among the best of those that came to its rung.
        SuccessiveHalving = "successive-halving",
        /// The same in several brackets, which differ in where the first rung is.
        Hyperband = "hyperband",
        /// Stop a trial whose value leaves fixed bounds.
        Threshold = "threshold",
        /// Stop a trial that does not improve.
        Patience = "patience",
        /// Stop a trial that is worse than a percentile of its peers, by all its folds so far.
        Paired = "paired",
        /// Stop a trial whose finished folds show that it is worse than the best.
        Sequential = "sequential",
    }
);

/// `[budget]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSection {
    /// Trials, however they end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// Epochs over all folds of all trials. A fold starts only if all its epochs are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_epochs: Option<u64>,
    /// Time in which at least one fold is in training, such as `"90s"`, `"45m"` or `"2h 30m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_time: Option<String>,
}

fn minimize() -> Direction {
    Direction::Minimize
}

impl StudySpec {
    /// How the training images are divided.
    pub fn scheme(&self) -> Scheme {
        match (self.data.folds, self.data.holdout) {
            (_, Some(0)) => Scheme::Whole,
            (_, Some(images)) => Scheme::Holdout(images),
            (folds, None) => Scheme::Folds(folds.unwrap_or(1)),
        }
    }

    /// The epochs of a trial that is trained to its end without early stopping: those of all its folds.
    pub fn whole_epochs(&self) -> u32 {
        self.folds().saturating_mul(self.epochs())
    }

    /// Epochs of a lease at most: a worker leases one fold, who asks for a trial gets all of its folds.
    pub fn lease_epochs(&self) -> u32 {
        if self.is_external() { self.whole_epochs() } else { self.epochs() }
    }

    /// The folds of a trial.
    pub fn folds(&self) -> u32 {
        self.scheme().folds()
    }

    /// Epochs of a fold at most; every spec that was parsed has them.
    pub fn epochs(&self) -> u32 {
        self.train.epochs.unwrap_or_default()
    }

    /// The data set; empty for an external objective.
    pub fn dataset(&self) -> &str {
        self.data.dataset.as_deref().unwrap_or_default()
    }

    /// Whether trials are asked for and told by a program of the user's, not trained by workers.
    pub fn is_external(&self) -> bool {
        self.study.objective == Objective::External
    }

    /// The digest of the model that a training starts from.
    pub fn source_model(&self) -> Option<&str> {
        self.source.as_ref()?.model.as_deref()
    }

    /// The number of training images in use, of those there are.
    pub fn images_used(&self, images: usize) -> usize {
        self.data.limit.map_or(images, |limit| images.min(usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    /// The wall-time budget in milliseconds.
    pub fn wall_time_ms(&self) -> Option<i64> {
        let text = self.budget.wall_time.as_deref()?;
        let span = humantime::parse_duration(text).ok()?;
        Some(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
    }

    /// The spec as JSON text: what is stored and sent to workers.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The section of the pruner as JSON text.
    pub fn pruner_json(&self) -> String {
        serde_json::to_string(&self.pruner).unwrap_or_default()
    }

    /// A stored spec.
    ///
    /// # Errors
    /// Text that is no spec of this version.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        serde_json::from_str(text).map_err(|error| SpecError::new("", format!("a stored spec: {error}")))
    }
}

/// The JSON Schema of the study file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(StudySpec).to_value()
}

/// Dotted paths and values, for comparing.
type Flat = BTreeMap<String, serde_json::Value>;
