//! A time-out that costs no timer per request: one sleep per connection, moved only when it fires too early.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// One deadline that is set over and over, mostly before it passes.
pub(crate) struct Deadline {
    until: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(crate) fn new() -> Self {
        Self { until: Instant::now(), sleep: None }
    }

    /// The deadline is `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.until = Instant::now() + after;
        // A sleep that ends earlier is looked at when it does; one that ends later would be too late.
        if let Some(sleep) = &mut self.sleep
            && sleep.deadline() > self.until
        {
            sleep.as_mut().reset(self.until);
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(until - Instant::now())));
        loop {
            std::task::ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= self.until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // tokio's paused clock would want another feature of tokio for the whole workspace; these milliseconds are real.
    #[tokio::test]
    async fn it_can_be_moved_both_ways() {
        let start = Instant::now();
        let mut deadline = Deadline::new();
        deadline.set(Duration::from_millis(10));
        assert!(std::future::poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
        deadline.set(Duration::from_millis(60));
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert!(start.elapsed() >= Duration::from_millis(60));
        deadline.set(Duration::from_secs(3_600));
        assert!(std::future::poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
        deadline.set(Duration::from_millis(1));
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}
