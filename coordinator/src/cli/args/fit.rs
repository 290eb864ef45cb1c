//! What can be written after `foldwise fit` and `foldwise evaluate`, and what is laid over a study file.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use foldwise_shared::ids::TrialNumber;
use foldwise_shared::spec::FitOn;

use super::{SourceArgs, WorkersArgs, trial_number};

/// What is laid over a study file.
#[derive(Debug, Clone, Default, Args)]
pub struct OverlayArgs {
    /// Lay one of the sizes over the file that it defines itself, as [size.NAME]; --set goes over that.
    #[arg(long, value_name = "NAME", env = "FOLDWISE_SIZE")]
    pub size: Option<String>,
    /// Lay one setting over the file; repeat it for more. In the variable: one a line.
    #[arg(long = "set", value_name = "KEY=VALUE", env = "FOLDWISE_SET", value_delimiter = '\n')]
    pub sets: Vec<String>,
}

impl OverlayArgs {
    /// In the order in which they are laid over the file.
    pub fn overrides(&self) -> Vec<String> {
        let size = self.size.iter().map(|name| format!("size={name}"));
        size.chain(self.sets.iter().cloned()).collect()
    }
}

/// `foldwise fit`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The best params of the study (or those of --trial or --params) are trained once more, as a study of one trial, STUDY-fit, whose
model is kept: at its best epoch, with the reconstruction of a test image after each epoch. Then the model is measured on the
test images, as [evaluate] of the study file says, by the study STUDY-fit-evaluation. model.safetensors holds the weights by their names in PyTorch, and
model.json the params, the settings and the value.

A FILE whose settings are all fixed is fitted without a search. The same command goes on with a fit that was interrupted; one
that is finished is not trained again, but measured if [evaluate] says something new. A study with k folds holds out the first of them; --on all trains on every
training image, without early stopping, for as many epochs as the trial took to be best.

Examples:
  foldwise fit mnist-random
  foldwise fit mnist-random --trial 7 --name seventh --out seventh
  foldwise fit mnist-random --params published.toml --on all --epochs 40
  foldwise fit deploy/studies/mnist-final.toml --size laptop
  foldwise fit mnist-random --coordinator http://head:7654")]
pub struct FitArgs {
    /// The study, by its name; or a study file, by its path, which ends in .toml.
    #[arg(value_name = "STUDY|FILE.toml")]
    pub target: String,
    /// The trial whose params are fitted; the best one without it.
    #[arg(long, value_name = "NUMBER", env = "FOLDWISE_TRIAL", value_parser = trial_number)]
    #[arg(conflicts_with = "params")]
    pub trial: Option<TrialNumber>,
    /// A file with the params, name = value, in TOML or JSON; or the model.json of another fit.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_PARAMS")]
    pub params: Option<PathBuf>,
    /// What it is trained on: split, the study's own training part; or all the training images.
    #[arg(long, value_name = "WHAT", env = "FOLDWISE_FIT_ON", default_value_t = FitOn::Split)]
    pub on: FitOn,
    /// Epochs at most; without it those of the study, and with --on all the best epoch of the trial.
    #[arg(long = "epochs", id = "fit_epochs", value_name = "N", env = "FOLDWISE_FIT_EPOCHS")]
    pub epochs: Option<u32>,
    /// What the fit is called; STUDY-fit without it.
    #[arg(long, value_name = "NAME", env = "FOLDWISE_FIT_NAME")]
    pub name: Option<String>,
    /// What is laid over the file, or over the fit.
    #[command(flatten)]
    pub overlay: OverlayArgs,
    /// Do not measure the model on the test images.
    #[arg(long, env = "FOLDWISE_NO_EVALUATION", value_parser = FalseyValueParser::new())]
    #[arg(action = clap::ArgAction::SetTrue)]
    pub no_evaluation: bool,
    /// The folder for model.safetensors and model.json; without it one of the fit's name, here. One that has
    /// another fit's model in it is refused.
    #[arg(long, value_name = "FOLDER", env = "FOLDWISE_FIT_OUT")]
    pub out: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The workers, where no coordinator is named.
    #[command(flatten)]
    pub workers: WorkersArgs,
}

/// `foldwise evaluate`
#[derive(Debug, Args)]
#[command(after_long_help = "\
A worker fetches the model and measures it on the test images: its loss, also under noise and occlusion; pictures; a map of
its codes. `foldwise fit` does so by itself; this does it again, with other settings of [evaluate] or another model. What
comes of it are results of a study of one trial, FIT-evaluation, or FIT-evaluation-2 and so on where there is another one by
that name. An evaluation with the same settings is not done twice.

Examples:
  foldwise evaluate mnist-random --set evaluate.perplexity=50
  foldwise evaluate mnist-random-fit --model elsewhere/model.safetensors")]
pub struct EvaluateArgs {
    /// A fit, or a study that has one.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// A model of the same network to measure in place of the fit's: a model.safetensors.
    #[arg(long, value_name = "FILE", env = "FOLDWISE_MODEL")]
    pub model: Option<PathBuf>,
    /// What the evaluation is called.
    #[arg(long, value_name = "NAME", env = "FOLDWISE_EVALUATION_NAME")]
    pub name: Option<String>,
    /// Lay one setting over the evaluation, such as evaluate.tsne=false; repeat it for more. In the variable: one a
    /// line.
    #[arg(long = "set", value_name = "KEY=VALUE", env = "FOLDWISE_SET", value_delimiter = '\n')]
    pub sets: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The workers, where no coordinator is named.
    #[command(flatten)]
    pub workers: WorkersArgs,
}
