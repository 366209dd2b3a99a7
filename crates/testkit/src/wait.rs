//! Waiting for what must become true, with an end.

use std::time::{Duration, Instant};

/// Asks again and again until the answer is something, at most for `limit`.
///
/// # Panics
/// When it is still nothing then; says what was waited for.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut ask: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Awaits one thing, at most for `limit`.
///
/// # Panics
/// When it does not end in time; says what was waited for.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited {limit:?} in vain for: {what}"),
    }
}
