//! Reading the feed: a Redis Stream whose entries are the events of one call, `<offset of the last>-0`. Offsets have no gap, unless
//! the store was moved here with one.

use std::borrow::Cow;

use redis::aio::ConnectionManager;
use redis::{AsyncCommands, RedisResult};
use serde_json::value::RawValue;
use squall_protocol::event::subject;
use squall_protocol::{Epoch, FeedRecord, Gap, GapReason, Time};

use crate::FeedSlice;
use crate::embedded::events::event_id;

/// An entry: its id, and its fields in their order.
type Entry = (String, Vec<(String, String)>);

/// Entries that are read at once: each is one call of a gateway, and has a few hundred events at most.
const ENTRIES: usize = 64;

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
        // One that is behind what we know has lost it, and will go on beyond it: see `step`.
        stored.unwrap_or(0).max(head)
    };
    let mut slice = FeedSlice { gap: None, records: Vec::new(), head };
    if after > head {
        slice.gap = Some(Gap { from: head + 1, to: after, reason: GapReason::Ahead });
        return Ok(slice);
    }
    if after == head {
        return Ok(slice);
    }
    let limit = limit.max(1);
    let mut from = after + 1;
    loop {
        // An entry's id is its last offset: this begins with the one that has `from`, or the first one after it.
        let entries: Vec<Entry> =
            connection.xrange_count(format!("{prefix}:feed"), format!("{from}-0"), "+", ENTRIES).await?;
        let is_last = entries.len() < ENTRIES;
        for (id, fields) in entries {
            let Some(last) = last_offset(&id) else { continue };
            slice.records.extend(records(epoch, last, fields).filter(|record| record.offset > after));
            from = last + 1;
        }
        if is_last || slice.records.len() >= limit {
            break;
        }
    }
    slice.records.truncate(limit);
    // A feed that was moved here may have gaps inside; each is told with the read that begins before it.
    let whole = slice.records.windows(2).position(|two| two[0].offset + 1 != two[1].offset);
    slice.records.truncate(whole.map_or(limit, |last| last + 1));
    // What is in the stream is committed, whether this gateway has heard of it or not.
    slice.head = slice.records.last().map_or(head, |last| last.offset.max(head));
    let oldest = slice.records.first().map_or(head + 1, |record| record.offset);
    if oldest > after + 1 {
        let before: Vec<Entry> =
            connection.xrevrange_count(format!("{prefix}:feed"), format!("{after}-0"), "-", 1).await?;
        let reason = if before.is_empty() { GapReason::Retention } else { GapReason::Corrupt };
        slice.gap = Some(Gap { from: after + 1, to: oldest - 1, reason });
    }
    Ok(slice)
}

pub(super) fn last_offset(id: &str) -> Option<u64> {
    id.split('-').next()?.parse().ok()
}

/// The events of an entry. The library wrote it; what it did not write is left out.
fn records(epoch: Epoch, last: u64, fields: Vec<(String, String)>) -> impl Iterator<Item = FeedRecord> {
    let mut fields = fields.into_iter();
    let time = fields.next().and_then(|(_, ms)| ms.parse().ok()).map(Time).unwrap_or_default();
    let first = (last + 1).saturating_sub(fields.len() as u64);
    fields.enumerate().filter_map(move |(at, (kind, said))| record(epoch, first + at as u64, time, kind, &said))
}

fn record(epoch: Epoch, offset: u64, time: Time, kind: String, said: &str) -> Option<FeedRecord> {
    let mut lines = said.splitn(4, '\n');
    let (entity, times, about_it, tenant) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let (topic, entity_type) = subject(&kind);
    let mut data = String::with_capacity(said.len() + 64);
    data.push('{');
    data.push_str(about_it);
    for (name, ms) in times.split(' ').filter_map(|time| time.split_once('=')) {
        let name = match name {
            "due" => "due_at",
            "deadline" => "deadline_at",
            "lease" => "lease_expires_at",
            name => name,
        };
        let comma = if data.len() > 1 { "," } else { "" };
        data.push_str(&format!("{comma}\"{name}\":\"{}\"", Time(ms.parse().ok()?)));
    }
    data.push('}');
    Some(FeedRecord {
        epoch,
        offset,
        event_id: event_id(epoch, offset),
        time,
        topic,
        event_type: Cow::Owned(kind),
        entity_type: Cow::Borrowed(entity_type),
        entity_id: entity.to_owned(),
        data: RawValue::from_string(data).ok()?,
        tenant: (!tenant.is_empty()).then(|| tenant.into()),
    })
}
