//! The wait after the load: until nothing waits or is leased, and then until every subscriber has seen what happened. Bounded,
//! and short once somebody pressed Ctrl-C, also when that was in the middle of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use squall_client::{Endpoint, Http, Options};
use tokio_util::sync::CancellationToken;

use crate::engine::Run;
use crate::target::is_quiet;

/// After Ctrl-C there is so long left, if the scenario does not give less.
const HASTY: Duration = Duration::from_secs(5);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the gateway may take to answer; then it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The lanes that have to be quiet, all if none are named; `None` when that is nobody's business.
    pub(super) quiet: Option<Vec<String>>,
    /// Whether somebody follows the feed.
    pub(super) followed: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Nothing waited and nothing was leased, twice in a row.
    pub(super) quiet: bool,
    /// Subscribers who had not seen the feed's last event, and the events that they had yet to see. `None` when it could
    /// not be told.
    pub(super) behind: Option<(u64, u64)>,
}

/// How long to wait: `patience`, or less when `hurry` is cancelled.
struct Wait {
    until: Instant,
    hurry: CancellationToken,
    hurries: bool,
}

impl Wait {
    fn new(patience: Duration, hurry: CancellationToken) -> Self {
        Self { until: Instant::now() + patience, hurry, hurries: false }
    }

    fn is_over(&mut self) -> bool {
        if self.hurry.is_cancelled() && !self.hurries {
            self.hurries = true;
            self.until = self.until.min(Instant::now() + HASTY);
        }
        Instant::now() >= self.until
    }
}

/// Waits at most `patience`, and asks at least once.
pub(super) async fn settle(run: Arc<Run>, wanted: Wanted, patience: Duration, hurry: CancellationToken) -> Settled {
    let mut wait = Wait::new(patience, hurry);
    let mut http = asking(&run.endpoint);
    let mut settled = Settled { quiet: true, behind: None };
    if let Some(lanes) = &wanted.quiet {
        settled.quiet = until_quiet(&mut http, lanes, &mut wait).await;
    }
    // Where something still happens, nobody can be expected to have seen all of it.
    if wanted.followed && settled.quiet {
        settled.behind = until_followed(&mut http, &run, &mut wait).await;
    }
    settled
}

fn asking(endpoint: &Endpoint) -> Http {
    let options = Options { connect_timeout: ANSWER_WITHIN, request_timeout: ANSWER_WITHIN, ..Options::default() };
    Http::new(endpoint.clone(), options)
}

async fn until_quiet(http: &mut Http, lanes: &[String], wait: &mut Wait) -> bool {
    let mut quiet = 0;
    while !wait.is_over() {
        quiet = match http.stats().await {
            Ok(stats) if is_quiet(&stats, lanes) => quiet + 1,
            _ => 0,
        };
        if quiet == 2 {
            return true;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    false
}

async fn until_followed(http: &mut Http, run: &Run, wait: &mut Wait) -> Option<(u64, u64)> {
    let head = loop {
        match http.stats().await {
            Ok(stats) => break stats.feed_offset,
            Err(_) if wait.is_over() => return None,
            Err(_) => tokio::time::sleep(ASK_EVERY).await,
        }
    };
    loop {
        let behind = run.followers.behind(head);
        if behind.0 == 0 || wait.is_over() {
            return Some(behind);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_hurries_waits_no_longer_than_they_would_have() {
        let hurry = CancellationToken::new();
        let (mut long, mut short) =
            (Wait::new(Duration::from_secs(600), hurry.clone()), Wait::new(Duration::ZERO, hurry.clone()));
        assert!(!long.is_over());
        hurry.cancel();
        assert!(!long.is_over(), "there is a moment left");
        assert!(long.until <= Instant::now() + HASTY);
        assert!(short.is_over());
    }
}
