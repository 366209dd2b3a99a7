//! What callers say, as the library takes it, and its answers to settlements.

use squall_protocol::task::Published;
use squall_protocol::{DeadLetterFilter, NackMode, Priority, RetryOverride, SessionId, TaskId, Time};

use super::settings::MAX_MS;
use super::{views, wire};
use crate::config::Options;
use crate::{Announcement, Holder, Result, SettleVerb, Settled, Settlement, TaskSpec};

/// A filter as the library takes it.
pub(super) fn filter_of(filter: &DeadLetterFilter) -> serde_json::Value {
    let mut parts = serde_json::Map::new();
    let mut set = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            parts.insert(name.to_owned(), value);
        }
    };
    set("lane", filter.lane.clone().map(Into::into));
    set("kind", filter.kind.clone().map(Into::into));
    set("reason", filter.reason.map(|reason| reason.as_str().into()));
    set("session", filter.session.as_ref().map(|id| id.as_str().into()));
    set("before", filter.before.map(|at| at.0.into()));
    set("since", filter.since.map(|at| at.0.into()));
    parts.into()
}

/// An event as the library takes it: type, entity, and data without the braces.
pub(super) fn announcement(event: &Announcement) -> [&str; 3] {
    let data = event.data.get().trim();
    let inside = data.strip_prefix('{').and_then(|data| data.strip_suffix('}')).unwrap_or_default();
    [event.event_type, &event.entity_id, inside]
}

/// Where a task goes that asks for this lane: the lane, and the priority of those that do not say.
fn route<'a>(options: &'a Options, asked: Option<&'a str>) -> Option<(&'a str, Priority)> {
    let configured = |name: &'a str| options.lanes.get(name).map(|lane| (name, lane.priority));
    asked.and_then(configured).or_else(|| options.default_lane.as_deref().and_then(configured))
}

/// What never changes of a task. `kind` and what follows are the task's own; `retry` is what it says of retries itself.
pub(super) fn identity<'a>(
    (tenant, lane, priority): (&'a str, &'a str, Priority),
    (kind, session, key): (&'a str, Option<&'a SessionId>, Option<&'a str>),
    retry: Option<&RetryOverride>,
) -> wire::Identity<'a> {
    let quoted = |text: &str| serde_json::to_string(text).expect("a text can be written");
    let mut label =
        format!("\"lane\":{},\"kind\":{},\"priority\":\"{}\"", quoted(lane), quoted(kind), priority.as_str());
    if let Some(session) = session {
        label.push_str(&format!(",\"session\":{}", quoted(session.as_str())));
    }
    if let Some(key) = key {
        label.push_str(&format!(",\"key\":{}", quoted(key)));
    }
    wire::Identity {
        tenant: tenant.into(),
        lane: lane.into(),
        level: priority as u8 + 1,
        kind: kind.into(),
        session: session.map(|id| id.as_str().into()),
        key: key.map(Into::into),
        retry: retry.and_then(|retry| serde_json::to_string(retry).ok()),
        label,
    }
}

/// Publishing these tasks, as the library takes it, and the ids that they get, in the order of the tasks.
pub(super) fn publish_command(options: &Options, tenant: &str, tasks: &[TaskSpec]) -> (Vec<u8>, Vec<TaskId>) {
    let ids: Vec<TaskId> = tasks.iter().map(|_| TaskId(uuid::Uuid::now_v7())).collect();
    let new = tasks.iter().zip(&ids).map(|(spec, id)| {
        let (lane, usual) = route(options, spec.lane.as_deref()).unwrap_or(("", Priority::Normal));
        let priority = spec.priority.unwrap_or(usual);
        wire::NewTask {
            id: id.to_string(),
            identity: identity(
                (tenant, lane, priority),
                (&spec.kind, spec.session.as_ref(), spec.key.as_deref()),
                spec.retry.as_ref(),
            ),
            payload: &spec.payload,
            delay: spec.delay_ms.min(MAX_MS),
            deadline: spec.deadline_ms.map(|ms| ms.min(MAX_MS)),
            idempotency_key: spec.idempotency_key.as_deref(),
            asked: spec.lane.as_deref().unwrap_or_default(),
            dead: spec.dead.as_ref().map(|(reason, detail)| (reason.as_str(), &**detail)),
        }
    });
    (wire::publish(tenant, new), ids)
}

/// What a publish is answered with.
///
/// # Errors
/// Those of [`crate::Store::publish`].
pub(super) fn published(id: TaskId, reply: &rmpv::Value) -> Result<Published> {
    if reply.as_u64() == Some(1) {
        return Ok(Published { id, duplicate: false });
    }
    let (_, earlier): (u64, String) = wire::read(reply)?;
    Ok(Published { id: views::task_id(&earlier)?, duplicate: true })
}

/// These settlements, as the library takes them.
pub(super) fn settle_command(tenant: Option<&str>, holder: Holder, settlements: &[Settlement]) -> Vec<u8> {
    let worker = match holder {
        Holder::Worker(id) => id.to_string(),
        Holder::Receipts => String::new(),
    };
    let ids: Vec<String> = settlements.iter().map(|one| one.id.to_string()).collect();
    let new: Vec<wire::NewSettlement<'_>> = settlements.iter().map(settlement).collect();
    wire::settle(tenant.unwrap_or_default(), &worker, &ids, &new)
}

fn settlement(one: &Settlement) -> wire::NewSettlement<'_> {
    let receipt = one.receipt.map(|receipt| receipt.to_string()).unwrap_or_default();
    match &one.verb {
        SettleVerb::Ack => ("ack", receipt, -1, "", None),
        SettleVerb::Nack { mode, delay_ms, reason, pause_lane_ms } => {
            let verb = match mode {
                NackMode::Fail => "fail",
                NackMode::Release => "release",
                NackMode::Fatal => "fatal",
            };
            let ms = delay_ms.map_or(-1, |ms| ms.min(MAX_MS) as i64);
            let reason = reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("nack");
            (verb, receipt, ms, reason, pause_lane_ms.map(|ms| ms.min(MAX_MS)))
        }
        SettleVerb::Extend { for_ms } => ("extend", receipt, (*for_ms).min(MAX_MS) as i64, "", None),
    }
}

/// What a settlement is answered with.
///
/// # Errors
/// `NotHeld`.
pub(super) fn settled(reply: &rmpv::Value) -> Result<Settled> {
    if reply.as_u64() == Some(1) {
        return Ok(Settled::Done);
    }
    wire::refused(reply)?;
    let parts: Vec<u64> = wire::decode(reply)?;
    let at = Time(parts.get(1).copied().unwrap_or(0));
    Ok(match parts.first() {
        Some(2) => Settled::Retry(at),
        Some(3) => Settled::Dead,
        _ => Settled::Extended(at),
    })
}
