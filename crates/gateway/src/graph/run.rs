//! One analysis, as others see it.

use std::time::Instant;

use serde::Serialize;
use squall_protocol::Time;
use utoipa::ToSchema;
use uuid::Uuid;

/// How an analysis stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It runs, or is next.
    Running,
    /// The graph is what is on disk.
    Completed,
    /// Somebody cancelled it; the graph is what was reached.
    Cancelled,
    /// The tree could not be read.
    Failed,
}

/// One analysis.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    /// Which one.
    #[schema(value_type = String, format = "uuid")]
    pub(crate) run_id: Uuid,
    /// How it stands.
    pub(crate) status: Status,
    /// Everything is read and told again, and not only what changed.
    pub(crate) from_scratch: bool,
    /// Somebody asked for it; otherwise the tree changed.
    pub(crate) asked: bool,
    /// When it was asked for, or began.
    pub(crate) started_at: Time,
    /// How long it has taken.
    pub(crate) elapsed_seconds: f64,
    /// 0 to 100.
    pub(crate) percentage: f32,
    /// What it is at, or how it ended.
    pub(crate) message: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Files that were looked at.
    pub(crate) files_done: u64,
    /// Of so many.
    pub(crate) files_total: u64,
    /// Nodes in the graph.
    pub(crate) total_nodes: u64,
    /// Relationships in the graph.
    pub(crate) total_relationships: u64,
    #[serde(skip)]
    begun: Instant,
}

impl Run {
    /// One that begins now.
    pub(crate) fn new(from_scratch: bool, asked: bool) -> Self {
        Self {
            run_id: Uuid::now_v7(),
            status: Status::Running,
            from_scratch,
            asked,
            started_at: squall_store::now(),
            elapsed_seconds: 0.0,
            percentage: 0.0,
            message: "waiting for its turn".to_owned(),
            error: None,
            files_done: 0,
            files_total: 0,
            total_nodes: 0,
            total_relationships: 0,
            begun: Instant::now(),
        }
    }

    /// As it stands now.
    pub(crate) fn now(&self) -> Self {
        let running = self.status == Status::Running;
        let elapsed_seconds = if running { self.begun.elapsed().as_secs_f64() } else { self.elapsed_seconds };
        Self { elapsed_seconds, ..self.clone() }
    }

    /// The same, ended.
    pub(crate) fn over(self, status: Status) -> Self {
        let message = match status {
            Status::Completed => "completed".to_owned(),
            Status::Cancelled => "cancelled".to_owned(),
            Status::Failed => "failed".to_owned(),
            Status::Running => self.message.clone(),
        };
        Self { status, message, ..self.now() }
    }
}
