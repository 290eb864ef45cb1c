//! Tests of the scheduler: a simulated cluster under faults with invariants that are checked after every event, and
//! small scenarios.

mod askers;
mod cluster;
mod faults;
mod invariants;
mod people;
mod plan;
mod process;
mod scenario;
mod simulation;
mod store;

mod scenarios_census;
mod scenarios_external;
mod scenarios_faults;
mod scenarios_fleet;
mod scenarios_folds;
mod scenarios_found;
mod scenarios_living;
mod scenarios_studies;
