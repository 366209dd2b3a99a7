//! Events of the topic `graph` once more, for programs that read Redis and not the gateway: a stream whose ids are the feed's offsets
//! (`<offset>-0`), and a channel. The feed is the truth, and this follows it: what a gateway that died had still to write, the next
//! announcement finds in the feed. An id that is there already is refused by Redis, so nothing is in the stream twice; what is published
//! on the channel and nobody heard is gone. A stream that somebody else wrote is left alone.

use std::sync::atomic::Ordering;

use redis::aio::ConnectionManager;
use redis::{AsyncCommands, RedisResult};
use squall_protocol::{FeedRecord, Topic};

use super::feed;
use super::shared::Shared;

/// Events that are read at once while catching up.
const READ_LIMIT: usize = 1_000;

/// Writes what was announced, and before it what is missing. A Redis that fails leaves it to the next announcement.
pub(super) async fn write(shared: &Shared, connection: &mut ConnectionManager, announced: Vec<FeedRecord>) {
    let store = &shared.options.store;
    let Some(before) = announced.first().map(|first| first.offset - 1).filter(|_| !store.graph_events.is_empty())
    else {
        return;
    };
    let written = async {
        if !shared.mirrored.load(Ordering::Acquire) {
            catch_up(shared, connection, before).await?;
        }
        append(shared, connection, &announced).await
    };
    let written = written.await;
    shared.mirrored.store(written.is_ok(), Ordering::Release);
    if let Err(error) = written {
        // Once, and not with each batch.
        if shared.mirror_failed.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(%error, "the stream {} is behind; it is tried again with every event of the graph", store.graph_events);
        return;
    }
    shared.mirror_failed.store(false, Ordering::Release);
}

/// Appends what the feed has of the topic beyond the stream's end, up to an offset.
async fn catch_up(shared: &Shared, connection: &mut ConnectionManager, to: u64) -> RedisResult<()> {
    let stream = &shared.options.store.graph_events;
    let last: Vec<(String, Vec<(String, String)>)> = connection.xrevrange_count(stream, "+", "-", 1).await?;
    let epoch = shared.epoch.to_string();
    let mut after = 0;
    if let Some((id, fields)) = last.into_iter().next() {
        if !fields.iter().any(|(name, value)| name == "epoch" && *value == epoch) {
            let why = format!(
                "{stream} is a stream of another store, or of somebody else: delete it, or name another in store.graph_events"
            );
            return Err((redis::ErrorKind::Client, "it is not written", why).into());
        }
        after = feed::last_offset(&id).unwrap_or(0);
    }
    while after < to {
        let slice = feed::read(connection, &shared.prefix, shared.epoch, to, after, READ_LIMIT).await?;
        let Some(end) = slice.records.last().map(|record| record.offset) else { break };
        let missing: Vec<FeedRecord> =
            slice.records.into_iter().filter(|record| record.topic == Topic::Graph && record.offset <= to).collect();
        append(shared, connection, &missing).await?;
        after = end;
    }
    Ok(())
}

async fn append(shared: &Shared, connection: &mut ConnectionManager, records: &[FeedRecord]) -> RedisResult<()> {
    let store = &shared.options.store;
    if records.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for record in records {
        let FeedRecord { epoch, offset, event_id, time, topic, event_type, entity_type, entity_id, data, .. } = record;
        pipe.cmd("XADD").arg(&store.graph_events).arg("MAXLEN").arg("~").arg(store.graph_events_kept);
        pipe.arg(format!("{offset}-0"))
            .arg(("epoch", epoch.to_string()))
            .arg(("offset", *offset))
            .arg(("event_id", event_id.to_string()))
            .arg(("time", time.to_string()))
            .arg(("topic", topic.as_str()))
            .arg(("event_type", &**event_type))
            .arg(("entity_type", &**entity_type))
            .arg(("entity_id", entity_id))
            .arg(("data", data.get()))
            .ignore();
        if let Ok(text) = serde_json::to_string(record) {
            pipe.publish(&store.graph_events, text).ignore();
        }
    }
    pipe.query_async(connection).await
}
