//! Answers as JSON: every field by the name it has in the record, null where there is none.

use std::io::{self, Write};

use foldwise_shared::ledger::Account;
use foldwise_shared::record::{ReplayRecord, StudyRecord};
use serde::Serialize;
use serde_json::{Value, json};

use super::Answer;

pub(super) fn write(answer: Answer<'_>, out: &mut dyn Write) -> io::Result<()> {
    let value = match answer {
        Answer::Studies(studies) => Ok(Value::Array(studies.iter().map(study).collect::<Result<_, _>>()?)),
        Answer::Study(record) | Answer::Shown(record, _) => study(record),
        Answer::Trials(trials) => serde_json::to_value(trials),
        Answer::Trial(trial, decisions, attempts) => serde_json::to_value(trial).map(|mut value| {
            value["decisions"] = json!(decisions);
            value["attempts"] = json!(attempts);
            value
        }),
        Answer::Workers(workers) => serde_json::to_value(workers),
        Answer::Ledger(ledger) => serde_json::to_value(ledger).map(|mut value| {
            for account in Account::ALL {
                value[account.as_str()] = json!(ledger.seconds(*account));
            }
            value
        }),
        Answer::Best(_, trial) => serde_json::to_value(trial),
        Answer::Explanation(explanation) => with_pruner(explanation, &explanation.pruner),
        Answer::Replays(replays) => {
            let replay = |replay: &ReplayRecord| with_pruner(replay, &replay.pruner);
            Ok(Value::Array(replays.iter().map(replay).collect::<Result<_, _>>()?))
        }
        Answer::Curve(epochs) => serde_json::to_value(epochs),
        Answer::Fetched(rows) => serde_json::to_value(rows),
        Answer::Data(summary) => serde_json::to_value(summary),
        Answer::Search(comparison) => serde_json::to_value(comparison),
        Answer::Suggest(timings) => serde_json::to_value(timings),
        Answer::Load(load) => serde_json::to_value(load),
        Answer::Restart(rounds) => serde_json::to_value(rounds),
    }?;
    serde_json::to_writer_pretty(&mut *out, &value)?;
    writeln!(out)
}

/// The pruner is an object here and not a text within the text.
fn with_pruner(record: &impl Serialize, pruner: &str) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(record)?;
    value["pruner"] = serde_json::from_str(pruner)?;
    Ok(value)
}

/// The spec is an object here and not a text within the text.
fn study(record: &StudyRecord) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(record)?;
    if let Ok(spec) = serde_json::from_str(&record.spec) {
        value["spec"] = spec;
    }
    Ok(value)
}
