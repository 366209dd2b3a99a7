//! `GET /health`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Time;

/// The gateway as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HealthStatus {
    /// Everything works.
    Healthy,
    /// Something is lost; `lost` says what.
    Degraded,
    /// It is being stopped: 503.
    Draining,
}

/// One thing that the gateway depends on, as it was found just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dependency {
    /// Whether it works.
    pub ok: bool,
    /// How long the check took.
    pub checked_in_ms: u64,
    /// What it is, how it is set, and what is wrong if it is.
    pub detail: String,
}

/// The answer. The same goes to `health.json` in the data directory every 30 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// The gateway as a whole.
    pub status: HealthStatus,
    /// Features that do not work now: `publish`, `feed`, `history` …
    pub lost: Vec<String>,
    /// Each dependency, checked live.
    pub dependencies: BTreeMap<String, Dependency>,
    /// What an acknowledgement means: `commit`, `interval` with its milliseconds, or what the Redis is set to.
    pub durability: String,
    /// The program's version.
    pub version: String,
    /// Since the start.
    pub uptime_ms: u64,
    /// When this was found.
    pub time: Time,
}
