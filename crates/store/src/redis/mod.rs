//! Redis as the store, for several gateways that act as one. Every batch of commands is one call of a function inside Redis, atomic
//! as a whole; time is Redis's; no gateway remembers where a task is.
//!
//! `address` is where it lies. In the order in which a command passes through: `encode` and `wire` write it, it waits as a `command`, `driver` sends what waits as
//! one batch and hands out the answers to those in `local`; `library` are the functions that decide (`lua/`, which says what each key
//! is), `views`, `ended` and `feed` read what is there; `mirror` tells other programs of the graph; `import` puts a store there that was kept elsewhere. What an acknowledgement means is Redis's setting, `appendfsync`, and is said in `/health`.

pub(crate) mod address;
mod command;
mod driver;
mod encode;
mod ended;
mod feed;
pub(crate) mod import;
mod keys;
pub(crate) mod library;
mod local;
mod mirror;
mod remove;
mod settings;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod views;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{FutureExt, ready};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, RedisError};
use squall_protocol::dead_letter::Handled;
use squall_protocol::task::Published;
use squall_protocol::{
    ConnectionId, DeadLetter, DeadLetterFilter, EndSession, Epoch, LaneView, NewSession, Page, SessionId, SessionState,
    SessionView, TaskId, TaskView, UpdateSession,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::command::{Ask, Command, Reply as Decided};
use self::driver::Driver;
use self::encode::{filter_of, publish_command, settle_command, settled};
use self::local::Pulled;
pub use self::remove::remove;
use self::settings::{MAX_EXACT, MAX_MS};
use self::shared::{Shared, introduce, listen, promise, trim};
use self::views::Fields;
use crate::config::Options;
use crate::core::session;
use crate::core::view::cursor;
use crate::embedded::events::{Place, announced};
use crate::metrics::Now;
use crate::{
    Announcement, Delivery, Error, FeedSlice, Holder, ListDeadLetters, ListSessions, ListTasks, ReplayHow, Reply,
    Result, SessionsPage, SettleVerb, Settled, Settlement, Store, StoreHealth, StoreStats, TaskSpec, TasksPage, Which,
    Worker, WorkerSpec,
};

/// How often an update of a session is tried again because another one was faster.
const MERGE_ATTEMPTS: usize = 16;

/// Why a store in Redis could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address makes no sense.
    #[error("{url:?} is not the address of a Redis: {error}")]
    Address {
        /// As configured, without its password.
        url: String,
        /// Why.
        error: RedisError,
    },
    /// It cannot be reached, or refuses.
    #[error("cannot use the Redis at {url}: {error}{}", address::advice(error))]
    Redis {
        /// As configured, without its password.
        url: String,
        /// Why.
        error: RedisError,
    },
    /// It is a cluster, and would spread our keys.
    #[error(
        "the Redis at {url} is a cluster, and keys below the prefix {prefix:?} would lie in several of its slots: put braces around \
         it, as in store.key_prefix = \"{{squall}}\""
    )]
    Scattered {
        /// As configured, without its password.
        url: String,
        /// As configured.
        prefix: String,
    },
    /// The certificate authority's file cannot be read.
    #[error("store.ca_file: cannot read {path}: {error}")]
    Authority {
        /// As configured.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// What it says makes no sense.
    #[error("the Redis at {url} holds something else below the prefix {prefix:?}: {why}")]
    Foreign {
        /// As configured, without its password.
        url: String,
        /// As configured.
        prefix: String,
        /// What is wrong.
        why: String,
    },
}

/// The store. Dropping it closes it too, without waiting.
pub struct RedisStore(Asker);

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.0.send(Command::Close { reply: oneshot::channel().0 });
    }
}

/// Its id, its fields, its order.
type ListedSession = (String, Vec<String>, u64);

/// Asks Redis; cloned by verbs of more than one step.
#[derive(Clone)]
struct Asker {
    shared: Arc<Shared>,
    reader: ConnectionManager,
}

/// Opens the store that lies below [`crate::Config::key_prefix`] in the Redis at `options.store.url`, or makes a new one.
///
/// # Errors
/// When Redis cannot be reached, is older than version 7, or refuses.
pub async fn open(options: Options) -> std::result::Result<RedisStore, OpenError> {
    let (client, mut connection) = address::reach(&options).await?;
    let timeout = Duration::from_millis(options.store.timeout_ms);
    let failed = |error| address::failed(&options, error);
    let (inbox, commands) = mpsc::unbounded_channel();
    let mut shared = Shared::new(options.clone(), inbox);
    shared.epoch = introduce(&mut connection, &shared).await.map_err(failed)?;
    let head: Option<u64> = redis::cmd("GET")
        .arg(format!("{}:offset", shared.prefix))
        .query_async(&mut connection)
        .await
        .map_err(failed)?;
    shared.advance(head.unwrap_or(0));
    *shared.promise.lock() = promise(&mut connection).await;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout))
        .set_number_of_retries(1);
    let reader = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(failed)?;
    let shared = Arc::new(shared);
    tokio::spawn(Driver::new(Arc::clone(&shared), client.clone(), connection, commands).run());
    tokio::spawn(listen(Arc::clone(&shared), client));
    tokio::spawn(trim(Arc::clone(&shared), reader.clone()));
    Ok(RedisStore(Asker { shared, reader }))
}

/// An address without what is secret in it.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}

impl Asker {
    /// Queues a command, unless too many wait.
    fn send(&self, command: Command) {
        if self.shared.closed.load(Ordering::SeqCst) {
            return command.refuse(&Error::Closed);
        }
        if let Err(mpsc::error::SendError(command)) = self.shared.inbox.send(command) {
            command.refuse(&Error::Closed);
        }
    }

    /// Queues something that Redis answers, and reads the answer.
    fn ask<T: Send + 'static>(
        &self,
        bytes: Vec<u8>,
        adds: bool,
        settles: Option<(ConnectionId, Vec<TaskId>)>,
        read: impl FnOnce(Decided<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<Result<T>> {
        let bound = self.shared.options.store.max_queued_commands;
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= bound {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.metrics.overloaded();
            return ready(Err(Error::Overloaded)).boxed();
        }
        self.queue(bytes, adds, settles, read)
    }

    fn ask_beyond_bound<T: Send + 'static>(
        &self,
        bytes: Vec<u8>,
        read: impl FnOnce(Decided<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<Result<T>> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue(bytes, false, None, read)
    }

    /// Queues what was counted as waiting.
    fn queue<T: Send + 'static>(
        &self,
        bytes: Vec<u8>,
        adds: bool,
        settles: Option<(ConnectionId, Vec<TaskId>)>,
        read: impl FnOnce(Decided<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<Result<T>> {
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let respond = move |decided: Result<Decided<'_>>| {
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            drop(reply.send(decided.and_then(read)));
        };
        self.send(Command::Ask(Ask { bytes, adds, settles, respond: Box::new(respond) }));
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed))).boxed()
    }

    fn lane_verb<T: serde::Serialize>(&self, command: &T) -> Reply<Result<LaneView>> {
        self.ask(wire::command(command), false, None, |decided| {
            let (_, lane): (u64, wire::Lane) = wire::read(decided.value)?;
            Ok(with_local(views::lane(lane), &decided))
        })
    }

    fn session_verb<T: serde::Serialize>(&self, command: &T, adds: bool) -> Reply<Result<SessionView>> {
        self.ask(wire::command(command), adds, None, |decided| read_session(&decided))
    }

    /// Does something to all dead letters that match, piece by piece.
    fn pieces(
        &self,
        tenant: Option<&str>,
        filter: &DeadLetterFilter,
        what: &'static str,
        how: Option<ReplayHow>,
    ) -> Reply<Result<Handled>> {
        let again = self.clone();
        let scope = tenant.unwrap_or_default().to_owned();
        let filter = filter_of(filter);
        let (by, rate, limit) = how.map_or((String::new(), 0.0, -1), |how| {
            (how.by.into(), how.rate_per_s.unwrap_or(0.0), how.limit.map_or(-1, |limit| limit as i64))
        });
        async move {
            let mut handled = Handled::default();
            let (mut after, mut top) = (0_i64, -1_i64);
            loop {
                let piece = ("dead_piece", &scope, &filter, after, top, handled.done, what, &by, rate, limit);
                let asked = again.ask(wire::command(&piece), what == "replay", None, |decided| {
                    wire::read::<(u64, u64, u64, u64, i64, i64)>(decided.value)
                });
                let (_, matched, done, refused, next, up_to) = asked.await?;
                handled.matched += matched;
                handled.done += done;
                handled.refused += refused;
                if next < 0 {
                    return Ok(handled);
                }
                (after, top) = (next, up_to);
            }
        }
        .boxed()
    }
}

fn with_local(mut view: LaneView, decided: &Decided<'_>) -> LaneView {
    view.credit = decided.local.credit(&view.lane);
    view
}

fn read_session(decided: &Decided<'_>) -> Result<SessionView> {
    let (_, id, fields): (u64, String, Vec<String>) = wire::read(decided.value)?;
    Ok(views::session(views::session_id(&id)?, &Fields::new(fields)))
}

impl Store for RedisStore {
    fn publish(&self, tenant: &Arc<str>, tasks: Vec<TaskSpec>) -> Reply<Vec<Result<Published>>> {
        let count = tasks.len();
        let (bytes, ids) = publish_command(&self.0.shared.options, tenant, &tasks);
        let asked = self.0.ask(bytes, true, None, move |decided| {
            let replies = match (count, decided.value.as_array()) {
                (1, _) => std::slice::from_ref(decided.value),
                (_, replies) => replies.map(Vec::as_slice).unwrap_or_default(),
            };
            Ok(ids.into_iter().zip(replies).map(|(id, reply)| encode::published(id, reply)).collect())
        });
        asked.map(move |answer| answer.unwrap_or_else(|error| vec![Err(error); count])).boxed()
    }

    fn task(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<TaskView>> {
        let command = wire::command(&("task", tenant.unwrap_or_default(), id.to_string()));
        self.0.ask(command, false, None, move |decided| {
            let (_, fields): (u64, Vec<String>) = wire::read(decided.value)?;
            Ok(views::task(id, decided.now, &Fields::new(fields)))
        })
    }

    fn cancel(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<()>> {
        let command = wire::command(&("cancel", tenant.unwrap_or_default(), id.to_string()));
        self.0.ask(command, false, None, |decided| wire::refused(decided.value))
    }

    fn settle(
        &self,
        tenant: Option<&str>,
        holder: Holder,
        settlements: Vec<Settlement>,
    ) -> Reply<Vec<Result<Settled>>> {
        let count = settlements.len();
        let ended = |verb: &SettleVerb| !matches!(verb, SettleVerb::Extend { .. });
        let ids = settlements.iter().filter(|one| ended(&one.verb)).map(|one| one.id).collect();
        let settles = match holder {
            Holder::Worker(id) => Some((id, ids)),
            Holder::Receipts => None,
        };
        let bytes = settle_command(tenant, holder, &settlements);
        let asked = self.0.ask(bytes, false, settles, |decided| {
            let replies = decided.value.as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(replies.iter().map(settled).collect())
        });
        asked.map(move |answer| answer.unwrap_or_else(|error| vec![Err(error); count])).boxed()
    }

    fn open_worker(&self, spec: WorkerSpec) -> Reply<Result<Worker>> {
        let id = spec.id;
        let (deliveries, receiver) = mpsc::unbounded_channel();
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::OpenWorker { spec, deliveries, reply });
        let worker = move |()| Worker { id, deliveries: receiver };
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)).map(worker)).boxed()
    }

    fn grant(&self, worker: ConnectionId, more: u32) {
        self.0.send(Command::Grant { worker, more });
    }

    fn close_worker(&self, worker: ConnectionId, release: bool) {
        self.0.send(Command::CloseWorker { worker, release });
    }

    fn lease(&self, tenant: Option<&str>, lane: &str, credit: u32, wait_ms: u64) -> Reply<Result<Vec<Delivery>>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Pull { tenant: tenant.map(Into::into), lane: lane.into(), credit, wait_ms, reply });
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)).map(Pulled::take)).boxed()
    }

    fn create_session(&self, tenant: &Arc<str>, new: NewSession) -> Reply<Result<SessionView>> {
        let idle = new.idle_timeout_ms.unwrap_or(self.0.shared.options.sessions.idle_timeout_ms);
        let checked = session::check_idle_timeout(new.idle_timeout_ms);
        let metadata = match checked.and_then(|()| session::metadata_text(new.metadata)) {
            Ok(text) => text,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let id = new.id.map_or_else(|| uuid::Uuid::now_v7().to_string(), |id| id.to_string());
        self.0.session_verb(&("create_session", &**tenant, id, metadata, idle), true)
    }

    fn update_session(&self, tenant: Option<&str>, id: SessionId, update: UpdateSession) -> Reply<Result<SessionView>> {
        let again = self.0.clone();
        let scope = tenant.unwrap_or_default().to_owned();
        async move {
            for _ in 0..MERGE_ATTEMPTS {
                let asked = again.ask(wire::command(&("session", &scope, id.as_str())), false, None, |decided| {
                    let (_, _, fields): (u64, String, Vec<String>) = wire::read(decided.value)?;
                    let fields = Fields::new(fields);
                    Ok((views::version(&fields), fields))
                });
                let (version, fields) = asked.await?;
                let mut metadata = views::session(id.clone(), &fields).metadata;
                session::merge(&mut metadata, update.metadata.clone());
                let text = session::metadata_text(metadata)?;
                let command = wire::command(&("update_session", &scope, id.as_str(), version, text));
                let asked = again.ask(command, true, None, |decided| {
                    if wire::is_stale(decided.value) { Ok(None) } else { read_session(&decided).map(Some) }
                });
                if let Some(view) = asked.await? {
                    return Ok(view);
                }
            }
            Err(Error::Overloaded)
        }
        .boxed()
    }

    fn heartbeat(&self, tenant: Option<&str>, id: SessionId) -> Reply<Result<SessionView>> {
        self.0.session_verb(&("heartbeat", tenant.unwrap_or_default(), id.as_str()), false)
    }

    fn end_session(&self, tenant: Option<&str>, id: SessionId, end: EndSession) -> Reply<Result<SessionView>> {
        if let Err(error) = session::check_end(end.status) {
            return ready(Err(error)).boxed();
        }
        let reason = end.reason.as_deref().map_or("", |reason| session::cut(reason, session::MAX_REASON_BYTES));
        let scope = tenant.unwrap_or_default();
        self.0.session_verb(&("end_session", scope, id.as_str(), end.status.as_str(), reason), false)
    }

    fn session(&self, tenant: Option<&str>, id: SessionId) -> Reply<Result<SessionView>> {
        self.0.session_verb(&("session", tenant.unwrap_or_default(), id.as_str()), false)
    }

    fn sessions(&self, tenant: Option<&str>, list: ListSessions) -> Reply<Result<SessionsPage>> {
        let before = list.after.map_or(-1, |before| before.min(MAX_EXACT) as i64);
        let state = list.state.map_or("", SessionState::as_str);
        let limit = list.limit.clamp(1, 1_000);
        let command = wire::command(&("sessions", tenant.unwrap_or_default(), state, before, limit));
        self.0.ask(command, false, None, move |decided| {
            let (_, found, next): (u64, Vec<ListedSession>, i64) = wire::read(decided.value)?;
            let mut page = SessionsPage { items: Vec::with_capacity(found.len()), next: u64::try_from(next).ok() };
            for (id, fields, place) in found {
                let session = views::session(views::session_id(&id)?, &Fields::new(fields));
                if list.since.is_some_and(|since| session.created_at < since) {
                    // They come in the order of their creation: all that follow are too old as well.
                    page.next = None;
                    break;
                }
                if list.in_range(session.created_at) {
                    page.items.push((place, session));
                }
            }
            Ok(page)
        })
    }

    fn tasks(&self, tenant: Option<&str>, list: ListTasks) -> Reply<Result<TasksPage>> {
        if self.0.shared.closed.load(Ordering::SeqCst) {
            return ready(Err(Error::Closed)).boxed();
        }
        ended::list(self.0.clone(), tenant.unwrap_or_default().to_owned(), list).boxed()
    }

    fn lane(&self, lane: &str) -> Reply<Result<LaneView>> {
        self.0.lane_verb(&("lane", lane))
    }

    fn pause_lane(&self, lane: &str, for_ms: Option<u64>) -> Reply<Result<LaneView>> {
        self.0.lane_verb(&("pause", lane, for_ms.map_or(-1, |ms| ms.min(MAX_MS) as i64)))
    }

    fn resume_lane(&self, lane: &str) -> Reply<Result<LaneView>> {
        self.0.lane_verb(&("resume", lane))
    }

    fn dead_letters(&self, tenant: Option<&str>, list: ListDeadLetters) -> Reply<Result<Page<DeadLetter>>> {
        let after = match cursor(list.cursor.as_deref()) {
            Ok(after) => after.unwrap_or(0).min(MAX_EXACT),
            Err(error) => return ready(Err(error)).boxed(),
        };
        let limit = list.limit.clamp(1, 1_000);
        let scope = tenant.unwrap_or_default();
        let command = wire::command(&("dead_letters", scope, filter_of(&list.filter), after, limit));
        let payload = list.payload;
        self.0.ask(command, false, None, move |decided| {
            let (_, items, next): (u64, Vec<(String, Vec<String>)>, i64) = wire::read(decided.value)?;
            let view = |(id, fields): (String, Vec<String>)| {
                Ok(views::dead_letter(views::task_id(&id)?, payload, &Fields::new(fields)))
            };
            let items = items.into_iter().map(view).collect::<Result<_>>()?;
            Ok(Page { items, next: (next >= 0).then(|| next.to_string()) })
        })
    }

    fn dead_letter(&self, tenant: Option<&str>, id: TaskId) -> Reply<Result<DeadLetter>> {
        let command = wire::command(&("dead_letter", tenant.unwrap_or_default(), id.to_string()));
        self.0.ask(command, false, None, move |decided| {
            let (_, _, fields): (u64, String, Vec<String>) = wire::read(decided.value)?;
            Ok(views::dead_letter(id, true, &Fields::new(fields)))
        })
    }

    fn replay(&self, tenant: Option<&str>, which: Which, how: ReplayHow) -> Reply<Result<Handled>> {
        match which {
            Which::One(id) => {
                let scope = tenant.unwrap_or_default();
                let command = wire::command(&("replay", scope, id.to_string(), &*how.by));
                self.0.ask(command, true, None, |decided| {
                    wire::refused(decided.value).map(|()| Handled { matched: 1, done: 1, refused: 0 })
                })
            }
            Which::Filter(filter) => self.0.pieces(tenant, &filter, "replay", Some(how)),
        }
    }

    fn purge(&self, tenant: Option<&str>, which: Which) -> Reply<Result<Handled>> {
        match which {
            Which::One(id) => {
                let command = wire::command(&("purge", tenant.unwrap_or_default(), id.to_string()));
                self.0.ask(command, false, None, |decided| {
                    wire::refused(decided.value).map(|()| Handled { matched: 1, done: 1, refused: 0 })
                })
            }
            Which::Filter(filter) => self.0.pieces(tenant, &filter, "purge", None),
        }
    }

    fn announce(&self, events: Vec<Announcement>) -> Reply<Result<()>> {
        let store = self.0.clone();
        let told: Vec<&str> = events.iter().flat_map(encode::announcement).collect();
        let asked = store.ask(wire::command(&("announce", told)), true, None, |decided| {
            let (_, last): (u64, u64) = wire::read(decided.value)?;
            Ok((last, decided.now))
        });
        async move {
            let (last, time) = asked.await?;
            let first = (last + 1).saturating_sub(events.len() as u64);
            let announced = events.into_iter().zip(first..).map(|(event, offset)| {
                let place = Place { epoch: store.shared.epoch, offset, time };
                announced(event.event_type, event.entity_id, event.data, place)
            });
            mirror::write(&store.shared, &mut store.reader.clone(), announced.collect()).await;
            Ok(())
        }
        .boxed()
    }

    fn epoch(&self) -> Epoch {
        self.0.shared.epoch
    }

    fn feed_head(&self) -> watch::Receiver<u64> {
        self.0.shared.head.subscribe()
    }

    fn read_feed(&self, after: u64, limit: usize) -> Reply<Result<FeedSlice>> {
        let shared = Arc::clone(&self.0.shared);
        let mut reader = self.0.reader.clone();
        async move {
            let head = *shared.head.borrow();
            let slice = feed::read(&mut reader, &shared.prefix, shared.epoch, head, after, limit).await;
            let slice = slice.map_err(|error| Error::Unavailable(error.to_string()))?;
            shared.advance(slice.head);
            Ok(slice)
        }
        .boxed()
    }

    fn stats(&self) -> Reply<Result<StoreStats>> {
        // Never refused for the bound: it is what tells that there are too many.
        let asked = self.0.ask_beyond_bound(wire::command(&("stats",)), |decided| {
            let (_, lanes, active, head, oldest): (u64, Vec<wire::Lane>, u64, u64, u64) = wire::read(decided.value)?;
            let mut lanes: Vec<LaneView> =
                lanes.into_iter().map(|lane| with_local(views::lane(lane), &decided)).collect();
            lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
            Ok(Now {
                up: true,
                lanes,
                active_sessions: active,
                feed_offset: head,
                feed_oldest: oldest,
                workers: decided.local.workers(),
                task_bytes: 0,
                disk_bytes: 0,
            })
        });
        let shared = Arc::clone(&self.0.shared);
        let mut reader = self.0.reader.clone();
        async move {
            let mut now = match asked.await {
                Ok(now) => now,
                // What this gateway counted it can tell while Redis is away.
                Err(Error::Unavailable(_)) => {
                    let feed_offset = *shared.head.borrow();
                    return Ok(shared.metrics.stats(Now { feed_offset, ..Now::default() }));
                }
                Err(error) => return Err(error),
            };
            (now.task_bytes, now.disk_bytes) = sizes(&mut reader).await;
            Ok(shared.metrics.stats(now))
        }
        .boxed()
    }

    fn health(&self) -> StoreHealth {
        let durability = self.0.shared.promise.lock().clone();
        let mut detail = format!("redis at {}", without_secrets(&self.0.shared.options.store.url));
        let mut lost = Vec::new();
        if let Some(why) = self.0.shared.why_down() {
            detail = format!("{detail}; Redis does not answer: {why}");
            lost.extend(["publish", "deliver", "sessions", "feed"]);
        } else if self.0.shared.full.load(Ordering::Relaxed) {
            detail = format!("{detail}; Redis has reached its maxmemory");
            lost.push("publish");
        }
        StoreHealth { ok: lost.is_empty(), lost, durability, detail }
    }

    fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.0.shared.metrics.register(registry);
    }

    /// There is no snapshot: Redis has everything.
    fn close_within(&self, _snapshot_within: Duration) -> Reply<Result<()>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Close { reply });
        answer.map(|answer| answer.unwrap_or(Ok(()))).boxed()
    }
}

/// Bytes that Redis uses in memory, and those of its append-only file.
async fn sizes(reader: &mut ConnectionManager) -> (u64, u64) {
    let mut section = async |name: &str, figure: &str| -> Option<u64> {
        let mut info = Cmd::new();
        let text: String = info.arg("INFO").arg(name).query_async(reader).await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')?.trim().parse().ok())
    };
    let memory = section("memory", "used_memory").await.unwrap_or(0);
    let disk = section("persistence", "aof_current_size").await.unwrap_or(0);
    (memory, disk)
}
