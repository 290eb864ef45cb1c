//! Memory on a worker's device: where it was short once, fewer folds of that shape run side by side from then on.

use foldwise_shared::ids::{AttemptKey, StudyId, TrialNumber};
use foldwise_shared::model::{ModelSettings, TrialSettings};

use super::Scheduler;
use super::study::Study;
use super::worker::Worker;

/// What decides how much memory a fold takes: its study's images, the network's size and the images of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    study: StudyId,
    convolutions: Vec<[i64; 3]>,
    channels: Vec<i64>,
    linear_units: i64,
    latent_dim: i64,
    batch_size: i64,
}

impl Shape {
    /// The shape of a trial's folds.
    fn of(study: &Study, trial: TrialNumber) -> Option<Self> {
        let settings = TrialSettings::resolve(&study.spec, &study.active.get(&trial)?.params).ok()?;
        let TrialSettings { model, batch_size, .. } = settings;
        let ModelSettings { convolutions, channels, linear_units, latent_dim, .. } = model;
        Some(Self { study: study.id, convolutions, channels, linear_units, latent_dim, batch_size })
    }
}

impl Scheduler {
    /// Whether a worker has the memory for one more fold of this trial, as far as one can know.
    pub(super) fn has_room(&self, worker: &Worker, study: &Study, trial: TrialNumber) -> bool {
        if worker.room.is_empty() {
            return true;
        }
        let shape_of = |key: &AttemptKey| Shape::of(self.studies.get(&key.study)?, key.trial);
        let shapes = worker.attempts.iter().filter_map(shape_of).chain(Shape::of(study, trial));
        shapes.filter_map(|shape| worker.room.get(&shape)).all(|room| worker.attempts.len() < *room)
    }

    /// The memory of a worker's device was too short for this attempt beside the others there.
    pub(super) fn leave_more_room(&mut self, key: AttemptKey) {
        let Some(study) = self.studies.get(&key.study) else { return };
        let Some(shape) = Shape::of(study, key.trial) else { return };
        let Some(open) = study.fold(key).and_then(|fold| fold.open.as_ref()) else { return };
        let Some(worker) = self.workers.get_mut(&open.incarnation) else { return };
        // Alone on its device it may have been others that took the memory: it is tried again, as often as the study allows.
        let room = worker.attempts.len().saturating_sub(1).max(1);
        worker.room.entry(shape).and_modify(|known| *known = room.min(*known)).or_insert(room);
    }
}
