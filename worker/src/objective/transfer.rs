//! Trains a classifier on the frozen convolutions of a fitted model, and judges it at its end.

use std::time::Instant;

use foldwise_shared::model::LearningRate;
use foldwise_shared::spec::{CheckpointSection, Keep};
use foldwise_shared::split::Scheme;
use foldwise_shared::state::FailureClass;

use super::follower::{Follower, diverged, start_of};
use super::training::{find_rate, identity};
use super::{FoldObjective, Judges, Prepared, failed, invalid};
use crate::agent::{Control, FoldWork, Outcome, Progress};
use crate::train::{Best, Ending, Plan, Trainer, range_test_of, run};
use crate::transfer::{Features, Head, Verdict, accuracy, judge};

const STOPPED: Outcome = Outcome::Finished { stopped: true };

impl FoldObjective {
    pub(super) fn transfer(
        &self,
        prepared: Prepared,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, Outcome> {
        let started = Instant::now();
        let interrupt = || control.interrupted();
        let judges = self.judges(&prepared)?;
        let dataset = &prepared.opened.dataset;
        let (Some(labels), Some(others)) = (dataset.train().labels(), &judges.labels) else {
            return Err(invalid(format!(
                "the data {} has no labels for all its images; a transfer learns to tell classes apart and needs them",
                dataset.name()
            )));
        };
        let classes = labels.iter().chain(others).max().map_or(0, |label| i64::from(*label) + 1);
        let model = self.source(&prepared, work)?;

        progress.phase("features");
        let used = prepared.spec.images_used(labels.len());
        let features = Features::new(
            &model,
            &self.images(&prepared.opened)?,
            labels.get(..used).unwrap_or(labels),
            &interrupt,
        );
        let Some(features) = features.map_err(|error| failed(&error))? else { return Ok(STOPPED) };
        let unseen = match judges.part {
            "test" => {
                Features::new(&model, &judges.images, others, &interrupt).map_err(|error| failed(&error))?
            }
            _ => None,
        };
        if interrupt() {
            return Ok(STOPPED);
        }
        let feature_seconds = started.elapsed().as_secs_f64();
        let Judges { indices, part, .. } = judges;
        let class_names = dataset.classes().unwrap_or_default().to_vec();
        let Prepared { spec, mut settings, train, validation, .. } = prepared;
        let dropout = settings.model.dropout;
        let head = |features| Head::new(&model, features, classes, dropout).map_err(|error| failed(&error));
        let learner = || Head::new(&model, &features, classes, dropout);

        if settings.learning_rate == LearningRate::Find {
            let make = |settings: &_| Trainer::of(Box::new(learner()?), &train, settings, work.seed);
            let test = |interrupt: &dyn Fn() -> bool| range_test_of(make, &settings, work.seed, interrupt);
            let Some(rate) = find_rate(test, work, control, progress)? else { return Ok(STOPPED) };
            settings.learning_rate = LearningRate::Fixed(rate);
        }

        let identity =
            format!("{} of {}", identity(work, &settings), work.study.source.as_deref().unwrap_or_default());
        let start = start_of(work, start, &identity)?;
        // The best weights are needed at the end, even where nobody wants a checkpoint.
        let keeps = spec.checkpoint.keep != Keep::None;
        let checkpoints = if keeps {
            spec.checkpoint.clone()
        } else {
            CheckpointSection { every_seconds: f64::MAX, every_epochs: None, keep: Keep::Unfinished }
        };
        let plan = Plan {
            validation: &validation,
            settings: &settings,
            checkpoints: &checkpoints,
            last_is_best: spec.scheme() == Scheme::Whole,
            start,
        };
        let trainer = Trainer::of(Box::new(head(&features)?), &train, &settings, work.seed)
            .map_err(|error| failed(&error))?;
        let mut follower = Follower::new(progress, &identity);
        follower.keeps = keeps;
        let ending = run(trainer, plan, &interrupt, &mut follower).map_err(|error| failed(&error))?;
        let Follower { last, best, .. } = follower;
        match ending {
            Ending::Completed | Ending::EarlyStopped => {}
            Ending::Stopped => return Ok(STOPPED),
            Ending::Diverged => {
                let message = diverged(last.as_ref());
                return Err(Outcome::Failed { class: FailureClass::Diverged, message });
            }
        }
        if let Some(Best { epoch, weights, .. }) = best {
            let head = head(unseen.as_ref().unwrap_or(&features))?;
            let (loss, confusion) = judge(&head, &weights, &indices).map_err(|error| failed(&error))?;
            let verdict = Verdict {
                images: indices.len(),
                part,
                epoch,
                loss,
                accuracy: accuracy(&confusion),
                class_names,
                confusion,
                feature_seconds,
                seconds: started.elapsed().as_secs_f64(),
            };
            progress.artifact("transfer", None, json(&verdict)?);
        }
        Ok(Outcome::Finished { stopped: false })
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Outcome> {
    serde_json::to_vec(value).map_err(|error| {
        let message = format!("failed to write a result: {error}");
        Outcome::Failed { class: FailureClass::Error, message }
    })
}
