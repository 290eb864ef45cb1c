//! The settings of models and training, what each may be, and the arithmetic of shapes: enough for a
//! coordinator without libtorch to refuse what no worker could train.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::space::Domain;
use crate::spec::{EarlyStopping, StudySpec};
use crate::value::{ParamValue, Params};

/// The networks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Three strided convolutions and two linear layers, mirrored; for 28x28 images.
    Lab,
}

/// The optimizers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam with the L2 term added to the gradient.
    Adam,
}

impl std::str::FromStr for Optimizer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "adam" => Ok(Self::Adam),
            other => Err(format!("unknown optimizer `{other}`; there is: adam")),
        }
    }
}

/// What a setting may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A real number in `[low, high]`, without `high` itself if `open`.
    Float {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
        /// Whether `low` itself is out.
        above: bool,
        /// Whether `high` itself is out.
        open: bool,
    },
    /// A whole number in `[low, high]`.
    Int {
        /// The least value.
        low: i64,
        /// The greatest value.
        high: i64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A model or train setting: fixed in its section of the study file, or searched in the space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// The section it is fixed in.
    pub section: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is where neither the file nor a trial says; none for one that must be given.
    pub default: Option<Default>,
}

/// What a setting is where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// A real number.
    Float(f64),
    /// A whole number.
    Int(i64),
    /// A word.
    Word(&'static str),
}

impl From<Default> for ParamValue {
    fn from(default: Default) -> Self {
        match default {
            Default::Float(number) => Self::Float(number),
            Default::Int(number) => Self::Int(number),
            Default::Word(word) => Self::Text(word.into()),
        }
    }
}

const SETTINGS: &[Setting] = &[
    Setting { name: "latent_dim", section: "model", kind: Kind::Int { low: 1, high: 65_536 }, default: None },
    Setting {
        name: "dropout",
        section: "model",
        kind: Kind::Float { low: 0.0, high: 1.0, above: false, open: true },
        default: Some(Default::Float(0.0)),
    },
    Setting {
        name: "optimizer",
        section: "train",
        kind: Kind::Word(&["adam"]),
        default: Some(Default::Word("adam")),
    },
    Setting {
        name: "learning_rate",
        section: "train",
        kind: Kind::Float { low: 0.0, high: 1e6, above: true, open: false },
        default: Some(Default::Float(1e-3)),
    },
    Setting {
        name: "weight_decay",
        section: "train",
        kind: Kind::Float { low: 0.0, high: 1e6, above: false, open: false },
        default: Some(Default::Float(0.0)),
    },
    Setting {
        name: "batch_size",
        section: "train",
        kind: Kind::Int { low: 1, high: 1 << 20 },
        default: Some(Default::Int(256)),
    },
];

/// The settings of a network and its training.
pub fn settings(network: Network) -> &'static [Setting] {
    match network {
        Network::Lab => SETTINGS,
    }
}

impl Setting {
    /// Whether this setting can have that value; says what it can be if not.
    pub fn check(&self, value: &ParamValue) -> Result<(), String> {
        let name = self.name;
        let wrong = |expected: String| Err(format!("{name} cannot be {value}, {}; {expected}", value.kind()));
        match self.kind {
            Kind::Float { low, high, above, open } => match value.as_f64() {
                Some(number)
                    if (low..=high).contains(&number)
                        && !(above && number == low)
                        && !(open && number == high) =>
                {
                    Ok(())
                }
                _ => {
                    let from = if above { "above" } else { "from" };
                    let to = if open { "up to but not" } else { "to" };
                    wrong(format!("it must be a number {from} {low} {to} {high}"))
                }
            },
            Kind::Int { low, high } => match value.as_i64() {
                Some(number) if (low..=high).contains(&number) => Ok(()),
                _ => wrong(format!("it must be a whole number from {low} to {high}")),
            },
            Kind::Word(words) => match value.as_str() {
                Some(text) if words.contains(&text) => Ok(()),
                _ => wrong(format!("it must be one of: {}", words.join(", "))),
            },
        }
    }

    /// Whether every value of `domain` suits this setting.
    pub fn check_domain(&self, domain: &Domain) -> Result<(), String> {
        match domain {
            Domain::Float { low, high, .. } => {
                self.check(&ParamValue::Float(*low))?;
                self.check(&ParamValue::Float(*high))
            }
            Domain::Int { low, high, .. } => {
                self.check(&ParamValue::Int(*low))?;
                self.check(&ParamValue::Int(*high))
            }
            Domain::Choice(values) => values.iter().try_for_each(|value| self.check(value)),
            Domain::Bool => self.check(&ParamValue::Bool(true)),
            Domain::Fixed(value) => self.check(value),
        }
    }
}

/// Everything a worker needs to know to train one fold of one trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrialSettings {
    /// The network.
    pub network: Network,
    /// The length of a code.
    pub latent_dim: i64,
    /// The fraction of units dropped.
    pub dropout: f64,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Its step size.
    pub learning_rate: f64,
    /// Its L2 term.
    pub weight_decay: f64,
    /// Images a step.
    pub batch_size: i64,
    /// Epochs at most.
    pub epochs: u32,
    /// When to end sooner.
    pub early_stopping: Option<EarlyStopping>,
}

impl TrialSettings {
    /// The study's fixed settings with a trial's params over them.
    ///
    /// # Errors
    /// A setting that is nowhere given, or that cannot have its value; the message names it.
    pub fn resolve(spec: &StudySpec, params: &Params) -> Result<Self, String> {
        let network = spec.model.network.ok_or("the study trains no network")?;
        let value = |name: &str| -> Result<ParamValue, String> {
            let known = settings(network).iter().find(|setting| setting.name == name);
            let setting = known.ok_or_else(|| format!("{name} is no setting of this network"))?;
            let given = params.get(name).cloned().or_else(|| spec.fixed_setting(name));
            // A param of a branch that this trial does not have; one that it must have has no default.
            let default = setting.default.filter(|_| !spec.space.has(name, params));
            let value = given.or_else(|| default.map(ParamValue::from));
            let value = value.ok_or_else(|| format!("{name} has no value"))?;
            setting.check(&value)?;
            Ok(value)
        };
        let float = |name: &str| value(name)?.as_f64().ok_or_else(|| format!("{name} must be a number"));
        let int = |name: &str| value(name)?.as_i64().ok_or_else(|| format!("{name} must be a whole number"));
        Ok(Self {
            network,
            latent_dim: int("latent_dim")?,
            dropout: float("dropout")?,
            optimizer: value("optimizer")?.as_str().unwrap_or_default().parse()?,
            learning_rate: float("learning_rate")?,
            weight_decay: float("weight_decay")?,
            batch_size: int("batch_size")?,
            epochs: spec.epochs(),
            early_stopping: spec.train.early_stopping,
        })
    }
}

/// A strided convolution: kernel, stride, padding, and the output padding of its mirror image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// The side of the kernel.
    pub kernel: i64,
    /// The step between outputs.
    pub stride: i64,
    /// Zeros around the input.
    pub padding: i64,
    /// Rows that the transposed convolution of the decoder adds at the end.
    pub output_padding: i64,
}

/// The convolutions of the "lab" network.
pub const LAB_CONVOLUTIONS: [ConvShape; 3] = [
    ConvShape { kernel: 3, stride: 2, padding: 1, output_padding: 1 },
    ConvShape { kernel: 3, stride: 2, padding: 1, output_padding: 1 },
    ConvShape { kernel: 3, stride: 2, padding: 0, output_padding: 0 },
];

/// The side of the "lab" network's last feature map, which its linear layers expect.
pub const LAB_FEATURE_SIDE: i64 = 3;

impl ConvShape {
    /// The length of the output for an input of `length`; none if the kernel does not fit.
    pub fn output(&self, length: i64) -> Option<i64> {
        let room = length + 2 * self.padding - self.kernel;
        (room >= 0).then(|| room / self.stride + 1)
    }

    /// The length that the transposed convolution makes of `length`.
    pub fn transposed(&self, length: i64) -> i64 {
        (length - 1) * self.stride - 2 * self.padding + self.kernel + self.output_padding
    }
}

/// Checks that a network can take images of this shape and give back the same shape.
///
/// # Errors
/// A message that names the layer that cannot, and what it would need.
pub fn check_shape(network: Network, height: usize, width: usize) -> Result<(), String> {
    let Network::Lab = network;
    for (axis, size) in [("height", height), ("width", width)] {
        let mut length = i64::try_from(size).map_err(|_| format!("the {axis} {size} is too large"))?;
        for (layer, shape) in LAB_CONVOLUTIONS.iter().enumerate() {
            let input = length;
            length = shape.output(length).ok_or_else(|| {
                format!(
                    "images of {height}x{width}: convolution {} (kernel {}) gets a {axis} of {input}",
                    layer + 1,
                    shape.kernel
                )
            })?;
            let back = shape.transposed(length);
            if back != input {
                return Err(format!(
                    "images of {height}x{width}: the mirror of convolution {} makes a {axis} of {back} out of {input}; the lab network is for 28x28",
                    layer + 1
                ));
            }
        }
        if length != LAB_FEATURE_SIDE {
            return Err(format!(
                "images of {height}x{width} end as a feature map of {axis} {length} and not {LAB_FEATURE_SIDE}; the lab network is for 28x28"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_network_takes_28_by_28_only() {
        assert_eq!(check_shape(Network::Lab, 28, 28), Ok(()));
        for (height, width, part) in [
            (32, 32, "mirror"),
            (12, 12, "end as a feature map"),
            (28, 27, "width"),
            (0, 28, "height"),
            (1, 28, "mirror"),
        ] {
            let error = check_shape(Network::Lab, height, width).expect_err("it cannot");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn settings_know_their_values() {
        let dropout =
            settings(Network::Lab).iter().find(|setting| setting.name == "dropout").expect("dropout");
        assert!(dropout.check(&ParamValue::Float(0.0)).is_ok());
        assert!(dropout.check(&ParamValue::Int(1)).is_err());
        assert!(dropout.check(&ParamValue::Float(f64::NAN)).is_err());
        assert!(
            dropout.check_domain(&Domain::Float { low: 0.0, high: 1.0, log: false, step: None }).is_err()
        );
        let latent =
            settings(Network::Lab).iter().find(|setting| setting.name == "latent_dim").expect("latent_dim");
        assert!(latent.check(&ParamValue::Float(4.0)).is_err());
        assert!(latent.check(&ParamValue::Int(0)).is_err());
    }
}
