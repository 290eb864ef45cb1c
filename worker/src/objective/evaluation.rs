//! Measures a fitted model: one epoch, and what was found as artifacts.

use std::collections::BTreeMap;
use std::time::Instant;

use foldwise_shared::ids::Epoch;
use foldwise_shared::state::FailureClass;

use super::{FoldObjective, Judges, Prepared, failed};
use crate::agent::{Control, EpochReport, FoldWork, Outcome, Progress};
use crate::evaluate::{EvaluateTask, evaluate, mean_error};

const STOPPED: Outcome = Outcome::Finished { stopped: true };

impl FoldObjective {
    pub(super) fn evaluate(
        &self,
        prepared: Prepared,
        work: &FoldWork,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, Outcome> {
        let started = Instant::now();
        let interrupt = || control.interrupted();
        let model = self.source(&prepared, work)?;
        let Judges { images, indices, labels, part } = self.judges(&prepared)?;
        let Prepared { spec, opened, settings, train, .. } = prepared;
        let corruption = settings.corruption.steps();
        let task = EvaluateTask {
            model: &model,
            images: &images,
            indices: &indices,
            labels: labels.as_deref(),
            class_names: opened.dataset.classes().unwrap_or_default(),
            part,
            corruption: &corruption,
            section: &spec.evaluate.unwrap_or_default(),
            seed: spec.study.seed,
        };
        let evaluation = evaluate(&task, &interrupt, &mut |phase| progress.phase(phase));
        let Some(evaluation) = evaluation.map_err(|error| failed(&error))? else { return Ok(STOPPED) };
        progress.phase("training images");
        let training = mean_error(&model, &self.images(&opened)?, &train, &interrupt);
        let Some(train_loss) = training.map_err(|error| failed(&error))? else { return Ok(STOPPED) };

        let summary = &evaluation.summary;
        let measured =
            [("kl", summary.kl), ("knn_accuracy", summary.knn_accuracy), ("silhouette", summary.silhouette)];
        let metrics = measured.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let report = EpochReport {
            epoch: Epoch(1),
            train_loss,
            validation_loss: summary.mse,
            // Nothing is learned.
            learning_rate: 0.0,
            seconds: started.elapsed().as_secs_f64(),
            metrics: metrics.collect::<BTreeMap<_, _>>(),
        };
        let numbers = serde_json::to_vec(summary).map_err(|error| {
            let message = format!("failed to write the evaluation: {error}");
            Outcome::Failed { class: FailureClass::Error, message }
        })?;
        // Its only epoch: there is none to stop before.
        let _ = progress.epoch(report);
        progress.artifact("evaluation", None, numbers);
        progress.artifact("pictures", None, evaluation.pictures);
        progress.artifact("codes", None, evaluation.codes);
        Ok(Outcome::Finished { stopped: false })
    }
}
