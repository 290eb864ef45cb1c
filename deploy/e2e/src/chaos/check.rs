//! The record against what every worker was told, and against itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::database::{Database, Value};

/// What was looked at, and what must not be.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each check and how many things it looked at.
    pub made: Vec<(&'static str, u64)>,
    /// What must not be, in words.
    pub violations: Vec<String>,
}

/// So many violations of one check are told in full.
const TOLD: usize = 5;

impl Findings {
    /// Takes note of a check.
    pub fn add(&mut self, what: &'static str, looked_at: u64, violations: Vec<String>) {
        self.made.push((what, looked_at));
        let more = violations.len().saturating_sub(TOLD);
        self.violations.extend(violations.into_iter().take(TOLD).map(|found| format!("{what}: {found}")));
        if more > 0 {
            self.violations.push(format!("{what}: and {more} more"));
        }
    }
}

/// Study, trial, fold, attempt, epoch.
type EpochKey = [i64; 5];
/// Study, trial, fold, attempt.
type AttemptKey = [i64; 4];

/// What the workers were told: the lines of all logs in a folder.
#[derive(Debug, Default)]
struct Told {
    epochs: BTreeMap<EpochKey, Option<f64>>,
    ends: BTreeMap<AttemptKey, String>,
    repeated: Vec<String>,
}

impl Told {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut told = Self::default();
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            for line in text.lines() {
                // Each line was written by one call, so that a kill cuts none in two.
                told.line(line).with_context(|| format!("{}: {line}", path.display()))?;
            }
        }
        Ok(told)
    }

    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        let line: serde_json::Value = serde_json::from_str(text)?;
        let number = |name: &str| line[name].as_i64().with_context(|| format!("`{name}` is no whole number"));
        let attempt = [number("study")?, number("trial")?, number("fold")?, number("attempt")?];
        let was_there = match line["end"].as_str() {
            Some(end) => self.ends.insert(attempt, end.to_owned()).is_some(),
            None => {
                let [study, trial, fold, attempt] = attempt;
                let key = [study, trial, fold, attempt, number("epoch")?];
                self.epochs.insert(key, line["validation_loss"].as_f64()).is_some()
            }
        };
        if was_there {
            self.repeated.push(format!("acknowledged twice: {text}"));
        }
        Ok(())
    }
}

/// Holds a database at rest against the logs of the workers' acknowledgements, and against itself.
///
/// # Errors
/// The database or a log cannot be read.
pub fn check(database: &Database, acks: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let told = Told::read(acks)?;
    findings.add("no line is acknowledged twice to one worker", told.lines(), told.repeated.clone());
    epochs(database, &told, findings)?;
    ends(database, &told, findings)?;
    for Rule { what, of, broken } in RULES {
        let looked_at = count(database, of)?;
        let rows = database.ask(broken).with_context(|| what.to_owned())?;
        findings.add(what, looked_at, rows.iter().map(|row| shown(row)).collect());
    }
    let state = database.ask("PRAGMA integrity_check")?;
    let intact = state == [[Value::Text("ok".into())]];
    let damage = if intact { Vec::new() } else { state.iter().map(|row| shown(row)).collect() };
    findings.add("PRAGMA integrity_check", 1, damage);
    let orphans = database.ask("PRAGMA foreign_key_check")?;
    findings.add("PRAGMA foreign_key_check", 1, orphans.iter().map(|row| shown(row)).collect());
    Ok(())
}

impl Told {
    fn lines(&self) -> u64 {
        (self.epochs.len() + self.ends.len() + self.repeated.len()) as u64
    }
}

fn epochs(database: &Database, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let mut recorded: BTreeMap<EpochKey, Option<f64>> = BTreeMap::new();
    for row in database.ask(
        "SELECT study_id, number, fold, attempt, epoch, epoch.value FROM epoch JOIN trial ON id = trial_id",
    )? {
        let loss = if let Some(Value::Real(loss)) = row.get(5) { Some(*loss) } else { None };
        recorded.insert(key(&row)?, loss);
    }
    let mut lost = Vec::new();
    for (key, loss) in &told.epochs {
        match recorded.get(key) {
            None => lost.push(format!("lost: (study, trial, fold, attempt, epoch) {key:?}")),
            Some(found) if found.map(f64::to_bits) != loss.map(f64::to_bits) => lost.push(format!(
                "(study, trial, fold, attempt, epoch) {key:?} is {found:?}, and {loss:?} was acknowledged"
            )),
            Some(_) => {}
        }
    }
    findings.add("every acknowledged epoch is recorded once, with its value", told.epochs.len() as u64, lost);
    Ok(())
}

fn ends(database: &Database, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let mut recorded: BTreeMap<AttemptKey, (String, String)> = BTreeMap::new();
    for row in database.ask(
        "SELECT study_id, number, fold, attempt, attempt.state, coalesce(failure, '') FROM attempt
         JOIN trial ON id = trial_id",
    )? {
        let text =
            |place: usize| if let Some(Value::Text(text)) = row.get(place) { text.as_str() } else { "" };
        recorded.insert(key(&row)?, (text(4).to_owned(), text(5).to_owned()));
    }
    let mut lost = Vec::new();
    for (key, end) in &told.ends {
        let fits = recorded.get(key).is_some_and(|(state, failure)| match end.as_str() {
            // A fold whose losses were not finite has finished, but it has no value.
            "finished" => {
                matches!(state.as_str(), "complete" | "stopped")
                    || matches!(failure.as_str(), "diverged" | "preempted")
            }
            _ => state == "failed",
        });
        if !fits {
            lost.push(format!(
                "(study, trial, fold, attempt) {key:?}: `{end}` was acknowledged, recorded is {:?}",
                recorded.get(key)
            ));
        }
    }
    findings.add("every acknowledged end is recorded", told.ends.len() as u64, lost);
    Ok(())
}

/// The whole numbers at the beginning of a row.
fn key<const N: usize>(row: &[Value]) -> anyhow::Result<[i64; N]> {
    let mut key = [0; N];
    for (place, number) in key.iter_mut().enumerate() {
        match row.get(place) {
            Some(Value::Integer(found)) => *number = *found,
            other => anyhow::bail!("{other:?} is no whole number"),
        }
    }
    Ok(key)
}

fn count(database: &Database, sql: &str) -> anyhow::Result<u64> {
    let [count] = key::<1>(database.ask(sql)?.first().context("no row")?)?;
    Ok(count.unsigned_abs())
}

fn shown(row: &[Value]) -> String {
    let shown: Vec<String> = row
        .iter()
        .map(|value| match value {
            Value::Null => "null".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::Blob(bytes) => format!("{bytes:?}"),
        })
        .collect();
    shown.join(", ")
}

struct Rule {
    what: &'static str,
    /// How many things are looked at.
    of: &'static str,
    /// Those that break it.
    broken: &'static str,
}

const RULES: [Rule; 12] = [
    Rule {
        what: "every study has ended",
        of: "SELECT count(*) FROM study",
        broken: "SELECT name, state, message FROM study WHERE state <> 'ended'",
    },
    Rule {
        what: "as many trials as budget.trials, unless budget.total_epochs was used up first",
        of: "SELECT count(*) FROM study",
        broken: "SELECT name, (SELECT count(*) FROM trial WHERE study_id = study.id) AS trials,
                    json_extract(spec, '$.budget.trials') AS budget
                 FROM study
                 WHERE CASE WHEN json_extract(spec, '$.budget.total_epochs') IS NULL
                    THEN trials <> budget ELSE trials > budget END",
    },
    Rule {
        what: "never more epochs than budget.total_epochs",
        of: "SELECT count(json_extract(spec, '$.budget.total_epochs')) FROM study",
        broken: "SELECT name, (SELECT count(*) FROM trial JOIN epoch ON trial_id = trial.id
                        WHERE study_id = study.id) AS epochs,
                    json_extract(spec, '$.budget.total_epochs') AS budget
                 FROM study WHERE epochs > budget",
    },
    Rule {
        what: "the trials of a study are numbered from 0 without a gap",
        of: "SELECT count(*) FROM trial",
        broken: "SELECT study_id, count(*), min(number), max(number) FROM trial GROUP BY 1
                 HAVING min(number) <> 0 OR max(number) <> count(*) - 1",
    },
    Rule {
        what: "every trial is finished and has a reason",
        of: "SELECT count(*) FROM trial",
        broken: "SELECT study_id, number, state, reason FROM trial
                 WHERE finished_at IS NULL OR coalesce(reason, '') = ''",
    },
    Rule {
        what: "a trial fails only after as many lost attempts of a fold as [retry] has",
        of: "SELECT count(*) FROM trial WHERE state = 'failed'",
        broken: "SELECT study_id, number, reason FROM trial JOIN study ON study.id = study_id
                 WHERE trial.state = 'failed' AND reason NOT LIKE 'diverged%' AND NOT EXISTS (
                    SELECT 1 FROM attempt WHERE trial_id = trial.id AND failure = 'lost'
                    GROUP BY fold HAVING count(*) > coalesce(json_extract(spec, '$.retry.lost'), 3))",
    },
    Rule {
        what: "no attempt is open, and each fold has those it counts",
        of: "SELECT count(*) FROM attempt",
        broken:
            "SELECT trial_id, fold, attempts, count(attempt), max(attempt), sum(attempt.state = 'running')
                 FROM fold LEFT JOIN attempt USING (trial_id, fold) GROUP BY 1, 2
                 HAVING count(attempt) <> attempts OR coalesce(max(attempt), 0) <> attempts
                    OR coalesce(sum(attempt.state = 'running'), 0) > 0",
    },
    Rule {
        what: "two attempts of a fold never overlap",
        of: "SELECT count(*) FROM attempt",
        broken: "SELECT a.trial_id, a.fold, a.attempt, b.attempt FROM attempt AS a
                 JOIN attempt AS b ON b.trial_id = a.trial_id AND b.fold = a.fold AND b.attempt > a.attempt
                 WHERE b.started_at < a.ended_at",
    },
    Rule {
        what: "each attempt has its epochs without a gap",
        of: "SELECT count(*) FROM attempt",
        broken: "SELECT trial_id, fold, attempt, start_epoch, min(epoch), max(epoch), count(*)
                 FROM epoch JOIN attempt USING (trial_id, fold, attempt) GROUP BY 1, 2, 3
                 HAVING min(epoch) <> start_epoch + 1 OR max(epoch) <> start_epoch + count(*)",
    },
    Rule {
        what: "the live curve of each complete fold has the epochs from 1 on, and its best is the fold's value",
        of: "SELECT count(*) FROM fold WHERE state = 'complete'",
        broken:
            "SELECT study.name, trial.number, fold.fold, fold.value, min(val_loss), count(*), max(curve.epoch)
                 FROM fold JOIN trial ON trial.id = trial_id JOIN study ON study.id = study_id
                 LEFT JOIN curve ON curve.study = study.name AND curve.number = trial.number
                    AND curve.fold = fold.fold
                 WHERE fold.state = 'complete' GROUP BY 1, 2, 3
                 HAVING count(curve.epoch) = 0 OR min(curve.epoch) <> 1 OR max(curve.epoch) <> count(*)
                    OR count(DISTINCT curve.epoch) <> count(*) OR min(val_loss) <> fold.value",
    },
    Rule {
        what: "the value of each complete trial is the mean of all its folds",
        of: "SELECT count(*) FROM trial WHERE state = 'complete'",
        broken:
            "SELECT study_id, number, trial.value, avg(fold.value) FROM trial JOIN fold ON trial_id = trial.id
                 WHERE trial.state = 'complete' GROUP BY trial.id
                 HAVING sum(fold.state <> 'complete') > 0
                    OR abs(trial.value - avg(fold.value)) > 1e-12 * abs(trial.value)",
    },
    Rule {
        what: "an epoch that was trained again has the same losses to the bit",
        of: "SELECT count(*) FROM (SELECT 1 FROM epoch GROUP BY trial_id, fold, epoch HAVING count(*) > 1)",
        broken: "SELECT trial_id, fold, epoch, min(value), max(value), min(train_loss), max(train_loss)
                 FROM epoch GROUP BY 1, 2, 3
                 HAVING count(DISTINCT value) > 1 OR count(DISTINCT train_loss) > 1
                    OR count(value) NOT IN (0, count(*))",
    },
];
