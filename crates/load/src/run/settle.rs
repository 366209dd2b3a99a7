//! The wait after the load: until nothing waits or is leased, and then until every subscriber has seen what happened. Bounded,
//! and short once somebody pressed Ctrl-C, also when that was in the middle of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use squall_client::{Endpoints, Http, Options};
use squall_protocol::Stats;
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
    let mut gateways = asking(&run.gateways);
    let mut settled = Settled { quiet: true, behind: None };
    if let Some(lanes) = &wanted.quiet {
        settled.quiet = until_quiet(&mut gateways, lanes, &mut wait).await;
    }
    // Where something still happens, nobody can be expected to have seen all of it.
    if wanted.followed && settled.quiet {
        settled.behind = until_followed(&mut gateways, &run, &mut wait).await;
    }
    settled
}

/// One for each gateway.
fn asking(gateways: &Endpoints) -> Vec<Http> {
    let options = Options { connect_timeout: ANSWER_WITHIN, request_timeout: ANSWER_WITHIN, ..Options::default() };
    gateways.all().iter().map(|one| Http::new(one.clone(), options.clone())).collect()
}

/// What those say that answer.
async fn stats(gateways: &mut [Http]) -> Vec<Stats> {
    join_all(gateways.iter_mut().map(Http::stats)).await.into_iter().filter_map(Result::ok).collect()
}

async fn until_quiet(gateways: &mut [Http], lanes: &[String], wait: &mut Wait) -> bool {
    let mut quiet = 0;
    while !wait.is_over() {
        let stats = stats(gateways).await;
        // What waits is the same for all of them; one that says otherwise has seen something that the others have not.
        let all = !stats.is_empty() && stats.iter().all(|stats| is_quiet(stats, lanes));
        quiet = if all { quiet + 1 } else { 0 };
        if quiet == 2 {
            return true;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    false
}

async fn until_followed(gateways: &mut [Http], run: &Run, wait: &mut Wait) -> Option<(u64, u64)> {
    let head = loop {
        // The feed is the same for all of them; the one that knows most of it knows where it ends.
        match stats(gateways).await.iter().filter(|stats| stats.store_up).map(|stats| stats.feed_offset).max() {
            Some(head) => break head,
            None if wait.is_over() => return None,
            None => tokio::time::sleep(ASK_EVERY).await,
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
