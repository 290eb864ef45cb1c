//! What the live view knows: pure state, changed by events alone.

use std::collections::BTreeMap;
use std::time::Duration;

use foldwise_engine::sampler::grid_len;
use foldwise_shared::ids::{Epoch, FoldIndex, TrialNumber};
use foldwise_shared::record::{Best, EpochRecord, StudyEvent, TrialRecord};
use foldwise_shared::spec::{SamplerKind, StudySpec};
use foldwise_shared::state::{Direction, StudyState, TrialState};
use foldwise_shared::value::short;

use super::LiveInfo;
use crate::cli::render::{counts, span};

/// A study in motion.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub study: String,
    pub state: StudyState,
    direction: Direction,
    goal: Goal,
    folds: u32,
    epochs_per_fold: u32,
    counts: BTreeMap<TrialState, u32>,
    best: Option<Best>,
    epochs: u64,
    running_ms: i64,
    /// The epochs of each trial that is not finished.
    open: BTreeMap<TrialNumber, u64>,
    workers: BTreeMap<String, Worker>,
    /// The share that was done when the view began.
    done_before: f64,
}

/// What ends the study, as far as it can be counted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    Trials(u32),
    Epochs(u64),
    WallTime(Duration),
    Unknown,
}

/// A worker and what it trains.
#[derive(Debug, Clone, Default)]
pub(super) struct Worker {
    pub device: Option<String>,
    pub tasks: Vec<Task>,
}

/// A fold in training.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    pub trial: TrialNumber,
    pub fold: FoldIndex,
    pub epoch: Epoch,
    /// What it does that is no epoch.
    pub phase: Option<String>,
    pub loss: Option<f64>,
    pub best: Option<f64>,
    pub stopping: bool,
}

impl View {
    pub fn new(info: &LiveInfo) -> Self {
        let LiveInfo { spec, study, trials, workers } = info;
        let unfinished = trials.iter().filter(|trial| !trial.state.is_finished());
        let epochs_of =
            |trial: &TrialRecord| trial.folds.iter().map(|fold| u64::from(fold.epochs)).sum::<u64>();
        let mut finished = study.trials.clone();
        finished.retain(|state, _| state.is_finished());
        let mut view = Self {
            study: study.name.clone(),
            state: study.state,
            direction: study.direction,
            goal: goal(spec),
            folds: spec.folds(),
            epochs_per_fold: spec.epochs(),
            counts: finished,
            best: study.best,
            epochs: study.epochs,
            running_ms: study.running_ms,
            open: unfinished.map(|trial| (trial.number, epochs_of(trial))).collect(),
            workers: workers.iter().map(|name| (name.clone(), Worker::default())).collect(),
            done_before: 0.0,
        };
        view.done_before = view.done(Duration::ZERO).unwrap_or(0.0);
        view
    }

    pub fn on_event(&mut self, event: &StudyEvent) {
        match event {
            StudyEvent::TrialCreated { trial, .. } => {
                self.open.entry(*trial).or_default();
            }
            StudyEvent::AttemptStarted { trial, fold, worker, device, .. } => {
                self.workers.entry(worker.clone()).or_default().device = Some(device.clone());
                // A new attempt is no continuation of what this worker showed before.
                self.end_task(worker, *trial, *fold);
                self.task(worker, *trial, *fold);
            }
            StudyEvent::PhaseBegan { trial, fold, worker, name, .. } => {
                self.task(worker, *trial, *fold).phase = Some(name.clone());
            }
            StudyEvent::Epoch { record, worker } => self.on_epoch(record, worker),
            StudyEvent::FoldFinished { trial, fold, worker, .. }
            | StudyEvent::AttemptStopped { trial, fold, worker }
            | StudyEvent::AttemptFailed { trial, fold, worker, .. } => self.end_task(worker, *trial, *fold),
            StudyEvent::TrialFinished { trial, state, value, .. } => {
                self.on_trial_end(*trial, *state, *value)
            }
            StudyEvent::StudyChanged { state, .. } => self.state = *state,
        }
    }

    fn on_epoch(&mut self, record: &EpochRecord, worker: &str) {
        self.epochs += 1;
        // An epoch of a trial that was pruned meanwhile is recorded, but the trial is over.
        if let Some(epochs) = self.open.get_mut(&record.trial) {
            *epochs += 1;
        }
        let direction = self.direction;
        let task = self.task(worker, record.trial, record.fold);
        task.epoch = record.epoch;
        task.phase = None;
        task.loss = record.validation_loss;
        if let Some(loss) = record.validation_loss
            && task.best.is_none_or(|best| direction.is_better(loss, best))
        {
            task.best = Some(loss);
        }
    }

    fn on_trial_end(&mut self, trial: TrialNumber, state: TrialState, value: Option<f64>) {
        // Told twice, counted once.
        if self.open.remove(&trial).is_none() {
            return;
        }
        *self.counts.entry(state).or_default() += 1;
        if let (TrialState::Complete, Some(value)) = (state, value)
            && self.best.is_none_or(|best| self.direction.is_better(value, best.value))
        {
            self.best = Some(Best { number: trial, value });
        }
        for task in self.workers.values_mut().flat_map(|worker| &mut worker.tasks) {
            task.stopping |= task.trial == trial;
        }
    }

    fn task(&mut self, worker: &str, trial: TrialNumber, fold: FoldIndex) -> &mut Task {
        let tasks = &mut self.workers.entry(worker.to_owned()).or_default().tasks;
        let at =
            tasks.iter().position(|task| (task.trial, task.fold) == (trial, fold)).unwrap_or_else(|| {
                let (epoch, phase, loss, best) = (Epoch(0), None, None, None);
                tasks.push(Task { trial, fold, epoch, phase, loss, best, stopping: false });
                tasks.len() - 1
            });
        &mut tasks[at]
    }

    fn end_task(&mut self, worker: &str, trial: TrialNumber, fold: FoldIndex) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.tasks.retain(|task| (task.trial, task.fold) != (trial, fold));
        }
    }

    /// The share of the study that is done, from 0 to 1; none where its end cannot be counted. A trial in training
    /// counts by its epochs. `elapsed` is the time since the view began.
    pub fn done(&self, elapsed: Duration) -> Option<f64> {
        let share = match self.goal {
            Goal::Trials(trials) => {
                let whole = f64::from(self.folds) * f64::from(self.epochs_per_fold);
                // It ends with its last fold and not with its last epoch.
                let open: f64 =
                    self.open.values().map(|epochs| (*epochs as f64 / whole.max(1.0)).min(0.99)).sum();
                (f64::from(self.finished()) + open) / f64::from(trials.max(1))
            }
            Goal::Epochs(epochs) => self.epochs as f64 / epochs.max(1) as f64,
            Goal::WallTime(limit) => {
                let before = Duration::from_millis(u64::try_from(self.running_ms).unwrap_or(0));
                (before + elapsed).as_secs_f64() / limit.as_secs_f64().max(1e-3)
            }
            Goal::Unknown => return None,
        };
        Some(share.clamp(0.0, 1.0))
    }

    /// How long it may take yet, if it goes on as since the view began.
    pub fn remaining(&self, elapsed: Duration) -> Option<Duration> {
        let done = self.done(elapsed)?;
        let gained = done - self.done_before;
        if gained < 1e-3 {
            return None;
        }
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 - done) / gained).ok()
    }

    pub fn finished(&self) -> u32 {
        self.counts.values().sum()
    }

    /// How far the study is, in one line.
    pub fn study_line(&self, elapsed: Duration) -> String {
        let mut parts = vec![self.progress()];
        if self.finished() > 0 {
            parts.push(counts(&self.counts));
        }
        if let Some(best) = self.best {
            parts.push(format!("best {} (trial {})", short(best.value), best.number));
        }
        if self.state != StudyState::Running {
            parts.push(self.state.to_string());
        } else if let Some(remaining) = self.remaining(elapsed) {
            parts.push(format!("{} left", span(i64::try_from(remaining.as_millis()).unwrap_or(i64::MAX))));
        }
        parts.join(" · ")
    }

    /// What is counted, of how much: `3/12 trials`.
    pub fn progress(&self) -> String {
        match self.goal {
            Goal::Trials(trials) => format!("{}/{trials} trials", self.finished()),
            Goal::Epochs(epochs) => format!("{}/{epochs} epochs, {} trials", self.epochs, self.finished()),
            Goal::WallTime(_) | Goal::Unknown => {
                format!("{} trials, {} epochs", self.finished(), self.epochs)
            }
        }
    }

    pub fn workers(&self) -> impl Iterator<Item = (&str, &Worker)> {
        self.workers.iter().map(|(name, worker)| (name.as_str(), worker))
    }

    /// What a worker does, in one line.
    pub fn worker_line(&self, worker: &Worker) -> String {
        if worker.tasks.is_empty() {
            return "waiting".to_owned();
        }
        worker.tasks.iter().map(|task| self.task_text(task)).collect::<Vec<_>>().join(" | ")
    }

    fn task_text(&self, task: &Task) -> String {
        let Task { trial, fold, epoch, .. } = task;
        let mut text = format!("trial {trial} fold {fold} epoch {epoch}/{}", self.epochs_per_fold);
        if let Some(loss) = task.loss {
            text.push_str(&format!(" loss {}", short(loss)));
        }
        if let Some(best) = task.best {
            text.push_str(&format!(" best {}", short(best)));
        }
        if let Some(phase) = &task.phase {
            text.push_str(&format!(" ({phase})"));
        }
        if task.stopping {
            text.push_str(" stopping");
        }
        text
    }
}

/// The first of the budgets that can be counted; a grid ends with its last combination.
fn goal(spec: &StudySpec) -> Goal {
    let grid = (spec.sampler.kind == SamplerKind::Grid).then(|| grid_len(spec));
    let grid = grid.and_then(|size| u32::try_from(size).ok());
    let trials = [spec.budget.trials, grid].into_iter().flatten().min();
    if let Some(trials) = trials {
        return Goal::Trials(trials);
    }
    if let Some(epochs) = spec.budget.total_epochs {
        return Goal::Epochs(epochs);
    }
    match spec.wall_time_ms().and_then(|limit| u64::try_from(limit).ok()) {
        Some(limit) => Goal::WallTime(Duration::from_millis(limit)),
        None => Goal::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn view() -> View {
        View::new(&samples::live())
    }

    fn line_of(view: &View, name: &str) -> String {
        let (_, worker) = view.workers().find(|(known, _)| *known == name).expect("a worker");
        view.worker_line(worker)
    }

    #[test]
    fn a_worker_shows_its_fold_and_the_best_so_far() {
        let mut view = view();
        assert_eq!(line_of(&view, "w0"), "waiting");
        view.on_event(&samples::started(5, 1, "w0"));
        assert_eq!(line_of(&view, "w0"), "trial 5 fold 1 epoch 0/8");
        for (epoch, loss) in [(1, Some(0.07)), (2, Some(0.05)), (3, Some(0.06))] {
            view.on_event(&samples::epoch_event(5, 1, epoch, loss, "w0"));
        }
        assert_eq!(line_of(&view, "w0"), "trial 5 fold 1 epoch 3/8 loss 0.06 best 0.05");
        view.on_event(&samples::phase(5, 1, "t-SNE", "w0"));
        assert_eq!(line_of(&view, "w0"), "trial 5 fold 1 epoch 3/8 loss 0.06 best 0.05 (t-SNE)");
        view.on_event(&samples::epoch_event(5, 1, 4, None, "w0"));
        assert_eq!(line_of(&view, "w0"), "trial 5 fold 1 epoch 4/8 best 0.05");
        view.on_event(&samples::fold_finished(5, 1, "w0", 0.05));
        assert_eq!(line_of(&view, "w0"), "waiting");
    }

    #[test]
    fn a_pruned_trial_is_stopping_where_it_still_runs() {
        let mut view = view();
        view.on_event(&samples::created(5));
        view.on_event(&samples::started(5, 0, "w1"));
        view.on_event(&samples::trial_finished(5, TrialState::Pruned, None));
        assert_eq!(line_of(&view, "w1"), "trial 5 fold 0 epoch 0/8 stopping");
        view.on_event(&StudyEvent::AttemptStopped {
            trial: TrialNumber(5),
            fold: FoldIndex(0),
            worker: "w1".into(),
        });
        assert_eq!(line_of(&view, "w1"), "waiting");
    }

    #[test]
    fn a_lost_worker_has_nothing_and_the_next_attempt_starts_anew() {
        let mut view = view();
        view.on_event(&samples::started(5, 0, "w0"));
        view.on_event(&samples::epoch_event(5, 0, 1, Some(0.01), "w0"));
        view.on_event(&samples::failed(5, 0, "w0"));
        assert_eq!(line_of(&view, "w0"), "waiting");
        view.on_event(&samples::started(5, 0, "w1"));
        assert_eq!(line_of(&view, "w1"), "trial 5 fold 0 epoch 0/8");
    }

    #[test]
    fn trials_are_counted_once_and_the_best_is_kept() {
        let mut view = view();
        let before = view.finished();
        view.on_event(&samples::created(5));
        view.on_event(&samples::trial_finished(5, TrialState::Complete, Some(0.5)));
        view.on_event(&samples::trial_finished(5, TrialState::Complete, Some(0.5)));
        assert_eq!(view.finished(), before + 1);
        assert_eq!(view.best.expect("a best").number, TrialNumber(0), "0.5 is worse than what there was");
        view.on_event(&samples::created(6));
        view.on_event(&samples::trial_finished(6, TrialState::Complete, Some(0.01)));
        assert_eq!(view.best, Some(Best { number: TrialNumber(6), value: 0.01 }));
        assert_eq!(
            view.study_line(Duration::from_secs(60)),
            "6/12 trials · 4 complete, 1 pruned, 1 failed · best 0.01 (trial 6) · 2m 55s left"
        );
    }

    #[test]
    fn what_is_left_follows_from_what_was_gained_since_the_start() {
        let mut view = view();
        let minute = Duration::from_secs(60);
        assert_eq!(view.remaining(minute), None, "nothing gained yet");
        let start = view.done(minute).expect("trials can be counted");
        view.on_event(&samples::created(5));
        view.on_event(&samples::trial_finished(5, TrialState::Complete, Some(0.5)));
        let gained = view.done(minute).expect("a share") - start;
        assert!((gained - 1.0 / 12.0).abs() < 1e-12, "{gained}");
        let left = view.remaining(minute).expect("an estimate").as_secs_f64();
        assert!((left - 60.0 * (1.0 - start - gained) / gained).abs() < 1e-6, "{left}");
    }

    #[test]
    fn an_open_trial_counts_by_its_epochs() {
        let mut view = view();
        let start = view.done(Duration::ZERO).expect("a share");
        view.on_event(&samples::created(5));
        for epoch in 1..=6 {
            view.on_event(&samples::epoch_event(5, 0, epoch, Some(0.1), "w0"));
        }
        // 6 of 3 * 8 epochs of one of 12 trials.
        let gained = view.done(Duration::ZERO).expect("a share") - start;
        assert!((gained - 6.0 / 24.0 / 12.0).abs() < 1e-12, "{gained}");
    }

    #[test]
    fn each_budget_is_a_goal() {
        let spec = |sets: &[&str]| samples::spec(sets);
        assert_eq!(goal(&spec(&[])), Goal::Trials(12));
        assert_eq!(goal(&spec(&["sampler.kind=grid", "sampler.points=2"])), Goal::Trials(8));
        let epochs = samples::spec_without_trials("total_epochs = 500");
        assert_eq!(goal(&epochs), Goal::Epochs(500));
        let time = samples::spec_without_trials("wall_time = \"2m\"");
        assert_eq!(goal(&time), Goal::WallTime(Duration::from_secs(120)));
    }
}
