//! Listing what is over: finished tasks that are remembered, and dead letters, newest first by id.
//!
//! Redis keeps the one in the order in which they finished and the other in the order in which they died, so their ids are read, in
//! pieces that are short enough not to hold up anybody, and sorted here. Nothing is decided, so it need not be one step: what is taken
//! away meanwhile is missing from the list, as it would be a moment later.

use redis::RedisResult;
use redis::aio::ConnectionManager;
use squall_protocol::{TaskId, Time};

use super::views::{self, Fields};
use super::{Asker, wire};
use crate::{Error, ListTasks, Result, TasksPage};

/// Ids that one command answers.
const PIECE: isize = 1_000;

/// Tasks that one list looks at: a filter that almost nothing matches must not go through all of them in one call.
const MAX_LOOKED: usize = 2_000;

/// Tasks that are read in one step.
const READ_AT_ONCE: usize = 200;

/// A page of what is over.
pub(super) async fn list(mut asker: Asker, scope: String, list: ListTasks) -> Result<TasksPage> {
    let found = ids(&mut asker.reader, &asker.shared.prefix).await;
    let range = list.first()..list.end();
    let found = found.map_err(|error| Error::Unavailable(error.to_string()))?;
    let mut ids: Vec<TaskId> = found.into_iter().filter(|id| range.contains(id)).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.dedup();
    let limit = list.limit.clamp(1, 1_000);
    let mut page = TasksPage::default();
    let looked = &ids[..ids.len().min(MAX_LOOKED)];
    for some in looked.chunks(READ_AT_ONCE) {
        let texts: Vec<String> = some.iter().map(ToString::to_string).collect();
        let asked = asker.ask(wire::command(&("ended", &scope, texts)), false, None, |decided| {
            let (_, items): (u64, Vec<(String, Vec<String>)>) = wire::read(decided.value)?;
            Ok(items)
        });
        for (id, fields) in asked.await? {
            let task = views::task(views::task_id(&id)?, Time(0), &Fields::new(fields));
            if page.items.len() == limit {
                return Ok(page);
            }
            if list.wants(task.state, &task.lane, &task.kind, task.session.as_ref()) {
                page.next = Some(task.id);
                page.items.push(task);
            }
        }
        if page.items.len() < limit {
            page.next = some.last().copied();
        }
    }
    if looked.len() == ids.len() {
        page.next = None;
    }
    Ok(page)
}

/// The ids of all that is over, in no order.
async fn ids(reader: &mut ConnectionManager, prefix: &str) -> RedisResult<Vec<TaskId>> {
    let mut ids: Vec<TaskId> = Vec::new();
    // From the end: what finishes meanwhile moves the rest towards us, so that something may come twice but nothing is missed.
    let (done, mut end) = (format!("{prefix}:done"), -1);
    loop {
        let piece: Vec<String> =
            redis::cmd("LRANGE").arg(&done).arg(end - PIECE + 1).arg(end).query_async(reader).await?;
        let short = (piece.len() as isize) < PIECE;
        ids.extend(piece.iter().filter_map(|id| id.parse::<TaskId>().ok()));
        if short {
            break;
        }
        end -= PIECE;
    }
    let (dead, mut after) = (format!("{prefix}:dead"), "-inf".to_owned());
    loop {
        let mut ask = redis::cmd("ZRANGEBYSCORE");
        ask.arg(&dead).arg(&after).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(PIECE);
        let piece: Vec<(String, f64)> = ask.query_async(reader).await?;
        ids.extend(piece.iter().filter_map(|(id, _)| id.parse::<TaskId>().ok()));
        match piece.last() {
            Some((_, order)) if piece.len() as isize == PIECE => after = format!("({order}"),
            _ => break,
        }
    }
    Ok(ids)
}
