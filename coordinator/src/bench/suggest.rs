//! The time of one suggestion, as a running study pays it: a trial finishes, and the next one takes its place.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use foldwise_engine::sampler::{History, Outcome, suggest};
use foldwise_shared::ids::{Millis, TrialNumber};
use foldwise_shared::spec::{SamplerKind, StudySpec, parse};
use foldwise_shared::value::{ParamValue, Params};
use serde::Serialize;

use super::BenchError;
use super::statistics::{quantile, sorted};

/// A study of params of every kind there is; compare.py beside it reads it too.
const STUDY: &str = include_str!("../../../deploy/bench/suggest.toml");

/// The params of that study.
pub const MOST_PARAMS: u32 = 20;

/// Suggestions are timed in rounds, each with a history and a seed of its own, so that the history stays about as long
/// as it is said to be.
const ROUNDS: u64 = 20;
const ROUND: u32 = 25;

/// After so long a row has rounds enough.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is timed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The samplers, by name.
    pub samplers: Vec<String>,
    /// After how many finished trials.
    pub trials: Vec<u32>,
    /// How many trials run meanwhile.
    pub running: u32,
    /// How many params the space has, up to [`MOST_PARAMS`].
    pub params: u32,
}

/// How long a sampler takes for a suggestion.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// The sampler.
    pub sampler: String,
    /// After so many finished trials.
    pub trials: u32,
    /// While so many run.
    pub running: u32,
    /// With so many params.
    pub params: u32,
    /// How many suggestions were timed.
    pub suggestions: usize,
    /// The middle of the times, in milliseconds.
    pub median_ms: f64,
    /// What 99 of 100 stay below, in milliseconds.
    pub p99_ms: f64,
    /// What this process takes in memory with that history, in MiB, where the system tells.
    pub memory_mib: Option<f64>,
}

impl Plan {
    /// Times suggestions. `done` hears of every row that ends, of so many.
    ///
    /// # Errors
    /// A sampler is unknown.
    pub fn run(&self, done: &dyn Fn(usize)) -> Result<Vec<Timing>, BenchError> {
        let rows: Vec<(&String, u32)> = self
            .samplers
            .iter()
            .flat_map(|sampler| self.trials.iter().map(move |trials| (sampler, *trials)))
            .collect();
        let time = |(sampler, trials): &(&String, u32)| {
            let timing = self.time(sampler, *trials);
            done(rows.len());
            timing
        };
        rows.iter().map(time).collect()
    }

    fn time(&self, sampler: &str, trials: u32) -> Result<Timing, BenchError> {
        let (begin, mut seconds, mut memory_mib) = (Instant::now(), Vec::new(), None);
        for seed in 0..ROUNDS {
            let mut load = Load::new(self.study(sampler, seed)?, trials, self.running)?;
            // Whatever a sampler works out once for a history, a running study has worked out already.
            load.step()?;
            memory_mib = memory_mib.or_else(resident_mib);
            for _ in 0..ROUND {
                seconds.push(load.step()?.as_secs_f64());
            }
            if begin.elapsed() > PATIENCE {
                break;
            }
        }
        let seconds = sorted(&seconds);
        let milliseconds = |share| 1e3 * quantile(&seconds, share).unwrap_or(f64::NAN);
        Ok(Timing {
            sampler: sampler.to_owned(),
            trials,
            running: self.running,
            params: self.params,
            suggestions: seconds.len(),
            median_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            memory_mib,
        })
    }

    fn study(&self, sampler: &str, seed: u64) -> Result<StudySpec, BenchError> {
        let sets = [format!("sampler.kind={sampler}"), format!("study.seed={seed}")];
        let mut spec = parse(STUDY, &sets)?;
        // Each comes after those on which it depends.
        let kept: Vec<String> =
            spec.space.in_order().into_iter().take(self.params as usize).cloned().collect();
        spec.space.0.retain(|name, _| kept.contains(name));
        Ok(spec)
    }
}

/// A study in which some trials are finished and some run.
struct Load {
    spec: StudySpec,
    history: History,
    running: VecDeque<(TrialNumber, Params)>,
    next: u32,
}

impl Load {
    /// All trials so far are random.
    fn new(spec: StudySpec, trials: u32, running: u32) -> Result<Self, BenchError> {
        let mut random = spec.clone();
        random.sampler.kind = SamplerKind::Random;
        let mut history = History::new(&spec.space, spec.study.direction);
        let mut drawn = VecDeque::new();
        for number in (0..trials + running).map(TrialNumber) {
            let suggestion = suggest(&random, &mut history, &[], number).ok_or(BenchError::Exhausted)?;
            drawn.push_back((number, suggestion.params));
            if drawn.len() > running as usize
                && let Some((oldest, params)) = drawn.pop_front()
            {
                finish(&mut history, oldest, &params);
            }
        }
        Ok(Self { next: trials + running, spec, history, running: drawn })
    }

    /// The oldest trial finishes, and another one begins: how long that took.
    fn step(&mut self) -> Result<Duration, BenchError> {
        let (finished, params) = self.running.pop_front().ok_or(BenchError::Exhausted)?;
        let number = TrialNumber(self.next);
        let begin = Instant::now();
        finish(&mut self.history, finished, &params);
        let running: Vec<&Params> = self.running.iter().map(|(_, params)| params).collect();
        let suggestion =
            suggest(&self.spec, &mut self.history, &running, number).ok_or(BenchError::Exhausted)?;
        let took = begin.elapsed();
        self.running.push_back((number, suggestion.params));
        self.next += 1;
        Ok(took)
    }
}

fn finish(history: &mut History, number: TrialNumber, params: &Params) {
    history.add(number, params, Millis(number.0.into()), Outcome::Complete(value(params)));
}

/// Something to learn from, whatever the params are.
fn value(params: &Params) -> f64 {
    let of = |value: &ParamValue| match value {
        ParamValue::Bool(flag) => f64::from(u8::from(*flag)),
        ParamValue::Text(word) => word.len() as f64 / 10.0,
        value => value.as_f64().map_or(0.0, |number| (number.abs() + 0.01).log10().powi(2)),
    };
    params.values().map(of).sum()
}

/// The memory of this process.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use foldwise_shared::space::Domain;

    use super::*;

    fn plan(params: u32) -> Plan {
        Plan { samplers: vec!["tpe".into(), "random".into()], trials: vec![30, 60], running: 4, params }
    }

    #[test]
    fn the_space_is_as_large_as_asked_and_of_every_kind() {
        let spec = plan(MOST_PARAMS).study("tpe", 3).expect("a study");
        assert_eq!((spec.space.0.len() as u32, spec.study.seed), (MOST_PARAMS, 3));
        let count = |is: fn(&Domain) -> bool| spec.space.0.values().filter(|param| is(&param.domain)).count();
        assert_eq!(count(|domain| matches!(domain, Domain::Float { log: true, .. })), 3);
        assert_eq!(count(|domain| matches!(domain, Domain::Float { step: Some(_), .. })), 2);
        assert_eq!(count(|domain| matches!(domain, Domain::Int { .. })), 5);
        assert_eq!(count(|domain| matches!(domain, Domain::Choice(_))), 3);
        assert_eq!(count(|domain| matches!(domain, Domain::Bool)), 2);
        assert_eq!(spec.space.0.values().filter(|param| !param.when.is_empty()).count(), 1);
        for params in 1..MOST_PARAMS {
            let space = plan(params).study("random", 0).expect("a study").space;
            assert_eq!(space.0.len() as u32, params);
            space.check_conditions().expect("what a param depends on is there");
        }
    }

    #[test]
    fn every_sampler_is_timed_at_every_size() {
        let timings = plan(6).run(&|rows| assert_eq!(rows, 4)).expect("the samplers are known");
        let rows: Vec<(&str, u32)> = timings.iter().map(|row| (row.sampler.as_str(), row.trials)).collect();
        assert_eq!(rows, [("tpe", 30), ("tpe", 60), ("random", 30), ("random", 60)]);
        for row in timings {
            assert!(row.median_ms > 0.0 && row.p99_ms >= row.median_ms && row.suggestions == 500, "{row:?}");
        }
    }
}
