//! The run's clock: microseconds since its zero, the same on all cores.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock with a zero that may lie a little in the future, so that all cores begin together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
    wall_zero_ms: u64,
}

impl Clock {
    /// Its zero is `ahead` from now.
    pub(crate) fn starting_in(ahead: Duration) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + ahead;
        Self { zero: Instant::now() + ahead, wall_zero_ms: wall.as_millis() as u64 }
    }

    /// Its zero is `ago` in the past.
    #[cfg(test)]
    pub(crate) fn started_ago(ago: Duration) -> Self {
        let clock = Self::starting_in(Duration::ZERO);
        Self { zero: clock.zero - ago, wall_zero_ms: clock.wall_zero_ms - ago.as_millis() as u64 }
    }

    /// Microseconds since zero; zero before it.
    #[inline]
    pub(crate) fn now_us(&self) -> u64 {
        Instant::now().saturating_duration_since(self.zero).as_micros() as u64
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.zero)
    }

    /// Milliseconds since the Unix epoch, by this clock: does not jump when the system's clock is set.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall_ms_at(self.now_us())
    }

    /// Milliseconds since the Unix epoch, of a time of this clock.
    pub(crate) const fn wall_ms_at(&self, at_us: u64) -> u64 {
        self.wall_zero_ms + at_us / 1000
    }

    /// The instant of a time of this clock.
    pub(crate) fn instant(&self, at_us: u64) -> Instant {
        self.zero + Duration::from_micros(at_us)
    }
}
