//! What each setting of a model or a training may be.

use crate::space::Domain;
use crate::value::ParamValue;

use super::words::{Activation, Optimizer, Schedule};

/// The word that asks for a learning rate by the range test.
pub const FIND: &str = "find";

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
    /// A real number above 0 and up to this, or the word `find`.
    Rate {
        /// The greatest value.
        high: f64,
    },
    /// A whole number in `[low, high]`.
    Int {
        /// The least value.
        low: i64,
        /// The greatest value.
        high: i64,
    },
    /// true or false.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Convolutions: a list of `[kernel, stride, padding]`.
    Convolutions,
    /// Whole numbers from 1, one a convolution.
    Channels,
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
    /// Whether the effective study file names the default. One that has a meaning only beside another setting's value
    /// stands there only where somebody gave it.
    pub written: bool,
}

/// What a setting is where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// A real number.
    Float(f64),
    /// A whole number.
    Int(i64),
    /// true or false.
    Bool(bool),
    /// A word.
    Word(&'static str),
    /// Convolutions: kernel, stride and padding of each.
    Convolutions(&'static [[i64; 3]]),
    /// Channels of the convolutions.
    Channels(&'static [i64]),
}

impl From<Default> for ParamValue {
    fn from(default: Default) -> Self {
        match default {
            Default::Float(number) => Self::Float(number),
            Default::Int(number) => Self::Int(number),
            Default::Bool(flag) => Self::Bool(flag),
            Default::Word(word) => Self::Text(word.into()),
            Default::Convolutions(layers) => {
                let layers: Vec<serde_json::Value> =
                    layers.iter().map(|layer| layer.to_vec().into()).collect();
                Self::Table(Box::new(layers.into()))
            }
            Default::Channels(channels) => Self::Table(Box::new(channels.to_vec().into())),
        }
    }
}

/// The most channels, units or numbers of a code.
const WIDE: i64 = 65_536;
/// The most convolutions.
const MOST_LAYERS: usize = 64;
/// The largest kernel, stride or padding.
const MOST_KERNEL: i64 = 1_024;

const fn setting(name: &'static str, section: &'static str, kind: Kind, default: Option<Default>) -> Setting {
    Setting { name, section, kind, default, written: true }
}

const fn quiet(setting: Setting) -> Setting {
    Setting { written: false, ..setting }
}

const LATENT_DIM: Setting = setting("latent_dim", "model", Kind::Int { low: 1, high: WIDE }, None);
const DROPOUT: Setting = setting(
    "dropout",
    "model",
    Kind::Float { low: 0.0, high: 1.0, above: false, open: true },
    Some(Default::Float(0.0)),
);
const VARIATIONAL: Setting = quiet(setting("variational", "model", Kind::Bool, Some(Default::Bool(false))));
const BETA: Setting = quiet(setting(
    "beta",
    "model",
    Kind::Float { low: 0.0, high: 1e6, above: false, open: false },
    Some(Default::Float(1.0)),
));
const OPTIMIZER: Setting =
    setting("optimizer", "train", Kind::Word(Optimizer::WORDS), Some(Default::Word("adam")));
const LEARNING_RATE: Setting =
    setting("learning_rate", "train", Kind::Rate { high: 1e6 }, Some(Default::Float(1e-3)));
const MOMENTUM: Setting = quiet(setting(
    "momentum",
    "train",
    Kind::Float { low: 0.0, high: 1.0, above: false, open: true },
    Some(Default::Float(0.0)),
));
const WEIGHT_DECAY: Setting = setting(
    "weight_decay",
    "train",
    Kind::Float { low: 0.0, high: 1e6, above: false, open: false },
    Some(Default::Float(0.0)),
);
const BATCH_SIZE: Setting =
    setting("batch_size", "train", Kind::Int { low: 1, high: 1 << 20 }, Some(Default::Int(256)));
const SCHEDULE: Setting =
    quiet(setting("schedule", "train", Kind::Word(Schedule::WORDS), Some(Default::Word("constant"))));

/// The settings of the "lab" network and its training.
pub(super) const LAB: &[Setting] = &[
    LATENT_DIM,
    DROPOUT,
    VARIATIONAL,
    BETA,
    OPTIMIZER,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    BATCH_SIZE,
    SCHEDULE,
];

/// The settings of the "symmetric" network and its training.
pub(super) const SYMMETRIC: &[Setting] = &[
    LATENT_DIM,
    DROPOUT,
    setting(
        "convolutions",
        "model",
        Kind::Convolutions,
        Some(Default::Convolutions(&[[3, 2, 1], [3, 2, 1], [3, 1, 0]])),
    ),
    setting("channels", "model", Kind::Channels, Some(Default::Channels(&[32, 32, 64]))),
    setting("linear_units", "model", Kind::Int { low: 1, high: WIDE }, Some(Default::Int(256))),
    setting("instance_norm", "model", Kind::Bool, Some(Default::Bool(false))),
    setting("activation", "model", Kind::Word(Activation::WORDS), Some(Default::Word("leaky-relu"))),
    VARIATIONAL,
    BETA,
    OPTIMIZER,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    BATCH_SIZE,
    SCHEDULE,
];

/// The settings of a transfer: its network is the source's, of which only the dropout may be another.
pub(super) const TRANSFER: &[Setting] =
    &[DROPOUT, OPTIMIZER, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, BATCH_SIZE, SCHEDULE];

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
            Kind::Rate { high } => match value {
                ParamValue::Text(text) if text == FIND => Ok(()),
                value => match value.as_f64() {
                    Some(number) if number > 0.0 && number <= high => Ok(()),
                    _ => wrong(format!("it must be a number above 0 to {high}, or \"{FIND}\"")),
                },
            },
            Kind::Int { low, high } => match value.as_i64() {
                Some(number) if (low..=high).contains(&number) => Ok(()),
                _ => wrong(format!("it must be a whole number from {low} to {high}")),
            },
            Kind::Bool => match value {
                ParamValue::Bool(_) => Ok(()),
                _ => wrong("it must be true or false".into()),
            },
            Kind::Word(words) => match value.as_str() {
                Some(text) if words.contains(&text) => Ok(()),
                _ => wrong(format!("it must be one of: {}", words.join(", "))),
            },
            Kind::Convolutions => match convolutions(value) {
                Some(layers) => check_convolutions(&layers).map_err(|message| format!("{name}: {message}")),
                None => {
                    wrong("write [[kernel, stride, padding], ...], such as [[3, 2, 1], [3, 2, 1]]".into())
                }
            },
            Kind::Channels => match channels(value) {
                Some(channels) => match channels.iter().find(|count| !(1..=WIDE).contains(*count)) {
                    None if (1..=MOST_LAYERS).contains(&channels.len()) => Ok(()),
                    None => wrong(format!("it needs 1 to {MOST_LAYERS} numbers, one a convolution")),
                    Some(count) => wrong(format!("{count} channels cannot work, use 1 to {WIDE}")),
                },
                None => wrong("write whole numbers, one a convolution, such as [32, 32, 64]".into()),
            },
        }
    }

    /// Whether every value of `domain` suits this setting.
    pub fn check_domain(&self, domain: &Domain) -> Result<(), String> {
        let searched = |value: &ParamValue| match self.kind {
            Kind::Rate { .. } if value.as_str() == Some(FIND) => Err(format!(
                "a learning rate that is found is not searched: write learning_rate = \"{FIND}\" in [{}]",
                self.section
            )),
            _ => self.check(value),
        };
        match domain {
            Domain::Float { low, high, .. } => {
                searched(&ParamValue::Float(*low))?;
                searched(&ParamValue::Float(*high))
            }
            Domain::Int { low, high, .. } => {
                searched(&ParamValue::Int(*low))?;
                searched(&ParamValue::Int(*high))
            }
            Domain::Choice(values) => values.iter().try_for_each(searched),
            Domain::Bool => searched(&ParamValue::Bool(true)),
            Domain::Fixed(value) => searched(value),
        }
    }
}

/// Kernel, stride and padding of each convolution; none if the value is no such list.
pub(crate) fn convolutions(value: &ParamValue) -> Option<Vec<[i64; 3]>> {
    match value {
        ParamValue::Table(table) => serde_json::from_value((**table).clone()).ok(),
        _ => None,
    }
}

/// The channels of the convolutions; none if the value is no list of whole numbers.
pub(crate) fn channels(value: &ParamValue) -> Option<Vec<i64>> {
    match value {
        ParamValue::Table(table) => serde_json::from_value((**table).clone()).ok(),
        _ => None,
    }
}

/// Whether a network can have these convolutions.
pub(super) fn check_convolutions(layers: &[[i64; 3]]) -> Result<(), String> {
    if !(1..=MOST_LAYERS).contains(&layers.len()) {
        return Err(format!("{} convolutions cannot work; use 1 to {MOST_LAYERS}", layers.len()));
    }
    for (layer, [kernel, stride, padding]) in (1..).zip(layers) {
        for (what, number, least) in [("kernel", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)] {
            if !(least..=MOST_KERNEL).contains(number) {
                return Err(format!(
                    "convolution {layer} has the {what} {number}; use {least} to {MOST_KERNEL}"
                ));
            }
        }
        if padding >= kernel {
            return Err(format!(
                "convolution {layer} has the padding {padding} and the kernel {kernel}; the padding must be smaller"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Setting {
        *SYMMETRIC.iter().find(|setting| setting.name == name).expect("a setting")
    }

    fn table(json: serde_json::Value) -> ParamValue {
        ParamValue::from_json(json).expect("a value")
    }

    #[test]
    fn settings_know_their_values() {
        let dropout = named("dropout");
        assert!(dropout.check(&ParamValue::Float(0.0)).is_ok());
        assert!(dropout.check(&ParamValue::Int(1)).is_err());
        assert!(dropout.check(&ParamValue::Float(f64::NAN)).is_err());
        assert!(
            dropout.check_domain(&Domain::Float { low: 0.0, high: 1.0, log: false, step: None }).is_err()
        );
        assert!(named("latent_dim").check(&ParamValue::Float(4.0)).is_err());
        assert!(named("latent_dim").check(&ParamValue::Int(0)).is_err());
        let beta = named("beta").check(&ParamValue::Float(-0.5)).expect_err("below 0");
        assert!(beta.contains("from 0"), "{beta}");
        let activation = named("activation").check(&ParamValue::Text("reluu".into())).expect_err("unknown");
        assert!(activation.contains("leaky-relu"), "{activation}");
    }

    #[test]
    fn a_rate_is_found_where_it_is_fixed_and_nowhere_else() {
        let rate = named("learning_rate");
        let find = ParamValue::Text(FIND.into());
        assert_eq!(rate.check(&find), Ok(()));
        assert!(rate.check(&ParamValue::Float(0.0)).is_err());
        assert!(rate.check(&ParamValue::Text("search".into())).expect_err("no word").contains("\"find\""));
        let error = rate.check_domain(&Domain::Choice(vec![find])).expect_err("it is searched");
        assert!(error.contains("in [train]"), "{error}");
    }

    #[test]
    fn layers_say_what_is_wrong_with_them() {
        let convolutions = named("convolutions");
        assert_eq!(convolutions.check(&table(serde_json::json!([[3, 2, 1], [5, 1, 0]]))), Ok(()));
        for (json, part) in [
            (serde_json::json!([[3, 2]]), "[[kernel, stride, padding], ...]"),
            (serde_json::json!([]), "0 convolutions"),
            (serde_json::json!([[3, 2, 1], [0, 1, 0]]), "convolution 2 has the kernel 0"),
            (serde_json::json!([[3, 0, 1]]), "the stride 0"),
            (serde_json::json!([[3, 1, 3]]), "must be smaller"),
        ] {
            let error = convolutions.check(&table(json)).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
        let channels = named("channels");
        assert_eq!(channels.check(&table(serde_json::json!([16, 32]))), Ok(()));
        assert!(channels.check(&table(serde_json::json!([16, 0]))).is_err());
        assert!(channels.check(&table(serde_json::json!([]))).is_err());
        assert!(channels.check(&ParamValue::Int(3)).is_err());
    }
}
