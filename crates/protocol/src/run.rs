//! Runs of storms, as the archive has them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Time;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// As its directory is named.
    pub id: String,
    /// What was played.
    pub scenario: String,
    /// `passed`, `loss`, `threshold_failed` …; absent when it was not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Its `run.json`. Lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub record: Option<Box<RawValue>>,
}
