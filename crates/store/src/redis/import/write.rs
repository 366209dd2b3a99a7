//! Commands on their way to Redis: in pipelines of bounded size; while one is on its way the next is
//! made. What goes to the same list, set or hash is one command of a pipeline.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ToRedisArgs};
use squall_protocol::Time;
use tokio::task::JoinHandle;

/// A pipeline is sent when it is about so large.
const PIPELINE_BYTES: usize = 1 << 20;
/// What a member of a list or set takes in it, and its share of the command.
const MEMBER_BYTES: usize = 120;

/// See the module.
pub(crate) struct Writer {
    connection: MultiplexedConnection,
    prefix: String,
    pipe: Pipeline,
    bytes: usize,
    /// By key, each of one verb: what takes any number of members.
    gathered: HashMap<String, Cmd>,
    sending: Option<JoinHandle<RedisResult<()>>>,
    /// Where a sign of life goes with each pipeline: Redis's time then is this one, and what has passed since.
    beat: Option<(Time, Instant)>,
}

impl Writer {
    /// Writes below `prefix`. With `beat`, the time of Redis just now, each pipeline says that the move goes on.
    pub(crate) fn new(connection: MultiplexedConnection, prefix: &str, beat: Option<Time>) -> Self {
        Self {
            connection,
            prefix: prefix.to_owned(),
            pipe: Pipeline::new(),
            bytes: 0,
            gathered: HashMap::new(),
            sending: None,
            beat: beat.map(|now| (now, Instant::now())),
        }
    }

    /// A command about one of our keys, to be completed and pushed.
    pub(crate) fn command(&self, verb: &str, key: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg(verb).arg(format!("{}:{key}", self.prefix));
        command
    }

    /// Takes a command that is about so large.
    pub(crate) fn push(&mut self, command: Cmd, bytes: usize) {
        self.bytes += bytes;
        self.pipe.add_command(command).ignore();
    }

    /// Adds members to what is gathered for this key: fields and values, scores and members, or members alone.
    pub(crate) fn add(&mut self, verb: &str, key: &str, members: impl ToRedisArgs) {
        let place = match self.gathered.entry(key.to_owned()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let mut command = Cmd::new();
                command.arg(verb).arg(format!("{}:{key}", self.prefix));
                free.insert(command)
            }
        };
        place.arg(members);
        self.bytes += MEMBER_BYTES;
    }

    /// Sends what there is when it has become large.
    ///
    /// # Errors
    /// Those of Redis, for this pipeline or an earlier one.
    pub(crate) async fn room(&mut self) -> RedisResult<()> {
        if self.bytes < PIPELINE_BYTES { Ok(()) } else { self.send().await }
    }

    async fn send(&mut self) -> RedisResult<()> {
        for command in std::mem::take(&mut self.gathered).into_values() {
            self.pipe.add_command(command).ignore();
        }
        if let Some((then, since)) = self.beat {
            let now = then.plus_ms(since.elapsed().as_millis() as u64);
            let mut beat = self.command("HSET", "migrating");
            beat.arg("beat").arg(now.0);
            self.pipe.add_command(beat).ignore();
        }
        let pipe = std::mem::take(&mut self.pipe);
        self.bytes = 0;
        // One after the other: what goes to the same list keeps its order.
        answered(self.sending.take()).await?;
        let mut connection = self.connection.clone();
        self.sending = Some(tokio::spawn(async move { pipe.query_async::<()>(&mut connection).await }));
        Ok(())
    }

    /// Sends the rest, and waits until all is answered.
    ///
    /// # Errors
    /// As [`Writer::room`].
    pub(crate) async fn finish(mut self) -> RedisResult<()> {
        self.send().await?;
        answered(self.sending.take()).await
    }
}

async fn answered(sending: Option<JoinHandle<RedisResult<()>>>) -> RedisResult<()> {
    let Some(sending) = sending else { return Ok(()) };
    sending.await.unwrap_or_else(|error| {
        Err(RedisError::from((ErrorKind::Client, "a pipeline was given up", error.to_string())))
    })
}
