//! Errors on the wire: `{"error":{"code":"SessionLimit","message":"…","retry_after_ms":1000}}`.

use serde::{Deserialize, Serialize};

/// What went wrong, for programs. The gateway maps each to one status or close code, in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ErrorCode {
    /// Not JSON, or not UTF-8.
    InvalidJson,
    /// JSON, but a field is missing, unknown, of the wrong type or out of range.
    InvalidRequest,
    /// A frame whose key is not known.
    UnknownFrame,
    /// No such lane, and no default lane.
    UnknownLane,
    /// No such task, session, dead letter or route.
    NotFound,
    /// The route is there, but not with this method.
    MethodNotAllowed,
    /// An id that exists already.
    Conflict,
    /// A session that has ended cannot be changed, nor take tasks.
    SessionEnded,
    /// All session slots are taken.
    SessionLimit,
    /// The lane holds as many tasks as it may.
    LaneFull,
    /// The caller does not hold this task: never leased to it, already finished, or its lease expired.
    NotHeld,
    /// A task that is finished, or leased, cannot be withdrawn.
    NotCancellable,
    /// The dead letter was replayed as often as is allowed.
    ReplayLimit,
    /// A body, frame or payload over the limit.
    TooLarge,
    /// No token, or an unknown one.
    Unauthorized,
    /// The token may not do this.
    Forbidden,
    /// A signature that is missing or wrong.
    BadSignature,
    /// A webhook for which no rule is configured.
    NoRule,
    /// A second subscribe, too much credit and the like.
    Policy,
    /// Too many requests at once, or a queue inside is full.
    Overloaded,
    /// Too many connections.
    TooManyConnections,
    /// The disk, or the memory set aside for tasks, is full. Nothing was stored.
    StoreFull,
    /// The store cannot be written; the message says why.
    StoreUnavailable,
    /// Only the archive of history could answer this, and it is away.
    HistoryUnavailable,
    /// The gateway drains.
    Draining,
    /// Took too long.
    Timeout,
    /// The symbol graph is being analysed, and only one analysis runs at a time.
    AnalysisRunning,
    /// The gateway's own fault.
    Internal,
}

/// The inside of an error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WireError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was wrong, where, and what to do next.
    pub message: String,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The task that an `ack`, `nack` or `extend` frame was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<crate::TaskId>,
}

impl WireError {
    /// An error with a code and words.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, id: None }
    }
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What went wrong.
    pub error: WireError,
}
