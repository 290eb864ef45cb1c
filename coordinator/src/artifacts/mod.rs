//! The files that workers store: each whole or not at all, under its digest, in a folder beside the database.
//!
//! Invariant: a file has the content that its name says, and a row of the database that refers to it has a file.
//! Invariant: no name leads out of the folder, and no link in it is followed.

mod error;
mod incoming;
mod janitor;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldwise_proto::MAX_ARTIFACT;
use foldwise_shared::artifact::Artifact;
use foldwise_shared::checkpoint::is_digest;
use rustix::fs::OFlags;

pub use self::error::ArtifactError;
pub use self::incoming::{Arrived, Incoming};
pub(crate) use self::janitor::Janitor;
use crate::store::{Reader, StoreError};

/// What follows the name of a database.
const FOLDER: &str = ".artifacts";
/// What follows the digest of a file that is not whole yet; something that is no digest.
const PART: &str = ".part-";

/// The artifacts of one database.
#[derive(Debug)]
pub struct Artifacts {
    folder: PathBuf,
    /// For the question whether anything refers to a file.
    database: PathBuf,
    limit: u64,
    /// How many uploads of a digest are not done yet, their answers included: nothing of that digest is removed meanwhile.
    busy: Mutex<BTreeMap<String, u32>>,
}

impl Artifacts {
    /// The artifacts of a database that is there. Files above `limit` bytes are refused. The folder is made when the first
    /// file comes.
    pub fn of(database: &Path, limit: Option<u64>) -> Self {
        let real = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let mut folder = OsString::from(&real);
        folder.push(FOLDER);
        let limit = limit.unwrap_or(MAX_ARTIFACT);
        Self { folder: folder.into(), database: real, limit, busy: Mutex::default() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, digest: &str) -> Result<PathBuf, ArtifactError> {
        if is_digest(digest) { Ok(self.folder.join(digest)) } else { Err(ArtifactError::NoDigest) }
    }

    /// A file to read, and its length.
    ///
    /// # Errors
    /// It is not there, or no ordinary file.
    pub fn open(&self, digest: &str) -> Result<(File, u64), ArtifactError> {
        let path = self.path(digest)?;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let file = file.map_err(|source| ArtifactError::Unreadable { digest: digest.to_owned(), source })?;
        let kind = file.metadata();
        let kind = kind.map_err(|source| ArtifactError::Unreadable { digest: digest.to_owned(), source })?;
        if !kind.is_file() {
            let source = std::io::Error::new(ErrorKind::InvalidData, "it is no ordinary file");
            return Err(ArtifactError::Unreadable { digest: digest.to_owned(), source });
        }
        Ok((file, kind.len()))
    }

    /// The content of a file of which so many bytes are recorded.
    ///
    /// # Errors
    /// It is not there, no ordinary file, or of another length.
    pub fn read(&self, digest: &str, recorded: u64) -> Result<Vec<u8>, ArtifactError> {
        let (file, found) = self.open(digest)?;
        let wrong = |found| ArtifactError::Length { digest: digest.to_owned(), found, recorded };
        if found != recorded {
            return Err(wrong(found));
        }
        let mut bytes = Vec::new();
        let read = file.take(recorded).read_to_end(&mut bytes);
        let read = read.map_err(|source| ArtifactError::Unreadable { digest: digest.to_owned(), source })?;
        if read as u64 == recorded { Ok(bytes) } else { Err(wrong(read as u64)) }
    }

    /// A new file of that digest and length, which comes piece by piece.
    ///
    /// # Errors
    /// It is no digest, too long, or the folder cannot be written.
    pub fn receive(self: &Arc<Self>, digest: &str, bytes: u64) -> Result<Incoming, ArtifactError> {
        self.path(digest)?;
        if bytes > self.limit {
            return Err(ArtifactError::TooLarge { bytes, limit: self.limit });
        }
        Incoming::begin(Arc::clone(self), digest, bytes)
    }

    /// Puts a whole file there; as long as what is given back lives, it is not removed.
    ///
    /// # Errors
    /// As [`Self::receive`], and a disk that is full, for example.
    pub fn put(self: &Arc<Self>, file: &Artifact, content: &[u8]) -> Result<Arrived, ArtifactError> {
        let mut incoming = self.receive(&file.digest, file.bytes)?;
        incoming.write(content)?;
        incoming.finish()
    }

    /// Removes a file unless a row refers to it or it is just coming in.
    fn remove_unless_needed(&self, reader: &Reader, digest: &str) -> Result<(), ArtifactError> {
        let path = self.path(digest)?;
        // Held until it is gone: an upload of the same digest waits for that.
        let busy = self.busy();
        if busy.contains_key(digest) || reader.refers_to_artifact(digest)? {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(ArtifactError::Unremovable { path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// As [`Self::remove_unless_needed`], with a look at the database of its own. Trouble is logged: at the next start the
    /// folder is swept.
    fn tidy(&self, digests: &[String]) {
        let reader = match self.reader() {
            Ok(reader) => reader,
            Err(error) => return tracing::warn!(%error, "artifacts are not removed before the next start"),
        };
        for digest in digests {
            if let Err(error) = self.remove_unless_needed(&reader, digest) {
                tracing::warn!(%error, "an artifact is not removed before the next start");
            }
        }
    }

    fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.database)
    }

    /// Removes what an earlier coordinator left: files that were not whole, and those that nothing refers to.
    fn sweep(&self) -> Result<(), ArtifactError> {
        let unreadable = |source| ArtifactError::Folder { path: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(unreadable)?,
        };
        let reader = self.reader()?;
        let known = reader.artifact_digests()?;
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            // What has another name was put there by somebody else, who may want it.
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if let Some((digest, _)) = name.split_once(PART).filter(|(digest, _)| is_digest(digest)) {
                let busy = self.busy();
                if !busy.contains_key(digest) {
                    let path = entry.path();
                    fs::remove_file(&path).map_err(|source| ArtifactError::Unremovable { path, source })?;
                }
            } else if is_digest(&name) && !known.contains(&name) {
                self.remove_unless_needed(&reader, &name)?;
            }
        }
        Ok(())
    }

    fn busy(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
