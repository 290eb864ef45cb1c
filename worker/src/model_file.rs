//! A fitted model as a file: its weights under PyTorch's names, and with them all that is needed to build the network again.
//!
//! The file is in the safetensors format, so that any program can read it; what is no weight stands as text in its metadata.

use std::collections::{BTreeMap, HashMap};

use foldwise_shared::model::{self, ModelSettings};
use foldwise_shared::value::{ParamValue, Params};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use crate::model::ParameterSpec;
use crate::tensors::{check_offsets, read_values, shape, split};

/// The kind of artifact it is.
pub const KIND: &str = "model";
/// The format; another one is refused.
const FORMAT: &str = "foldwise-model-1";
/// The longest side of an image.
const LONGEST_SIDE: i64 = 1 << 14;

/// A fitted model without its weights: what it is, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// The network.
    pub settings: ModelSettings,
    /// Rows of the images.
    pub height: i64,
    /// Columns of the images.
    pub width: i64,
    /// The trial's params.
    pub params: Params,
    /// The study that fitted it.
    pub study: String,
    /// The epoch of the weights.
    pub epoch: u32,
    /// The validation loss after that epoch.
    pub validation_loss: f64,
}

/// A file that was read. Its tensors are not yet known to fit the network: [`ModelFile::weights`] says.
#[derive(Debug)]
pub struct ModelFile<'a> {
    /// What it is.
    pub info: ModelInfo,
    tensors: SafeTensors<'a>,
}

/// Why a file is no model of ours; reads well after "the model cannot be used: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model cannot be used: {0}")]
pub struct ModelFileError(pub String);

fn wrong<T>(message: impl Into<String>) -> Result<T, ModelFileError> {
    Err(ModelFileError(message.into()))
}

/// The settings as they stand in the file: those of the network with the size of its images.
#[derive(Serialize, Deserialize)]
struct Settings {
    #[serde(flatten)]
    model: ModelSettings,
    height: i64,
    width: i64,
}

/// The file of a model whose weights are `weights`, in a row in the order of `specs`.
///
/// # Errors
/// The weights do not fit `specs`.
pub fn to_bytes(
    info: &ModelInfo,
    weights: &[f32],
    specs: &[ParameterSpec],
) -> Result<Vec<u8>, ModelFileError> {
    let json = |value: serde_json::Result<String>| value.map_err(|error| ModelFileError(error.to_string()));
    let settings = Settings { model: info.settings.clone(), height: info.height, width: info.width };
    let params: serde_json::Map<String, serde_json::Value> =
        info.params.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
    // For readers that do not know the network's names: in the order of use, and without the log-variance's, which a
    // reconstruction does not need.
    let layers = specs.iter().filter_map(|spec| spec.name.strip_suffix(".weight"));
    let layers: Vec<&str> = layers.filter(|name| !name.ends_with("log_variance")).collect();
    let metadata = HashMap::from([
        ("layers".to_owned(), json(serde_json::to_string(&layers))?),
        ("format".to_owned(), FORMAT.to_owned()),
        ("settings".to_owned(), json(serde_json::to_string(&settings))?),
        ("params".to_owned(), json(serde_json::to_string(&params))?),
        ("study".to_owned(), info.study.clone()),
        ("epoch".to_owned(), info.epoch.to_string()),
        ("validation_loss".to_owned(), info.validation_loss.to_string()),
    ]);
    let tensors = split("", weights, specs).map_err(ModelFileError)?;
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let file = views
        .and_then(|views| serialize(views, Some(metadata)))
        .map_err(|error| ModelFileError(error.to_string()))?;
    with_sorted_metadata(&file).map_err(ModelFileError)
}

/// The crate writes the metadata in the order of a hash; sorted, the same model is always the same file.
fn with_sorted_metadata(file: &[u8]) -> Result<Vec<u8>, String> {
    let broken = || "the header of its file is broken".to_owned();
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(broken)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(broken)?;
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| error.to_string())?;
    if let Some(serde_json::Value::Object(metadata)) = header.get_mut("__metadata__") {
        let sorted: BTreeMap<String, serde_json::Value> = std::mem::take(metadata).into_iter().collect();
        metadata.extend(sorted);
    }
    let mut text = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    // The numbers behind it are aligned.
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat())
}

impl<'a> ModelFile<'a> {
    /// Reads what [`to_bytes`] wrote; a network that could not be in a study is refused.
    ///
    /// # Errors
    /// Anything else; the message says what is wrong.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, ModelFileError> {
        check_offsets(bytes).map_err(ModelFileError)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| ModelFileError(format!("its header makes no sense: {error}")))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let text = |key: &str| match metadata.get(key) {
            Some(text) => Ok(text.as_str()),
            None => wrong(format!("its metadata lacks the key `{key}`; it is no model that Foldwise fitted")),
        };
        let format = text("format")?;
        if format != FORMAT {
            return wrong(format!("its format is {format:?}, and this program knows {FORMAT:?}"));
        }
        let nonsense = |key: &str, error: &dyn std::fmt::Display| {
            ModelFileError(format!("its `{key}` makes no sense: {error}"))
        };
        let Settings { model: settings, height, width } =
            serde_json::from_str(text("settings")?).map_err(|error| nonsense("settings", &error))?;
        check_settings(&settings, height, width).map_err(|error| nonsense("settings", &error))?;
        let params: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text("params")?).map_err(|error| nonsense("params", &error))?;
        let params =
            params.into_iter().filter_map(|(name, value)| Some((name, ParamValue::from_json(value)?)));
        let epoch = text("epoch")?.parse().map_err(|error| nonsense("epoch", &error))?;
        let validation_loss =
            text("validation_loss")?.parse().map_err(|error| nonsense("validation_loss", &error))?;
        let info = ModelInfo {
            settings,
            height,
            width,
            params: params.collect(),
            study: text("study")?.to_owned(),
            epoch,
            validation_loss,
        };
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| ModelFileError(format!("its tensors make no sense: {error}")))?;
        Ok(Self { info, tensors })
    }

    /// The weights in a row, in the order of `specs`.
    ///
    /// # Errors
    /// A tensor that is missing, too many, of another shape or with a number that is not finite; the message names it.
    pub fn weights(&self, specs: &[ParameterSpec]) -> Result<Vec<f32>, ModelFileError> {
        let mut left: BTreeMap<&str, TensorView<'_>> = self.tensors.iter().collect();
        let mut weights = Vec::new();
        for spec in specs {
            let name = &spec.name;
            let Some(view) = left.remove(name.as_str()) else {
                return wrong(format!("the tensor {name} is missing"));
            };
            let (shape, _) = shape(spec).map_err(ModelFileError)?;
            let start = weights.len();
            read_values(name, &view, &shape, &mut weights).map_err(ModelFileError)?;
            if weights.iter().skip(start).any(|value| !value.is_finite()) {
                return wrong(format!("the tensor {name} has a number that is not finite"));
            }
        }
        match left.keys().next() {
            None => Ok(weights),
            Some(name) => wrong(format!("its network has no tensor {name:?}")),
        }
    }
}

/// Whether a study could have such a network: no more is built from a file than from a study.
fn check_settings(settings: &ModelSettings, height: i64, width: i64) -> Result<(), String> {
    for (name, side) in [("height", height), ("width", width)] {
        if !(1..=LONGEST_SIDE).contains(&side) {
            return Err(format!("{name} cannot be {side}; use 1 to {LONGEST_SIDE}"));
        }
    }
    let values = serde_json::to_value(settings).map_err(|error| error.to_string())?;
    // The settings of the symmetric network are those of any.
    for setting in model::settings(model::Network::Symmetric).iter().filter(|known| known.section == "model")
    {
        let value = values.get(setting.name).cloned().and_then(ParamValue::from_json);
        setting.check(&value.ok_or_else(|| format!("{} is missing", setting.name))?)?;
    }
    if settings.convolutions.len() != settings.channels.len() {
        return Err("there are not as many channels as convolutions".to_owned());
    }
    model::layers(&settings.convolutions, height, width).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;

    fn specs() -> Vec<ParameterSpec> {
        ParameterSpec::layer("enc.0", &[2, 3], 2).to_vec()
    }

    fn info() -> ModelInfo {
        ModelInfo {
            settings: settings().model,
            height: 28,
            width: 28,
            params: Params::from([
                ("learning_rate".into(), ParamValue::Float(0.1 + 0.2)),
                ("channels".into(), ParamValue::Table(Box::new(serde_json::json!([8, 16, 32])))),
            ]),
            study: "tiny-fit".into(),
            epoch: 12,
            validation_loss: 1.0 / 3.0,
        }
    }

    const WEIGHTS: [f32; 8] = [0.0, -0.0, 1e-40, 0.5, 3.0, f32::MIN, 0.1, -7.5];

    fn file() -> Vec<u8> {
        to_bytes(&info(), &WEIGHTS, &specs()).expect("it fits")
    }

    /// The file with another header.
    fn with(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let bytes = file();
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
        let mut header = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
        change(&mut header);
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
    }

    #[track_caller]
    fn refused(bytes: &[u8], words: &str) {
        let read = ModelFile::from_bytes(bytes).and_then(|file| file.weights(&specs()));
        let error = read.expect_err(words).to_string();
        assert!(error.starts_with("the model cannot be used: ") && error.contains(words), "{error}");
    }

    #[test]
    fn it_comes_back_to_the_bit() {
        let bytes = file();
        let read = ModelFile::from_bytes(&bytes).expect("its own");
        assert_eq!(read.info, info());
        let bits = |weights: &[f32]| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read.weights(&specs()).expect("they fit")), bits(&WEIGHTS));
        assert!(to_bytes(&info(), &WEIGHTS[..7], &specs()).is_err());
        assert!((0..20).all(|_| file() == bytes), "the same model is always the same file");
    }

    #[test]
    fn every_value_of_the_metadata_is_text() {
        let bytes = file();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("ours");
        let metadata = metadata.metadata().clone().expect("some");
        assert_eq!(metadata["format"], "foldwise-model-1");
        let settings: serde_json::Value = serde_json::from_str(&metadata["settings"]).expect("JSON");
        assert_eq!((&settings["network"], &settings["height"]), (&"lab".into(), &28.into()));
        assert_eq!(settings["channels"], serde_json::json!([8, 16, 32]));
        assert_eq!((metadata["epoch"].as_str(), metadata["layers"].as_str()), ("12", "[\"enc.0\"]"));
    }

    #[test]
    fn another_file_is_refused_and_the_tensor_is_named() {
        refused(b"", "cut off after 0 bytes");
        refused(&[&2u64.to_le_bytes()[..], b"{}"].concat(), "lacks the key `format`");
        let meta = |key: &'static str, text: &'static str| {
            with(move |header| header["__metadata__"][key] = text.into())
        };
        refused(&meta("format", "foldwise-model-2"), "its format is \"foldwise-model-2\"");
        refused(&meta("settings", "{"), "`settings` makes no sense");
        refused(&meta("epoch", "-1"), "`epoch` makes no sense");
        refused(&meta("validation_loss", "good"), "`validation_loss` makes no sense");
        refused(&meta("params", "[]"), "`params` makes no sense");
        let setting = |key: &'static str, value: serde_json::Value| {
            with(move |header| {
                let text = header["__metadata__"]["settings"].as_str().expect("text");
                let mut settings: serde_json::Value = serde_json::from_str(text).expect("JSON");
                settings[key] = value.clone();
                header["__metadata__"]["settings"] = settings.to_string().into();
            })
        };
        refused(&setting("latent_dim", 0.into()), "latent_dim cannot be 0");
        refused(&setting("beta", (-1.0).into()), "beta cannot be -1");
        refused(&setting("height", 1_000_000.into()), "height cannot be 1000000");
        refused(&setting("width", 1.into()), "width of 1");
        refused(&setting("channels", serde_json::json!([8])), "as many channels");
        refused(&setting("activation", "reluu".into()), "reluu");
        let renamed = with(|header| {
            let tensor = header["enc.0.bias"].take();
            header.as_object_mut().expect("an object").remove("enc.0.bias");
            header["enc.9.bias"] = tensor;
        });
        refused(&renamed, "the tensor enc.0.bias is missing");
        let other = ParameterSpec::layer("enc.0", &[3, 2], 2);
        let bytes = file();
        let read = ModelFile::from_bytes(&bytes).expect("its own");
        let error = read.weights(&other).expect_err("another shape").to_string();
        assert!(error.contains("enc.0.weight is F32 [2, 3], not F32 [3, 2]"), "{error}");
        let error = read.weights(&other[..0]).expect_err("too many").to_string();
        assert!(error.contains("no tensor \"enc.0.bias\""), "{error}");
        let mut odd = WEIGHTS;
        odd[7] = f32::NAN;
        refused(&to_bytes(&info(), &odd, &specs()).expect("it fits"), "enc.0.bias has a number");
    }

    #[test]
    fn a_torn_file_is_refused_wherever_it_is_torn() {
        let bytes = file();
        for length in 0..bytes.len() {
            assert!(ModelFile::from_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
