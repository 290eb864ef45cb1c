//! What the coordinator and the workers agree on: ids, words, the space, the study file, model settings and
//! shape arithmetic, seeds and splits. No I/O, no clock, no threads.

pub mod ids;
pub mod state;

pub mod value;

pub mod space;

pub mod model;

pub mod spec;

pub mod seed;

pub mod split;

pub mod decision;

pub mod record;

pub mod artifact;

pub mod checkpoint;

pub mod device;

pub mod external;

pub mod fleet;

pub mod ledger;
