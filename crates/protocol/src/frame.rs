//! Frames of `/ws/work`: JSON objects with one key, which is the serde enum.

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Delivery, NackMode, NewTask, TaskId, Text, Time, WireError};

/// From a worker or a pipelined producer to the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrame<'a> {
    /// Serve these lanes, with so much credit. Once per connection.
    #[serde(borrow)]
    Subscribe(Subscribe<'a>),
    /// So many more tasks may be delivered.
    Credit(u32),
    /// Publish a task; answered by `published` or `refused`, in the order sent.
    #[serde(borrow)]
    Publish(NewTask<'a>),
    /// The task is done.
    Ack(TaskId),
    /// The task is not done.
    #[serde(borrow)]
    Nack(Nack<'a>),
    /// The task takes longer.
    Extend(Extend),
}

/// The `subscribe` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe<'a> {
    /// The lanes to serve; at least one, all known.
    #[serde(borrow)]
    pub lanes: Vec<Text<'a>>,
    /// The first credit; 0 is fine. At most 65,536 in all.
    #[serde(default)]
    pub credit: u32,
}

/// The `nack` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nack<'a> {
    /// The task.
    pub id: TaskId,
    /// What is meant.
    #[serde(default)]
    pub mode: NackMode,
    /// At least this long until the next attempt; the policy's delay holds if it is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Kept with the task, and shown in the dead letter.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<'a>>,
    /// Pause the whole lane for so long: an upstream's Retry-After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_lane_ms: Option<u64>,
}

/// The `extend` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// The task.
    pub id: TaskId,
    /// From now; 1 to 3,600,000.
    pub for_ms: u64,
}

/// From the gateway to a worker or a producer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The subscription holds.
    Subscribed(Subscribed),
    /// A task for this worker.
    #[serde(borrow)]
    Deliver(Delivery<'a>),
    /// The next unanswered `publish` is on disk.
    Published(crate::task::Published),
    /// The next unanswered `publish` was refused.
    Refused(WireError),
    /// The lease of the `extend` now ends then.
    Extended {
        /// The task.
        id: TaskId,
        /// When the lease ends.
        lease_expires_at: Time,
    },
    /// Something was wrong. Followed by a close when the code says so; else the connection goes on.
    Error(WireError),
}

/// The `subscribed` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// This connection's name, in logs and events.
    pub connection: ConnectionId,
    /// The credit as it stands.
    pub credit: u32,
}

/// Close codes of both WebSockets.
pub mod close {
    /// The gateway drains.
    pub const DRAINING: u16 = 1001;
    /// A frame that is unknown, or binary.
    pub const UNKNOWN_FRAME: u16 = 1003;
    /// A frame that is not what its key says.
    pub const BAD_PAYLOAD: u16 = 1007;
    /// Against the rules: no right to it, a second subscribe, too much credit.
    pub const POLICY: u16 = 1008;
    /// A frame over the limit.
    pub const TOO_LARGE: u16 = 1009;
    /// The gateway's own fault.
    pub const INTERNAL: u16 = 1011;
    /// Too slow, or too many: come back later, from the last offset.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}
