//! Tasks: what a publisher sends, what a worker gets, what an operator sees.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Receipt, SessionId, TaskId, Text, Time};

/// How urgent a task is. `High` goes first; aging and weights keep `Low` from starving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Priority {
    /// Before everything else.
    High,
    /// Neither.
    #[default]
    Normal,
    /// When nothing else waits, or when it has waited long enough.
    Low,
}

impl Priority {
    /// All levels, most urgent first; the discriminant is the index.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// A task as a publisher sends it (`POST /v1/tasks`, or the `publish` frame).
///
/// Borrows from the text it was read from, so that a payload is copied once, into the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewTask<'a> {
    /// The lane that it is routed to. Absent, or unknown: the configured default lane, if there is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Text<'a>>,
    /// What kind of work it is; workers choose what to do by it. 1 to 128 bytes.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Absent: the lane's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Any JSON; handed to the worker as it is. Absent means `null`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub payload: Option<&'a RawValue>,
    /// The session that it belongs to; it must exist and be active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Tasks of one lane with the same key are delivered one at a time, in the order of publishing. 1 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<'a>>,
    /// Do not deliver before this many milliseconds have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Milliseconds from now after which it is no longer worth doing: it then goes to the dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Replaces parts of the lane's retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryOverride>,
    /// The same key within 24 h answers the id of the first task, and publishes nothing. 1 to 256 bytes.
    /// The header `Idempotency-Key` does the same for a single task.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Text<'a>>,
}

impl<'a> NewTask<'a> {
    /// A task of this kind that leaves all else to its lane.
    #[must_use]
    pub fn new(kind: impl Into<Cow<'a, str>>) -> Self {
        Self {
            lane: None,
            kind: kind.into(),
            priority: None,
            payload: None,
            session: None,
            key: None,
            delay_ms: None,
            deadline_ms: None,
            retry: None,
            idempotency_key: None,
        }
    }
}

/// What a task says differently from its lane's retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetryOverride {
    /// Retries after the first attempt; 0 means one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Delay before the first retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Factor from one retry's delay to the next; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<f64>,
    /// No delay is longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay_ms: Option<u64>,
    /// A delay is spread by this share of itself, up and down; 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

/// The answer to a published task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Published {
    /// The task's id; with an idempotency key that was seen before, the first task's.
    pub id: TaskId,
    /// True when the idempotency key had been seen before, and nothing was published.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// A task as a worker gets it (the `deliver` frame, and in the answer to a lease over HTTP).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery<'a> {
    /// The task.
    pub id: TaskId,
    /// Proof of this lease.
    pub receipt: Receipt,
    /// The lane it came over.
    #[serde(borrow)]
    pub lane: Cow<'a, str>,
    /// The kind, as published.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// The priority that it was queued with.
    pub priority: Priority,
    /// 1 for the first delivery; a released lease does not count.
    pub attempt: u32,
    /// The ordering key, as published.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<'a>>,
    /// The session, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// When it was published.
    pub created_at: Time,
    /// When the lease ends, unless it is extended.
    pub lease_expires_at: Time,
    /// The payload, as published.
    #[serde(borrow)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: &'a RawValue,
}

/// What a worker means by a nack; Redis gave XNACK the same three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NackMode {
    /// It failed: the attempt counts, and the lane's retry policy decides.
    #[default]
    Fail,
    /// It was not tried: the attempt does not count.
    Release,
    /// It will never work: to the dead letters at once.
    Fatal,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TaskState {
    /// Waits for a worker.
    Ready,
    /// Waits for its delay, or for its next retry.
    Delayed,
    /// A worker has it.
    Leased,
    /// A worker acknowledged it.
    Done,
    /// Withdrawn before it was done.
    Cancelled,
    /// Among the dead letters.
    Dead,
}

impl TaskState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// Whether nothing more happens to it unless it is replayed: what history lists.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Dead)
    }
}

/// A task as an operator sees it (`GET /v1/tasks/{id}`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskView {
    /// The task.
    pub id: TaskId,
    /// Whose it is.
    #[serde(default)]
    pub tenant: String,
    /// Where it is.
    pub state: TaskState,
    /// Its lane.
    pub lane: String,
    /// Its kind.
    pub kind: String,
    /// Its priority.
    pub priority: Priority,
    /// Attempts so far, the running one included.
    pub attempts: u32,
    /// Its ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// When it was published.
    pub created_at: Time,
    /// When it may be delivered next, if it is delayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Time>,
    /// When it is no longer worth doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Time>,
    /// When the running lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Time>,
    /// When it was done, cancelled or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The payload, as long as the task is not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub payload: Option<Box<RawValue>>,
}

/// One part of the answer to a batch: an id, or why not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PublishResult {
    /// It is on disk.
    Published(Published),
    /// It was refused.
    Refused(crate::ErrorBody),
}

/// The answer to a batch, in the order sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishResults {
    /// One for each task of the batch.
    pub results: Vec<PublishResult>,
}

/// `POST /v1/lanes/{lane}/lease`: take up to `credit` tasks, wait up to `wait_ms` for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseRequest {
    /// How many tasks at most; 1 to 1,000.
    #[serde(default = "one")]
    pub credit: u32,
    /// How long to wait when there is none; at most 30,000.
    #[serde(default)]
    pub wait_ms: u64,
}

fn one() -> u32 {
    1
}

/// The answer to a lease over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Leased<'a> {
    /// What was leased; empty when nothing came within `wait_ms`.
    #[serde(borrow)]
    pub tasks: Vec<Delivery<'a>>,
}

/// `POST /v1/tasks/{id}/ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AckRequest {
    /// The lease's receipt.
    pub receipt: Receipt,
}

/// `POST /v1/tasks/{id}/nack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NackRequest {
    /// The lease's receipt.
    pub receipt: Receipt,
    /// What is meant.
    #[serde(default)]
    pub mode: NackMode,
    /// At least this long until the next attempt; the policy's delay holds if it is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Kept with the task, and shown in the dead letter. At most 1,024 bytes; more is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Pause the whole lane for so long: an upstream's Retry-After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_lane_ms: Option<u64>,
}

/// `POST /v1/tasks/{id}/extend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExtendRequest {
    /// The lease's receipt.
    pub receipt: Receipt,
    /// From now; 1 to 3,600,000.
    pub for_ms: u64,
}

/// The answer to an extended lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Extended {
    /// When the lease now ends.
    pub lease_expires_at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_borrows_its_payload() {
        let text = r#"{"kind":"build","lane":"gpt4","payload":{"a": [1, 2]}}"#;
        let task: NewTask<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(task.payload.unwrap().get(), r#"{"a": [1, 2]}"#);
        assert!(matches!(task.lane, Some(Text(Cow::Borrowed("gpt4")))));
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = serde_json::from_str::<NewTask<'_>>(r#"{"kind":"x","prio":"high"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `prio`"), "{error}");
    }
}
