//! Transfer learning: a classifier on what the frozen convolutions of a fitted model make of the images.
//!
//! The convolutions never change, so what they give is computed once for every image; a training then sees nothing else.

#[cfg(test)]
mod tests;
mod verdict;

use tch::{Device, Kind, Tensor};

use crate::fitted::FittedModel;
use crate::images::DeviceImages;
use crate::model::{ParameterSpec, Parameters, activate};
use crate::train::{Learner, Measured, Picture, TrainError};

pub(crate) use self::verdict::accuracy;
pub use self::verdict::{Verdict, judge};

/// Images a step where nothing is learned: their features are small.
const EVALUATION_BATCH: usize = 4096;

/// The features of images, and their classes.
pub struct Features {
    /// `[images, features]`, on the device of the images.
    values: Tensor,
    /// `[images]`, there too.
    labels: Tensor,
}

impl Features {
    /// What the convolutions of a model make of the first images, one for each label: images times features times 4 bytes
    /// on their device. None if `interrupt`, asked between batches, said so.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for more labels than images; what libtorch says, such as a lack of memory.
    pub fn new(
        model: &FittedModel,
        images: &DeviceImages,
        labels: &[u8],
        interrupt: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let _guard = tch::no_grad_guard();
        let count = labels.len() as i64;
        if count == 0 || count > images.len() {
            let there = images.len();
            return Err(TrainError::Invalid(format!("{count} labels for {there} images; each needs one")));
        }
        let layout = model.network.layout();
        let most = images.evaluation_batch(layout);
        let device = images.device();
        // Filled in part by part, so that nothing lies in memory twice.
        let values = Tensor::f_empty([count, model.network.feature_count()], (Kind::Float, device))?;
        for start in (0..count).step_by(most) {
            if interrupt() {
                return Ok(None);
            }
            let length = (count - start).min(most as i64);
            let indices = Tensor::f_arange_start(start, start + length, (Kind::Int64, device))?;
            let batch = images.batch(&indices, layout)?;
            let part = model.network.features(&model.weights, &batch)?;
            values.f_narrow(0, start, length)?.f_copy_(&part)?;
        }
        let labels = Tensor::f_from_slice(labels)?.f_to_kind(Kind::Int64)?.f_to(device)?;
        Ok(Some(Self { values, labels }))
    }

    /// How many images they are of; never 0.
    fn count(&self) -> i64 {
        self.labels.numel() as i64
    }
}

/// The classifier: the first linear layer of the model, as it was learned and to be learned on, its activation, dropout, and a
/// linear layer to the classes.
pub struct Head<'a> {
    model: &'a FittedModel,
    features: &'a Features,
    classes: i64,
    dropout: f64,
}

impl<'a> Head<'a> {
    /// A classifier of features of the model.
    ///
    /// # Errors
    /// [`TrainError::Invalid`] for fewer classes than 2 or a label past them.
    pub fn new(
        model: &'a FittedModel,
        features: &'a Features,
        classes: i64,
        dropout: f64,
    ) -> Result<Self, TrainError> {
        if classes < 2 {
            return Err(TrainError::Invalid(format!(
                "the images have {classes} classes; there must be 2 at least"
            )));
        }
        if !(0.0..1.0).contains(&dropout) {
            return Err(TrainError::Invalid(format!("dropout is {dropout}; it must be in [0, 1)")));
        }
        let most = features.labels.f_max()?.f_int64_value(&[])?;
        if most >= classes {
            return Err(TrainError::Invalid(format!(
                "an image has the class {most}; there are {classes} from 0"
            )));
        }
        Ok(Self { model, features, classes, dropout })
    }

    /// The weights of the classifier, in their order.
    fn specs(&self) -> Vec<ParameterSpec> {
        let units = self.model.settings.linear_units;
        let features = self.model.network.feature_count();
        let mut specs = ParameterSpec::layer("linear", &[units, features], units).to_vec();
        specs.extend(ParameterSpec::layer("classes", &[self.classes, units], self.classes));
        specs
    }

    /// A value for each class of the features of some images, `[images, classes]`.
    fn logits(&self, weights: &[Tensor], features: &Tensor, training: bool) -> Result<Tensor, TrainError> {
        let [weight, bias, class_weight, class_bias] = weights else {
            let found = weights.len();
            return Err(TrainError::Invalid(format!("a classifier has 4 weights and biases, not {found}")));
        };
        let mut units = activate(self.model.settings.activation, &features.f_linear(weight, Some(bias))?)?;
        if training && self.dropout > 0.0 {
            units = units.f_dropout(self.dropout, true)?;
        }
        Ok(units.f_linear(class_weight, Some(class_bias))?)
    }
}

impl Learner for Head<'_> {
    fn device(&self) -> Device {
        self.features.values.device()
    }

    fn images(&self) -> i64 {
        self.features.count()
    }

    /// The model's own first layer, and a new one as PyTorch starts it.
    fn first_weights(&self) -> Result<Parameters, TrainError> {
        let specs = self.specs();
        let new = Parameters::random(specs.iter().skip(2).cloned().collect(), self.device())?;
        let (weight, bias) = self.model.network.first_linear();
        let own = |place: usize| {
            let weights = &self.model.weights;
            let found =
                weights.get(place).ok_or_else(|| TrainError::Invalid("the model lacks a layer".into()));
            found.and_then(|tensor| Ok(tensor.f_detach()?.f_reshape([-1])?))
        };
        let flat = Tensor::f_cat(&[own(weight)?, own(bias)?, new.flat().f_detach()?], 0)?;
        Ok(Parameters::of(specs, flat.f_set_requires_grad(true)?))
    }

    fn evaluation_batch(&self) -> usize {
        EVALUATION_BATCH
    }

    fn measure(&self, weights: &[Tensor], indices: &Tensor, training: bool) -> Result<Measured, TrainError> {
        let Features { values, labels } = self.features;
        let labels = labels.f_index_select(0, indices)?;
        let logits = self.logits(weights, &values.f_index_select(0, indices)?, training)?;
        let loss = logits.f_cross_entropy_loss(&labels, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)?;
        let found = if training {
            None
        } else {
            Some(
                logits
                    .f_argmax(1, false)?
                    .f_eq_tensor(&labels)?
                    .f_to_kind(Kind::Float)?
                    .f_mean(Kind::Float)?,
            )
        };
        Ok(Measured { loss, parts: None, accuracy: found })
    }

    fn reconstruct(&self, _weights: &[Tensor], _image: &Tensor, _seed: u64) -> Result<Picture, TrainError> {
        Err(TrainError::Invalid("a classifier makes no images".to_owned()))
    }
}
