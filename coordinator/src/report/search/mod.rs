//! Pictures of a search.

mod contour;
mod curves;
mod head;
mod history;
mod importance;
mod parallel;
mod pruned;
mod slices;
mod timeline;
mod variable;

#[cfg(test)]
mod tests;

use foldwise_shared::ids::TrialNumber;
use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{AttemptRecord, DecisionRecord, EpochRecord, StudyRecord, TrialRecord};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::{Direction, TrialState};

pub use self::curves::drawn_trials;
pub(super) use self::head::duration;
use self::variable::{Variable, variables};
use super::Section;

/// All that the pictures of a search are made of.
#[derive(Debug, Clone)]
pub struct Search {
    /// The study.
    pub study: StudyRecord,
    /// Its spec.
    pub spec: StudySpec,
    /// All trials, by number.
    pub trials: Vec<TrialRecord>,
    /// Why trials were pruned, in the order in which they were.
    pub decisions: Vec<DecisionRecord>,
    /// All attempts with their trials.
    pub attempts: Vec<(TrialNumber, AttemptRecord)>,
    /// The live epochs of the trials of [`drawn_trials`], by trial, fold and epoch.
    pub curves: Vec<EpochRecord>,
    /// What it cost.
    pub ledger: Ledger,
    /// The command that makes the page again; empty for a study that is only a part of it.
    pub command: String,
    /// What the names of its files begin with, so that those of two studies differ.
    pub prefix: String,
}

/// A complete trial with its value.
#[derive(Clone, Copy)]
struct Done<'a> {
    trial: &'a TrialRecord,
    value: f64,
}

/// Width of a picture that stands alone.
pub(super) const WIDTH: f64 = 820.0;
/// Points of a picture at most, so that a page of many trials can still be opened.
const POINTS: usize = 2_500;

impl Search {
    /// The complete trials, by number.
    fn done(&self) -> Vec<Done<'_>> {
        let complete = self.trials.iter().filter(|trial| trial.state == TrialState::Complete);
        let done = complete.filter_map(|trial| Some(Done { trial, value: trial.value? }));
        done.filter(|done| done.value.is_finite()).collect()
    }

    fn minimizes(&self) -> bool {
        self.study.direction == Direction::Minimize
    }

    /// The sections of the page about the search.
    pub fn sections(&self) -> Vec<Section> {
        let variables = variables(&self.spec, &self.trials);
        let shares = importance::shares(self, &variables);
        let mut values = Section::new("Values");
        values.push(history::picture(self));
        values.push(parallel::picture(self, &variables));
        let mut params = Section::new("Params");
        params.push(importance::picture(&variables, shares.as_deref()));
        params.pictures.extend(slices::pictures(self, &variables, shares.as_deref()));
        params.pictures.extend(contour::pictures(self, &variables, shares.as_deref()));
        let mut curves = Section::new("Learning curves");
        curves.push(curves::picture(self));
        let pruned = pruned::section(self);
        let mut workers = Section::new("Workers");
        workers.push(timeline::picture(self));
        let sections = [head::section(self), values, params, curves, pruned, workers];
        let mut sections: Vec<Section> = sections.into_iter().filter(|section| !section.is_empty()).collect();
        for section in &mut sections {
            let pictures = section.pictures.iter_mut().map(|picture| &mut picture.name);
            let tables = section.tables.iter_mut().map(|shown| &mut shown.name);
            pictures.chain(tables).for_each(|name| name.insert_str(0, &self.prefix));
        }
        sections
    }
}

/// At most so many, the first ones and every n-th of the others.
fn thinned<T: Copy>(all: &[T], first: usize, count: usize) -> Vec<T> {
    if all.len() <= count {
        return all.to_vec();
    }
    let first = first.min(count);
    let (head, tail) = all.split_at(first);
    let step = tail.len() as f64 / (count - first).max(1) as f64;
    let others = (0..count - first).filter_map(|at| tail.get((at as f64 * step) as usize));
    head.iter().chain(others).copied().collect()
}
