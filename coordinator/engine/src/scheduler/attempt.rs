//! What workers say of their attempts: epochs, ends and failures.

use foldwise_shared::ids::{AttemptKey, Epoch, SessionId};
use foldwise_shared::record::EpochRecord;
use foldwise_shared::state::{AttemptState, FailureClass, TrialState};

use super::Scheduler;
use super::command::{ToWorker, Write};
use super::event::EpochReport;
use super::pace::pace_ms;
use crate::pruner::Standing;

impl Scheduler {
    /// Whether `key` names an open attempt of the worker behind `session`. Renews the worker's leases; a message of
    /// a dead attempt is answered with Revoked, one of a replaced stream with nothing.
    pub(super) fn is_open(&mut self, session: SessionId, key: AttemptKey) -> bool {
        self.heard(session);
        let Some(worker) = self.worker_of(session) else { return false };
        let open = worker.attempts.contains(&key);
        if !open {
            self.send(session, ToWorker::Revoked { key });
        }
        open
    }

    /// Tells a worker to stop an attempt that was taken from it because it made no progress, if this is one: it lives after
    /// all. Told that it is dead it would not say when it ends, and its slot would never be free.
    pub(super) fn stops_stuck(&mut self, session: SessionId, key: AttemptKey) -> bool {
        let stuck = self.sessions.get(&session).is_some_and(|incarnation| self.is_stuck(incarnation, key));
        if stuck {
            self.heard(session);
            self.send(session, ToWorker::Stop { key, after_epoch: false });
        }
        stuck
    }

    pub(super) fn epoch(&mut self, session: SessionId, key: AttemptKey, report: EpochReport) {
        if self.stops_stuck(session, key) || !self.is_open(session, key) {
            return;
        }
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let epochs = study.spec.epochs();
        let Some(fold) = study.fold_mut(key) else { return };
        let recorded = fold.curve.len() as u32;
        let start = fold.open.as_ref().map(|open| open.start.0).unwrap_or_default();
        if (start + 1..=recorded).contains(&report.epoch.0) {
            self.send(session, ToWorker::EpochRecorded { key, epoch: report.epoch });
            return;
        }
        if report.epoch.0 != recorded + 1 || report.epoch.0 > epochs {
            let message = format!("epoch {} was reported after epoch {recorded} of {epochs}", report.epoch);
            self.send(session, ToWorker::Revoked { key });
            self.give_back(key, FailureClass::Error, &message);
            return;
        }
        if let Some(worker) = self.worker_of(session) {
            worker.trained.insert(key.study);
        }
        let epoch = report.epoch;
        self.record_epoch(key, report);
        self.judge_epoch(key, true);
        self.send(session, ToWorker::EpochRecorded { key, epoch });
    }

    /// Records an epoch that is later than all of its fold before.
    pub(super) fn record_epoch(&mut self, key: AttemptKey, report: EpochReport) {
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let Some(fold) = study.fold_mut(key) else { return };
        let finite = |number: f64| number.is_finite().then_some(number);
        let validation_loss = finite(report.validation_loss);
        fold.curve.resize((report.epoch.0 as usize).saturating_sub(1), None);
        fold.curve.push(Some(validation_loss.unwrap_or(f64::NAN)));
        if let Some(open) = &mut fold.open {
            open.pace.progressed(self.now, report.seconds);
        }
        let holder = fold.open.as_ref().and_then(|open| self.workers.get(&open.incarnation));
        let worker = holder.map(|worker| worker.info.name.clone()).unwrap_or_default();
        study.spent += 1;
        study.reserved -= 1;
        study.slowest_ms = study.slowest_ms.max(pace_ms(report.seconds));
        let record = EpochRecord {
            trial: key.trial,
            fold: key.fold,
            attempt: key.attempt,
            epoch: report.epoch,
            train_loss: finite(report.train_loss),
            validation_loss,
            learning_rate: finite(report.learning_rate),
            seconds: finite(report.seconds),
            diverged: validation_loss.is_none(),
            at: self.now,
            metrics: report.metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
        };
        self.write(Write::Epoch { study: key.study, record, worker });
    }

    /// Tells the pruner of a fold's latest epoch; without `judged` for the comparison with others alone. A worker's loss
    /// that is not finite is for the worker to end: the fold diverged.
    pub(super) fn judge_epoch(&mut self, key: AttemptKey, judged: bool) {
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let Some(trial) = study.active.get(&key.trial) else { return };
        let Some(fold) = trial.folds.get(key.fold.0 as usize) else { return };
        if fold.has_diverged() && !study.spec.is_external() {
            return;
        }
        let (epoch, finished) = (Epoch(fold.curve.len() as u32), trial.finished());
        let standing = Standing {
            number: key.trial,
            fold: key.fold,
            curve: &fold.curve,
            finished: &finished,
            judged: judged && trial.ending.is_none(),
        };
        if let Some(decision) = study.pruner.epoch(&standing).prune() {
            self.prune(key, Some(epoch), decision);
        }
    }

    pub(super) fn finished(&mut self, session: SessionId, key: AttemptKey, stopped: bool) {
        self.unstick(session, key);
        if !self.is_open(session, key) {
            return;
        }
        self.end_as_planned(key, stopped);
        self.send(session, ToWorker::EndRecorded { key });
    }

    pub(super) fn end_as_planned(&mut self, key: AttemptKey, stopped: bool) {
        let Some(study) = self.studies.get(&key.study) else { return };
        let Some(trial) = study.active.get(&key.trial) else { return };
        let Some(fold) = trial.folds.get(key.fold.0 as usize) else { return };
        if stopped || trial.ending.is_some() {
            let epochs = fold.curve.len();
            let message = trial.ending.is_none().then(|| format!("handed back after epoch {epochs}"));
            self.end_attempt(key, AttemptState::Stopped, None, message, None);
            self.after_stop(key);
            return;
        }
        if self.found_nothing(key) {
            return;
        }
        let Some(study) = self.studies.get(&key.study) else { return };
        let Some(fold) = study.fold(key) else { return };
        let best = fold.best(&study.spec).filter(|_| study.spec.is_external() || !fold.has_diverged());
        let Some((value, best_epoch)) = best else {
            let (class, message) = if fold.curve.is_empty() {
                (FailureClass::Error, "it finished without an epoch")
            } else {
                (FailureClass::Diverged, "the validation loss was not finite")
            };
            self.give_back(key, class, message);
            return;
        };
        self.end_attempt(key, AttemptState::Complete, None, None, Some(value));
        self.complete_fold(key, value, Some(best_epoch), true);
    }

    pub(super) fn failed(
        &mut self,
        session: SessionId,
        key: AttemptKey,
        class: FailureClass,
        message: String,
    ) {
        self.unstick(session, key);
        if !self.is_open(session, key) {
            return;
        }
        match class {
            FailureClass::OutOfMemory => self.leave_more_room(key),
            FailureClass::Error if self.is_fruitless(key) => {
                // It cost the fold its checkpoint, so that this cannot go on for ever; it is no failure of the trial.
                self.drop_checkpoint(key);
                self.give_back(key, FailureClass::Preempted, &message);
                self.send(session, ToWorker::EndRecorded { key });
                return;
            }
            _ => {}
        }
        self.give_back(key, class, &message);
        self.send(session, ToWorker::EndRecorded { key });
    }

    pub(super) fn declined(&mut self, session: SessionId, key: AttemptKey, message: String) {
        self.unstick(session, key);
        if !self.is_open(session, key) {
            return;
        }
        if let Some(worker) = self.worker_of(session) {
            worker.unfit.insert(key.study, message.clone());
        }
        self.give_back(key, FailureClass::Preempted, &message);
        self.send(session, ToWorker::EndRecorded { key });
    }

    /// After an attempt ended without a result: the fold is queued again, or its trial fails.
    pub(super) fn after_failure(&mut self, key: AttemptKey, class: FailureClass, message: &str) {
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let retries = study.spec.retry.of(class);
        let Some(trial) = study.active.get_mut(&key.trial) else { return };
        let Some(fold) = trial.folds.get_mut(key.fold.0 as usize) else { return };
        let failures = fold.failures.entry(class).or_insert(0);
        *failures = failures.saturating_add(1);
        if trial.ending.is_some() || *failures <= retries {
            self.after_stop(key);
            return;
        }
        let tries = *failures;
        self.fail_fold(key, class, tries, message);
    }

    /// A fold has failed for good, after so many attempts that ended so, and its trial with it.
    pub(super) fn fail_fold(&mut self, key: AttemptKey, class: FailureClass, tries: u32, message: &str) {
        self.set_fold_state(key, TrialState::Failed);
        let tries = if tries > 1 { format!(" (attempt {tries} that ended so)") } else { String::new() };
        self.end_trial(
            key.study,
            key.trial,
            TrialState::Failed,
            format!("{class} on fold {}{tries}: {message}", key.fold),
        );
    }

    /// After an attempt ended without an end of its fold: the fold waits again, or goes down with its trial.
    pub(super) fn after_stop(&mut self, key: AttemptKey) {
        let Some(study) = self.studies.get(&key.study) else { return };
        let Some(trial) = study.active.get(&key.trial) else { return };
        match &trial.ending {
            None => self.set_fold_state(key, TrialState::Waiting),
            Some((ending, _)) => {
                self.set_fold_state(key, super::ending::fold_end(*ending));
                self.finish_trial_if_idle(key.study, key.trial);
            }
        }
    }

    /// Closes an open attempt; what becomes of its fold is the caller's to say.
    pub(super) fn end_attempt(
        &mut self,
        key: AttemptKey,
        state: AttemptState,
        failure: Option<FailureClass>,
        message: Option<String>,
        value: Option<f64>,
    ) {
        let Some(study) = self.studies.get_mut(&key.study) else { return };
        let planned = study.spec.epochs();
        let Some(fold) = study.fold_mut(key) else { return };
        let Some(open) = fold.open.take() else { return };
        let epochs = fold.recorded();
        study.reserved -= u64::from(planned - epochs);
        if !open.expired {
            study.training -= 1;
        }
        let mut name = String::new();
        if let Some(worker) = self.workers.get_mut(&open.incarnation) {
            worker.attempts.remove(&key);
            name.clone_from(&worker.info.name);
        }
        self.forget_if_over(&open.incarnation);
        let at = self.now;
        self.write(Write::AttemptEnded { key, state, failure, message, worker: name, value, epochs, at });
    }
}
