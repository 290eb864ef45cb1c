//! What the page begins with.

use foldwise_shared::ledger::Account;
use foldwise_shared::state::TrialState;
use foldwise_shared::value::short;

use super::Search;
use crate::report::Section;

pub(super) fn section(search: &Search) -> Section {
    let mut section = Section::chapter(format!("Study {}", search.study.name));
    let study = &search.study;
    let mut fact = |name: &str, value: String| section.facts.push((name.to_owned(), value));
    let message = study.message.as_deref().map_or_else(String::new, |message| format!(": {message}"));
    fact("State", format!("{}{message}", study.state));
    if let Some(best) = study.best {
        let trial = search.trials.iter().find(|trial| trial.number == best.number);
        let std = trial.and_then(|trial| trial.std);
        let std = std.map_or_else(String::new, |std| format!(" \u{b1} {} over its folds", short(std)));
        fact("Best trial", format!("{}, with the value {}{std}", best.number, short(best.value)));
        if let Some(trial) = trial {
            let params: Vec<String> =
                trial.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            fact("Its params", params.join(", "));
        }
    }
    let counts: Vec<String> = study.trials.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let total: u32 = study.trials.values().sum();
    fact("Trials", format!("{total}: {}", counts.join(", ")));
    fact("Budget", budget(search));
    if !search.spec.is_external() {
        let split = match (search.spec.data.folds, search.spec.data.holdout) {
            (Some(folds), _) => format!("{folds} folds"),
            (None, Some(images)) => format!("{images} held out"),
            (None, None) => "one fold".into(),
        };
        fact("Data", format!("{}, {} images, {split}", search.spec.dataset(), study.images));
    }
    let sampler = serde_json::to_value(search.spec.sampler.kind).ok();
    let sampler = sampler.as_ref().and_then(|kind| kind.as_str()).unwrap_or("auto").to_owned();
    fact(
        "Sampler and pruner",
        format!("{sampler}, {}; seed {}", search.spec.pruner.kind, search.spec.study.seed),
    );
    let [used, wasted, saved] = [Account::Used, Account::Wasted, Account::Saved]
        .map(|account| duration(search.ledger.seconds(account)));
    fact("Device time", format!("{used} used, {wasted} of it wasted; pruning saved about {saved}"));
    if !search.command.is_empty() {
        section.commands.push(search.command.clone());
    }
    let unfinished = search.trials.iter().filter(|trial| !trial.state.is_finished()).count();
    if unfinished > 0 {
        section.notes.push(format!(
            "The study goes on: {unfinished} trials are not finished. The page shows what was recorded when it was made."
        ));
    }
    let complete = study.trials.get(&TrialState::Complete).copied().unwrap_or(0);
    if complete > 0 && complete < 20 {
        section.notes.push(format!("Importance and contours say little over {complete} complete trials."));
    }
    section
}

fn budget(search: &Search) -> String {
    let (budget, study) = (&search.spec.budget, &search.study);
    let total: u32 = study.trials.values().sum();
    let mut parts = Vec::new();
    if let Some(trials) = budget.trials {
        parts.push(format!("{total} of {trials} trials"));
    }
    if let Some(epochs) = budget.total_epochs {
        parts.push(format!("{} of {epochs} epochs", study.epochs));
    }
    let running = duration(study.running_ms as f64 / 1e3);
    match &budget.wall_time {
        Some(limit) => parts.push(format!("{running} of {limit}")),
        None => parts.push(format!("{} epochs, {running} with a fold in training", study.epochs)),
    }
    parts.join("; ")
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0 if seconds > 0.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_said_in_two_units() {
        for (seconds, text) in
            [(0.0, "0 s"), (0.3, "0.3 s"), (59.0, "59 s"), (83.4, "1 min 23 s"), (7_260.0, "2 h 1 min")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
