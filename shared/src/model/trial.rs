//! The settings of one trial: what its study fixes, with its params over it.

use serde::{Deserialize, Serialize};

use super::setting::{channels, check_convolutions, convolutions};
use super::{
    Activation, FIND, LAB_CHANNELS, LAB_CONVOLUTIONS, LAB_UNITS, LearningRate, Network, Optimizer, Schedule,
    layers, settings_of,
};
use crate::space::Domain;
use crate::spec::{CorruptionSection, EarlyStopping, Objective, SpecError, StudySpec};
use crate::value::{ParamValue, Params};

/// A network with all its settings. The "lab" network is the symmetric one with settings of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// The network.
    pub network: Network,
    /// The length of a code.
    pub latent_dim: i64,
    /// The fraction of the linear layers' units dropped in training.
    pub dropout: f64,
    /// Kernel, stride and padding of the encoder's convolutions.
    pub convolutions: Vec<[i64; 3]>,
    /// The channels that each of them gives.
    pub channels: Vec<i64>,
    /// The units of the linear layers next to the convolutions.
    pub linear_units: i64,
    /// Whether an instance normalization follows each convolution.
    pub instance_norm: bool,
    /// What follows each layer.
    pub activation: Activation,
    /// Whether the code is drawn from a normal distribution that the encoder gives.
    pub variational: bool,
    /// The weight of the KL divergence in the loss of a variational network.
    pub beta: f64,
}

/// Everything a worker needs to know to train one fold of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialSettings {
    /// The network.
    pub model: ModelSettings,
    /// What is done to its input in training.
    pub corruption: CorruptionSection,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Its step size.
    pub learning_rate: LearningRate,
    /// The momentum of sgd and rmsprop; 0 for all others.
    pub momentum: f64,
    /// The L2 term.
    pub weight_decay: f64,
    /// Images a step.
    pub batch_size: i64,
    /// How the step size changes.
    pub schedule: Schedule,
    /// Epochs at most.
    pub epochs: u32,
    /// When to end sooner.
    pub early_stopping: Option<EarlyStopping>,
}

/// Finds the value of a setting: a trial's, else the study's, else the default.
struct Values<'a> {
    spec: &'a StudySpec,
    params: &'a Params,
}

impl Values<'_> {
    fn get(&self, name: &str) -> Result<ParamValue, String> {
        let (spec, params) = (self.spec, self.params);
        let fixed = spec.fixed_setting(name);
        // What a transfer takes over from its source is in its spec, though it is no setting of its own.
        let own = settings_of(spec).iter();
        let all =
            own.chain(spec.model.network.map_or(&[][..], super::settings)).find(|known| known.name == name);
        let setting = all.ok_or_else(|| format!("{name} is no setting of this network"))?;
        let given = params.get(name).cloned().or(fixed);
        // A param of a branch that this trial does not have; one that it must have has no default.
        let default = setting.default.filter(|_| !spec.space.has(name, params));
        let value = given.or_else(|| default.map(ParamValue::from));
        let value = value.ok_or_else(|| format!("{name} has no value"))?;
        setting.check(&value)?;
        Ok(value)
    }

    fn float(&self, name: &str) -> Result<f64, String> {
        self.get(name)?.as_f64().ok_or_else(|| format!("{name} must be a number"))
    }

    fn int(&self, name: &str) -> Result<i64, String> {
        self.get(name)?.as_i64().ok_or_else(|| format!("{name} must be a whole number"))
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name)? {
            ParamValue::Bool(flag) => Ok(flag),
            _ => Err(format!("{name} must be true or false")),
        }
    }

    fn word<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, String> {
        let value = self.get(name)?;
        value.as_str().unwrap_or_default().parse().map_err(|error| format!("{name}: {error}"))
    }
}

impl TrialSettings {
    /// The study's fixed settings with a trial's params over them.
    ///
    /// # Errors
    /// A setting that is nowhere given, or that cannot have its value; the message names it.
    pub fn resolve(spec: &StudySpec, params: &Params) -> Result<Self, String> {
        let values = Values { spec, params };
        let optimizer: Optimizer = values.word("optimizer")?;
        let momentum = if optimizer.has_momentum() { values.float("momentum")? } else { 0.0 };
        let learning_rate = match values.get("learning_rate")? {
            ParamValue::Text(text) if text == FIND => LearningRate::Find,
            value => LearningRate::Fixed(value.as_f64().ok_or("learning_rate must be a number")?),
        };
        Ok(Self {
            model: ModelSettings::resolve(spec, params)?,
            corruption: spec.corruption.clone(),
            optimizer,
            learning_rate,
            momentum,
            weight_decay: values.float("weight_decay")?,
            batch_size: values.int("batch_size")?,
            schedule: values.word("schedule")?,
            epochs: spec.epochs(),
            early_stopping: spec.train.early_stopping,
        })
    }
}

impl ModelSettings {
    /// The network of a study's fixed settings with a trial's params over them.
    ///
    /// # Errors
    /// As [`TrialSettings::resolve`].
    pub fn resolve(spec: &StudySpec, params: &Params) -> Result<Self, String> {
        let values = Values { spec, params };
        let network = spec.model.network.ok_or("the study trains no network")?;
        let variational = values.flag("variational")?;
        let lab = Self {
            network,
            latent_dim: values.int("latent_dim")?,
            dropout: values.float("dropout")?,
            convolutions: LAB_CONVOLUTIONS.to_vec(),
            channels: LAB_CHANNELS.to_vec(),
            linear_units: LAB_UNITS,
            instance_norm: false,
            activation: Activation::Relu,
            variational,
            beta: if variational { values.float("beta")? } else { 1.0 },
        };
        match network {
            Network::Lab => Ok(lab),
            Network::Symmetric => {
                let symmetric = Self {
                    convolutions: convolutions(&values.get("convolutions")?).unwrap_or_default(),
                    channels: channels(&values.get("channels")?).unwrap_or_default(),
                    linear_units: values.int("linear_units")?,
                    instance_norm: values.flag("instance_norm")?,
                    activation: values.word("activation")?,
                    ..lab
                };
                check_lengths(&symmetric.convolutions, &symmetric.channels)?;
                Ok(symmetric)
            }
        }
    }
}

fn check_lengths(convolutions: &[[i64; 3]], channels: &[i64]) -> Result<(), String> {
    if convolutions.len() == channels.len() {
        return Ok(());
    }
    Err(format!(
        "{} convolutions and {} numbers of channels do not go together; give each convolution one",
        convolutions.len(),
        channels.len()
    ))
}

/// Every value that a setting of a study can have, with its place in the file.
fn possible(spec: &StudySpec, name: &str) -> (String, Vec<ParamValue>) {
    if let Some(param) = spec.space.0.get(name) {
        let values = match &param.domain {
            Domain::Choice(values) => values.clone(),
            Domain::Fixed(value) => vec![value.clone()],
            _ => Vec::new(),
        };
        return (format!("space.{name}"), values);
    }
    let setting = settings_of(spec).iter().find(|setting| setting.name == name);
    let fixed = spec.fixed_setting(name).or_else(|| setting?.default.map(ParamValue::from));
    (format!("model.{name}"), fixed.into_iter().collect())
}

/// Checks that every network which a study may build goes together, whatever the images.
///
/// # Errors
/// The first choice of convolutions that has no channels of its length.
pub(crate) fn check_networks(spec: &StudySpec) -> Result<(), SpecError> {
    if spec.model.network != Some(Network::Symmetric) || spec.study.objective != Objective::Training {
        return Ok(());
    }
    let (_, all) = possible(spec, "convolutions");
    let (key, widths) = possible(spec, "channels");
    for layers in all.iter().filter_map(convolutions) {
        for widths in widths.iter().filter_map(channels) {
            check_lengths(&layers, &widths).map_err(|message| SpecError::new(&key, message))?;
        }
    }
    Ok(())
}

/// Checks that every network which a study may build can take images of this shape and give back the same shape.
///
/// # Errors
/// The first that cannot; the message names the layer.
pub fn check_images(spec: &StudySpec, height: usize, width: usize) -> Result<(), SpecError> {
    let (rows, columns) =
        (i64::try_from(height).unwrap_or(i64::MAX / 4), i64::try_from(width).unwrap_or(i64::MAX / 4));
    match spec.model.network {
        None => Ok(()),
        Some(Network::Lab) if (height, width) == (28, 28) => Ok(()),
        Some(Network::Lab) => Err(SpecError::new(
            "model.network",
            format!(
                "images of {height}x{width}: the lab network is for 28x28; network = \"symmetric\" takes any size"
            ),
        )),
        Some(Network::Symmetric) => {
            let (key, all) = possible(spec, "convolutions");
            let (norm_key, norms) = possible(spec, "instance_norm");
            let normalizes =
                spec.space.0.get("instance_norm").is_some_and(|param| param.domain == Domain::Bool)
                    || norms.contains(&ParamValue::Bool(true));
            for found in all.iter().filter_map(convolutions) {
                // Those that an evaluation has from a file were not looked at before.
                check_convolutions(&found).map_err(|message| SpecError::new(&key, message))?;
                let layers =
                    layers(&found, rows, columns).map_err(|message| SpecError::new(&key, message))?;
                // The mean of a single pixel is the pixel: nothing would be left of it.
                let single = layers.iter().position(|layer| layer.output == (1, 1)).filter(|_| normalizes);
                if let Some(layer) = single {
                    let message = format!(
                        "images of {height}x{width}: convolution {} gives a single pixel, of which an instance normalization \
                         leaves nothing; use fewer or smaller convolutions, or instance_norm = false",
                        layer + 1
                    );
                    return Err(SpecError::new(&norm_key, message));
                }
            }
            Ok(())
        }
    }
}
