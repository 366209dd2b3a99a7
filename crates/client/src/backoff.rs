//! How long to wait before the next attempt to connect. Pure: time and randomness come in as arguments.

use std::time::Duration;

/// Exponential backoff with equal jitter: the n-th wait is drawn evenly from the upper half of
/// `min(first × factor^n, longest)`.
///
/// Half of the wait is random so that a thousand clients of one gateway do not come back in one instant; the other half is
/// not, so that none of them comes back at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait at most, milliseconds.
    pub first_ms: u64,
    /// From one wait to the next; at least 1.
    pub factor: f64,
    /// No wait is longer, milliseconds.
    pub longest_ms: u64,
    /// A connection that stood for so long counts as a success, and the waits begin anew, milliseconds.
    pub stable_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first_ms: 50, factor: 2.0, longest_ms: 5_000, stable_ms: 1_000 }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (0 for the first), with `random` from 0 to 1.
    #[must_use]
    pub fn wait_ms(&self, failures: u32, random: f64) -> u64 {
        let exponent = i32::try_from(failures.min(1_000)).unwrap_or(1_000);
        let grown = self.first_ms as f64 * self.factor.max(1.0).powi(exponent);
        let nominal = grown.min(self.longest_ms as f64);
        (nominal / 2.0 + nominal / 2.0 * random.clamp(0.0, 1.0)).round() as u64
    }
}

/// What a reconnecting client remembers between attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Attempts {
    failures: u32,
    connected_at: Option<Duration>,
}

impl Attempts {
    /// A connection stands since `now` (since any fixed instant).
    pub fn connected(&mut self, now: Duration) {
        self.connected_at = Some(now);
    }

    /// The attempt failed, or the connection was lost. Answers how long to wait, milliseconds.
    ///
    /// `asked_ms` is what the gateway asked for (`Retry-After`); the wait is never shorter.
    pub fn failed(&mut self, backoff: &Backoff, now: Duration, asked_ms: Option<u64>, random: f64) -> u64 {
        if let Some(since) = self.connected_at.take()
            && now.saturating_sub(since) >= Duration::from_millis(backoff.stable_ms)
        {
            self.failures = 0;
        }
        let wait_ms = backoff.wait_ms(self.failures, random).max(asked_ms.unwrap_or(0));
        self.failures = self.failures.saturating_add(1);
        wait_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first_ms: 100, factor: 2.0, longest_ms: 1_000, stable_ms: 0 };
        let waits: Vec<u64> = (0..6).map(|failures| backoff.wait_ms(failures, 1.0)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.wait_ms(2, 0.0), 200);
    }

    #[test]
    fn a_connection_that_flaps_keeps_backing_off_and_a_stable_one_begins_anew() {
        let backoff = Backoff { first_ms: 100, factor: 2.0, longest_ms: 10_000, stable_ms: 1_000 };
        let mut attempts = Attempts::default();
        let at = Duration::from_millis;
        assert_eq!(attempts.failed(&backoff, at(0), None, 1.0), 100);
        attempts.connected(at(100));
        assert_eq!(attempts.failed(&backoff, at(200), None, 1.0), 200, "it stood for 100 ms only");
        attempts.connected(at(1_000));
        assert_eq!(attempts.failed(&backoff, at(2_000), None, 1.0), 100, "it stood long enough");
        assert_eq!(attempts.failed(&backoff, at(2_000), Some(3_000), 1.0), 3_000, "the gateway asked for more");
    }

    proptest! {
        #[test]
        fn every_wait_lies_in_the_upper_half_and_never_above_the_longest(
            first_ms in 0_u64..100_000,
            factor in 0.0_f64..10.0,
            longest_ms in 0_u64..1_000_000,
            failures in 0_u32..u32::MAX,
            random in 0.0_f64..=1.0,
        ) {
            let backoff = Backoff { first_ms, factor, longest_ms, stable_ms: 1_000 };
            let wait = backoff.wait_ms(failures, random);
            let most = backoff.wait_ms(failures, 1.0);
            prop_assert!(wait <= most && most <= longest_ms);
            prop_assert!(2 * wait + 1 >= most, "{wait} of {most}");
            prop_assert!(most <= backoff.wait_ms(failures.saturating_add(1), 1.0), "waits never shrink");
        }
    }
}
