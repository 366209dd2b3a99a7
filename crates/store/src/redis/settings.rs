//! The settings as the library takes them: JSON under a version made from its text, so that gateways with other settings can share
//! a Redis while a change is rolled out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Affinity, Lane, OnSessionEnd, Options, RetryPolicy};
use crate::core::session;

/// Lua counts in floating point: no whole number beyond this one is exact, and none is needed.
pub(super) const MAX_EXACT: u64 = 1 << 53;
/// No delay, lease or pause is longer: some 35,000 years.
pub(super) const MAX_MS: u64 = 1 << 50;

#[derive(Serialize)]
struct Settings<'a> {
    lanes: BTreeMap<&'a str, LaneSettings>,
    /// For lanes that only have tasks left from before.
    fallback: LaneSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_lane: Option<&'a str>,
    max_replays: u32,
    max_dead_letters: u64,
    finished_tasks: usize,
    idempotency_window_ms: u64,
    max_concurrent: u64,
    max_per_tenant: u64,
    idle_timeout_ms: u64,
    remember_ended: usize,
}

#[derive(Serialize)]
struct LaneSettings {
    concurrency: u32,
    /// Between two deliveries; 0: no rate.
    interval_us: f64,
    /// How far deliveries may run ahead.
    tolerance_us: f64,
    max_depth: u64,
    retry: RetryPolicy,
    lease_ms: u64,
    level: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<[u32; 3]>,
    aging_ms: u64,
    affinity: bool,
    on_session_end: &'static str,
}

impl LaneSettings {
    fn of(lane: &Lane) -> Self {
        let rate = lane.rate_per_s.filter(|rate| rate.is_finite() && *rate > 0.0);
        let interval_us = rate.map_or(0.0, |rate| 1e6 / rate);
        let burst = lane.burst.map_or_else(|| rate.unwrap_or(1.0).ceil(), f64::from).max(1.0);
        Self {
            concurrency: lane.concurrency,
            interval_us,
            tolerance_us: interval_us * (burst - 1.0),
            max_depth: lane.max_depth.min(MAX_EXACT),
            retry: RetryPolicy {
                delay_ms: lane.retry.delay_ms.min(MAX_MS),
                max_delay_ms: lane.retry.max_delay_ms.min(MAX_MS),
                ..lane.retry
            },
            lease_ms: lane.lease_ms.min(MAX_MS),
            level: lane.priority as usize + 1,
            weights: lane.weights.as_ref().map(|weights| [weights.high, weights.normal, weights.low]),
            aging_ms: lane.aging_ms.min(MAX_MS),
            affinity: lane.affinity == Affinity::Session,
            on_session_end: match lane.on_session_end {
                OnSessionEnd::Keep => "keep",
                OnSessionEnd::Cancel => "cancel",
                OnSessionEnd::DeadLetter => "dead_letter",
            },
        }
    }
}

/// The settings as JSON, and their version.
pub(super) fn of(options: &Options) -> (String, String) {
    let settings = Settings {
        lanes: options.lanes.iter().map(|(name, lane)| (name.as_str(), LaneSettings::of(lane))).collect(),
        fallback: LaneSettings::of(&Lane::default()),
        default_lane: options.default_lane.as_deref().filter(|name| options.lanes.contains_key(*name)),
        max_replays: options.store.max_replays,
        max_dead_letters: options.store.max_dead_letters.min(MAX_EXACT),
        finished_tasks: options.store.finished_tasks,
        idempotency_window_ms: options.store.idempotency_window_ms.clamp(1, MAX_MS),
        max_concurrent: options.sessions.max_concurrent.min(MAX_EXACT),
        max_per_tenant: options.sessions.max_per_tenant.min(MAX_EXACT),
        idle_timeout_ms: options.sessions.idle_timeout_ms.clamp(*session::IDLE_TIMEOUT_MS.start(), u64::from(u32::MAX)),
        // An answer to ending a session shows it.
        remember_ended: options.sessions.remember_ended.max(1),
    };
    let text = serde_json::to_string(&settings).expect("settings are numbers and texts");
    let version = format!("{:08x}", crc32fast::hash(text.as_bytes()));
    (text, version)
}
