//! A file of weights (safetensors): what it says of itself, and whether it is a model of given settings.

use std::collections::BTreeMap;

use foldwise_shared::artifact::Artifact;
use foldwise_shared::model::{ModelSettings, weights};
use foldwise_shared::spec::ModelSection;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

/// What the metadata of a model says its format is.
pub const FORMAT: &str = "foldwise-model-1";

/// The settings by which a network computes what it does; a model with another dropout or beta is no other one.
const TRAINED_WITH: [&str; 2] = ["dropout", "beta"];

/// Why a file is no model that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFileError {
    /// It is no such file at all.
    #[error("it is no model: {0}")]
    NoModel(String),
    /// It is a model of another network.
    #[error("it is a model of another shape: {0}")]
    OtherShape(String),
}

/// A file of weights in memory, its header read.
#[derive(Clone)]
pub struct ModelFile {
    bytes: Vec<u8>,
    digest: String,
    shapes: BTreeMap<String, Vec<i64>>,
    /// The section `[model]` that it was trained with, and the size of its images.
    settings: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelFile").field("digest", &self.digest).field("settings", &self.settings).finish()
    }
}

impl ModelFile {
    /// Reads the header of a file and looks at its weights.
    ///
    /// # Errors
    /// What is no safetensors file, or none that a fit wrote; weights that are no finite numbers of 32 bits.
    pub fn read(bytes: Vec<u8>) -> Result<Self, ModelFileError> {
        let wrong = |message: String| Err(ModelFileError::NoModel(message));
        let (_, header) = match SafeTensors::read_metadata(&bytes) {
            Ok(read) => read,
            Err(error) => return wrong(format!("it is no safetensors file ({error})")),
        };
        let said = header.metadata().clone().unwrap_or_default();
        match said.get("format").map(String::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                return wrong(format!("its format is {other:?}, and this program reads {FORMAT:?}"));
            }
            None => {
                return wrong(format!(
                    "its metadata names no format; `foldwise fit` writes files of the format {FORMAT:?}"
                ));
            }
        }
        let settings = said.get("settings").map(String::as_str).unwrap_or_default();
        let Ok(settings) = serde_json::from_str(settings) else {
            return wrong("the settings in its metadata are no JSON object".into());
        };
        let mut shapes = BTreeMap::new();
        for (name, info) in header.tensors() {
            if info.dtype != Dtype::F32 {
                return wrong(format!("its weight {name} is of type {:?}, not F32", info.dtype));
            }
            let shape = info.shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX)).collect();
            shapes.insert(name, shape);
        }
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let file = Self { bytes, digest, shapes, settings };
        match file.not_finite() {
            Some(name) => wrong(format!("its weight {name} holds a number that is not finite")),
            None => Ok(file),
        }
    }

    /// A weight that is NaN or infinite somewhere.
    fn not_finite(&self) -> Option<String> {
        let tensors = SafeTensors::deserialize(&self.bytes).ok()?;
        let is_finite = |bytes: &[u8]| {
            bytes.as_chunks::<4>().0.iter().all(|number| f32::from_le_bytes(*number).is_finite())
        };
        tensors.iter().find(|(_, view)| !is_finite(view.data())).map(|(name, _)| name.to_owned())
    }

    /// Its content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its place among the artifacts.
    pub fn artifact(&self) -> Artifact {
        Artifact { digest: self.digest.clone(), bytes: self.bytes.len() as u64 }
    }

    /// The section `[model]` that it was trained with.
    ///
    /// # Errors
    /// Settings that are none.
    pub fn section(&self) -> Result<ModelSection, ModelFileError> {
        let mut section = self.settings.clone();
        section.retain(|name, _| !["height", "width"].contains(&name.as_str()));
        serde_json::from_value(section.into())
            .map_err(|error| ModelFileError::NoModel(format!("the settings in its metadata: {error}")))
    }

    /// Whether these are the weights of a network with these settings, for images of that size.
    ///
    /// # Errors
    /// The first thing that is another.
    pub fn check(&self, settings: &ModelSettings, height: u32, width: u32) -> Result<(), ModelFileError> {
        let other = |message: String| Err(ModelFileError::OtherShape(message));
        let said = |name: &str| self.settings.get(name);
        for (name, wanted) in [("height", height), ("width", width)] {
            if let Some(found) = said(name).filter(|found| found.as_u64() != Some(wanted.into())) {
                return other(format!(
                    "it is for images whose {name} is {found}, and the study's is {wanted}"
                ));
            }
        }
        let wanted = match serde_json::to_value(settings) {
            Ok(serde_json::Value::Object(wanted)) => wanted,
            _ => serde_json::Map::new(),
        };
        for (name, wanted) in wanted {
            let counts = !TRAINED_WITH.contains(&name.as_str());
            if let Some(found) = said(&name).filter(|found| counts && **found != wanted) {
                return other(format!("its {name} is {found}, and the study's is {wanted}"));
            }
        }
        let wanted = weights(settings, height.into(), width.into()).map_err(ModelFileError::OtherShape)?;
        for weight in &wanted {
            let name = &weight.name;
            match self.shapes.get(name) {
                None => return other(format!("it has no weight {name}, of shape {:?}", weight.shape)),
                Some(found) if *found != weight.shape => {
                    return other(format!(
                        "its weight {name} has the shape {found:?}, and the study's {:?}",
                        weight.shape
                    ));
                }
                Some(_) => {}
            }
        }
        match self.shapes.keys().find(|name| !wanted.iter().any(|weight| weight.name == **name)) {
            Some(name) => other(format!("it has a weight {name}, which the study's network has not")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use foldwise_shared::spec::{StudySpec, parse};
    use foldwise_shared::value::Params;
    use safetensors::tensor::TensorView;

    use super::*;

    pub(crate) fn fit(sets: &[&str]) -> StudySpec {
        let text = "version = 1\nfit = {}\nstudy = { name = \"f\" }\ndata = { dataset = \"mnist\", holdout = 5 }\n\
                    train = { epochs = 2 }\nmodel = { network = \"lab\", latent_dim = 6 }\nbudget = { trials = 1 }\n";
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        parse(text, &sets).expect("a study file")
    }

    fn settings(sets: &[&str]) -> ModelSettings {
        ModelSettings::resolve(&fit(sets), &Params::new()).expect("settings")
    }

    /// A model of these settings as a worker writes it, for 28x28 images; every weight has this value.
    pub(crate) fn model(settings: &ModelSettings, value: f32) -> Vec<u8> {
        let mut said = serde_json::to_value(settings).expect("JSON");
        said["height"] = 28.into();
        said["width"] = 28.into();
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("settings".to_owned(), said.to_string()),
        ]);
        let weights = weights(settings, 28, 28).expect("weights");
        let data: Vec<(String, Vec<usize>, Vec<u8>)> = weights
            .into_iter()
            .map(|weight| {
                let shape: Vec<usize> = weight.shape.iter().map(|side| *side as usize).collect();
                (weight.name, shape.clone(), value.to_le_bytes().repeat(shape.iter().product()))
            })
            .collect();
        let views = data.iter().map(|(name, shape, data)| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).expect("a tensor"))
        });
        safetensors::serialize(views, Some(metadata)).expect("a file")
    }

    #[test]
    fn a_model_is_known_by_its_settings_and_shapes() {
        let file = ModelFile::read(model(&settings(&[]), 0.5)).expect("a model");
        assert_eq!(file.check(&settings(&[]), 28, 28), Ok(()));
        assert_eq!(file.check(&settings(&["model.dropout=0.3"]), 28, 28), Ok(()), "no other network");
        let refused = |sets: &[&str], height: u32| {
            file.check(&settings(sets), height, 28).expect_err("another").to_string()
        };
        for (sets, height, message) in [
            (&["model.latent_dim=7"][..], 28, "its latent_dim is 6, and the study's is 7"),
            (&["model.variational=true"], 28, "its variational is false, and the study's is true"),
            (&["model.network=symmetric"], 28, "of another shape"),
            (&[], 27, "whose height is 28, and the study's is 27"),
        ] {
            let said = refused(sets, height);
            assert!(said.contains(message), "{said}");
        }
    }

    #[test]
    fn shapes_count_where_the_settings_say_nothing() {
        let mut file = ModelFile::read(model(&settings(&[]), 0.5)).expect("a model");
        file.settings.clear();
        assert_eq!(file.check(&settings(&[]), 28, 28), Ok(()));
        let error = file.check(&settings(&["model.latent_dim=7"]), 28, 28).expect_err("another");
        assert!(error.to_string().contains("enc.10.weight has the shape [6, 64]"), "{error}");
        let error = file.check(&settings(&["model.variational=true"]), 28, 28).expect_err("another");
        assert!(error.to_string().contains("no weight log_variance.weight"), "{error}");
        file.shapes.insert("more".into(), vec![1]);
        let error = file.check(&settings(&[]), 28, 28).expect_err("another");
        assert!(error.to_string().contains("it has a weight more"), "{error}");
    }

    #[test]
    fn its_section_makes_the_same_network() {
        let wanted = settings(&["model.network=symmetric", "model.variational=true"]);
        let file = ModelFile::read(model(&wanted, 0.5)).expect("a model");
        let spec = StudySpec { model: file.section().expect("a section"), ..fit(&[]) };
        assert_eq!(ModelSettings::resolve(&spec, &Params::new()), Ok(wanted));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let whole = model(&settings(&[]), 0.5);
        for (bytes, message) in [
            (Vec::new(), "no safetensors file"),
            (b"version = 1\n".to_vec(), "no safetensors file"),
            (whole[..whole.len() - 4].to_vec(), "no safetensors file"),
            (model(&settings(&[]), f32::NAN), "not finite"),
        ] {
            let error = ModelFile::read(bytes).expect_err("refused").to_string();
            assert!(error.contains(message), "{error}");
        }
        let bare: [(String, TensorView<'_>); 0] = [];
        let error =
            ModelFile::read(safetensors::serialize(bare, None).expect("a file")).expect_err("refused");
        assert!(error.to_string().contains("names no format"), "{error}");
    }
}
