//! Lanes as an operator sees them.

use serde::{Deserialize, Serialize};

use crate::{Priority, Time};

/// One number for each priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ByPriority<T> {
    /// For `high`.
    pub high: T,
    /// For `normal`.
    pub normal: T,
    /// For `low`.
    pub low: T,
}

impl<T> ByPriority<T> {
    /// The number for one priority.
    pub const fn get(&self, priority: Priority) -> &T {
        match priority {
            Priority::High => &self.high,
            Priority::Normal => &self.normal,
            Priority::Low => &self.low,
        }
    }

    /// The number for one priority, to change it.
    pub const fn get_mut(&mut self, priority: Priority) -> &mut T {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
            Priority::Low => &mut self.low,
        }
    }
}

/// `GET /v1/lanes/{lane}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LaneView {
    /// The lane's name.
    pub lane: String,
    /// True while it delivers nothing.
    pub paused: bool,
    /// When the pause ends by itself; absent: when somebody resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Time>,
    /// Tasks that wait for a worker.
    pub ready: ByPriority<u64>,
    /// Tasks that wait for a delay or a retry.
    pub delayed: u64,
    /// Tasks that a worker has.
    pub leased: u64,
    /// Age of the longest waiting ready task; 0 when there is none.
    pub oldest_ready_ms: ByPriority<u64>,
    /// Dead letters of this lane.
    pub dead_letters: u64,
    /// Connected workers that serve it.
    pub workers: u64,
    /// What those workers, and the pulls that wait, would still take.
    pub credit: u64,
    /// How many tasks may be leased at once; 0 means no limit.
    pub concurrency: u32,
    /// How many tasks may wait; more are refused with 429.
    pub max_depth: u64,
}

/// `POST /v1/lanes/{lane}/pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseRequest {
    /// Resume by itself after so long; absent: only when told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}
