//! From a record of the log to an event of the feed. Happens only when somebody reads.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use squall_protocol::event::{EVENT_TYPES, subject};
use squall_protocol::{DeadReason, Epoch, FeedRecord, Priority, SessionState, Time, Topic};
use uuid::Uuid;

use crate::core::records::{Label, Published, Record, priority_of};

/// The names that numbers in records stand for.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    /// By lane number.
    pub lanes: Vec<Arc<str>>,
    /// By tenant number.
    pub tenants: Vec<Arc<str>>,
}

impl NameTable {
    fn lane(&self, number: u32) -> &str {
        self.lanes.get(number as usize).map_or("", |name| name)
    }

    fn tenant(&self, number: u32) -> Option<Arc<str>> {
        self.tenants.get(number as usize).cloned()
    }
}

/// Where and when an event happened.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which life of the store.
    pub epoch: Epoch,
    /// The event's offset.
    pub offset: u64,
    /// When.
    pub time: Time,
}

impl Place {
    /// The event here. It is nobody's.
    fn record(
        self,
        (topic, entity_type): (Topic, &'static str),
        event_type: &'static str,
        entity_id: String,
        data: Box<RawValue>,
    ) -> FeedRecord {
        FeedRecord {
            epoch: self.epoch,
            offset: self.offset,
            event_id: event_id(self.epoch, self.offset),
            time: self.time,
            topic,
            event_type: Cow::Borrowed(event_type),
            entity_type: Cow::Borrowed(entity_type),
            entity_id,
            data,
            tenant: None,
        }
    }
}

/// The data of task events.
#[derive(Debug, Default, Serialize)]
struct TaskData<'a> {
    lane: &'a str,
    kind: &'a str,
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_bytes: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct SessionData<'a> {
    tenant: &'a str,
    state: SessionState,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct LaneData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
    reason: &'a str,
}

/// The same for every reader, and different for every event of every store: the epoch's bits and the offset, as a UUID of version 8.
#[must_use]
pub fn event_id(epoch: Epoch, offset: u64) -> Uuid {
    let (high, low) = epoch.0.as_u64_pair();
    let mixed = high ^ low.rotate_left(32);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes[8..].copy_from_slice(&offset.to_be_bytes());
    // The version's and the variant's bits are overwritten; offsets stay apart below 2^62.
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The event that a record is, if it is one.
#[must_use]
pub fn render(record: &Record<'_>, label: Option<&Label<'_>>, names: &NameTable, place: Place) -> Option<FeedRecord> {
    let (topic, event_type, entity_type, entity_id, data, tenant) = match record {
        Record::Published(task) => {
            let data = to_raw_value(&published(task, names)).ok()?;
            (Topic::Tasks, "task_published", "task", task.id.to_string(), data, names.tenant(task.tenant))
        }
        Record::SessionCreated { id, tenant, metadata, idle_timeout_ms } => {
            let metadata: Option<&RawValue> = serde_json::from_str(metadata).ok();
            let tenant = names.tenant(*tenant);
            let data = SessionData {
                tenant: tenant.as_deref().unwrap_or_default(),
                state: SessionState::Active,
                metadata,
                idle_timeout_ms: Some(*idle_timeout_ms),
                reason: None,
            };
            let data = to_raw_value(&data).ok()?;
            (Topic::Sessions, "session_created", "session", (*id).to_owned(), data, tenant)
        }
        Record::SessionUpdated { id, tenant, metadata } => {
            let metadata: Option<&RawValue> = serde_json::from_str(metadata).ok();
            let tenant = names.tenant(*tenant);
            let data = SessionData {
                tenant: tenant.as_deref().unwrap_or_default(),
                state: SessionState::Active,
                metadata,
                idle_timeout_ms: None,
                reason: None,
            };
            let data = to_raw_value(&data).ok()?;
            (Topic::Sessions, "session_updated", "session", (*id).to_owned(), data, tenant)
        }
        Record::SessionEnded { id, tenant, state, reason } => {
            let state: SessionState = (*state).into();
            let event = if state == SessionState::TimedOut { "session_timed_out" } else { "session_ended" };
            let tenant = names.tenant(*tenant);
            let data = SessionData {
                tenant: tenant.as_deref().unwrap_or_default(),
                state,
                metadata: None,
                idle_timeout_ms: None,
                reason: *reason,
            };
            let data = to_raw_value(&data).ok()?;
            (Topic::Sessions, event, "session", (*id).to_owned(), data, tenant)
        }
        Record::LanePaused { lane, until, reason } => {
            let data = to_raw_value(&LaneData { until: until.map(Time), reason }).ok()?;
            (Topic::Lanes, "lane_paused", "lane", names.lane(*lane).to_owned(), data, None)
        }
        Record::LaneResumed { lane, reason } => {
            let data = to_raw_value(&LaneData { until: None, reason }).ok()?;
            (Topic::Lanes, "lane_resumed", "lane", names.lane(*lane).to_owned(), data, None)
        }
        Record::Announced { event_type, entity_id, data } => {
            let known = EVENT_TYPES.into_iter().find(|known| known == event_type)?;
            let data = RawValue::from_string((*data).to_owned()).ok()?;
            return Some(announced(known, (*entity_id).to_owned(), data, place));
        }
        _ => {
            let label = label?;
            let (topic, event_type, id, data) = about_task(record, label, names)?;
            (topic, event_type, "task", id.to_string(), to_raw_value(&data).ok()?, names.tenant(label.tenant))
        }
    };
    Some(FeedRecord { tenant, ..place.record((topic, entity_type), event_type, entity_id, data) })
}

/// The event that an announcement is.
#[must_use]
pub fn announced(event_type: &'static str, entity_id: String, data: Box<RawValue>, place: Place) -> FeedRecord {
    place.record(subject(event_type), event_type, entity_id, data)
}

fn published<'a>(task: &Published<'a>, names: &'a NameTable) -> TaskData<'a> {
    TaskData {
        lane: names.lane(task.lane),
        kind: task.kind,
        priority: Some(priority_of(task.priority)),
        session: task.session,
        key: task.key,
        due_at: Some(Time(task.due_at)),
        deadline_at: task.deadline_at.map(Time),
        payload_bytes: Some(task.payload.len()),
        ..TaskData::default()
    }
}

fn about_task<'a>(
    record: &'a Record<'_>,
    label: &'a Label<'_>,
    names: &'a NameTable,
) -> Option<(Topic, &'static str, Uuid, TaskData<'a>)> {
    let data = TaskData {
        lane: names.lane(label.lane),
        kind: label.kind,
        priority: Some(priority_of(label.priority)),
        attempt: label.attempt,
        session: label.session,
        key: label.key,
        worker: label.worker,
        ..TaskData::default()
    };
    Some(match record {
        Record::Leased { id, expires_at, .. } => {
            (Topic::Tasks, "task_leased", *id, TaskData { lease_expires_at: Some(Time(*expires_at)), ..data })
        }
        Record::Done { id } => (Topic::Tasks, "task_done", *id, data),
        Record::Retried { id, due_at, reason } => {
            let data = TaskData { due_at: Some(Time(*due_at)), reason: Some(reason), ..data };
            (Topic::Tasks, "task_retry_scheduled", *id, data)
        }
        Record::Released { id, due_at } => {
            (Topic::Tasks, "task_released", *id, TaskData { due_at: Some(Time(*due_at)), ..data })
        }
        Record::Cancelled { id, reason } => {
            (Topic::Tasks, "task_cancelled", *id, TaskData { reason: Some(reason), ..data })
        }
        Record::Dead { id, reason, detail, .. } => {
            let reason = DeadReason::from(*reason).as_str();
            let data = TaskData { reason: Some(reason), detail: Some(detail), ..data };
            (Topic::DeadLetters, "task_dead_lettered", *id, data)
        }
        Record::Replayed { id, by, due_at } => {
            let data = TaskData { by: Some(by), due_at: Some(Time(*due_at)), ..data };
            (Topic::DeadLetters, "task_replayed", *id, data)
        }
        Record::Purged { id } => (Topic::DeadLetters, "dead_letter_purged", *id, data),
        Record::Dropped { id } => (Topic::DeadLetters, "dead_letter_dropped", *id, data),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_differ_by_offset_and_epoch() {
        let (one, other) = (Epoch::at(Time(1), 1), Epoch::at(Time(1), 2));
        assert_ne!(event_id(one, 1), event_id(one, 2));
        assert_ne!(event_id(one, 1), event_id(other, 1));
        assert_eq!(event_id(one, 7), event_id(one, 7));
        assert_eq!(event_id(one, 7).get_version_num(), 8);
    }

    #[test]
    fn an_event_tells_what_happened() {
        let names = NameTable { lanes: vec!["gpt4".into()], tenants: vec!["acme".into()] };
        let record = Record::Retried { id: Uuid::nil(), due_at: 1_795_243_200_123, reason: "timeout" };
        let label = Label {
            tenant: 0,
            lane: 0,
            kind: "build",
            priority: 0,
            attempt: 2,
            session: None,
            key: Some("k"),
            worker: None,
        };
        let place = Place { epoch: Epoch::at(Time(1), 1), offset: 9, time: Time(5) };
        let event = render(&record, Some(&label), &names, place).unwrap();
        assert_eq!(
            (event.topic, &*event.event_type, event.tenant.as_deref()),
            (Topic::Tasks, "task_retry_scheduled", Some("acme"))
        );
        assert_eq!(
            event.data.get(),
            r#"{"lane":"gpt4","kind":"build","priority":"high","attempt":2,"key":"k","due_at":"2026-11-21T06:40:00.123Z","reason":"timeout"}"#
        );
    }
}
