//! Work for the workers: studies that are created one after the other, while faults are done.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::Signal;

use super::Settings;
use super::crew::{how, keep_log, tail};
use super::head::Head;
use super::watcher::View;
use crate::process::Running;
use crate::scene::Scene;
use crate::study::Study;

/// For how long a command that creates a study may wait for a coordinator that stands still.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(700);
const FILE: &str = "study.toml";
const FOLDS: u32 = 3;

/// The studies of a run.
pub struct Studies {
    /// Those whose creation was acknowledged.
    pub acknowledged: BTreeSet<String>,
    /// Those that there are, acknowledged or not.
    created: BTreeSet<String>,
    next: Option<Creation>,
    made: u32,
    total_epochs: u64,
}

struct Creation {
    name: String,
    sets: String,
    running: Option<Running>,
    since: Instant,
}

impl Studies {
    /// None yet.
    pub fn new(scene: &Scene, settings: &Settings) -> Self {
        let Settings { limit, epochs, trials, .. } = *settings;
        let study = Study {
            folds: FOLDS,
            limit,
            epochs,
            trials,
            pruner: "kind = \"median\"\nstartup_trials = 2\nwarmup_epochs = 1",
            ..Study::default()
        };
        scene.write(FILE, format!("{study}\n[checkpoint]\nevery_epochs = 2\n"));
        // Less than they would take, so that this budget ends some of them.
        let total_epochs = u64::from(trials) * u64::from(FOLDS) * u64::from(epochs) / 3;
        Self {
            acknowledged: BTreeSet::new(),
            created: BTreeSet::new(),
            next: None,
            made: 0,
            total_epochs: total_epochs.max(u64::from(epochs)),
        }
    }

    /// Whether nothing is being created, and everything that was created is seen and has ended.
    pub fn have_ended(&self, view: &View) -> bool {
        self.next.is_none()
            && self
                .created
                .iter()
                .all(|name| view.studies.get(name).is_some_and(|study| study.state == "ended"))
    }

    /// Creates another where the workers would soon have nothing to do.
    pub fn keep_busy(&mut self, view: &View, workers: usize) {
        if self.next.is_some() || self.created.iter().any(|name| !view.studies.contains_key(name)) {
            return;
        }
        let open = view.studies.values().filter(|study| study.state != "ended");
        let left: i64 = open.map(|study| study.budget - study.finished).sum();
        if left <= workers as i64 {
            let name = format!("chaos-{}", self.made);
            // Each third has a budget of epochs, which ends it before that of trials does.
            let budget = if self.made % 3 == 2 {
                format!(" --set budget.total_epochs={}", self.total_epochs)
            } else {
                String::new()
            };
            let sets = format!("--set study.name={name}{budget}");
            self.made += 1;
            self.next = Some(Creation { name, sets, running: None, since: Instant::now() });
        }
    }

    /// Goes on with the creation.
    ///
    /// # Errors
    /// The coordinator says that it cannot be.
    pub fn tick(&mut self, scene: &Scene, head: &Head, logs: &Path) -> anyhow::Result<()> {
        let Some(creation) = &mut self.next else { return Ok(()) };
        let Some(running) = &creation.running else {
            if let (true, Some(address)) = (creation.since.elapsed() >= PAUSE, head.address()) {
                let words = format!("study create {FILE} {} --coordinator http://{address}", creation.sets);
                creation.running = Some(scene.start(&words));
                creation.since = Instant::now();
            }
            return Ok(());
        };
        if running.is_alive() {
            if creation.since.elapsed() > PATIENCE {
                running.signal(Signal::KILL);
            }
            return Ok(());
        }
        creation.since = Instant::now();
        let Some(running) = creation.running.take() else { return Ok(()) };
        let ended = running.finish();
        keep_log(logs, "create", &ended)?;
        let name = creation.name.clone();
        match ended.code {
            Some(0) => {
                self.acknowledged.insert(name.clone());
            }
            // It was recorded before the answer was lost.
            Some(2) if ended.stderr.contains("there is a study named") => {}
            Some(1) | None => return Ok(()),
            Some(_) => {
                bail!("{} ended with {}:\n{}", ended.line, how(&ended), tail(&ended.stderr));
            }
        }
        self.created.insert(name);
        self.next = None;
        Ok(())
    }
}
