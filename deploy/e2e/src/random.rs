//! Random moments that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator (SplitMix64) that says its seed, so that a failure can be repeated.
#[derive(Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Seeded from `FOLDWISE_E2E_SEED`, or else from the time; the seed is printed for whoever sees the test fail.
    ///
    /// # Panics
    /// The variable is no number.
    pub fn from_env() -> Self {
        let state = match std::env::var("FOLDWISE_E2E_SEED") {
            Ok(text) => text.parse().expect("FOLDWISE_E2E_SEED is a whole number"),
            Err(_) => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
            }
        };
        eprintln!("FOLDWISE_E2E_SEED={state}");
        Self::new(state)
    }

    /// With a seed of the caller's.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number from 0 to `most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % (most + 1)
    }

    /// A time from `least` to `most` seconds, to the millisecond.
    pub fn seconds(&mut self, least: f64, most: f64) -> std::time::Duration {
        let span = ((most - least).max(0.0) * 1_000.0) as u64;
        std::time::Duration::from_secs_f64(least.max(0.0))
            + std::time::Duration::from_millis(self.up_to(span))
    }

    /// Brings things into a random order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.up_to(last as u64) as usize);
        }
    }
}
