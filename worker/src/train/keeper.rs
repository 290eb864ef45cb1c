//! Decides after which epochs a checkpoint is made, and keeps the best weights for it.

use std::time::Instant;

use foldwise_shared::spec::{CheckpointSection, Keep};
use tch::Tensor;

use super::optimizer::to_host;
use super::{Best, Checkpoint, EarlyStopper, EpochResult, TrainError, Trainer};

/// Follows a training for the sake of its checkpoints; without any it does nothing.
pub(super) struct Keeper<'a> {
    policy: &'a CheckpointSection,
    last_is_best: bool,
    best: Option<(u32, f64)>,
    /// On the device, after the best epoch.
    best_weights: Option<Tensor>,
    last: Instant,
    last_epoch: u32,
}

impl<'a> Keeper<'a> {
    /// For a training from the start, or after a checkpoint whose weights go back to the device of `trainer`.
    pub fn new(
        policy: &'a CheckpointSection,
        last_is_best: bool,
        from: Option<&Checkpoint>,
        trainer: &Trainer<'_>,
    ) -> Result<Self, TrainError> {
        let mut keeper = Self {
            policy,
            last_is_best,
            best: None,
            best_weights: None,
            last: Instant::now(),
            last_epoch: 0,
        };
        if let Some(checkpoint) = from {
            let weights = Tensor::f_from_slice(&checkpoint.best.weights)?;
            keeper.best = Some((checkpoint.best.epoch, checkpoint.best.loss));
            keeper.best_weights = Some(weights.f_to(trainer.parameters().flat().device())?);
            keeper.last_epoch = checkpoint.epoch;
        }
        Ok(keeper)
    }

    /// Whether any checkpoint is made at all.
    fn keeps(&self) -> bool {
        self.policy.keep != Keep::None
    }

    /// Takes note of an epoch with finite losses.
    pub fn observe(&mut self, result: &EpochResult, trainer: &Trainer<'_>) -> Result<(), TrainError> {
        let better = self.last_is_best || self.best.is_none_or(|(_, loss)| result.validation_loss < loss);
        if self.keeps() && better {
            self.best = Some((result.epoch, result.validation_loss));
            self.best_weights = Some(trainer.parameters().flat().f_detach_copy()?);
        }
        Ok(())
    }

    /// Whether one is to be made after an epoch that others follow.
    pub fn is_due(&self, epoch: u32) -> bool {
        let CheckpointSection { every_seconds, every_epochs, .. } = self.policy;
        self.keeps()
            && (self.last.elapsed().as_secs_f64() >= *every_seconds
                || every_epochs.is_some_and(|epochs| epoch.saturating_sub(self.last_epoch) >= epochs))
    }

    /// Whether one is to be made after an epoch that none follows for now: the fold goes on elsewhere.
    pub fn is_due_at_a_stop(&self) -> bool {
        self.keeps()
    }

    /// Whether one is to be made after the last epoch.
    pub fn is_due_at_the_end(&self) -> bool {
        self.policy.keep == Keep::All
    }

    /// Makes one.
    pub fn make(
        &mut self,
        epoch: u32,
        trainer: &Trainer<'_>,
        stopper: Option<&EarlyStopper>,
    ) -> Result<Option<Checkpoint>, TrainError> {
        let Some(best) = self.best()? else { return Ok(None) };
        let checkpoint = trainer.checkpoint(epoch, best, stopper.map(EarlyStopper::state))?;
        (self.last, self.last_epoch) = (Instant::now(), epoch);
        Ok(Some(checkpoint))
    }

    /// The best so far, copied to the host; none before the first epoch, or where no checkpoint is made.
    pub fn best(&self) -> Result<Option<Best>, TrainError> {
        let (Some((epoch, loss)), Some(weights)) = (self.best, &self.best_weights) else {
            return Ok(None);
        };
        Ok(Some(Best { epoch, loss, weights: to_host(weights)? }))
    }
}
