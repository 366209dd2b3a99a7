//! How long a VU waits before it tries again.

use std::time::Duration;

use squall_client::{Backoff, Error};

use super::Place;

/// Short waits: a target that comes back should be met at once.
pub(super) const BACKOFF: Backoff = Backoff { first_ms: 20, factor: 1.6, longest_ms: 500, stable_ms: 200 };

/// Waits, unless the VU is told to stop; answers whether to go on.
pub(super) async fn wait(place: &Place, wait: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => !place.stop.is_cancelled(),
        () = place.stop.cancelled() => false,
    }
}

/// After an error in a closed loop: a VU that only fails must not turn into a busy loop, and one that is told to come
/// back later does. In the open model the schedule decides, so nothing is waited for.
pub(super) async fn after(place: &Place, error: &Error, failures: u32) {
    if place.open {
        return;
    }
    let random = place.core.rng.borrow_mut().f64();
    let asked_ms = error.retry_after_ms().unwrap_or(0).min(1_000);
    wait(place, Duration::from_millis(BACKOFF.wait_ms(failures, random).max(asked_ms))).await;
}
