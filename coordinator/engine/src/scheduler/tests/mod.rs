//! Tests of the scheduler: a simulated cluster under faults with invariants that are checked after every event, and
//! small scenarios.

mod askers;
mod cluster;
mod faults;
mod invariants;
mod plan;
mod process;
mod scenario;
mod simulation;
mod store;

mod scenarios_census;
mod scenarios_external;
mod scenarios_faults;
mod scenarios_folds;
mod scenarios_studies;
