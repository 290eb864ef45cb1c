//! Looks at a write-ahead log that a crash left behind, before SQLite applies it.
//!
//! SQLite takes a log up to its first frame that makes no sense, and drops the rest in silence: right for the torn end of
//! a last change that was never acknowledged, wrong for a log that was damaged later or belongs to another file.
//! See <https://sqlite.org/fileformat2.html>, 4.1 and 4.2.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::{kept, open};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The magic number; with 1 added, checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;

/// Refuses a log that SQLite would take for another one than it is. The caller holds the lock: nobody else writes.
///
/// # Errors
/// The log belongs to another file, or more of it is damaged than the end of the last change.
pub(super) fn check(real: &Path, path: &Path) -> Result<(), StoreError> {
    let log = log_path(real);
    let access = |source| StoreError::Access { path: log.clone(), action: "read", source };
    let file = match File::open(&log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(access)?,
    };
    let database = match kept::header(real) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        header => header.map_err(access)?,
    };
    let length = file.metadata().map_err(access)?.len();
    let mut problem = problem(&database, length, BufReader::with_capacity(1 << 16, file)).map_err(access)?;
    if problem.is_none() && length > HEADER as u64 && holds_another_record(real) {
        problem = Some("belongs to another database");
    }
    match problem {
        Some(what) => Err(StoreError::Log { path: path.to_owned(), log, what }),
        None => Ok(()),
    }
}

/// Whether the record begins otherwise with the log than without it: its first event is never changed.
fn holds_another_record(real: &Path) -> bool {
    let first = |db: Connection| -> rusqlite::Result<(i64, i64, String)> {
        db.query_row("SELECT seq, at, detail FROM event ORDER BY seq LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    };
    // Without the log the file may be in the middle of a change, or not begun: what cannot be read says nothing.
    let alone = alone(real).and_then(|db| first(db).ok());
    let together = open::connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY).ok().and_then(|db| first(db).ok());
    alone.is_some() && together.is_some() && alone != together
}

/// The file as if there were no log.
fn alone(real: &Path) -> Option<Connection> {
    let path = real.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{path}?immutable=1"), flags).ok()
}

fn log_path(real: &Path) -> PathBuf {
    let mut name = OsString::from(real);
    name.push("-wal");
    name.into()
}

/// What is wrong with a log of `length` bytes beside a file that begins with `database`.
fn problem(database: &[u8], length: u64, mut log: impl Read) -> io::Result<Option<&'static str>> {
    // The header is on the disk before anything follows it.
    if length <= HEADER as u64 {
        return Ok(None);
    }
    // Bytes 18 and 19 say that there is a log: they are written before its first byte, and taken back after its end.
    if database.get(18..20).is_none_or(|mode| mode != [2, 2]) {
        return Ok(Some("belongs to another file, or to another state of this one"));
    }
    let mut header = [0; HEADER];
    log.read_exact(&mut header)?;
    let page = match u16::from_be_bytes([database[16], database[17]]) {
        1 => 65_536,
        size => u32::from(size),
    };
    let big_endian = word(&header, 0) & 1 == 1;
    let mut sum = (0, 0);
    checksum(&mut sum, &header[..24], big_endian);
    if word(&header, 0) & !1 != MAGIC
        || word(&header, 4) != FORMAT
        || sum != (word(&header, 24), word(&header, 28))
    {
        return Ok(Some("is damaged at its start"));
    }
    if word(&header, 8) != page {
        return Ok(Some("belongs to another file"));
    }

    let mut frame = vec![0; FRAME_HEADER + page as usize];
    // Whether a frame that makes no sense was seen, and after it the end of a change.
    let (mut broken, mut ended) = (false, false);
    while read_whole(&mut log, &mut frame)? {
        // What an earlier round through the log left has another salt.
        let ours = frame[8..16] == header[16..24];
        if !broken {
            checksum(&mut sum, &frame[..8], big_endian);
            checksum(&mut sum, &frame[FRAME_HEADER..], big_endian);
            broken = !ours || sum != (word(&frame, 16), word(&frame, 20));
        }
        if broken && ours {
            // A change begins when the one before is on the disk: that one was not torn.
            if ended {
                return Ok(Some("is damaged in its middle"));
            }
            ended = word(&frame, 4) != 0;
        }
    }
    Ok(None)
}

/// Reads as much as `buffer` holds; false at the end.
fn read_whole(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

fn checksum((first, second): &mut (u32, u32), bytes: &[u8], big_endian: bool) {
    let number = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    for pair in bytes.chunks_exact(8) {
        *first = first.wrapping_add(number([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(*second);
        *second = second.wrapping_add(number([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(*first);
    }
}

/// Four bytes, big-endian; the callers know that they are there.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
