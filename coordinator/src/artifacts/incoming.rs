//! A file that comes in piece by piece, and is there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{ArtifactError, Artifacts, PART};

/// An artifact of which not all has come. Dropping it removes what has.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    hash: Sha256,
    part: Part,
    busy: Busy,
    bytes: u64,
}

/// An artifact that is there; as long as this lives, it is not removed.
#[derive(Debug)]
pub struct Arrived {
    busy: Busy,
}

/// A temporary file, gone when this is.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After it was renamed there is none; else the next start removes it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Says of a digest that it is coming in.
#[derive(Debug)]
struct Busy {
    artifacts: Arc<Artifacts>,
    digest: String,
}

impl Busy {
    fn with(artifacts: Arc<Artifacts>, digest: &str) -> Self {
        *artifacts.busy().entry(digest.to_owned()).or_default() += 1;
        Self { artifacts, digest: digest.to_owned() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.artifacts.busy();
        if let Some(count) = busy.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.digest);
            }
        }
    }
}

impl Incoming {
    pub(super) fn begin(artifacts: Arc<Artifacts>, digest: &str, bytes: u64) -> Result<Self, ArtifactError> {
        let folder = artifacts.folder.clone();
        // Others on this machine have no business in it.
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ArtifactError::Folder { path: folder, source: error });
            }
            _ => {}
        }
        let busy = Busy::with(artifacts, digest);
        let part = folder.join(format!("{digest}{PART}{}", uuid::Uuid::new_v4().simple()));
        // New, so that no link that lies there is followed.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(|source| ArtifactError::Unwritable { folder, bytes, source })?;
        Ok(Self { file, hash: Sha256::new(), part: Part(part), busy, bytes })
    }

    /// The next piece.
    ///
    /// # Errors
    /// The disk is full, for example.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), ArtifactError> {
        self.hash.update(piece);
        self.file.write_all(piece).map_err(|source| self.unwritable(source))
    }

    /// All has come: gives the file its name once it is durable.
    ///
    /// # Errors
    /// It is not what was said, or cannot be written.
    pub fn finish(self) -> Result<Arrived, ArtifactError> {
        let found: String = self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let said = &self.busy.digest;
        if found != *said {
            return Err(ArtifactError::Digest { said: said.clone(), found });
        }
        let length = self.file.metadata().map_err(|source| self.unwritable(source))?.len();
        if length != self.bytes {
            let source = io::Error::new(io::ErrorKind::InvalidData, format!("it has {length} bytes there"));
            return Err(self.unwritable(source));
        }
        let folder = self.busy.artifacts.folder();
        let settle = || {
            self.file.sync_all()?;
            fs::rename(&self.part.0, folder.join(said))?;
            File::open(folder)?.sync_all()
        };
        settle().map_err(|source| self.unwritable(source))?;
        Ok(Arrived { busy: self.busy })
    }

    fn unwritable(&self, source: io::Error) -> ArtifactError {
        let folder = self.busy.artifacts.folder().to_owned();
        ArtifactError::Unwritable { folder, bytes: self.bytes, source }
    }
}

impl Arrived {
    /// Nothing refers to it after all: it goes, unless something else does.
    pub fn withdraw(self) {
        let (artifacts, digest) = (Arc::clone(&self.busy.artifacts), self.busy.digest.clone());
        drop(self);
        artifacts.tidy(&[digest]);
    }
}
