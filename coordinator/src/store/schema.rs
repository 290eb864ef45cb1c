//! The schema and its versions.

use rusqlite::{Connection, TransactionBehavior};

use super::error::Fault;

/// Append-only: entry n makes version n + 1 of version n.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001_first.sql"),
    include_str!("schema/0002_decisions_and_order.sql"),
    include_str!("schema/0003_leases_of_askers.sql"),
    include_str!("schema/0004_checkpoints_and_drains.sql"),
    include_str!("schema/0005_results.sql"),
];

/// The version this program reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Marks a SQLite file as ours (its `application_id`): "Fold" in ASCII.
pub(super) const APPLICATION: i32 = 0x466f_6c64;

/// Brings the database to [`VERSION`], all or nothing.
pub(super) fn migrate(db: &mut Connection) -> Result<(), Fault> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let version: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let pending = MIGRATIONS.get(version as usize..).unwrap_or_default();
    if pending.is_empty() {
        return Ok(());
    }
    for migration in pending {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}
