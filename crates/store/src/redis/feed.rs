//! Reading the feed: a Redis Stream whose ids are our offsets, `<offset>-0`, one after the other without a gap.

use std::borrow::Cow;
use std::collections::HashMap;

use redis::aio::ConnectionManager;
use redis::{AsyncCommands, RedisResult};
use serde_json::value::RawValue;
use squall_protocol::{Epoch, FeedRecord, Gap, GapReason, Time, Topic};

use crate::FeedSlice;
use crate::embedded::events::event_id;

type Entry = (String, HashMap<String, String>);

/// Events after `after`, at most `limit`. `head`: the end of the feed as this gateway last heard of it; another one may know more.
///
/// # Errors
/// Those of Redis.
pub(super) async fn read(
    connection: &mut ConnectionManager,
    prefix: &str,
    epoch: Epoch,
    head: u64,
    after: u64,
    limit: usize,
) -> RedisResult<FeedSlice> {
    let head = if after < head {
        head
    } else {
        let stored: Option<u64> = connection.get(format!("{prefix}:offset")).await?;
        stored.unwrap_or(0)
    };
    let mut slice = FeedSlice { gap: None, records: Vec::new(), head };
    if after > head {
        slice.gap = Some(Gap { from: head + 1, to: after, reason: GapReason::Ahead });
        return Ok(slice);
    }
    if after == head {
        return Ok(slice);
    }
    let first = format!("{}-0", after + 1);
    // What is in the stream is committed, whether this gateway has heard of it or not.
    let entries: Vec<Entry> = connection.xrange_count(format!("{prefix}:feed"), first, "+", limit.max(1)).await?;
    slice.records = entries.into_iter().filter_map(|entry| record(epoch, entry)).collect();
    slice.head = slice.records.last().map_or(head, |last| last.offset.max(head));
    let oldest = slice.records.first().map_or(head + 1, |record| record.offset);
    if oldest > after + 1 {
        slice.gap = Some(Gap { from: after + 1, to: oldest - 1, reason: GapReason::Retention });
    }
    Ok(slice)
}

/// An entry of the stream as an event. The library wrote it; one that it did not write is left out.
fn record(epoch: Epoch, (id, fields): Entry) -> Option<FeedRecord> {
    let offset = id.split('-').next()?.parse().ok()?;
    let field = |name: &str| fields.get(name).map(String::as_str);
    let kind = field("e")?;
    let (topic, entity_type) = about(kind);
    let mut data = format!("{{{}", field("d")?);
    for (field_name, name) in
        [("due", "due_at"), ("deadline", "deadline_at"), ("lease", "lease_expires_at"), ("until", "until")]
    {
        if let Some(ms) = field(field_name).and_then(|text| text.parse().ok()) {
            let comma = if data.len() > 1 { "," } else { "" };
            data.push_str(&format!("{comma}\"{name}\":\"{}\"", Time(ms)));
        }
    }
    data.push('}');
    Some(FeedRecord {
        epoch,
        offset,
        event_id: event_id(epoch, offset),
        time: Time(field("m")?.parse().ok()?),
        topic,
        event_type: Cow::Owned(kind.to_owned()),
        entity_type: Cow::Borrowed(entity_type),
        entity_id: field("i")?.to_owned(),
        data: RawValue::from_string(data).ok()?,
        tenant: field("n").filter(|name| !name.is_empty()).map(Into::into),
    })
}

fn about(kind: &str) -> (Topic, &'static str) {
    match kind {
        "task_dead_lettered" | "task_replayed" | "dead_letter_purged" | "dead_letter_dropped" => {
            (Topic::DeadLetters, "task")
        }
        _ if kind.starts_with("session_") => (Topic::Sessions, "session"),
        _ if kind.starts_with("lane_") => (Topic::Lanes, "lane"),
        _ => (Topic::Tasks, "task"),
    }
}
