//! What was recorded in a study, run once more through a pruner: what this one would have done, and why a trial was
//! pruned.
//!
//! Invariant: the pruner of the study itself comes to exactly the decisions that were recorded.

use std::collections::BTreeMap;

use foldwise_shared::ids::{Epoch, FoldIndex, TrialNumber};
use foldwise_shared::record::{
    BestRecord, CallRecord, DecisionRecord, Explanation, LookRecord, PeerRecord, ReplayRecord, StopRecord,
};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{Direction, TrialState};

use crate::pruner::{Look, Pruner, Standing, Verdict};

/// How many of the best trials a replay tells of.
const BEST: usize = 3;

/// Something that was recorded in a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// A fold is trained; what it reached before, beyond where it goes on, is gone.
    Started {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The epoch after which it goes on; 0 for a fresh start.
        after: Epoch,
    },
    /// An epoch was recorded.
    Epoch {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// The epoch.
        epoch: Epoch,
        /// Its validation loss; NaN if it was not finite.
        value: f64,
    },
    /// A fold became Complete.
    FoldEnded {
        /// The trial.
        trial: TrialNumber,
        /// The fold.
        fold: FoldIndex,
        /// Its value.
        value: f64,
    },
    /// How a trial ends was decided; what still came in of it was not judged.
    Decided {
        /// The trial.
        trial: TrialNumber,
        /// The state it ends in.
        state: TrialState,
    },
}

/// What was recorded in a study.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recording {
    /// In the order in which it was recorded.
    pub steps: Vec<Step>,
    /// Whether that order is known; else it is a likely one.
    pub exact: bool,
}

impl Step {
    fn trial(&self) -> TrialNumber {
        let (Self::Started { trial, .. }
        | Self::Epoch { trial, .. }
        | Self::FoldEnded { trial, .. }
        | Self::Decided { trial, .. }) = *self;
        trial
    }
}

/// A verdict on a trial.
struct Judged {
    trial: TrialNumber,
    fold: FoldIndex,
    /// None if a finished fold was judged.
    epoch: Option<Epoch>,
    verdict: Verdict,
}

impl Judged {
    fn look(&self) -> Option<LookRecord> {
        match self.verdict {
            Verdict::Looked(Look { decision, prune }) => {
                Some(LookRecord { fold: self.fold, epoch: self.epoch, prune, decision })
            }
            Verdict::Skipped(_) => None,
        }
    }
}

/// A study in the hands of a pruner.
struct Replay {
    pruner: Pruner,
    external: bool,
    folds: usize,
    epochs: u32,
    trials: BTreeMap<TrialNumber, Trial>,
}

struct Trial {
    folds: Vec<Fold>,
    /// Where this pruner stopped it.
    stopped: Option<LookRecord>,
    /// How it ends was decided.
    decided: Option<TrialState>,
    /// Epochs before that was decided.
    recorded: u64,
    /// Those of them before this pruner stopped it.
    trained: u64,
}

#[derive(Clone, Default)]
struct Fold {
    curve: Vec<Option<f64>>,
    value: Option<f64>,
}

impl Trial {
    fn finished(&self) -> Vec<(FoldIndex, f64)> {
        let folds = (0..).map(FoldIndex).zip(&self.folds);
        folds.filter_map(|(index, fold)| Some((index, fold.value?))).collect()
    }
}

impl Replay {
    fn new(spec: &StudySpec) -> Self {
        let folds = spec.scheme().folds() as usize;
        let (pruner, external) = (Pruner::from_spec(spec), spec.is_external());
        Self { pruner, external, folds, epochs: spec.epochs(), trials: BTreeMap::new() }
    }

    /// The steps, and of each whether it was told together with what comes next of its trial, so that nobody was judged
    /// there: the last epoch of a fold with its end, the end of a fold with that of another.
    fn in_order<'a>(&self, recording: &'a Recording) -> Vec<(&'a Step, bool)> {
        let mut next_end = BTreeMap::new();
        let mut steps: Vec<(&Step, bool)> = Vec::with_capacity(recording.steps.len());
        for step in recording.steps.iter().rev() {
            let (trial, ends) = match *step {
                Step::FoldEnded { trial, fold, .. } => (trial, Some(fold)),
                _ => (step.trial(), None),
            };
            let next = next_end.insert(trial, ends).flatten();
            let told = match *step {
                Step::Epoch { fold, .. } => next == Some(fold),
                Step::FoldEnded { .. } => next.is_some(),
                Step::Started { .. } | Step::Decided { .. } => false,
            };
            steps.push((step, self.external && told));
        }
        steps.reverse();
        steps
    }

    /// Takes a step as the scheduler took it; a trial that this pruner has stopped takes none.
    /// `told`: see [`Self::in_order`].
    fn step(&mut self, step: &Step, told: bool) -> Option<Judged> {
        let trial = step.trial();
        let found = self.trials.entry(trial).or_insert_with(|| Trial {
            folds: vec![Fold::default(); self.folds],
            stopped: None,
            decided: None,
            recorded: 0,
            trained: 0,
        });
        if matches!(step, Step::Epoch { .. }) && found.decided.is_none() {
            found.recorded += 1;
            found.trained += u64::from(found.stopped.is_none());
        }
        if let Step::Decided { state, .. } = *step {
            found.decided.get_or_insert(state);
        }
        if found.stopped.is_some() {
            return None;
        }
        match *step {
            Step::Started { fold, after, .. } => {
                let finished = found.finished();
                let slot = found.folds.get_mut(fold.0 as usize)?;
                slot.curve.truncate(after.0 as usize);
                let (number, curve) = (trial, &slot.curve);
                self.pruner.start(&Standing { number, fold, curve, finished: &finished, judged: false });
                None
            }
            Step::Epoch { fold, epoch, value, .. } => {
                if !(1..=self.epochs).contains(&epoch.0) {
                    return None;
                }
                let slot = found.folds.get_mut(fold.0 as usize)?;
                slot.curve.resize(epoch.0 as usize - 1, None);
                slot.curve.push(Some(value));
                // A training that diverged is ended by its worker.
                if !self.external && slot.curve.iter().any(|loss| loss.is_some_and(f64::is_nan)) {
                    return None;
                }
                let judged = !told && found.decided.is_none();
                self.judge(trial, fold, Some(epoch), judged)
            }
            Step::FoldEnded { fold, value, .. } => {
                found.folds.get_mut(fold.0 as usize)?.value = Some(value);
                let judged = !told && found.folds.iter().any(|fold| fold.value.is_none());
                self.judge(trial, fold, None, judged)
            }
            Step::Decided { .. } => None,
        }
    }

    fn judge(
        &mut self,
        trial: TrialNumber,
        fold: FoldIndex,
        epoch: Option<Epoch>,
        judged: bool,
    ) -> Option<Judged> {
        let verdict = self.with(trial, fold, judged, |pruner, standing| match epoch {
            Some(_) => pruner.epoch(standing),
            None => pruner.fold_end(standing),
        })?;
        let judgement = Judged { trial, fold, epoch, verdict };
        if let Some(found) = self.trials.get_mut(&trial) {
            found.stopped = judgement.look().filter(|look| look.prune);
        }
        judged.then_some(judgement)
    }

    fn with<T>(
        &mut self,
        number: TrialNumber,
        fold: FoldIndex,
        judged: bool,
        ask: impl FnOnce(&mut Pruner, &Standing) -> T,
    ) -> Option<T> {
        let trial = self.trials.get(&number)?;
        let (curve, finished) = (&trial.folds.get(fold.0 as usize)?.curve, trial.finished());
        Some(ask(&mut self.pruner, &Standing { number, fold, curve, finished: &finished, judged }))
    }

    /// Whom a trial was compared with at a look, right after it.
    fn call(&mut self, direction: Direction, trial: TrialNumber, look: LookRecord) -> CallRecord {
        let seen = Look { decision: look.decision, prune: look.prune };
        let others = self
            .with(trial, look.fold, true, |pruner, standing| {
                pruner.others(standing, &seen, look.epoch.is_some())
            })
            .unwrap_or_default();
        let own = look.decision.own;
        let better = |value: f64| own.is_none_or(|own| direction.is_better(value, own));
        let place = others.iter().filter(|(_, value)| value.is_some_and(better)).count() as u32 + 1;
        let mut peers: Vec<PeerRecord> =
            others.into_iter().map(|(trial, value)| PeerRecord { trial, value }).collect();
        let worst = |value: Option<f64>| match direction {
            Direction::Minimize => value.unwrap_or(f64::INFINITY),
            Direction::Maximize => -value.unwrap_or(f64::NEG_INFINITY),
        };
        peers.sort_by(|a, b| {
            let missing = (a.value.is_none(), b.value.is_none());
            missing
                .0
                .cmp(&missing.1)
                .then(worst(a.value).total_cmp(&worst(b.value)))
                .then(a.trial.cmp(&b.trial))
        });
        CallRecord { look, place, margin: margin(&look), peers }
    }
}

/// How far a trial's own number is from the threshold.
fn margin(look: &LookRecord) -> Option<f64> {
    Some((look.decision.own? - look.decision.threshold?).abs()).filter(|margin| margin.is_finite())
}

/// The same as a share of the threshold, so that looks at different epochs can be compared.
fn closeness(look: &LookRecord) -> f64 {
    let scale = look.decision.threshold.map_or(1.0, f64::abs).max(f64::MIN_POSITIVE);
    margin(look).map_or(f64::INFINITY, |margin| margin / scale)
}

/// A trial to be explained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subject {
    /// Its number.
    pub trial: TrialNumber,
    /// Where it is in its life.
    pub state: TrialState,
    /// Its value, if it is complete.
    pub value: Option<f64>,
    /// Why it was pruned, if it was.
    pub stored: Option<DecisionRecord>,
}

/// Why a trial was pruned or how near it came to that, from the recording of its study.
pub fn explain(spec: &StudySpec, recording: &Recording, subject: Subject) -> Explanation {
    let direction = spec.study.direction;
    let mut replay = Replay::new(spec);
    let mut explanation = Explanation {
        trial: subject.trial,
        state: subject.state,
        value: subject.value,
        direction,
        pruner: spec.pruner_json(),
        stored: subject.stored,
        call: None,
        looks: Vec::new(),
        skipped: BTreeMap::new(),
        exact: recording.exact,
    };
    for (step, told) in replay.in_order(recording) {
        let judged = replay.step(step, told).filter(|judged| judged.trial == subject.trial);
        let Some(judged) = judged else { continue };
        let Some(look) = judged.look() else {
            // Where nobody is ever judged there is no reason for it.
            if let Verdict::Skipped(skip) = judged.verdict
                && !replay.pruner.is_none()
            {
                *explanation.skipped.entry(skip).or_insert(0) += 1;
            }
            continue;
        };
        explanation.looks.push(look);
        let is_stored = |look: &LookRecord| {
            subject.stored.is_some_and(|stored| (stored.fold, stored.epoch) == (look.fold, look.epoch))
        };
        let rank = |look: &LookRecord| (!look.prune, !is_stored(look), closeness(look));
        let nearer = explanation.call.as_ref().is_none_or(|call| rank(&look) < rank(&call.look));
        if nearer {
            explanation.call = Some(replay.call(direction, subject.trial, look));
        }
    }
    explanation
}

/// What a pruner, that of `spec`, would have made of the trials of a study, from its recording and the values of the trials
/// that are complete. `name` is what was asked for.
pub fn replay(
    spec: &StudySpec,
    name: &str,
    recording: &Recording,
    values: &[(TrialNumber, f64)],
) -> ReplayRecord {
    let mut replay = Replay::new(spec);
    for (step, told) in replay.in_order(recording) {
        replay.step(step, told);
    }
    let trials: BTreeMap<TrialNumber, Trial> =
        replay.trials.into_iter().filter(|(_, trial)| trial.recorded > 0).collect();
    let stops = trials.iter().filter_map(|(number, trial)| {
        Some(StopRecord {
            trial: *number,
            state: trial.decided.unwrap_or(TrialState::Running),
            saved: trial.recorded - trial.trained,
            look: trial.stopped?,
        })
    });
    let survived = |number: &TrialNumber| trials.get(number).is_some_and(|trial| trial.stopped.is_none());
    let mut best: Vec<BestRecord> = values
        .iter()
        .map(|(number, value)| BestRecord { trial: *number, value: *value, lives: survived(number) })
        .collect();
    best.sort_by(|a, b| {
        let order = match spec.study.direction {
            Direction::Minimize => a.value.total_cmp(&b.value),
            Direction::Maximize => b.value.total_cmp(&a.value),
        };
        order.then(a.trial.cmp(&b.trial))
    });
    best.truncate(BEST);
    let pruned = |trial: &Trial| trial.decided == Some(TrialState::Pruned) && trial.stopped.is_none();
    ReplayRecord {
        name: name.to_owned(),
        exact: recording.exact,
        pruner: spec.pruner_json(),
        trials: trials.len() as u32,
        recorded: trials.values().map(|trial| trial.recorded).sum(),
        saved: trials.values().map(|trial| trial.recorded - trial.trained).sum(),
        stopped: stops.collect(),
        best,
        unknown: trials.iter().filter(|(_, trial)| pruned(trial)).map(|(number, _)| *number).collect(),
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::spec::parse;
    use foldwise_shared::state::Skip;

    use super::*;

    fn spec(direction: &str, pruner: &str) -> StudySpec {
        let text = format!(
            "version = 1\nstudy = {{ name = \"s\", direction = \"{direction}\" }}\n\
             data = {{ dataset = \"mnist\", folds = 2 }}\nmodel = {{ network = \"lab\", latent_dim = 4 }}\n\
             train = {{ epochs = 3 }}\nbudget = {{ trials = 3 }}\npruner = {pruner}\n"
        );
        parse(&text, &[]).expect("a study file")
    }

    /// `0/1 5 4` is a fold and its epochs, `end 0/1 4` its end, `is 0 complete` what was decided of a trial.
    fn recording(lines: &[&str]) -> Recording {
        let mut steps = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = |word: &str| {
                let (trial, fold) = word.split_once('/').expect(word);
                (TrialNumber(trial.parse().expect(word)), FoldIndex(fold.parse().expect(word)))
            };
            match words.as_slice() {
                ["is", trial, state] => {
                    let trial = TrialNumber(trial.parse().expect(trial));
                    steps.push(Step::Decided { trial, state: state.parse().expect(state) });
                }
                ["end", at, value] => {
                    let (trial, fold) = place(at);
                    steps.push(Step::FoldEnded { trial, fold, value: value.parse().expect(value) });
                }
                [at, values @ ..] => {
                    let (trial, fold) = place(at);
                    steps.push(Step::Started { trial, fold, after: Epoch(0) });
                    for (epoch, value) in (1..).map(Epoch).zip(values) {
                        let value = value.parse().expect(value);
                        steps.push(Step::Epoch { trial, fold, epoch, value });
                    }
                }
                [] => {}
            }
        }
        Recording { steps, exact: true }
    }

    fn explained(direction: &str, pruner: &str, lines: &[&str], trial: u32) -> Explanation {
        let subject =
            Subject { trial: TrialNumber(trial), state: TrialState::Running, value: None, stored: None };
        explain(&spec(direction, pruner), &recording(lines), subject)
    }

    const MEDIAN: &str = "{ kind = \"median\", startup_trials = 2, warmup_epochs = 1 }";

    #[test]
    fn a_pruned_trial_is_explained_by_those_it_was_compared_with() {
        let lines = ["0/0 9 1 1", "end 0/0 1", "1/0 9 3 1", "end 1/0 1", "2/0 9 2.5 9", "0/1 1"];
        let found = explained("minimize", MEDIAN, &lines, 2);
        let call = found.call.expect("a call");
        assert_eq!((call.look.fold, call.look.epoch, call.look.prune), (FoldIndex(0), Some(Epoch(2)), true));
        let peers: Vec<_> = call.peers.iter().map(|peer| (peer.trial.0, peer.value)).collect();
        assert_eq!((call.place, peers), (2, vec![(0, Some(1.0)), (1, Some(3.0))]));
        assert_eq!(
            (call.margin, found.looks.len()),
            (Some(0.5), 1),
            "a trial that was stopped is looked at no more"
        );
        assert_eq!(found.skipped, BTreeMap::from([(Skip::NotDue, 1)]));
        let found = explained("minimize", "{ kind = \"none\" }", &lines, 2);
        assert_eq!((found.call, found.skipped), (None, BTreeMap::new()));
    }

    #[test]
    fn a_trial_that_lived_is_explained_by_its_closest_call() {
        let lines = ["0/0 9 1 1", "end 0/0 1", "1/0 9 3 2", "end 1/0 2", "2/0 9 1.9 1.4"];
        let found = explained("minimize", MEDIAN, &lines, 2);
        // 1.9 against 2 is nearer, as a share, than 1.4 against 1.5.
        let call = found.call.expect("a call");
        assert_eq!((call.look.epoch, call.look.prune, found.looks.len()), (Some(Epoch(2)), false, 2));
        // Where more is better the best comes first, and a number that is not there last.
        let found =
            explained("maximize", MEDIAN, &["0/0 9 1", "end 0/0 1", "1/0 9 3", "end 1/0 3", "2/0 0 4"], 2);
        let peers: Vec<_> = found.call.iter().flat_map(|call| &call.peers).map(|peer| peer.trial.0).collect();
        assert_eq!(peers, [1, 0]);
    }

    #[test]
    fn a_replay_saves_what_comes_after_a_stop_and_before_the_end() {
        let lines = [
            "0/0 5 5 5", // it gets no worse
            "end 0/0 5",
            "1/0 4 3 2",
            "end 1/0 2",
            "0/1 5 5",
            "is 0 complete",
            "1/1 3 4 4",
            "is 1 pruned",
            "2/0 9 NaN",
            "is 2 failed",
            "2/0 1", // what comes after its end counts for nobody
        ];
        let patience = spec("minimize", "{ kind = \"patience\", patience = 0 }");
        let values = [(TrialNumber(0), 5.0), (TrialNumber(3), 4.0)];
        let found = replay(&patience, "p", &recording(&lines), &values);
        assert_eq!((found.trials, found.recorded, found.saved), (3, 13, 1));
        let stops: Vec<_> = found
            .stopped
            .iter()
            .map(|stop| (stop.trial.0, stop.look.fold.0, stop.look.epoch, stop.saved))
            .collect();
        assert_eq!(stops, [(1, 1, Some(Epoch(2)), 1)]);
        assert_eq!(found.unknown, []);
        let best: Vec<_> = found.best.iter().map(|best| (best.trial.0, best.lives)).collect();
        // A trial of which no epoch is recorded was not trained to its end by anyone.
        assert_eq!(best, [(3, false), (0, true)]);

        let none = replay(&spec("minimize", "{ kind = \"none\" }"), "none", &recording(&lines), &values);
        assert_eq!((none.saved, none.stopped.len(), none.unknown), (0, 0, vec![TrialNumber(1)]));
        let strict = spec("minimize", "{ kind = \"threshold\", upper = 4.5 }");
        let found = replay(&strict, "t", &recording(&lines), &values);
        // Trial 0 at its first epoch, trial 2 too; the NaN is the worker's to end.
        let stops: Vec<_> = found.stopped.iter().map(|stop| (stop.trial.0, stop.saved)).collect();
        assert_eq!((stops, found.saved), (vec![(0, 4), (2, 1)], 5));
    }
}
