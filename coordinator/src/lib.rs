//! The coordinator: the loop around the engine, the store, the services, and the command line.
//!
//! Invariant: libtorch is nowhere here; a head node needs none.

pub mod store;

pub mod artifacts;

pub mod model_file;

pub mod hindsight;

pub mod metrics;

pub mod coordinator;

pub mod server;

pub mod local;

mod open_files;

pub mod report;

pub mod bench;

pub mod cli;
