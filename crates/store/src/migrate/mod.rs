//! Moving a stopped embedded store into Redis, so that its gateway goes on there, with others.
//!
//! In the order of a move: `source` reads the data directory as a start would, and changes nothing in it; the prefix in Redis is taken,
//! filled and counted (`redis::import`); when the [`Counts`] of both sides agree it becomes a store, with the same epoch and offsets,
//! and the directory gets a notice that keeps a gateway from starting there. A move that ends before that leaves a directory that can
//! be used as before, and a prefix that no gateway opens and the next move clears.

mod counts;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use squall_protocol::Time;

pub use self::counts::{Counts, FeedCounts, LaneCounts, Row};
use self::source::{Source, Started};
use crate::config::Options;
use crate::embedded;
use crate::redis::import::{self, Claim, Refused, Writer};
use crate::redis::{self as in_redis, without_secrets};

/// A pipeline of ours may take so long: it is larger than what gateways send.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The data directory.
    #[error(transparent)]
    From(#[from] embedded::OpenError),
    /// Reading the data directory's feed.
    #[error("cannot read the feed in {}: {error}", path.display())]
    Feed {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Redis.
    #[error(transparent)]
    To(#[from] in_redis::OpenError),
    /// This very store is there already.
    #[error(
        "this store was moved to {url}, prefix {prefix:?}, before; {dir} has a notice now that says so", dir = path.display()
    )]
    Already {
        /// Without its password.
        url: String,
        /// The prefix.
        prefix: String,
        /// The directory.
        path: PathBuf,
    },
    /// Another store is there.
    #[error(
        "there is a store at {url} below the prefix {prefix:?} already, with the epoch {epoch}: choose another prefix (--key-prefix)"
    )]
    Taken {
        /// Without its password.
        url: String,
        /// The prefix.
        prefix: String,
        /// The store's.
        epoch: String,
    },
    /// Another move is going on.
    #[error(
        "another store is being moved to {url}, prefix {prefix:?}, or was until a minute ago: choose another prefix \
         (--key-prefix), or try again in a minute"
    )]
    Busy {
        /// Without its password.
        url: String,
        /// The prefix.
        prefix: String,
    },
    /// Keys that look like ours, and nothing that says whose.
    #[error(
        "at {url} there are keys below the prefix {prefix:?} and no store that they belong to, {key:?} for one: choose another \
         prefix (--key-prefix), or delete them"
    )]
    Foreign {
        /// Without its password.
        url: String,
        /// The prefix.
        prefix: String,
        /// One of them.
        key: String,
    },
    /// Somebody took the prefix while this move went on.
    #[error("somebody else has taken the prefix {prefix:?} at {url} meanwhile; nothing was opened there")]
    Lost {
        /// Without its password.
        url: String,
        /// The prefix.
        prefix: String,
    },
    /// It is there, but the notice could not be left.
    #[error(
        "the store was moved and is whole, but {dir} cannot be marked as moved ({error}): do not start a gateway there",
        dir = path.display()
    )]
    Notice {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What is moved, where to, and what became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was in the directory.
    pub before: Counts,
    /// What is in Redis; `None`: it was only to be counted.
    pub after: Option<Counts>,
    /// What does not agree with itself in Redis.
    pub odd: Vec<String>,
    /// What should be known besides, in words.
    pub notes: Vec<String>,
    /// The store's epoch, which stays.
    pub epoch: String,
}

impl Outcome {
    /// Whether both sides hold the same; only then was the store opened in Redis.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.odd.is_empty() && self.after.as_ref().is_none_or(|after| *after == self.before)
    }
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Tasks are being written: so many are.
    Tasks(u64),
    /// Events are being written: up to this offset.
    Events(u64),
    /// What was written is being counted.
    Counting,
}

/// Moves the store in `dir` to `options.store.url`, below `options.store.key_prefix`. With `dry_run` it looks at both sides, counts, and
/// changes nothing.
///
/// # Errors
/// See [`MigrateError`]. The directory is as it was then, and no gateway opens what may have been written in Redis.
pub async fn migrate(
    dir: &Path,
    options: Options,
    dry_run: bool,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, MigrateError> {
    let source = tokio::task::spawn_blocking({
        let (dir, options) = (dir.to_owned(), options.clone());
        move || Source::open(&dir, &options)
    });
    let source = source.await.unwrap_or_else(|error| {
        Err(embedded::OpenError::Io { path: dir.to_owned(), error: io::Error::other(error) })
    })?;
    let target = Target::connect(&options).await?;
    let mut connection = target.connection.clone();
    let now = target.time().await?;
    let mut notes = source.found.clone();
    let started = source.start(&options, now);
    if started.returned() > 0 {
        notes.push(format!(
            "{} leases of connections that had not ended in good order returned, as with a start",
            started.returned()
        ));
    }
    let epoch = started.epoch().to_string();
    let refused = |refused: Refused| target.refused(refused, &started, dir);
    let found =
        Claim::look(&mut connection, &target.prefix, &epoch, now).await.map_err(|error| target.failed(error))?;
    let left = found.map_err(refused)?;
    if left > 0 {
        notes.push(format!("{left} keys that an earlier, unfinished move left below the prefix are cleared first"));
    }
    let feed_error = |error| MigrateError::Feed { path: dir.to_owned(), error };
    let mut before = started.count(now).await.map_err(feed_error)?;
    if dry_run {
        return Ok(Outcome { before, after: None, odd: Vec::new(), notes, epoch });
    }

    in_redis::library::library().load(&mut connection).await.map_err(|error| target.failed(error))?;
    let taken = Claim::take(connection.clone(), &target.prefix, &epoch, now).await;
    let claim = taken.map_err(|error| target.failed(error))?.map_err(refused)?;
    let mut writer = Writer::new(connection.clone(), &target.prefix, Some(now));
    write_state(&mut writer, &started, &options, now, |tasks| progress(Progress::Tasks(tasks)))
        .await
        .map_err(|error| target.failed(error))?;
    let mut events = started.events();
    let mut written = import::Events::new();
    while let Some(page) = events.next().await.map_err(feed_error)? {
        for event in &page {
            written.write(&mut writer, event).await.map_err(|error| target.failed(error))?;
        }
        if let Some(last) = page.last() {
            progress(Progress::Events(last.offset));
        }
    }
    written.end(&mut writer);
    writer.finish().await.map_err(|error| target.failed(error))?;

    progress(Progress::Counting);
    let from = target.time().await?;
    let (after, odd) = import::count(&mut connection, &target.prefix).await.map_err(|error| target.failed(error))?;
    let until = target.time().await?;
    // Some keys' time may have ended since: as many as hold now, or held when the counting began.
    let hold = started.keys_at(until)..=started.keys_at(from);
    before.idempotency_keys = after.idempotency_keys.clamp(*hold.start(), *hold.end());
    let outcome = Outcome { before, after: Some(after), odd, notes, epoch };
    if !outcome.agrees() {
        return Ok(outcome);
    }
    if !claim.open().await.map_err(|error| target.failed(error))? {
        return Err(MigrateError::Lost { url: target.url, prefix: target.prefix });
    }
    let left = started.stopped.leave_notice(&target.notice());
    left.map_err(|error| MigrateError::Notice { path: dir.to_owned(), error })?;
    started.stopped.release();
    Ok(outcome)
}

/// Everything but the feed.
async fn write_state(
    writer: &mut Writer,
    started: &Started,
    options: &Options,
    now: Time,
    progress: impl FnMut(u64),
) -> Result<(), RedisError> {
    let core = &started.core;
    import::numbers(writer, core, started.head());
    import::sessions(writer, core).await?;
    import::tasks(writer, core, options, progress).await?;
    import::idempotency_keys(writer, core, now).await
}

/// The side that is moved to.
struct Target {
    connection: MultiplexedConnection,
    options: Options,
    /// Without its password.
    url: String,
    prefix: String,
}

impl Target {
    async fn connect(options: &Options) -> Result<Self, MigrateError> {
        let mut patient = options.clone();
        patient.store.timeout_ms = patient.store.timeout_ms.max(PATIENCE.as_millis() as u64);
        let (_, connection) = in_redis::address::reach(&patient).await?;
        Ok(Self {
            options: options.clone(),
            connection,
            url: without_secrets(&options.store.url),
            prefix: options.store.key_prefix.clone(),
        })
    }

    /// What time it is there.
    async fn time(&self) -> Result<Time, MigrateError> {
        let mut connection = self.connection.clone();
        let asked = redis::cmd("TIME").query_async::<(u64, u64)>(&mut connection).await;
        let (seconds, micros) = asked.map_err(|error| self.failed(error))?;
        Ok(Time(seconds * 1_000 + micros / 1_000))
    }

    fn failed(&self, error: RedisError) -> MigrateError {
        in_redis::address::failed(&self.options, error).into()
    }

    fn notice(&self) -> String {
        format!("to {}, prefix {:?}, at {}", self.url, self.prefix, crate::now())
    }

    fn refused(&self, refused: Refused, started: &Started, dir: &Path) -> MigrateError {
        let (url, prefix) = (self.url.clone(), self.prefix.clone());
        match refused {
            Refused::Store(epoch) if epoch == started.epoch().to_string() => {
                match started.stopped.leave_notice(&self.notice()) {
                    Ok(()) => MigrateError::Already { url, prefix, path: dir.to_owned() },
                    Err(error) => MigrateError::Notice { path: dir.to_owned(), error },
                }
            }
            Refused::Store(epoch) => MigrateError::Taken { url, prefix, epoch },
            Refused::Busy => MigrateError::Busy { url, prefix },
            Refused::Foreign(key) => MigrateError::Foreign { url, prefix, key },
        }
    }
}
