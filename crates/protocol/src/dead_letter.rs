//! Dead letters: tasks that used up their retries, or were refused for good.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Priority, SessionId, TaskId, Time};

/// Why a task was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeadReason {
    /// Every attempt failed.
    RetriesExhausted,
    /// A worker said `fatal`.
    Fatal,
    /// Its deadline passed before it was done.
    DeadlineExceeded,
    /// Its session ended, and the lane's policy gives such tasks up.
    SessionEnded,
    /// What came in from elsewhere could not be understood, or no rule says what it is.
    Unparsable,
    /// What came in from elsewhere was understood, and refused for good: a session that is not there, for example.
    Refused,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::RetriesExhausted,
        Self::Fatal,
        Self::DeadlineExceeded,
        Self::SessionEnded,
        Self::Unparsable,
        Self::Refused,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "retries_exhausted",
            Self::Fatal => "fatal",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::SessionEnded => "session_ended",
            Self::Unparsable => "unparsable",
            Self::Refused => "refused",
        }
    }
}

/// One attempt at a task that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailedAttempt {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Time,
    /// What the worker said, or `lease expired` or `worker gone`.
    pub reason: String,
}

/// One replay of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replay {
    /// When.
    pub at: Time,
    /// The token's name, or `anonymous`.
    pub by: String,
}

/// A dead letter (`GET /v1/dead-letters`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// The task's id.
    pub id: TaskId,
    /// Whose it is.
    pub tenant: String,
    /// Its lane.
    pub lane: String,
    /// Its kind.
    pub kind: String,
    /// Its priority.
    pub priority: Priority,
    /// Its ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Why it was given up.
    pub reason: DeadReason,
    /// In words: what the last worker said, for example.
    pub detail: String,
    /// Attempts made since it was published or last replayed.
    pub attempts: u32,
    /// The last attempts that failed, oldest first; at most 16 are kept.
    pub failures: Vec<FailedAttempt>,
    /// When it was published.
    pub created_at: Time,
    /// When it was given up.
    pub dead_at: Time,
    /// Who sent it back, and when, oldest first.
    pub replays: Vec<Replay>,
    /// The payload, as published. Lists leave it out unless `payload=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub payload: Option<Box<RawValue>>,
}

/// Which dead letters are meant. What is absent does not restrict.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetterFilter {
    /// Of this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Given up for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DeadReason>,
    /// Of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Given up before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Time>,
    /// Given up at or after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// `POST /v1/dead-letters/replay`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayRequest {
    /// Which ones.
    #[serde(default)]
    pub filter: DeadLetterFilter,
    /// So many a second: the n-th is delayed by n/rate. Absent: all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// At most so many; absent: all that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// The answer to a replay or a purge by filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Handled {
    /// Dead letters that matched.
    pub matched: u64,
    /// Of those, sent back or deleted.
    pub done: u64,
    /// Of those, refused because they were replayed as often as is allowed, or because their lane is full.
    pub refused: u64,
}
