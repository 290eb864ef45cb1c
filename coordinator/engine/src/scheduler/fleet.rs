//! Workers as people see and steer them: who is there, and who is to get no more folds.

use foldwise_shared::fleet::{FoldInTraining, Handover, WorkerRecord, WorkerState};
use foldwise_shared::ids::{AttemptKey, Epoch, Millis};

use super::Scheduler;
use super::command::{Answer, ToWorker, Write};
use super::external::LEASE_HOLDER;
use super::refusal::{Refusal, RefusalKind};
use super::study::StopOrder;
use super::worker::Worker;

/// A name whose workers get no more folds, over all their processes and restarts of the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainedWorker {
    /// What becomes of the folds they train.
    pub handover: Handover,
    /// Since when.
    pub at: Millis,
}

impl Scheduler {
    /// Workers of this name get no more folds, and hand back those they have.
    pub(super) fn drain_worker(&mut self, name: String, handover: Handover) -> Result<Answer, Refusal> {
        let at = self.now;
        self.drained_workers.insert(name.clone(), DrainedWorker { handover, at });
        let held: Vec<AttemptKey> = self
            .workers
            .values()
            .filter(|worker| worker.info.name == name && !is_asker(worker))
            .flat_map(|worker| worker.attempts.iter().copied())
            .collect();
        self.write(Write::WorkerDrained { name, handover, at });
        for key in held {
            if let Some(order) = self.order_handover(key, handover) {
                self.send_to_holder(key, ToWorker::Stop { key, after_epoch: order == StopOrder::AfterEpoch });
            }
        }
        Ok(Answer::Done)
    }

    /// Workers of this name get folds again.
    pub(super) fn undrain_worker(&mut self, name: String) -> Result<Answer, Refusal> {
        if self.drained_workers.remove(&name).is_none() {
            return RefusalKind::WrongState
                .because(format!("worker `{name}` is not drained: one of that name gets folds"));
        }
        self.write(Write::WorkerUndrained { name, at: self.now });
        Ok(Answer::Done)
    }

    /// Whether a worker is to get no more folds.
    pub(super) fn is_drained(&self, worker: &Worker) -> bool {
        self.drained_workers.contains_key(&worker.info.name)
    }

    /// Notes that a fold is to be handed back; none if its worker need not be told.
    fn order_handover(&mut self, key: AttemptKey, handover: Handover) -> Option<StopOrder> {
        let order = match handover {
            Handover::AfterEpoch => StopOrder::AfterEpoch,
            Handover::Now => StopOrder::Now,
            Handover::AfterFolds => return None,
        };
        let open = self.studies.get_mut(&key.study)?.fold_mut(key)?.open.as_mut()?;
        if open.stopping == Some(StopOrder::Now) || open.stopping == Some(order) {
            return None;
        }
        open.stopping = Some(order);
        Some(order)
    }

    /// Notes what a worker that comes back is to hand back, for the orders that it is told at its hello.
    pub(super) fn order_handovers_of(&mut self, incarnation: &str) {
        let Some(worker) = self.workers.get(incarnation) else { return };
        let Some(DrainedWorker { handover, .. }) = self.drained_workers.get(&worker.info.name).copied()
        else {
            return;
        };
        for key in worker.attempts.clone() {
            self.order_handover(key, handover);
        }
    }

    /// The workers that are there or hold folds, by name.
    pub(super) fn workers_now(&self) -> Vec<WorkerRecord> {
        let workers = self.workers.values().filter(|worker| !is_asker(worker));
        let mut records: Vec<WorkerRecord> = workers.map(|worker| self.worker_now(worker)).collect();
        records.sort_by(|a, b| (&a.name, &a.incarnation).cmp(&(&b.name, &b.incarnation)));
        records
    }

    fn worker_now(&self, worker: &Worker) -> WorkerRecord {
        let drained_at = self.drained_workers.get(&worker.info.name).map(|drained| drained.at);
        let state = match drained_at {
            _ if !worker.hears(self.now) => WorkerState::Silent,
            Some(_) if worker.busy() == 0 => WorkerState::Drained,
            Some(_) => WorkerState::Draining,
            None => WorkerState::Connected,
        };
        let fold = |key: &AttemptKey| {
            let study = self.studies.get(&key.study)?;
            Some(FoldInTraining {
                study: study.spec.study.name.clone(),
                trial: key.trial,
                fold: key.fold,
                attempt: key.attempt,
                epoch: Epoch(study.fold(*key)?.curve.len() as u32),
            })
        };
        let free = (worker.slots as usize).saturating_sub(worker.busy());
        WorkerRecord {
            name: worker.info.name.clone(),
            incarnation: worker.info.incarnation.clone(),
            device: worker.info.device.clone(),
            state: Some(state),
            slots: Some(worker.slots),
            free: u32::try_from(free).ok(),
            folds: worker.attempts.iter().filter_map(fold).collect(),
            heard_at: worker.heard_at,
            drained_at,
            device_use: worker.device_use,
        }
    }
}

/// Whether it stands for a program that asks for trials.
fn is_asker(worker: &Worker) -> bool {
    worker.info.incarnation.starts_with(LEASE_HOLDER)
}
