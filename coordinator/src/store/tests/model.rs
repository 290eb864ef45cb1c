//! A simple model of the record, and a generator of changes that fit it.

use std::collections::{BTreeMap, BTreeSet};

use foldwise_engine::scheduler::{
    DrainedWorker, FoldSnapshot, NewStudy, OpenAttempt, Snapshot, StudySnapshot, TrialSnapshot, WorkerInfo,
    Write,
};
use foldwise_shared::artifact::{Artifact, ArtifactRecord, ResultFile};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::decision::Decision;
use foldwise_shared::fleet::Handover;
use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, StudyId, TrialNumber};
use foldwise_shared::record::{Best, DecisionRecord, EpochRecord, FoldRecord, StudyRecord, TrialRecord};
use foldwise_shared::spec::{BudgetSection, StudySpec};
use foldwise_shared::state::{AttemptState, FailureClass, Origin, Rule, StudyState, TrialState};
use foldwise_shared::value::ParamValue;

use super::{ended, epoch, hello, key, started, study, trial, trial_state, worker};

/// Everything that was written, as plain as possible.
#[derive(Default)]
pub struct Model {
    /// By id, from 1; none in the place of one that was deleted.
    studies: Vec<Option<ModelStudy>>,
    drained_workers: BTreeMap<String, DrainedWorker>,
    workers: u32,
    /// By id, from 1; none in the place of one that went with its study.
    leases: Vec<Option<Lease>>,
}

struct Lease {
    worker: WorkerInfo,
    lease_ms: Option<i64>,
    renewed_at: Millis,
}

pub struct ModelStudy {
    pub id: i64,
    new: NewStudy,
    pub earlier_budgets: Vec<BudgetSection>,
    created_at: Millis,
    state: StudyState,
    message: Option<String>,
    running_ms: i64,
    trials: Vec<ModelTrial>,
    /// Without their event.
    pub decisions: Vec<DecisionRecord>,
}

struct ModelTrial {
    record: TrialRecord,
    ending: Option<TrialState>,
    decision: Option<Decision>,
    folds: Vec<ModelFold>,
}

struct ModelFold {
    state: TrialState,
    value: Option<f64>,
    best_epoch: Option<Epoch>,
    attempts: Vec<ModelAttempt>,
    checkpoint: Option<Checkpoint>,
    /// By kind and epoch.
    /// By kind and epoch: the attempt that made it, and its record.
    results: BTreeMap<(String, Option<Epoch>), (Attempt, ArtifactRecord)>,
}

struct ModelAttempt {
    lease: LeaseId,
    open: Option<OpenAttempt>,
    failure: Option<FailureClass>,
    start: u32,
    epochs: Vec<EpochRecord>,
}

/// Picks from what is there: `pick % len`.
fn at(pick: u32, len: usize) -> Option<u32> {
    pick.checked_rem(u32::try_from(len).ok()?)
}

fn word<T: Copy>(words: &[T], pick: u32) -> T {
    words[pick as usize % words.len()]
}

impl Model {
    /// A change of the given kind that fits the record, if there is one; `a`, `b` and `c` choose what it is about.
    pub fn choose(&self, kind: u8, a: u32, b: u32, c: u32) -> Option<Write> {
        let time = Millis(10_000 + i64::from(c));
        if kind == 0 {
            let id = self.studies.len() as i64 + 1;
            if id > 4 {
                return None;
            }
            let mut write = study(id, &format!("s{id}"), word(&["minimize", "maximize"], c));
            if let Write::Study { study, .. } = &mut write {
                let parent = at(a, self.studies.len()).filter(|_| b.is_multiple_of(2));
                let parent = parent.filter(|place| self.studies[*place as usize].is_some());
                study.parent = parent.map(|place| StudyId(i64::from(place) + 1));
                study.source = c.is_multiple_of(3).then(|| artifact(a, b));
            }
            return Some(write);
        }
        if kind == 1 {
            return Some(hello(a % 4));
        }
        if kind == 13 {
            let name = format!("w{}", b % 4);
            if self.drained_workers.contains_key(&name) && a.is_multiple_of(2) {
                return Some(Write::WorkerUndrained { name, at: time });
            }
            return Some(Write::WorkerDrained { name, handover: word(Handover::ALL, c), at: time });
        }
        let place = at(a, self.studies.len())?;
        let chosen = self.studies[place as usize].as_ref()?;
        let id = i64::from(place) + 1;
        if kind == 14 {
            let mut spec = chosen.new.spec.clone();
            let before = spec.budget.clone();
            spec.budget.trials = Some(before.trials.unwrap_or_default() + b + 1);
            spec.budget.wall_time = c.is_multiple_of(2).then(|| format!("{}s", c + 1));
            return Some(Write::StudyExtended { study: StudyId(id), spec: Box::new(spec), before, at: time });
        }
        if kind == 15 {
            return c.is_multiple_of(5).then_some(Write::StudyDeleted { study: StudyId(id), at: time });
        }
        let message = c.is_multiple_of(2).then(|| format!("message {c}"));
        match kind {
            2 => {
                return Some(Write::StudyState {
                    study: StudyId(id),
                    state: word(StudyState::ALL, b),
                    message,
                    at: time,
                });
            }
            3 if a.is_multiple_of(2) => {
                let lease = at(b, self.leases.len())?;
                self.leases[lease as usize].as_ref()?;
                let lease = LeaseId(i64::from(lease) + 1);
                return Some(Write::LeaseRenewed { lease, at: time });
            }
            3 => return Some(Write::RunningTime { study: StudyId(id), running_ms: b.into() }),
            4 | 5 => {
                let mut write = trial(id, chosen.trials.len() as u32, b % 3 + 1);
                if let Write::Trial { parent, .. } = &mut write {
                    *parent = at(c, chosen.trials.len()).filter(|_| a.is_multiple_of(2)).map(TrialNumber);
                }
                return Some(write);
            }
            _ => {}
        }
        let number = at(b, chosen.trials.len())?;
        let trial = &chosen.trials[number as usize];
        if kind == 6 {
            let state = word(TrialState::ALL, c);
            let value = (state == TrialState::Complete).then(|| f64::from(c % 7));
            let reason = if state.is_finished() || state == TrialState::Stopping { "why" } else { "" };
            return trial
                .record
                .finished_at
                .is_none()
                .then(|| trial_state(id, number, state, value, reason, time.0));
        }
        let fold_index = at(c, trial.folds.len())?;
        let fold = &trial.folds[fold_index as usize];
        let newest = fold.attempts.len() as u32;
        let open = fold.attempts.last().and_then(|attempt| attempt.open.as_ref());
        let newest_key = key(id, number, fold_index, newest);
        match kind {
            16 if newest > 0 => {
                let (bytes, digest) = (u64::from(b), format!("{a:064x}"));
                let checkpoint = Checkpoint { epoch: Epoch(c % 9 + 1), digest, bytes };
                Some(Write::Checkpoint { key: newest_key, checkpoint, at: time })
            }
            17 if newest > 0 => {
                let kind = word(&["model", "reconstruction", "range-test"], a).to_owned();
                let epoch = Some(Epoch(c % 5)).filter(|epoch| epoch.0 > 0);
                let result = ResultFile { kind, epoch, file: artifact(a, b) };
                Some(Write::Result { key: newest_key, result, at: time })
            }
            18 => {
                let name = word(&["found", "also_found"], a).to_owned();
                let value = ParamValue::Float(f64::from(b) / 7.0);
                let is_new = !trial.record.params.contains_key(&name);
                is_new.then_some(Write::Derived { key: newest_key, name, value, at: time })
            }
            7 => Some(Write::FoldState {
                study: StudyId(id),
                trial: TrialNumber(number),
                fold: FoldIndex(fold_index),
                state: word(TrialState::ALL, a),
                value: c.is_multiple_of(2).then_some(0.5),
                best_epoch: c.is_multiple_of(2).then_some(Epoch(3)),
                at: time,
            }),
            8 => Some(Write::Decision {
                study: StudyId(id),
                trial: TrialNumber(number),
                fold: FoldIndex(fold_index),
                epoch: c.is_multiple_of(2).then_some(Epoch(c % 50)),
                decision: decision(a, c),
                at: time,
            }),
            9 if self.workers > 0 => Some(Write::Lease {
                lease: LeaseId(self.leases.len() as i64 + 1),
                worker: worker(a % self.workers),
                lease_ms: b.is_multiple_of(2).then_some(b.into()),
                at: time,
            }),
            10 if open.is_none() => {
                let lease = at(b, self.leases.len())? as usize;
                // As after a checkpoint: from any epoch of the live curve.
                let start = at(a, fold.live().len() + 1)?;
                let next = key(id, number, fold_index, newest + 1);
                let worker = self.leases[lease].as_ref()?.worker.clone();
                Some(started(next, lease as i64 + 1, worker, start))
            }
            11 if open.is_some() => {
                let state = word(&AttemptState::ALL[1..], a);
                let failure = (state == AttemptState::Failed).then(|| word(FailureClass::ALL, b));
                Some(ended(newest_key, state, failure))
            }
            13 => Some(Write::CheckpointDropped {
                study: StudyId(id),
                trial: TrialNumber(number),
                fold: FoldIndex(fold_index),
            }),
            _ if open.is_some() => {
                let attempt = fold.attempts.last()?;
                let next = attempt.start + attempt.epochs.len() as u32 + 1;
                let mut write = epoch(newest_key, next, (!a.is_multiple_of(5)).then(|| f64::from(a) / 3.0));
                if let Write::Epoch { record, .. } = &mut write {
                    let measured = [("kl", a), ("mse", b), ("accuracy", c)].into_iter();
                    let some = measured.filter(|(_, number)| number.is_multiple_of(2));
                    record.metrics = some.map(|(name, number)| (name.into(), f64::from(number))).collect();
                }
                Some(write)
            }
            _ => None,
        }
    }

    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Study { id, study, at } => self.studies.push(Some(ModelStudy {
                id: id.0,
                new: (**study).clone(),
                earlier_budgets: Vec::new(),
                created_at: *at,
                state: StudyState::Running,
                message: None,
                running_ms: 0,
                trials: Vec::new(),
                decisions: Vec::new(),
            })),
            Write::StudyExtended { study, spec, before, .. } => {
                let study = self.study(*study);
                study.new.spec = StudySpec::clone(spec);
                study.earlier_budgets.push(before.clone());
            }
            Write::StudyDeleted { study, .. } => {
                let gone = self.studies[study.0 as usize - 1].take().expect("a study that was not deleted");
                for other in self.studies.iter_mut().flatten() {
                    other.new.parent = other.new.parent.filter(|parent| parent != study);
                }
                let kept: Vec<LeaseId> = self.studies().flat_map(ModelStudy::leases).collect();
                for lease in gone.leases().filter(|lease| !kept.contains(lease)) {
                    self.leases[lease.0 as usize - 1] = None;
                }
            }
            Write::WorkerDrained { name, handover, at } => {
                self.drained_workers.insert(name.clone(), DrainedWorker { handover: *handover, at: *at });
            }
            Write::WorkerUndrained { name, .. } => drop(self.drained_workers.remove(name)),
            Write::StudyState { study, state, message, .. } => {
                let study = self.study(*study);
                (study.state, study.message) = (*state, message.clone());
            }
            Write::RunningTime { study, running_ms } => self.study(*study).running_ms = *running_ms,
            Write::Worker { worker, .. } => {
                let number: u32 = worker.name[1..].parse().expect("a number");
                // Only 0 to n - 1 can be chosen, so a gap does not count.
                self.workers += u32::from(number == self.workers);
            }
            Write::Trial { study, trial, params, origins, folds, parent, at } => {
                let fold = || ModelFold {
                    state: TrialState::Waiting,
                    value: None,
                    best_epoch: None,
                    attempts: Vec::new(),
                    checkpoint: None,
                    results: BTreeMap::new(),
                };
                let record = TrialRecord {
                    number: *trial,
                    state: TrialState::Waiting,
                    value: None,
                    std: None,
                    params: params.clone(),
                    origins: origins.clone(),
                    reason: None,
                    created_at: *at,
                    finished_at: None,
                    folds: Vec::new(),
                    parent: *parent,
                };
                let folds = (0..*folds).map(|_| fold()).collect();
                self.study(*study).trials.push(ModelTrial { record, ending: None, decision: None, folds });
            }
            Write::TrialState { study, trial, state, ending, value, std, reason, at } => {
                let trial = &mut self.study(*study).trials[trial.0 as usize];
                trial.ending = *ending;
                let record = &mut trial.record;
                (record.state, record.value, record.std) = (*state, *value, *std);
                record.reason = reason.clone();
                record.finished_at = state.is_finished().then_some(*at);
            }
            Write::FoldState { study, trial, fold, state, value, best_epoch, .. } => {
                let fold = &mut self.study(*study).trials[trial.0 as usize].folds[fold.0 as usize];
                (fold.state, fold.value, fold.best_epoch) = (*state, *value, *best_epoch);
            }
            Write::Lease { worker, lease_ms, at, .. } => {
                let worker = WorkerInfo::clone(worker);
                self.leases.push(Some(Lease { worker, lease_ms: *lease_ms, renewed_at: *at }));
            }
            Write::LeaseRenewed { lease, at } => {
                self.leases[lease.0 as usize - 1].as_mut().expect("a lease").renewed_at = *at;
            }
            Write::AttemptStarted { key, lease, worker, start_epoch, .. } => {
                let open = Some(OpenAttempt {
                    lease: *lease,
                    worker: WorkerInfo::clone(worker),
                    start_epoch: *start_epoch,
                    lease_ms: None,
                    renewed_at: Millis(0),
                });
                let lease = *lease;
                let attempt =
                    ModelAttempt { lease, open, failure: None, start: start_epoch.0, epochs: Vec::new() };
                self.fold(*key).attempts.push(attempt);
            }
            Write::AttemptEnded { key, failure, .. } => {
                let attempt = self.fold(*key).attempts.last_mut().expect("an attempt");
                (attempt.open, attempt.failure) = (None, *failure);
            }
            Write::Epoch { study, record, .. } => {
                let EpochRecord { trial, fold, attempt, .. } = record.clone();
                let key = AttemptKey { study: *study, trial, fold, attempt };
                self.fold(key).attempts.last_mut().expect("an attempt").epochs.push(record.clone());
            }
            Write::Checkpoint { key, checkpoint, .. } => {
                self.fold(*key).checkpoint = Some(checkpoint.clone());
            }
            Write::Result { key, result, .. } => {
                let AttemptKey { trial, fold, attempt, .. } = *key;
                let ResultFile { kind, epoch, file: Artifact { digest, bytes } } = result.clone();
                let record = ArtifactRecord { trial, fold, kind: kind.clone(), epoch, digest, bytes };
                self.fold(*key).results.insert((kind, epoch), (attempt, record));
            }
            Write::Derived { key, name, value, .. } => {
                let record = &mut self.study(key.study).trials[key.trial.0 as usize].record;
                record.params.insert(name.clone(), value.clone());
                record.origins.insert(name.clone(), Origin::Derived);
            }
            Write::CheckpointDropped { study, trial, fold } => {
                let key = AttemptKey { study: *study, trial: *trial, fold: *fold, attempt: Attempt(0) };
                self.fold(key).checkpoint = None;
            }
            Write::Decision { study, trial, fold, epoch, decision, .. } => {
                let found = DecisionRecord {
                    trial: *trial,
                    fold: *fold,
                    epoch: *epoch,
                    decision: *decision,
                    event_seq: 0,
                };
                let study = self.study(*study);
                study.decisions.push(found);
                study.trials[trial.0 as usize].decision.get_or_insert(*decision);
            }
        }
    }

    fn study(&mut self, id: StudyId) -> &mut ModelStudy {
        self.studies[id.0 as usize - 1].as_mut().expect("a study that was not deleted")
    }

    /// Those that were not deleted.
    pub fn studies(&self) -> impl Iterator<Item = &ModelStudy> {
        self.studies.iter().flatten()
    }

    /// The name of one that was not deleted.
    pub fn name(&self, id: StudyId) -> String {
        let found = self.studies().find(|study| study.id == id.0).expect("a parent that is there");
        found.new.spec.study.name.clone()
    }

    /// How many there ever were.
    pub fn last_study(&self) -> i64 {
        self.studies.len() as i64
    }

    fn fold(&mut self, key: AttemptKey) -> &mut ModelFold {
        &mut self.study(key.study).trials[key.trial.0 as usize].folds[key.fold.0 as usize]
    }

    /// A study in whatever state it is.
    pub fn whole_snapshot(&self, study: &ModelStudy) -> StudySnapshot {
        let mut trials: Vec<TrialSnapshot> = study.trials.iter().map(ModelTrial::snapshot).collect();
        let folds = trials.iter_mut().flat_map(|trial| &mut trial.folds);
        for open in folds.filter_map(|fold| fold.open.as_mut()) {
            let lease = self.leases[open.lease.0 as usize - 1].as_ref().expect("a lease");
            (open.lease_ms, open.renewed_at) = (lease.lease_ms, lease.renewed_at);
        }
        StudySnapshot {
            id: StudyId(study.id),
            spec: study.new.spec.clone(),
            data: study.new.data.clone(),
            state: study.state,
            running_ms: study.running_ms,
            epochs: study.curve(true).len() as u64,
            trials,
        }
    }

    /// Nothing goes on with a study that has ended, so that of such a one only its row is there.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = |study: &ModelStudy| match self.whole_snapshot(study) {
            whole if study.state != StudyState::Ended => whole,
            whole => StudySnapshot { epochs: 0, trials: Vec::new(), ..whole },
        };
        let studies = self.studies().map(snapshot).collect();
        Snapshot {
            studies,
            last_study: StudyId(self.studies.len() as i64),
            last_lease: LeaseId(self.leases.len() as i64),
            drained_workers: self.drained_workers.clone(),
        }
    }
}

fn artifact(name: u32, bytes: u32) -> Artifact {
    Artifact { digest: format!("{:064x}", name % 8), bytes: bytes.into() }
}

/// Now with these numbers, now with those.
fn decision(a: u32, c: u32) -> Decision {
    let some = |bit: u32| (a >> bit).is_multiple_of(2);
    let number = |bit: u32| some(bit).then(|| f64::from(c) / 7.0);
    let count = |bit: u32| some(bit).then_some(c + bit);
    Decision {
        rule: word(Rule::ALL, c),
        own: number(0),
        threshold: number(1),
        peers: c,
        percentile: number(2),
        bracket: count(3),
        rung: count(4),
        kept: count(5),
        against: count(6).map(TrialNumber),
        alpha: number(7),
        standard_error: number(8),
        degrees: count(9),
        patience: count(10),
    }
}

impl ModelStudy {
    /// `name` gives the name of another study.
    pub fn record(&self, name: impl Fn(StudyId) -> String) -> StudyRecord {
        let NewStudy { spec, spec_text, data, parent, source: _ } = &self.new;
        let mut trials = BTreeMap::new();
        let mut best: Option<Best> = None;
        for ModelTrial { record, .. } in &self.trials {
            *trials.entry(record.state).or_default() += 1;
            let Some(value) = record.value else { continue };
            if best.is_none_or(|best| spec.study.direction.is_better(value, best.value)) {
                best = Some(Best { number: record.number, value });
            }
        }
        StudyRecord {
            id: StudyId(self.id),
            name: spec.study.name.clone(),
            state: self.state,
            message: self.message.clone(),
            direction: spec.study.direction,
            spec: spec.to_json(),
            spec_text: spec_text.clone(),
            data_digest: data.data_digest.clone(),
            splits_digest: data.splits_digest.clone(),
            images: data.images,
            height: data.height,
            width: data.width,
            created_at: self.created_at,
            running_ms: self.running_ms,
            trials,
            epochs: self.curve(true).len() as u64,
            best,
            parent: parent.map(name),
        }
    }

    /// The model that it starts from.
    pub fn source(&self) -> Option<&Artifact> {
        self.new.source.as_ref()
    }

    /// Those results that no newer attempt makes again.
    pub fn results(&self) -> Vec<ArtifactRecord> {
        let folds = self.trials.iter().flat_map(|trial| &trial.folds);
        let live = folds.flat_map(|fold| fold.results.values().filter(|result| fold.is_live(result)));
        live.map(|(_, record)| record.clone()).collect()
    }

    /// Everything that it refers to.
    pub fn digests(&self) -> BTreeSet<String> {
        let folds = || self.trials.iter().flat_map(|trial| &trial.folds);
        let results = folds().flat_map(|fold| fold.results.values()).map(|(_, record)| &record.digest);
        let checkpoints = folds().filter_map(|fold| Some(&fold.checkpoint.as_ref()?.digest));
        results.chain(checkpoints).chain(self.source().map(|source| &source.digest)).cloned().collect()
    }

    /// The leases of its attempts.
    fn leases(&self) -> impl Iterator<Item = LeaseId> {
        let folds = self.trials.iter().flat_map(|trial| &trial.folds);
        folds.flat_map(|fold| &fold.attempts).map(|attempt| attempt.lease)
    }

    pub fn trials(&self) -> Vec<TrialRecord> {
        self.trials.iter().map(ModelTrial::record).collect()
    }

    pub fn curve(&self, all_attempts: bool) -> Vec<EpochRecord> {
        let folds = self.trials.iter().flat_map(|trial| &trial.folds);
        folds
            .flat_map(|fold| match all_attempts {
                true => fold.attempts.iter().flat_map(|attempt| attempt.epochs.clone()).collect(),
                false => fold.live(),
            })
            .collect()
    }
}

impl ModelTrial {
    fn record(&self) -> TrialRecord {
        let folds = (0..).zip(&self.folds).map(|(index, fold)| FoldRecord {
            fold: FoldIndex(index),
            state: fold.state,
            value: fold.value,
            best_epoch: fold.best_epoch,
            epochs: fold.live().len() as u32,
            attempts: fold.attempts.len() as u32,
        });
        TrialRecord { folds: folds.collect(), ..self.record.clone() }
    }

    fn snapshot(&self) -> TrialSnapshot {
        let record = &self.record;
        TrialSnapshot {
            number: record.number,
            params: record.params.clone(),
            state: record.state,
            ending: self.ending,
            value: record.value,
            reason: record.reason.clone(),
            finished_at: record.finished_at,
            decision: self.decision,
            folds: self.folds.iter().map(ModelFold::snapshot).collect(),
        }
    }
}

impl ModelFold {
    fn is_live(&self, (attempt, record): &(Attempt, ArtifactRecord)) -> bool {
        let Some(epoch) = record.epoch else { return true };
        let newer = self.attempts.iter().skip(attempt.0 as usize);
        !newer.into_iter().any(|attempt| attempt.start < epoch.0)
    }

    /// Of each epoch, the row of the newest attempt that started before it.
    fn live(&self) -> Vec<EpochRecord> {
        let last = self.attempts.iter().flat_map(|attempt| &attempt.epochs).map(|row| row.epoch.0).max();
        let row_of = |epoch: u32| {
            let owner = self.attempts.iter().rev().find(|attempt| attempt.start < epoch)?;
            owner.epochs.iter().find(|row| row.epoch.0 == epoch).cloned()
        };
        (1..=last.unwrap_or(0)).filter_map(row_of).collect()
    }

    fn snapshot(&self) -> FoldSnapshot {
        let mut failures = BTreeMap::new();
        for class in self.attempts.iter().filter_map(|attempt| attempt.failure) {
            *failures.entry(class).or_default() += 1;
        }
        FoldSnapshot {
            state: self.state,
            value: self.value,
            best_epoch: self.best_epoch,
            last_attempt: Attempt(self.attempts.len() as u32),
            failures,
            open: self.attempts.iter().find_map(|attempt| attempt.open.clone()),
            checkpoint: self.checkpoint.clone(),
            curve: self.live().iter().map(|row| Some(row.validation_loss.unwrap_or(f64::NAN))).collect(),
        }
    }
}
