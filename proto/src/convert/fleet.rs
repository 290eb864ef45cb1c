//! Attempts, workers, and what a study cost.

use foldwise_shared::device::DeviceUse;
use foldwise_shared::fleet::{FoldInTraining, WorkerRecord};
use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, TrialNumber};
use foldwise_shared::ledger::{Ledger, LedgerRow};
use foldwise_shared::record::AttemptRecord;

use super::WireError;
use super::record::word;
use crate::v1;

impl From<AttemptRecord> for v1::Attempt {
    fn from(record: AttemptRecord) -> Self {
        Self {
            fold: record.fold.0,
            attempt: record.attempt.0,
            state: record.state.to_string(),
            failure: record.failure.map(|class| class.to_string()),
            message: record.message,
            worker: record.worker,
            device: record.device,
            start_epoch: record.start_epoch.0,
            epochs: record.epochs,
            started_at: record.started_at.0,
            ended_at: record.ended_at.map(|at| at.0),
        }
    }
}

impl TryFrom<v1::Attempt> for AttemptRecord {
    type Error = WireError;

    fn try_from(wire: v1::Attempt) -> Result<Self, WireError> {
        Ok(Self {
            fold: FoldIndex(wire.fold),
            attempt: Attempt(wire.attempt),
            state: word("state", &wire.state)?,
            failure: wire.failure.map(|class| word("failure", &class)).transpose()?,
            message: wire.message,
            worker: wire.worker,
            device: wire.device,
            start_epoch: Epoch(wire.start_epoch),
            epochs: wire.epochs,
            started_at: Millis(wire.started_at),
            ended_at: wire.ended_at.map(Millis),
        })
    }
}

impl From<WorkerRecord> for v1::Worker {
    fn from(record: WorkerRecord) -> Self {
        let device_use = record.device_use;
        let fold = |fold: FoldInTraining| v1::FoldInTraining {
            study: fold.study,
            trial: fold.trial.0,
            fold: fold.fold.0,
            attempt: fold.attempt.0,
            epoch: fold.epoch.0,
        };
        Self {
            name: record.name,
            incarnation: record.incarnation,
            device: record.device,
            state: record.state.map(|state| state.to_string()),
            slots: record.slots,
            free: record.free,
            folds: record.folds.into_iter().map(fold).collect(),
            heard_at: record.heard_at.0,
            drained_at: record.drained_at.map(|at| at.0),
            memory_used: device_use.map(|device| device.memory_used),
            memory_total: device_use.map(|device| device.memory_total),
            utilization: device_use.and_then(|device| device.utilization),
        }
    }
}

impl TryFrom<v1::Worker> for WorkerRecord {
    type Error = WireError;

    fn try_from(wire: v1::Worker) -> Result<Self, WireError> {
        let fold = |fold: v1::FoldInTraining| FoldInTraining {
            study: fold.study,
            trial: TrialNumber(fold.trial),
            fold: FoldIndex(fold.fold),
            attempt: Attempt(fold.attempt),
            epoch: Epoch(fold.epoch),
        };
        let device_use = wire.memory_used.zip(wire.memory_total).map(|(memory_used, memory_total)| {
            DeviceUse { memory_used, memory_total, utilization: wire.utilization }
        });
        Ok(Self {
            name: wire.name,
            incarnation: wire.incarnation,
            device: wire.device,
            state: wire.state.map(|state| word("state", &state)).transpose()?,
            slots: wire.slots,
            free: wire.free,
            folds: wire.folds.into_iter().map(fold).collect(),
            heard_at: Millis(wire.heard_at),
            drained_at: wire.drained_at.map(Millis),
            device_use,
        })
    }
}

impl From<Ledger> for v1::Ledger {
    fn from(ledger: Ledger) -> Self {
        let row = |row: LedgerRow| v1::LedgerRow {
            device: row.device,
            account: row.account.to_string(),
            cause: row.cause,
            count: row.count,
            epochs: row.epochs,
            seconds: row.seconds,
        };
        Self { rows: ledger.rows.into_iter().map(row).collect() }
    }
}

impl TryFrom<v1::Ledger> for Ledger {
    type Error = WireError;

    fn try_from(wire: v1::Ledger) -> Result<Self, WireError> {
        let row = |row: v1::LedgerRow| {
            Ok(LedgerRow {
                device: row.device,
                account: word("account", &row.account)?,
                cause: row.cause,
                count: row.count,
                epochs: row.epochs,
                seconds: row.seconds,
            })
        };
        Ok(Self { rows: wire.rows.into_iter().map(row).collect::<Result<_, WireError>>()? })
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::fleet::WorkerState;
    use foldwise_shared::ledger::Account;
    use foldwise_shared::state::{AttemptState, FailureClass};

    use super::*;

    #[test]
    fn what_goes_over_the_wire_comes_back() {
        let (fold, attempt, epoch) = (FoldIndex(1), Attempt(2), Epoch(3));
        let record = AttemptRecord {
            fold,
            attempt,
            state: AttemptState::Failed,
            failure: Some(FailureClass::OutOfMemory),
            message: Some("no room".into()),
            worker: "w".into(),
            device: "cuda:0".into(),
            start_epoch: epoch,
            epochs: 4,
            started_at: Millis(5),
            ended_at: Some(Millis(6)),
        };
        assert_eq!(AttemptRecord::try_from(v1::Attempt::from(record.clone())), Ok(record));

        let trial = TrialNumber(7);
        let device_use = DeviceUse { memory_used: 1, memory_total: 2, utilization: Some(0.5) };
        let worker = WorkerRecord {
            name: "w".into(),
            incarnation: "i".into(),
            device: "cpu".into(),
            state: Some(WorkerState::Draining),
            slots: Some(2),
            free: Some(1),
            folds: vec![FoldInTraining { study: "s".into(), trial, fold, attempt, epoch }],
            heard_at: Millis(8),
            drained_at: Some(Millis(9)),
            device_use: Some(device_use),
        };
        let unknown =
            WorkerRecord { state: None, slots: None, drained_at: None, device_use: None, ..worker.clone() };
        for worker in [worker, unknown] {
            assert_eq!(WorkerRecord::try_from(v1::Worker::from(worker.clone())), Ok(worker));
        }
        let wrong = v1::Worker { state: Some("?".into()), ..v1::Worker::default() };
        assert!(WorkerRecord::try_from(wrong).is_err());

        let row = LedgerRow {
            device: "cpu".into(),
            account: Account::Wasted,
            cause: Some("lost".into()),
            count: 1,
            epochs: 2,
            seconds: 3.5,
        };
        let ledger =
            Ledger { rows: vec![row.clone(), LedgerRow { cause: None, account: Account::Used, ..row }] };
        assert_eq!(Ledger::try_from(v1::Ledger::from(ledger.clone())), Ok(ledger));
    }
}
