//! `GET /v1/metrics`: the figures of `/metrics` as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::LaneView;

/// Figures of the whole gateway. Counters count from the start of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    /// Every lane as it stands.
    pub lanes: Vec<LaneView>,
    /// Sessions by state.
    pub sessions: BTreeMap<String, u64>,
    /// Sessions refused because all slots were taken.
    pub sessions_refused: u64,
    /// Tasks by outcome: `published`, `refused`, `delivered`, `done`, `retried`, `expired`, `released`, `dead`, `cancelled`, `replayed`.
    pub tasks: BTreeMap<String, u64>,
    /// The last offset of the feed.
    pub feed_offset: u64,
    /// The oldest offset that can still be read; 0 when the feed is empty.
    pub feed_oldest: u64,
    /// The feed's epoch.
    pub epoch: crate::Epoch,
    /// Connected feed subscribers.
    pub subscribers: u64,
    /// Subscribers closed because they fell behind.
    pub subscribers_dropped: u64,
    /// Connected workers.
    pub workers: u64,
    /// Commits to disk.
    pub commits: u64,
    /// Commands carried by those commits.
    pub committed_commands: u64,
    /// Commit latency, milliseconds: p50, p99, max since the start.
    pub commit_ms: Percentiles,
    /// HTTP requests answered.
    pub requests: u64,
    /// The process.
    pub process: ProcessStats,
}

/// A summary of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// The process, from `/proc/self`.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessStats {
    /// CPU seconds, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Threads.
    pub threads: u64,
    /// Since the start.
    pub uptime_ms: u64,
}
