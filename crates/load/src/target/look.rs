//! What the target says of itself, once a second: queue depths, sessions, health. It may explain; it excuses nothing.
//!
//! Several gateways share what waits and who is there, so that one of them can say it for all; health each has for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use squall_client::{Endpoints, Http, Options};
use squall_protocol::{LaneView, Priority, Stats};
use squall_report::series::DepthSample;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// One look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) depths: Vec<DepthSample>,
    pub(crate) sessions: BTreeMap<String, u64>,
    /// `healthy`, `degraded`, `draining`, `unreachable`.
    pub(crate) health: Option<String>,
}

/// Looks, until it is told to stop.
pub(crate) struct Watcher {
    /// One for each gateway.
    each: Vec<Http>,
}

impl Watcher {
    pub(crate) fn new(gateways: &Endpoints) -> Self {
        let within = Duration::from_millis(900);
        let options = Options { connect_timeout: within, request_timeout: within, ..Options::default() };
        Self { each: gateways.all().iter().map(|one| Http::new(one.clone(), options.clone())).collect() }
    }

    pub(crate) async fn watch(mut self, looks: watch::Sender<Look>, stop: CancellationToken) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = stop.cancelled() => return,
            }
            let look = self.look().await;
            looks.send_replace(look);
        }
    }

    async fn look(&mut self) -> Look {
        together(join_all(self.each.iter_mut().map(look)).await)
    }
}

async fn look(http: &mut Http) -> Look {
    let Ok(stats) = http.stats().await else {
        return Look { health: Some(UNREACHABLE.to_owned()), ..Look::default() };
    };
    let health = match http.health().await {
        Ok(health) => super::vigil::word(health.status),
        Err(_) => UNREACHABLE,
    };
    let depths = stats.lanes.iter().flat_map(depths).collect();
    Look { depths, sessions: stats.sessions, health: Some(health.to_owned()) }
}

pub(super) const UNREACHABLE: &str = "unreachable";

/// What the first says that can say something, and the worst health of all.
fn together(looks: Vec<Look>) -> Look {
    const FROM_BAD_TO_GOOD: [&str; 4] = [UNREACHABLE, "draining", "degraded", "healthy"];
    let rank = |look: &Look| FROM_BAD_TO_GOOD.iter().position(|it| Some(*it) == look.health.as_deref());
    let health = looks.iter().min_by_key(|look| rank(look)).and_then(|look| look.health.clone());
    let best = looks.into_iter().max_by_key(|look| (!look.depths.is_empty(), rank(look)));
    Look { health, ..best.unwrap_or_default() }
}

/// A lane's queues by priority. Delayed and leased tasks are not told by priority; they stand with `normal`, so that sums
/// are right.
fn depths(lane: &LaneView) -> [DepthSample; 3] {
    Priority::ALL.map(|priority| {
        let middle = priority == Priority::Normal;
        DepthSample {
            lane: lane.lane.clone(),
            priority: priority.as_str().to_owned(),
            ready: *lane.ready.get(priority),
            delayed: if middle { lane.delayed } else { 0 },
            leased: if middle { lane.leased } else { 0 },
        }
    })
}

/// Whether nothing waits and nothing is leased, on the lanes that are meant (all if none are named). A gateway whose store is away
/// shows no lanes, and that is not quiet.
pub(crate) fn is_quiet(stats: &Stats, lanes: &[String]) -> bool {
    let meant = |lane: &&LaneView| lanes.is_empty() || lanes.contains(&lane.lane);
    let waiting = |lane: &LaneView| lane.ready.high + lane.ready.normal + lane.ready.low + lane.delayed + lane.leased;
    let mut meant = stats.lanes.iter().filter(meant).peekable();
    stats.store_up && meant.peek().is_some() && meant.all(|lane| waiting(lane) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_gateways_are_as_well_as_the_worst_and_know_what_one_knows() {
        let look = |health: &str, ready| {
            let depth =
                DepthSample { lane: "a".to_owned(), priority: "high".to_owned(), ready, ..DepthSample::default() };
            let depths = if ready > 0 { vec![depth] } else { Vec::new() };
            Look { depths, health: Some(health.to_owned()), ..Look::default() }
        };
        for (looks, health, ready) in [
            (vec![look("healthy", 3)], "healthy", 3),
            (vec![look("unreachable", 0), look("healthy", 3)], "unreachable", 3),
            (vec![look("draining", 5), look("degraded", 0), look("healthy", 3)], "draining", 3),
            (vec![look("healthy", 0), look("degraded", 4)], "degraded", 4),
        ] {
            let seen = together(looks);
            assert_eq!((seen.health.as_deref(), seen.depths[0].ready), (Some(health), ready));
        }
        assert_eq!(together(Vec::new()).health, None);
    }
}
