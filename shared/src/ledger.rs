//! What a study cost: the time of devices that was used, wasted and saved.

use serde::{Deserialize, Serialize};

use crate::state::words;

words!(
    /// What became of time.
    Account {
        /// A fold held a slot of a device.
        Used = "used",
        /// The part of it that led to nothing.
        Wasted = "wasted",
        /// Time that pruning did not use.
        Saved = "saved",
    }
);

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The device.
    pub device: String,
    /// What became of the time.
    pub account: Account,
    /// Why: of what was wasted the class of the failure, `repeated` or `failed-trial`; of what was saved `pruned`; of what was
    /// used nothing.
    pub cause: Option<String>,
    /// The attempts it is about; of what was saved the trials.
    pub count: u64,
    /// The epochs it is about.
    pub epochs: u64,
    /// Device seconds. Of two folds side by side on one device each counts.
    pub seconds: f64,
}

/// The ledger of a study, by device, account and cause.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Its lines.
    pub rows: Vec<LedgerRow>,
}

impl Ledger {
    /// Seconds of an account over all devices.
    pub fn seconds(&self, account: Account) -> f64 {
        // A sum of nothing is -0.
        self.rows.iter().filter(|row| row.account == account).map(|row| row.seconds).sum::<f64>() + 0.0
    }

    /// The causes of an account with their seconds over all devices, the largest first.
    pub fn causes(&self, account: Account) -> Vec<(&str, f64)> {
        let mut causes: Vec<(&str, f64)> = Vec::new();
        for row in self.rows.iter().filter(|row| row.account == account) {
            let Some(cause) = row.cause.as_deref() else { continue };
            match causes.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, seconds)) => *seconds += row.seconds,
                None => causes.push((cause, row.seconds)),
            }
        }
        causes.sort_by(|(a, first), (b, second)| second.total_cmp(first).then_with(|| a.cmp(b)));
        causes
    }
}
