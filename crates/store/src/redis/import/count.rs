//! Counting what lies below a prefix, from what is there: lists, sets and streams by their lengths, and beside that every single key.
//! Where the two do not agree, that is a difference of its own.

use std::collections::{BTreeMap, HashSet};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult};
use squall_protocol::Priority;

use crate::migrate::{Counts, FeedCounts, LaneCounts};
use crate::redis::feed::last_offset;
use crate::redis::keys::Scan;
use crate::redis::wire::Identity;

/// Of a task, packed: what never changes, and what does.
type Standing = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Entries of the feed that are read at a time.
const ENTRIES: usize = 500;

/// Counts all of it. What contradicts itself is named in the second part.
pub(crate) async fn count(connection: &mut MultiplexedConnection, prefix: &str) -> RedisResult<(Counts, Vec<String>)> {
    let mut asks = Asks { connection, prefix };
    let mut counts = Counts::default();
    let mut odd = Vec::new();
    let lanes: Vec<String> = asks.ask("SMEMBERS", "lanes", &[]).await?;
    for lane in lanes {
        let mut of_lane = LaneCounts::default();
        for (level, priority) in Priority::ALL.into_iter().enumerate() {
            of_lane.ready[level] = asks.ask("LLEN", &format!("queue:{lane}:{}", priority.as_str()), &[]).await?;
        }
        of_lane.dead = asks.ask("LLEN", &format!("queue:{lane}:dlq"), &[]).await?;
        let packed: Option<Vec<u8>> = asks.ask("GET", &format!("lane:{lane}"), &[]).await?;
        let numbers: Vec<rmpv::Value> =
            packed.and_then(|packed| rmp_serde::from_slice(&packed).ok()).unwrap_or_default();
        let number = |at: usize| numbers.get(at).and_then(rmpv::Value::as_u64).unwrap_or(0);
        (of_lane.leased, of_lane.delayed) = (number(1), number(2));
        if [7, 8, 9].map(number) != of_lane.ready {
            odd.push(format!(
                "ready in {lane}: {:?} by its own numbers, {:?} are queued",
                [7, 8, 9].map(number),
                of_lane.ready
            ));
        }
        counts.lanes.insert(lane, of_lane);
    }
    counts.finished = asks.ask("LLEN", "done", &[]).await?;
    counts.sessions_active = asks.ask("ZCARD", "idle", &[]).await?;
    counts.sessions_ended = asks.ask("LLEN", "ended", &[]).await?;
    counts.feed = feed(&mut asks).await?;
    let lengths: [u64; 5] = [
        asks.ask("ZCARD", "due", &[]).await?,
        asks.ask("ZCARD", "leases", &[]).await?,
        asks.ask("ZCARD", "dead", &[]).await?,
        asks.ask("ZCARD", "sessions", &[]).await?,
        asks.ask("HLEN", "finished", &[]).await?,
    ];

    let singles = Singles::find(&mut asks).await?;
    let total = |of: fn(&LaneCounts) -> u64| counts.lanes.values().map(of).sum::<u64>();
    for lane in singles.lanes.keys().filter(|lane| !counts.lanes.contains_key(*lane)) {
        odd.push(format!("there are tasks of a lane {lane:?} that is not listed"));
    }
    let mut agree = |what: &str, one: u64, other: u64| {
        if one != other {
            odd.push(format!("{what}: {one} are listed, {other} are there"));
        }
    };
    for (lane, listed) in &counts.lanes {
        let found = singles.lanes.get(lane).cloned().unwrap_or_default();
        for (level, priority) in Priority::ALL.into_iter().enumerate() {
            agree(&format!("ready in {lane}, {}", priority.as_str()), listed.ready[level], found.ready[level]);
        }
        agree(&format!("delayed in {lane}"), listed.delayed, found.delayed);
        agree(&format!("leased in {lane}"), listed.leased, found.leased);
        agree(&format!("dead letters of {lane}"), listed.dead, found.dead);
    }
    agree("delayed", lengths[0], total(|lane| lane.delayed));
    agree("leased", lengths[1], total(|lane| lane.leased));
    agree("dead letters", lengths[2], total(|lane| lane.dead));
    agree("finished tasks", counts.finished, lengths[4]);
    agree("sessions", lengths[3], singles.sessions);
    agree("active and ended sessions", counts.sessions_active + counts.sessions_ended, singles.sessions);
    counts.idempotency_keys = singles.idempotency_keys;
    counts.lanes.retain(|_, lane| *lane != LaneCounts::default());
    Ok((counts, odd))
}

/// Reads all of the feed, as far as it takes to count its events.
async fn feed(asks: &mut Asks<'_>) -> RedisResult<FeedCounts> {
    let head: Option<u64> = asks.ask("GET", "offset", &[]).await?;
    let mut counts = FeedCounts { next: head.unwrap_or(0) + 1, ..FeedCounts::default() };
    loop {
        let (from, count) = (format!("{}-0", counts.last + 1), ENTRIES.to_string());
        let entries: Vec<(String, Vec<(String, String)>)> =
            asks.ask("XRANGE", "feed", &[&from, "+", "COUNT", &count]).await?;
        for (id, fields) in &entries {
            let Some(last) = last_offset(id) else { continue };
            // The first field is the time; each of the others is an event.
            let events = fields.len().saturating_sub(1) as u64;
            if counts.first == 0 {
                counts.first = (last + 1).saturating_sub(events);
            }
            (counts.events, counts.last) = (counts.events + events, last);
        }
        if entries.len() < ENTRIES {
            return Ok(counts);
        }
    }
}

/// What every single key says of itself.
#[derive(Default)]
struct Singles {
    lanes: BTreeMap<String, LaneCounts>,
    sessions: u64,
    /// These are listed nowhere.
    idempotency_keys: u64,
}

impl Singles {
    async fn find(asks: &mut Asks<'_>) -> RedisResult<Self> {
        let mut found = Self::default();
        let held: HashSet<String> = asks.ask("HKEYS", "held", &[]).await?;
        let mut scan = Scan::below(asks.prefix);
        // A scan may show a key twice, when the table of all keys grows or shrinks meanwhile.
        let mut tasks: HashSet<String> = HashSet::new();
        let (mut sessions, mut keys) = (HashSet::new(), HashSet::new());
        while let Some(page) = scan.next(asks.connection).await? {
            let (mut pipe, mut leased) = (Pipeline::new(), Vec::new());
            for key in page {
                let Some(rest) = key.strip_prefix(asks.prefix).and_then(|rest| rest.strip_prefix(':')) else {
                    continue;
                };
                if let Some(id) = rest.strip_prefix("task:") {
                    if tasks.insert(id.to_owned()) {
                        pipe.cmd("HMGET").arg(&key).arg(&["i", "m"]);
                        leased.push(held.contains(id));
                    }
                } else if let Some(id) = rest.strip_prefix("session:") {
                    sessions.insert(id.to_owned());
                } else if let Some(key) = rest.strip_prefix("idem:") {
                    keys.insert(key.to_owned());
                }
            }
            if !pipe.is_empty() {
                let standings: Vec<Standing> = pipe.query_async(asks.connection).await?;
                standings.iter().zip(leased).for_each(|(standing, leased)| found.task(standing, leased));
            }
        }
        (found.sessions, found.idempotency_keys) = (sessions.len() as u64, keys.len() as u64);
        Ok(found)
    }

    fn task(&mut self, (identity, moving): &Standing, leased: bool) {
        let identity = identity.as_deref().and_then(|packed| rmp_serde::from_slice::<Identity>(packed).ok());
        let moving: Vec<rmpv::Value> =
            moving.as_deref().and_then(|packed| rmp_serde::from_slice(packed).ok()).unwrap_or_default();
        let text = |at: usize| moving.get(at).and_then(rmpv::Value::as_str).unwrap_or_default();
        let (lane, level) = identity.map(|identity| (identity.lane, identity.level)).unwrap_or_default();
        let lane = self.lanes.entry(lane.into_owned()).or_default();
        match (text(0), text(4)) {
            _ if leased => lane.leased += 1,
            ("x", _) => lane.dead += 1,
            ("w", "d") => lane.delayed += 1,
            _ => lane.ready[usize::from(level.clamp(1, 3)) - 1] += 1,
        }
    }
}

struct Asks<'a> {
    connection: &'a mut MultiplexedConnection,
    prefix: &'a str,
}

impl Asks<'_> {
    async fn ask<T: redis::FromRedisValue>(&mut self, verb: &str, key: &str, rest: &[&str]) -> RedisResult<T> {
        let mut ask = Cmd::new();
        ask.arg(verb).arg(format!("{}:{key}", self.prefix)).arg(rest);
        ask.query_async(self.connection).await
    }
}
