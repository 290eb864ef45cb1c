//! The lock file beside a database: one coordinator at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;

/// The right to write a database; given back on drop, or by the system when the process dies.
pub(super) struct Lock {
    /// Open, and locked, as long as this lives.
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock `NAME.lock` of the database `real`, which the user calls `path`.
    pub fn take(real: &Path, path: &Path) -> Result<Self, StoreError> {
        let access = |source| StoreError::Access { path: path.to_owned(), action: "write beside", source };
        let lock_path = lock_path(real);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&lock_path)
                .map_err(access)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StoreError::Held { path: path.to_owned(), process: read_process(&mut file) });
                }
                Err(error) => return Err(access(error.into())),
            }
            // The holder before us removes the file when it ends: then we hold the lock of a file that is no more.
            if !is_still_there(&file, &lock_path).map_err(access)? {
                continue;
            }
            // Only for the message of those who come later; a full disk is no reason to refuse.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            return Ok(Self { _file: file, path: lock_path });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that nobody's lock is removed but ours.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    name.into()
}

fn read_process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        let first = Lock::take(&database, &database).expect("free");
        match Lock::take(&database, &database) {
            Err(StoreError::Held { process, .. }) => assert_eq!(process, Some(std::process::id())),
            other => panic!("a second lock: {:?}", other.err()),
        }
        drop(first);
        assert!(!lock_path(&database).exists());
        Lock::take(&database, &database).expect("free again");
    }

    #[test]
    fn a_file_left_behind_is_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        fs::write(lock_path(&database), "4000000000\n").expect("written");
        let _lock = Lock::take(&database, &database).expect("nobody holds it");
        assert_eq!(
            fs::read_to_string(lock_path(&database)).expect("read"),
            format!("{}\n", std::process::id())
        );
    }
}
