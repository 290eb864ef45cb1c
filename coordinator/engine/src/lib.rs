//! Every decision of Foldwise as a pure function of what happened: which params a trial gets, who trains which
//! fold, when a trial is stopped and when a study ends. No I/O, no clock, no threads.
//!
//! The path through it: [`scheduler::Event`] -> [`scheduler::Scheduler::handle`] -> [`scheduler::Command`]; on the
//! way it asks a [`sampler`] for params and a [`pruner`] for its judgement. [`replay`] runs what was recorded through a pruner
//! once more.

pub mod sampler;

pub mod pruner;

pub mod scheduler;

pub mod replay;
