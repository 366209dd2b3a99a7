//! History in PostgreSQL: finished tasks, ended sessions, and the storm's runs, for longer than the store remembers them.
//!
//! In the order in which an event passes through: `follow` reads the feed, `rows` folds a batch of events into rows, `write` writes them
//! together with the place in the feed, `read` finds them again. `connect`, `address` and `tls` are about the connection, `migrate` about
//! the tables; `runs` is what a storm leaves. [`crate::History`] puts together what the store knows and what is here.
//!
//! Nothing of this is in the way of the store: it is a reader of the feed like any other, and when PostgreSQL is away it waits.

mod address;
mod connect;
mod follow;
mod migrate;
mod read;
mod rows;
pub mod runs;
#[cfg(test)]
mod tests;
mod tls;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use squall_protocol::stats::ArchiveFigures;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::address::Address;
pub use self::address::without_secrets;
use self::connect::Pool;
pub use self::read::SessionPlace;
use self::write::{Missing, Written};
use crate::Store;
use crate::config;

/// The archive of one store. Stopped with [`Archive::stop`]; dropping it stops it too, without waiting.
pub struct Archive {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// What this gateway does about the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It has not reached PostgreSQL yet.
    Begins,
    /// It writes what the feed tells.
    Archives,
    /// Another gateway does.
    StandsBy,
    /// It tries again and again; this is why.
    Fails(String),
}

struct Shared {
    address: Arc<Address>,
    schema: String,
    /// Events in one batch at most.
    batch: usize,
    keep: Option<Duration>,
    readers: Pool,
    state: Mutex<State>,
    /// The feed's last offset.
    head: watch::Receiver<u64>,
    /// The last event that is archived, as far as this gateway knows.
    at: AtomicU64,
    tasks: AtomicU64,
    sessions: AtomicU64,
    failures: AtomicU64,
    lost: AtomicU64,
}

/// Whether the archive works, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveHealth {
    /// It can be read, and this gateway or another one writes it.
    pub ok: bool,
    /// Where it is, who writes it, how far behind it is; what is wrong, if something is.
    pub detail: String,
}

impl Archive {
    /// Begins to archive what the feed of `store` tells. PostgreSQL need not be there.
    ///
    /// # Errors
    /// In words, without secrets, when the configuration makes no sense.
    pub fn start(config: &config::Archive, store: Arc<dyn Store>) -> Result<Self, String> {
        check(config)?;
        let patience = Duration::from_millis(config.timeout_ms);
        let address = Arc::new(address::read(&config.url, &config.ca_file, patience)?);
        let readers = Pool::new(Arc::clone(&address), &config.schema, patience);
        let shared = Arc::new(Shared {
            address,
            schema: config.schema.clone(),
            batch: config.batch,
            keep: (config.keep_ms > 0).then(|| Duration::from_millis(config.keep_ms)),
            readers,
            state: Mutex::new(State::Begins),
            head: store.feed_head(),
            at: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(follow::run(Arc::clone(&shared), store, stop.clone()));
        tracker.close();
        Ok(Self { shared, stop, tracker })
    }

    /// Stops writing. What is in the feed by then is archived after the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }

    /// Whether it works just now; asks PostgreSQL.
    pub async fn health(&self) -> ArchiveHealth {
        let shared = &self.shared;
        let answered = shared.readers.ask(async |client| client.simple_query("SELECT 1").await).await;
        let state = shared.state.lock().clone();
        let place = format!("postgres at {}, schema {}", shared.address.shown, shared.schema);
        let behind = shared.behind();
        let (ok, what) = match (answered, state) {
            (Err(why), _) | (Ok(_), State::Fails(why)) => (false, format!("{why}; {behind} events wait in the feed")),
            (Ok(_), State::Begins) => (true, "it begins".to_owned()),
            (Ok(_), State::Archives) => (true, format!("{behind} events behind")),
            (Ok(_), State::StandsBy) => (true, format!("another gateway writes it, {behind} events behind")),
        };
        ArchiveHealth { ok, detail: format!("{place}; {what}") }
    }

    /// Its figures, since the start of the process.
    #[must_use]
    pub fn stats(&self) -> ArchiveFigures {
        let shared = &self.shared;
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ArchiveFigures {
            writes: *shared.state.lock() == State::Archives,
            behind: shared.behind(),
            tasks: of(&shared.tasks),
            sessions: of(&shared.sessions),
            failures: of(&shared.failures),
            lost: of(&shared.lost),
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Checks what can be checked without PostgreSQL.
fn check(config: &config::Archive) -> Result<(), String> {
    check_url(&config.url, &config.ca_file)?;
    check_schema(&config.schema)
}

/// Whether it is the address of a PostgreSQL.
///
/// # Errors
/// In words, without secrets.
pub fn check_url(url: &str, ca_file: &str) -> Result<(), String> {
    address::read(url, ca_file, Duration::ZERO).map(drop)
}

/// Whether it is a name that needs no quotes.
///
/// # Errors
/// In words.
pub fn check_schema(schema: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let begins = schema.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let reserved = schema.starts_with("pg_") || schema == "information_schema";
    if !begins || reserved || schema.len() > 63 || !schema.bytes().all(fine) {
        return Err(format!("{:?} is no schema: a-z, 0-9 and _, not beginning with a digit or pg_", schema));
    }
    Ok(())
}

impl Shared {
    fn set_state(&self, state: State) {
        let mut held = self.state.lock();
        if *held == state {
            return;
        }
        let place = &self.address.shown;
        match &state {
            State::Archives => tracing::info!("history is archived in {place}"),
            State::StandsBy => tracing::info!("another gateway archives history in {place}; this one waits"),
            State::Fails(why) if !matches!(&*held, State::Fails(_)) => {
                tracing::warn!("history is not archived in {place}: {why}; it waits in the feed");
            }
            _ => {}
        }
        *held = state;
    }

    fn set_at(&self, offset: Option<u64>) {
        self.at.store(offset.unwrap_or(0), Ordering::Relaxed);
    }

    /// Events that are not archived yet; all that there ever were until PostgreSQL has said where it is.
    fn behind(&self) -> u64 {
        self.head.borrow().saturating_sub(self.at.load(Ordering::Relaxed))
    }

    fn failed(&self, why: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.set_state(State::Fails(why.to_owned()));
    }

    fn wrote(&self, written: Written) {
        self.tasks.fetch_add(written.tasks, Ordering::Relaxed);
        self.sessions.fetch_add(written.sessions, Ordering::Relaxed);
        self.set_state(State::Archives);
    }

    fn missed(&self, missing: &Missing) {
        let Missing { from, to, reason } = missing;
        if *reason == follow::BEFORE {
            tracing::info!(from, to, "events before the archive began are not in it");
            return;
        }
        tracing::warn!(from, to, reason, "events are missing in the archive");
        if *reason == follow::SET_BACK {
            // They are in it, and the store has forgotten them.
            return;
        }
        self.lost.fetch_add((to + 1).saturating_sub(*from), Ordering::Relaxed);
    }
}
