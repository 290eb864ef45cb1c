//! Explanations and replays.

use std::collections::BTreeMap;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::record::{
    BestRecord, CallRecord, DecisionRecord, Explanation, LookRecord, PeerRecord, ReplayRecord, StopRecord,
};

use super::WireError;
use super::record::word;
use crate::v1;

fn look(trial: TrialNumber, record: LookRecord) -> v1::Look {
    let LookRecord { fold, epoch, prune, decision } = record;
    let decision = DecisionRecord { trial, fold, epoch, decision, event_seq: 0 };
    v1::Look { prune, decision: Some(decision.into()) }
}

fn look_from(wire: Option<v1::Look>) -> Result<(TrialNumber, LookRecord), WireError> {
    let wire = wire.ok_or(WireError::Missing("look"))?;
    let found = DecisionRecord::try_from(wire.decision.ok_or(WireError::Missing("look.decision"))?)?;
    let DecisionRecord { trial, fold, epoch, decision, .. } = found;
    Ok((trial, LookRecord { fold, epoch, prune: wire.prune, decision }))
}

impl From<Explanation> for v1::Explanation {
    fn from(record: Explanation) -> Self {
        let trial = record.trial;
        let call = |call: CallRecord| v1::Call {
            look: Some(look(trial, call.look)),
            place: call.place,
            margin: call.margin,
            peers: call
                .peers
                .iter()
                .map(|peer| v1::Peer { trial: peer.trial.0, value: peer.value })
                .collect(),
        };
        Self {
            trial: trial.0,
            state: record.state.to_string(),
            value: record.value,
            direction: record.direction.to_string(),
            pruner: record.pruner,
            stored: record.stored.map(v1::Decision::from),
            call: record.call.map(call),
            looks: record.looks.into_iter().map(|record| look(trial, record)).collect(),
            skipped: record.skipped.into_iter().map(|(skip, count)| (skip.to_string(), count)).collect(),
            exact: record.exact,
        }
    }
}

impl TryFrom<v1::Explanation> for Explanation {
    type Error = WireError;

    fn try_from(wire: v1::Explanation) -> Result<Self, WireError> {
        let peer = |peer: v1::Peer| PeerRecord { trial: TrialNumber(peer.trial), value: peer.value };
        let call = |call: v1::Call| {
            Ok::<_, WireError>(CallRecord {
                look: look_from(call.look)?.1,
                place: call.place,
                margin: call.margin,
                peers: call.peers.into_iter().map(peer).collect(),
            })
        };
        let skipped = wire.skipped.into_iter().map(|(skip, count)| Ok((word("skipped", &skip)?, count)));
        let looks = wire.looks.into_iter().map(|look| Ok(look_from(Some(look))?.1));
        Ok(Self {
            trial: TrialNumber(wire.trial),
            state: word("state", &wire.state)?,
            value: wire.value,
            direction: word("direction", &wire.direction)?,
            pruner: wire.pruner,
            stored: wire.stored.map(DecisionRecord::try_from).transpose()?,
            call: wire.call.map(call).transpose()?,
            looks: looks.collect::<Result<_, WireError>>()?,
            skipped: skipped.collect::<Result<BTreeMap<_, _>, WireError>>()?,
            exact: wire.exact,
        })
    }
}

impl From<ReplayRecord> for v1::Replay {
    fn from(record: ReplayRecord) -> Self {
        let stop = |stop: StopRecord| v1::ReplayedStop {
            saved: stop.saved,
            state: stop.state.to_string(),
            look: Some(look(stop.trial, stop.look)),
        };
        let best =
            |best: BestRecord| v1::ReplayedBest { trial: best.trial.0, value: best.value, lives: best.lives };
        Self {
            name: record.name,
            pruner: record.pruner,
            trials: record.trials,
            recorded: record.recorded,
            saved: record.saved,
            stopped: record.stopped.into_iter().map(stop).collect(),
            best: record.best.into_iter().map(best).collect(),
            unknown: record.unknown.into_iter().map(|trial| trial.0).collect(),
            exact: record.exact,
        }
    }
}

impl TryFrom<v1::Replay> for ReplayRecord {
    type Error = WireError;

    fn try_from(wire: v1::Replay) -> Result<Self, WireError> {
        let stop = |stop: v1::ReplayedStop| {
            let (trial, look) = look_from(stop.look)?;
            Ok(StopRecord { trial, state: word("state", &stop.state)?, saved: stop.saved, look })
        };
        let best = |best: v1::ReplayedBest| BestRecord {
            trial: TrialNumber(best.trial),
            value: best.value,
            lives: best.lives,
        };
        Ok(Self {
            name: wire.name,
            pruner: wire.pruner,
            trials: wire.trials,
            recorded: wire.recorded,
            saved: wire.saved,
            stopped: wire.stopped.into_iter().map(stop).collect::<Result<_, WireError>>()?,
            best: wire.best.into_iter().map(best).collect(),
            unknown: wire.unknown.into_iter().map(TrialNumber).collect(),
            exact: wire.exact,
        })
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::decision::Decision;
    use foldwise_shared::ids::{Epoch, FoldIndex};
    use foldwise_shared::state::{Direction, Rule, Skip, TrialState};

    use super::*;

    #[test]
    fn what_goes_over_the_wire_comes_back() {
        let trial = TrialNumber(3);
        let decision = Decision {
            peers: 7,
            percentile: Some(50.0),
            bracket: Some(1),
            rung: Some(2),
            kept: Some(3),
            against: Some(TrialNumber(4)),
            alpha: Some(0.01),
            standard_error: Some(0.02),
            degrees: Some(5),
            patience: Some(6),
            ..Decision::new(Rule::Paired, Some(0.5), Some(0.25))
        };
        let (fold, epoch) = (FoldIndex(1), Some(Epoch(2)));
        let look = LookRecord { fold, epoch, prune: true, decision };
        let peers = vec![
            PeerRecord { trial: TrialNumber(0), value: Some(0.1) },
            PeerRecord { trial: TrialNumber(1), value: None },
        ];
        let explanation = Explanation {
            trial,
            state: TrialState::Pruned,
            value: Some(0.75),
            direction: Direction::Maximize,
            pruner: "{}".into(),
            stored: Some(DecisionRecord { trial, fold, epoch, decision, event_seq: 9 }),
            call: Some(CallRecord { look, place: 2, margin: Some(0.25), peers }),
            looks: vec![LookRecord { prune: false, epoch: None, ..look }, look],
            skipped: BTreeMap::from([(Skip::FewPeers, 3), (Skip::NotDue, 1)]),
            exact: true,
        };
        let wire = v1::Explanation::from(explanation.clone());
        assert_eq!(Explanation::try_from(wire), Ok(explanation));

        let replay = ReplayRecord {
            name: "median".into(),
            pruner: "{}".into(),
            trials: 4,
            recorded: 99,
            saved: 33,
            stopped: vec![StopRecord { trial, state: TrialState::Complete, saved: 5, look }],
            best: vec![BestRecord { trial, value: 0.5, lives: false }],
            unknown: vec![TrialNumber(2)],
            exact: true,
        };
        assert_eq!(ReplayRecord::try_from(v1::Replay::from(replay.clone())), Ok(replay));
        let rule = v1::Decision { rule: "?".into(), ..v1::Decision::default() };
        assert!(DecisionRecord::try_from(rule).is_err());
    }
}
