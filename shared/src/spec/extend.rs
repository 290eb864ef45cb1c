//! A larger budget for a study that is there.

use std::time::Duration;

use super::StudySpec;

/// What a study is allowed besides; each adds to what its budget says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extension {
    /// More trials.
    pub trials: Option<u32>,
    /// More epochs over all folds of all trials.
    pub epochs: Option<u64>,
    /// More milliseconds in which at least one fold is in training.
    pub wall_time_ms: Option<i64>,
}

impl Extension {
    /// The spec with a budget that is larger by this.
    ///
    /// # Errors
    /// Nothing is added, or to a budget that the study does not have.
    pub fn of(&self, spec: &StudySpec) -> Result<StudySpec, String> {
        let mut longer = spec.clone();
        let budget = &mut longer.budget;
        let missing = |key: &str| {
            let there: Vec<&str> = [
                ("budget.trials", spec.budget.trials.is_some()),
                ("budget.total_epochs", spec.budget.total_epochs.is_some()),
                ("budget.wall_time", spec.budget.wall_time.is_some()),
            ]
            .into_iter()
            .filter_map(|(key, there)| there.then_some(key))
            .collect();
            let there = if there.is_empty() { "none at all".to_owned() } else { there.join(" and ") };
            format!("the study has no {key} to extend; its budget has {there}")
        };
        if self == &Self::default() {
            return Err("nothing is added; say how many more trials, epochs or how much more time".into());
        }
        if self.trials == Some(0) || self.epochs == Some(0) || self.wall_time_ms.is_some_and(|more| more <= 0)
        {
            return Err("0 more changes nothing; use at least 1".into());
        }
        if let Some(more) = self.trials {
            let trials = budget.trials.ok_or_else(|| missing("budget.trials"))?;
            let sum = trials.checked_add(more);
            budget.trials = Some(sum.ok_or_else(|| format!("{trials} and {more} more trials are too many"))?);
        }
        if let Some(more) = self.epochs {
            let epochs = budget.total_epochs.ok_or_else(|| missing("budget.total_epochs"))?;
            // As large as a signed number of 64 bits, which TOML and SQLite have.
            let sum = epochs.checked_add(more).filter(|sum| i64::try_from(*sum).is_ok());
            budget.total_epochs =
                Some(sum.ok_or_else(|| format!("{epochs} and {more} more epochs are too many"))?);
        }
        if let Some(more) = self.wall_time_ms {
            let time = spec.wall_time_ms().ok_or_else(|| missing("budget.wall_time"))?;
            let sum = u64::try_from(time.saturating_add(more)).unwrap_or_default();
            budget.wall_time = Some(humantime::format_duration(Duration::from_millis(sum)).to_string());
        }
        Ok(longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse;

    fn spec(budget: &str) -> StudySpec {
        let text = format!(
            "version = 1\nstudy = {{ name = \"s\" }}\ndata = {{ dataset = \"mnist\", folds = 3 }}\n\
             model = {{ network = \"lab\", latent_dim = 4 }}\ntrain = {{ epochs = 3 }}\nbudget = {budget}\n\
             [space]\nlearning_rate = {{ float = [1e-4, 1e-1] }}\n"
        );
        parse(&text, &[]).expect("a study file")
    }

    #[test]
    fn each_budget_grows_by_what_is_given() {
        let all = spec("{ trials = 4, total_epochs = 100, wall_time = \"1h 59m 30s\" }");
        let more = Extension { trials: Some(3), epochs: Some(50), wall_time_ms: Some(45_500) };
        let longer = more.of(&all).expect("longer");
        assert_eq!((longer.budget.trials, longer.budget.total_epochs), (Some(7), Some(150)));
        assert_eq!(longer.wall_time_ms(), Some(7_215_500));
        assert_eq!(StudySpec { budget: all.budget.clone(), ..longer }, all, "nothing else changes");
    }

    #[test]
    fn what_cannot_be_is_said() {
        let trials = spec("{ trials = 4 }");
        let refused = |more: Extension| more.of(&trials).expect_err("refused");
        assert!(refused(Extension::default()).contains("nothing is added"));
        assert!(refused(Extension { trials: Some(0), ..Extension::default() }).contains("at least 1"));
        assert!(refused(Extension { trials: Some(u32::MAX), ..Extension::default() }).contains("too many"));
        let message = refused(Extension { epochs: Some(9), ..Extension::default() });
        assert_eq!(message, "the study has no budget.total_epochs to extend; its budget has budget.trials");
        let message = refused(Extension { wall_time_ms: Some(9), ..Extension::default() });
        assert!(message.contains("budget.wall_time"), "{message}");
    }
}
