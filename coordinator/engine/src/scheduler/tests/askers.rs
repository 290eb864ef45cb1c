//! Programs that ask for trials in a simulated cluster: they report and tell, die, come back too late, and talk nonsense.

use foldwise_shared::external::{Told, TrialReport};
use foldwise_shared::ids::{Epoch, FoldIndex, LeaseId, StudyId, TrialNumber};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::StudyState;

use super::super::*;
use super::cluster::{Happening, World};
use super::plan::Nature;

/// A program, and the trial that it evaluates.
#[derive(Default)]
pub struct Asker {
    task: Option<Task>,
    /// What it had when it fell silent.
    lost: Option<Task>,
}

#[derive(Clone)]
struct Task {
    study: StudyId,
    trial: TrialNumber,
    lease: LeaseId,
    /// Folds that have no value, and how far each is.
    folds: Vec<(FoldIndex, u32)>,
}

impl World {
    pub fn asker_acts(&mut self, index: usize) {
        let pause = self.rng.between(50, 2_000);
        self.later(pause, Happening::Asker(index));
        let external = self.store.studies.iter().filter(|(_, row)| row.new.spec.is_external());
        let open: Vec<StudyId> =
            external.filter(|(_, row)| row.state != StudyState::Ended).map(|(id, _)| *id).collect();
        let study = match &self.askers[index].task {
            Some(task) => task.study,
            None if open.is_empty() => return,
            None => self.rng.pick(&open),
        };
        let Some(spec) = self.store.studies.get(&study).map(|row| row.new.spec.clone()) else {
            // It was deleted.
            self.askers[index].task = None;
            return;
        };
        if !self.is_calm() && self.rng.chance(15) {
            self.nonsense(index, study, &spec);
            return;
        }
        let Some(task) = self.askers[index].task.clone() else {
            let lease_ms = self.rng.pick(&[1_000, 5_000, 20_000]);
            let answer = self.request(Event::Ask { study, asker: format!("asker{index}"), lease_ms });
            if let Some(Ok(Answer::Asked(asked))) = answer {
                let folds = asked.folds.iter().map(|fold| (*fold, 0)).collect();
                let task = Task { study, trial: asked.trial, lease: asked.lease, folds };
                self.askers[index].task = Some(task);
            }
            return;
        };
        let name = Some(task.lease).filter(|_| self.rng.chance(80));
        let answer = match self.rng.between(0, 99) {
            0..4 if !self.is_calm() => {
                self.askers[index].lost = self.askers[index].task.take();
                return;
            }
            0..10 => self.request(Event::Renew { study, trial: task.trial, lease: Some(task.lease) }),
            10..16 if !self.is_calm() => self.tell_of(study, &task, name, Told::HandedBack),
            16..20 => {
                let told = Told::Failed { diverged: self.rng.chance(50), message: String::new() };
                self.tell_of(study, &task, name, told)
            }
            20..26 => {
                let value = |fold| Nature::of(&spec, task.trial).loss(FoldIndex(fold), 3);
                let values = (0..spec.folds()).map(value).collect();
                self.tell_of(study, &task, name, Told::Values(values))
            }
            26..32 => self.tell_of(study, &task, name, Told::Reported),
            _ => self.report_next(index, &task, &spec),
        };
        match answer {
            Some(Ok(Answer::Trial(now))) if now.state.is_finished() => self.askers[index].task = None,
            Some(Ok(Answer::Trial(now))) if now.is_to_stop() && self.rng.chance(80) => {
                self.tell_of(study, &task, name, Told::Stopped);
                self.askers[index].task = None;
            }
            Some(Err(Refusal { kind: RefusalKind::LeaseGone | RefusalKind::NotFound, .. })) => {
                self.askers[index].task = None;
            }
            // Its trial is over, or it is not its own any more.
            Some(Err(Refusal { kind: RefusalKind::WrongState, .. })) if self.rng.chance(50) => {
                self.askers[index].task = None;
            }
            // The coordinator is gone before it could say anything.
            None if self.rng.chance(50) => self.askers[index].task = None,
            _ => {}
        }
    }

    fn tell_of(
        &mut self,
        study: StudyId,
        task: &Task,
        lease: Option<LeaseId>,
        told: Told,
    ) -> Option<Result<Answer, Refusal>> {
        self.request(Event::Tell { study, trial: task.trial, lease, told })
    }

    fn report_next(
        &mut self,
        index: usize,
        task: &Task,
        spec: &StudySpec,
    ) -> Option<Result<Answer, Refusal>> {
        let place = self.rng.next() as usize % task.folds.len().max(1);
        let (fold, done) = task.folds.get(place).copied()?;
        let epoch = done + self.rng.pick(&[1, 1, 1, 2]);
        let last = epoch >= spec.epochs();
        let value = Nature::of(spec, task.trial).loss(fold, epoch);
        let report = TrialReport { fold, epoch: Epoch(epoch.min(spec.epochs())), value, last };
        let study = task.study;
        let answer =
            self.request(Event::Report { study, trial: task.trial, lease: Some(task.lease), report });
        if let Some(task) = &mut self.askers[index].task
            && matches!(answer, Some(Ok(_)))
        {
            task.folds[place].1 = epoch;
            if last {
                task.folds.remove(place);
            }
        }
        answer
    }

    /// Things that nobody should say; and one who was thought dead speaks.
    fn nonsense(&mut self, index: usize, study: StudyId, spec: &StudySpec) {
        if let Some(task) = self.askers[index].lost.take() {
            let values = vec![0.0; spec.folds() as usize];
            self.tell_of(task.study, &task, Some(task.lease), Told::Values(values));
            return;
        }
        let trial = TrialNumber(self.rng.between(0, 12) as u32);
        let lease = self.rng.pick(&[None, Some(LeaseId(self.rng.clone().between(-1, 40)))]);
        let value = self.rng.pick(&[f64::NAN, f64::INFINITY, 0.5]);
        let fold = FoldIndex(self.rng.between(0, 4) as u32);
        let epoch = Epoch(self.rng.pick(&[0, 1, 2, 7, u32::MAX]));
        let last = self.rng.chance(30);
        let report = TrialReport { fold, epoch, value, last };
        let params = self.store.studies[&study].trials.first().map(|trial| trial.params.clone());
        let event = match self.rng.between(0, 6) {
            0 => Event::Report { study, trial, lease, report },
            1 => Event::Tell { study, trial, lease, told: Told::Values(vec![value]) },
            2 => Event::Tell { study, trial, lease, told: Told::Stopped },
            3 => Event::Renew { study: StudyId(self.rng.between(1, 4)), trial, lease },
            4 => Event::Enqueue { study, params: params.unwrap_or_default() },
            5 => Event::AddTrial {
                study,
                asker: "a person".into(),
                params: params.unwrap_or_default(),
                told: Told::Values(vec![value; spec.folds() as usize]),
            },
            _ => Event::Ask { study: StudyId(self.rng.between(1, 4)), asker: String::new(), lease_ms: 0 },
        };
        self.request(event);
    }

    /// Nothing if the coordinator is about to fail and its answer is lost.
    fn request(&mut self, event: Event) -> Option<Result<Answer, Refusal>> {
        self.answer = None;
        self.tell(event);
        self.answer.take()
    }
}
