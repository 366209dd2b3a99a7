//! Where tasks, sessions and the feed are kept.
//!
//! [`Store`] is the contract: its methods are the verbs of a queue, each atomic as a whole, so that an engine in this
//! process and a Redis shared by several gateways can both stand behind it. No caller holds the truth in memory.
//!
//! Layout, in the order in which a command passes through:
//! - [`verbs`]: what a caller says, and what it is answered;
//! - [`core`]: the decisions, pure: state, lane scheduler, retry policy, session lifecycle. Time and randomness come in as
//!   arguments, and what was decided goes out as records;
//! - [`embedded`]: one committer that takes whatever waits, lets the core decide, appends the records to a log, syncs once
//!   and answers all; snapshots and recovery;
//! - [`redis`]: the same decisions inside a Redis that several gateways share;
//! - [`migrate`]: from the one to the other;
//! - [`ingest`]: what other programs leave in Redis, shown until it is stored;
//! - [`archive`]: what the feed tells of what is over, written to PostgreSQL; [`history`]: store and archive read as one;
//! - [`config`], [`error`], [`metrics`].
//!
//! What a record looks like on disk is this crate's own business, versioned and checksummed; wire types are not stored.

pub mod archive;
pub mod config;
pub mod core;
pub mod embedded;
pub mod error;
pub mod history;
pub mod ingest;
pub mod metrics;
pub mod migrate;
#[cfg(test)]
pub(crate) mod model;
pub mod redis;
#[cfg(test)]
pub(crate) mod suite;
pub mod verbs;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use squall_protocol::{
    ConnectionId, DeadLetter, Epoch, LaneView, NewSession, Page, SessionId, SessionView, TaskId, TaskView, Time,
    UpdateSession,
};
use tokio::sync::watch;

pub use archive::Archive;
pub use config::Config;
pub use error::{Error, Result};
pub use history::History;
pub use verbs::*;

/// An answer that is on its way.
///
/// The command was queued when the method was called, in call order; awaiting only waits for the answer. Dropping the
/// future does not withdraw the command.
pub type Reply<T> = BoxFuture<'static, T>;

/// The verbs of the store. Shared by reference among all connections of a gateway.
///
/// Durability: every answer, and every delivery, leaves the store only after the commit that contains its change
/// (see [`config::Durability`] for what a commit means). Reads see committed state only.
///
/// Tenancy: `tenant` restricts what is found; another tenant's task answers as one that does not exist. `None` is the
/// administrator, who sees all.
///
/// Bounds: when [`Config::max_queued_commands`] wait, a command is answered with [`Error::Overloaded`] at once.
pub trait Store: Send + Sync + 'static {
    /// Publishes tasks, each on its own: one that is refused does not hold back the others. Answers in the order given.
    ///
    /// Each may fail with `UnknownLane`, `LaneFull`, `SessionNotFound`, `SessionEnded`, `Full`, `Unavailable`, `Overloaded`.
    fn publish(&self, tenant: &Arc<str>, tasks: Vec<TaskSpec>) -> Reply<Vec<Result<squall_protocol::task::Published>>>;

    /// Looks a task up; finished ones are remembered for a while ([`Config::finished_tasks`]).
    fn task(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<TaskView>>;

    /// Withdraws a task that no worker has. Fails with `NotFound` or `NotCancellable`.
    fn cancel(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<()>>;

    /// Acknowledges, refuses or extends leases, each on its own. Answers in the order given.
    ///
    /// Each may fail with `NotHeld`: never leased to this holder, another tenant's, finished already, or the lease expired.
    fn settle(&self, tenant: Option<&str>, holder: Holder, settlements: Vec<Settlement>)
    -> Reply<Vec<Result<Settled>>>;

    /// Registers a worker connection. Nothing is delivered before [`Store::grant`] gives it credit.
    ///
    /// Fails with `UnknownLane`. The worker is gone, and its leases return, on [`Store::close_worker`] or when the
    /// receiver of its deliveries is dropped.
    fn open_worker(&self, spec: WorkerSpec) -> Reply<Result<Worker>>;

    /// Gives a worker credit for `more` tasks. Unknown workers are ignored: they have just gone.
    fn grant(&self, worker: ConnectionId, more: u32);

    /// Takes a worker off, and returns its leases at once: each counts as a failed attempt (`worker gone`), or, with
    /// `release`, as none (a drain).
    fn close_worker(&self, worker: ConnectionId, release: bool);

    /// Pulls up to `credit` tasks of one lane, waiting up to `wait_ms` for the first. The leases are held by receipt.
    ///
    /// Dropping the reply ends the pull: what was leased for it by then is given back, and does not count as an attempt.
    fn lease(&self, tenant: Option<&str>, lane: &str, credit: u32, wait_ms: u64) -> Reply<Result<Vec<Delivery>>>;

    /// Creates a session. Fails with `SessionLimit`, or `SessionExists`.
    fn create_session(&self, tenant: &Arc<str>, new: NewSession) -> Reply<Result<SessionView>>;

    /// Merges metadata into an active session. Fails with `SessionNotFound`, `SessionEnded`, `TooLarge`.
    fn update_session(&self, tenant: Option<&str>, id: SessionId, update: UpdateSession) -> Reply<Result<SessionView>>;

    /// Counts as activity. Fails with `SessionNotFound`, `SessionEnded`.
    fn heartbeat(&self, tenant: Option<&str>, id: SessionId) -> Reply<Result<SessionView>>;

    /// Ends a session; `end.status` must be `completed` or `failed`. Fails with `SessionNotFound`, `SessionEnded`.
    fn end_session(
        &self,
        tenant: Option<&str>,
        id: SessionId,
        end: squall_protocol::EndSession,
    ) -> Reply<Result<SessionView>>;

    /// Looks a session up; ended ones are remembered for a while ([`config::Sessions::remember_ended`]).
    fn session(&self, tenant: Option<&str>, id: SessionId) -> Reply<Result<SessionView>>;

    /// Lists sessions, newest first: those that are active, and the ended ones that are remembered.
    fn sessions(&self, tenant: Option<&str>, list: ListSessions) -> Reply<Result<SessionsPage>>;

    /// Lists finished tasks that are remembered, and dead letters, newest first. What waits or is leased is not among them.
    fn tasks(&self, tenant: Option<&str>, list: ListTasks) -> Reply<Result<TasksPage>>;

    /// Shows one lane.
    fn lane(&self, lane: &str) -> Reply<Result<LaneView>>;

    /// Pauses a lane, until a time or until it is resumed. Leases that run go on.
    fn pause_lane(&self, lane: &str, for_ms: Option<u64>) -> Reply<Result<LaneView>>;

    /// Resumes a lane.
    fn resume_lane(&self, lane: &str) -> Reply<Result<LaneView>>;

    /// Lists dead letters, oldest first.
    fn dead_letters(&self, tenant: Option<&str>, list: ListDeadLetters) -> Reply<Result<Page<DeadLetter>>>;

    /// Shows one dead letter, with its payload.
    fn dead_letter(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<DeadLetter>>;

    /// Sends dead letters back to their lanes, with all their attempts before them again.
    ///
    /// One by id fails with `NotFound`, `ReplayLimit` or `LaneFull`; by filter these are counted.
    fn replay(
        &self,
        tenant: Option<&str>,
        which: Which,
        how: ReplayHow,
    ) -> Reply<Result<squall_protocol::dead_letter::Handled>>;

    /// Deletes dead letters for good.
    fn purge(&self, tenant: Option<&str>, which: Which) -> Reply<Result<squall_protocol::dead_letter::Handled>>;

    /// Puts events into the feed, all of them or none, in their order. The caller keeps a call below some 1 MiB.
    ///
    /// Fails with `Full`, `Unavailable`, `Overloaded`.
    fn announce(&self, events: Vec<Announcement>) -> Reply<Result<()>>;

    /// Which life of the store this is.
    fn epoch(&self) -> Epoch;

    /// The last committed offset of the feed, and every change of it. May skip values; [`Store::read_feed`] does not.
    fn feed_head(&self) -> watch::Receiver<u64>;

    /// Reads up to `limit` events after `after` (0: from the beginning), in offset order, without a gap except the one it says.
    fn read_feed(&self, after: u64, limit: usize) -> Reply<Result<FeedSlice>>;

    /// Figures, for health and metrics.
    fn stats(&self) -> Reply<Result<StoreStats>>;

    /// Whether writes work just now; cheap, never queued behind them.
    fn health(&self) -> StoreHealth;

    /// Registers the store's own counters and histograms.
    fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry);

    /// Stops: commits what is queued, answers it, syncs, and closes. Later commands get `Closed`.
    ///
    /// A snapshot is written too if that takes less than `snapshot_within`; without one the next start has more to replay.
    fn close_within(&self, snapshot_within: Duration) -> Reply<Result<()>>;

    /// The same, however long it takes.
    fn close(&self) -> Reply<Result<()>> {
        self.close_within(Duration::MAX)
    }
}

/// The clock's time now.
#[must_use]
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Who claims to hold a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A worker's connection; it may settle what was delivered to it.
    Worker(ConnectionId),
    /// Whoever has the receipts; each settlement brings its own.
    Receipts,
}
