//! Results: what an attempt makes beside its losses, and keeps for whoever looks at the study later.

use foldwise_shared::artifact::{MAX_KINDS, ResultFile};
use foldwise_shared::ids::{AttemptKey, Epoch};

use super::Scheduler;
use super::command::{Answer, Command, Write};
use super::refusal::{Refusal, RefusalKind};

impl Scheduler {
    /// A result lies among the artifacts: from now on it belongs to its trial. `before` is the digest of the one that it
    /// replaces.
    pub(super) fn keep_result(
        &mut self,
        incarnation: &str,
        key: AttemptKey,
        result: ResultFile,
        before: Option<String>,
    ) -> Result<Answer, Refusal> {
        if !self.workers.get(incarnation).is_some_and(|worker| worker.attempts.contains(&key)) {
            return RefusalKind::LeaseGone.because(format!("{key} is over, or another worker has it now"));
        }
        let Some(study) = self.studies.get_mut(&key.study) else { return RefusalKind::LeaseGone.because("") };
        if study.spec.is_external() {
            return RefusalKind::WrongState
                .because("a program of its own evaluates this study, and stores no results");
        }
        let Some(fold) = study.fold_mut(key) else { return RefusalKind::LeaseGone.because("") };
        let recorded = Epoch(fold.curve.len() as u32);
        let kind = &result.kind;
        if let Some(epoch) = result.epoch.filter(|epoch| !(Epoch(1)..=recorded).contains(epoch)) {
            return RefusalKind::OutOfRange.because(format!(
                "a result `{kind}` after epoch {epoch} of {key}, of which {recorded} epochs are recorded"
            ));
        }
        let Some(open) = &mut fold.open else { return RefusalKind::LeaseGone.because("") };
        if !open.kinds.contains(kind) && open.kinds.len() >= MAX_KINDS {
            return RefusalKind::Invalid.because(format!(
                "a result `{kind}` is one kind too many; {key} has results of {MAX_KINDS} kinds already"
            ));
        }
        open.kinds.insert(kind.clone());
        self.renew_leases(incarnation);
        self.progressed(key);
        let digest = result.file.digest.clone();
        self.write(Write::Result { key, result, at: self.now });
        if let Some(digest) = before.filter(|before| *before != digest) {
            self.sends.push(Command::Discard { digest });
        }
        Ok(Answer::Done)
    }
}
