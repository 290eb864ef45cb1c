//! Times that many tasks count at once, each to within two parts in a hundred.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of one power of two: so many parts of it.
const PARTS: u64 = 64;
/// Powers of two above the first bucket: microseconds up to hours.
const POWERS: u64 = 32;

/// How many times fell into each bucket. Below 64 microseconds a bucket is one of them, above it is a 64th of a power of two.
pub(super) struct Histogram {
    buckets: Vec<AtomicU64>,
    max: AtomicU64,
}

impl Histogram {
    pub fn new() -> Self {
        let buckets = (0..PARTS * (POWERS + 1)).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, max: AtomicU64::new(0) }
    }

    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(micros).min(self.buckets.len() - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.max.fetch_max(micros, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// What a share of all times is at most, in milliseconds; none if there is no time.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = (share * self.count() as f64).ceil().max(1.0);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen as f64 >= wanted {
                return Some(millis(last_of(index).min(self.max.load(Ordering::Relaxed))));
            }
        }
        None
    }

    /// The longest time, in milliseconds; none if there is no time.
    pub fn max_ms(&self) -> Option<f64> {
        (self.count() > 0).then(|| millis(self.max.load(Ordering::Relaxed)))
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn bucket_of(micros: u64) -> usize {
    if micros < PARTS {
        return micros as usize;
    }
    let power = u64::from(micros.ilog2()) - u64::from(PARTS.ilog2());
    // Two halves of a power of two share the upper half of the buckets.
    (PARTS * power + (micros >> power)) as usize
}

/// The longest time of a bucket, in microseconds.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let power = bucket / PARTS - 1;
    let part = bucket - PARTS * power;
    ((part + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_a_bucket_that_is_hardly_longer() {
        let mut before = 0;
        for micros in (0..5_000).chain([1 << 20, (1 << 20) + 1, 987_654_321]) {
            let bucket = bucket_of(micros);
            assert!(bucket >= before || micros >= 5_000, "{micros}");
            before = bucket;
            let last = last_of(bucket);
            assert!(last >= micros && last - micros <= micros / 50, "{micros}: {last}");
        }
    }

    #[test]
    fn quantiles() {
        let histogram = Histogram::new();
        assert_eq!((histogram.quantile_ms(0.5), histogram.max_ms()), (None, None));
        for micros in 1..=1_000 {
            histogram.add(Duration::from_micros(micros * 10));
        }
        histogram.add(Duration::MAX);
        assert_eq!(histogram.count(), 1_001);
        for (share, millis) in [(0.5, 5.01), (0.99, 9.91)] {
            let found = histogram.quantile_ms(share).expect("there are times");
            assert!((millis..millis * 1.02).contains(&found), "{share}: {found}");
        }
    }
}
