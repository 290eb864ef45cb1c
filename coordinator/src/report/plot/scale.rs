//! From a value to a place on an axis, and where its ticks are.

use foldwise_shared::value::short;

/// How many characters of a name stand at a tick.
const LABEL: usize = 16;

/// What an axis shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// Equal differences are equally far apart.
    Linear {
        /// The value at the start.
        low: f64,
        /// The value at the end.
        high: f64,
    },
    /// As linear, for what is counted: no tick between two whole numbers.
    Whole {
        /// The value at the start.
        low: f64,
        /// The value at the end.
        high: f64,
    },
    /// Equal ratios are equally far apart.
    Log {
        /// The value at the start, above 0.
        low: f64,
        /// The value at the end.
        high: f64,
    },
    /// One band for each name; values count the names from 0.
    Bands(Vec<String>),
}

/// A mark on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Where it is, from 0 to 1.
    pub place: f64,
    /// What stands there.
    pub label: String,
}

impl Scale {
    /// A scale that has all these values and a little room beside them; logarithmic only if all are above 0.
    pub fn around(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self::Linear { low: 0.0, high: 1.0 };
        }
        if log && low > 0.0 {
            let room = (ratio(low, high) * 0.04).max(0.02).exp();
            return Self::Log { low: (low / room).max(f64::MIN_POSITIVE), high: (high * room).min(f64::MAX) };
        }
        let room = high * 0.04 - low * 0.04;
        let room = if room > 0.0 { room } else { (low.abs() * 0.05).max(1e-9) };
        Self::Linear { low: (low - room).max(f64::MIN), high: (high + room).min(f64::MAX) }
    }

    /// As [`Self::around`], for what is counted.
    pub fn whole(values: impl Iterator<Item = f64>) -> Self {
        match Self::around(values, false) {
            Self::Linear { low, high } => Self::Whole { low, high },
            other => other,
        }
    }

    /// As [`Self::around`], logarithmic where the values differ by more than a factor of ten.
    pub fn losses(values: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = values.clone().filter(|value| value.is_finite());
        let (low, high) =
            finite.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        Self::around(values, low > 0.0 && high > 10.0 * low)
    }

    /// A scale from 0 up to these values.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let high = values.filter(|value| value.is_finite()).fold(0.0_f64, f64::max);
        Self::Linear { low: 0.0, high: if high > 0.0 { (high * 1.05).min(f64::MAX) } else { 1.0 } }
    }

    /// Whether equal ratios are equally far apart.
    pub fn is_log(&self) -> bool {
        matches!(self, Self::Log { .. })
    }

    /// Where a value is: 0 at the start, 1 at the end, beyond them outside.
    pub fn place(&self, value: f64) -> f64 {
        match self {
            // Quarters, for the distance of two finite numbers may be too large for a number.
            Self::Linear { low, high } | Self::Whole { low, high } if !(high - low).is_finite() => {
                (value / 4.0 - low / 4.0) / (high / 4.0 - low / 4.0)
            }
            Self::Linear { low, high } | Self::Whole { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => {
                if value <= 0.0 {
                    return 0.0;
                }
                ratio(*low, value) / ratio(*low, *high)
            }
            Self::Bands(names) => (value + 0.5) / names.len().max(1) as f64,
        }
    }

    /// The value at a place.
    pub fn value(&self, place: f64) -> f64 {
        match self {
            Self::Linear { low, high } | Self::Whole { low, high } if !(high - low).is_finite() => {
                (low * (1.0 - place) + high * place).clamp(f64::MIN, f64::MAX)
            }
            Self::Linear { low, high } | Self::Whole { low, high } => {
                (low + place * (high - low)).clamp(f64::MIN, f64::MAX)
            }
            Self::Log { low, high } => {
                (low.ln() + place * ratio(*low, *high)).exp().clamp(f64::MIN_POSITIVE, f64::MAX)
            }
            Self::Bands(names) => (place * names.len() as f64 - 0.5).round(),
        }
    }

    /// About so many ticks.
    pub fn ticks(&self, about: usize) -> Vec<Tick> {
        let about = about.max(2);
        let values = match self {
            Self::Linear { low, high } => linear_ticks(*low, *high, about, 0.0),
            Self::Whole { low, high } => linear_ticks(*low, *high, about, 1.0),
            Self::Log { low, high } => log_ticks(*low, *high, about),
            Self::Bands(names) => {
                let step = names.len().div_ceil(about.max(12));
                let shown = names.iter().enumerate().step_by(step.max(1));
                return shown
                    .map(|(at, name)| Tick { place: self.place(at as f64), label: clip(name) })
                    .collect();
            }
        };
        let tick = |value| Tick { place: self.place(value), label: tidy(value) };
        values.into_iter().map(tick).collect()
    }
}

/// The logarithm of `high / low`, which itself may be too large for a number.
fn ratio(low: f64, high: f64) -> f64 {
    high.ln() - low.ln()
}

/// Rounding of a step such as 0.1 + 0.2 does not show.
fn tidy(value: f64) -> String {
    short(value).replace('-', "\u{2212}")
}

/// A name that fits at a tick.
pub fn clip(name: &str) -> String {
    if name.chars().count() <= LABEL {
        return name.to_owned();
    }
    let mut text: String = name.chars().take(LABEL - 1).collect();
    text.push('\u{2026}');
    text
}

/// About so many values, at least `apart` from each other.
fn linear_ticks(low: f64, high: f64, about: usize, apart: f64) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return Vec::new();
    }
    let raw = span / about as f64;
    let size = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * size).into_iter().find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * size).max(apart);
    let first = (low / step - 1e-9).ceil();
    (0..=2 * about + 2)
        .map(|at| (first + at as f64) * step)
        .take_while(|value| value.is_finite() && *value <= high + step * 1e-9)
        .map(|value| if value.abs() < step * 1e-9 { 0.0 } else { value })
        .collect()
}

fn log_ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    if !(low > 0.0 && low < high && high.is_finite()) {
        return Vec::new();
    }
    // The powers of ten that are numbers, whatever the rounding makes of the ends.
    let exponent = |value: f64| (value as i32).clamp(-308, 308);
    let (first, last) = (exponent(low.log10().floor()), exponent(high.log10().ceil()));
    let within = |value: &f64| value.is_finite() && (low * 0.999_999..=high * 1.000_001).contains(value);
    let of = |parts: &[f64]| -> Vec<f64> {
        let decades = first..=last;
        decades
            .flat_map(|decade| parts.iter().map(move |part| part * 10_f64.powi(decade)))
            .filter(within)
            .collect()
    };
    for parts in [&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0][..], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]] {
        let ticks = of(parts);
        if ticks.len() <= about + 1 {
            // Less than half a decade: as on a linear scale.
            return if ticks.len() < 2 { linear_ticks(low, high, about, 0.0) } else { ticks };
        }
    }
    let ticks = of(&[1.0]);
    let step = ticks.len().div_ceil(about).max(1);
    ticks.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, about: usize) -> String {
        scale.ticks(about).into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round_numbers() {
        for (low, high, log, about, expected) in [
            (0.0, 1.0, false, 5, "0 0.2 0.4 0.6 0.8 1"),
            (-0.31, 0.29, false, 6, "\u{2212}0.3 \u{2212}0.2 \u{2212}0.1 0 0.1 0.2"),
            (0.021, 0.029, false, 4, "0.022 0.024 0.026 0.028"),
            (0.0, 60.0, false, 6, "0 10 20 30 40 50 60"),
            (5e-4, 5e-2, true, 6, "5e\u{2212}4 0.001 0.002 0.005 0.01 0.02 0.05"),
            (1e-7, 1e-4, true, 4, "1e\u{2212}7 1e\u{2212}6 1e\u{2212}5 1e\u{2212}4"),
            (1e-12, 1.0, true, 4, "1e\u{2212}12 1e\u{2212}8 1e\u{2212}4 1"),
            (0.020, 0.024, true, 4, "0.02 0.021 0.022 0.023 0.024"),
        ] {
            let scale = if log { Scale::Log { low, high } } else { Scale::Linear { low, high } };
            assert_eq!(labels(&scale, about), expected, "{low} to {high}");
        }
    }

    #[test]
    fn what_is_counted_has_no_ticks_between_whole_numbers() {
        for (values, about, expected) in [
            ([1.0, 4.0], 8, "1 2 3 4"),
            ([1.0, 1.0], 8, "1"),
            ([1.0, 20.0], 8, "5 10 15 20"),
            ([0.0, 6000.0], 6, "0 2000 4000 6000"),
        ] {
            assert_eq!(labels(&Scale::whole(values.into_iter()), about), expected, "{values:?}");
        }
    }

    #[test]
    fn places_and_values_are_each_other_s_inverse() {
        for scale in [
            Scale::Linear { low: -2.0, high: 6.0 },
            Scale::Whole { low: 1.0, high: 9.0 },
            Scale::Log { low: 1e-5, high: 1e-1 },
        ] {
            for place in [0.0, 0.25, 1.0] {
                assert!((scale.place(scale.value(place)) - place).abs() < 1e-12, "{scale:?}");
            }
        }
        let bands = Scale::Bands(vec!["a".into(), "b".into()]);
        assert_eq!((bands.place(0.0), bands.place(1.0), bands.value(0.8)), (0.25, 0.75, 1.0));
    }

    #[test]
    fn the_largest_and_least_numbers_have_places_and_few_ticks() {
        for (low, high) in [(1.0, 1.79e308), (1e-300, 1e300), (5e-324, f64::MAX)] {
            for scale in [
                Scale::Log { low, high },
                Scale::Linear { low: -high, high },
                Scale::around([low, high].into_iter(), true),
                Scale::around([-high, high].into_iter(), false),
                Scale::losses([low, high].into_iter()),
                Scale::from_zero([high].into_iter()),
            ] {
                assert!(scale.ticks(6).len() < 30, "{scale:?}");
                assert!(scale.ticks(6).iter().all(|tick| (-0.01..=1.01).contains(&tick.place)), "{scale:?}");
                assert!((-0.01..=1.01).contains(&scale.place(high)), "{scale:?}");
                for place in [-0.04, 0.0, 0.5, 1.0, 1.04] {
                    assert!(scale.value(place).is_finite(), "{scale:?}");
                }
            }
        }
        for (low, high) in [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, f64::INFINITY), (f64::NAN, 1.0)] {
            assert!(Scale::Log { low, high }.ticks(6).is_empty(), "{low} to {high}");
        }
    }

    #[test]
    fn a_scale_holds_what_it_is_made_for() {
        assert_eq!(Scale::around([].into_iter(), true), Scale::Linear { low: 0.0, high: 1.0 });
        let one = Scale::around([0.5].into_iter(), false);
        assert!((0.0..=1.0).contains(&one.place(0.5)), "{one:?}");
        let all = Scale::around([1.0, f64::NAN, 3.0].into_iter(), false);
        assert!(all.place(1.0) > 0.0 && all.place(3.0) < 1.0);
        assert!(!Scale::around([0.0, 3.0].into_iter(), true).is_log());
        assert!(Scale::losses([0.02, 0.5].into_iter()).is_log());
        assert!(!Scale::losses([0.02, 0.05].into_iter()).is_log());
    }
}
