//! Who trains what next: free slots, the queue of folds, and new trials.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, SessionId, StudyId, TrialNumber};
use foldwise_shared::seed::fold_seed;
use foldwise_shared::spec::Release;
use foldwise_shared::state::{FailureClass, StudyState, TrialState};

use super::Scheduler;
use super::command::{Assignment, ToWorker, Write};
use super::pace::Pace;
use super::study::{Fold, Open, Trial};
use crate::pruner::Standing;
use crate::sampler::Suggestion;

impl Scheduler {
    /// Fills the free slots: one fold each in turn, the workers with the most room first, so that the folds of a trial run
    /// apart from each other where that ends it sooner.
    pub(super) fn dispatch(&mut self) {
        if self.draining {
            return;
        }
        loop {
            let mut free: Vec<(f64, String)> = self
                .workers
                .iter()
                .filter(|(_, worker)| worker.is_free(self.now) && !self.is_drained(worker))
                .map(|(incarnation, worker)| (worker.load(), incarnation.clone()))
                .collect();
            free.sort_by(|(a, first), (b, second)| a.total_cmp(b).then_with(|| first.cmp(second)));
            let before = self.writes.len();
            for (_, incarnation) in free {
                self.lease_one(&incarnation);
            }
            // A trial that was made for one and turned out too large for it may fit another.
            if self.writes.len() == before {
                return;
            }
        }
    }

    /// Pauses every study that none of the connected workers can train.
    pub(super) fn pause_unfit_studies(&mut self) {
        let mut unfit = Vec::new();
        for study in
            self.studies.values().filter(|study| study.state == StudyState::Running && study.training == 0)
        {
            let mut connected = self.workers.values().filter(|worker| worker.hears(self.now));
            let excuses = connected.try_fold(None, |_, worker| worker.unfit.get(&study.id).map(Some));
            if let Some(Some(message)) = excuses {
                unfit.push((study.id, format!("no worker can train it: {message}")));
            }
        }
        for (study, message) in unfit {
            self.set_study_state(study, StudyState::Paused, Some(message));
            if let Some(study) = self.studies.get_mut(&study) {
                study.paused_as_unfit = true;
            }
        }
    }

    /// Lets every study go on that was paused for want of such a worker.
    pub(super) fn unpause_for(&mut self, session: SessionId) {
        let Some(worker) = self.worker_of(session) else { return };
        let unfit = worker.unfit.clone();
        let waiting: Vec<StudyId> = self
            .studies
            .values()
            .filter(|study| study.state == StudyState::Paused && study.paused_as_unfit)
            .map(|study| study.id)
            .filter(|study| !unfit.contains_key(study))
            .collect();
        for study in waiting {
            self.set_study_state(study, StudyState::Running, None);
        }
    }

    /// Leases one fold to a worker: of the study that comes first by its priority and then has the fewest in training.
    fn lease_one(&mut self, incarnation: &str) {
        let Some(worker) = self.workers.get(incarnation) else { return };
        let mut studies: Vec<(Reverse<i32>, u32, StudyId)> = self
            .studies
            .values()
            .filter(|study| study.state == StudyState::Running && !study.spec.is_external())
            .filter(|study| !worker.unfit.contains_key(&study.id))
            .map(|study| (Reverse(study.spec.study.priority), study.training, study.id))
            .collect();
        studies.sort_unstable();
        for (_, _, study) in studies {
            if let Some((trial, fold)) = self.next_fold(incarnation, study) {
                self.lease(incarnation, study, trial, fold);
                return;
            }
        }
    }

    fn next_fold(&mut self, incarnation: &str, id: StudyId) -> Option<(TrialNumber, FoldIndex)> {
        self.free_epochs(id);
        let study = self.studies.get(&id)?;
        let worker = self.workers.get(incarnation)?;
        let fits = |(trial, _): &(TrialNumber, FoldIndex)| self.has_room(worker, study, *trial);
        let races = study.races();
        if let Some(found) = study.waiting(races).find(fits) {
            return Some(found);
        }
        // What waits is too large for this worker; a new trial may be as large, and would only wait besides.
        let waits = study.waiting(races).next().is_some();
        if !waits
            && study.has_epochs()
            && let Some(trial) = self.create_trial(id)
        {
            let (study, worker) = (self.studies.get(&id)?, self.workers.get(incarnation)?);
            return self.has_room(worker, study, trial).then_some((trial, FoldIndex(0)));
        }
        // No other trial can fill the slot, so the race is over.
        let (study, worker) = (self.studies.get(&id)?, self.workers.get(incarnation)?);
        let over = races && study.spec.data.release == Release::Auto;
        study.waiting(false).find(|(trial, _)| over && self.has_room(worker, study, *trial))
    }

    pub(super) fn create_trial(&mut self, id: StudyId) -> Option<TrialNumber> {
        let suggestion = self.studies.get_mut(&id)?.next_suggestion()?;
        self.add_trial(id, suggestion)
    }

    /// A new trial with these params, in state Waiting; none if there is no such study.
    pub(super) fn add_trial(&mut self, id: StudyId, suggestion: Suggestion) -> Option<TrialNumber> {
        self.add_child(id, suggestion, None)
    }

    /// The same for a trial that tries another one once more.
    pub(super) fn add_child(
        &mut self,
        id: StudyId,
        suggestion: Suggestion,
        parent: Option<TrialNumber>,
    ) -> Option<TrialNumber> {
        let at = self.now;
        let study = self.studies.get_mut(&id)?;
        let number = study.next_number;
        study.next_number = TrialNumber(number.0 + 1);
        let folds = study.spec.folds();
        let trial = Trial {
            params: suggestion.params.clone(),
            state: TrialState::Waiting,
            ending: None,
            folds: (0..folds).map(|_| Fold::new()).collect(),
        };
        study.active.insert(number, trial);
        let (params, origins) = (suggestion.params, suggestion.origins);
        self.write(Write::Trial { study: id, trial: number, params, origins, folds, parent, at });
        Some(number)
    }

    fn lease(&mut self, incarnation: &str, study: StudyId, trial: TrialNumber, fold: FoldIndex) {
        let place = AttemptKey { study, trial, fold, attempt: Attempt(0) };
        self.bury_expired(place);
        let Some(lease) = self.grant(incarnation, None) else { return };
        let Some(found) = self.studies.get(&study) else { return };
        let checkpoint = found.fold(place).and_then(|fold| fold.checkpoint.clone());
        let start = checkpoint.as_ref().map(|checkpoint| checkpoint.epoch).unwrap_or_default();
        let Some(key) = self.open_attempt(place, lease, incarnation, start) else { return };
        let Some(found) = self.studies.get(&study) else { return };
        let (spec, data) = (found.spec.clone(), found.data.clone());
        let Some(params) = found.active.get(&trial).map(|trial| trial.params.clone()) else { return };
        if let Some(session) = self.workers.get(incarnation).and_then(|worker| worker.session) {
            let seed = fold_seed(spec.study.seed, fold.0);
            let assignment = Assignment { lease, key, params, spec, data, seed, checkpoint };
            self.send(session, ToWorker::Assign(Box::new(assignment)));
        }
    }

    /// A new lease for a worker; with `lease_ms` one that lasts so long.
    pub(super) fn grant(&mut self, incarnation: &str, lease_ms: Option<i64>) -> Option<LeaseId> {
        let worker = self.workers.get(incarnation)?.info.clone();
        let lease = LeaseId(self.last_lease.0 + 1);
        self.last_lease = lease;
        self.write(Write::Lease { lease, worker, lease_ms, at: self.now });
        Some(lease)
    }

    /// Opens the next attempt at a fold, of which none is open, for a worker; it goes on after epoch `start`.
    pub(super) fn open_attempt(
        &mut self,
        place: AttemptKey,
        lease: LeaseId,
        incarnation: &str,
        start: Epoch,
    ) -> Option<AttemptKey> {
        let now = self.now;
        let holder = self.workers.get_mut(incarnation)?;
        let study = self.studies.get_mut(&place.study)?;
        let epochs = u64::from(study.spec.epochs().saturating_sub(start.0));
        let trial = study.active.get_mut(&place.trial)?;
        let first = trial.state == TrialState::Waiting;
        let fold = trial.folds.get_mut(place.fold.0 as usize)?;
        let key = AttemptKey { attempt: Attempt(fold.last_attempt.0 + 1), ..place };
        fold.last_attempt = key.attempt;
        fold.curve.truncate(start.0 as usize);
        fold.open = Some(Open {
            attempt: key.attempt,
            incarnation: incarnation.to_owned(),
            start,
            pace: Pace::new(now, holder.trained.contains(&place.study)),
            kinds: BTreeSet::new(),
            expired: false,
            stopping: None,
        });
        let curve = fold.curve.clone();
        let finished = trial.finished();
        let (number, fold) = (key.trial, key.fold);
        study.pruner.start(&Standing { number, fold, curve: &curve, finished: &finished, judged: false });
        study.reserved += epochs;
        study.training += 1;
        holder.attempts.insert(key);
        let worker = holder.info.clone();
        self.write(Write::AttemptStarted { key, lease, worker, start_epoch: start, at: now });
        self.set_fold_state(key, TrialState::Running);
        if first {
            self.set_trial_state(key.study, key.trial, TrialState::Running, None, None);
        }
        Some(key)
    }

    /// Where nothing is in training and the epochs that are left are reserved by attempts whose workers fell silent,
    /// these are waited for no longer.
    pub(super) fn free_epochs(&mut self, id: StudyId) {
        let Some(study) = self.studies.get(&id) else { return };
        if study.training > 0 || study.reserved == 0 || study.has_epochs() {
            return;
        }
        let folds = study
            .active
            .iter()
            .flat_map(|(number, trial)| (0..trial.folds.len()).map(|fold| (*number, FoldIndex(fold as u32))));
        for (trial, fold) in folds.collect::<Vec<_>>() {
            self.bury_expired(AttemptKey { study: id, trial, fold, attempt: Attempt(0) });
        }
    }

    /// The fold is given to another: the attempt whose worker fell silent is dead from now on.
    pub(super) fn bury_expired(&mut self, place: AttemptKey) {
        let Some(fold) = self.studies.get_mut(&place.study).and_then(|study| study.fold_mut(place)) else {
            return;
        };
        let Some(open) = &fold.open else { return };
        let key = AttemptKey { attempt: open.attempt, ..place };
        *fold.failures.entry(FailureClass::Lost).or_insert(0) += 1;
        self.end_silent(key);
    }
}
