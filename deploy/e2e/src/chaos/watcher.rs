//! A reader beside the running coordinator: it remembers how every finished trial was, and looks at what must hold at
//! every moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Transaction;

use crate::database::{Database, Value, rows};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// The tables that say what became of a trial, and their column with its id.
const OUTCOME: [(&str, &str); 4] =
    [("trial", "id"), ("trial_value", "trial_id"), ("param", "trial_id"), ("fold", "trial_id")];
/// The tables that say how it came to that.
const HISTORY: [(&str, &str); 3] = [("attempt", "trial_id"), ("epoch", "trial_id"), ("decision", "trial_id")];

/// All rows about each finished trial, by its id.
pub type Finished = BTreeMap<i64, Vec<String>>;

/// A study as the reader saw it.
#[derive(Debug, Clone, Default)]
pub struct StudyView {
    /// Its state.
    pub state: String,
    /// What is said of it.
    pub message: String,
    /// How many trials it may have.
    pub budget: i64,
    /// How many it has.
    pub trials: i64,
    /// How many of them are finished.
    pub finished: i64,
    /// Its epochs, those of all attempts.
    pub epochs: i64,
}

/// What the reader saw so far.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The studies by name.
    pub studies: BTreeMap<String, StudyView>,
    /// How often it looked and saw.
    pub looks: u64,
    /// How often the database did not answer, and what it said the last time.
    pub failed: u64,
    /// What it said the last time.
    pub last_failure: Option<String>,
    /// What must not be, in words.
    pub violations: Vec<String>,
    /// Each finished trial as it was when it was first seen finished.
    finished: Finished,
    histories: Finished,
}

/// The reader's thread; it ends when this is dropped.
pub struct Watcher {
    view: Arc<Mutex<View>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<View>>,
}

impl Watcher {
    /// Begins to look.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(database: Database) -> std::io::Result<Self> {
        let (view, ended) = (Arc::new(Mutex::new(View::default())), Arc::new(AtomicBool::new(false)));
        let (shown, end) = (Arc::clone(&view), Arc::clone(&ended));
        let thread = std::thread::Builder::new().name("reader".into()).spawn(move || {
            let mut view = View::default();
            while !end.load(Ordering::Relaxed) {
                view.look(&database);
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = view.summary();
                std::thread::sleep(PAUSE);
            }
            view
        })?;
        Ok(Self { view, ended, thread: Some(thread) })
    }

    /// What it saw so far, without the rows it remembers.
    pub fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it and gives all that it saw; none if its thread failed, which has said so.
    pub fn end(mut self) -> Option<View> {
        self.stop()
    }

    fn stop(&mut self) -> Option<View> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl View {
    /// One more look. While the disk is full or the coordinator opens the file, it may not answer.
    fn look(&mut self, database: &Database) {
        match database.within(|tx| Look::take(tx, &self.histories)) {
            Ok(look) => {
                self.looks += 1;
                self.compare(look);
            }
            Err(error) => {
                self.failed += 1;
                self.last_failure = Some(error.to_string());
            }
        }
    }

    fn summary(&self) -> Self {
        Self {
            studies: self.studies.clone(),
            looks: self.looks,
            failed: self.failed,
            last_failure: self.last_failure.clone(),
            violations: self.violations.clone(),
            ..Self::default()
        }
    }

    /// The last look, at a database at rest: everything about every finished trial, its epochs too.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn last_look(&mut self, database: &Database) -> rusqlite::Result<()> {
        let (look, now) = database.within(|tx| {
            Ok((Look::take(tx, &self.histories)?, of_finished(tx, &HISTORY, "t.finished_at IS NOT NULL")?))
        })?;
        self.looks += 1;
        let changes =
            self.histories.iter().filter_map(|(trial, before)| change(*trial, before, now.get(trial)));
        let changes: Vec<String> = changes.collect();
        self.violations.extend(changes);
        self.compare(look);
        Ok(())
    }

    /// How many finished trials it remembers.
    pub fn remembered(&self) -> usize {
        self.finished.len()
    }

    fn compare(&mut self, look: Look) {
        let mut found = look.violations;
        for (trial, before) in &self.finished {
            found.extend(change(*trial, before, look.finished.get(trial)));
        }
        for (trial, rows) in look.finished {
            self.finished.entry(trial).or_insert(rows);
        }
        self.histories.extend(look.histories);
        for (name, now) in &look.studies {
            if self.studies.get(name).is_some_and(|before| before.state == "ended" && now.state != "ended") {
                found.push(format!("the study {name} had ended and is {} again", now.state));
            }
        }
        for name in self.studies.keys().filter(|name| !look.studies.contains_key(*name)) {
            found.push(format!("the study {name} is gone"));
        }
        self.studies = look.studies;
        for violation in found {
            if !self.violations.contains(&violation) {
                self.violations.push(violation);
            }
        }
    }
}

/// What one look sees.
struct Look {
    studies: BTreeMap<String, StudyView>,
    finished: Finished,
    /// Of those trials whose history is not remembered yet.
    histories: Finished,
    violations: Vec<String>,
}

impl Look {
    fn take(tx: &Transaction<'_>, known: &Finished) -> rusqlite::Result<Self> {
        let finished = of_finished(tx, &OUTCOME, "t.finished_at IS NOT NULL")?;
        let fresh: Vec<String> =
            finished.keys().filter(|trial| !known.contains_key(trial)).map(i64::to_string).collect();
        let histories = if fresh.is_empty() {
            Finished::new()
        } else {
            of_finished(tx, &HISTORY, &format!("t.id IN ({})", fresh.join(", ")))?
        };
        let mut violations = Vec::new();
        for (what, sql) in ALWAYS {
            for row in rows(tx, sql)? {
                violations.push(format!("{what}: {row:?}"));
            }
        }
        Ok(Self { studies: studies(tx)?, finished, histories, violations })
    }
}

/// What never holds, and the rows that would say so.
const ALWAYS: [(&str, &str); 6] = [
    (
        "more than one open attempt of a fold (trial, fold, how many)",
        "SELECT trial_id, fold, count(*) FROM attempt WHERE state = 'running' GROUP BY 1, 2 HAVING count(*) > 1",
    ),
    (
        "an open attempt of a finished trial (trial, fold, attempt)",
        "SELECT trial_id, fold, attempt FROM attempt JOIN trial ON id = trial_id
         WHERE attempt.state = 'running' AND finished_at IS NOT NULL",
    ),
    (
        "a finished trial without a reason (study, number)",
        "SELECT study_id, number FROM trial WHERE finished_at IS NOT NULL AND coalesce(reason, '') = ''",
    ),
    (
        "more trials than the budget has (study, trials, budget)",
        "SELECT name, count(*), json_extract(spec, '$.budget.trials') AS most FROM study
         JOIN trial ON study_id = study.id GROUP BY name HAVING count(*) > most",
    ),
    (
        "more epochs than the budget has (study, epochs, budget)",
        "SELECT name, count(*), json_extract(spec, '$.budget.total_epochs') AS most FROM study
         JOIN trial ON study_id = study.id JOIN epoch ON trial_id = trial.id GROUP BY name HAVING count(*) > most",
    ),
    (
        "an unfinished trial in a study that has ended (study, number, state)",
        "SELECT name, number, trial.state FROM trial JOIN study ON study.id = study_id
         WHERE study.state = 'ended' AND finished_at IS NULL",
    ),
];

fn studies(tx: &Transaction<'_>) -> rusqlite::Result<BTreeMap<String, StudyView>> {
    let mut statement = tx.prepare(
        "SELECT name, state, coalesce(message, ''), coalesce(json_extract(spec, '$.budget.trials'), 0),
            (SELECT count(*) FROM trial WHERE study_id = study.id),
            (SELECT count(finished_at) FROM trial WHERE study_id = study.id),
            (SELECT count(*) FROM trial JOIN epoch ON trial_id = trial.id WHERE study_id = study.id)
         FROM study",
    )?;
    let views = statement.query_map([], |row| {
        let view = StudyView {
            state: row.get(1)?,
            message: row.get(2)?,
            budget: row.get(3)?,
            trials: row.get(4)?,
            finished: row.get(5)?,
            epochs: row.get(6)?,
        };
        Ok((row.get(0)?, view))
    })?;
    views.collect()
}

/// All rows of some tables about the trials that fulfill a condition.
fn of_finished(tx: &Transaction<'_>, tables: &[(&str, &str)], condition: &str) -> rusqlite::Result<Finished> {
    let mut found = Finished::new();
    for (table, key) in tables {
        let sql = format!(
            "SELECT t.id, {table}.* FROM {table} JOIN trial AS t ON t.id = {table}.{key} WHERE {condition}"
        );
        for row in rows(tx, &sql)? {
            if let [Value::Integer(trial), rest @ ..] = row.as_slice() {
                found.entry(*trial).or_default().push(format!("{table} {rest:?}"));
            }
        }
    }
    found.values_mut().for_each(|rows| rows.sort());
    Ok(found)
}

/// How a finished trial differs from what it was.
fn change(trial: i64, before: &[String], now: Option<&Vec<String>>) -> Option<String> {
    let Some(now) = now else { return Some(format!("the finished trial with id {trial} is gone")) };
    if now == before {
        return None;
    }
    let was = before.iter().find(|row| !now.contains(row)).map_or("nothing", String::as_str);
    let is = now.iter().find(|row| !before.contains(row)).map_or("nothing", String::as_str);
    Some(format!("the finished trial with id {trial} has changed: it was {was}, and is {is}"))
}
