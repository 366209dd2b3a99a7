//! The embedded engine: the core's state in memory, its records in a log, one commit for whatever waits.
//!
//! In the order in which a command passes through: [`commands`] is the queue, [`committer`] the one thread that changes anything,
//! [`log`] where batches go; [`feed`] and [`events`] show readers what was committed; [`helpers`] sync by the clock, fold
//! [`snapshot`]s and remove old segments; [`recovery`] reads all of it again, and [`stopped`] what nobody runs on. Why not a database: `docs/decisions/0001-embedded-engine.md`.

mod clock;
pub mod commands;
pub mod committer;
pub mod events;
pub mod feed;
pub mod helpers;
pub mod log;
pub mod recovery;
pub mod shared;
pub mod snapshot;
pub mod stopped;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt, ready};
use parking_lot::Mutex;
use squall_protocol::dead_letter::Handled;
use squall_protocol::task::Published;
use squall_protocol::{
    ConnectionId, DeadLetter, EndSession, Epoch, LaneView, NewSession, Page, SessionId, SessionView, TaskId, TaskView,
    UpdateSession,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::commands::{Answer, Command, Pulled, Refused};
use self::committer::Committer;
use self::events::NameTable;
use self::feed::Feed;
use self::log::Log;
use self::log::preparer::{FIRST_BYTES, Preparer};
use self::recovery::Places;
use self::shared::Shared;
use crate::config::{Durability, Options};
use crate::core::{Core, limits};
use crate::{
    Announcement, Delivery, Error, FeedSlice, Holder, ListDeadLetters, ListSessions, ListTasks, ReplayHow, Reply,
    Result, SessionsPage, Settled, Settlement, Store, StoreHealth, StoreStats, TaskSpec, TasksPage, Which, Worker,
    WorkerSpec,
};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process: only one gateway may open a data directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no store in {}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It goes on elsewhere.
    #[error(
        "the store in {dir} was moved {to}. Set store.url to go on there. To go on here all the same, with other events under the \
         same offsets, remove {dir}/moved",
        dir = path.display()
    )]
    Moved {
        /// The directory.
        path: PathBuf,
        /// Where to, and when.
        to: String,
    },
    /// The system refused, or what is there makes no sense.
    #[error("cannot open the store in {}: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The engine. Dropping it closes it too, without waiting for the last answers.
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Held for as long as the store is open.
    lock: Arc<Mutex<Option<File>>>,
}

/// Opens the store in `dir`, or makes a new one: recovers, and starts the committer.
///
/// # Errors
/// When another process has it, it was moved elsewhere, it cannot be read or written, or batches are missing that no snapshot covers.
pub fn open(dir: &Path, options: Options) -> std::result::Result<Embedded, OpenError> {
    let io = |error| OpenError::Io { path: dir.to_owned(), error };
    std::fs::create_dir_all(dir).map_err(io)?;
    let lock = stopped::lock(dir)?;
    stopped::refuse_moved(dir)?;
    start(dir, options, lock).map_err(io)
}

fn start(dir: &Path, options: Options, lock: File) -> io::Result<Embedded> {
    let places = Places::under(dir);
    places.create()?;
    let epoch = read_or_make_epoch(dir, &places)?;
    let started = Instant::now();
    let max_segment = options.store.segment_bytes.max(FIRST_BYTES);
    let recovered = recovery::recover(&places, epoch, limits(&options), FIRST_BYTES)?;
    let now = crate::now().max(recovered.time);
    let orphans = recovered.state.orphans;
    let mut found = recovered.damage;
    if recovered.torn_bytes > 0 {
        found.push(format!("{} bytes of a write that was never answered were cut off the end", recovered.torn_bytes));
    }
    if orphans > 0 {
        found.push(format!("{orphans} records were about something that is not there"));
    }
    for what in &found {
        tracing::warn!("recovery: {what}");
    }
    tracing::info!(
        batches = recovered.batches,
        next_offset = recovered.position.next_offset,
        took_ms = started.elapsed().as_millis() as u64,
        "recovered"
    );

    let next_size = (recovered.current.size * 4).clamp(FIRST_BYTES, max_segment);
    let next_number = recovered.prepared.as_ref().map_or(recovered.current.number, |ready| ready.number) + 1;
    let preparer = Preparer::start(places.log.clone(), epoch, next_number, next_size, max_segment, recovered.prepared)?;
    let catalog = recovered.catalog;
    let log =
        Log::new(places.log.clone(), epoch, Arc::clone(&catalog), recovered.current, preparer, recovered.position);
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let core = Core::new(recovered.state, options.clone(), now, seed);
    let feed = Feed::new(epoch, Arc::clone(&catalog), log.head(), NameTable::default());
    let dirty = log.dirty();
    let shared = Arc::new(Shared::new(options, places, epoch, feed, catalog, found));
    let mut committer = Committer::new(core, log, Arc::clone(&shared));
    committer.first_commit()?;

    let run = std::thread::Builder::new().name("squall-committer".to_owned());
    let mut threads = vec![run.spawn(move || committer.run())?, helpers::start_housekeeper(Arc::clone(&shared))?];
    if shared.options.store.durability == Durability::Interval {
        threads.push(helpers::start_syncer(Arc::clone(&shared), dirty)?);
    }
    Ok(Embedded { shared, threads: Arc::new(Mutex::new(threads)), lock: Arc::new(Mutex::new(Some(lock))) })
}

/// The store's epoch lies in a file of its own, written once.
fn read_or_make_epoch(dir: &Path, places: &Places) -> io::Result<Epoch> {
    if let Some(epoch) = epoch_in(dir)? {
        return Ok(epoch);
    }
    if !log::segment::list(&places.log)?.is_empty() {
        let what = format!("{} is missing, but there are log segments", dir.join("epoch").display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let epoch = Epoch::at(crate::now(), uuid::Uuid::new_v4().as_u128());
    let temporary = dir.join("epoch.tmp");
    std::fs::write(&temporary, format!("{epoch}\n"))?;
    File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, dir.join("epoch"))?;
    log::segment::sync_dir(dir)?;
    Ok(epoch)
}

/// The epoch of the store in a directory; `None`: there is no store.
fn epoch_in(dir: &Path) -> io::Result<Option<Epoch>> {
    let path = dir.join("epoch");
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Embedded {
    fn send(&self, command: Command) {
        send(&self.shared, command);
    }

    /// Queues a verb; its answer goes out after the commit.
    fn verb<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
    ) -> Reply<Result<T>> {
        verb(&self.shared, decide)
    }
}

fn send(shared: &Shared, command: Command) {
    let bound = match command {
        // What frees something is never refused; connections and pulls bound how many of these there are. Neither are figures:
        // they are wanted most when too much waits, and the requests that ask for them are bounded.
        Command::Grant { .. } | Command::CloseWorker { .. } | Command::Close { .. } | Command::Stats { .. } => {
            usize::MAX
        }
        _ => shared.options.store.max_queued_commands,
    };
    match shared.queue.push(command, bound) {
        Ok(()) => {}
        Err(Refused::Full(command)) => {
            shared.metrics.overloaded();
            command.refuse(&Error::Overloaded);
        }
        Err(Refused::Closed(command)) => {
            let error = shared.poison().map_or(Error::Closed, Error::Unavailable);
            command.refuse(&error);
        }
    }
}

fn verb<T: Send + 'static>(
    shared: &Shared,
    decide: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
) -> Reply<Result<T>> {
    let (reply, answer) = oneshot::channel();
    let verb = move |core: Result<&mut Core, &Error>| -> Answer {
        let decided = core.map_err(Clone::clone).and_then(decide);
        Box::new(move |failed| drop(reply.send(failed.map_or(decided, |error| Err(error.clone())))))
    };
    send(shared, Command::Verb(Box::new(verb)));
    answer.map(|answer| answer.unwrap_or(Err(Error::Closed))).boxed()
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        self.send(Command::Close { snapshot_until: None, reply });
        self.shared.stop_helpers();
        // Until the last write is done nobody else may open the directory, so wait for it.
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
        give_back(&self.lock);
    }
}

/// Lets others have the directory. That the file is closed is not enough: a child that this program is just starting has it open, too,
/// until it has become another program.
fn give_back(lock: &Mutex<Option<File>>) {
    if let Some(file) = lock.lock().take() {
        let _ = file.unlock();
    }
}

fn owned(tenant: Option<&str>) -> Option<Box<str>> {
    tenant.map(Into::into)
}

impl Store for Embedded {
    fn publish(&self, tenant: &Arc<str>, tasks: Vec<TaskSpec>) -> Reply<Vec<Result<Published>>> {
        let count = tasks.len();
        let (reply, answer) = oneshot::channel();
        let results = Vec::with_capacity(count);
        self.send(Command::Publish { tenant: Arc::clone(tenant), tasks: tasks.into(), results, reply });
        answer.map(move |answer| answer.unwrap_or_else(|_| vec![Err(Error::Closed); count])).boxed()
    }

    fn task(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<TaskView>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.task_view(core.scope(tenant.as_deref()), id))
    }

    fn cancel(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<()>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.cancel(core.scope(tenant.as_deref()), id))
    }

    fn settle(
        &self,
        tenant: Option<&str>,
        holder: Holder,
        settlements: Vec<Settlement>,
    ) -> Reply<Vec<Result<Settled>>> {
        let count = settlements.len();
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settle { tenant: owned(tenant), holder, settlements, reply });
        answer.map(move |answer| answer.unwrap_or_else(|_| vec![Err(Error::Closed); count])).boxed()
    }

    fn open_worker(&self, spec: WorkerSpec) -> Reply<Result<Worker>> {
        let id = spec.id;
        let (deliveries, receiver) = mpsc::unbounded_channel();
        let (reply, answer) = oneshot::channel();
        self.send(Command::OpenWorker { spec, deliveries, reply });
        let worker = move |()| Worker { id, deliveries: receiver };
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)).map(worker)).boxed()
    }

    fn grant(&self, worker: ConnectionId, more: u32) {
        self.send(Command::Grant { worker, more });
    }

    fn close_worker(&self, worker: ConnectionId, release: bool) {
        self.send(Command::CloseWorker { worker, release });
    }

    fn lease(&self, tenant: Option<&str>, lane: &str, credit: u32, wait_ms: u64) -> Reply<Result<Vec<Delivery>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Pull { tenant: owned(tenant), lane: lane.into(), credit, wait_ms, reply });
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)).map(Pulled::take)).boxed()
    }

    fn create_session(&self, tenant: &Arc<str>, new: NewSession) -> Reply<Result<SessionView>> {
        let tenant = Arc::clone(tenant);
        self.verb(move |core| {
            let id = core.create_session(&tenant, new)?;
            core.session_view(core.scope(Some(&tenant)), &id)
        })
    }

    fn update_session(&self, tenant: Option<&str>, id: SessionId, update: UpdateSession) -> Reply<Result<SessionView>> {
        let tenant = owned(tenant);
        self.verb(move |core| {
            let scope = core.scope(tenant.as_deref());
            core.update_session(scope, &id, update)?;
            core.session_view(scope, &id)
        })
    }

    fn heartbeat(&self, tenant: Option<&str>, id: SessionId) -> Reply<Result<SessionView>> {
        let tenant = owned(tenant);
        self.verb(move |core| {
            let scope = core.scope(tenant.as_deref());
            core.heartbeat(scope, &id)?;
            core.session_view(scope, &id)
        })
    }

    fn end_session(&self, tenant: Option<&str>, id: SessionId, end: EndSession) -> Reply<Result<SessionView>> {
        let tenant = owned(tenant);
        self.verb(move |core| {
            let scope = core.scope(tenant.as_deref());
            core.end_session(scope, &id, &end)?;
            core.session_view(scope, &id)
        })
    }

    fn session(&self, tenant: Option<&str>, id: SessionId) -> Reply<Result<SessionView>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.session_view(core.scope(tenant.as_deref()), &id))
    }

    fn sessions(&self, tenant: Option<&str>, list: ListSessions) -> Reply<Result<SessionsPage>> {
        let tenant = owned(tenant);
        self.verb(move |core| Ok(core.session_list(core.scope(tenant.as_deref()), &list)))
    }

    fn tasks(&self, tenant: Option<&str>, list: ListTasks) -> Reply<Result<TasksPage>> {
        let look = |shared: &Shared, list: &Arc<(Option<Box<str>>, ListTasks)>| {
            let list = Arc::clone(list);
            verb(shared, move |core| Ok(core.task_list(core.scope(list.0.as_deref()), &list.1)))
        };
        let list = Arc::new((owned(tenant), list));
        let shared = Arc::clone(&self.shared);
        let mut looking = look(&shared, &list);
        async move {
            // The first list of a store that holds very much is prepared in pieces, so that others get their turn in between.
            loop {
                if let Some(page) = looking.await? {
                    return Ok(page);
                }
                looking = look(&shared, &list);
            }
        }
        .boxed()
    }

    fn lane(&self, lane: &str) -> Reply<Result<LaneView>> {
        let lane: Box<str> = lane.into();
        self.verb(move |core| core.lane_view(&lane))
    }

    fn pause_lane(&self, lane: &str, for_ms: Option<u64>) -> Reply<Result<LaneView>> {
        let lane: Box<str> = lane.into();
        self.verb(move |core| {
            core.pause_lane(&lane, for_ms)?;
            core.lane_view(&lane)
        })
    }

    fn resume_lane(&self, lane: &str) -> Reply<Result<LaneView>> {
        let lane: Box<str> = lane.into();
        self.verb(move |core| {
            core.resume_lane(&lane)?;
            core.lane_view(&lane)
        })
    }

    fn dead_letters(&self, tenant: Option<&str>, list: ListDeadLetters) -> Reply<Result<Page<DeadLetter>>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.dead_letter_list(core.scope(tenant.as_deref()), &list))
    }

    fn dead_letter(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<DeadLetter>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.dead_letter_view(core.scope(tenant.as_deref()), id))
    }

    fn replay(&self, tenant: Option<&str>, which: Which, how: ReplayHow) -> Reply<Result<Handled>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.replay(core.scope(tenant.as_deref()), &which, &how))
    }

    fn purge(&self, tenant: Option<&str>, which: Which) -> Reply<Result<Handled>> {
        let tenant = owned(tenant);
        self.verb(move |core| core.purge(core.scope(tenant.as_deref()), &which))
    }

    fn announce(&self, events: Vec<Announcement>) -> Reply<Result<()>> {
        self.verb(move |core| core.announce(&events))
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    fn feed_head(&self) -> watch::Receiver<u64> {
        self.shared.feed.subscribe()
    }

    fn read_feed(&self, after: u64, limit: usize) -> Reply<Result<FeedSlice>> {
        if let Some(slice) = self.shared.feed.read_tail(after, limit.max(1)) {
            return ready(Ok(slice)).boxed();
        }
        let shared = Arc::clone(&self.shared);
        let read = move || shared.feed.read(after, limit).map_err(|error| Error::Unavailable(error.to_string()));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let reading = runtime.spawn_blocking(read);
                reading.map(|read| read.unwrap_or(Err(Error::Closed))).boxed()
            }
            Err(_) => ready(read()).boxed(),
        }
    }

    fn stats(&self) -> Reply<Result<StoreStats>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Stats { reply });
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed))).boxed()
    }

    fn health(&self) -> StoreHealth {
        let store = &self.shared.options.store;
        let mut detail = match store.durability {
            Durability::Commit => "embedded, durability commit: an acknowledgement means it is on disk".to_owned(),
            Durability::Interval => {
                format!("embedded, durability interval: synced every {} ms", store.interval_ms)
            }
        };
        let mut lost = Vec::new();
        if let Some(why) = self.shared.poison() {
            detail = format!("{detail}; {why}");
            lost.extend(["publish", "deliver", "sessions"]);
        } else if let Some(why) = self.shared.full() {
            detail = format!("{detail}; the disk has no room for the next log segment: {why}");
            lost.push("publish");
        }
        for what in &self.shared.found {
            detail = format!("{detail}; at the last start: {what}");
        }
        let durability = match store.durability {
            Durability::Commit => "commit".to_owned(),
            Durability::Interval => format!("interval {} ms", store.interval_ms),
        };
        StoreHealth { ok: lost.is_empty(), lost, durability, detail }
    }

    fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.shared.metrics.register(registry);
    }

    fn close_within(&self, snapshot_within: Duration) -> Reply<Result<()>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close { snapshot_until: Instant::now().checked_add(snapshot_within), reply });
        let (threads, lock) = (Arc::clone(&self.threads), Arc::clone(&self.lock));
        let closed = move |answer: std::result::Result<Result<()>, oneshot::error::RecvError>| {
            // The committer is done; what is left of the threads ends within one of their rests.
            for thread in threads.lock().drain(..) {
                let _ = thread.join();
            }
            give_back(&lock);
            answer.unwrap_or(Ok(()))
        };
        answer.map(closed).boxed()
    }
}
