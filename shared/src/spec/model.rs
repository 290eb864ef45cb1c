//! `[model]` and `[train]`: the network and how it is trained.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{StudySpec, parse};
use crate::model::{Activation, LearningRate, Network, Optimizer, Schedule};
use crate::value::ParamValue;

/// `[model]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The network. Must be given for training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The length of a code, from 1. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent_dim: Option<i64>,
    /// The fraction of the linear layers' units dropped in training, in [0, 1). Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// For `symmetric`: the convolutions, each `[kernel, stride, padding]`. Default: [[3, 2, 1], [3, 2, 1], [3, 1, 0]].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convolutions: Option<Vec<[i64; 3]>>,
    /// For `symmetric`: the channels that each convolution gives. Default: [32, 32, 64].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<i64>>,
    /// For `symmetric`: the units of the linear layers next to the convolutions. Default: 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear_units: Option<i64>,
    /// For `symmetric`: an instance normalization after each convolution. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_norm: Option<bool>,
    /// For `symmetric`: what follows each layer. Default: leaky-relu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Draw the code from a normal distribution whose mean and variance the encoder gives; the loss is then the squared
    /// error summed over the pixels, plus `beta` times the KL divergence to the standard normal distribution. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variational: Option<bool>,
    /// For `variational`: the weight of the KL divergence, from 0. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Epochs of a fold at most; never searched. Must be given for training; an external objective may report up to
    /// 10,000 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// The optimizer. Default: adam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    /// The optimizer's step size, above 0, or `"find"`: by a range test on the first fold of each trial. Default: 1e-3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<LearningRate>,
    /// For `sgd` and `rmsprop`: how much of the last step goes into the next, in [0, 1). Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// The L2 term: added to the gradient, but for `adamw`, which shrinks the weights instead. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Images a step. Default: 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<i64>,
    /// How the learning rate changes: `constant`, or `cosine`, which ends at 0 with the last epoch. Default: constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// End a fold that gets no better; `false` turns it off, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "parse::early_stopping")]
    pub early_stopping: Option<EarlyStopping>,
}

/// End a fold when its validation loss has not improved for a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without an improvement before the fold ends, at least 1.
    pub patience: u32,
    /// What counts as an improvement: more than this. Default: 0.
    #[serde(default)]
    pub min_delta: f64,
}

impl StudySpec {
    /// The value of a model or train setting that the file fixes in its section.
    pub fn fixed_setting(&self, name: &str) -> Option<ParamValue> {
        let of = |section: serde_json::Value| ParamValue::from_json(section.get(name)?.clone());
        // What is in a section and no setting is no word, number or list that a setting could be taken for.
        of(serde_json::to_value(&self.model).ok()?).or_else(|| of(serde_json::to_value(&self.train).ok()?))
    }

    /// Fixes a model or train setting in its section.
    ///
    /// # Errors
    /// No section has such a setting, or it cannot have that value.
    pub fn fix_setting(&mut self, name: &str, value: &ParamValue) -> Result<(), String> {
        if let Some(model) = with(&self.model, name, value)? {
            self.model = model;
        } else if let Some(train) = with(&self.train, name, value)? {
            self.train = train;
        } else {
            return Err(format!("there is no setting {name}"));
        }
        Ok(())
    }

    /// Whether each trial's learning rate is found by a range test.
    pub fn finds_learning_rate(&self) -> bool {
        self.train.learning_rate == Some(LearningRate::Find)
    }
}

/// A section with another value for a key; none if it has no such key.
fn with<T: Serialize + DeserializeOwned>(
    section: &T,
    name: &str,
    value: &ParamValue,
) -> Result<Option<T>, String> {
    let mut table = match serde_json::to_value(section).map_err(|error| error.to_string())? {
        serde_json::Value::Object(table) => table,
        _ => return Ok(None),
    };
    // A section refuses what it does not know, and nothing else by that name.
    let known = serde_json::from_value::<T>(serde_json::json!({ name: null })).is_ok();
    if !known {
        return Ok(None);
    }
    table.insert(name.to_owned(), value.to_json());
    serde_json::from_value(table.into()).map(Some).map_err(|error| format!("{name}: {error}"))
}
