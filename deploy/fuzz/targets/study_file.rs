//! What a study file may do to those who read it: nothing but be refused in words, or be read.

use foldwise_shared::spec::{StudySpec, differences, parse};

/// Lines that begin with this are overrides, the others are the file.
const OVERRIDE: &str = "--set ";

/// Reads `bytes` as a study file with overrides, and as a stored spec.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (sets, lines): (Vec<&str>, Vec<&str>) = text.split('\n').partition(|line| line.starts_with(OVERRIDE));
    let overrides: Vec<String> = sets.iter().map(|line| line[OVERRIDE.len()..].to_owned()).collect();
    let file = lines.join("\n");
    match parse(&file, &overrides) {
        Ok(spec) => check_stored(&spec),
        Err(error) => {
            assert!(!error.to_string().trim().is_empty(), "an error without words");
            assert!(
                error.line.is_none_or(|line| (1..=lines.len()).contains(&line)),
                "a line that is not there"
            );
        }
    }
    // What a coordinator stores and a worker is sent; nobody has checked it as a study file is checked.
    if let Ok(spec) = StudySpec::from_json(text) {
        check_stored(&spec);
    }
}

/// What is stored is what was read.
fn check_stored(spec: &StudySpec) {
    let json = spec.to_json();
    match StudySpec::from_json(&json) {
        Ok(again) => {
            assert_eq!(&again, spec, "stored as {json}");
            assert!(differences(&again, spec).is_empty(), "a difference between a spec and itself");
        }
        Err(error) => panic!("{json} cannot be read: {error}"),
    }
}
