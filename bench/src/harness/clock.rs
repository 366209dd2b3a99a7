//! One monotonic clock for all threads, as a number that fits into a payload.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since this was first asked.
pub fn now_ns() -> u64 {
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps until `at_ns`; returns at once when that has passed.
pub fn sleep_until_ns(at_ns: u64) {
    let left = at_ns.saturating_sub(now_ns());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}
