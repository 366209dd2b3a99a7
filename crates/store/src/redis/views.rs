//! From the fields that Redis keeps to what operators see.

use std::collections::HashMap;

use squall_protocol::dead_letter::FailedAttempt;
use squall_protocol::lane::ByPriority;
use squall_protocol::session::SessionTasks;
use squall_protocol::{
    DeadLetter, DeadReason, LaneView, Priority, Replay, SessionId, SessionState, SessionView, TaskId, TaskState,
    TaskView, Time,
};

use super::wire;
use crate::Result;
use crate::core::counts::REASONS;
use crate::core::session;
use crate::core::view::raw;

/// The fields of a hash, by name.
pub(super) struct Fields(HashMap<String, String>);

impl Fields {
    /// From names and values in turn, as `HGETALL` gives them.
    pub(super) fn new(flat: Vec<String>) -> Self {
        let mut fields = HashMap::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            fields.insert(name, value);
        }
        Self(fields)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn owned(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn time(&self, name: &str) -> Option<Time> {
        self.number(name).map(Time)
    }

    fn session(&self, name: &str) -> Option<SessionId> {
        SessionId::new(self.text(name)?).ok()
    }

    /// A list that is kept as JSON.
    fn list<T: for<'de> serde::Deserialize<'de>>(&self, name: &str) -> Vec<T> {
        self.text(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// What a number of a level means.
pub(super) fn priority(level: u64) -> Priority {
    Priority::ALL[(level.clamp(1, 3) - 1) as usize]
}

/// A task.
pub(super) fn task(id: TaskId, now: Time, fields: &Fields) -> TaskView {
    let due = fields.time("D").unwrap_or_default();
    let state = match fields.text("S") {
        Some("l") => TaskState::Leased,
        Some("d") => TaskState::Done,
        Some("c") => TaskState::Cancelled,
        Some("x") => TaskState::Dead,
        _ if due > now => TaskState::Delayed,
        _ => TaskState::Ready,
    };
    TaskView {
        id,
        tenant: fields.owned("t"),
        state,
        lane: fields.owned("l"),
        kind: fields.owned("k"),
        priority: priority(fields.number("p").unwrap_or(2)),
        attempts: fields.number("a").unwrap_or(0) as u32,
        key: fields.text("o").map(str::to_owned),
        session: fields.session("s"),
        created_at: fields.time("c").unwrap_or_default(),
        due_at: (state == TaskState::Delayed).then_some(due),
        deadline_at: fields.time("x"),
        lease_expires_at: if state == TaskState::Leased { fields.time("e") } else { None },
        finished_at: fields.time("f"),
        last_error: fields
            .list::<(u32, u64, String)>("h")
            .pop()
            .map(|(_, _, why)| why)
            .or_else(|| fields.text("w").map(str::to_owned)),
        payload: fields.text("y").filter(|text| !text.is_empty()).and_then(raw),
    }
}

/// A dead letter.
pub(super) fn dead_letter(id: TaskId, payload: bool, fields: &Fields) -> DeadLetter {
    let reason = fields.text("dr").unwrap_or_default();
    DeadLetter {
        id,
        tenant: fields.owned("t"),
        lane: fields.owned("l"),
        kind: fields.owned("k"),
        priority: priority(fields.number("p").unwrap_or(2)),
        key: fields.text("o").map(str::to_owned),
        session: fields.session("s"),
        reason: REASONS.into_iter().find(|known| known.as_str() == reason).unwrap_or(DeadReason::Fatal),
        detail: fields.owned("dd"),
        attempts: fields.number("a").unwrap_or(0) as u32,
        failures: fields
            .list::<(u32, u64, String)>("h")
            .into_iter()
            .map(|(attempt, at, reason)| FailedAttempt { attempt, at: Time(at), reason })
            .collect(),
        created_at: fields.time("c").unwrap_or_default(),
        dead_at: fields.time("f").unwrap_or_default(),
        replays: fields.list::<(u64, String)>("R").into_iter().map(|(at, by)| Replay { at: Time(at), by }).collect(),
        payload: fields.text("y").filter(|_| payload).and_then(raw),
    }
}

/// A session.
pub(super) fn session(id: SessionId, fields: &Fields) -> SessionView {
    let name = fields.text("S").unwrap_or_default();
    let state = SessionState::ALL.into_iter().find(|state| state.as_str() == name).unwrap_or(SessionState::Failed);
    let last_activity_at = fields.time("m").unwrap_or_default();
    let idle_timeout_ms = fields.number("i").unwrap_or(0);
    let active = state == SessionState::Active;
    let count = |name: &str| fields.text(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).max(0) as u64;
    SessionView {
        id,
        tenant: fields.owned("t"),
        state,
        created_at: fields.time("c").unwrap_or_default(),
        last_activity_at,
        expires_at: active.then(|| session::expires_at(last_activity_at, idle_timeout_ms)),
        ended_at: fields.time("f"),
        reason: fields.text("r").map(str::to_owned),
        idle_timeout_ms,
        metadata: fields.text("M").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        tasks: SessionTasks { published: count("np"), done: count("nd"), dead: count("nx"), cancelled: count("nc") },
    }
}

/// The version of a session's metadata.
pub(super) fn version(fields: &Fields) -> u64 {
    fields.number("V").unwrap_or(0)
}

/// A lane, without what only this gateway knows: the credit of those connected to it.
pub(super) fn lane(lane: wire::Lane) -> LaneView {
    let by = |[high, normal, low]: [u64; 3]| ByPriority { high, normal, low };
    LaneView {
        lane: lane.name,
        paused: lane.paused,
        paused_until: (lane.paused && lane.until > 0).then_some(Time(lane.until)),
        ready: by(lane.ready),
        delayed: lane.delayed,
        leased: lane.leased,
        oldest_ready_ms: by(lane.oldest_ms),
        dead_letters: lane.dead,
        workers: lane.workers,
        credit: 0,
        concurrency: lane.concurrency,
        max_depth: lane.max_depth,
    }
}

/// An id that the library gave.
pub(super) fn task_id(text: &str) -> Result<TaskId> {
    text.parse().map_err(|error| wire::unreadable(&error))
}

/// A session id that the library gave.
pub(super) fn session_id(text: &str) -> Result<SessionId> {
    SessionId::new(text).map_err(|error| wire::unreadable(&error))
}
