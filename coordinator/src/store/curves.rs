//! The epochs of many attempts, read on all cores: most of what a database holds, and most of the time of a restart.

use std::path::Path;
use std::thread::available_parallelism;

use rusqlite::{Connection, OpenFlags, params};

use super::error::Fault;
use super::open;

/// So many attempts are not worth a thread of their own.
const ATTEMPTS_A_THREAD: usize = 2_000;
/// Readers at a time.
const THREADS: usize = 8;

/// An attempt, and which of its rows are live.
pub(super) struct Span {
    pub trial: i64,
    pub fold: u32,
    pub attempt: u32,
    /// The last epoch that no newer attempt trains again.
    pub live_until: u32,
    /// The epochs that a fold of its study has.
    pub planned: u32,
}

/// The epochs of an attempt.
pub(super) struct Rows {
    /// How many are recorded.
    pub count: u64,
    /// The validation losses of the live ones, epoch 1 first, none where missing, NaN where not finite.
    pub curve: Vec<Option<f64>>,
}

/// The epochs of all these attempts, in their order. The caller holds a transaction on the file `real`, and is the only one
/// who writes to it.
pub(super) fn all_rows(tx: &Connection, real: &Path, attempts: &[Span]) -> Result<Vec<Rows>, Fault> {
    let cores = available_parallelism().map_or(1, usize::from).min(THREADS);
    let threads = cores.min(attempts.len() / ATTEMPTS_A_THREAD).max(1);
    let mut parts = attempts.chunks(attempts.len().div_ceil(threads).max(1));
    let first = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts
            .map(|part| {
                // Nobody writes, so that all of them see the same.
                scope.spawn(|| rows(&open::connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY)?, part))
            })
            .collect();
        let mut all = rows(tx, first)?;
        for thread in others {
            let ended =
                thread.join().map_err(|_| Fault::Inconsistent("a reader of the epochs panicked".into()))?;
            all.extend(ended?);
        }
        Ok(all)
    })
}

fn rows(db: &Connection, attempts: &[Span]) -> Result<Vec<Rows>, Fault> {
    let mut query = db.prepare(
        "SELECT epoch, value FROM epoch WHERE trial_id = ?1 AND fold = ?2 AND attempt = ?3 ORDER BY epoch",
    )?;
    let mut all = Vec::with_capacity(attempts.len());
    for span in attempts {
        let (mut count, mut curve) = (0, Vec::new());
        let mut rows = query.query(params![span.trial, span.fold, span.attempt])?;
        while let Some(row) = rows.next()? {
            let epoch: u32 = row.get(0)?;
            count += 1;
            if epoch > span.live_until {
                continue;
            }
            if epoch > span.planned {
                return Err(Fault::Damaged(format!(
                    "fold {} of the trial with id {} has an epoch {epoch}, and {} at most",
                    span.fold, span.trial, span.planned
                )));
            }
            // What was not finite is null in the table.
            let value = row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN);
            curve.resize(epoch.saturating_sub(1) as usize, None);
            curve.push(Some(value));
        }
        all.push(Rows { count, curve });
    }
    Ok(all)
}
