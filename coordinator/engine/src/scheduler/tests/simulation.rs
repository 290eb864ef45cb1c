//! Simulated clusters by the thousand. `FOLDWISE_SIM_SEED=n` replays one, `FOLDWISE_SIM_RUNS=n` runs more.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::state::{Rule, StudyState, TrialState};

use super::super::*;
use super::cluster::World;
use super::plan::{Plan, Rng, new_study, random_spec, use_random_pruner};

/// Says which seed to replay, should the run of it panic.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay it with FOLDWISE_SIM_SEED={}", self.0);
        }
    }
}

/// Numbers of the environment are for the person at the keyboard alone.
#[expect(clippy::disallowed_methods, reason = "a test may be told what to replay")]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn each_seed(seeds: Range<u64>, run: impl Fn(u64)) {
    let more = from_environment("FOLDWISE_SIM_RUNS").unwrap_or(0);
    let seeds = match from_environment("FOLDWISE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        // A part of the numbers of its own for each test.
        None => seeds.start * 1_000_000..seeds.start * 1_000_000 + (seeds.end - seeds.start).max(more),
    };
    for seed in seeds {
        let _replay = Replay(seed);
        run(seed);
    }
}

fn run_random(seed: u64) {
    World::new(Plan::random(seed)).run();
}

#[test]
fn invariants_hold_in_random_clusters_1() {
    each_seed(0..700, run_random);
}

#[test]
fn invariants_hold_in_random_clusters_2() {
    each_seed(1..701, run_random);
}

#[test]
fn invariants_hold_in_random_clusters_3() {
    each_seed(2..702, run_random);
}

#[test]
fn the_same_seed_gives_the_same_commands() {
    each_seed(3..43, |seed| {
        let log = || {
            let mut world = World::new(Plan::random(seed));
            world.log = Some(DefaultHasher::new());
            world.run();
            (world.handled, world.log.map(|log| log.finish()))
        };
        assert_eq!(log(), log());
    });
}

/// The study of a seed, with a budget of trials alone.
fn counted_study(seed: u64) -> NewStudy {
    let mut rng = Rng(seed);
    let mut spec = random_spec(&mut rng);
    if spec.is_external() {
        return counted_study(seed.wrapping_add(1 << 40));
    }
    (spec.budget.total_epochs, spec.budget.wall_time) = (None, None);
    spec.budget.trials = Some(rng.between(3, 12) as u32);
    new_study(spec)
}

fn plan(seed: u64, study: NewStudy, workers: i64, fault_every: Option<i64>) -> Plan {
    let mut rng = Rng(seed ^ 7);
    let workers = (0..workers).map(|_| (rng.between(1, 3) as u32, rng.between(100, 2_000))).collect();
    let askers = 0;
    Plan { seed, studies: vec![study], workers, askers, lease_ms: 10_000, fault_every, calm_at: 60_000 }
}

/// State and value of every trial.
fn results(world: &World) -> Vec<(TrialState, Option<f64>)> {
    let study = world.store.studies.values().next().expect("a study");
    study.trials.iter().map(|trial| (trial.state, trial.value)).collect()
}

#[test]
fn values_depend_on_the_study_alone() {
    each_seed(4..104, |seed| {
        let mut study = counted_study(seed);
        study.spec.pruner = Default::default();
        let run = |workers, fault_every| {
            let mut world = World::new(plan(seed, study.clone(), workers, fault_every));
            // The trials are to be the same ones.
            world.people = false;
            world.run();
            results(&world)
        };
        let alone = run(1, None);
        assert_eq!(alone, run(7, None), "with more workers");
        // With faults a trial may fail or be cancelled; where it completes it has the same value.
        for (number, (state, value)) in run(3, Some(1_000)).into_iter().enumerate() {
            assert!(
                value.is_none() || alone[number] == (state, value),
                "trial {}",
                TrialNumber(number as u32)
            );
        }
    });
}

#[test]
fn a_restored_scheduler_does_what_the_old_one_would() {
    each_seed(5..305, |seed| {
        let mut study = counted_study(seed);
        use_random_pruner(&mut study.spec, &mut Rng(seed ^ 5));
        let workers = 1 + (seed % 5) as i64;
        let mut world = World::new(plan(seed, study, workers, None));
        for _ in 0..Rng(seed).between(10, 300) {
            world.step();
        }
        if world.store.studies.values().all(|study| study.state == StudyState::Ended) {
            return;
        }
        // All streams close, and the twin takes over from what is stored.
        for index in 0..world.processes.len() {
            if let Some(session) = world.processes[index].session {
                world.disconnect(index, false, false);
                world.tell(Event::SessionClosed { session });
            }
        }
        let (twin, commands) = Scheduler::restore(world.store.snapshot(), world.options, world.now);
        assert_eq!(commands, []);
        world.twin = Some(twin);
        for index in 0..world.processes.len() {
            world.connect_in(index, 10);
        }
        world.run();
    });
}

#[test]
fn every_rule_prunes_in_some_cluster() {
    let mut rules = BTreeSet::new();
    for seed in 0..2_000 {
        let mut world = World::new(Plan::random(seed));
        world.run();
        let trials = world.store.studies.values().flat_map(|study| &study.trials);
        rules.extend(trials.flat_map(|trial| &trial.decisions).map(|(_, _, decision)| decision.rule));
        if rules.len() == Rule::ALL.len() {
            return;
        }
    }
    panic!("only {rules:?}");
}
