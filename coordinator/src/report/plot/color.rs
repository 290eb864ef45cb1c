//! Colors that people with any kind of color vision can tell apart, on white and on black.

use std::fmt::Write;

use foldwise_shared::state::TrialState;

/// Paul Tol's "muted" scheme with two of his "bright" one, in an order in which neighbors differ in lightness too
/// (<https://personal.sron.nl/~pault/>).
const CATEGORIES: [&str; 10] = [
    "#4477aa", "#cc6677", "#ddaa33", "#228833", "#88ccee", "#aa4499", "#999933", "#882255", "#44aa99",
    "#888888",
];

/// The color of the thing with this index; after ten they begin again.
pub fn category(index: usize) -> &'static str {
    CATEGORIES[index % CATEGORIES.len()]
}

/// The color of a trial in this state.
pub fn states(state: TrialState) -> &'static str {
    match state {
        TrialState::Complete => CATEGORIES[0],
        TrialState::Pruned => CATEGORIES[2],
        TrialState::Failed => CATEGORIES[1],
        TrialState::Cancelled => CATEGORIES[5],
        TrialState::Waiting | TrialState::Running | TrialState::Stopping => CATEGORIES[9],
    }
}

/// Colors for numbers from good to bad: blue over green to lime (viridis, without the ends that vanish on black and on white).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorMap {
    good: f64,
    bad: f64,
    log: bool,
}

/// Losses this far up are as bad as any worse one.
const WORST: f64 = 0.85;

impl ColorMap {
    /// The map for these values of trials, of which the smaller (`minimize`) or the larger are better. A few very bad ones
    /// do not take all colors from the others.
    pub fn of(values: impl Iterator<Item = f64>, minimize: bool) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        if !minimize {
            values.reverse();
        }
        let good = *values.first()?;
        let bad = *values.get(((values.len() - 1) as f64 * WORST).round() as usize)?;
        let log = good > 0.0 && bad > 0.0 && (bad / good > 10.0 || good / bad > 10.0);
        Some(Self { good, bad, log })
    }

    /// A map between two numbers.
    pub fn between(good: f64, bad: f64) -> Self {
        Self { good, bad, log: false }
    }

    /// How bad a value is, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        let of = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let span = of(self.bad) - of(self.good);
        if span == 0.0 || !value.is_finite() {
            return if value == self.good { 0.0 } else { 1.0 };
        }
        ((of(value) - of(self.good)) / span).clamp(0.0, 1.0)
    }

    /// The color of a value as `#rrggbb`.
    pub fn color(&self, value: f64) -> String {
        hex(Self::rgb(self.share(value)))
    }

    /// The color of a share as red, green and blue.
    pub fn rgb(share: f64) -> [u8; 3] {
        let color = colorous::VIRIDIS.eval_continuous(0.22 + 0.64 * share.clamp(0.0, 1.0));
        [color.r, color.g, color.b]
    }

    /// The value whose color is the best, and the one from which on all are the worst.
    pub fn ends(&self) -> (f64, f64) {
        (self.good, self.bad)
    }
}

fn hex(rgb: [u8; 3]) -> String {
    rgb.iter().fold(String::from("#"), |mut text, part| {
        // A string takes all that is written.
        let _ = write!(text, "{part:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_dark_whatever_is_better() {
        let values = [0.3, 0.1, 0.2, 9.0, 0.15, 0.25, 0.12];
        let least = ColorMap::of(values.into_iter(), true).expect("values");
        assert_eq!(least.share(0.1), 0.0);
        assert_eq!((least.share(0.3), least.share(9.0)), (1.0, 1.0));
        let most = ColorMap::of(values.into_iter(), false).expect("values");
        assert_eq!(most.share(9.0), 0.0);
        assert_eq!(most.color(9.0), least.color(0.1));
        assert!(ColorMap::of([f64::NAN].into_iter(), true).is_none());
        let same = ColorMap::of([1.0, 1.0].into_iter(), true).expect("values");
        assert_eq!(same.share(1.0), 0.0);
    }
}
