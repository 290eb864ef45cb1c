//! Looks at a path before anything is opened for writing: a file that is refused stays as it is.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::{Fault, StoreError};
use super::kept;
use super::schema;

/// Files up to this size are looked through before they are written to, which takes about a tenth of a second.
const LOOKED_THROUGH: u64 = 16 << 20;

/// How long to wait for another program's short lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No file.
    Nothing,
    /// A file without content.
    Empty,
    /// A change that a crash cut off has to be taken back first, which only a writer may do.
    Interrupted,
    /// A database of ours.
    Version(u32),
}

/// The absolute path behind `path`, with links resolved, so that two names of one file are one.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let access = |source| StoreError::Access { path: path.to_owned(), action: "read", source };
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other.map_err(access),
    }
    let Some(name) = path.file_name() else {
        return Err(StoreError::NotADatabase { path: path.to_owned(), what: "no name of a file" });
    };
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    match fs::canonicalize(folder) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(StoreError::NoFolder { path: path.to_owned(), folder: folder.to_owned() })
        }
        Err(error) => Err(access(error)),
    }
}

/// Says what the file `real` is, which the user calls `path`; refuses what is no database that we know.
pub(super) fn inspect(real: &Path, path: &Path) -> Result<Found, StoreError> {
    let other = |what| StoreError::NotADatabase { path: path.to_owned(), what };
    let access = |source| StoreError::Access { path: path.to_owned(), action: "read", source };
    let kind = match fs::metadata(real) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        other => other.map_err(access)?,
    };
    if kind.is_dir() {
        return Err(other("a folder"));
    }
    if !kind.is_file() {
        return Err(other("no ordinary file"));
    }
    if kind.len() == 0 {
        return Ok(Found::Empty);
    }
    let header = kept::header(real).map_err(access)?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(other("some other file"));
    }
    let whole = header_size(&header).is_some_and(|size| kind.len() >= size);
    if !whole && !has_journal(real) {
        let what = format!("it is cut short at {} bytes", kind.len());
        return Err(StoreError::Damaged { path: path.to_owned(), what });
    }
    version(real, path)
}

/// The size that the header claims; none if the header is cut. See <https://sqlite.org/fileformat2.html>, 1.3.
fn header_size(header: &[u8]) -> Option<u64> {
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_be_bytes(bytes)))
    };
    let page = match u16::from_be_bytes(header.get(16..18)?.try_into().ok()?) {
        1 => 65536,
        size => u64::from(size),
    };
    // Before version 3.7.0 SQLite wrote no size: then these two numbers differ.
    let pages = if number(24)? == number(92)? { number(28)? } else { 1 };
    Some(page * pages)
}

/// Whether something is still to be brought into the file, which may be shorter until then.
fn has_journal(real: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let mut name = OsString::from(real);
        name.push(suffix);
        fs::metadata(name).is_ok_and(|file| file.len() > 0)
    })
}

/// The version as SQLite sees it, which may stand in the write-ahead log only.
fn version(real: &Path, path: &Path) -> Result<Found, StoreError> {
    let ask = || -> Result<(i32, u32, u32), Fault> {
        let db = connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let tx = db.unchecked_transaction()?;
        let number = |pragma| tx.pragma_query_value(None, pragma, |row| row.get(0));
        let tables = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let application = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
        Ok((application, number("user_version")?, tables))
    };
    let (application, version, tables) = match ask() {
        Err(Fault::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
            return Ok(Found::Interrupted);
        }
        other => other.map_err(|fault| fault.at(path))?,
    };
    if application != schema::APPLICATION {
        let unused = application == 0 && tables == 0 && version == 0;
        let what = "the SQLite database of another program";
        return if unused {
            Ok(Found::Empty)
        } else {
            Err(StoreError::NotADatabase { path: path.to_owned(), what })
        };
    }
    if version > schema::VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: schema::VERSION });
    }
    Ok(Found::Version(version))
}

/// Takes back what a crash cut off.
pub(super) fn recover(real: &Path) -> Result<(), Fault> {
    let db = connect(real, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    Ok(db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?)
}

/// Refuses a file whose pages do not fit together: SQLite alone may pass over what is lost. What a large file lacks is
/// noticed when it is read.
pub(super) fn look_through(real: &Path) -> Result<(), Fault> {
    if !fs::metadata(real).is_ok_and(|file| (1..=LOOKED_THROUGH).contains(&file.len())) {
        return Ok(());
    }
    let db = connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Fault::Damaged(found)) }
}

/// Opens the file `real` as it is.
pub(super) fn connect(real: &Path, access: OpenFlags) -> Result<Connection, Fault> {
    let db = Connection::open_with_flags(real, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(PATIENCE)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
