//! What goes wrong with artifacts.

use std::io;
use std::path::PathBuf;

use foldwise_proto::convert::WireError;

use crate::store::StoreError;

/// Why an artifact is not stored or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// What should name it does not.
    #[error("an artifact is named by its SHA-256, in 64 lower-case hexadecimal digits")]
    NoDigest,
    /// Too many bytes.
    #[error("the artifact has {bytes} bytes; at most {limit} are taken (serve --max-artifact MIB)")]
    TooLarge {
        /// It has.
        bytes: u64,
        /// It may have.
        limit: u64,
    },
    /// What came is not what was said.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What came has another digest.
    #[error("what came has the SHA-256 {found}, not {said}")]
    Digest {
        /// It should have.
        said: String,
        /// It has.
        found: String,
    },
    /// The folder cannot be read or written.
    #[error("failed to use the folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written; nothing of it is left.
    #[error("failed to write an artifact of {bytes} bytes to {}: {source}", folder.display())]
    Unwritable {
        /// Where.
        folder: PathBuf,
        /// How long it is.
        bytes: u64,
        /// Why: a full disk, for example.
        source: io::Error,
    },
    /// A file is not there, or cannot be read.
    #[error("failed to read the artifact {digest}: {source}")]
    Unreadable {
        /// Which.
        digest: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not what is recorded of it.
    #[error("the file of the artifact {digest} has {found} bytes; {recorded} are recorded")]
    Length {
        /// Which.
        digest: String,
        /// It has.
        found: u64,
        /// It should have.
        recorded: u64,
    },
    /// A file cannot be removed.
    #[error("failed to remove {}: {source}", path.display())]
    Unremovable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What came is no model.
    #[error("{0}")]
    NoModel(String),
    /// Nothing in the database says that this worker may have it.
    #[error("{0}")]
    NotYours(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}
