//! What other programs leave in Redis: a list that they push to, or a stream that they add to. A [`Source`] shows what is there, and
//! takes it out of Redis only when it is told that it is stored. What it means is the gateway's business.
//!
//! A batch goes around like this: [`Source::next`] shows it, the caller stores it, [`Source::stored`] takes it out. Whoever dies in
//! between leaves it where it was, and each [`Item`] has a key under which it is stored once, however often it is shown.
//!
//! `list`: one gateway reads a list, in its order; another one takes over when it is gone. `stream`: all gateways share a stream, as
//! consumers of one group. Each source has a connection of its own, because it waits on it. Works beside any store; needs Redis 6.2.

mod list;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError};

use self::list::List;
use self::stream::Stream;
use crate::redis::{OpenError, address};

/// A blocking read waits so long for something to come, and a source that is told to stop ends as soon.
pub const BLOCK: Duration = Duration::from_millis(500);

/// Bytes of items that are shown at a time, at most, unless a single one is larger.
const BATCH_BYTES: usize = 4 << 20;

/// How sources are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// `redis://…` or `rediss://…`.
    pub url: String,
    /// With TLS: certificates (PEM) of the authorities that are trusted. Empty: those that the system trusts.
    pub ca_file: String,
    /// The consumer group of streams.
    pub group: String,
    /// Items that are shown at a time, at most.
    pub batch: usize,
    /// Bytes of one list item that are shown; of a larger one only its beginning is.
    pub max_item_bytes: usize,
    /// How long connecting or an answer may take, beyond [`BLOCK`].
    pub timeout: Duration,
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Filled by `RPUSH`.
    List,
    /// Filled by `XADD`.
    Stream,
}

impl Kind {
    /// The name in messages and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Stream => "stream",
        }
    }
}

/// Something that a program left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Stays the same when the item is shown again, here or to another gateway: the idempotency key to store it with.
    pub key: String,
    /// Which one it is of its source: `item 18` of a list, counted since it is read from here; `entry 1795243200123-0`.
    pub place: String,
    /// Its size; more than [`Content`] holds when the item is larger than [`Options::max_item_bytes`].
    pub size: usize,
    /// What it says.
    pub content: Content,
}

/// What an item says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Of a list: its bytes, or their beginning.
    Bytes(Bytes),
    /// Of a stream: names and values, in the order in which they were given.
    Fields(Vec<(Bytes, Bytes)>),
}

/// What a look at a source brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These, in order; at least one.
    Items(Vec<Item>),
    /// Nothing came for a while.
    Nothing,
    /// Another gateway reads this list.
    Elsewhere,
}

/// Why a source cannot be read, or what was stored not be taken out. Nothing is lost: look again with [`Source::next`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Redis is away, or refuses: says which source, and why.
    #[error("{kind} {name:?}: {why}")]
    Redis {
        /// `list` or `stream`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What Redis, or the way there, said.
        why: String,
    },
    /// Another gateway has taken over meanwhile, and will be shown the same items.
    #[error("{kind} {name:?}: another gateway reads it now")]
    Lost {
        /// `list` or `stream`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// A list or a stream, as one gateway reads it.
#[derive(Debug)]
pub struct Source {
    link: Link,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    List(List),
    Stream(Stream),
}

impl Source {
    /// A source that connects when it is first looked at.
    ///
    /// # Errors
    /// When the address makes no sense, or the certificates cannot be read.
    pub fn new(options: &Options, kind: Kind, name: &str) -> Result<Self, OpenError> {
        let client = address::client(&options.url, &options.ca_file)?;
        let link = Link { client, timeout: options.timeout, connection: None, kind, name: name.to_owned() };
        let reader = match kind {
            Kind::List => Reader::List(List::new(options, name)),
            Kind::Stream => Reader::Stream(Stream::new(options, name)),
        };
        Ok(Self { link, reader })
    }

    /// Shows what comes next, waiting up to [`BLOCK`] for it. What was shown before and is not stored yet is shown again.
    ///
    /// Dropping the future is safe; entries of a stream that were on their way are then shown again after a few seconds.
    ///
    /// # Errors
    /// When Redis is away, or refuses: the connection is made anew with the next look.
    pub async fn next(&mut self) -> Result<Next, Error> {
        match &mut self.reader {
            Reader::List(list) => list.next(&mut self.link).await,
            Reader::Stream(stream) => stream.next(&mut self.link).await,
        }
    }

    /// Takes the first `count` items of those that were shown and are still there out of Redis: they are stored.
    ///
    /// # Errors
    /// [`Error::Lost`] when nothing was taken, because another gateway reads now; when Redis is away, they may have been or not.
    pub async fn stored(&mut self, count: usize) -> Result<(), Error> {
        match &mut self.reader {
            Reader::List(list) => list.stored(&mut self.link, count).await,
            Reader::Stream(stream) => stream.stored(&mut self.link, count).await,
        }
    }

    /// Says that what was shown cannot be stored yet, and is not given up: to be said every second or so.
    ///
    /// # Errors
    /// [`Error::Lost`] when another gateway reads now.
    pub async fn hold(&mut self) -> Result<(), Error> {
        match &mut self.reader {
            Reader::List(list) => list.hold(&mut self.link).await,
            Reader::Stream(stream) => stream.hold(&mut self.link).await,
        }
    }

    /// Lets others go on at once. Without it they wait until this gateway has shown no sign of life for a few seconds.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn leave(&mut self) -> Result<(), Error> {
        match &mut self.reader {
            Reader::List(list) => list.leave(&mut self.link).await,
            Reader::Stream(stream) => stream.leave(&mut self.link).await,
        }
    }
}

/// The connection of one source.
#[derive(Debug)]
struct Link {
    client: Client,
    timeout: Duration,
    connection: Option<MultiplexedConnection>,
    kind: Kind,
    name: String,
}

impl Link {
    /// Says it to the node that has the source's keys, which are all in one place.
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        let mut hops = 0;
        loop {
            let answered = self.ask_here(command).await;
            match answered.as_ref().err().and_then(|error| address::redirected(&self.client, error)) {
                Some(other) if hops < address::HOPS => {
                    hops += 1;
                    (self.client, self.connection) = (other, None);
                }
                _ => return answered,
            }
        }
    }

    async fn ask_here<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(Some(self.timeout + BLOCK));
                self.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let answered = command.query_async(&mut connection).await;
        // After a refusal the connection is as good as before. Otherwise it is not kept.
        let refused = |error: &RedisError| error.code().is_some();
        if answered.as_ref().err().is_none_or(refused) {
            self.connection = Some(connection);
        }
        answered
    }

    fn failed(&self, error: &RedisError) -> Error {
        Error::Redis { kind: self.kind.as_str(), name: self.name.clone(), why: error.to_string() }
    }

    fn lost(&self) -> Error {
        Error::Lost { kind: self.kind.as_str(), name: self.name.clone() }
    }
}

/// The key of an item: where it is, and what it says, so that one that came to the same place in some other way is another one.
fn key(source: &str, place: &str, parts: &[&[u8]]) -> String {
    let mut hash = crc32fast::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("ingest:{source}:{place}:{:08x}", hash.finalize())
}
