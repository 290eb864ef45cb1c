//! Checkpoints: what a fold that moves goes on from.

use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::ids::{AttemptKey, Epoch};
use foldwise_shared::spec::Keep;
use foldwise_shared::state::TrialState;

use super::Scheduler;
use super::command::{Answer, Command, Write};
use super::refusal::{Refusal, RefusalKind};

impl Scheduler {
    /// A checkpoint lies among the artifacts: from now on its fold goes on from it, wherever it is leased next.
    pub(super) fn keep_checkpoint(
        &mut self,
        incarnation: &str,
        key: AttemptKey,
        checkpoint: Checkpoint,
    ) -> Result<Answer, Refusal> {
        if !self.workers.get(incarnation).is_some_and(|worker| worker.attempts.contains(&key)) {
            return RefusalKind::LeaseGone.because(format!("{key} is over, or another worker has it now"));
        }
        let Some(study) = self.studies.get_mut(&key.study) else { return RefusalKind::LeaseGone.because("") };
        if study.spec.is_external() {
            return RefusalKind::WrongState
                .because("a program of its own evaluates this study, and has no checkpoints");
        }
        let keep = study.spec.checkpoint.keep;
        if keep == Keep::None {
            return RefusalKind::WrongState
                .because("the study keeps no checkpoints (checkpoint.keep = \"none\")");
        }
        let Some(fold) = study.fold_mut(key) else { return RefusalKind::LeaseGone.because("") };
        let (recorded, newest) = (Epoch(fold.curve.len() as u32), fold.checkpoint_epoch());
        let epoch = checkpoint.epoch;
        if epoch == Epoch(0) || epoch > recorded {
            return RefusalKind::OutOfRange.because(format!(
                "a checkpoint after epoch {epoch} of {key}, of which {recorded} epochs are recorded"
            ));
        }
        // The last may come once more, with the best weights of the whole fold.
        if epoch < newest {
            return RefusalKind::Repeated.because(format!(
                "{key} has a checkpoint after epoch {newest}, which is later than {epoch}"
            ));
        }
        if fold.has_diverged() {
            return RefusalKind::Invalid.because(format!("{key} has diverged; nothing goes on from there"));
        }
        let before = fold.checkpoint.replace(checkpoint.clone());
        self.renew_leases(incarnation);
        self.write(Write::Checkpoint { key, checkpoint: checkpoint.clone(), at: self.now });
        if let Some(before) = before.filter(|before| before.digest != checkpoint.digest) {
            self.sends.push(Command::Discard { digest: before.digest });
        }
        Ok(Answer::Done)
    }

    /// Nobody will go on from the checkpoint of this fold.
    pub(super) fn drop_checkpoint(&mut self, key: AttemptKey) {
        let fold = self.studies.get_mut(&key.study).and_then(|study| study.fold_mut(key));
        let Some(checkpoint) = fold.and_then(|fold| fold.checkpoint.take()) else { return };
        self.write(Write::CheckpointDropped { study: key.study, trial: key.trial, fold: key.fold });
        self.sends.push(Command::Discard { digest: checkpoint.digest });
    }

    /// Whether an attempt went on from a checkpoint and not an epoch came of it: another had better start afresh.
    pub(super) fn is_fruitless(&self, key: AttemptKey) -> bool {
        let Some(fold) = self.studies.get(&key.study).and_then(|study| study.fold(key)) else { return false };
        let start = fold.open.as_ref().map(|open| open.start).unwrap_or_default();
        start > Epoch(0) && fold.curve.len() == start.0 as usize
    }

    /// Whether the checkpoint of a fold that ends in this state stays.
    pub(super) fn keeps_checkpoint(&self, key: AttemptKey, end: TrialState) -> bool {
        let keeps_all = |keep: Keep| end == TrialState::Complete && keep == Keep::All;
        self.studies.get(&key.study).is_some_and(|study| keeps_all(study.spec.checkpoint.keep))
    }
}
