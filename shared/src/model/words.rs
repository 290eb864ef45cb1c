//! The words of the settings, and the learning rate, which is a number or a word.

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::setting::FIND;
use crate::state::words;

/// The networks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Three strided convolutions and two linear layers, mirrored; for 28x28 images.
    Lab,
    /// Convolutions of your own and two linear layers, mirrored; for images of any size.
    Symmetric,
}

words!(
    /// The optimizers there are.
    Optimizer {
        /// Adam with the L2 term added to the gradient.
        Adam = "adam",
        /// Adam with the weights shrunk beside the step.
        AdamW = "adamw",
        /// Adam with the greatest gradient so far in place of the root of the mean square.
        Adamax = "adamax",
        /// Stochastic gradient descent, with a momentum if one is set.
        Sgd = "sgd",
        /// Steps divided by the root of the mean square of the gradients.
        RmsProp = "rmsprop",
    }
);

words!(
    /// What comes after a layer.
    Activation {
        /// max(x, 0).
        Relu = "relu",
        /// x above 0, 0.01 x below.
        LeakyRelu = "leaky-relu",
        /// x above 0, exp(x) - 1 below.
        Elu = "elu",
        /// x times the normal distribution function of x.
        Gelu = "gelu",
        /// x times the logistic function of x.
        Silu = "silu",
        /// The hyperbolic tangent.
        Tanh = "tanh",
    }
);

words!(
    /// How the learning rate changes in a training.
    Schedule {
        /// Not at all.
        Constant = "constant",
        /// Step by step along half a cosine, from the learning rate to 0 at the end of the last epoch.
        Cosine = "cosine",
    }
);

impl Optimizer {
    /// Whether it has a momentum.
    pub fn has_momentum(self) -> bool {
        matches!(self, Self::Sgd | Self::RmsProp)
    }
}

/// The step size of an optimizer: given, or found by a range test before the first epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LearningRate {
    /// This.
    Fixed(f64),
    /// Found by the worker.
    Find,
}

impl LearningRate {
    /// The number, if it is one.
    pub fn fixed(self) -> Option<f64> {
        match self {
            Self::Fixed(rate) => Some(rate),
            Self::Find => None,
        }
    }
}

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(rate) => serializer.serialize_f64(*rate),
            Self::Find => serializer.serialize_str(FIND),
        }
    }
}

impl<'de> Deserialize<'de> for LearningRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateOrWord;

        impl Visitor<'_> for RateOrWord {
            type Value = LearningRate;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a number above 0, or \"{FIND}\"")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(LearningRate::Fixed(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(LearningRate::Fixed(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(LearningRate::Fixed(number as f64))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                if word == FIND {
                    return Ok(LearningRate::Find);
                }
                Err(E::invalid_value(de::Unexpected::Str(word), &self))
            }
        }

        deserializer.deserialize_any(RateOrWord)
    }
}

impl JsonSchema for LearningRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LearningRate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "const": FIND }]
        })
    }
}
