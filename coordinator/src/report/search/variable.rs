//! The params of a search as axes.

use std::collections::BTreeSet;

use foldwise_shared::record::TrialRecord;
use foldwise_shared::space::Domain;
use foldwise_shared::spec::StudySpec;
use foldwise_shared::state::Origin;
use foldwise_shared::value::ParamValue;

use crate::report::importance::{Column, Kind};
use crate::report::plot::{Scale, clip};

/// A param that differs between trials.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    /// Its name.
    pub name: String,
    /// Its axis.
    pub axis: Scale,
    /// The values of the bands, if it has some.
    choices: Vec<ParamValue>,
    /// Whether workers found it: then it is no reason of anything, and no dimension of the sampler.
    pub is_derived: bool,
}

/// The params that are searched, in the order of their names, then those that workers found.
pub(super) fn variables(spec: &StudySpec, trials: &[TrialRecord]) -> Vec<Variable> {
    let searched = spec.space.0.iter().filter(|(_, param)| param.domain.cardinality() != Some(1));
    let mut all: Vec<Variable> =
        searched.filter_map(|(name, param)| Variable::searched(name, &param.domain)).collect();
    let derived: BTreeSet<&String> = trials
        .iter()
        .flat_map(|trial| trial.origins.iter().filter(|(_, origin)| **origin == Origin::Derived))
        .map(|(name, _)| name)
        .collect();
    for name in derived {
        if all.iter().any(|known| known.name == *name) {
            continue;
        }
        let values = trials.iter().filter_map(|trial| trial.params.get(name)?.as_f64());
        all.push(Variable {
            name: name.clone(),
            axis: Scale::around(values, true),
            choices: Vec::new(),
            is_derived: true,
        });
    }
    all
}

impl Variable {
    fn searched(name: &str, domain: &Domain) -> Option<Self> {
        let mut choices = Vec::new();
        let axis = match domain {
            Domain::Float { low, high, log: true, .. } => Scale::Log { low: *low, high: *high },
            Domain::Float { low, high, .. } => Scale::Linear { low: *low, high: *high },
            Domain::Int { low, high, log: true, .. } => Scale::Log { low: *low as f64, high: *high as f64 },
            Domain::Int { low, high, .. } => Scale::Whole { low: *low as f64, high: *high as f64 },
            Domain::Choice(values) => {
                choices.clone_from(values);
                Scale::Bands(labels(values))
            }
            Domain::Bool => {
                choices = vec![ParamValue::Bool(false), ParamValue::Bool(true)];
                Scale::Bands(labels(&choices))
            }
            Domain::Fixed(_) => return None,
        };
        Some(Self { name: name.to_owned(), axis, choices, is_derived: false })
    }

    /// The value of a trial on the axis: a number, or the index of a choice.
    pub fn value(&self, trial: &TrialRecord) -> Option<f64> {
        let value = trial.params.get(&self.name)?;
        match self.axis {
            Scale::Bands(_) => self.choices.iter().position(|choice| choice == value).map(|at| at as f64),
            _ => value.as_f64(),
        }
    }

    /// The names of its choices; none for a number.
    pub fn names(&self) -> Option<&[String]> {
        match &self.axis {
            Scale::Bands(names) => Some(names),
            _ => None,
        }
    }

    /// The axis with a little room at both ends, so that points at the bounds are whole.
    pub fn roomy(&self) -> Scale {
        let value = |place: f64| self.axis.value(place);
        match &self.axis {
            Scale::Linear { .. } => Scale::Linear { low: value(-0.04), high: value(1.04) },
            Scale::Whole { .. } => Scale::Whole { low: value(-0.04), high: value(1.04) },
            Scale::Log { .. } => Scale::Log { low: value(-0.04), high: value(1.04) },
            bands => bands.clone(),
        }
    }

    /// Its values over trials, for the importance.
    pub fn column<'a>(&self, trials: impl Iterator<Item = &'a TrialRecord>) -> Column {
        let kind = match &self.axis {
            Scale::Bands(names) => Kind::Category(names.len()),
            _ => Kind::Number,
        };
        let of = |trial: &TrialRecord| {
            let value = self.value(trial)?;
            Some(if kind == Kind::Number { self.axis.place(value).clamp(0.0, 1.0) } else { value })
        };
        Column { kind, values: trials.map(of).collect() }
    }

    /// The choices whose names at a tick are cut short, in full.
    pub fn long_names(&self) -> Option<String> {
        let names = self.names()?;
        if !names.iter().any(|name| clip(name) != *name) && !self.choices.iter().any(is_long) {
            return None;
        }
        let all: Vec<String> =
            names.iter().zip(&self.choices).map(|(name, choice)| format!("{name} is {choice}")).collect();
        Some(format!("{}: {}", self.name, all.join("; ")))
    }
}

fn is_long(choice: &ParamValue) -> bool {
    clip(&choice.to_string()) != choice.to_string()
}

/// A name for each choice: the value itself if all are short and differ, otherwise letters for the long ones.
fn labels(values: &[ParamValue]) -> Vec<String> {
    values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            if !is_long(value) {
                return value.to_string();
            }
            let letter = char::from(b'A' + (at % 26) as u8);
            let round = at / 26;
            if round == 0 { letter.to_string() } else { format!("{letter}{round}") }
        })
        .collect()
}
