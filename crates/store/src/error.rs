//! What a store refuses, and why. The gateway turns each into a status or a close code, in one place.

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb was refused. Nothing was stored when one of these is answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No lane of that name, and no default lane.
    #[error("there is no lane {lane:?}, and no default lane is configured")]
    UnknownLane {
        /// As asked for; empty when none was.
        lane: String,
    },
    /// The lane holds as many tasks as it may.
    #[error("lane {lane:?} is full: {max_depth} tasks wait")]
    LaneFull {
        /// Its name.
        lane: String,
        /// Its bound.
        max_depth: u64,
        /// When it is worth trying again.
        retry_after_ms: u64,
    },
    /// No such task or dead letter.
    #[error("there is no such {what}: {id}")]
    NotFound {
        /// `task`, `dead letter`.
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// The task is finished, or a worker has it.
    #[error("task {id} cannot be withdrawn: it is {state}")]
    NotCancellable {
        /// The task.
        id: String,
        /// Where it is.
        state: &'static str,
    },
    /// Not leased to this holder, finished already, or expired.
    #[error("task {id} is not held here: {why}")]
    NotHeld {
        /// The task.
        id: String,
        /// Which of the three.
        why: &'static str,
    },
    /// No such session.
    #[error("there is no such session: {id}")]
    SessionNotFound {
        /// As asked for.
        id: String,
    },
    /// The id is taken.
    #[error("session {id} exists already")]
    SessionExists {
        /// As asked for.
        id: String,
    },
    /// The session has ended.
    #[error("session {id} has ended: {state}")]
    SessionEnded {
        /// The session.
        id: String,
        /// How it ended.
        state: &'static str,
    },
    /// All slots are taken.
    #[error("all {limit} session slots {of} are taken")]
    SessionLimit {
        /// How many there are.
        limit: u64,
        /// `of this tenant`, or `of this gateway`.
        of: &'static str,
        /// When the next one times out at the latest, if nothing happens.
        retry_after_ms: u64,
    },
    /// Replayed as often as is allowed.
    #[error("dead letter {id} was replayed {times} times, which is all that is allowed")]
    ReplayLimit {
        /// The task.
        id: String,
        /// So often.
        times: u32,
    },
    /// Over a bound.
    #[error("{what} is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// A value that makes no sense here.
    #[error("{0}")]
    Invalid(String),
    /// The disk, or the memory set aside for tasks, is full. Acks, reads and leases go on.
    #[error("the store is full: {0}")]
    Full(String),
    /// A write failed; what is on disk is no longer known to be what was answered, so nothing more is accepted.
    #[error("the store cannot be written: {0}")]
    Unavailable(String),
    /// Only the archive could know, and it does not answer.
    #[error("the archive does not answer, and nobody else would know: {0}")]
    HistoryAway(String),
    /// Too many commands wait.
    #[error("too many commands wait for the store")]
    Overloaded,
    /// It was closed.
    #[error("the store is closed")]
    Closed,
}
