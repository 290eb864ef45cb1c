//! A study's database, read from outside with plain SQL.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Transaction};

pub use rusqlite::types::Value;

/// A database file. Every question opens it anew, as `sqlite3` on a command line would.
#[derive(Debug, Clone)]
pub struct Database {
    path: PathBuf,
}

impl Database {
    /// The database at a path; it need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at one state of the database, whatever its coordinator does meanwhile.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn within<T>(
        &self,
        look: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        look(&connection.transaction()?)
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn ask(&self, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
        self.within(|tx| rows(tx, sql))
    }

    /// The rows of a query.
    ///
    /// # Panics
    /// The database does not answer.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        self.ask(sql).unwrap_or_else(|error| panic!("{}: {sql}: {error}", self.path.display()))
    }

    /// The number that a query gives.
    ///
    /// # Panics
    /// It gives something else, or the database does not answer.
    pub fn number(&self, sql: &str) -> i64 {
        match self.rows(sql).as_slice() {
            [row] => match row.as_slice() {
                [Value::Integer(number)] => *number,
                other => panic!("{sql}: {other:?} is no whole number"),
            },
            other => panic!("{sql}: {} rows", other.len()),
        }
    }

    /// As [`Self::number`]; 0 while the database or its tables are not there.
    pub fn number_so_far(&self, sql: &str) -> i64 {
        match self.ask(sql).ok().and_then(|rows| rows.into_iter().flatten().next()) {
            Some(Value::Integer(number)) => number,
            _ => 0,
        }
    }

    /// Everything that is recorded, a line a row.
    ///
    /// # Panics
    /// The database does not answer.
    pub fn dump(&self) -> String {
        let tables = self.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        );
        let mut text = format!("version {}\n", self.number("PRAGMA user_version"));
        for table in tables.into_iter().flatten() {
            let Value::Text(table) = table else { panic!("a table without a name") };
            // Sorted here: a table may have fewer columns than an order by three would need.
            let rows = self.rows(&format!("SELECT * FROM \"{table}\""));
            let mut lines: Vec<String> = rows.iter().map(|row| format!("{table} {row:?}\n")).collect();
            lines.sort();
            text.extend(lines);
        }
        text
    }
}

/// The rows of a query, inside of [`Database::within`].
///
/// # Errors
/// The database does not answer.
pub fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
    rows.collect()
}
