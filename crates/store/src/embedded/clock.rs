//! The time that the core is told. It follows the machine's clock forward, and never goes back: when the machine's clock is set back,
//! it goes on a little slower until the machine has caught up. If it stood still instead, a retry would wait as long as the clock was
//! set back.

use std::time::Instant;

use squall_protocol::Time;

/// See the module.
pub(super) struct Clock {
    time_us: u64,
    read: Instant,
}

impl Clock {
    /// One that shows this time now.
    pub(super) fn showing(time: Time) -> Self {
        Self { time_us: time.0.saturating_mul(1_000), read: Instant::now() }
    }

    pub(super) fn now(&mut self) -> Time {
        self.at(crate::now(), Instant::now())
    }

    fn at(&mut self, machine: Time, read: Instant) -> Time {
        let passed_us = u64::try_from(read.saturating_duration_since(self.read).as_micros()).unwrap_or(u64::MAX);
        self.read = read;
        let slowest_us = self.time_us.saturating_add(passed_us.saturating_mul(9) / 10);
        self.time_us = slowest_us.max(machine.0.saturating_mul(1_000));
        Time(self.time_us / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_follows_the_machine_forward_and_goes_on_when_that_is_set_back() {
        let mut clock = Clock::showing(Time(10_000));
        let begun = clock.read;
        let mut shows = |after_ms, machine| clock.at(Time(machine), begun + Duration::from_millis(after_ms)).0;
        assert_eq!(shows(1_000, 11_000), 11_000);
        assert_eq!(shows(2_000, 3_612_000), 3_612_000, "an hour forward");
        assert_eq!(shows(3_000, 13_000), 3_612_900, "and back");
        assert_eq!(shows(10_003_000, 10_013_000), 12_612_900);
        assert_eq!(shows(40_003_000, 40_013_000), 40_013_000, "the machine has caught up");
        assert_eq!(shows(40_003_000, 40_013_000), 40_013_000);
    }
}
