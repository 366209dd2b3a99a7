//! Sessions: one client's conversation or run, with a lifecycle, a limit on how many, and an idle timeout.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{SessionId, Time};

/// Where a session is: active → completed | failed | timed out. The last three are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SessionState {
    /// Holds a slot.
    Active,
    /// Ended by its client, well.
    Completed,
    /// Ended by its client, badly.
    Failed,
    /// Ended by the gateway, because it was idle for too long.
    TimedOut,
}

impl SessionState {
    /// All states, in the order of a session's life.
    pub const ALL: [Self; 4] = [Self::Active, Self::Completed, Self::Failed, Self::TimedOut];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewSession {
    /// Chosen by the client; absent: chosen by the gateway. One that exists is refused with 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SessionId>,
    /// Free; at most 64 KiB as JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
    /// Replaces the configured idle timeout; 100 to 86,400,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

/// `PATCH /v1/sessions/{id}`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateSession {
    /// Merged into the session's metadata as RFC 7386 says: objects merge, `null` removes, all else replaces.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
}

/// `POST /v1/sessions/{id}/end`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndSession {
    /// `completed` or `failed`.
    #[serde(default = "completed")]
    pub status: SessionState,
    /// Kept with the session. At most 1,024 bytes; more is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn completed() -> SessionState {
    SessionState::Completed
}

impl Default for EndSession {
    fn default() -> Self {
        Self { status: SessionState::Completed, reason: None }
    }
}

/// A session as everybody sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub tenant: String,
    /// Where it is.
    pub state: SessionState,
    /// When it was created.
    pub created_at: Time,
    /// The last create, update, heartbeat, or publish of a task in it.
    pub last_activity_at: Time,
    /// When it times out if nothing happens; absent once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it may be idle.
    pub idle_timeout_ms: u64,
    /// As merged so far.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
    /// What its tasks did so far.
    pub tasks: SessionTasks,
}

/// What the tasks of a session did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionTasks {
    /// Published in it.
    pub published: u64,
    /// Acknowledged by a worker.
    pub done: u64,
    /// Given up.
    pub dead: u64,
    /// Withdrawn.
    pub cancelled: u64,
}

/// `GET /v1/sessions/{id}/report`: the session, and how long it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionReport {
    /// The session itself.
    pub session: SessionView,
    /// From creation to its end, or to now.
    pub duration_ms: u64,
    /// Its tasks that are neither done, dead nor cancelled.
    pub tasks_open: u64,
}
