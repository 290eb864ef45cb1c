//! `[fit]`, `[source]` and `[evaluate]`: what comes after a search.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validate::error;
use super::{Keep, Objective, SpecError, StudySpec};
use crate::checkpoint::is_digest;

/// `[fit]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FitSection {
    /// The test image whose reconstruction is kept after each epoch, from 0. Default: 0.
    pub image: u64,
}

/// `[source]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// The study whose model it is: a fit, or a study that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study: Option<String>,
    /// SHA-256 of the model's file, which lies among the artifacts. The program fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `[evaluate]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSection {
    /// The standard deviations of the noise under which the loss is measured. Default: 0 to 1 in steps of 0.05.
    pub noise: Vec<f64>,
    /// The shares of occluded pixels under which the loss is measured. Default: 0 to 0.9 in steps of 0.05.
    pub occlusion: Vec<f64>,
    /// Whether a map of the codes is made by t-SNE. Default: true.
    pub tsne: bool,
    /// The perplexity of t-SNE: how many codes are near, from 1. Default: 30.
    pub perplexity: f64,
    /// The codes that are mapped: those of the first n test images. Default: 10,000.
    pub codes: u64,
    /// The neighbors that vote in the accuracy of the codes, from 1. Default: 10.
    pub neighbors: u32,
    /// The images in a grid. Default: 10.
    pub pictures: u32,
}

impl Default for EvaluateSection {
    fn default() -> Self {
        let steps = |count: u32| (0..=count).map(|step| f64::from(step * 5) / 100.0).collect();
        Self {
            noise: steps(20),
            occlusion: steps(18),
            tsne: true,
            perplexity: 30.0,
            codes: 10_000,
            neighbors: 10,
            pictures: 10,
        }
    }
}

/// The most levels of one corruption.
const MOST_LEVELS: usize = 1_000;
/// The most images in a grid.
const MOST_PICTURES: u32 = 100;

/// Checks what an evaluation, a transfer and a fit need, and what others must not have.
pub(super) fn check_fitted(spec: &mut StudySpec) -> Result<(), SpecError> {
    let objective = spec.study.objective;
    let starts = matches!(objective, Objective::Evaluation | Objective::Transfer);
    match &spec.source {
        None if starts => {
            return error(
                "source",
                "it is missing; name the study whose model it starts from: study = \"...\"",
            );
        }
        Some(_) if !starts => {
            return error(
                "source",
                "only objective = \"evaluation\" or \"transfer\" starts from a model; leave it out",
            );
        }
        Some(SourceSection { study: None, model: None }) => {
            return error("source.study", "it is missing; name the study whose model it starts from");
        }
        Some(SourceSection { model: Some(digest), .. }) if !is_digest(digest) => {
            return error("source.model", "it is no SHA-256 of 64 lower-case hexadecimal digits");
        }
        Some(SourceSection { model: None, .. }) if spec.model.network.is_some() => {
            return error("model.network", "the network is the source's; leave [model] out");
        }
        _ => {}
    }
    if spec.fit.is_some() && objective != Objective::Training {
        return error("fit", "only objective = \"training\" makes a model; leave it out");
    }
    if spec.fit.is_some() {
        check_fit(spec)?;
    }
    if objective == Objective::Evaluation {
        spec.train.epochs = Some(1);
        spec.budget.trials = Some(1);
        spec.evaluate.get_or_insert_default();
        if !spec.space.0.is_empty() {
            return error("space", "an evaluation has nothing to search; leave it out");
        }
    }
    spec.evaluate.as_ref().map_or(Ok(()), check_evaluate)
}

/// A fit makes one model, so it has one trial.
fn check_fit(spec: &mut StudySpec) -> Result<(), SpecError> {
    if let Some(name) = spec.space.0.keys().next() {
        return error(
            &format!("space.{name}"),
            "a fit has nothing to search; give it one value, in [model] or [train], or leave [fit] out",
        );
    }
    if let trials @ 2.. = *spec.budget.trials.get_or_insert(1) {
        return error("budget.trials", format!("a fit is one trial, not {trials}; use 1, or leave it out"));
    }
    if spec.checkpoint.keep == Keep::None {
        return error(
            "checkpoint.keep",
            "the best weights of a fit are kept as checkpoints are; use \"unfinished\" or \"all\"",
        );
    }
    Ok(())
}

fn check_evaluate(section: &EvaluateSection) -> Result<(), SpecError> {
    let levels = [("noise", &section.noise, f64::MAX), ("occlusion", &section.occlusion, 1.0)];
    for (name, levels, most) in levels {
        let key = format!("evaluate.{name}");
        if levels.len() > MOST_LEVELS {
            return error(&key, format!("{} levels are too many; at most {MOST_LEVELS}", levels.len()));
        }
        if let Some(level) = levels.iter().find(|level| !(0.0..=most).contains(*level)) {
            let to = if most == f64::MAX { String::new() } else { format!(" to {most}") };
            return error(&key, format!("{level} cannot work; use numbers from 0{to}"));
        }
    }
    if !(section.perplexity >= 1.0 && section.perplexity.is_finite()) {
        return error(
            "evaluate.perplexity",
            format!("{} cannot work; use a number from 1", section.perplexity),
        );
    }
    if section.codes == 0 {
        return error("evaluate.codes", "no code is left; use at least 1");
    }
    if section.neighbors == 0 {
        return error("evaluate.neighbors", "nobody votes; use at least 1");
    }
    if !(1..=MOST_PICTURES).contains(&section.pictures) {
        return error(
            "evaluate.pictures",
            format!("{} cannot work; use 1 to {MOST_PICTURES}", section.pictures),
        );
    }
    Ok(())
}
