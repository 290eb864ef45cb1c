//! People in a simulated cluster, who extend studies, delete them, stop trials and try them again, drain workers and undrain
//! them.

use foldwise_shared::fleet::Handover;
use foldwise_shared::ids::{StudyId, TrialNumber};
use foldwise_shared::spec::{BudgetSection, Extension};
use foldwise_shared::state::StudyState;

use super::super::*;
use super::cluster::{Happening, World};

impl World {
    /// A person does something, sensible or not.
    pub fn person_acts(&mut self) {
        let study = self.any_study();
        match self.rng.between(0, 99) {
            0..30 => self.extend(study),
            30..36 => self.delete(study),
            36..56 => self.retry(study),
            56..70 => {
                let trial = self.any_trial(study);
                self.tell(Event::StopTrial { study, trial });
            }
            70..90 => self.drain_a_worker(),
            _ => self.tell(Event::ListWorkers),
        }
    }

    fn any_trial(&mut self, study: StudyId) -> TrialNumber {
        let count = self.store.studies.get(&study).map_or(0, |row| row.trials.len());
        TrialNumber(self.rng.between(0, count as i64) as u32)
    }

    fn extend(&mut self, study: StudyId) {
        // Like the coordinator: what is not there is not handed on.
        let Some(row) = self.store.studies.get(&study) else { return };
        let BudgetSection { trials, total_epochs, wall_time } = row.new.spec.budget.clone();
        let ended = row.state == StudyState::Ended;
        let some = |there: bool, rng: &mut super::plan::Rng, high: i64| {
            // Now and then what the study has not, or nothing at all.
            let wanted = if there { 70 } else { 5 };
            rng.chance(wanted).then(|| rng.between(0, high))
        };
        let more = Extension {
            trials: some(trials.is_some(), &mut self.rng, 4).map(|more| more as u32),
            epochs: some(total_epochs.is_some(), &mut self.rng, 40).map(|more| more as u64),
            wall_time_ms: some(wall_time.is_some(), &mut self.rng, 30_000),
        };
        let ended = ended.then(|| Box::new(self.store.study_snapshot_of(study)));
        self.tell(Event::ExtendStudy { study, more, ended });
    }

    fn delete(&mut self, study: StudyId) {
        let waits = self.has_study_to_create();
        // The last one stays, so that there is something to see.
        if waits || self.store.studies.len() < 2 || !self.store.studies.contains_key(&study) {
            return;
        }
        let force = self.rng.chance(50);
        let artifacts = self.store.artifacts_of(study);
        self.tell(Event::DeleteStudy { study, force, artifacts });
    }

    fn retry(&mut self, study: StudyId) {
        let trial = self.any_trial(study);
        let row = self.store.studies.get(&study).and_then(|row| row.trials.get(trial.0 as usize));
        let found = row.map(|row| RecordedTrial { state: row.state, params: row.params.clone() });
        self.tell(Event::RetryTrial { study, trial, found });
    }

    fn drain_a_worker(&mut self) {
        let index = self.rng.next() as usize % self.processes.len();
        let name = self.processes[index].info.name.clone();
        let handover = self.rng.pick(Handover::ALL);
        self.tell(Event::DrainWorker { name: name.clone(), handover });
        let span = self.rng.between(1, 20_000);
        self.later(span, Happening::Say(Event::UndrainWorker { name }));
    }
}
