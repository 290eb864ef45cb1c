//! The store: everything that is recorded, in one SQLite file with one writer and any number of readers.
//!
//! A [`Store`] applies the scheduler's writes, a batch in a transaction, and loads the scheduler's snapshot. A
//! [`Reader`] answers queries; it works beside a running coordinator and without one.
//! Invariant: a reader never writes, and a file that is refused is not changed.

mod error;
mod schema;
mod value;

mod lock;
mod mount;
mod open;
mod wal;

mod curves;
mod snapshot;
mod view;
mod write;

mod artifact;
mod attempts;
mod counts;
mod events;
mod fleet;
mod kept;
mod ledger;
mod query;
mod recording;
mod report;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foldwise_engine::scheduler::{Snapshot, StudySnapshot, Write};
use foldwise_shared::ids::{Millis, StudyId};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

pub use self::counts::StudyCounts;
pub use self::error::StoreError;
pub use self::query::{Reader, TrialQuery, TrialSort};

use self::error::Fault;
use self::lock::Lock;
use self::open::Found;

/// The one writer of a database. Nobody else can open one as long as it lives.
///
/// While it is open the database is in WAL mode (`NAME-wal` and `NAME-shm` lie beside it); at rest it is one file.
pub struct Store {
    db: Connection,
    real: PathBuf,
    /// As the user wrote it, for messages.
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Opens a database, creates it if it is not there, and brings it to the newest schema.
    ///
    /// # Errors
    /// No folder for it, another kind of file, a newer schema, a damaged file or log, no permission, a network file
    /// system, or another coordinator that holds it. What is refused is not changed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let real = open::resolve(path)?;
        if let Some(kind) = mount::network(&real) {
            return Err(StoreError::Network { path: path.to_owned(), kind });
        }
        if open::inspect(&real, path)? != Found::Nothing {
            // Not by opening it: see `kept`.
            rustix::fs::access(&real, rustix::fs::Access::WRITE_OK).map_err(|error| StoreError::Access {
                path: path.to_owned(),
                action: "write",
                source: error.into(),
            })?;
        }
        let lock = Lock::take(&real, path)?;
        wal::check(&real, path)?;
        // Once more: another coordinator may have changed it before it let go.
        if open::inspect(&real, path)? == Found::Interrupted {
            open::recover(&real).map_err(|fault| fault.at(path))?;
            open::inspect(&real, path)?;
        }
        open::look_through(&real).map_err(|fault| fault.at(path))?;
        let db = open_for_writing(&real).map_err(|fault| fault.at(path))?;
        if let Some(folder) = real.parent() {
            // So that a new file survives a power cut.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(Self { db, real, path: path.to_owned(), _lock: lock })
    }

    /// Applies `writes` in one transaction. They are durable when this returns.
    ///
    /// # Errors
    /// A full disk, or a write that does not fit the record. Nothing of `writes` is kept then, and the store goes on.
    pub fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut apply = || -> Result<(), Fault> {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            write::apply_all(&tx, writes)?;
            Ok(tx.commit()?)
        };
        apply().map_err(|fault| fault.at(&self.path))
    }

    /// Whether a change can be made durable now; it changes nothing that anybody reads.
    ///
    /// # Errors
    /// A full disk, or whatever else keeps changes out.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        let mut touch = || -> Result<(), Fault> {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.pragma_update(None, "user_version", schema::VERSION)?;
            Ok(tx.commit()?)
        };
        touch().map_err(|fault| fault.at(&self.path))
    }

    /// Everything a scheduler is rebuilt from; of studies that have ended only that they are there.
    ///
    /// # Errors
    /// A damaged database.
    pub fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        let mut load = || snapshot::load(&*self.db.transaction()?, &self.real, None);
        load().map_err(|fault| fault.at(&self.path))
    }

    /// The latest time that is recorded, or 0.
    ///
    /// # Errors
    /// A damaged database.
    pub fn latest(&self) -> Result<Millis, StoreError> {
        // Everything but an epoch is an event or renews a lease, and so is the end of an attempt, after its epochs. The
        // cross join keeps the planner from going through all epochs.
        let sql = "SELECT max( \
            coalesce((SELECT at FROM event ORDER BY seq DESC LIMIT 1), 0), \
            coalesce((SELECT max(coalesce(renewed_at, granted_at)) FROM lease WHERE state = 'active'), 0), \
            coalesce((SELECT max(e.at) FROM attempt AS a CROSS JOIN epoch AS e ON e.trial_id = a.trial_id \
                AND e.fold = a.fold AND e.attempt = a.attempt WHERE a.ended_at IS NULL), 0))";
        let latest = self.db.query_row(sql, [], |row| row.get(0)).map_err(Fault::from);
        latest.map(Millis).map_err(|fault| fault.at(&self.path))
    }

    /// Lets the file grow no further than by so many pages, as a full disk would.
    #[cfg(test)]
    pub(crate) fn limit_growth(&self, pages: u32) -> rusqlite::Result<()> {
        let now: u32 = self.db.pragma_query_value(None, "page_count", |row| row.get(0))?;
        self.db.pragma_update_and_check(None, "max_page_count", now.saturating_add(pages), |_| Ok(()))
    }

    /// Waits for no other program's lock.
    #[cfg(test)]
    pub(crate) fn be_impatient(&self) -> rusqlite::Result<()> {
        self.db.busy_timeout(Duration::ZERO)
    }

    /// What a scheduler has to know of one study, in whatever state; none if there is no such study.
    ///
    /// # Errors
    /// A damaged database.
    pub fn study_snapshot(&mut self, study: StudyId) -> Result<Option<StudySnapshot>, StoreError> {
        let mut load = || snapshot::load(&*self.db.transaction()?, &self.real, Some(study));
        load().map(|mut snapshot| snapshot.studies.pop()).map_err(|fault| fault.at(&self.path))
    }

    /// A connection of its own for queries.
    ///
    /// # Errors
    /// A database that cannot be opened a second time.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::connect(&self.real, &self.path)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // One plain file at rest, which can be read from a read-only folder and copied as it is. Not while somebody
        // reads, and not needed either: the log is applied at the next start.
        let _ = self.db.busy_timeout(Duration::ZERO);
        let _ = self.db.pragma_update(None, "journal_mode", "DELETE");
    }
}

fn open_for_writing(real: &Path) -> Result<Connection, Fault> {
    let mut db = open::connect(real, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Inconsistent(format!("the file system allows no write-ahead log (mode {mode})")));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    schema::migrate(&mut db)?;
    Ok(db)
}
