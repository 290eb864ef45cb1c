//! The model that an evaluation or a transfer starts from.

use foldwise_shared::model::ModelSettings;

use super::{FoldObjective, Prepared, failed, invalid};
use crate::agent::{FoldWork, Outcome};
use crate::fitted::FittedModel;
use crate::model;
use crate::model_file::{ModelFile, ModelFileError};

impl FoldObjective {
    /// The source of a study, on the device. Its settings are those of its file, which must be those of the study but for
    /// what is of no account after the training.
    pub(super) fn source(&self, prepared: &Prepared, work: &FoldWork) -> Result<FittedModel, Outcome> {
        let Some(bytes) = &work.source else {
            return Err(invalid(
                "the model that the study starts from is missing; name it in [source]".to_owned(),
            ));
        };
        let unfit = |error: ModelFileError| invalid(format!("[source]: {error}"));
        let file = ModelFile::from_bytes(bytes).map_err(unfit)?;
        let (height, width) = (file.info.height, file.info.width);
        let images = prepared.opened.dataset.train().shape();
        if (usize::try_from(height), usize::try_from(width)) != (Ok(images.height), Ok(images.width)) {
            return Err(invalid(format!(
                "[source]: the model is for images of {height}x{width}, and those of the study are {}x{}",
                images.height, images.width
            )));
        }
        if let Some(name) = difference(&file.info.settings, &prepared.settings.model) {
            return Err(invalid(format!("[source]: the model has another {name} than [model] says")));
        }
        let settings = &file.info.settings;
        let specs = model::build(settings, height, width, self.device)
            .map_err(|error| failed(&error.into()))?
            .parameters();
        let weights = file.weights(&specs).map_err(unfit)?;
        FittedModel::new(settings, (height, width), &weights, self.device).map_err(|error| failed(&error))
    }
}

/// The first setting in which two networks are not the same; their dropout and beta count in training only.
fn difference(left: &ModelSettings, right: &ModelSettings) -> Option<&'static str> {
    let same = [
        ("network", left.network == right.network),
        ("latent_dim", left.latent_dim == right.latent_dim),
        ("convolutions", left.convolutions == right.convolutions),
        ("channels", left.channels == right.channels),
        ("linear_units", left.linear_units == right.linear_units),
        ("instance_norm", left.instance_norm == right.instance_norm),
        ("activation", left.activation == right.activation),
        ("variational", left.variational == right.variational),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(name, _)| name)
}
