//! When gateways notice that something is wrong, and when they say that it is over: each is asked several times a second, by a
//! connection of its own, as an orchestrator would. Only what changes is told.

use std::time::Duration;

use squall_client::{Endpoints, Http, Options};
use squall_protocol::{HealthStatus, Stats};
use squall_report::record::HealthChange;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::look::UNREACHABLE;
use crate::engine::Clock;

/// How often a gateway is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// One that takes longer to answer is as good as not there.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Something that a gateway did not say before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Of its health; the first thing that it says is a change too.
    Health(HealthChange),
    /// Its figures tell of trouble, or cannot be had any more: a store that is not there, an archive that fails, tasks that are refused or
    /// whose leases expire, subscribers that are dropped.
    Ailing { at_ms: u64 },
}

/// All who keep watch; it ends with this value, or when it is told to.
pub(crate) struct Vigil(JoinSet<()>);

impl Vigil {
    /// Begins to ask.
    pub(crate) fn keep(
        gateways: &Endpoints,
        clock: Clock,
        tell: &mpsc::Sender<Changed>,
        stop: &CancellationToken,
    ) -> Self {
        let mut all = JoinSet::new();
        for (number, gateway) in (1..).zip(gateways.all()) {
            let options =
                Options { connect_timeout: ANSWER_WITHIN, request_timeout: ANSWER_WITHIN, ..Options::default() };
            let http = || Http::new(gateway.clone(), options.clone());
            all.spawn(health(number, http(), clock, tell.clone(), stop.clone()));
            all.spawn(figures(http(), clock, tell.clone(), stop.clone()));
        }
        Self(all)
    }

    /// Waits until nobody asks any more.
    pub(crate) async fn end(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

async fn health(gateway: u32, mut http: Http, clock: Clock, tell: mpsc::Sender<Changed>, stop: CancellationToken) {
    let mut last: Option<(String, Vec<String>)> = None;
    let mut every = tokio::time::interval(ASK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while next(&mut every, &stop).await {
        let said = match http.health().await {
            Ok(health) => (word(health.status).to_owned(), health.lost),
            Err(_) => (UNREACHABLE.to_owned(), Vec::new()),
        };
        if last.as_ref() != Some(&said) {
            let (status, lost) = said.clone();
            let at_ms = clock.now_us() / 1000;
            last = Some(said);
            if tell.send(Changed::Health(HealthChange { at_ms, gateway, status, lost })).await.is_err() {
                return;
            }
        }
    }
}

async fn figures(mut http: Http, clock: Clock, tell: mpsc::Sender<Changed>, stop: CancellationToken) {
    let (mut well, mut before) = (true, None);
    let mut every = tokio::time::interval(ASK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while next(&mut every, &stop).await {
        let is_well = match http.stats().await {
            Ok(stats) => {
                let now = troubles(&stats);
                stats.store_up && before.replace(now).is_none_or(|before| now <= before)
            }
            Err(_) => false,
        };
        if well && !is_well && tell.send(Changed::Ailing { at_ms: clock.now_us() / 1000 }).await.is_err() {
            return;
        }
        well = is_well;
    }
}

/// What somebody who watches a gateway's figures would be alarmed by, counted from its start.
fn troubles(stats: &Stats) -> u64 {
    let tasks = |outcome| stats.tasks.get(outcome).copied().unwrap_or(0);
    let archive = stats.archive.as_ref().map_or(0, |archive| archive.failures);
    tasks("refused") + tasks("expired") + stats.subscribers_dropped + stats.commands_overloaded + archive
}

async fn next(every: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        _ = every.tick() => true,
        () = stop.cancelled() => false,
    }
}

pub(super) const fn word(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Healthy => "healthy",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Draining => "draining",
    }
}
