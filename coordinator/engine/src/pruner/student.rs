//! Student's t distribution. The crates that have it take logarithms from the system, whose last bits differ between
//! machines; here they come from `libm`, so that a decision is the same everywhere.

/// The number that a t variable with this many degrees of freedom stays below with `probability`, from 0.5 up to but
/// not 1.
pub(super) fn quantile(probability: f64, degrees: u32) -> f64 {
    let tail = 1.0 - probability;
    if !(tail > 0.0 && tail < 0.5) || degrees == 0 {
        return if tail >= 0.5 { 0.0 } else { f64::INFINITY };
    }
    let mut high = 1.0;
    while upper_tail(high, degrees) > tail && high < f64::MAX / 2.0 {
        high *= 2.0;
    }
    let mut low = 0.0;
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if upper_tail(middle, degrees) > tail { low = middle } else { high = middle }
    }
}

/// The chance that a t variable is above `t`, from 0.
fn upper_tail(t: f64, degrees: u32) -> f64 {
    let degrees = f64::from(degrees);
    0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
}

/// The regularized incomplete beta function: DLMF 8.17.22 with the symmetry 8.17.4 where that converges faster.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front =
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    let front = libm::exp(front);
    if x < (a + 1.0) / (a + b + 2.0) {
        front / a * continued_fraction(a, b, x)
    } else {
        1.0 - front / b * continued_fraction(b, a, 1.0 - x)
    }
}

/// The continued fraction of DLMF 8.17.22 by Lentz's method.
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    let above = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut numerator = 1.0;
    let mut denominator = 1.0 / above(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = denominator;
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            denominator = 1.0 / above(1.0 + coefficient * denominator);
            numerator = above(1.0 + coefficient / numerator);
            change = denominator * numerator;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles as scipy 1.17.1 has them: `scipy.stats.t.ppf(probability, degrees)`.
    const KNOWN: &[(f64, u32, f64)] = &[
        (0.75, 1, 1.0000000000000002),
        (0.75, 2, 0.8164965809277261),
        (0.75, 3, 0.7648923284043444),
        (0.75, 8, 0.7063866126448388),
        (0.75, 29, 0.6830438608216131),
        (0.75, 100, 0.6769510430114717),
        (0.75, 5000, 0.6745388203608743),
        (0.75, 400000, 0.6744903635338939),
        (0.95, 1, 6.313751514675037),
        (0.95, 2, 2.9199855803537242),
        (0.95, 3, 2.3533634348018233),
        (0.95, 8, 1.8595480375308973),
        (0.95, 29, 1.6991270265334972),
        (0.95, 100, 1.6602343260853392),
        (0.95, 5000, 1.6451584375969708),
        (0.95, 400000, 1.6448574363832171),
        (0.975, 1, 12.706204736174694),
        (0.975, 2, 4.302652729749462),
        (0.975, 3, 3.1824463052837078),
        (0.975, 8, 2.306004135204166),
        (0.975, 29, 2.045229642132703),
        (0.975, 100, 1.9839715185235518),
        (0.975, 5000, 1.9604385517065073),
        (0.975, 400000, 1.9599699152357701),
        (0.9875, 1, 25.451699579357168),
        (0.9875, 2, 6.205346816570706),
        (0.9875, 3, 4.176534846104503),
        (0.9875, 8, 2.751523596063054),
        (0.9875, 29, 2.363846073208312),
        (0.9875, 100, 2.2756524130289573),
        (0.9875, 5000, 2.2420780211248266),
        (0.9875, 400000, 2.2414111663573615),
        (0.999, 1, 318.30883898555015),
        (0.999, 2, 22.327124770119866),
        (0.999, 3, 10.214531852407383),
        (0.999, 8, 4.5007909337237235),
        (0.999, 29, 3.3962402883568026),
        (0.999, 100, 3.173739493738783),
        (0.999, 5000, 3.091863119960982),
        (0.999, 400000, 3.0902526816134257),
        (0.999999, 1, 318309.88617359026),
        (0.999999, 2, 707.1057205157672),
        (0.999999, 3, 103.29946777942898),
        (0.999999, 8, 12.109834665510558),
        (0.999999, 29, 5.917105540449102),
        (0.999999, 100, 5.048830877221446),
        (0.999999, 5000, 4.759037953499271),
        (0.999999, 400000, 4.753494408000717),
    ];

    #[test]
    fn quantiles_are_the_known_ones() {
        for (probability, degrees, expected) in KNOWN {
            let found = quantile(*probability, *degrees);
            let wrong = (found - expected).abs() / expected;
            assert!(wrong < 1e-8, "{probability} {degrees}: {found}, not {expected}");
        }
        assert_eq!(quantile(0.5, 7), 0.0);
        assert_eq!(quantile(1.0, 7), f64::INFINITY);
        assert_eq!(quantile(0.9, 0), f64::INFINITY);
    }
}
