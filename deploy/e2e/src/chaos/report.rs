//! What a run comes to, as a page.

use std::fmt::Write as _;
use std::time::Duration;

use super::Settings;
use super::check::Findings;
use super::fault::Fault;
use crate::database::{Database, Value};

/// Where the report stands in a page.
const BEGIN: &str = "<!-- report: begin -->";
const END: &str = "<!-- report: end -->";

/// A `kill -9` of a worker.
#[derive(Debug, Clone)]
pub struct Kill {
    /// Its name.
    pub worker: String,
    /// When, in UTC milliseconds.
    pub at: i64,
}

/// What was recorded in the end.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Studies by how they ended.
    pub studies: Vec<(String, i64)>,
    /// Trials by state.
    pub trials: Vec<(String, i64)>,
    /// Attempts by state and failure.
    pub attempts: Vec<(String, i64)>,
    /// Attempts that went on from a checkpoint.
    pub resumed: i64,
    /// Epochs of all attempts.
    pub epochs: i64,
    /// Epochs that an earlier attempt of their fold had recorded already.
    pub repeated: i64,
    /// Seconds from each kill of a worker to the next attempt of each fold that it had.
    pub moved: Vec<f64>,
    /// Those of them in whose time the coordinator was there.
    pub moved_undisturbed: Vec<f64>,
}

impl Totals {
    /// Reads them; `away` is when there was no coordinator.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn read(database: &Database, kills: &[Kill], away: &[(i64, i64)]) -> rusqlite::Result<Self> {
        let counted = |sql: &str| -> rusqlite::Result<Vec<(String, i64)>> {
            Ok(database.ask(sql)?.iter().filter_map(|row| pair(row)).collect())
        };
        let number = |sql: &str| -> rusqlite::Result<i64> {
            Ok(counted(&format!("SELECT '', ({sql})"))?.first().map_or(0, |(_, number)| *number))
        };
        let mut totals = Self {
            studies: counted(
                "SELECT coalesce(message, state), count(*) FROM study GROUP BY 1 ORDER BY 2 DESC",
            )?,
            trials: counted("SELECT state, count(*) FROM trial GROUP BY 1 ORDER BY 2 DESC")?,
            attempts: counted(
                "SELECT state || coalesce(': ' || failure, ''), count(*) FROM attempt GROUP BY 1 ORDER BY 2 DESC",
            )?,
            resumed: number("SELECT count(*) FROM attempt WHERE start_epoch > 0")?,
            epochs: number("SELECT count(*) FROM epoch")?,
            repeated: number(
                "SELECT count(*) FROM epoch AS e WHERE EXISTS (
                    SELECT 1 FROM epoch AS o WHERE o.trial_id = e.trial_id AND o.fold = e.fold
                        AND o.epoch = e.epoch AND o.attempt < e.attempt)",
            )?,
            ..Self::default()
        };
        for Kill { worker, at } in kills {
            let next = database.ask(&format!(
                "SELECT '', next.started_at FROM attempt JOIN attempt AS next
                    ON next.trial_id = attempt.trial_id AND next.fold = attempt.fold
                    AND next.attempt = attempt.attempt + 1
                 WHERE attempt.worker = '{worker}' AND attempt.failure = 'lost'
                    AND attempt.started_at <= {at} AND attempt.ended_at >= {at}"
            ))?;
            for (_, started) in next.iter().filter_map(|row| pair(row)) {
                let seconds = (started - at) as f64 / 1_000.0;
                totals.moved.push(seconds);
                if !away.iter().any(|(from, to)| *from <= started && *to >= *at) {
                    totals.moved_undisturbed.push(seconds);
                }
            }
        }
        Ok(totals)
    }
}

fn pair(row: &[Value]) -> Option<(String, i64)> {
    match row {
        [Value::Text(text), Value::Integer(number)] => Some((text.clone(), *number)),
        _ => None,
    }
}

/// What a run comes to.
#[derive(Debug)]
pub struct Report {
    /// What was asked for.
    pub settings: Settings,
    /// How long faults were done.
    pub faults_for: Duration,
    /// Every fault that was possible, and how often it came.
    pub counts: Vec<(Fault, u32)>,
    /// What this machine does not allow, and what it says.
    pub left_out: Vec<String>,
    /// How often the coordinator complained of a full disk.
    pub complained: u32,
    /// Coordinator processes.
    pub coordinators: u32,
    /// Worker processes.
    pub workers: u32,
    /// How many of the coordinators ended by themselves for want of space.
    pub ended_for_space: u32,
    /// Looks of the reader, those that failed, and why the last did.
    pub looks: (u64, u64, Option<String>),
    /// What was recorded.
    pub totals: Totals,
    /// The checks.
    pub findings: Findings,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.violations.is_empty()
    }

    /// The page.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let Self { settings, totals, findings, .. } = self;
        let faults: u32 = self.counts.iter().map(|(_, count)| count).sum();
        let verdict = if self.is_good() {
            "Nothing was lost, and nothing that was finished changed.".to_owned()
        } else {
            format!("**{} violations**, at the end of this report.", findings.violations.len())
        };
        writeln!(
            page,
            "{faults} faults in {:.0} seconds, seed {}, {} workers, leases of {} s, {} build. {verdict}\n",
            self.faults_for.as_secs_f64(),
            settings.seed,
            settings.workers,
            settings.lease.as_secs_f64(),
            if cfg!(debug_assertions) { "debug" } else { "release" },
        )?;
        writeln!(page, "| fault | times |\n|---|---:|")?;
        for (fault, count) in &self.counts {
            writeln!(page, "| {fault} | {count} |")?;
        }
        writeln!(page)?;
        for left_out in &self.left_out {
            writeln!(page, "Left out: {left_out}.\n")?;
        }
        writeln!(page, "| record | |\n|---|---:|")?;
        let of = |what: &str, counted: &[(String, i64)]| -> Vec<(String, i64)> {
            counted.iter().map(|(name, count)| (format!("{what}, {name}"), *count)).collect()
        };
        let mut rows = vec![
            ("coordinator processes".to_owned(), i64::from(self.coordinators)),
            ("of them ended by a full disk".to_owned(), i64::from(self.ended_for_space)),
            ("full disks of which the coordinator complained".to_owned(), i64::from(self.complained)),
            ("worker processes".to_owned(), i64::from(self.workers)),
        ];
        rows.extend(of("studies", &totals.studies));
        rows.extend(of("trials", &totals.trials));
        rows.extend(of("attempts", &totals.attempts));
        rows.push(("attempts that went on from a checkpoint".to_owned(), totals.resumed));
        rows.push(("epochs recorded".to_owned(), totals.epochs));
        rows.push(("of them trained again".to_owned(), totals.repeated));
        for (what, count) in rows {
            writeln!(page, "| {what} | {count} |")?;
        }
        writeln!(
            page,
            "\n| from `kill -9` of a worker to the next attempt of its fold | folds | median | longest |"
        )?;
        writeln!(page, "|---|---:|---:|---:|")?;
        for (what, times) in
            [("the coordinator was there all the time", &totals.moved_undisturbed), ("all", &totals.moved)]
        {
            let (median, longest) = spread(times);
            writeln!(page, "| {what} | {} | {median} | {longest} |", times.len())?;
        }
        writeln!(page, "\n| check | of | broken |\n|---|---:|---:|")?;
        for (what, looked_at) in &findings.made {
            let broken = findings.violations.iter().filter(|found| found.starts_with(what)).count();
            writeln!(page, "| {what} | {looked_at} | {broken} |")?;
        }
        let (looks, failed, why) = &self.looks;
        writeln!(page, "\nA reader looked {looks} times beside the running coordinator.")?;
        if let Some(why) = why.as_ref().filter(|_| *failed > 0) {
            // Which folder it was says nothing to a reader of the page.
            let why = why.split(": /").next().unwrap_or(why);
            writeln!(
                page,
                "Looks at which the database did not answer: {failed}; the last time it said: {why}."
            )?;
        }
        for violation in &findings.violations {
            writeln!(page, "\nViolation: {violation}")?;
        }
        Ok(())
    }
}

fn spread(times: &[f64]) -> (String, String) {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let shown = |time: Option<&f64>| time.map_or("-".to_owned(), |time| format!("{time:.1} s"));
    (shown(sorted.get(sorted.len() / 2)), shown(sorted.last()))
}

/// A page with the report between its two marks, or a page of the report alone.
pub fn into_page(page: &str, report: &str) -> String {
    match (page.split_once(BEGIN), page.rsplit_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{BEGIN}\n\n{report}\n{END}{after}"),
        _ => report.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_the_one_before() {
        let page = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        assert_eq!(into_page(&page, "new\n"), format!("above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"));
        assert_eq!(into_page("no marks", "new"), "new");
    }

    #[test]
    fn the_middle_and_the_end() {
        assert_eq!(spread(&[]), ("-".into(), "-".into()));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), ("2.0 s".into(), "3.0 s".into()));
    }
}
