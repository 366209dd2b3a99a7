//! From events of the feed to rows. Pure: a batch of events is folded into what of them is to be written, each task and session once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::value::RawValue;
use squall_protocol::{FeedRecord, SessionState, TaskId, TaskState, Time};
use uuid::Uuid;

/// What the data of a task event says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TaskData<'a> {
    #[serde(borrow)]
    lane: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    priority: Cow<'a, str>,
    attempt: u32,
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

/// What the data of a session event says.
#[derive(Debug, Deserialize)]
struct SessionData<'a> {
    state: SessionState,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(default)]
    idle_timeout_ms: Option<u64>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

/// A task that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskRow {
    pub tenant: String,
    pub lane: String,
    pub kind: String,
    pub priority: String,
    pub state: TaskState,
    pub attempts: i32,
    pub session: Option<String>,
    pub key: Option<String>,
    pub created_at: Time,
    pub finished_at: Time,
    pub reason: Option<String>,
    pub detail: Option<String>,
}

/// What a batch says of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionChange {
    pub tenant: String,
    /// It began in this batch: the offset, when, and how long it may be idle.
    pub opened: Option<(i64, Time, i64)>,
    pub metadata: Option<String>,
    /// It ended in this batch: how, when, why.
    pub ended: Option<(SessionState, Time, Option<String>)>,
    /// The last event of it that is a sign of life.
    pub active_at: Option<Time>,
    pub published: i64,
    pub done: i64,
    pub dead: i64,
    pub cancelled: i64,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// `None`: it was replayed, and is not over any more.
    pub tasks: HashMap<Uuid, Option<TaskRow>>,
    pub sessions: HashMap<String, SessionChange>,
    /// The last event that is in it.
    pub last: u64,
    /// Events in it.
    pub events: u64,
}

impl Batch {
    /// Folds events, in their order, after `after`. Stops before a session whose id was used by another one in this batch.
    pub(super) fn of(records: &[FeedRecord], after: u64) -> Self {
        let mut batch = Self { last: after, ..Self::default() };
        for record in records {
            if record.event_type == "session_created" && batch.sessions.contains_key(&clean(&record.entity_id)) {
                break;
            }
            batch.add(record);
            batch.last = record.offset;
            batch.events += 1;
        }
        batch
    }

    /// Nothing but the place in the feed changes.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.sessions.is_empty()
    }

    fn add(&mut self, record: &FeedRecord) {
        match &*record.event_type {
            "task_published" | "task_done" | "task_cancelled" | "task_dead_lettered" | "task_replayed" => {
                self.add_task(record);
            }
            "session_created" | "session_updated" | "session_ended" | "session_timed_out" => self.add_session(record),
            // Attempts, leases and lanes are no history; a dead letter that was deleted stays what it was.
            _ => {}
        }
    }

    fn add_task(&mut self, record: &FeedRecord) {
        let Ok(id) = record.entity_id.parse::<TaskId>() else { return };
        let data: TaskData<'_> = serde_json::from_str(record.data.get()).unwrap_or_default();
        let state = match &*record.event_type {
            "task_done" => Some(TaskState::Done),
            "task_cancelled" => Some(TaskState::Cancelled),
            "task_dead_lettered" => Some(TaskState::Dead),
            _ => None,
        };
        let published = record.event_type == "task_published";
        if let Some(session) = &data.session {
            let change = self.session(session, record);
            match state {
                Some(TaskState::Done) => change.done += 1,
                Some(TaskState::Cancelled) => change.cancelled += 1,
                Some(_) => change.dead += 1,
                None if published => {
                    change.published += 1;
                    change.active_at = Some(record.time);
                }
                None => change.dead -= 1,
            }
        }
        if published {
            return;
        }
        let row = state.map(|state| TaskRow {
            tenant: clean(record.tenant.as_deref().unwrap_or_default()),
            lane: clean(&data.lane),
            kind: clean(&data.kind),
            priority: data.priority.into_owned(),
            state,
            attempts: i32::try_from(data.attempt).unwrap_or(i32::MAX),
            session: data.session.as_deref().map(clean),
            key: data.key.as_deref().map(clean),
            created_at: id.time(),
            finished_at: record.time,
            reason: data.reason.as_deref().map(clean),
            detail: data.detail.as_deref().map(clean),
        });
        self.tasks.insert(id.0, row);
    }

    fn add_session(&mut self, record: &FeedRecord) {
        let Ok(data) = serde_json::from_str::<SessionData<'_>>(record.data.get()) else { return };
        let change = self.session(&record.entity_id, record);
        if let Some(metadata) = data.metadata {
            change.metadata = Some(metadata.get().to_owned());
        }
        if data.state == SessionState::Active {
            change.active_at = Some(record.time);
        } else {
            change.ended = Some((data.state, record.time, data.reason.as_deref().map(clean)));
        }
        if record.event_type == "session_created" {
            let idle_ms = data.idle_timeout_ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0);
            change.opened = Some((whole(record.offset), record.time, idle_ms));
        }
    }

    fn session(&mut self, id: &str, record: &FeedRecord) -> &mut SessionChange {
        let change = self.sessions.entry(clean(id)).or_default();
        if change.tenant.is_empty() {
            change.tenant = clean(record.tenant.as_deref().unwrap_or_default());
        }
        change
    }
}

/// PostgreSQL's texts hold any character but this one.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A number as PostgreSQL has them.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An instant as PostgreSQL's client has it.
pub(super) fn instant(at: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0.min(MAX_MS))
}

/// The other way round.
pub(super) fn time(at: SystemTime) -> Time {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The end of the year 9999.
const MAX_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use squall_protocol::{Epoch, Topic};

    use super::*;

    fn event(offset: u64, kind: &'static str, id: &str, data: &str) -> FeedRecord {
        FeedRecord {
            epoch: Epoch::at(Time(1), 1),
            offset,
            event_id: Uuid::nil(),
            time: Time(1_000 + offset),
            topic: Topic::Tasks,
            event_type: kind.into(),
            entity_type: "task".into(),
            entity_id: id.to_owned(),
            data: RawValue::from_string(data.to_owned()).unwrap(),
            tenant: Some("acme".into()),
        }
    }

    #[test]
    fn each_task_is_written_as_it_ended_last() {
        let id = TaskId::at(Time(900), 7);
        let text = id.to_string();
        let data = r#"{"lane":"a","kind":"k\u0000","priority":"high","attempt":2,"session":"s","reason":"fatal","detail":"no"}"#;
        let dead = [event(5, "task_published", &text, data), event(6, "task_dead_lettered", &text, data)];
        let batch = Batch::of(&dead, 4);
        let row = batch.tasks[&id.0].clone().unwrap();
        assert_eq!((row.state, row.attempts, &*row.kind, &*row.tenant), (TaskState::Dead, 2, "k\u{fffd}", "acme"));
        assert_eq!((row.created_at, row.finished_at, row.detail.as_deref()), (Time(900), Time(1_006), Some("no")));
        assert_eq!((batch.last, batch.events), (6, 2));
        let again = [event(7, "task_replayed", &text, data), event(8, "task_leased", &text, data)];
        let batch = Batch::of(&again, 6);
        assert_eq!((&batch.tasks[&id.0], batch.sessions["s"].dead), (&None, -1));
        let both: Vec<_> = dead.into_iter().chain(again).chain([event(9, "task_done", &text, data)]).collect();
        let batch = Batch::of(&both, 4);
        assert_eq!(batch.tasks[&id.0].as_ref().unwrap().state, TaskState::Done);
        let session = &batch.sessions["s"];
        assert_eq!((session.published, session.done, session.dead, session.active_at), (1, 1, 0, Some(Time(1_005))));
    }

    #[test]
    fn a_session_that_takes_an_id_again_waits_for_the_next_batch() {
        let created = r#"{"tenant":"acme","state":"active","metadata":{"n":1},"idle_timeout_ms":50}"#;
        let ended = r#"{"tenant":"acme","state":"failed","reason":"tired"}"#;
        let events = [
            event(1, "session_created", "s", created),
            event(2, "session_ended", "s", ended),
            event(3, "session_created", "s", created),
        ];
        let batch = Batch::of(&events, 0);
        assert_eq!((batch.last, batch.events), (2, 2));
        let session = &batch.sessions["s"];
        assert_eq!(session.opened, Some((1, Time(1_001), 50)));
        assert_eq!(session.metadata.as_deref(), Some(r#"{"n":1}"#));
        assert_eq!(session.ended, Some((SessionState::Failed, Time(1_002), Some("tired".into()))));
        let rest = Batch::of(&events[2..], 2);
        assert_eq!((rest.last, rest.sessions["s"].ended.is_none()), (3, true));
    }

    #[test]
    fn what_is_no_history_only_moves_the_cursor() {
        let id = TaskId::at(Time(900), 7).to_string();
        let events = [event(1, "task_leased", &id, "{}"), event(2, "lane_paused", "a", r#"{"reason":"x"}"#)];
        let batch = Batch::of(&events, 0);
        assert!(batch.is_empty() && batch.last == 2);
    }
}
