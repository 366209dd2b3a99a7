//! The one task of a gateway that changes anything in Redis: it takes whatever commands wait, sends them as one batch with what its
//! workers would take, and hands out answers and deliveries when the batch is answered. So the round trip, and Redis's own sync, are
//! shared by all who waited, as in the embedded engine's commit.
//!
//! What it remembers are its own connections: who has credit, who waits. Where a task is, Redis alone knows. When an answer is lost,
//! its commands are answered `Unavailable`, and what the batch may have leased to nobody is given back with the next one.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use squall_protocol::{ConnectionId, TaskId, Time};
use tokio::sync::{mpsc, oneshot};

use super::command::{Ask, Command, Reply};
use super::library::library;
use super::local::{Local, LocalWorker, Pull, Pulled, Taker};
use super::shared::{self, Shared};
use super::wire::{self, Answer, Counts, Envelope, Leased, Rest, Table};
use super::{library as functions, views};
use crate::core::counts::{LaneCounts, REASONS};
use crate::{Delivery, Error, Result, TaskBody};

/// A sign of life to the other gateways, and a look at what is due, at least so often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Leases in one batch at most: Redis does nothing else meanwhile.
const MAX_LEASES: usize = 1_000;
/// Bytes of commands in one batch at most.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// The first and the longest rest between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What a command in a batch is answered with.
enum Pending {
    Ask(Ask),
    Opened { worker: ConnectionId, reply: oneshot::Sender<Result<()>> },
    Checked(u64),
    Closed(Gone),
    Returned,
}

/// A worker that has gone, until Redis knows.
struct Gone {
    worker: ConnectionId,
    lanes: Vec<Box<str>>,
    release: bool,
    held: Vec<TaskId>,
}

/// The task. See the module.
pub(super) struct Driver {
    shared: Arc<Shared>,
    client: Client,
    inbox: mpsc::UnboundedReceiver<Command>,
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that what an earlier one sent late is refused.
    generation: u64,
    local: Local,
    gone: Vec<Gone>,
    /// Of batches whose answer was lost.
    lost_nonces: Vec<String>,
    /// Leases by receipt that nobody waited for any more.
    unwanted: Vec<(TaskId, String)>,
    rest: Duration,
    wake: Instant,
    /// The other gateways know so long that this one lives.
    alive_until: Instant,
    closing: Option<oneshot::Sender<Result<()>>>,
}

/// Why a batch was not answered.
enum Failure {
    /// Redis refused it as a whole: nothing was done.
    Refused(RedisError),
    /// Redis has no memory for it: nothing was done.
    OutOfMemory,
    /// It may have been done, or not.
    Unknown(String),
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: Client,
        connection: MultiplexedConnection,
        inbox: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            shared,
            client,
            inbox,
            connection: Some(connection),
            generation: 1,
            local: Local::default(),
            gone: Vec::new(),
            lost_nonces: Vec::new(),
            unwanted: Vec::new(),
            rest: BACKOFF.0,
            wake: Instant::now(),
            alive_until: Instant::now(),
            closing: None,
        }
    }

    /// Works until the store is closed.
    pub(super) async fn run(mut self) {
        let mut asks: Vec<Pending> = Vec::new();
        // Set only to an earlier time, or when it is over: most batches put the next wake-up off, and a timer costs more to set than to
        // look at in vain once a second.
        let mut timer = pin!(tokio::time::sleep(HEARTBEAT));
        loop {
            if self.connection.is_none() {
                self.reconnect().await;
            }
            let mut due = false;
            let wake = self.next_wake();
            if wake < timer.deadline().into_std() || timer.is_elapsed() {
                timer.as_mut().reset(wake.into());
            }
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    Some(command) => due |= self.accept(command, &mut asks),
                    // The store was dropped: its end is a close that nobody waits for.
                    None => self.closing = Some(oneshot::channel().0),
                },
                () = &mut timer => due = wake <= Instant::now(),
            }
            let mut bytes = 0;
            while asks.len() < self.shared.options.store.max_batch && bytes < MAX_BATCH_BYTES && self.closing.is_none()
            {
                let Ok(command) = self.inbox.try_recv() else { break };
                if let Command::Ask(ask) = &command {
                    bytes += ask.bytes.len();
                }
                due |= self.accept(command, &mut asks);
            }
            if self.connection.is_none() {
                self.refuse(&mut asks);
            } else if due || !asks.is_empty() || self.closing.is_some() {
                self.step(std::mem::take(&mut asks)).await;
            }
            if let Some(reply) = self.closing.take() {
                self.end(reply).await;
                return;
            }
        }
    }

    /// The last batch: our workers' leases return, uncounted.
    async fn end(mut self, reply: oneshot::Sender<Result<()>>) {
        let workers: Vec<ConnectionId> = self.local.workers.keys().copied().collect();
        for worker in workers {
            self.worker_gone(worker, true);
        }
        for pull in std::mem::take(&mut self.local.pulls) {
            let _ = pull.reply.send(Ok(self.pulled(Vec::new())));
        }
        let until = Instant::now() + self.shared.timeout;
        while !(self.gone.is_empty() && self.unwanted.is_empty()) && Instant::now() < until {
            if self.connection.is_none() {
                self.reconnect().await;
            } else {
                self.step(Vec::new()).await;
            }
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        self.inbox.close();
        while let Ok(command) = self.inbox.try_recv() {
            command.refuse(&Error::Closed);
        }
        self.shared.stop.cancel();
        let _ = reply.send(Ok(()));
    }

    /// Notes a command; answers whether a batch is due for it.
    fn accept(&mut self, command: Command, asks: &mut Vec<Pending>) -> bool {
        match command {
            Command::Ask(ask) => asks.push(Pending::Ask(ask)),
            Command::OpenWorker { spec, deliveries, reply } => {
                if spec.lanes.is_empty() {
                    let _ = reply.send(Err(Error::Invalid("a worker serves at least one lane".to_owned())));
                    return false;
                }
                if self.local.workers.contains_key(&spec.id) {
                    let error = format!("the connection {} is a worker already", spec.id);
                    let _ = reply.send(Err(Error::Invalid(error)));
                    return false;
                }
                let worker =
                    LocalWorker { tenant: spec.tenant, lanes: spec.lanes, credit: 0, held: HashSet::new(), deliveries };
                self.local.workers.insert(spec.id, worker);
                asks.push(Pending::Opened { worker: spec.id, reply });
            }
            Command::Grant { worker, more } => {
                let Some(worker) = self.local.workers.get_mut(&worker) else { return false };
                worker.credit = worker.credit.saturating_add(more);
            }
            Command::CloseWorker { worker, release } => self.worker_gone(worker, release),
            Command::Pull { tenant, lane, credit, wait_ms, reply } => {
                self.local.next_pull += 1;
                let number = self.local.next_pull;
                let until = Instant::now() + Duration::from_millis(wait_ms);
                let pull = Pull { number, tenant, lane, credit: credit.max(1), until, checked: false, reply };
                self.local.pulls.push_back(pull);
                asks.push(Pending::Checked(number));
            }
            Command::GiveBack(deliveries) => {
                self.unwanted.extend(deliveries.iter().map(|held| (held.task.id, held.receipt.to_string())));
            }
            Command::Woken { head, lanes } => {
                self.shared.advance(head);
                return lanes.iter().any(|lane| self.local.wants(lane));
            }
            Command::Close { reply } => self.closing = Some(reply),
        }
        true
    }

    fn worker_gone(&mut self, worker: ConnectionId, release: bool) {
        if let Some(local) = self.local.workers.remove(&worker) {
            let held = local.held.into_iter().collect();
            self.gone.push(Gone { worker, lanes: local.lanes, release, held });
        }
    }

    /// When the next batch is due by itself.
    fn next_wake(&self) -> Instant {
        let pull = self.local.pulls.iter().map(|pull| pull.until).min();
        pull.map_or(self.wake, |until| until.min(self.wake))
    }

    /// One batch.
    async fn step(&mut self, mut asks: Vec<Pending>) {
        let vanished: Vec<ConnectionId> =
            self.local.workers.iter().filter(|(_, worker)| worker.deliveries.is_closed()).map(|(id, _)| *id).collect();
        for worker in vanished {
            self.worker_gone(worker, false);
        }
        self.local.pulls.retain(|pull| !pull.reply.is_closed());
        asks.extend(std::mem::take(&mut self.gone).into_iter().map(Pending::Closed));
        let mut commands: Vec<Vec<u8>> = asks.iter_mut().map(|pending| self.write(pending)).collect();
        if !self.lost_nonces.is_empty() || !self.unwanted.is_empty() {
            let unwanted: Vec<_> = self.unwanted.iter().map(|(id, receipt)| (id.to_string(), receipt)).collect();
            commands.push(wire::command(&("give_back", &self.lost_nonces, &unwanted)));
            asks.push(Pending::Returned);
        }
        let adds = asks.iter().any(|pending| matches!(pending, Pending::Ask(ask) if ask.adds));
        let started = Instant::now();
        let alive = self.alive_until <= started;
        let nonce = format!("{:012x}", fastrand::Rng::new().u64(..) & 0xffff_ffff_ffff);
        let (takers, order) = self.local.takers();
        let shared = Arc::clone(&self.shared);
        let envelope = Envelope {
            version: &shared.settings_version,
            gateway: &shared.gateway,
            generation: self.generation,
            seed: fastrand::u32(1..2_147_483_646),
            nonce: &nonce,
            now: None,
            alive,
            head: *shared.head.borrow(),
            lanes: shared.likely_lanes(&takers),
            takers,
            budget: MAX_LEASES,
        };
        let request = envelope.write();
        let function = if adds { &library().step } else { &library().step_free };
        let sent = request.len() + commands.iter().map(Vec::len).sum::<usize>();
        match self.call(function, &request, &commands).await {
            Ok(answer) => {
                self.shared.metrics.committed(asks.len(), sent, started.elapsed().as_secs_f64());
                if alive {
                    self.alive_until = started + HEARTBEAT;
                }
                if answer.rest.new {
                    self.register_again();
                }
                if answer.rest.set_back {
                    tracing::error!(
                        "Redis has lost what it had acknowledged last: the feed goes on with a gap, up to {}",
                        answer.head
                    );
                }
                self.finish(asks, answer, &order, started);
            }
            Err(Failure::OutOfMemory) if adds => {
                // What adds is refused; what only frees goes on.
                let full = Error::Full("Redis has reached its maxmemory".to_owned());
                let mut rest = Vec::with_capacity(asks.len());
                for pending in asks {
                    match pending {
                        Pending::Ask(ask) if ask.adds => (ask.respond)(Err(full.clone())),
                        other => rest.push(other),
                    }
                }
                self.shared.note_full(true);
                Box::pin(self.step(rest)).await;
                return;
            }
            Err(failure) => {
                let why = match failure {
                    Failure::OutOfMemory => "Redis has reached its maxmemory".to_owned(),
                    Failure::Refused(error) => error.to_string(),
                    Failure::Unknown(why) => {
                        self.lost_nonces.push(nonce);
                        self.connection = None;
                        why
                    }
                };
                self.shared.note_down(Some(why));
                self.refuse(&mut asks);
                self.wake = Instant::now() + self.rest;
                return;
            }
        }
        self.shared.note_down(None);
        if adds {
            self.shared.note_full(false);
        }
        self.rest = BACKOFF.0;
    }

    /// What a command is in the batch.
    fn write(&self, pending: &mut Pending) -> Vec<u8> {
        match pending {
            Pending::Ask(ask) => std::mem::take(&mut ask.bytes),
            Pending::Opened { worker, .. } => {
                let lanes = self.local.workers.get(worker).map(|worker| worker.lanes.as_slice()).unwrap_or_default();
                wire::command(&("open_worker", &self.shared.gateway, worker.to_string(), lanes))
            }
            Pending::Checked(number) => {
                let pull = self.local.pulls.iter().find(|pull| pull.number == *number);
                wire::command(&("check_lane", pull.map_or("", |pull| &*pull.lane)))
            }
            Pending::Closed(gone) => {
                let held: Vec<String> = gone.held.iter().map(ToString::to_string).collect();
                let worker = gone.worker.to_string();
                wire::command(&("close_worker", &self.shared.gateway, worker, &gone.lanes, gone.release, held))
            }
            Pending::Returned => Vec::new(),
        }
    }

    /// Calls the library, loading it or leaving our settings first if Redis has lost them.
    async fn call(
        &mut self,
        function: &str,
        request: &[u8],
        commands: &[Vec<u8>],
    ) -> std::result::Result<Answer, Failure> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(Failure::Unknown("there is no connection".to_owned()));
        };
        for attempt in 0..2 {
            let mut call = functions::call(function, &self.shared.prefix);
            call.arg(request).arg(commands);
            let answered: std::result::Result<Vec<u8>, RedisError> = call.query_async(connection).await;
            let error = match answered {
                Ok(bytes) => {
                    return wire::answer(&bytes)
                        .map_err(|error| Failure::Unknown(wire::unreadable(&error).to_string()));
                }
                Err(error) => error,
            };
            if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
                return Err(Failure::Unknown(error.to_string()));
            }
            let text = error.to_string();
            if text.contains("OOM") {
                return Err(Failure::OutOfMemory);
            }
            let lost = text.contains("Function not found") || text.contains("NOSETTINGS");
            if !lost || attempt > 0 {
                return Err(Failure::Refused(error));
            }
            // A Redis that came back empty, or whose data was flushed, is another store: its epoch says so.
            match shared::introduce(connection, &self.shared).await {
                Ok(epoch) if epoch == self.shared.epoch => {}
                Ok(_) => {
                    let why = "Redis was emptied while this gateway ran: restart it to begin a new feed";
                    return Err(Failure::Unknown(why.to_owned()));
                }
                Err(error) => return Err(Failure::Refused(error)),
            }
        }
        Err(Failure::Unknown("Redis keeps forgetting the library".to_owned()))
    }

    fn finish(&mut self, asks: Vec<Pending>, answer: Answer, order: &[Taker], started: Instant) {
        let Answer { now, wake, head, counts, rest, replies } = answer;
        let Rest { leased, more, died, tally, new: _, set_back: _ } = rest;
        let now = Time(now);
        // Before any answer: who reads the feed after one finds what it tells.
        self.shared.advance(head);
        for (pending, value) in asks.into_iter().zip(&replies) {
            match pending {
                Pending::Ask(ask) => {
                    if let Some((worker, ids)) = &ask.settles
                        && let Some(worker) = self.local.workers.get_mut(worker)
                    {
                        for id in ids {
                            worker.held.remove(id);
                        }
                    }
                    (ask.respond)(Ok(Reply { value, now, local: &self.local }));
                }
                Pending::Opened { worker, reply } => {
                    let opened = wire::refused(value);
                    if opened.is_err() {
                        self.local.workers.remove(&worker);
                    }
                    let _ = reply.send(opened);
                }
                Pending::Checked(number) => {
                    if let Some(at) = self.local.pulls.iter().position(|pull| pull.number == number) {
                        match wire::refused(value) {
                            Ok(()) => self.local.pulls[at].checked = true,
                            Err(error) => {
                                if let Some(pull) = self.local.pulls.remove(at) {
                                    let _ = pull.reply.send(Err(error));
                                }
                            }
                        }
                    }
                }
                Pending::Closed(_) => {}
                Pending::Returned => {
                    self.lost_nonces.clear();
                    self.unwanted.clear();
                }
            }
        }
        self.hand_out(leased, order);
        self.count(counts, died, &tally);
        // Pulls whose time is over get what there is: nothing.
        for pull in self.local.take_over() {
            let _ = pull.reply.send(Ok(self.pulled(Vec::new())));
        }
        // Redis's clock says when something is due; ours only measures how long that is from now.
        let in_ms = match wake {
            at if at >= 0 => (at as u64).saturating_sub(now.0).max(1),
            _ => u64::MAX,
        };
        let rest = if more || !self.unwanted.is_empty() {
            Duration::ZERO
        } else {
            HEARTBEAT.min(Duration::from_millis(in_ms))
        };
        self.wake = started + rest;
    }

    /// Adds what a batch has done to the figures.
    fn count(
        &self,
        Counts(counts): Counts,
        died: Table<String, Table<String, u64>>,
        Table(tally): &Table<String, u64>,
    ) {
        let mut lanes: HashMap<String, LaneCounts> = HashMap::new();
        for (lane, at, number) in counts {
            let (level, outcome) = (usize::from(at / 10), usize::from(at % 10));
            if let Some(outcomes) = lanes.entry(lane).or_default().tasks.get_mut(level.wrapping_sub(1)) {
                outcomes[outcome] = number;
            }
        }
        for (lane, Table(numbers)) in died.0 {
            let of_lane = lanes.entry(lane).or_default();
            for (reason, number) in numbers {
                if let Some(at) = REASONS.iter().position(|known| known.as_str() == reason) {
                    of_lane.dead[at] = number;
                }
            }
        }
        for (lane, counted) in lanes {
            self.shared.metrics.lane(&lane.into(), &counted);
        }
        let told = |name: &str| tally.iter().find(|(known, _)| known == name).map_or(0, |(_, number)| *number);
        let ended = [told("completed"), told("failed"), told("timed_out")];
        self.shared.metrics.rest(told("no_lane"), told("sessions_refused"), ended, told("dropped"), 0);
    }

    fn pulled(&self, deliveries: Vec<Delivery>) -> Pulled {
        Pulled::new(deliveries, self.shared.inbox.clone())
    }

    fn hand_out(&mut self, leased: Vec<Leased>, order: &[Taker]) {
        let mut by_taker: HashMap<usize, Vec<Delivery>> = HashMap::new();
        let mut turns = Vec::new();
        for lease in leased {
            let taker = lease.taker;
            match delivery(lease) {
                Ok(delivery) => {
                    let of_taker = by_taker.entry(taker).or_default();
                    if of_taker.is_empty() {
                        turns.push(taker);
                    }
                    of_taker.push(delivery);
                }
                Err(error) => tracing::error!("a lease cannot be read, and ends by itself: {error}"),
            }
        }
        for taker in turns {
            let Some(deliveries) = by_taker.remove(&taker) else { continue };
            match order.get(taker) {
                Some(Taker::Worker(id)) => {
                    let Some(worker) = self.local.workers.get_mut(id) else { continue };
                    worker.credit = worker.credit.saturating_sub(deliveries.len() as u32);
                    worker.held.extend(deliveries.iter().map(|delivery| delivery.task.id));
                    // One whose receiver is gone is noticed with the next batch.
                    let _ = worker.deliveries.send(deliveries);
                }
                Some(Taker::Pull(number)) => {
                    let at = self.local.pulls.iter().position(|pull| pull.number == *number);
                    let pulled = self.pulled(deliveries);
                    // What cannot be sent is dropped, and so given back.
                    if let Some(pull) = at.and_then(|at| self.local.pulls.remove(at)) {
                        let _ = pull.reply.send(Ok(pulled));
                    }
                }
                None => {}
            }
        }
    }

    /// Answers what cannot be sent now. Nothing of it waits for Redis to come back: callers know better what to do.
    fn refuse(&mut self, asks: &mut Vec<Pending>) {
        let error = Error::Unavailable(self.shared.why_down().unwrap_or_else(|| "Redis cannot be reached".to_owned()));
        for pending in asks.drain(..) {
            match pending {
                Pending::Ask(ask) => (ask.respond)(Err(error.clone())),
                Pending::Opened { worker, reply } => {
                    self.local.workers.remove(&worker);
                    let _ = reply.send(Err(error.clone()));
                }
                Pending::Checked(number) => {
                    if let Some(at) = self.local.pulls.iter().position(|pull| pull.number == number)
                        && let Some(pull) = self.local.pulls.remove(at)
                    {
                        let _ = pull.reply.send(Err(error.clone()));
                    }
                }
                Pending::Closed(gone) => self.gone.push(gone),
                Pending::Returned => {}
            }
        }
        for pull in self.local.take_over() {
            let _ = pull.reply.send(Err(error.clone()));
        }
    }

    /// Tries to connect, once, after a rest. Whatever arrives meanwhile is refused at once, also while Redis is silent.
    async fn reconnect(&mut self) {
        let rest = self.rest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.rest = (self.rest * 2).min(BACKOFF.1);
        let (client, shared) = (self.client.clone(), self.shared.clone());
        let mut attempt = std::pin::pin!(async move {
            tokio::time::sleep(rest).await;
            let mut connection = connect(&client, shared.timeout).await?;
            let epoch = shared::introduce(&mut connection, &shared).await?;
            Ok::<_, RedisError>((connection, epoch))
        });
        let mut asks = Vec::new();
        let attempted = loop {
            tokio::select! {
                command = self.inbox.recv() => {
                    match command {
                        Some(command) => drop(self.accept(command, &mut asks)),
                        None => self.closing = Some(oneshot::channel().0),
                    }
                    self.refuse(&mut asks);
                    if self.closing.is_some() {
                        return;
                    }
                }
                attempted = &mut attempt => break attempted,
            }
        };
        match attempted {
            Ok((connection, epoch)) if epoch == self.shared.epoch => {
                self.connection = Some(connection);
                self.generation += 1;
                self.wake = Instant::now();
                self.register_again();
            }
            Ok(_) => {
                let why = "Redis holds another store than before: restart this gateway to begin with it";
                self.shared.note_down(Some(why.to_owned()));
            }
            Err(error) => self.shared.note_down(Some(error.to_string())),
        }
    }

    /// A gateway that was away for long was taken off with its workers; they are still here.
    fn register_again(&mut self) {
        let workers: Vec<(ConnectionId, Vec<Box<str>>)> =
            self.local.workers.iter().map(|(id, worker)| (*id, worker.lanes.clone())).collect();
        for (worker, lanes) in workers {
            let bytes = wire::command(&("open_worker", &self.shared.gateway, worker.to_string(), lanes));
            let ask = Ask { bytes, adds: false, settles: None, respond: Box::new(|_| ()) };
            let _ = self.shared.inbox.send(Command::Ask(ask));
        }
    }
}

/// A connection for commands.
///
/// # Errors
/// When Redis cannot be reached within the timeout, or refuses.
pub(super) async fn connect(
    client: &Client,
    timeout: Duration,
) -> std::result::Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
    client.get_multiplexed_async_connection_with_config(&config).await
}

pub(super) fn delivery(lease: Leased) -> Result<Delivery> {
    let wire::Identity { tenant, lane, level, kind, session, key, retry, label: _ } = lease.identity;
    let session = session.as_deref().map(views::session_id).transpose()?;
    let retry = retry.as_deref().and_then(|text| serde_json::from_str(text).ok());
    Ok(Delivery {
        task: Arc::new(TaskBody {
            id: views::task_id(&lease.id)?,
            tenant: tenant.into(),
            lane: lane.into(),
            kind: kind.into(),
            priority: views::priority(u64::from(level)),
            payload: lease.payload.into(),
            session,
            key: key.map(Into::into),
            created_at: Time(lease.created),
            deadline_at: lease.deadline.0.map(Time),
            retry,
        }),
        receipt: lease.receipt.parse().map_err(|error| wire::unreadable(&error))?,
        attempt: lease.attempt,
        lease_expires_at: Time(lease.expires),
    })
}
