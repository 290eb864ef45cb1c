//! What comes from a study: the fit of one set of params, the evaluation of a fit, and the model that a study starts from.

use serde::{Deserialize, Serialize};

use super::validate::resolve_and_check;
use super::{
    BudgetSection, DataSection, Keep, ModelSection, Objective, PrunerSection, SamplerKind, SamplerSection,
    SourceSection, SpecError, StudySection, StudySpec, TrainSection, parse,
};
use crate::model::{ModelSettings, Optimizer, settings, settings_of};
use crate::space::{Domain, Space};
use crate::state::words;
use crate::value::{ParamValue, Params};

words!(
    /// The images that a fit is trained on.
    #[derive(Default)]
    FitOn {
        /// Those that the study trains on: its hold-out stays out, or a part as large as its first fold's.
        #[default]
        Split = "split",
        /// All training images.
        All = "all",
    }
);

/// How a fit differs from the study that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FitOptions {
    /// Its name.
    pub name: String,
    /// The images that it is trained on.
    pub on: FitOn,
    /// Its epochs at most; those of the study without it.
    pub epochs: Option<u32>,
    /// The epoch at which the trial was best. A fit on all images, which cannot know when to end, ends there.
    pub best_epoch: Option<u32>,
    /// The training images in use.
    pub images: u64,
}

/// The study of one trial that trains `params` of `parent` and keeps the model. Everything that `parent` searches is fixed in
/// its section then; a hold-out stays what it is, and k folds become a hold-out of images/k, the validation part of fold 0.
///
/// # Errors
/// A study that trains no autoencoder, params that it does not have or that are missing, and whatever makes the result no study.
pub fn fit_of(parent: &StudySpec, params: &Params, options: &FitOptions) -> Result<StudySpec, SpecError> {
    check_fittable(parent)?;
    check_params(parent, params)?;
    let mut spec = parent.clone();
    spec.space = Space::default();
    for (name, value) in params {
        spec.fix_setting(name, value).map_err(|message| SpecError::new(name, message))?;
    }
    drop_idle(&mut spec);
    spec.study.name.clone_from(&options.name);
    spec.fit.get_or_insert_default();
    spec.sampler = SamplerSection { kind: SamplerKind::Random, ..SamplerSection::default() };
    spec.pruner = PrunerSection::default();
    spec.budget = BudgetSection { trials: Some(1), ..BudgetSection::default() };
    spec.checkpoint.keep = Keep::All;
    spec.data.release = Default::default();
    spec.train.epochs = options.epochs.or(spec.train.epochs);
    match (options.on, spec.data.folds) {
        (FitOn::All, _) => {
            spec.data.folds = None;
            spec.data.holdout = Some(0);
            // Nothing is left by which it could end sooner or choose an epoch.
            spec.train.early_stopping = None;
            if options.epochs.is_none() {
                spec.train.epochs = options.best_epoch.or(spec.train.epochs);
            }
        }
        (FitOn::Split, Some(folds)) => {
            spec.data.folds = None;
            spec.data.holdout = Some((options.images / u64::from(folds.max(1))).max(1));
        }
        (FitOn::Split, None) => {}
    }
    spec.checked()
}

/// Whether a study's params can be fitted.
fn check_fittable(parent: &StudySpec) -> Result<(), SpecError> {
    let name = &parent.study.name;
    let why = match parent.study.objective {
        Objective::Training => return Ok(()),
        Objective::External => {
            "your own program trains what it is about, so there is no model of ours to keep"
        }
        Objective::Evaluation => "it measures a model that is there already",
        Objective::Transfer => "it trains a classifier on a model that is there already",
    };
    Err(SpecError::new(
        "study.objective",
        format!("the study `{name}` cannot be fitted: {why}; only objective = \"training\" makes a model"),
    ))
}

/// Checks that these are values for all that a study searches; settings that it fixes may be given another value.
///
/// # Errors
/// The first param that is unknown, missing or cannot have its value; its name is the error's key.
pub fn check_params(parent: &StudySpec, params: &Params) -> Result<(), SpecError> {
    let known = settings_of(parent);
    for (name, value) in params {
        let Some(setting) = known.iter().find(|setting| setting.name == name) else {
            let meant = parse::nearest(name, known.iter().map(|setting| setting.name))
                .map(|word| format!("; did you mean `{word}`?"))
                .unwrap_or_default();
            let names = known.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            return Err(SpecError::new(
                name,
                format!("the model knows no such param{meant} (known: {names})"),
            ));
        };
        setting.check(value).map_err(|message| SpecError::new(name, message))?;
    }
    let missing = parent.space.0.iter().find(|(name, param)| {
        let is_fixed = matches!(param.domain, Domain::Fixed(_));
        !params.contains_key(*name) && (is_fixed || parent.space.has(name, params))
    });
    match missing {
        Some((name, param)) => {
            let message = match &param.domain {
                Domain::Fixed(value) => format!("it is missing; the study has it at {value}"),
                domain => format!("it is missing; give {domain}, which is what the study searches"),
            };
            Err(SpecError::new(name, message))
        }
        None => Ok(()),
    }
}

/// Leaves out what has no meaning beside the other settings.
fn drop_idle(spec: &mut StudySpec) {
    if !spec.train.optimizer.is_some_and(Optimizer::has_momentum) {
        spec.train.momentum = None;
    }
    if spec.model.variational != Some(true) {
        spec.model.beta = None;
    }
}

/// The study that measures the model of a fit, as the fit's `[evaluate]` says. Without a digest it is the model that the fit has when the study is created.
///
/// # Errors
/// Whatever makes the result no study, such as a name that is none.
pub fn evaluation_of(fit: &StudySpec, name: &str, digest: Option<&str>) -> Result<StudySpec, SpecError> {
    let source = SourceSection { study: Some(fit.study.name.clone()), model: digest.map(str::to_owned) };
    let mut spec = StudySpec {
        study: StudySection { name: name.to_owned(), objective: Objective::Evaluation, ..fit.study.clone() },
        data: DataSection { release: Default::default(), ..fit.data.clone() },
        model: ModelSection::default(),
        train: TrainSection::default(),
        source: Some(source),
        fit: None,
        evaluate: Some(fit.evaluate.clone().unwrap_or_default()),
        space: Space::default(),
        sampler: SamplerSection { kind: SamplerKind::Random, ..SamplerSection::default() },
        pruner: PrunerSection::default(),
        budget: BudgetSection { trials: Some(1), ..BudgetSection::default() },
        ..fit.clone()
    };
    if digest.is_some() {
        spec.take_model(&model_of(fit)?)?;
    }
    spec.checked()
}

/// The network of a study whose settings are all fixed.
fn model_of(fit: &StudySpec) -> Result<ModelSettings, SpecError> {
    ModelSettings::resolve(fit, &Params::new()).map_err(|message| SpecError::new("model", message))
}

impl StudySpec {
    /// Whether its model is still to be taken from the study that `[source]` names.
    pub fn awaits_source(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.model.is_none())
    }

    /// This study with the model of a fit, which lies under `digest`: its network, and, where this one does not say, its data;
    /// an evaluation has its corruption too.
    ///
    /// # Errors
    /// What does not go together.
    pub fn starting_from(&self, fit: &Self, digest: &str) -> Result<Self, SpecError> {
        let mut spec = self.clone();
        spec.source.get_or_insert_default().model = Some(digest.to_owned());
        spec.take_model(&model_of(fit)?)?;
        if spec.data.dataset.is_none() {
            spec.data.dataset.clone_from(&fit.data.dataset);
            spec.data.limit = spec.data.limit.or(fit.data.limit);
        }
        if spec.data.folds.is_none() && spec.data.holdout.is_none() {
            spec.data.folds = fit.data.folds;
            spec.data.holdout = fit.data.holdout;
        }
        if spec.study.objective == Objective::Evaluation && spec.corruption.is_none() {
            spec.corruption = fit.corruption.clone();
        }
        spec.checked()
    }

    /// Fixes every setting of a network in `[model]`, but for those that stand there.
    ///
    /// # Errors
    /// A value that no setting has.
    pub fn take_model(&mut self, model: &ModelSettings) -> Result<(), SpecError> {
        let table = serde_json::to_value(model).unwrap_or_default();
        self.model.network = Some(model.network);
        for setting in settings(model.network).iter().filter(|setting| setting.section == "model") {
            let idle = !model.variational && matches!(setting.name, "variational" | "beta");
            if idle || self.fixed_setting(setting.name).is_some() {
                continue;
            }
            let Some(value) = table.get(setting.name).cloned().and_then(ParamValue::from_json) else {
                continue;
            };
            self.fix_setting(setting.name, &value)
                .map_err(|message| SpecError::new(format!("model.{}", setting.name), message))?;
        }
        Ok(())
    }

    /// This study with every default resolved, if it is one: the same checks as for a file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn checked(mut self) -> Result<Self, SpecError> {
        resolve_and_check(&mut self)?;
        Ok(self)
    }

    /// The study as a study file.
    ///
    /// # Errors
    /// A number that no TOML has.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string(self).map_err(|error| SpecError::new("", format!("it cannot be written: {error}")))
    }
}

#[cfg(test)]
mod tests;
