//! Why a trial was pruned: the numbers, and the sentence that says them.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, FoldIndex, TrialNumber};
use crate::state::Rule;
use crate::value::short;

/// What a rule saw when it looked at a trial, and what it compared that with. Losses are in the study's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The rule.
    pub rule: Rule,
    /// The trial's own number; none if all of it is NaN.
    pub own: Option<f64>,
    /// The number that it had to reach; none if there was nothing to reach.
    pub threshold: Option<f64>,
    /// How many other trials it was compared with.
    pub peers: u32,
    /// The percentile of theirs that is the threshold, counted from the smallest value.
    pub percentile: Option<f64>,
    /// The bracket of `hyperband`, from 0, the one that stops the most.
    pub bracket: Option<u32>,
    /// The rung of `successive-halving` and `hyperband`, from 0.
    pub rung: Option<u32>,
    /// How many of those at the rung, itself among them, lived on; none of the first ones while it fills.
    pub kept: Option<u32>,
    /// The complete trial that `sequential` compared it with.
    pub against: Option<TrialNumber>,
    /// The error that `sequential` allowed itself at this look.
    pub alpha: Option<f64>,
    /// The standard error of the difference that `sequential` saw.
    pub standard_error: Option<f64>,
    /// The degrees of freedom of that error.
    pub degrees: Option<u32>,
    /// The epochs without an improvement that the study's `patience` waits for.
    pub patience: Option<u32>,
}

impl Decision {
    /// A decision of a rule with nothing else in it.
    pub fn new(rule: Rule, own: Option<f64>, threshold: Option<f64>) -> Self {
        Self {
            rule,
            own,
            threshold,
            peers: 0,
            percentile: None,
            bracket: None,
            rung: None,
            kept: None,
            against: None,
            alpha: None,
            standard_error: None,
            degrees: None,
            patience: None,
        }
    }

    /// Why the trial was pruned there, in a sentence.
    pub fn reason(&self, fold: FoldIndex, epoch: Option<Epoch>) -> String {
        self.sentence(true, fold, epoch)
    }

    /// What the rule saw there, in a sentence; `prune`: whether that stopped the trial.
    pub fn sentence(&self, prune: bool, fold: FoldIndex, epoch: Option<Epoch>) -> String {
        let waited = match self.patience {
            Some(epochs) if self.rule != Rule::Patience => {
                format!("; no better for {}", counted(epochs, "epoch"))
            }
            _ => String::new(),
        };
        format!("{}: {} at {}{waited}", self.rule, self.comparison(prune), place(fold, epoch))
    }

    /// The own number beside the one that it had to reach.
    fn comparison(&self, prune: bool) -> String {
        let Some(own) = self.own else { return "there is no value but NaN".into() };
        // Two that differ are shown as two that differ.
        let alike =
            self.threshold.is_some_and(|threshold| threshold != own && short(threshold) == short(own));
        let shown = |number: f64| if alike { number.to_string() } else { short(number) };
        let own = shown(own);
        let rung = match (self.rung, self.bracket) {
            (Some(rung), Some(bracket)) => format!("rung {rung} of bracket {bracket}"),
            (rung, _) => format!("rung {}", rung.unwrap_or_default()),
        };
        let among = self.peers.saturating_add(1);
        let Some(threshold) = self.threshold else {
            return format!("{own} is one of the first {among} that only fill {rung},");
        };
        let side = match self.own {
            Some(own) if own < threshold => "below",
            _ => "above",
        };
        let threshold = shown(threshold);
        let worse = format!("{own} is {}worse than {threshold}", if prune { "" } else { "not " });
        match self.rule {
            Rule::Median
            | Rule::MedianOfFolds
            | Rule::Percentile
            | Rule::PercentileOfFolds
            | Rule::Paired
            | Rule::PairedOfFolds => {
                let percentile = ordinal(self.percentile.unwrap_or(50.0));
                format!("{worse}, the {percentile} percentile of {}", counted(self.peers, "peer"))
            }
            Rule::SuccessiveHalving | Rule::Hyperband => {
                let kept = match self.kept {
                    None | Some(1) => "the best".to_owned(),
                    Some(kept) => format!("the {} best", ordinal(kept.into())),
                };
                format!("{worse}, {kept} of {among} at {rung},")
            }
            Rule::Threshold if prune => format!("{own} is {side} {threshold}"),
            Rule::Threshold => format!("{own} is within its bounds, the nearest of which is {threshold},"),
            Rule::Patience => {
                let epochs = counted(self.patience.unwrap_or_default().saturating_add(1), "epoch");
                format!("{worse}: the best of the last {epochs} against the best before,")
            }
            Rule::Sequential => {
                let against = self.against.unwrap_or_default();
                let alpha = short(self.alpha.unwrap_or_default());
                format!("{worse}, which trial {against} and chance (alpha {alpha}) allow")
            }
        }
    }
}

/// Where a trial was looked at; no epoch where a finished fold was.
pub fn place(fold: FoldIndex, epoch: Option<Epoch>) -> String {
    match epoch {
        Some(epoch) => format!("fold {fold}, epoch {epoch}"),
        None => format!("the end of fold {fold}"),
    }
}

/// `1 peer`, `2 peers`.
fn counted(count: u32, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `1st`, `2nd`, `33.3th`.
pub fn ordinal(number: f64) -> String {
    let suffix = match (number % 10.0, number % 100.0) {
        (_, 11.0..14.0) => "th",
        (1.0, _) => "st",
        (2.0, _) => "nd",
        (3.0, _) => "rd",
        _ => "th",
    };
    format!("{}{suffix}", short(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Decision), rule: Rule, expected: &str) {
        let mut decision = Decision::new(rule, Some(0.6), Some(0.5));
        change(&mut decision);
        let epoch = decision.alpha.is_none().then_some(Epoch(4));
        assert_eq!(decision.reason(FoldIndex(1), epoch), expected);
    }

    #[test]
    fn every_rule_has_its_sentence() {
        check(
            |d| (d.peers, d.percentile) = (1, Some(50.0)),
            Rule::Median,
            "median: 0.6 is worse than 0.5, the 50th percentile of 1 peer at fold 1, epoch 4",
        );
        check(
            |d| (d.peers, d.percentile, d.patience) = (9, Some(21.0), Some(3)),
            Rule::Paired,
            "paired: 0.6 is worse than 0.5, the 21st percentile of 9 peers at fold 1, epoch 4; no better for 3 epochs",
        );
        check(|d| d.own = None, Rule::Percentile, "percentile: there is no value but NaN at fold 1, epoch 4");
        check(
            |d| (d.peers, d.rung, d.kept) = (7, Some(1), Some(2)),
            Rule::SuccessiveHalving,
            "successive-halving: 0.6 is worse than 0.5, the 2nd best of 8 at rung 1, at fold 1, epoch 4",
        );
        check(
            |d| (d.threshold, d.peers, d.rung, d.bracket) = (None, 2, Some(0), Some(1)),
            Rule::Hyperband,
            "hyperband: 0.6 is one of the first 3 that only fill rung 0 of bracket 1, at fold 1, epoch 4",
        );
        check(|_| (), Rule::Threshold, "threshold: 0.6 is above 0.5 at fold 1, epoch 4");
        check(|d| d.threshold = Some(0.7), Rule::Threshold, "threshold: 0.6 is below 0.7 at fold 1, epoch 4");
        check(
            |d| d.patience = Some(3),
            Rule::Patience,
            "patience: 0.6 is worse than 0.5: the best of the last 4 epochs against the best before, at fold 1, epoch 4",
        );
        check(
            |d| (d.alpha, d.against) = (Some(0.0125), Some(TrialNumber(3))),
            Rule::Sequential,
            "sequential: 0.6 is worse than 0.5, which trial 3 and chance (alpha 0.0125) allow at the end of fold 1",
        );
    }

    #[test]
    fn a_look_that_stops_nobody_has_its_sentence_too() {
        let lives = |rule| Decision::new(rule, Some(0.5), Some(0.6)).sentence(false, FoldIndex(1), None);
        assert_eq!(
            lives(Rule::Median),
            "median: 0.5 is not worse than 0.6, the 50th percentile of 0 peers at the end of fold 1"
        );
        assert_eq!(
            lives(Rule::Threshold),
            "threshold: 0.5 is within its bounds, the nearest of which is 0.6, at the end of fold 1"
        );
    }

    #[test]
    fn ordinals() {
        let all = [1.0, 2.0, 3.0, 4.0, 11.0, 12.0, 13.0, 22.0, 50.0, 111.0, 33.3].map(ordinal);
        assert_eq!(
            all,
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "22nd", "50th", "111th", "33.3th"]
        );
    }
}
