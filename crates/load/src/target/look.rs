//! What the target says of itself, once a second: queue depths, sessions, health. It may explain; it excuses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use squall_client::{Endpoint, Http, Options};
use squall_protocol::{HealthStatus, LaneView, Priority, Stats};
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
    http: Http,
}

impl Watcher {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let within = Duration::from_millis(900);
        let options = Options { connect_timeout: within, request_timeout: within, ..Options::default() };
        Self { http: Http::new(endpoint, options) }
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
        let Ok(stats) = self.http.stats().await else {
            return Look { health: Some("unreachable".to_owned()), ..Look::default() };
        };
        let health = match self.http.health().await {
            Ok(health) => match health.status {
                HealthStatus::Healthy => "healthy",
                HealthStatus::Degraded => "degraded",
                HealthStatus::Draining => "draining",
            },
            Err(_) => "unreachable",
        };
        let depths = stats.lanes.iter().flat_map(depths).collect();
        Look { depths, sessions: stats.sessions, health: Some(health.to_owned()) }
    }
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

/// Whether nothing waits and nothing is leased, on the lanes that are meant (all if none are named).
pub(crate) fn is_quiet(stats: &Stats, lanes: &[String]) -> bool {
    let meant = |lane: &&LaneView| lanes.is_empty() || lanes.contains(&lane.lane);
    let waiting = |lane: &LaneView| lane.ready.high + lane.ready.normal + lane.ready.low + lane.delayed + lane.leased;
    stats.lanes.iter().filter(meant).all(|lane| waiting(lane) == 0)
}
