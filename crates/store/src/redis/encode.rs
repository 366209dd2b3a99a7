//! What callers say, as the library takes it, and its answers to settlements.

use squall_protocol::{DeadLetterFilter, NackMode, SessionId, Time};

use super::settings::MAX_MS;
use super::wire;
use crate::{Holder, Result, SettleVerb, Settled, Settlement, TaskSpec};

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

/// What the events of a task say of it: what stands before its priority, and after it.
fn label_of(spec: &TaskSpec) -> (String, String) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut rest = String::new();
    if let Some(session) = &spec.session {
        rest.push_str(&format!(",\"session\":{}", quoted(session.as_str())));
    }
    if let Some(key) = &spec.key {
        rest.push_str(&format!(",\"key\":{}", quoted(key)));
    }
    (format!("\"kind\":{}", quoted(&spec.kind)), rest)
}

/// Publishing these tasks, as the library takes it. Their ids are made here, in the order of the tasks.
pub(super) fn publish_command(tenant: &str, tasks: &[TaskSpec]) -> Vec<u8> {
    let new: Vec<wire::NewTask<'_>> = tasks
        .iter()
        .map(|spec| {
            let (label, rest) = label_of(spec);
            wire::NewTask {
                id: uuid::Uuid::now_v7().to_string(),
                lane: spec.lane.as_deref().unwrap_or_default(),
                level: spec.priority.map_or(0, |priority| priority as u8 + 1),
                kind: &spec.kind,
                payload: &spec.payload,
                session: spec.session.as_ref().map(SessionId::as_str),
                key: spec.key.as_deref(),
                delay: spec.delay_ms.min(MAX_MS),
                deadline: spec.deadline_ms.map(|ms| ms.min(MAX_MS)),
                retry: spec.retry.as_ref().and_then(|retry| serde_json::to_string(retry).ok()),
                idem: spec.idempotency_key.as_deref(),
                label,
                rest,
            }
        })
        .collect();
    wire::command(&("publish", tenant, new))
}

/// These settlements, as the library takes them.
pub(super) fn settle_command(tenant: Option<&str>, holder: Holder, settlements: &[Settlement]) -> Vec<u8> {
    let worker = match holder {
        Holder::Worker(id) => id.to_string(),
        Holder::Receipts => String::new(),
    };
    let new: Vec<wire::NewSettlement<'_>> = settlements.iter().map(settlement).collect();
    wire::command(&("settle", tenant.unwrap_or_default(), worker, new))
}

fn settlement(one: &Settlement) -> wire::NewSettlement<'_> {
    let mut new = wire::NewSettlement {
        id: one.id.to_string(),
        receipt: one.receipt.map(|receipt| receipt.to_string()).unwrap_or_default(),
        verb: "ack",
        ms: -1,
        reason: "nack",
        pause: None,
    };
    match &one.verb {
        SettleVerb::Ack => {}
        SettleVerb::Nack { mode, delay_ms, reason, pause_lane_ms } => {
            new.verb = match mode {
                NackMode::Fail => "fail",
                NackMode::Release => "release",
                NackMode::Fatal => "fatal",
            };
            new.ms = delay_ms.map_or(-1, |ms| ms.min(MAX_MS) as i64);
            new.reason = reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("nack");
            new.pause = pause_lane_ms.map(|ms| ms.min(MAX_MS));
        }
        SettleVerb::Extend { for_ms } => {
            new.verb = "extend";
            new.ms = (*for_ms).min(MAX_MS) as i64;
        }
    }
    new
}

/// What a settlement is answered with.
///
/// # Errors
/// `NotHeld`.
pub(super) fn settled(reply: &rmpv::Value) -> Result<Settled> {
    wire::refused(reply)?;
    let parts: Vec<u64> = wire::decode(reply)?;
    let at = Time(parts.get(1).copied().unwrap_or(0));
    Ok(match parts.first() {
        Some(1) => Settled::Done,
        Some(2) => Settled::Retry(at),
        Some(3) => Settled::Dead,
        _ => Settled::Extended(at),
    })
}
