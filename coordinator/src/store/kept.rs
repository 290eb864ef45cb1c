//! The first bytes of a database, read without ever closing it.
//!
//! POSIX takes all locks that a process has on a file as soon as the process closes any descriptor of it, those of SQLite's
//! own connections too (<https://sqlite.org/howtocorrupt.html>, 2.2). Another program that then leaves the database takes itself
//! for the last one, and removes the write-ahead log under the coordinator's hands. So a descriptor is kept for each database
//! that was looked at, until the process ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// By device and inode, which stay its own for as long as it is open.
static KEPT: Mutex<BTreeMap<(u64, u64), File>> = Mutex::new(BTreeMap::new());

/// The first 100 bytes of a file, or as many as it has.
///
/// # Errors
/// It cannot be opened or read.
pub(super) fn header(real: &Path) -> io::Result<Vec<u8>> {
    let key = |found: fs::Metadata| (found.dev(), found.ino());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = kept.get(&key(fs::metadata(real)?)) {
        return first(file);
    }
    let file = File::open(real)?;
    let found = key(file.metadata()?);
    // Replaced meanwhile by one that is kept already: that one stays open, and so does this.
    if let Some(double) = kept.insert(found, file) {
        std::mem::forget(double);
    }
    kept.get(&found).map_or_else(|| Ok(Vec::new()), first)
}

fn first(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 100];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
