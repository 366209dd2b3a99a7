//! A list: what was pushed first is read first, by one gateway at a time.
//!
//! Items are looked at where they are, and popped when they are stored. So that two gateways do not store the same ones, a key beside the
//! list says who reads it, for a few seconds; popping is refused to whoever has lost it. A count of what was ever popped, moved in
//! the same step, gives each item the number that is its name: who comes after a crash names the same item alike.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;

use super::{BATCH_BYTES, BLOCK, Content, Error, Item, Link, Next, Options, key};

/// A reader that shows no sign of life for so long is gone.
pub(super) const READER_FOR: Duration = Duration::from_secs(5);

const PEEK: &str = include_str!("lua/peek.lua");
const POP: &str = include_str!("lua/pop.lua");
const HOLD: &str =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\nreturn redis.call('PEXPIRE', KEYS[1], ARGV[2])";
const LEAVE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end\nreturn 1";

/// See the module.
#[derive(Debug)]
pub(super) struct List {
    name: String,
    /// Who reads it.
    reader_key: String,
    /// What was taken: `epoch`, which names the count, and `taken`, the count.
    state_key: String,
    token: String,
    batch: usize,
    max_item_bytes: usize,
    /// What was shown, as it was shown, with its size; in the order of the list.
    shown: VecDeque<(Bytes, usize)>,
}

/// Whether we read it, the name of the count, the count, sizes, items.
type Peeked = (u8, String, u64, Vec<usize>, Vec<Vec<u8>>);

impl List {
    pub(super) fn new(options: &Options, name: &str) -> Self {
        // In a cluster, what stands in braces decides where a key is.
        let beside = if name.contains('{') { name.to_owned() } else { format!("{{{name}}}") };
        Self {
            name: name.to_owned(),
            reader_key: format!("{beside}:squall:reader"),
            state_key: format!("{beside}:squall:taken"),
            token: uuid::Uuid::new_v4().to_string(),
            batch: options.batch,
            max_item_bytes: options.max_item_bytes,
            shown: VecDeque::new(),
        }
    }

    fn script(&self, text: &str) -> Cmd {
        let mut call = redis::cmd("EVAL");
        call.arg(text).arg(3).arg(&self.name).arg(&self.reader_key).arg(&self.state_key).arg(&self.token);
        call.arg(READER_FOR.as_millis() as u64);
        call
    }

    pub(super) async fn next(&mut self, link: &mut Link) -> Result<Next, Error> {
        let seen = self.peek(link).await?;
        if seen != Next::Nothing {
            return Ok(seen);
        }
        // From its head to its head: nothing moves, but it waits until there is something.
        let mut wait = redis::cmd("BLMOVE");
        wait.arg(&self.name).arg(&self.name).arg("LEFT").arg("LEFT").arg(BLOCK.as_secs_f64());
        let came: Option<Vec<u8>> = link.ask(&wait).await.map_err(|error| link.failed(&error))?;
        if came.is_none() { Ok(Next::Nothing) } else { self.peek(link).await }
    }

    async fn peek(&mut self, link: &mut Link) -> Result<Next, Error> {
        self.shown.clear();
        let mut peek = self.script(PEEK);
        peek.arg(self.batch).arg(BATCH_BYTES).arg(self.max_item_bytes);
        peek.arg(format!("{:08x}", fastrand::Rng::new().u32(..)));
        let (ours, epoch, taken, sizes, items): Peeked = link.ask(&peek).await.map_err(|error| link.failed(&error))?;
        if ours == 0 {
            return Ok(Next::Elsewhere);
        }
        self.shown.extend(items.into_iter().map(Bytes::from).zip(sizes));
        let named = |(number, (bytes, size)): (u64, &(Bytes, usize))| Item {
            key: key(&self.name, &format!("{epoch}:{number}"), &[bytes]),
            place: format!("item {number}"),
            size: *size,
            content: Content::Bytes(bytes.clone()),
        };
        let items: Vec<Item> = (taken + 1..).zip(&self.shown).map(named).collect();
        Ok(if items.is_empty() { Next::Nothing } else { Next::Items(items) })
    }

    pub(super) async fn stored(&mut self, link: &mut Link, count: usize) -> Result<(), Error> {
        let count = count.min(self.shown.len());
        if count == 0 {
            return Ok(());
        }
        let mut pop = self.script(POP);
        for (bytes, size) in self.shown.iter().take(count) {
            pop.arg(*size).arg(&bytes[..]);
        }
        let popped: u8 = link.ask(&pop).await.map_err(|error| link.failed(&error))?;
        if popped == 0 {
            self.shown.clear();
            return Err(link.lost());
        }
        self.shown.drain(..count);
        Ok(())
    }

    pub(super) async fn hold(&mut self, link: &mut Link) -> Result<(), Error> {
        let mut hold = redis::cmd("EVAL");
        hold.arg(HOLD).arg(1).arg(&self.reader_key).arg(&self.token).arg(READER_FOR.as_millis() as u64);
        let held: u8 = link.ask(&hold).await.map_err(|error| link.failed(&error))?;
        if held == 0 { Err(link.lost()) } else { Ok(()) }
    }

    pub(super) async fn leave(&mut self, link: &mut Link) -> Result<(), Error> {
        self.shown.clear();
        let mut leave = redis::cmd("EVAL");
        leave.arg(LEAVE).arg(1).arg(&self.reader_key).arg(&self.token);
        link.ask(&leave).await.map_err(|error| link.failed(&error))
    }
}
