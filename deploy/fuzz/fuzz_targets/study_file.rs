//! The study file and its overrides.
#![no_main]

#[path = "../targets/study_file.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
