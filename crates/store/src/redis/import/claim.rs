//! Taking a prefix for a move, and opening it to gateways when all of it is there. `<prefix>:migrating` stands from the first write
//! to the last, and no gateway opens a prefix that has it; `<prefix>:epoch`, which makes it a store, comes when that goes, in one.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult};
use squall_protocol::Time;

use crate::redis::keys::Scan;
use crate::redis::library::FORMAT;

/// A move that gave no sign of life for so long was killed.
const GONE_MS: u64 = 60_000;

/// Answers what stands there, or `begun`. Another's claim is only replaced when it is the one that was seen.
const BEGIN: &str = "
local epoch = redis.call('GET', KEYS[2])
if epoch then return { 'store', epoch } end
local run = redis.call('HGET', KEYS[1], 'run')
if run and run ~= ARGV[4] then return { 'claimed', '' } end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'run', ARGV[2], 'beat', ARGV[3])
return { 'begun', '' }";

const OPEN: &str = "
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1])
return 1";

/// Why a prefix is not free.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is a store, with this epoch.
    Store(String),
    /// Somebody else moves a store there, or did a moment ago.
    Busy,
    /// There are keys like ours, this one for example, and nothing that says whose.
    Foreign(String),
}

/// The right to write below a prefix.
pub(crate) struct Claim {
    connection: MultiplexedConnection,
    prefix: String,
    epoch: String,
    run: String,
}

impl Claim {
    /// Looks whether a prefix is free, without taking it. Answers how many keys an earlier move has left there.
    ///
    /// # Errors
    /// Those of Redis.
    pub(crate) async fn look(
        connection: &mut MultiplexedConnection,
        prefix: &str,
        epoch: &str,
        now: Time,
    ) -> RedisResult<Result<u64, Refused>> {
        let store: Option<String> =
            Cmd::new().arg("GET").arg(format!("{prefix}:epoch")).query_async(connection).await?;
        if let Some(epoch) = store {
            return Ok(Err(Refused::Store(epoch)));
        }
        let claimed = claimed(connection, prefix).await?;
        if let Some(held) = &claimed
            && !held.may_be_taken_by(epoch, now)
        {
            return Ok(Err(Refused::Busy));
        }
        let mut count = 0;
        let mut scan = Scan::below(prefix);
        while let Some(keys) = scan.next(connection).await? {
            if claimed.is_none()
                && let Some(key) = keys.into_iter().next()
            {
                return Ok(Err(Refused::Foreign(key)));
            }
            count += scan.found;
        }
        Ok(Ok(count))
    }

    /// Takes a prefix that was found free, and clears what an earlier move has left there.
    ///
    /// # Errors
    /// Those of Redis.
    pub(crate) async fn take(
        mut connection: MultiplexedConnection,
        prefix: &str,
        epoch: &str,
        now: Time,
    ) -> RedisResult<Result<Self, Refused>> {
        let earlier = claimed(&mut connection, prefix).await?.map(|held| held.run).unwrap_or_default();
        let run = uuid::Uuid::new_v4().to_string();
        let mut begin = script(BEGIN, prefix);
        begin.arg(epoch).arg(&run).arg(now.0).arg(earlier);
        let (what, of): (String, String) = begin.query_async(&mut connection).await?;
        match &*what {
            "begun" => {}
            "store" => return Ok(Err(Refused::Store(of))),
            _ => return Ok(Err(Refused::Busy)),
        }
        let mut scan = Scan::below(prefix);
        let own = format!("{prefix}:migrating");
        while let Some(keys) = scan.next(&mut connection).await? {
            let left: Vec<&String> = keys.iter().filter(|key| **key != own).collect();
            if !left.is_empty() {
                Cmd::new().arg("UNLINK").arg(left).exec_async(&mut connection).await?;
            }
        }
        Ok(Ok(Self { connection, prefix: prefix.to_owned(), epoch: epoch.to_owned(), run }))
    }

    /// Makes it a store. False: somebody else has taken it meanwhile.
    ///
    /// # Errors
    /// Those of Redis.
    pub(crate) async fn open(mut self) -> RedisResult<bool> {
        let mut open = script(OPEN, &self.prefix);
        open.arg(&self.run).arg(&self.epoch).arg(FORMAT);
        open.query_async(&mut self.connection).await
    }
}

fn script(text: &str, prefix: &str) -> Cmd {
    let mut eval = Cmd::new();
    eval.arg("EVAL").arg(text).arg(3);
    eval.arg(format!("{prefix}:migrating")).arg(format!("{prefix}:epoch")).arg(format!("{prefix}:format"));
    eval
}

struct Held {
    epoch: String,
    run: String,
    beat: Time,
}

impl Held {
    /// Whoever has the same store's directory open knows that nobody else has.
    fn may_be_taken_by(&self, epoch: &str, now: Time) -> bool {
        self.epoch == epoch || now.since_ms(self.beat) >= GONE_MS
    }
}

async fn claimed(connection: &mut MultiplexedConnection, prefix: &str) -> RedisResult<Option<Held>> {
    let mut held: HashMap<String, String> =
        Cmd::new().arg("HGETALL").arg(format!("{prefix}:migrating")).query_async(connection).await?;
    let Some(run) = held.remove("run") else { return Ok(None) };
    let beat = held.get("beat").and_then(|beat| beat.parse().ok()).unwrap_or(0);
    Ok(Some(Held { epoch: held.remove("epoch").unwrap_or_default(), run, beat: Time(beat) }))
}
