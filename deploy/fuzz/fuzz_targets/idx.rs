//! IDX files of images and of labels, plain and gzipped.
#![no_main]

#[path = "../targets/idx.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
