//! A stream: all gateways are consumers of one group, and each entry goes to one of them. Entries are acknowledged when they are stored;
//! they stay in the stream, whose length is the business of those who add to it.
//!
//! What a gateway that is gone had not acknowledged is taken over by the others after a few seconds. Two may then store the same entry,
//! under the same key: its id.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Cmd, RedisError};

use super::{BATCH_BYTES, BLOCK, Content, Error, Item, Link, Next, Options, key};

/// An entry that is neither acknowledged nor held for so long is taken over.
const ABANDONED_AFTER: Duration = Duration::from_secs(5);
/// So often is looked for such entries.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The name of a consumer that holds nothing is forgotten after so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

const SWEEP: &str = include_str!("lua/sweep.lua");

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    name: String,
    group: String,
    consumer: String,
    batch: usize,
    /// Bytes of the largest entry among those that were shown last: says how many are asked for.
    largest: usize,
    has_group: bool,
    /// Something may have been given to us that we did not see, or did not store.
    has_left: bool,
    looked: Option<Instant>,
    cursor: String,
    /// Ids of what was shown.
    shown: VecDeque<String>,
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
/// An id, and its fields unless it was deleted meanwhile.
type Entry = (String, Option<Fields>);

impl Stream {
    pub(super) fn new(options: &Options, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            group: options.group.clone(),
            consumer: format!("squall-{}", uuid::Uuid::new_v4()),
            batch: options.batch,
            largest: BATCH_BYTES,
            has_group: false,
            has_left: false,
            looked: None,
            cursor: "0-0".to_owned(),
            shown: VecDeque::new(),
        }
    }

    pub(super) async fn next(&mut self, link: &mut Link) -> Result<Next, Error> {
        self.has_left |= !self.shown.is_empty();
        self.shown.clear();
        let seen = self.look(link).await;
        seen.map_err(|error| {
            // The stream may be another one by now.
            self.has_group &= error.code() != Some("NOGROUP");
            self.has_left = true;
            link.failed(&error)
        })
    }

    async fn look(&mut self, link: &mut Link) -> Result<Next, RedisError> {
        if !self.has_group {
            self.join(link).await?;
        }
        if self.has_left {
            let mut again = self.read_group();
            again.arg("STREAMS").arg(&self.name).arg("0");
            let entries = read(link, &again).await?;
            let left = self.show(link, entries).await?;
            self.has_left = left != Next::Nothing;
            if self.has_left {
                return Ok(left);
            }
        }
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            let abandoned = self.take_over(link).await?;
            if abandoned != Next::Nothing {
                return Ok(abandoned);
            }
        }
        let mut fresh = self.read_group();
        fresh.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(&self.name).arg(">");
        let entries = read(link, &fresh).await?;
        self.show(link, entries).await
    }

    /// From the beginning of the stream: what was added before anybody read it counts too.
    async fn join(&mut self, link: &mut Link) -> Result<(), RedisError> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(&self.name).arg(&self.group).arg("0").arg("MKSTREAM");
        match link.ask::<()>(&create).await {
            Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
            _ => self.has_group = true,
        }
        link.ask(&self.sweep("")).await
    }

    fn read_group(&self) -> Cmd {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.group).arg(&self.consumer).arg("COUNT").arg(self.count());
        read
    }

    /// How many entries fit into a batch if none is larger than those before.
    fn count(&self) -> usize {
        (BATCH_BYTES / self.largest.max(1)).clamp(1, self.batch)
    }

    async fn take_over(&mut self, link: &mut Link) -> Result<Next, RedisError> {
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(&self.name).arg(&self.group).arg(&self.consumer).arg(ABANDONED_AFTER.as_millis() as u64);
        claim.arg(&self.cursor).arg("COUNT").arg(self.count());
        let reply: redis::Value = link.ask(&claim).await?;
        let redis::Value::Array(mut parts) = reply else { return Ok(Next::Nothing) };
        parts.truncate(2);
        let (cursor, entries): (String, Vec<Entry>) = redis::from_redis_value(redis::Value::Array(parts))?;
        if cursor == "0-0" {
            self.looked = Some(Instant::now());
        }
        self.cursor = cursor;
        self.show(link, entries).await
    }

    async fn show(&mut self, link: &mut Link, entries: Vec<Entry>) -> Result<Next, RedisError> {
        let mut items = Vec::with_capacity(entries.len());
        let mut deleted = Vec::new();
        for (id, fields) in entries {
            let Some(fields) = fields else {
                deleted.push(id);
                continue;
            };
            let parts: Vec<&[u8]> = fields.iter().flat_map(|(name, value)| [&name[..], &value[..]]).collect();
            items.push(Item {
                key: key(&self.name, &id, &parts),
                place: format!("entry {id}"),
                size: parts.iter().map(|part| part.len()).sum(),
                content: Content::Fields(
                    fields.into_iter().map(|(name, value)| (Bytes::from(name), Bytes::from(value))).collect(),
                ),
            });
            self.shown.push_back(id);
        }
        if !deleted.is_empty() {
            link.ask::<()>(&self.ack(deleted.iter())).await?;
        }
        let Some(largest) = items.iter().map(|item| item.size).max() else { return Ok(Next::Nothing) };
        self.largest = largest;
        Ok(Next::Items(items))
    }

    fn ack<'a>(&self, ids: impl Iterator<Item = &'a String>) -> Cmd {
        let mut ack = redis::cmd("XACK");
        ack.arg(&self.name).arg(&self.group);
        for id in ids {
            ack.arg(id);
        }
        ack
    }

    pub(super) async fn stored(&mut self, link: &mut Link, count: usize) -> Result<(), Error> {
        let count = count.min(self.shown.len());
        if count == 0 {
            return Ok(());
        }
        let ack = self.ack(self.shown.iter().take(count));
        link.ask::<()>(&ack).await.map_err(|error| link.failed(&error))?;
        self.shown.drain(..count);
        Ok(())
    }

    /// Entries that another gateway took over meanwhile are ours again; both store them as one.
    pub(super) async fn hold(&mut self, link: &mut Link) -> Result<(), Error> {
        let mut claim = redis::cmd("XCLAIM");
        claim.arg(&self.name).arg(&self.group).arg(&self.consumer).arg(0);
        for id in &self.shown {
            claim.arg(id);
        }
        claim.arg("JUSTID");
        link.ask::<redis::Value>(&claim).await.map(drop).map_err(|error| link.failed(&error))
    }

    fn sweep(&self, leaving: &str) -> Cmd {
        let mut sweep = redis::cmd("EVAL");
        sweep.arg(SWEEP).arg(1).arg(&self.name).arg(&self.group).arg(leaving).arg(FORGOTTEN_AFTER.as_millis() as u64);
        sweep
    }

    pub(super) async fn leave(&mut self, link: &mut Link) -> Result<(), Error> {
        link.ask(&self.sweep(&self.consumer)).await.map_err(|error| link.failed(&error))
    }
}

/// What a read of one stream answers; nothing came when there is no answer.
async fn read(link: &mut Link, command: &Cmd) -> Result<Vec<Entry>, RedisError> {
    let reply: Option<Vec<(String, Vec<Entry>)>> = link.ask(command).await?;
    Ok(reply.unwrap_or_default().into_iter().flat_map(|(_, entries)| entries).collect())
}
