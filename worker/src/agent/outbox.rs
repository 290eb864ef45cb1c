//! What the worker has said and the coordinator has not acknowledged: sent again after a reconnect, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foldwise_shared::ids::{AttemptKey, Epoch};
use foldwise_shared::value::ParamValue;

use super::work::{EpochReport, Outcome};

/// Something to tell of an attempt. The end comes last.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// It finished an epoch.
    Epoch(EpochReport),
    /// It found a param.
    Derived {
        /// Which.
        name: String,
        /// What it is.
        value: ParamValue,
    },
    /// It ended.
    End(Outcome),
}

/// The reports that are owed. It is bounded by what is leased: an attempt has one for each epoch and each param that it
/// finds, and one for its end.
#[derive(Debug, Default)]
pub struct Outbox {
    owed: VecDeque<(AttemptKey, Report)>,
    /// The last acknowledged epoch of every attempt whose end is not acknowledged.
    acknowledged: BTreeMap<AttemptKey, Epoch>,
}

impl Outbox {
    /// Owes a report from now on.
    pub fn push(&mut self, key: AttemptKey, report: Report) {
        self.owed.push_back((key, report));
    }

    /// An epoch is durable; gives its report if it was owed.
    pub fn acknowledge_epoch(&mut self, key: AttemptKey, epoch: Epoch) -> Option<EpochReport> {
        let at = self.owed.iter().position(
            |(owner, report)| matches!(report, Report::Epoch(report) if *owner == key && report.epoch == epoch),
        )?;
        let (_, Report::Epoch(report)) = self.owed.remove(at)? else { return None };
        let last = self.acknowledged.entry(key).or_default();
        *last = (*last).max(epoch);
        Some(report)
    }

    /// A param is durable, with this value or with one that came before; false if it was not owed.
    pub fn acknowledge_derived(&mut self, key: AttemptKey, param: &str) -> bool {
        let before = self.owed.len();
        self.owed.retain(|(owner, report)| {
            !(*owner == key && matches!(report, Report::Derived { name, .. } if name == param))
        });
        self.owed.len() < before
    }

    /// The end of an attempt is durable, so nothing of it is owed any more; gives the end if it was owed.
    pub fn acknowledge_end(&mut self, key: AttemptKey) -> Option<Outcome> {
        let (_, end) =
            self.owed.iter().find(|(owner, report)| *owner == key && matches!(report, Report::End(_)))?;
        let Report::End(outcome) = end.clone() else { return None };
        self.revoke(key);
        Some(outcome)
    }

    /// An attempt is dead: nothing of it is owed.
    pub fn revoke(&mut self, key: AttemptKey) {
        self.owed.retain(|(owner, _)| *owner != key);
        self.acknowledged.remove(&key);
    }

    /// Everything that is owed, in the order in which it was pushed.
    pub fn to_send(&self) -> impl Iterator<Item = (AttemptKey, &Report)> {
        self.owed.iter().map(|(key, report)| (*key, report))
    }

    /// The attempts of which something is owed.
    pub fn keys(&self) -> BTreeSet<AttemptKey> {
        self.owed.iter().map(|(key, _)| *key).collect()
    }

    /// The last acknowledged epoch of an attempt; 0 if there is none.
    pub fn acknowledged_epoch(&self, key: AttemptKey) -> Epoch {
        self.acknowledged.get(&key).copied().unwrap_or_default()
    }

    /// The last epoch of an attempt that was pushed or acknowledged; 0 if there is none.
    pub fn reported_epoch(&self, key: AttemptKey) -> Epoch {
        let owed = self.owed.iter().filter_map(|(owner, report)| match report {
            Report::Epoch(report) if *owner == key => Some(report.epoch),
            _ => None,
        });
        owed.max().unwrap_or_default().max(self.acknowledged_epoch(key))
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::ids::{Attempt, FoldIndex, StudyId, TrialNumber};
    use proptest::prelude::*;

    use super::*;

    fn key(trial: u32) -> AttemptKey {
        AttemptKey { study: StudyId(1), trial: TrialNumber(trial), fold: FoldIndex(0), attempt: Attempt(1) }
    }

    fn epoch(number: u32) -> Report {
        let (train_loss, validation_loss) = (0.5, f64::from(number));
        Report::Epoch(EpochReport {
            epoch: Epoch(number),
            train_loss,
            validation_loss,
            learning_rate: 1e-3,
            seconds: 1.0,
            metrics: BTreeMap::new(),
        })
    }

    fn end() -> Report {
        Report::End(Outcome::Finished { stopped: false })
    }

    fn owed(outbox: &Outbox) -> Vec<(AttemptKey, Report)> {
        outbox.to_send().map(|(key, report)| (key, report.clone())).collect()
    }

    #[test]
    fn what_is_acknowledged_is_not_sent_again() {
        let mut outbox = Outbox::default();
        outbox.push(key(0), epoch(1));
        outbox.push(key(1), epoch(1));
        outbox.push(key(0), epoch(2));
        outbox.push(key(0), end());
        assert_eq!(
            outbox.acknowledge_epoch(key(0), Epoch(1)).map(|report| report.validation_loss),
            Some(1.0)
        );
        assert_eq!(outbox.acknowledge_epoch(key(0), Epoch(1)), None, "only once");
        assert_eq!(outbox.acknowledged_epoch(key(0)), Epoch(1));
        assert_eq!(outbox.acknowledged_epoch(key(1)), Epoch(0));
        assert_eq!(owed(&outbox), [(key(1), epoch(1)), (key(0), epoch(2)), (key(0), end())]);
        assert_eq!(outbox.keys(), BTreeSet::from([key(0), key(1)]));
    }

    #[test]
    fn a_durable_end_clears_the_attempt() {
        let mut outbox = Outbox::default();
        outbox.push(key(0), epoch(1));
        assert_eq!(outbox.acknowledge_end(key(0)), None, "it has not ended");
        assert_eq!(owed(&outbox).len(), 1);
        outbox.push(key(0), end());
        assert_eq!(outbox.acknowledge_end(key(0)), Some(Outcome::Finished { stopped: false }));
        assert!(outbox.is_empty());
        assert_eq!(outbox.acknowledged_epoch(key(0)), Epoch(0));
    }

    #[test]
    fn an_acknowledgement_after_a_revocation_is_nothing() {
        let mut outbox = Outbox::default();
        outbox.push(key(0), epoch(1));
        outbox.push(key(1), epoch(1));
        outbox.revoke(key(0));
        assert_eq!(outbox.acknowledge_epoch(key(0), Epoch(1)), None);
        assert_eq!(outbox.acknowledged_epoch(key(0)), Epoch(0));
        assert_eq!(owed(&outbox), [(key(1), epoch(1))]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        AcknowledgeEpoch(u32),
        AcknowledgeEnd,
        Revoke,
    }

    fn step() -> impl Strategy<Value = (u32, Step)> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            4 => (1u32..8).prop_map(Step::AcknowledgeEpoch),
            1 => Just(Step::AcknowledgeEnd),
            1 => Just(Step::Revoke),
        ];
        (0u32..3, step)
    }

    proptest! {
        /// Against a plain list: exactly what was pushed and neither acknowledged nor revoked is sent, in order.
        #[test]
        fn nothing_is_lost_and_nothing_is_repeated(steps in prop::collection::vec(step(), 0..60)) {
            let mut outbox = Outbox::default();
            let mut expected: Vec<(AttemptKey, Report)> = Vec::new();
            let mut pushed = [0u32; 3];
            for (trial, step) in steps {
                let own = key(trial);
                match step {
                    Step::Push => {
                        let number = &mut pushed[trial as usize];
                        *number += 1;
                        // The eighth is the end, and nothing follows.
                        let report = match *number {
                            1..8 => epoch(*number),
                            8 => end(),
                            _ => continue,
                        };
                        outbox.push(own, report.clone());
                        expected.push((own, report));
                    }
                    Step::AcknowledgeEpoch(number) => {
                        let was_owed = expected.contains(&(own, epoch(number)));
                        prop_assert_eq!(outbox.acknowledge_epoch(own, Epoch(number)).is_some(), was_owed);
                        expected.retain(|owed| *owed != (own, epoch(number)));
                        prop_assert!(!was_owed || outbox.acknowledged_epoch(own) >= Epoch(number));
                    }
                    Step::AcknowledgeEnd => {
                        let was_owed = expected.contains(&(own, end()));
                        prop_assert_eq!(outbox.acknowledge_end(own).is_some(), was_owed);
                        expected.retain(|(owner, _)| !was_owed || *owner != own);
                    }
                    Step::Revoke => {
                        outbox.revoke(own);
                        expected.retain(|(owner, _)| *owner != own);
                    }
                }
                prop_assert_eq!(owed(&outbox), expected.clone());
            }
        }
    }
}
