//! The corpus of a fuzz target as an ordinary test: every file goes through the same function.

use std::fs;
use std::path::{Path, PathBuf};

/// Feeds every file of `corpus/<target>` to `check`.
pub fn run(target: &str, check: fn(&[u8])) {
    let folder = top().join("deploy/fuzz/corpus").join(target);
    let files = files(&folder);
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // What a panic says, it says of this file.
        eprintln!("{}", file.display());
        check(&fs::read(&file).expect("a file of the corpus"));
    }
}

/// The files of a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The repository.
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = here.ancestors().find(|folder| folder.join("deploy/fuzz/corpus").is_dir());
    top.expect("the repository").to_owned()
}
