//! What a fit leaves besides its epochs: a picture after each of them, and the model at the end.

use foldwise_data::{Dataset, Images};
use foldwise_shared::ids::Epoch;
use foldwise_shared::model::ModelSettings;
use foldwise_shared::spec::FitSection;
use foldwise_shared::value::Params;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, serialize};
use tch::Tensor;

use crate::agent::Progress;
use crate::model::ParameterSpec;
use crate::model_file::{self, ModelInfo};
use crate::train::{Best, Picture, TrainError, Trainer};

/// The kind of the pictures.
const RECONSTRUCTION: &str = "reconstruction";

/// A fit that is under way.
pub(super) struct Fitting {
    /// The image that is watched, `[1, pixels]`.
    image: Tensor,
    height: usize,
    width: usize,
    settings: ModelSettings,
    /// What the model file names as the params of the training.
    pub params: Params,
    study: String,
}

impl Fitting {
    /// Watches an image of the test part, or the first validation image where there is no test part.
    ///
    /// # Errors
    /// A message for an image that there is none of, and what libtorch says.
    pub fn new(
        fit: FitSection,
        dataset: &Dataset,
        validation: &[i64],
        settings: &ModelSettings,
        study: &str,
    ) -> Result<Self, TrainError> {
        let bytes = watched(fit, dataset, validation)?;
        let pixels: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        Ok(Self {
            image: Tensor::f_from_slice(&pixels)?.f_unsqueeze(0)?,
            height: dataset.train().height(),
            width: dataset.train().width(),
            settings: settings.clone(),
            params: Params::new(),
            study: study.to_owned(),
        })
    }

    /// Leaves a picture of what the network makes of the image after an epoch.
    pub fn picture(
        &self,
        epoch: Epoch,
        trainer: &Trainer<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(), TrainError> {
        let picture = trainer.reconstruct(&self.image)?;
        let file = picture_file(&picture, self.height, self.width)
            .map_err(|error| TrainError::Torch(format!("failed to write a picture: {error}")))?;
        progress.artifact(RECONSTRUCTION, Some(epoch), file);
        Ok(())
    }

    /// Leaves the model of the best epoch.
    pub fn model(
        &self,
        best: &Best,
        specs: &[ParameterSpec],
        progress: &mut dyn Progress,
    ) -> Result<(), TrainError> {
        let info = ModelInfo {
            settings: self.settings.clone(),
            height: self.height as i64,
            width: self.width as i64,
            params: self.params.clone(),
            study: self.study.clone(),
            epoch: best.epoch,
            validation_loss: best.loss,
        };
        let file = model_file::to_bytes(&info, &best.weights, specs)
            .map_err(|error| TrainError::Torch(format!("failed to write the model: {error}")))?;
        progress.artifact(model_file::KIND, None, file);
        Ok(())
    }
}

/// The bytes of the image that is watched.
fn watched<'a>(
    FitSection { image }: FitSection,
    dataset: &'a Dataset,
    validation: &[i64],
) -> Result<&'a [u8], TrainError> {
    let of =
        |images: &'a Images, index: u64| usize::try_from(index).ok().and_then(|index| images.image(index));
    match dataset.test() {
        Some(test) => of(test, image).ok_or_else(|| {
            let (name, count) = (dataset.name(), test.len());
            let last = count.saturating_sub(1);
            TrainError::Invalid(format!(
                "fit.image is {image}, and {name} has {count} test images; use 0 to {last}"
            ))
        }),
        None => validation
            .first()
            .and_then(|first| of(dataset.train(), u64::try_from(*first).ok()?))
            .ok_or_else(|| TrainError::Invalid("the validation part has no images".to_owned())),
    }
}

/// A picture as a file: gray values, `[height, width]` each.
fn picture_file(picture: &Picture, height: usize, width: usize) -> Result<Vec<u8>, SafeTensorError> {
    let gray = |pixels: &[f32]| -> Vec<u8> {
        pixels.iter().map(|pixel| (pixel.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
    };
    let mut images = vec![("input", gray(&picture.input)), ("output", gray(&picture.output))];
    if let Some(corrupted) = &picture.corrupted {
        images.push(("corrupted", gray(corrupted)));
    }
    let views = images
        .iter()
        .map(|(name, bytes)| Ok((*name, TensorView::new(Dtype::U8, vec![height, width], bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    serialize(views, None)
}
