//! The feed: one record for everything that changed, with an offset.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Epoch, Time};

/// What an event is about; subscribers choose by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Topic {
    /// Sessions.
    Sessions,
    /// Tasks.
    Tasks,
    /// Lanes.
    Lanes,
    /// Dead letters.
    DeadLetters,
    /// The symbol graph of a source tree.
    Graph,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 5] = [Self::Sessions, Self::Tasks, Self::Lanes, Self::DeadLetters, Self::Graph];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Tasks => "tasks",
            Self::Lanes => "lanes",
            Self::DeadLetters => "dead_letters",
            Self::Graph => "graph",
        }
    }
}

/// One record of the feed. Offsets of one epoch count up from 1 without a gap.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeedRecord {
    /// Which life of the store.
    pub epoch: Epoch,
    /// Its place in the feed.
    pub offset: u64,
    /// The same for every reader, and different for every event of every store.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub event_id: uuid::Uuid,
    /// When it happened.
    pub time: Time,
    /// What it is about.
    pub topic: Topic,
    /// What happened, in the past tense: `task_published`, `session_timed_out` …
    pub event_type: std::borrow::Cow<'static, str>,
    /// `task`, `session`, `lane`, `node` …
    pub entity_type: std::borrow::Cow<'static, str>,
    /// Which one.
    pub entity_id: String,
    /// What there is to say of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data: Box<RawValue>,
    /// Whose it is; decides who may see it, and is not sent.
    #[serde(skip)]
    pub tenant: Option<std::sync::Arc<str>>,
}

/// Every [`FeedRecord::event_type`] that there is.
pub const EVENT_TYPES: [&str; 25] = [
    "session_created",
    "session_updated",
    "session_ended",
    "session_timed_out",
    "task_published",
    "task_leased",
    "task_done",
    "task_retry_scheduled",
    "task_released",
    "task_cancelled",
    "task_dead_lettered",
    "task_replayed",
    "dead_letter_purged",
    "dead_letter_dropped",
    "lane_paused",
    "lane_resumed",
    "node_added",
    "node_updated",
    "node_deleted",
    "relationship_added",
    "relationship_deleted",
    "graph_reset",
    "analysis_started",
    "analysis_progress",
    "analysis_completed",
];

/// What an event of this type is about: its topic, and its [`FeedRecord::entity_type`].
#[must_use]
pub fn subject(event_type: &str) -> (Topic, &'static str) {
    match event_type {
        "task_dead_lettered" | "task_replayed" | "dead_letter_purged" | "dead_letter_dropped" => {
            (Topic::DeadLetters, "task")
        }
        "graph_reset" => (Topic::Graph, "graph"),
        _ if event_type.starts_with("session_") => (Topic::Sessions, "session"),
        _ if event_type.starts_with("lane_") => (Topic::Lanes, "lane"),
        _ if event_type.starts_with("node_") => (Topic::Graph, "node"),
        _ if event_type.starts_with("relationship_") => (Topic::Graph, "relationship"),
        _ if event_type.starts_with("analysis_") => (Topic::Graph, "analysis"),
        _ => (Topic::Tasks, "task"),
    }
}

/// A place in the feed: "after this offset of this epoch". `<epoch>:<offset>` as text, and in `Last-Event-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which life of the store; absent when a client passed a bare offset, which is then taken on trust.
    pub epoch: Option<Epoch>,
    /// The last offset that was seen; 0 for none.
    pub offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            Some(epoch) => write!(f, "{epoch}:{}", self.offset),
            None => write!(f, "{}", self.offset),
        }
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, offset) = match text.rsplit_once(':') {
            Some((epoch, offset)) => (Some(epoch.parse().map_err(|_| BadCursor)?), offset),
            None => (None, text),
        };
        Ok(Self { epoch, offset: offset.parse().map_err(|_| BadCursor)? })
    }
}

/// A cursor that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCursor;

impl fmt::Display for BadCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cursor is '<epoch>:<offset>' or '<offset>'")
    }
}

impl std::error::Error for BadCursor {}

/// Told to a subscriber before the next event when what it asked for cannot be given in full: we never pretend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gap {
    /// The first offset that is missing.
    pub from: u64,
    /// The last offset that is missing.
    pub to: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum GapReason {
    /// The store is another one than the cursor's.
    Epoch,
    /// The events are older than the feed keeps them.
    Retention,
    /// The cursor is ahead of the feed: the store was set back, by a restored backup for example.
    Ahead,
    /// A stored record was damaged, and set aside.
    Corrupt,
}

/// `GET /v1/events` as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeedPage {
    /// What could not be given, before the first item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// In offset order.
    pub items: Vec<FeedRecord>,
    /// Pass it as `after` to go on; never null, because the feed has no end.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_writes() {
        let epoch = Epoch::at(Time(5), 7);
        for cursor in [Cursor { epoch: Some(epoch), offset: 42 }, Cursor { epoch: None, offset: 0 }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for bad in ["", ":", "x:1", "1:2", "-1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad:?}");
        }
    }
}
