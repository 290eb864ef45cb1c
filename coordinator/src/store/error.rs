//! What can go wrong with a database, in words for the person who named it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the database could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is there.
    #[error("there is no database `{path}`; `foldwise run FILE --db {path}` makes one")]
    NotFound {
        /// What was to be opened.
        path: PathBuf,
    },
    /// A file is there, but nothing was ever recorded in it.
    #[error("`{path}` is empty; `foldwise run FILE --db {path}` makes a database of it")]
    Empty {
        /// What was to be opened.
        path: PathBuf,
    },
    /// The folder it would lie in is not there.
    #[error("cannot make the database `{path}`: there is no folder `{folder}`; create it first")]
    NoFolder {
        /// What was to be opened.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// Something else is there.
    #[error("`{path}` is {what}, not a Foldwise database; name another path")]
    NotADatabase {
        /// What was to be opened.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A later version of Foldwise wrote it.
    #[error(
        "`{path}` has schema version {found}, this Foldwise knows versions up to {known}; \
         use the newer Foldwise that wrote it"
    )]
    Newer {
        /// What was to be opened.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An earlier version of Foldwise wrote it, and a reader changes nothing.
    #[error(
        "`{path}` has schema version {found}, this Foldwise reads version {known}; \
         `foldwise serve --db {path}` brings it up to date"
    )]
    Older {
        /// What was to be opened.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A crash cut off a change, and a reader takes nothing back.
    #[error("`{path}` was left in the middle of a change; `foldwise serve --db {path}` puts it right")]
    Interrupted {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It lies where locks and shared memory cannot be trusted.
    #[error(
        "`{path}` lies on a network file system ({kind}), where a database can be damaged; \
         use a path on a local disk"
    )]
    Network {
        /// What was to be opened.
        path: PathBuf,
        /// The type of the file system.
        kind: String,
    },
    /// It must not be read or written.
    #[error(
        "cannot {action} `{path}`: {source}; check the permissions of the file and its folder, or name another path"
    )]
    Access {
        /// What was to be opened.
        path: PathBuf,
        /// `read` or `write`.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another coordinator works on it.
    #[error("`{path}` is in use by another coordinator{}; stop that one, or name another path", holder(*.process))]
    Held {
        /// What was to be opened.
        path: PathBuf,
        /// Its process, where it is known.
        process: Option<u32>,
    },
    /// Another program holds SQLite's own lock.
    #[error("`{path}` is locked by another program; end its transaction (an open `sqlite3` shell, perhaps)")]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// No room.
    #[error("`{path}` cannot grow: the disk is full; nothing of the last change was kept; free some space")]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Its content makes no sense.
    #[error("`{path}` is damaged: {what}; restore it from a copy, or name another path")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The write-ahead log beside it is not what it should be.
    #[error(
        "`{log}` {what}; it may hold what was recorded last in `{path}`: restore both from a copy, or move the log \
         away to go on with what `{path}` holds by itself"
    )]
    Log {
        /// The database.
        path: PathBuf,
        /// The log.
        log: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A change that cannot follow on what is recorded.
    #[error("a change does not fit the record in `{path}`: {what}; nothing of it was kept")]
    Inconsistent {
        /// The database.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Anything else.
    #[error("`{path}`: {source}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether the path that was given is at fault (exit code 2), not what happened on the way (1).
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Empty { .. }
            | Self::NoFolder { .. }
            | Self::NotADatabase { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Network { .. }
            | Self::Access { .. } => true,
            Self::Interrupted { .. }
            | Self::Held { .. }
            | Self::Busy { .. }
            | Self::Full { .. }
            | Self::Damaged { .. }
            | Self::Log { .. }
            | Self::Inconsistent { .. }
            | Self::Sqlite { .. } => false,
        }
    }

    /// Whether it may be gone after a while, by what a person or the machine does meanwhile: a full disk, another
    /// program's lock, a file system that went away.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Busy { .. } | Self::Access { .. } => true,
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                        | ErrorCode::FileLockingProtocolFailed
                        | ErrorCode::OperationInterrupted
                )
            ),
            Self::NotFound { .. }
            | Self::Empty { .. }
            | Self::NoFolder { .. }
            | Self::NotADatabase { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Interrupted { .. }
            | Self::Network { .. }
            | Self::Held { .. }
            | Self::Damaged { .. }
            | Self::Log { .. }
            | Self::Inconsistent { .. } => false,
        }
    }
}

fn holder(process: Option<u32>) -> String {
    process.map(|id| format!(" (process {id})")).unwrap_or_default()
}

/// What went wrong inside, before the path is known.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Damaged(String),
    Inconsistent(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    /// The same with the path, and in our words where there are some.
    pub fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        let error = match self {
            Self::Damaged(what) => return StoreError::Damaged { path, what },
            Self::Inconsistent(what) => return StoreError::Inconsistent { path, what },
            Self::Sqlite(error) => error,
        };
        match (&error, error.sqlite_error_code()) {
            (_, Some(ErrorCode::NotADatabase)) => StoreError::NotADatabase { path, what: "some other file" },
            (_, Some(ErrorCode::DatabaseCorrupt)) => StoreError::Damaged { path, what: error.to_string() },
            (_, Some(ErrorCode::DiskFull)) => StoreError::Full { path },
            (_, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => StoreError::Busy { path },
            (_, Some(ErrorCode::ConstraintViolation)) => {
                StoreError::Inconsistent { path, what: error.to_string() }
            }
            (_, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)) => {
                StoreError::Access { path, action: "open", source: io::Error::other(error.to_string()) }
            }
            (
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..),
                _,
            ) => StoreError::Damaged { path, what: error.to_string() },
            _ => StoreError::Sqlite { path, source: error },
        }
    }
}
