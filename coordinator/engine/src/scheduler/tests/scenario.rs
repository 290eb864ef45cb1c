//! Small stories as text: a line says what happens and, after `=>`, what comes of it.
//!
//! What happens: `join a 2` (hello and two slots), `back a 0/0#1 ..` (hello on a new stream, holding these),
//! `beat a`, `lost a` (its stream closes), `dies a`, `epoch a 0/0#1 0.5` (the next epoch; a number before a colon
//! is the epoch), `find a 0/0#1 0.003` (its learning rate; `batch_size=3` is another param), `phase a 0/0#1`,
//! `store a 0/0#1 model 2` (a result after epoch 2; `-` for one of the whole attempt), `keep a 0/0#1 2` (its checkpoint after epoch 2 is stored), `beats a 6` (six heartbeats, one every 10 s),
//! `end a 0/0#1`, `stopped a 0/0#1`, `fail a 0/0#1 error`, `decline a 0/0#1`, `wait 30s` (all ticks
//! that are due), `late 30s` (time passes unnoticed), `overslept 30s`, `pause`, `unpause`, `stop`, `drain`,
//! `restart`, `restart forget` or `recorded` (what becomes of leases); `ask a 60s`, `report 1 0/0:2 0.5` (lease 1, epoch 2 of fold 0 of trial 0; `last` ends the
//! fold), `tell 1 0 0.5` (also `reported`, `failed`, `diverged`, `stopped`, `back`), `renew 1 0`, `enqueue {..}`,
//! `add {..} 0.5`; the lease `-` is not named; `extend trials=2 epochs=9 time=5s`, `delete`, `delete force`, `retry 0`,
//! `cancel 0` (a trial), `drain a`, `drain a after-folds`, `undrain a`, `workers`, `second 5` (another study of that priority).
//!
//! What comes of it: `a trains 0/0#1`, `a trains 0/0#2 after 3`, `discards 0/0#1 after 3` (a checkpoint), `a stops 0/0#1`, `a stops 0/0#1 after the epoch`, `a drops 0/0#1` (revoked),
//! `found 0/0#1` (a param is recorded), `ok` (recorded), `closed`, `drained`, `trial 0 complete 0.5`, `trial 0 pruned`, `study ended`, and
//! `lost 0/0#1` for an attempt that failed; `lease 1 of trial 0 folds 0 1`, `go on`, `it is stopping`, or the kind of a
//! refusal.

use std::collections::BTreeMap;

use foldwise_shared::artifact::{Artifact, ResultFile};
use foldwise_shared::checkpoint::Checkpoint;
use foldwise_shared::external::{Told, TrialReport};
use foldwise_shared::fleet::{Handover, WorkerRecord};
use foldwise_shared::ids::{
    Attempt, AttemptKey, Epoch, FoldIndex, LeaseId, Millis, SessionId, StudyId, TrialNumber,
};
use foldwise_shared::record::Metrics;
use foldwise_shared::spec::{Extension, StudySpec};
use foldwise_shared::state::{StudyState, TrialState};
use foldwise_shared::value::{ParamValue, Params};

use super::super::*;
use super::plan::{new_study, plain_spec};
use super::store::Store;

const STUDY: StudyId = StudyId(1);

/// Plays a story on the study of [`plain_spec`], changed, and compares what comes of every line.
pub fn check(change: impl FnOnce(&mut StudySpec), story: &str) -> Scenario {
    let mut spec = plain_spec();
    change(&mut spec);
    let mut scenario = Scenario::new(spec);
    scenario.play(story);
    scenario
}

pub struct Scenario {
    now: Millis,
    scheduler: Scheduler,
    pub store: Store,
    /// The stream of each worker.
    sessions: BTreeMap<String, SessionId>,
    last_session: u64,
}

impl Scenario {
    fn new(spec: StudySpec) -> Self {
        let now = Millis(0);
        let (scheduler, _) = Scheduler::restore(Snapshot::default(), Options::default(), now);
        let mut scenario =
            Self { now, scheduler, store: Store::default(), sessions: BTreeMap::new(), last_session: 0 };
        scenario.tell(Event::CreateStudy(Box::new(new_study(spec))));
        scenario
    }

    pub fn play(&mut self, story: &str) {
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (happens, expected) = line.split_once("=>").unwrap_or((line, ""));
            let words: Vec<&str> = happens.split_whitespace().collect();
            let outcome = self.happen(&words).join(", ");
            assert_eq!(outcome, expected.trim(), "after `{}`", happens.trim());
        }
    }

    /// What there is now.
    pub fn census(&self) -> Census {
        self.scheduler.census(self.now)
    }

    /// Why a trial ended, or will.
    pub fn reason(&self, number: usize) -> &str {
        self.store.studies[&STUDY].trials[number].reason.as_deref().expect("a reason")
    }

    pub fn message(&self) -> &str {
        self.store.studies[&STUDY].message.as_deref().expect("a message")
    }

    fn happen(&mut self, words: &[&str]) -> Vec<String> {
        match *words {
            ["join", worker, slots] => {
                self.hello(worker, &[]);
                self.tell(Event::Ready { session: self.session(worker), slots: number(slots) })
            }
            ["back", worker, ref held @ ..] => {
                let mut outcome = self.hello(worker, held);
                outcome.extend(self.tell(Event::Ready { session: self.session(worker), slots: 1 }));
                outcome
            }
            ["beat", worker] => {
                self.tell(Event::Heartbeat { session: self.session(worker), device_use: None })
            }
            ["keep", worker, place, epoch] => {
                let (incarnation, key, digest) =
                    (worker.into(), key(place), format!("{place} after {epoch}"));
                let checkpoint = Checkpoint { epoch: Epoch(number(epoch)), digest, bytes: 1 };
                self.tell(Event::Checkpoint { incarnation, key, checkpoint })
            }
            ["find", worker, place, found] => {
                let (name, value) = found.split_once('=').unwrap_or(("learning_rate", found));
                let value = value.parse().map_or_else(|_| ParamValue::Text(value.into()), ParamValue::Float);
                let (session, name) = (self.session(worker), name.to_owned());
                self.tell(Event::Derived { session, key: key(place), name, value })
            }
            ["phase", worker, place] => {
                let (session, name) = (self.session(worker), "range test".into());
                self.tell(Event::Phase { session, key: key(place), name })
            }
            ["store", worker, place, kind, epoch] => {
                let (incarnation, key) = (worker.into(), key(place));
                let epoch = (epoch != "-").then(|| Epoch(number(epoch)));
                let file = Artifact { digest: format!("{kind} of {place}"), bytes: 1 };
                let before = self.store.result_before(key, kind, epoch);
                let result = ResultFile { kind: kind.into(), epoch, file };
                self.tell(Event::Result { incarnation, key, result, before })
            }
            ["beats", worker, times] => {
                let mut outcome = Vec::new();
                for _ in 0..number(times) {
                    outcome.extend(self.wait(10_000));
                    let session = self.session(worker);
                    outcome.extend(self.tell(Event::Heartbeat { session, device_use: None }));
                }
                outcome
            }
            ["lost", worker] => self.tell(Event::SessionClosed { session: self.session(worker) }),
            ["dies", name] => self.tell(Event::WorkerDied { name: name.into() }),
            ["epoch", worker, place, loss] => {
                let key = key(place);
                let recorded = self
                    .store
                    .attempt(key)
                    .map_or(0, |attempt| attempt.start_epoch.0 + attempt.epochs.len() as u32);
                let (epoch, loss) = match loss.split_once(':') {
                    Some((epoch, loss)) => (number(epoch), loss),
                    None => (recorded + 1, loss),
                };
                let validation_loss = loss.parse().expect("a loss");
                let (epoch, train_loss) = (Epoch(epoch), 0.5);
                let report = EpochReport {
                    epoch,
                    train_loss,
                    validation_loss,
                    learning_rate: 0.1,
                    seconds: 1.0,
                    metrics: Metrics::new(),
                };
                self.tell(Event::Epoch { session: self.session(worker), key, report })
            }
            ["end", worker, place] => self.finished(worker, place, false),
            ["stopped", worker, place] => self.finished(worker, place, true),
            ["fail", worker, place, class] => {
                let (session, class) = (self.session(worker), class.parse().expect("a class"));
                self.tell(Event::Failed { session, key: key(place), class, message: "it went wrong".into() })
            }
            ["decline", worker, place] => {
                let (session, message) = (self.session(worker), "no data".into());
                self.tell(Event::Declined { session, key: key(place), message })
            }
            ["wait", span] => self.wait(seconds(span)),
            ["late", span] => {
                self.now = self.now.plus(seconds(span));
                Vec::new()
            }
            ["overslept", span] => {
                self.now = self.now.plus(seconds(span));
                self.tell(Event::Overslept { gap: seconds(span) })
            }
            ["ask", name, ref lease @ ..] => {
                let lease_ms = lease.first().map_or(60_000, |span| seconds(span));
                self.tell(Event::Ask { study: STUDY, asker: name.into(), lease_ms })
            }
            ["report", lease, place, value] => self.report(lease, place, value, false),
            ["report", lease, place, value, "last"] => self.report(lease, place, value, true),
            ["tell", lease, trial, ref told @ ..] => {
                let told = told_by(told);
                self.tell(Event::Tell { study: STUDY, trial: trial_of(trial), lease: lease_of(lease), told })
            }
            ["renew", lease, trial] => {
                self.tell(Event::Renew { study: STUDY, trial: trial_of(trial), lease: lease_of(lease) })
            }
            ["enqueue", json] => self.tell(Event::Enqueue { study: STUDY, params: params(json) }),
            ["add", json, ref told @ ..] => {
                let (asker, params, told) = ("me".into(), params(json), told_by(told));
                self.tell(Event::AddTrial { study: STUDY, asker, params, told })
            }
            ["extend", ref more @ ..] => {
                let mut extension = Extension::default();
                for word in more {
                    match word.split_once('=').expect("trials=2") {
                        ("trials", more) => extension.trials = Some(number(more)),
                        ("epochs", more) => extension.epochs = Some(number(more).into()),
                        (_, span) => extension.wall_time_ms = Some(seconds(span)),
                    }
                }
                let is_over = self.store.studies[&STUDY].state == StudyState::Ended;
                let ended = is_over.then(|| Box::new(self.store.study_snapshot_of(STUDY)));
                self.tell(Event::ExtendStudy { study: STUDY, more: extension, ended })
            }
            ["delete", ref force @ ..] => {
                let artifacts = vec!["a1".into()];
                self.tell(Event::DeleteStudy { study: STUDY, force: *force == ["force"], artifacts })
            }
            ["retry", trial] => {
                let row = self.store.studies[&STUDY].trials.get(number(trial) as usize);
                let found = row.map(|row| RecordedTrial { state: row.state, params: row.params.clone() });
                self.tell(Event::RetryTrial { study: STUDY, trial: trial_of(trial), found })
            }
            ["cancel", trial] => self.tell(Event::StopTrial { study: STUDY, trial: trial_of(trial) }),
            ["drain", name, ref how @ ..] => {
                let handover =
                    how.first().map_or(Handover::default(), |how| how.parse().expect("a handover"));
                self.tell(Event::DrainWorker { name: name.into(), handover })
            }
            ["undrain", name] => self.tell(Event::UndrainWorker { name: name.into() }),
            ["workers"] => self.tell(Event::ListWorkers),
            ["second", priority] => {
                let mut spec = self.store.studies[&STUDY].new.spec.clone();
                spec.study.name = "second".into();
                spec.study.priority = priority.parse().expect("a priority");
                self.tell(Event::CreateStudy(Box::new(new_study(spec))))
            }
            ["pause"] => self.tell(Event::PauseStudy(STUDY)),
            ["unpause"] => self.tell(Event::UnpauseStudy(STUDY)),
            ["stop"] => self.tell(Event::StopStudy(STUDY)),
            ["drain"] => self.tell(Event::Drain),
            ["restart", ref forget @ ..] => {
                let open_leases = match *forget {
                    ["forget"] => OpenLeases::Ended,
                    ["recorded"] => OpenLeases::AsRecorded,
                    _ => OpenLeases::Renewed,
                };
                let options = Options { open_leases, ..Options::default() };
                let (scheduler, commands) = Scheduler::restore(self.store.snapshot(), options, self.now);
                self.scheduler = scheduler;
                self.sessions.clear();
                self.carry_out(commands)
            }
            _ => panic!("{words:?} means nothing"),
        }
    }

    fn wait(&mut self, span: i64) -> Vec<String> {
        let until = self.now.plus(span);
        let mut outcome = Vec::new();
        while let Some(deadline) = self.scheduler.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            outcome.extend(self.tell(Event::Tick));
        }
        self.now = until;
        outcome
    }

    fn hello(&mut self, worker: &str, held: &[&str]) -> Vec<String> {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.sessions.insert(worker.into(), session);
        let info = WorkerInfo { name: worker.into(), incarnation: worker.into(), device: "cpu".into() };
        self.tell(Event::Hello { session, worker: info, held: held.iter().map(|place| key(place)).collect() })
    }

    fn finished(&mut self, worker: &str, place: &str, stopped: bool) -> Vec<String> {
        self.tell(Event::Finished { session: self.session(worker), key: key(place), stopped })
    }

    /// `0/1:3` is epoch 3 of fold 1 of trial 0.
    fn report(&mut self, lease: &str, place: &str, value: &str, last: bool) -> Vec<String> {
        let numbers: Vec<u32> = place.split(['/', ':']).map(number).collect();
        let [trial, fold, epoch] = numbers[..] else { panic!("{place} is no epoch") };
        let report = TrialReport {
            fold: FoldIndex(fold),
            epoch: Epoch(epoch),
            value: value.parse().expect("a value"),
            last,
        };
        self.tell(Event::Report { study: STUDY, trial: TrialNumber(trial), lease: lease_of(lease), report })
    }

    fn session(&self, worker: &str) -> SessionId {
        self.sessions[worker]
    }

    fn tell(&mut self, event: Event) -> Vec<String> {
        let commands = self.scheduler.handle(self.now, event);
        self.carry_out(commands)
    }

    fn carry_out(&mut self, commands: Vec<Command>) -> Vec<String> {
        let mut outcome = Vec::new();
        for command in commands {
            if let Command::Write(write) = &command {
                self.store.apply(write);
            }
            outcome.extend(self.show(command));
        }
        outcome
    }

    /// None for what goes without saying.
    fn show(&self, command: Command) -> Option<String> {
        let (session, message) = match command {
            Command::Write(Write::TrialState { trial, state, value, .. }) if state != TrialState::Running => {
                let value = value.map(|value| format!(" {value}")).unwrap_or_default();
                return Some(format!("trial {trial} {state}{value}"));
            }
            Command::Write(Write::StudyState { state, .. }) => return Some(format!("study {state}")),
            Command::Write(Write::AttemptEnded { key, failure: Some(class), .. }) => {
                return Some(format!("{class} {}", place(key)));
            }
            Command::Write(Write::StudyDeleted { .. }) => return Some("deleted".into()),
            Command::Write(_) => return None,
            Command::Discard { digest } => return Some(format!("discards {digest}")),
            Command::Close { .. } => return Some("closed".into()),
            Command::Phase { key, name, .. } => return Some(format!("{name} on {}", place(key))),
            Command::Drained => return Some("drained".into()),
            Command::Reply(answer) => return Some(reply(answer)),
            Command::Send { session, message } => (session, message),
        };
        let worker = self.sessions.iter().find(|(_, of)| **of == session).map_or("?", |(worker, _)| worker);
        Some(match message {
            ToWorker::Welcome { .. } => return None,
            ToWorker::Assign(assignment) => match assignment.start_epoch() {
                Epoch(0) => format!("{worker} trains {}", place(assignment.key)),
                epoch => format!("{worker} trains {} after {epoch}", place(assignment.key)),
            },
            ToWorker::Stop { key, after_epoch: false } => format!("{worker} stops {}", place(key)),
            ToWorker::Stop { key, after_epoch: true } => {
                format!("{worker} stops {} after the epoch", place(key))
            }
            ToWorker::Revoked { key } => format!("{worker} drops {}", place(key)),
            ToWorker::ParamRecorded { key, .. } => format!("found {}", place(key)),
            ToWorker::EpochRecorded { .. } | ToWorker::EndRecorded { .. } => "ok".into(),
        })
    }
}

fn reply(answer: Result<Answer, Refusal>) -> String {
    match answer {
        Ok(Answer::Done) => "done".into(),
        Ok(Answer::Asked(asked)) => {
            let folds: Vec<String> = asked.folds.iter().map(ToString::to_string).collect();
            format!("lease {} of trial {} folds {}", asked.lease, asked.trial, folds.join(" "))
        }
        Ok(Answer::Workers(workers)) => {
            let shown = |worker: &WorkerRecord| {
                let state = worker.state.expect("a state");
                format!("{} {state} {}/{}", worker.name, worker.folds.len(), worker.slots.expect("slots"))
            };
            workers.iter().map(shown).collect::<Vec<_>>().join(" + ")
        }
        Ok(Answer::Trial(now)) if now.is_to_stop() => format!("it is {}", now.state),
        Ok(Answer::Trial(_)) => "go on".into(),
        Err(refusal) => format!("{:?}", refusal.kind),
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn seconds(text: &str) -> i64 {
    i64::from(number(text.trim_end_matches('s'))) * 1_000
}

/// Trial, fold and attempt as `0/1#2`; of another study with its number in front, as `2:0/1#2`.
fn key(text: &str) -> AttemptKey {
    if let Some((study, place)) = text.split_once(':') {
        return AttemptKey { study: StudyId(number(study).into()), ..key(place) };
    }
    let numbers: Vec<u32> = text.split(['/', '#']).map(number).collect();
    let [trial, fold, attempt] = numbers[..] else { panic!("{text} is no attempt") };
    AttemptKey { study: STUDY, trial: TrialNumber(trial), fold: FoldIndex(fold), attempt: Attempt(attempt) }
}

fn place(key: AttemptKey) -> String {
    if key.study != STUDY {
        return format!("{}:{}/{}#{}", key.study, key.trial, key.fold, key.attempt);
    }
    format!("{}/{}#{}", key.trial, key.fold, key.attempt)
}

fn trial_of(text: &str) -> TrialNumber {
    TrialNumber(number(text))
}

fn lease_of(text: &str) -> Option<LeaseId> {
    (text != "-").then(|| LeaseId(text.parse().expect("a lease")))
}

fn params(json: &str) -> Params {
    serde_json::from_str(json).expect("params")
}

fn told_by(words: &[&str]) -> Told {
    match *words {
        ["reported"] => Told::Reported,
        ["stopped"] => Told::Stopped,
        ["back"] => Told::HandedBack,
        ["failed"] => Told::Failed { diverged: false, message: "it went wrong".into() },
        ["diverged"] => Told::Failed { diverged: true, message: String::new() },
        ref values => Told::Values(values.iter().map(|value| value.parse().expect("a value")).collect()),
    }
}
