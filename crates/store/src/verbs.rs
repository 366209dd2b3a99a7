//! What callers say to a store, and what they are answered. Owned types: a command outlives the frame it came in.

use std::sync::Arc;

use serde_json::value::RawValue;
use squall_protocol::dead_letter::DeadLetterFilter;
use squall_protocol::{
    ConnectionId, DeadReason, FeedRecord, Gap, LaneView, NackMode, Priority, Receipt, RetryOverride, SessionId,
    SessionState, SessionView, TaskId, TaskState, TaskView, Time,
};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Something that is no change of the store, and goes into the feed as it is: everybody may see it.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// One of [`squall_protocol::event::EVENT_TYPES`]; it implies the topic.
    pub event_type: &'static str,
    /// To what it happened. Without control characters.
    pub entity_id: String,
    /// An object, as serde_json writes it: without line breaks.
    pub data: Box<RawValue>,
}

impl Announcement {
    /// Bytes that it brings, without what is the same for all of its type.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entity_id.len() + self.data.get().len()
    }
}

/// A task to publish. The caller has checked lengths and sizes.
#[derive(Clone, Debug, Default)]
pub struct TaskSpec {
    /// The lane that was asked for, if any. Unknown or absent: the default lane.
    pub lane: Option<Box<str>>,
    /// The kind.
    pub kind: Box<str>,
    /// Absent: the lane's.
    pub priority: Option<Priority>,
    /// JSON text.
    pub payload: Box<str>,
    /// The session it belongs to.
    pub session: Option<SessionId>,
    /// The ordering key.
    pub key: Option<Box<str>>,
    /// Not before so many milliseconds.
    pub delay_ms: u64,
    /// Milliseconds from now.
    pub deadline_ms: Option<u64>,
    /// What it says differently from the lane's policy.
    pub retry: Option<RetryOverride>,
    /// For the window of [`crate::Config::idempotency_window_ms`].
    pub idempotency_key: Option<Box<str>>,
    /// It cannot be done as it is: it becomes a dead letter in the same change, for this reason and in these words. Its lane's depth
    /// is not asked, for it does not wait there.
    pub dead: Option<(DeadReason, Box<str>)>,
}

/// What does not change while a task lives; shared by the store and all that deliver it.
#[derive(Debug)]
pub struct TaskBody {
    /// The task.
    pub id: TaskId,
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Its lane.
    pub lane: Arc<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// The priority it is queued with.
    pub priority: Priority,
    /// JSON text.
    pub payload: Box<str>,
    /// The session it belongs to.
    pub session: Option<SessionId>,
    /// The ordering key.
    pub key: Option<Box<str>>,
    /// When it was published.
    pub created_at: Time,
    /// When it is no longer worth doing.
    pub deadline_at: Option<Time>,
    /// What it says differently from the lane's policy.
    pub retry: Option<RetryOverride>,
}

/// A leased task on its way to a worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The task.
    pub task: Arc<TaskBody>,
    /// Proof of this lease.
    pub receipt: Receipt,
    /// From 1.
    pub attempt: u32,
    /// When the lease ends.
    pub lease_expires_at: Time,
}

/// One ack, nack or extend.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The task.
    pub id: TaskId,
    /// Needed with [`crate::Holder::Receipts`], ignored otherwise.
    pub receipt: Option<Receipt>,
    /// What about it.
    pub verb: SettleVerb,
}

/// What a settlement says.
#[derive(Clone, Debug)]
pub enum SettleVerb {
    /// Done.
    Ack,
    /// Not done.
    Nack {
        /// What is meant.
        mode: NackMode,
        /// At least this long until the next attempt.
        delay_ms: Option<u64>,
        /// In words; the caller has cut it to 1,024 bytes.
        reason: Option<Box<str>>,
        /// Pause the whole lane for so long.
        pause_lane_ms: Option<u64>,
    },
    /// Takes longer: the lease ends so many milliseconds from now.
    Extend {
        /// From now.
        for_ms: u64,
    },
}

/// The answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The task is done.
    Done,
    /// It will be tried again, at this time at the earliest.
    Retry(Time),
    /// It is among the dead letters.
    Dead,
    /// The lease now ends then.
    Extended(Time),
}

/// A worker that connects.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// Its name, unique.
    pub id: ConnectionId,
    /// Only tasks of this tenant; `None`: of all.
    pub tenant: Option<Arc<str>>,
    /// The lanes it serves.
    pub lanes: Vec<Box<str>>,
}

/// A registered worker.
#[derive(Debug)]
pub struct Worker {
    /// As in its spec.
    pub id: ConnectionId,
    /// What is leased to it, commit by commit. Unbounded as a channel, bounded by the credit that was granted.
    pub deliveries: mpsc::UnboundedReceiver<Vec<Delivery>>,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct ListSessions {
    /// Only those in this state.
    pub state: Option<SessionState>,
    /// Only those created at or after this instant.
    pub since: Option<Time>,
    /// Only those created before this instant.
    pub until: Option<Time>,
    /// Only those that come after this place, as the last page gave it.
    pub after: Option<u64>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}

impl ListSessions {
    /// Whether a session that was created then is meant.
    #[must_use]
    pub fn in_range(&self, created_at: Time) -> bool {
        self.since.is_none_or(|since| created_at >= since) && self.until.is_none_or(|until| created_at < until)
    }
}

/// A piece of the list of sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionsPage {
    /// Newest first, each with its place in the list; may be fewer than were asked for though more follow.
    pub items: Vec<(u64, SessionView)>,
    /// Pass it as [`ListSessions::after`] to go on; none at the end.
    pub next: Option<u64>,
}

/// Which finished tasks to list. What is absent does not restrict.
#[derive(Clone, Debug, Default)]
pub struct ListTasks {
    /// Only those that ended so: done, cancelled or dead.
    pub state: Option<TaskState>,
    /// Of this lane.
    pub lane: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Published at or after this instant, by its id.
    pub since: Option<Time>,
    /// Published before this instant, by its id.
    pub until: Option<Time>,
    /// Only those whose ids are smaller, as the last page gave it.
    pub after: Option<TaskId>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}

impl ListTasks {
    /// The smallest id that is meant.
    #[must_use]
    pub fn first(&self) -> TaskId {
        self.since.map_or(TaskId(Uuid::nil()), |since| TaskId::at(since, 0))
    }

    /// The smallest id that is no longer meant.
    #[must_use]
    pub fn end(&self) -> TaskId {
        let until = self.until.map_or(TaskId(Uuid::max()), |until| TaskId::at(until, 0));
        self.after.map_or(until, |after| after.min(until))
    }

    /// Whether a task is meant whose id is in the range.
    #[must_use]
    pub fn wants(&self, state: TaskState, lane: &str, kind: &str, session: Option<&SessionId>) -> bool {
        self.state.map_or(state.is_over(), |wanted| wanted == state && state.is_over())
            && self.lane.as_deref().is_none_or(|wanted| wanted == lane)
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
            && self.session.as_ref().is_none_or(|wanted| Some(wanted) == session)
    }
}

/// A piece of the list of finished tasks.
#[derive(Clone, Debug, Default)]
pub struct TasksPage {
    /// Newest first, by id, without payloads; may be fewer than were asked for though more follow.
    pub items: Vec<TaskView>,
    /// Pass it as [`ListTasks::after`] to go on; none at the end.
    pub next: Option<TaskId>,
}

/// Which dead letters to list.
#[derive(Clone, Debug, Default)]
pub struct ListDeadLetters {
    /// Only those.
    pub filter: DeadLetterFilter,
    /// As the last page gave it.
    pub cursor: Option<String>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
    /// With their payloads.
    pub payload: bool,
}

/// Which dead letters are meant.
#[derive(Clone, Debug)]
pub enum Which {
    /// This one.
    One(TaskId),
    /// All that match.
    Filter(DeadLetterFilter),
}

/// How dead letters are sent back.
#[derive(Clone, Debug)]
pub struct ReplayHow {
    /// Who says so; kept in the trail.
    pub by: Box<str>,
    /// So many a second, by delaying the later ones.
    pub rate_per_s: Option<f64>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// A piece of the feed.
#[derive(Clone, Debug)]
pub struct FeedSlice {
    /// What is missing before the first record.
    pub gap: Option<Gap>,
    /// In offset order.
    pub records: Vec<FeedRecord>,
    /// The last committed offset when this was read.
    pub head: u64,
}

/// Whether a store works.
#[derive(Clone, Debug)]
pub struct StoreHealth {
    /// Writes are accepted.
    pub ok: bool,
    /// Features that are lost: `publish`, `feed` …
    pub lost: Vec<&'static str>,
    /// What an acknowledgement means.
    pub durability: String,
    /// What the store is and how it is set; what is wrong, if something is; records set aside at the last recovery.
    pub detail: String,
}

/// Figures of a store.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Whether what keeps it answers: a Redis may be away, and then only what this process has counted is told.
    pub up: bool,
    /// Every lane.
    pub lanes: Vec<LaneView>,
    /// Sessions by state: in the order of [`SessionState::ALL`]; the last three count since the start of the process.
    pub sessions: [u64; 4],
    /// Sessions refused for the limit.
    pub sessions_refused: u64,
    /// Tasks by outcome since the start of the process; the names of `Stats::tasks`.
    pub tasks: Vec<(&'static str, u64)>,
    /// The same by lane, priority and outcome; what never happened is left out, and so are publishes without a lane.
    pub tasks_by_lane: Vec<squall_protocol::stats::TaskCount>,
    /// Publishes refused for an unknown lane.
    pub tasks_without_lane: u64,
    /// Tasks given up since the start of the process, by lane and reason.
    pub dead_letters: Vec<squall_protocol::stats::DeadLetterCount>,
    /// Dead letters deleted because their lane keeps no more.
    pub dead_letters_dropped: u64,
    /// Idempotency keys forgotten before their window was over, because no more are kept.
    pub idempotency_keys_evicted: u64,
    /// Commands refused because too many waited.
    pub commands_overloaded: u64,
    /// The last offset of the feed.
    pub feed_offset: u64,
    /// The oldest offset that can be read; 0 when there is none.
    pub feed_oldest: u64,
    /// Connected workers.
    pub workers: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Commands that they carried.
    pub committed_commands: u64,
    /// Commit latency in milliseconds: p50, p99, max.
    pub commit_ms: squall_protocol::stats::Percentiles,
    /// Commands in a commit.
    pub commit_commands: squall_protocol::stats::Percentiles,
    /// Bytes that a commit writes.
    pub commit_bytes: squall_protocol::stats::Percentiles,
    /// Bytes of tasks in memory.
    pub task_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}
