//! Follows the feed into PostgreSQL. The feed is durable and bounded by its retention, so what lies between the archive's cursor and the
//! feed's end *is* what waits while PostgreSQL is away; nothing else is kept for it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use squall_protocol::GapReason;
use tokio_util::sync::CancellationToken;

use super::connect::{self, Connection};
use super::migrate::{self, MIGRATIONS};
use super::rows::Batch;
use super::write::{self, Failure, Missing};
use super::{Shared, State};
use crate::Store;

/// The first rest after something failed; twice as long after each further failure, give or take a quarter.
const FIRST_REST: Duration = Duration::from_millis(200);
/// No rest is longer.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// Whoever does not archive because another gateway does looks so often whether that is still so.
const STANDBY_REST: Duration = Duration::from_secs(1);
/// Something new in the feed waits so long for company.
const GATHER: Duration = Duration::from_millis(100);
/// What is older than `keep_ms` is deleted so often.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// A batch that takes longer has failed: the connection is given up, and PostgreSQL undoes it.
const BATCH_PATIENCE: Duration = Duration::from_secs(60);
/// The same for migrations, which may have much to do.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(3_600);

/// Why events are missing that happened before anybody archived.
pub(super) const BEFORE: &str = "before the archive";
/// Why events are in the archive that the store has no more.
pub(super) const SET_BACK: &str = "the store was set back";

/// Archives until it is told to stop. A batch that is under way then is undone, and written again by whoever archives next.
pub(super) async fn run(shared: Arc<Shared>, store: Arc<dyn Store>, stop: CancellationToken) {
    let mut follower = Follower { shared, store, rest: FIRST_REST, most: 0 };
    tokio::select! {
        () = stop.cancelled() => {}
        () = follower.follow() => {}
    }
}

struct Follower {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    rest: Duration,
    /// Events in a batch at most; less after one that PostgreSQL did not take.
    most: usize,
}

impl Follower {
    async fn follow(&mut self) {
        loop {
            let ended = self.connected().await;
            let Err(failure) = ended;
            let rest = match failure {
                Failure::Overtaken => STANDBY_REST,
                Failure::Away(why) | Failure::Data(why) => {
                    self.shared.failed(&why);
                    let rest = self.rest;
                    self.rest = (rest * 2).min(LONGEST_REST);
                    rest
                }
            };
            tokio::time::sleep(rest.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Everything that is done with one connection; ends when that breaks.
    async fn connected(&mut self) -> Result<std::convert::Infallible, Failure> {
        let shared = Arc::clone(&self.shared);
        let mut connection =
            connect::connect(&shared.address, &shared.schema, BATCH_PATIENCE).await.map_err(Failure::Away)?;
        let migrating = migrate::migrate(&mut connection.client, &shared.schema, MIGRATIONS);
        match tokio::time::timeout(MIGRATION_PATIENCE, migrating).await {
            Ok(migrated) => migrated.map_err(Failure::Away)?,
            Err(_) => return Err(Failure::Away("migrating takes too long".to_owned())),
        }
        self.stand_by(&connection).await?;
        shared.set_state(State::Archives);
        let mut at = write::cursor(&connection.client, self.store.epoch()).await?;
        let mut tidied: Option<Instant> = None;
        let mut head = self.store.feed_head();
        loop {
            at = self.catch_up(&mut connection, at).await?;
            if let Some(keep) = shared.keep
                && tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY)
            {
                tidied = Some(Instant::now());
                tidy(&connection, keep).await?;
            }
            tokio::select! {
                changed = head.changed() => {
                    if changed.is_err() {
                        // The store is closed; nothing more will come.
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(GATHER).await;
                }
                () = tokio::time::sleep(TIDY_EVERY) => {}
            }
        }
    }

    /// Waits until nobody else archives this store. The lock ends with the connection, however that ends.
    async fn stand_by(&mut self, connection: &Connection) -> Result<(), Failure> {
        let name = format!("squall archive {} {}", self.shared.schema, self.store.epoch());
        loop {
            let lock = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
            if connection.client.query_one(lock, &[&name]).await?.get(0) {
                return Ok(());
            }
            let at = write::cursor(&connection.client, self.store.epoch()).await?;
            self.shared.set_at(at);
            self.shared.set_state(State::StandsBy);
            self.rest = FIRST_REST;
            tokio::time::sleep(STANDBY_REST.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Writes all that is in the feed after `at`; answers where that ended. None: nothing of this store was ever written.
    async fn catch_up(&mut self, connection: &mut Connection, at: Option<u64>) -> Result<Option<u64>, Failure> {
        let mut at = at;
        loop {
            if self.most == 0 {
                self.most = self.shared.batch;
            }
            let after = at.unwrap_or(0);
            let slice = self.store.read_feed(after, self.most).await;
            let slice = slice.map_err(|error| Failure::Away(format!("the feed cannot be read: {error}")))?;
            self.shared.set_at(at);
            let mut begin = after;
            let mut missing = Vec::new();
            if let Some(gap) = slice.gap {
                let reason = match gap.reason {
                    // What happened before anybody archived is no loss; that it is not in there is still told.
                    GapReason::Retention if at.is_none() => BEFORE,
                    GapReason::Retention => "retention",
                    GapReason::Ahead => SET_BACK,
                    GapReason::Epoch => "epoch",
                    GapReason::Corrupt => "corrupt",
                };
                missing.push(Missing { from: gap.from, to: gap.to, reason });
                begin = if gap.reason == GapReason::Ahead { gap.from - 1 } else { gap.to };
            }
            if slice.records.is_empty() && missing.is_empty() {
                self.rest = FIRST_REST;
                return Ok(at);
            }
            let batch = Batch::of(&slice.records, begin);
            let writing = write::write(&mut connection.client, &*self.store, self.store.epoch(), at, &batch, &missing);
            let written = match tokio::time::timeout(BATCH_PATIENCE, writing).await {
                Ok(written) => written,
                Err(_) => return Err(Failure::Away("a batch takes too long".to_owned())),
            };
            match written {
                Ok(written) => {
                    self.shared.wrote(written);
                    at = Some(batch.last);
                    self.most = (self.most * 2).min(self.shared.batch);
                    for one in &missing {
                        self.shared.missed(one);
                    }
                }
                Err(Failure::Data(why)) if batch.events > 1 => {
                    // One event spoils the others: the half of them, until it is alone.
                    self.shared.failed(&why);
                    self.most = usize::try_from(batch.events / 2).unwrap_or(1);
                }
                Err(Failure::Data(why)) => {
                    self.shared.failed(&why);
                    missing.push(Missing { from: batch.last, to: batch.last, reason: "refused by PostgreSQL" });
                    let nothing = Batch { last: batch.last, ..Batch::default() };
                    let epoch = self.store.epoch();
                    write::write(&mut connection.client, &*self.store, epoch, at, &nothing, &missing).await?;
                    at = Some(batch.last);
                    for one in &missing {
                        self.shared.missed(one);
                    }
                }
                Err(other) => return Err(other),
            }
            self.shared.set_at(at);
        }
    }
}

/// Deletes what is older than the archive keeps, piece by piece.
async fn tidy(connection: &Connection, keep: Duration) -> Result<(), Failure> {
    let before = SystemTime::now().checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut gone = 0;
    loop {
        let piece = write::forget(&connection.client, before).await?;
        gone += piece;
        if piece == 0 {
            break;
        }
    }
    if gone > 0 {
        tracing::info!(rows = gone, "deleted from the archive what it does not keep any longer");
    }
    Ok(())
}
