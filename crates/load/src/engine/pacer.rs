//! Waits for an exact time. tokio's own timer has steps of a millisecond, which would show in every figure; a timerfd has
//! none. At more than a few thousand starts per second and core it ticks instead, because a wake-up for each would cost
//! more than it is worth.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

/// Starts that lie closer together share a wake-up.
const TICK_US: u64 = 200;

/// A timer of one load on one core.
pub(super) struct Pacer {
    timer: AsyncFd<Timer>,
    last_wake_us: u64,
}

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsFd;
        self.0.as_fd().as_raw_fd()
    }
}

impl Pacer {
    /// # Errors
    /// When the system has no file descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned here and never given away")]
        let timer = AsyncFd::new(Timer(timer))?;
        Ok(Self { timer, last_wake_us: 0 })
    }

    /// When to wake up for a start at `at_us`.
    fn wake_us(&self, at_us: u64) -> u64 {
        at_us.max(self.last_wake_us + TICK_US)
    }

    /// Waits until `at_us` of a clock that shows `now_us` now, or a little longer if the last wake-up was just now. Can be
    /// cancelled.
    pub(super) async fn until(&mut self, at_us: u64, now_us: u64) -> io::Result<()> {
        let wake_us = self.wake_us(at_us);
        let wait = Duration::from_micros(wake_us.saturating_sub(now_us));
        self.last_wake_us = wake_us.max(now_us);
        if wait.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let timer = &self.timer.get_ref().0;
        timer.set(Expiration::OneShot(wait.into()), TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.timer.readable().await?;
            // An expiration of an earlier, cancelled wait may be left over; `set` clears it, and `wait` then says so.
            if let Ok(fired) = ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
                return fired;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn asks_the_kernel_for_the_microsecond_and_shares_wake_ups_that_lie_close() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pacer = Pacer::new().unwrap();
            assert_eq!(pacer.wake_us(1_234), 1_234, "not rounded to a millisecond");
            pacer.last_wake_us = 1_234;
            assert_eq!(pacer.wake_us(1_300), 1_234 + TICK_US);
            assert_eq!(pacer.wake_us(2_000), 2_000);
        });
    }

    #[test]
    fn wakes_at_the_time_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pacer = Pacer::new().unwrap();
            let begun = Instant::now();
            let now_us = || begun.elapsed().as_micros() as u64;
            for at_us in (1..=50).map(|step| step * 1_300) {
                pacer.until(at_us, now_us()).await.unwrap();
                assert!(now_us() >= at_us, "woke before {at_us}");
            }
        });
    }
}
