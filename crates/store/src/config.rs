//! How a store is set. Every field has a default; the configuration reference is made from these comments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use squall_protocol::Priority;
use squall_protocol::lane::ByPriority;

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is on disk and survives power loss.
    #[default]
    Commit,
    /// It is written, and on disk `interval_ms` later at the latest. Survives a crash of the process, not of the machine.
    Interval,
}

/// The store's part of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Empty: the embedded store, in the data directory. `redis://…` or `rediss://…` (TLS): a Redis that several gateways share.
    pub url: String,
    /// With `rediss://`: a file with the certificates (PEM) of the authorities that Redis's own must be signed by. Empty: those that the
    /// system trusts.
    pub ca_file: String,
    /// With Redis: what all keys begin with. Braces around it (`{squall}`) keep all of them in one slot of a cluster.
    pub key_prefix: String,
    /// With Redis: the stream and the channel that get the events of the topic `graph` besides. Empty: none. In a cluster it needs the
    /// braces of `key_prefix`.
    pub graph_events: String,
    /// About so many of them stay in the stream.
    pub graph_events_kept: usize,
    /// With Redis: how long an answer may take; then the caller is told 503 and does not know what became of it.
    pub timeout_ms: u64,
    /// What an acknowledgement means: `commit` or `interval`.
    pub durability: Durability,
    /// With `interval`: milliseconds between syncs.
    pub interval_ms: u64,
    /// Size of one log segment at full growth.
    pub segment_bytes: u64,
    /// Memory for tasks that wait or are leased, and for dead letters, payloads included. When it is full, publishes are refused with
    /// `StoreFull` and everything else goes on.
    pub max_task_bytes: u64,
    /// Commands that may wait for the committer; more are answered `Overloaded`.
    pub max_queued_commands: usize,
    /// Commands in one commit at most.
    pub max_batch: usize,
    /// Finished tasks that `GET /v1/tasks/{id}` still knows.
    pub finished_tasks: usize,
    /// How long an idempotency key holds.
    pub idempotency_window_ms: u64,
    /// Idempotency keys that are remembered at most. One more makes the oldest go before its window is over, which the metric
    /// `squall_idempotency_keys_evicted` counts: a publish that is repeated after that is another task.
    pub idempotency_keys: usize,
    /// How often one dead letter may be replayed.
    pub max_replays: u32,
    /// Dead letters kept per lane; the oldest goes first, with an event that says so.
    pub max_dead_letters: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: String::new(),
            key_prefix: "squall".to_owned(),
            graph_events: "graph-events".to_owned(),
            graph_events_kept: 200_000,
            timeout_ms: 3_000,
            durability: Durability::Commit,
            interval_ms: 100,
            segment_bytes: 16 << 20,
            max_task_bytes: 2 << 30,
            max_queued_commands: 65_536,
            max_batch: 4_096,
            finished_tasks: 10_000,
            idempotency_window_ms: 24 * 3_600_000,
            idempotency_keys: 1_000_000,
            max_replays: 5,
            max_dead_letters: 100_000,
        }
    }
}

/// How long the feed is kept: until either bound is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// Age.
    pub retention_ms: u64,
    /// Size of the log on disk.
    pub retention_bytes: u64,
}

impl Default for Feed {
    fn default() -> Self {
        Self { retention_ms: 24 * 3_600_000, retention_bytes: 1 << 30 }
    }
}

/// Session limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// Active sessions in all.
    pub max_concurrent: u64,
    /// Active sessions of one tenant.
    pub max_per_tenant: u64,
    /// A session without activity for so long times out.
    pub idle_timeout_ms: u64,
    /// Ended sessions that can still be looked up.
    pub remember_ended: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { max_concurrent: 10, max_per_tenant: 10, idle_timeout_ms: 300_000, remember_ended: 10_000 }
    }
}

/// History in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Archive {
    /// `postgres://USER:PASSWORD@HOST/DATABASE`; the parameter `sslmode` is `disable`, `prefer`, `require` or `verify-full`. Empty: history is
    /// what the store remembers.
    pub url: String,
    /// With `sslmode=verify-full`: the certificate of the authority that signed PostgreSQL's, a PEM file. Empty: those that the system trusts.
    pub ca_file: String,
    /// The schema that its tables are in; made if it is not there. Stores with the same database and schema share one history.
    pub schema: String,
    /// Tasks and sessions that ended longer ago are deleted. 0: never.
    pub keep_ms: u64,
    /// Events of the feed that one transaction takes at most.
    pub batch: usize,
    /// How long PostgreSQL may take to answer whoever asks for history; then the answer is without it, and says so.
    pub timeout_ms: u64,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: String::new(),
            schema: "squall".to_owned(),
            keep_ms: 0,
            batch: 5_000,
            timeout_ms: 2_000,
        }
    }
}

/// When and how often a failed task is tried again.
///
/// The n-th retry waits `delay_ms × backoff^(n−1)`, at most `max_delay_ms`, give or take `jitter` of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub max: u32,
    /// Delay before the first retry.
    pub delay_ms: u64,
    /// Factor from one delay to the next; at least 1.
    pub backoff: f64,
    /// No delay is longer.
    pub max_delay_ms: u64,
    /// 0 to 1: the delay is spread evenly over `delay × (1 ± jitter)`.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max: 3, delay_ms: 1_000, backoff: 2.0, max_delay_ms: 300_000, jitter: 0.1 }
    }
}

/// Which worker gets a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// Whoever has credit.
    #[default]
    None,
    /// The worker that has the session, as long as it is connected; and the session's tasks in order, one at a time.
    Session,
}

/// What becomes of the waiting tasks of a session that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSessionEnd {
    /// They are done all the same.
    #[default]
    Keep,
    /// They are withdrawn.
    Cancel,
    /// They go to the dead letters.
    DeadLetter,
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lane {
    /// Tasks leased at the same time; 0: no limit.
    pub concurrency: u32,
    /// Deliveries a second; absent: no limit.
    pub rate_per_s: Option<f64>,
    /// How far deliveries may run ahead of the rate; absent: one second's worth.
    pub burst: Option<u32>,
    /// Tasks that may wait (ready and delayed); more are refused with 429.
    pub max_depth: u64,
    /// When and how often a failed task is tried again.
    pub retry: RetryPolicy,
    /// A lease that is neither settled nor extended for so long has failed.
    pub lease_ms: u64,
    /// For tasks that do not say.
    pub priority: Priority,
    /// Shares of the priorities when all have tasks. Absent: strict, high before normal before low.
    pub weights: Option<ByPriority<u32>>,
    /// A task that has waited this long goes before younger ones of one level above; twice this, two levels. 0: never.
    pub aging_ms: u64,
    /// `session`: the tasks of a session go to the worker that has it, and in order.
    pub affinity: Affinity,
    /// What becomes of the waiting tasks of a session that ended.
    pub on_session_end: OnSessionEnd,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            concurrency: 0,
            rate_per_s: None,
            burst: None,
            max_depth: 100_000,
            retry: RetryPolicy::default(),
            lease_ms: 30_000,
            priority: Priority::Normal,
            weights: None,
            aging_ms: 30_000,
            affinity: Affinity::None,
            on_session_end: OnSessionEnd::Keep,
        }
    }
}

/// All that a store is opened with.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Options {
    /// `[store]`.
    pub store: Config,
    /// `[feed]`.
    pub feed: Feed,
    /// `[sessions]`.
    pub sessions: Sessions,
    /// `[lanes.<name>]`.
    pub lanes: BTreeMap<String, Lane>,
    /// Where tasks go that name no lane, or an unknown one.
    pub default_lane: Option<String>,
}
