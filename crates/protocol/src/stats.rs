//! `GET /v1/metrics`: the figures of `/metrics` as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DeadReason, LaneView, Priority};

/// Figures of the whole gateway. Counters count from the start of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    /// Whether the store answered; if not, what is in it is told as 0.
    pub store_up: bool,
    /// Every lane as it stands.
    pub lanes: Vec<LaneView>,
    /// Sessions by state.
    pub sessions: BTreeMap<String, u64>,
    /// Sessions refused because all slots were taken.
    pub sessions_refused: u64,
    /// Tasks by outcome: `published`, `refused`, `delivered`, `done`, `retried`, `expired`, `released`, `dead`, `cancelled`, `replayed`.
    pub tasks: BTreeMap<String, u64>,
    /// The same by lane and priority; what never happened is left out, and so are publishes without a lane.
    pub tasks_by_lane: Vec<TaskCount>,
    /// Publishes refused for an unknown lane.
    pub tasks_without_lane: u64,
    /// Tasks given up, by lane and reason.
    pub dead_letters: Vec<DeadLetterCount>,
    /// Dead letters deleted because their lane keeps no more.
    pub dead_letters_dropped: u64,
    /// Idempotency keys forgotten before their window was over, because no more are kept.
    pub idempotency_keys_evicted: u64,
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
    /// Commands in a commit.
    pub commit_commands: Percentiles,
    /// Bytes that a commit writes.
    pub commit_bytes: Percentiles,
    /// Commands refused because too many waited for the store.
    pub commands_overloaded: u64,
    /// Bytes of tasks in memory.
    pub task_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The archive; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveFigures>,
    /// The symbol graph; absent when no tree is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphFigures>,
    /// Open connections, HTTP and WebSocket.
    pub connections: u64,
    /// Those of `/ws/work`.
    pub work_connections: u64,
    /// Connections that were not served: `too_many`, `error`.
    pub connections_refused: BTreeMap<String, u64>,
    /// HTTP requests answered.
    pub requests: u64,
    /// The same by route and method.
    pub routes: Vec<RouteStats>,
    /// What is fetched from lists and streams in Redis, one by one.
    #[serde(default)]
    pub ingest: Vec<IngestStats>,
    /// What is running.
    pub build: Build,
    /// The process.
    pub process: ProcessStats,
}

/// How history gets into the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArchiveFigures {
    /// This gateway writes it; of several gateways one does.
    pub writes: bool,
    /// Events of the feed that are not in it yet.
    pub behind: u64,
    /// Rows of tasks that were written.
    pub tasks: u64,
    /// Rows of sessions that were written.
    pub sessions: u64,
    /// Attempts to connect or to write that failed.
    pub failures: u64,
    /// Events that will never be in it: the feed had dropped them first, or PostgreSQL did not take them.
    pub lost: u64,
}

/// How often something happened to tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskCount {
    /// Their lane.
    pub lane: String,
    /// Their priority.
    pub priority: Priority,
    /// As in [`Stats::tasks`].
    pub outcome: String,
    /// So often.
    pub count: u64,
}

/// How many tasks were given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetterCount {
    /// Their lane.
    pub lane: String,
    /// Why.
    pub reason: DeadReason,
    /// So many.
    pub count: u64,
}

/// The requests of one route and method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteStats {
    /// As in the OpenAPI document; `none` for paths that nobody serves.
    pub route: String,
    /// The method.
    pub method: String,
    /// How many were answered with each status.
    pub statuses: BTreeMap<String, u64>,
    /// From the request's head to the answer's head, milliseconds.
    pub latency_ms: Percentiles,
}

/// The symbol graph of a source tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GraphFigures {
    /// Nodes in it.
    pub nodes: u64,
    /// Relationships in it.
    pub relationships: u64,
    /// Analyses that have ended.
    pub analyses: u64,
    /// Analyses that failed, because the tree could not be read, and watchers that did.
    pub failures: u64,
    /// Events of the topic `graph` that were put into the feed.
    pub events: u64,
    /// How long the last analysis took.
    pub last_analysis_ms: u64,
}

/// A list or stream that work is fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngestStats {
    /// Its name.
    pub source: String,
    /// Whether it is read, here or by another gateway.
    pub up: bool,
    /// In words: `read`, `read by another gateway`, or what is wrong.
    pub state: String,
    /// Items that left it, by what they became: `task`, `session`, `dead_letter`, or `duplicate` of what had been stored before.
    pub items: BTreeMap<String, u64>,
    /// How often it had to wait, by reason: `lane_full`, `store_full`, `store_unavailable`, `overloaded`, `store_closed`, `redis`.
    pub retries: BTreeMap<String, u64>,
}

/// What is running.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Build {
    /// The version.
    pub version: String,
    /// `release` or `debug`.
    pub profile: String,
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
