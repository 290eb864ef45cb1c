//! Files that come to be under a temporary name, written by one process at a time, and are then renamed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Opens or creates `path` for reading and writing, and waits until no other process holds it. A process that died
/// leaves its bytes behind but no lock.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    loop {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        // The holder before may have renamed the file: then what is locked here is somebody's finished file.
        if is_still_at(path, &file)? {
            return Ok(file);
        }
    }
}

/// Makes the file durable, then gives it its final name.
pub(crate) fn publish(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn is_still_at(path: &Path, file: &File) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_published_file_is_never_handed_out_for_writing_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (part, target) = (folder.path().join("x.part"), folder.path().join("x"));
        let mut first = lock(&part).expect("free");
        first.write_all(b"whole").expect("written");
        let waiting = std::thread::spawn({
            let part = part.clone();
            move || lock(&part).expect("free in the end")
        });
        publish(&first, &part, &target).expect("renamed");
        drop(first);
        let second = waiting.join().expect("no panic");
        assert_eq!(second.metadata().expect("open").len(), 0);
        assert_eq!(fs::read(&target).expect("there"), b"whole");
    }
}
