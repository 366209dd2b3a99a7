//! Randomness that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of a test: random, or what `SQUALL_TEST_SEED` says. Printed when the test fails.
pub struct Seed(u64);

impl Seed {
    /// A seed for this test run.
    ///
    /// # Panics
    /// When `SQUALL_TEST_SEED` is set to something that is no number.
    #[must_use]
    pub fn new() -> Self {
        match std::env::var("SQUALL_TEST_SEED") {
            Ok(text) => match text.parse() {
                Ok(seed) => Self(seed),
                Err(why) => panic!("SQUALL_TEST_SEED={text:?}: {why}"),
            },
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Self(now.as_nanos() as u64)
            }
        }
    }

    /// A generator that starts with the seed; another one for each `stream`.
    #[must_use]
    pub fn rng(&self, stream: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.0 ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the test failed with SQUALL_TEST_SEED={}", self.0);
        }
    }
}
