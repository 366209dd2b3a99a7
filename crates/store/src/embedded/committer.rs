//! The one thread that changes anything: takes all that waits, lets the core decide, appends one batch, syncs once, then answers all.
//!
//! Rule: no answer and no delivery leaves before the commit that contains its change. When a write or a sync fails, nobody
//! knows what is on disk: the thread answers everything with `Unavailable` from then on, and says why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use squall_protocol::task::Published;
use squall_protocol::{Receipt, SessionState};
use tokio::sync::{mpsc, oneshot};

use super::commands::{Answer, Command};
use super::events::NameTable;
use super::log::{Log, Written};
use super::shared::Shared;
use super::snapshot;
use crate::config::Durability;
use crate::core::{Core, Handout};
use crate::{Delivery, Error, Holder, Result, SettleVerb, Settled, Settlement, StoreStats};

/// A commit is written when it has so many bytes, however many commands still wait.
const MAX_COMMIT_BYTES: usize = 4 << 20;

/// How often workers are looked at whose receiver may be gone.
const LOOK_AFTER_WORKERS: Duration = Duration::from_millis(250);

/// A worker's acks wait so long for something that has to be synced anyway, when no task waits for what they set free: in a
/// steady trickle of tasks that is half of all syncs, each of which the next publish would have had to wait for.
const LINGER: Duration = Duration::from_millis(1);

/// While the disk is full, what is due waits, and is looked at so often.
const FULL_PAUSE: Duration = Duration::from_millis(100);

enum Sink {
    Worker(mpsc::UnboundedSender<Vec<Delivery>>),
    Pull(oneshot::Sender<Result<Vec<Delivery>>>),
}

enum Done {
    Publish(oneshot::Sender<Vec<Result<Published>>>, Vec<Result<Published>>),
    Settle(oneshot::Sender<Vec<Result<Settled>>>, Vec<Result<Settled>>),
    Other(Answer),
}

/// The thread's belongings.
pub struct Committer {
    core: Core,
    log: Log,
    shared: Arc<Shared>,
    /// By taker number.
    sinks: Vec<Option<Sink>>,
    /// Settlements of our own: of deliveries that nobody was there to take.
    returned: Vec<Command>,
    names: (usize, usize),
    looked: Instant,
}

impl Committer {
    /// Takes over; what the core decided while it recovered is committed first.
    #[must_use]
    pub fn new(core: Core, log: Log, shared: Arc<Shared>) -> Self {
        Self { core, log, shared, sinks: Vec::new(), returned: Vec::new(), names: (0, 0), looked: Instant::now() }
    }

    /// Commits what the core decided while it recovered.
    ///
    /// # Errors
    /// Those of writing.
    pub fn first_commit(&mut self) -> std::io::Result<()> {
        self.publish_names();
        self.write()?;
        Ok(())
    }

    /// Runs until the store is closed.
    pub fn run(mut self) {
        let _last_words = LastWords(Arc::clone(&self.shared));
        let mut waiting: Vec<Command> = Vec::new();
        let mut batch: Vec<Command> = Vec::new();
        let max_batch = self.shared.options.store.max_batch.max(1);
        loop {
            if batch.is_empty() {
                let patience = self.patience();
                let linger = self.may_linger().then_some(LINGER);
                self.shared.queue.take(&mut waiting, patience, linger);
                std::mem::swap(&mut waiting, &mut batch);
                batch.append(&mut self.returned);
            }
            let mut commands = batch.into_iter();
            let closing = self.commit(&mut commands, max_batch);
            batch = commands.collect();
            if let Some(reply) = closing {
                for command in batch.into_iter().chain(self.shared.queue.close()) {
                    command.refuse(&Error::Closed);
                }
                let closed = self.finish();
                drop(self);
                let _ = reply.send(closed);
                return;
            }
        }
    }

    /// How long to wait for a command: until something happens by itself.
    fn patience(&mut self) -> Option<Duration> {
        if self.shared.poison().is_some() {
            return None;
        }
        if self.core.has_more() || !self.returned.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self.core.next_wake().map(|at| Duration::from_millis(at.since_ms(crate::now())));
        let look = (self.core.workers() > 0 || self.core.takers().next().is_some()).then_some(LOOK_AFTER_WORKERS);
        let soonest = [timer, look].into_iter().flatten().min()?;
        Some(if self.shared.is_full() { soonest.max(FULL_PAUSE) } else { soonest })
    }

    /// Whether what nobody waits for may be committed a little later: a sync costs something, and no task is ready.
    fn may_linger(&self) -> bool {
        self.shared.options.store.durability == Durability::Commit && !self.core.has_ready()
    }

    /// One commit. Answers the reply of a `Close`, if that came.
    fn commit(
        &mut self,
        commands: &mut impl Iterator<Item = Command>,
        max_batch: usize,
    ) -> Option<oneshot::Sender<Result<()>>> {
        if let Some(why) = self.shared.poison() {
            return refuse_all(commands, &Error::Unavailable(why));
        }
        let started = Instant::now();
        let room = self.log.room();
        self.shared.set_full(self.log.full());
        self.core.begin(crate::now(), room);
        self.core.tick();
        self.look_after_takers();

        let mut done: Vec<Done> = Vec::new();
        let mut closing = None;
        let mut count = 0;
        let enough = MAX_COMMIT_BYTES.min(room.publish / 2).max(64 << 10);
        for command in commands {
            count += 1;
            match self.execute(command, &mut done) {
                None => {}
                Some(reply) => closing = Some(reply),
            }
            self.core.journal().boundary();
            if closing.is_some() || count >= max_batch || self.core.journal().len() >= enough {
                break;
            }
        }
        self.core.schedule();
        let bytes = self.core.journal().len();
        match self.write() {
            Ok(frames) => {
                self.shared.feed.advance(frames, self.log.head());
                if bytes > 0 {
                    self.shared.metrics.committed(count, bytes, started.elapsed().as_secs_f64());
                    let head = self.log.head();
                    self.shared.head.send_if_modified(|seen| std::mem::replace(seen, head) != head);
                }
                self.count();
                answer(done, None);
                self.hand_out();
            }
            Err(error) => {
                self.shared.poison_with(&format!("writing the log failed: {error}"));
                let error = Error::Unavailable(error.to_string());
                answer(done, Some(&error));
                self.sinks.clear();
            }
        }
        closing
    }

    fn execute(&mut self, command: Command, done: &mut Vec<Done>) -> Option<oneshot::Sender<Result<()>>> {
        match command {
            Command::Publish { tenant, tasks, reply } => {
                let mut results = Vec::with_capacity(tasks.len());
                for task in tasks {
                    results.push(self.core.publish(&tenant, task));
                    self.core.journal().boundary();
                }
                done.push(Done::Publish(reply, results));
            }
            Command::Settle { holder, settlements, reply } => {
                let mut results = Vec::with_capacity(settlements.len());
                for settlement in settlements {
                    results.push(self.core.settle(holder, settlement));
                    self.core.journal().boundary();
                }
                done.push(Done::Settle(reply, results));
            }
            Command::OpenWorker { spec, deliveries, reply } => {
                let opened = self.core.open_worker(&spec);
                let opened = opened.map(|taker| self.set_sink(taker, Sink::Worker(deliveries)));
                done.push(Done::Other(Box::new(|failed| {
                    drop(reply.send(failed.map_or(opened, |error| Err(error.clone()))))
                })));
            }
            Command::Grant { worker, more } => self.core.grant(worker, more),
            Command::CloseWorker { worker, release } => {
                if let Some(taker) = self.core.close_worker(worker, release) {
                    self.sinks[taker as usize] = None;
                }
            }
            Command::Pull { tenant, lane, credit, wait_ms, reply } => {
                match self.core.pull(tenant.as_deref(), &lane, credit, wait_ms) {
                    Ok(taker) => self.set_sink(taker, Sink::Pull(reply)),
                    Err(error) => done.push(Done::Other(Box::new(|_| drop(reply.send(Err(error)))))),
                }
            }
            Command::Verb(verb) => {
                let answer = verb(Ok(&mut self.core));
                done.push(Done::Other(answer));
            }
            Command::Stats { reply } => {
                let stats = self.stats();
                done.push(Done::Other(Box::new(|_| drop(reply.send(Ok(stats))))));
            }
            Command::Close { reply } => return Some(reply),
        }
        None
    }

    fn set_sink(&mut self, taker: u32, sink: Sink) {
        let taker = taker as usize;
        if self.sinks.len() <= taker {
            self.sinks.resize_with(taker + 1, || None);
        }
        self.sinks[taker] = Some(sink);
    }

    /// Writes and syncs the journal.
    fn write(&mut self) -> std::io::Result<Vec<Written>> {
        let mut frames = Vec::new();
        if self.core.journal().is_empty() {
            return Ok(frames);
        }
        self.publish_names();
        let now = self.core.now();
        self.log.append(self.core.journal(), now, |frame| frames.push(frame))?;
        self.core.journal().clear();
        if self.shared.options.store.durability == Durability::Commit {
            self.log.dirty().sync()?;
        }
        Ok(frames)
    }

    /// Names come before the events that use them.
    fn publish_names(&mut self) {
        let state = self.core.state();
        let (lanes, tenants) = (state.lanes.all(), state.tenants.all());
        if self.names != (lanes.len(), tenants.len()) {
            self.names = (lanes.len(), tenants.len());
            self.shared.feed.set_names(NameTable { lanes: lanes.to_vec(), tenants: tenants.to_vec() });
        }
    }

    fn count(&mut self) {
        let metrics = &self.shared.metrics;
        let names = self.core.state().lanes.all().to_vec();
        let counts = self.core.counts();
        counts.drain(|lane, counted| {
            if let Some(name) = names.get(lane as usize) {
                metrics.lane(name, counted);
            }
        });
        let take = std::mem::take::<u64>;
        let ended = std::mem::take(&mut counts.sessions_ended);
        let (refused, without_lane) = (take(&mut counts.sessions_refused), take(&mut counts.refused_without_lane));
        metrics.rest(without_lane, refused, ended, take(&mut counts.dropped));
    }

    /// Hands deliveries out. What nobody takes comes back in the next commit.
    fn hand_out(&mut self) {
        let Self { core, sinks, returned, .. } = self;
        core.take_handouts(|Handout { taker, worker, deliveries }| match worker {
            Some(id) => {
                let sent = match sinks.get(taker as usize) {
                    Some(Some(Sink::Worker(sink))) => sink.send(deliveries).is_ok(),
                    _ => false,
                };
                if !sent {
                    returned.push(Command::CloseWorker { worker: id, release: false });
                }
            }
            None => {
                let sink = sinks.get_mut(taker as usize).and_then(Option::take);
                if let Some(Sink::Pull(reply)) = sink
                    && let Err(Ok(unclaimed)) = reply.send(Ok(deliveries))
                    && !unclaimed.is_empty()
                {
                    returned.push(give_back(&unclaimed));
                }
            }
        });
    }

    /// Takes off workers and pulls whose receiver is gone.
    fn look_after_takers(&mut self) {
        if self.looked.elapsed() < LOOK_AFTER_WORKERS {
            return;
        }
        self.looked = Instant::now();
        for taker in 0..self.sinks.len() {
            match &self.sinks[taker] {
                Some(Sink::Worker(sink)) if sink.is_closed() => {
                    if let Some(worker) = self.core.worker_of(taker as u32) {
                        self.core.close_worker(worker, false);
                    }
                    self.sinks[taker] = None;
                }
                Some(Sink::Pull(reply)) if reply.is_closed() => {
                    self.core.end_pull(taker as u32);
                    self.sinks[taker] = None;
                }
                _ => {}
            }
        }
    }

    fn stats(&self) -> StoreStats {
        let totals = self.shared.metrics.totals();
        let state = self.core.state();
        let [completed, failed, timed_out] = totals.sessions_ended;
        debug_assert_eq!(SessionState::ALL[0], SessionState::Active);
        StoreStats {
            lanes: self.core.lane_views(),
            sessions: [state.active_sessions(), completed, failed, timed_out],
            sessions_refused: totals.sessions_refused,
            tasks: crate::core::counts::Outcome::ALL.iter().map(|o| (o.as_str(), totals.tasks[*o as usize])).collect(),
            feed_offset: self.shared.feed.head(),
            feed_oldest: self.shared.feed.oldest(),
            workers: self.core.workers() as u64,
            commits: totals.commits,
            committed_commands: totals.commands,
            commit_ms: totals.commit_ms(),
            task_bytes: state.task_bytes(),
            disk_bytes: self.shared.catalog.bytes() + self.shared.snapshot_bytes(),
        }
    }

    fn finish(&mut self) -> Result<()> {
        let unavailable = |error: std::io::Error| Error::Unavailable(error.to_string());
        self.shared.stop_helpers();
        if let Some(why) = self.shared.poison() {
            // What is in memory may be ahead of what is on disk; a snapshot of it would make that true.
            return Err(Error::Unavailable(why));
        }
        self.log.dirty().sync().map_err(unavailable)?;
        let (dir, epoch) = (&self.shared.places.snapshots, self.shared.epoch);
        // A full disk is no reason not to close: the log has everything.
        if let Err(error) = snapshot::write(dir, epoch, self.core.state(), self.log.position(), self.core.now()) {
            tracing::warn!(%error, "no snapshot at closing; the next start replays the log instead");
        }
        Ok(())
    }
}

/// A committer that panics leaves nobody waiting.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "the committer panicked, which is a defect; the log has all that was answered";
            self.0.poison_with(why);
            for command in self.0.queue.close() {
                command.refuse(&Error::Unavailable(why.to_owned()));
            }
            self.0.stop_helpers();
        }
    }
}

fn give_back(deliveries: &[Delivery]) -> Command {
    let release = || SettleVerb::Nack {
        mode: squall_protocol::NackMode::Release,
        delay_ms: None,
        reason: None,
        pause_lane_ms: None,
    };
    let give_back = |delivery: &Delivery| Settlement {
        id: delivery.task.id,
        receipt: Some(Receipt(delivery.receipt.0)),
        verb: release(),
    };
    let (reply, _) = oneshot::channel();
    Command::Settle { holder: Holder::Receipts, settlements: deliveries.iter().map(give_back).collect(), reply }
}

fn answer(done: Vec<Done>, failed: Option<&Error>) {
    for done in done {
        match (done, failed) {
            (Done::Publish(reply, results), None) => drop(reply.send(results)),
            (Done::Publish(reply, results), Some(error)) => drop(reply.send(vec![Err(error.clone()); results.len()])),
            (Done::Settle(reply, results), None) => drop(reply.send(results)),
            (Done::Settle(reply, results), Some(error)) => drop(reply.send(vec![Err(error.clone()); results.len()])),
            (Done::Other(answer), failed) => answer(failed),
        }
    }
}

fn refuse_all(commands: &mut impl Iterator<Item = Command>, error: &Error) -> Option<oneshot::Sender<Result<()>>> {
    let mut closing = None;
    for command in commands {
        match command {
            Command::Close { reply } => closing = Some(reply),
            other => other.refuse(error),
        }
    }
    closing
}
