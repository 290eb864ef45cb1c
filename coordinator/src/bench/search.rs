//! Searches over problems whose minimum is known, with many seeds, beside those of Optuna.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use foldwise_engine::sampler::{History, Outcome, suggest};
use foldwise_shared::ids::{Millis, TrialNumber};
use foldwise_shared::value::Params;
use serde::Serialize;

use super::reference::{REFERENCES, Reference};
use super::statistics::{self, Quartiles};
use super::{BenchError, Problem, study};

/// What is said to be worse is so by chance in fewer searches than this share.
const SIGNIFICANT: f64 = 0.05;

/// What is a fifth less.
const LESS: f64 = 0.8;

/// What is searched.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The problems.
    pub problems: Vec<Problem>,
    /// The samplers, by name.
    pub samplers: Vec<String>,
    /// How many trials run at a time.
    pub parallel: Vec<u32>,
    /// After how many finished trials the best value is taken.
    pub trials: Vec<u32>,
    /// Searches of each kind, with the seeds 0, 1, ...
    pub seeds: u32,
    /// Searches at a time; the result does not depend on it.
    pub threads: NonZero<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// By problem, trials at a time, finished trials and sampler.
    pub cells: Vec<Cell>,
    /// Each sampler over all cells; Optuna's are the last.
    pub samplers: Vec<Standing>,
}

/// A sampler on a problem. A regret is the best value less the minimum, over searches with different seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The problem.
    pub problem: String,
    /// How many trials ran at a time.
    pub parallel: u32,
    /// How many trials were finished.
    pub trials: u32,
    /// The sampler.
    pub sampler: String,
    /// Its regret.
    pub regret: Quartiles,
    /// The regret of Optuna's TPE, where it was recorded.
    pub optuna_tpe: Option<Quartiles>,
    /// The regret of Optuna's TPE of the papers, where it was recorded.
    pub optuna_tpe_classic: Option<Quartiles>,
    /// How it compares with one of those.
    pub versus: Option<Versus>,
}

/// A sampler beside the reference: the better one of Optuna's, or the one of its own name.
#[derive(Debug, Clone, Serialize)]
pub struct Versus {
    /// Which.
    pub reference: String,
    /// The median over that of the reference; none where that is 0.
    pub ratio: Option<f64>,
    /// Whether the median is at least a fifth less.
    pub less: bool,
    /// The probability of regrets that exceed those of the reference as these do, or more, if both samplers were equally
    /// good.
    pub p_worse: f64,
}

/// A sampler over all cells.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// The sampler.
    pub sampler: String,
    /// Its mean rank by median over the cells where all samplers have one; 1 is the best.
    pub mean_rank: Option<f64>,
    /// Cells with a reference.
    pub compared: usize,
    /// Of these: cells where it is worse than the reference, and not by chance.
    pub worse: usize,
    /// Of these: cells where its median is at least a fifth less.
    pub less: usize,
}

impl Plan {
    /// Searches. `done` hears of every search that ends, of so many.
    ///
    /// # Errors
    /// A problem or the stored searches cannot be read, or a sampler is unknown.
    pub fn run(&self, done: &(dyn Fn(usize) + Sync)) -> Result<Comparison, BenchError> {
        let reference = Reference::stored()?;
        let mut counts = self.trials.clone();
        counts.sort_unstable();
        counts.dedup();
        let settings: Vec<(&Problem, u32, &str)> = self
            .problems
            .iter()
            .flat_map(|problem| self.parallel.iter().map(move |parallel| (problem, *parallel)))
            .flat_map(|(problem, parallel)| {
                self.samplers.iter().map(move |name| (problem, parallel, &**name))
            })
            .collect();
        let seeds = self.seeds as usize;
        let jobs = settings.len() * seeds;
        let searches = in_parallel(jobs, self.threads, |job| {
            let (problem, parallel, sampler) = settings[job / seeds];
            let found = search(problem, sampler, parallel, (job % seeds) as u64, &counts);
            done(jobs);
            found
        });
        let searches: Vec<Vec<f64>> = searches.into_iter().collect::<Result<_, _>>()?;
        let mut cells = Vec::new();
        for (place, count) in counts.iter().enumerate() {
            for ((problem, parallel, sampler), searches) in settings.iter().zip(searches.chunks(seeds)) {
                let regrets: Vec<f64> = searches.iter().map(|best| best[place] - problem.minimum).collect();
                cells.extend(Cell::new(problem, *parallel, *count, sampler, &regrets, &reference));
            }
        }
        // In the order of the settings; the sort is stable and keeps the samplers beside each other.
        let order = |cell: &Cell| {
            let place = self.problems.iter().position(|problem| problem.name == cell.problem);
            (place, self.parallel.iter().position(|parallel| *parallel == cell.parallel), cell.trials)
        };
        cells.sort_by_key(order);
        let samplers = standings(&cells, &self.samplers);
        Ok(Comparison { cells, samplers })
    }
}

/// The results of `jobs` pieces of work in their order, whoever does them.
fn in_parallel<T: Send>(jobs: usize, threads: NonZero<usize>, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let jobs =
            std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|job| *job < jobs);
        jobs.map(|job| (job, work(job))).collect::<Vec<_>>()
    };
    let mut results: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    results.sort_by_key(|(job, _)| *job);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The best value after each number of finished trials, in rising order, where the oldest of the trials that run is the
/// next to finish.
fn search(
    problem: &Problem,
    sampler: &str,
    parallel: u32,
    seed: u64,
    counts: &[u32],
) -> Result<Vec<f64>, BenchError> {
    let all = counts.last().copied().unwrap_or(0);
    let spec = study(&problem.space, sampler, seed, all)?;
    let mut history = History::new(&spec.space, spec.study.direction);
    let mut running: VecDeque<(TrialNumber, Params)> = VecDeque::new();
    let (mut asked, mut told, mut best, mut found) = (0, 0, f64::INFINITY, Vec::new());
    while found.len() < counts.len() {
        while asked < all && running.len() < parallel as usize {
            let others: Vec<&Params> = running.iter().map(|(_, params)| params).collect();
            let number = TrialNumber(asked);
            let suggestion = suggest(&spec, &mut history, &others, number).ok_or(BenchError::Exhausted)?;
            running.push_back((number, suggestion.params));
            asked += 1;
        }
        let (number, params) = running.pop_front().ok_or(BenchError::Exhausted)?;
        let value = problem.value(&params);
        told += 1;
        best = value.min(best);
        history.add(number, &params, Millis(told.into()), Outcome::Complete(value));
        if counts[found.len()] == told {
            found.push(rounded(best));
        }
    }
    Ok(found)
}

/// With nine digits, as the stored searches: what differs in the order of a sum alone is a tie.
fn rounded(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

impl Cell {
    fn new(
        problem: &Problem,
        parallel: u32,
        trials: u32,
        sampler: &str,
        regrets: &[f64],
        reference: &Reference,
    ) -> Option<Self> {
        let regret = Quartiles::of(regrets)?;
        let stored: BTreeMap<&str, Vec<f64>> = REFERENCES
            .iter()
            .filter_map(|name| {
                let values = reference.values(problem.name, parallel, name, trials)?;
                Some((*name, values.iter().map(|value| value - problem.minimum).collect()))
            })
            .collect();
        let quartiles = |name: &str| stored.get(name).and_then(|regrets| Quartiles::of(regrets));
        let median = |name: &str| quartiles(name).map_or(f64::INFINITY, |quartiles| quartiles.median);
        let rival = match stored.get_key_value(sampler) {
            Some((own, _)) => Some(*own),
            None => stored.keys().copied().min_by(|a, b| median(a).total_cmp(&median(b))),
        };
        let versus = rival.map(|name| Versus::new(name, regret.median, median(name), regrets, &stored[name]));
        Some(Self {
            problem: problem.name.to_owned(),
            parallel,
            trials,
            sampler: sampler.to_owned(),
            regret,
            optuna_tpe: quartiles("tpe"),
            optuna_tpe_classic: quartiles("tpe_classic"),
            versus,
        })
    }
}

impl Versus {
    fn new(name: &str, median: f64, rival: f64, regrets: &[f64], rivals: &[f64]) -> Self {
        Self {
            reference: name.to_owned(),
            ratio: (rival > 0.0).then(|| median / rival),
            less: median < rival && median <= LESS * rival,
            p_worse: statistics::mann_whitney(regrets, rivals),
        }
    }
}

/// How the samplers do over all cells. They are ranked where Optuna's have a place too, unless these have none at all.
fn standings(cells: &[Cell], samplers: &[String]) -> Vec<Standing> {
    let names: Vec<&str> =
        samplers.iter().map(String::as_str).chain(["optuna tpe", "optuna tpe_classic"]).collect();
    let medians =
        cells.chunk_by(|a, b| (&a.problem, a.parallel, a.trials) == (&b.problem, b.parallel, b.trials));
    let medians = medians.map(|cells| {
        let own = cells.iter().map(|cell| cell.regret.median);
        let theirs = [cells[0].optuna_tpe, cells[0].optuna_tpe_classic];
        own.chain(theirs.into_iter().flatten().map(|quartiles| quartiles.median)).collect::<Vec<f64>>()
    });
    let medians: Vec<Vec<f64>> = medians.collect();
    let most = medians.iter().map(Vec::len).max().unwrap_or(0);
    let ranks: Vec<Vec<f64>> =
        medians.iter().filter(|row| row.len() == most).map(|row| statistics::ranks(row)).collect();
    let standing = |(place, name): (usize, &&str)| {
        let ranked = ranks.iter().filter_map(|row| row.get(place)).sum::<f64>() / ranks.len() as f64;
        let own =
            || cells.iter().filter(|cell| cell.sampler == *name).filter_map(|cell| cell.versus.as_ref());
        Standing {
            sampler: (*name).to_owned(),
            mean_rank: (place < most).then_some(ranked),
            compared: own().count(),
            worse: own().filter(|versus| versus.p_worse < SIGNIFICANT).count(),
            less: own().filter(|versus| versus.less).count(),
        }
    };
    names.iter().take(most).enumerate().map(standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(problems: &[&str], samplers: &[&str], threads: usize) -> Plan {
        let mut all = Problem::all();
        all.retain(|problem| problems.contains(&problem.name));
        Plan {
            problems: all,
            samplers: samplers.iter().map(|name| (*name).to_owned()).collect(),
            parallel: vec![8, 3],
            trials: vec![30, 25, 30],
            seeds: 4,
            threads: NonZero::new(threads).expect("some"),
        }
    }

    #[test]
    fn cells_come_in_order_and_hold_what_is_stored() {
        let done = AtomicUsize::new(0);
        let count = |all| {
            assert_eq!(all, 32);
            done.fetch_add(1, Ordering::Relaxed);
        };
        let comparison = plan(&["branin", "steps3"], &["tpe", "random"], 2).run(&count).expect("they run");
        assert_eq!(done.into_inner(), 32);
        let order: Vec<_> = comparison
            .cells
            .iter()
            .map(|cell| (&*cell.problem, cell.parallel, cell.trials, &*cell.sampler))
            .collect();
        assert_eq!(order.len(), 16);
        assert_eq!(
            order[..5],
            [
                ("branin", 8, 25, "tpe"),
                ("branin", 8, 25, "random"),
                ("branin", 8, 30, "tpe"),
                ("branin", 8, 30, "random"),
                ("branin", 3, 25, "tpe"),
            ]
        );
        for cell in &comparison.cells {
            let stored = (cell.parallel, cell.trials) == (8, 25);
            assert_eq!(cell.versus.is_some(), stored, "{cell:?}");
            assert_eq!(cell.optuna_tpe.is_some() && cell.optuna_tpe_classic.is_some(), stored, "{cell:?}");
            assert!(cell.regret.q1 >= 0.0 && cell.regret.q1 <= cell.regret.q3, "{cell:?}");
        }
        let versus = comparison.cells[0].versus.as_ref().expect("stored");
        assert_eq!(versus.reference, "tpe", "a sampler is compared with its namesake");
        let names: Vec<&str> = comparison.samplers.iter().map(|standing| &*standing.sampler).collect();
        assert_eq!(names, ["tpe", "random", "optuna tpe", "optuna tpe_classic"]);
        let ranks = comparison.samplers.iter().filter_map(|standing| standing.mean_rank);
        assert_eq!(ranks.sum::<f64>(), 10.0);
        assert_eq!(comparison.samplers[0].compared, 2);
    }

    #[test]
    fn threads_change_nothing() {
        let run = |threads| {
            let comparison = plan(&["branches"], &["auto", "sobol"], threads).run(&|_| {}).expect("they run");
            serde_json::to_string(&comparison).expect("JSON")
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn samplers_that_learn_find_more() {
        let mut plan = plan(&["branin"], &["auto", "random"], 2);
        (plan.parallel, plan.trials) = (vec![1], vec![50]);
        let cells = plan.run(&|_| {}).expect("they run").cells;
        assert!(cells[0].regret.median < 0.1 * cells[1].regret.median, "{cells:?}");
        assert!(cells[0].versus.as_ref().is_some_and(|versus| versus.less), "{cells:?}");
    }

    #[test]
    fn a_cell_says_how_sure_it_is() {
        let versus = |regrets: &[f64], rivals: &[f64]| {
            let median = |sample| Quartiles::of(sample).map_or(f64::NAN, |quartiles| quartiles.median);
            Versus::new("tpe", median(regrets), median(rivals), regrets, rivals)
        };
        let (low, high) = ([1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]);
        let better = versus(&low, &high);
        assert!(better.less && better.p_worse > 0.99, "{better:?}");
        let worse = versus(&high, &low);
        assert!(!worse.less && worse.p_worse < 0.01, "{worse:?}");
        let perfect = versus(&[0.0; 5], &[0.0; 5]);
        assert_eq!((perfect.ratio, perfect.less, perfect.p_worse), (None, false, 1.0));
    }

    #[test]
    fn equal_sums_in_another_order_are_equal() {
        assert_eq!(rounded(0.1 + 0.2), rounded(0.3));
        assert_eq!(rounded(1.234_567_894_9e-7), 1.234_567_89e-7);
        assert_eq!(rounded(0.0), 0.0);
    }
}
