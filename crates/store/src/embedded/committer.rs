//! The one thread that changes anything: takes all that waits, lets the core decide, appends one batch, syncs once, then answers all.
//!
//! Rule: no answer and no delivery leaves before the commit that contains its change. When a write or a sync fails, nobody
//! knows what is on disk: the thread answers everything with `Unavailable` from then on, and says why.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use squall_protocol::task::Published;
use tokio::sync::{mpsc, oneshot};

use super::clock::Clock;
use super::commands::{Answer, Command, Pulled, publish_bytes};
use super::events::NameTable;
use super::log::{Log, Written};
use super::shared::Shared;
use super::snapshot;
use crate::config::Durability;
use crate::core::{Core, Handout, Room};
use crate::metrics::Now;
use crate::{Delivery, Error, Result, Settled, StoreStats};

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
    Pull(oneshot::Sender<Result<Pulled>>),
}

/// The last command.
struct Closing {
    snapshot_until: Option<Instant>,
    reply: oneshot::Sender<Result<()>>,
}

/// How far a command got.
enum Executed {
    Whole,
    /// The rest goes into the next commit.
    InPart(Command),
    Close(Closing),
}

enum Done {
    Publish(oneshot::Sender<Vec<Result<Published>>>, Vec<Result<Published>>),
    Settle(oneshot::Sender<Vec<Result<Settled>>>, Vec<Result<Settled>>),
    Other(Answer),
}

/// The thread's belongings.
pub struct Committer {
    core: Core,
    clock: Clock,
    log: Log,
    shared: Arc<Shared>,
    /// By taker number.
    sinks: Vec<Option<Sink>>,
    /// Commands of our own: about workers that were not there to take their deliveries.
    returned: Vec<Command>,
    /// The last commits: nothing is leased any more, because nobody would be there to work.
    closing: bool,
    names: (usize, usize),
    looked: Instant,
}

impl Committer {
    /// Takes over; what the core decided while it recovered is committed first.
    #[must_use]
    pub fn new(core: Core, log: Log, shared: Arc<Shared>) -> Self {
        Self {
            clock: Clock::showing(core.now()),
            core,
            log,
            shared,
            sinks: Vec::new(),
            returned: Vec::new(),
            closing: false,
            names: (0, 0),
            looked: Instant::now(),
        }
    }

    /// Commits what the core decided while it recovered.
    ///
    /// # Errors
    /// Those of writing.
    pub fn first_commit(&mut self) -> std::io::Result<()> {
        self.publish_names();
        let frames = self.write()?;
        self.shared.feed.advance(frames, self.log.head());
        Ok(())
    }

    /// Runs until the store is closed.
    pub fn run(mut self) {
        let _last_words = LastWords(Arc::clone(&self.shared));
        let mut waiting: Vec<Command> = Vec::new();
        let mut batch: VecDeque<Command> = VecDeque::new();
        let max_batch = self.shared.options.store.max_batch.max(1);
        loop {
            if batch.is_empty() {
                let patience = self.patience();
                let linger = self.may_linger().then_some(LINGER);
                self.shared.queue.take(&mut waiting, patience, linger);
                batch.extend(waiting.drain(..));
                batch.extend(self.returned.drain(..));
            }
            let closing = self.commit(&mut batch, max_batch);
            if let Some(Closing { snapshot_until, reply }) = closing {
                // What is given back because nobody takes it any more comes after the close, and is settled all the same.
                let left = batch.into_iter().chain(self.shared.queue.close());
                let (last, late): (Vec<_>, Vec<_>) = left.partition(Command::gives_back);
                let mut last = VecDeque::from(last);
                last.extend(self.returned.drain(..));
                while !last.is_empty() {
                    self.commit(&mut last, max_batch);
                }
                for command in late {
                    command.refuse(&Error::Closed);
                }
                let closed = self.finish(snapshot_until);
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
        let timer = self.core.next_wake().map(|at| Duration::from_millis(at.since_ms(self.clock.now())));
        let look = (self.core.workers() > 0 || self.core.takers().next().is_some()).then_some(LOOK_AFTER_WORKERS);
        let soonest = [timer, look].into_iter().flatten().min()?;
        Some(if self.shared.is_full() { soonest.max(FULL_PAUSE) } else { soonest })
    }

    /// Whether what nobody waits for may be committed a little later: a sync costs something, and no task is ready.
    fn may_linger(&self) -> bool {
        self.shared.options.store.durability == Durability::Commit && !self.core.has_ready()
    }

    /// One commit. Answers the `Close`, if that came.
    fn commit(&mut self, commands: &mut VecDeque<Command>, max_batch: usize) -> Option<Closing> {
        if let Some(why) = self.shared.poison() {
            return self.refuse_all(commands, &Error::Unavailable(why));
        }
        let started = Instant::now();
        let room = self.log.room();
        self.shared.set_full(self.log.full());
        self.core.begin(self.clock.now(), room);
        self.core.tick();
        self.look_after_takers();

        let mut done: Vec<Done> = Vec::new();
        let mut closing = None;
        let mut count = 0;
        let enough = MAX_COMMIT_BYTES.min(room.publish / 2).max(64 << 10);
        while let Some(command) = commands.pop_front() {
            if !self.has_room_for(&command, count == 0) {
                commands.push_front(command);
                break;
            }
            count += 1;
            let executed = self.execute(command, &mut done, enough);
            self.core.journal().boundary();
            match executed {
                Executed::Whole => {}
                Executed::InPart(rest) => {
                    commands.push_front(rest);
                    break;
                }
                Executed::Close(last) => closing = Some(last),
            }
            if closing.is_some() || count >= max_batch || self.core.journal().len() >= enough {
                break;
            }
        }
        self.closing |= closing.is_some();
        if !self.closing {
            self.core.schedule();
        }
        let bytes = self.core.journal().len();
        match self.write() {
            Ok(frames) => {
                self.shared.feed.advance(frames, self.log.head());
                if bytes > 0 {
                    self.shared.metrics.committed(count, bytes, started.elapsed().as_secs_f64());
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

    /// Whether a command goes into this commit. One that may need more room than the log has just now begins the next commit,
    /// and there the next segment is waited for: the disk is full only when that could not be made.
    fn has_room_for(&mut self, command: &Command, first: bool) -> bool {
        let need = command.bytes();
        if self.core.has_room(need) {
            return true;
        }
        if first {
            let room = self.log.room_with_next();
            self.shared.set_full(self.log.full());
            self.core.set_room(room);
        }
        first
    }

    fn execute(&mut self, command: Command, done: &mut Vec<Done>, enough: usize) -> Executed {
        match command {
            Command::Publish { tenant, mut tasks, mut results, reply } => {
                let begun = results.len();
                while let Some(task) = tasks.front() {
                    // Each task is published on its own, so a batch larger than a commit takes several. The first of a commit
                    // goes on in any case: there is no more room to wait for.
                    let used = self.core.journal().len();
                    if results.len() > begun && (used >= enough || !self.core.has_room(publish_bytes(task))) {
                        return Executed::InPart(Command::Publish { tenant, tasks, results, reply });
                    }
                    let Some(task) = tasks.pop_front() else { break };
                    results.push(self.core.publish(&tenant, task));
                    self.core.journal().boundary();
                }
                done.push(Done::Publish(reply, results));
            }
            Command::Settle { tenant, holder, settlements, reply } => {
                let scope = self.core.scope(tenant.as_deref());
                let mut results = Vec::with_capacity(settlements.len());
                for settlement in settlements {
                    results.push(self.core.settle(scope, holder, settlement));
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
            Command::Close { snapshot_until, reply } => return Executed::Close(Closing { snapshot_until, reply }),
        }
        Executed::Whole
    }

    /// Answers all that waits with an error, but for the figures: they are wanted most when something is wrong.
    fn refuse_all(&mut self, commands: &mut VecDeque<Command>, error: &Error) -> Option<Closing> {
        self.core.begin(self.clock.now(), Room::default());
        let mut closing = None;
        for command in commands.drain(..) {
            match command {
                Command::Close { snapshot_until, reply } => closing = Some(Closing { snapshot_until, reply }),
                Command::Stats { reply } => drop(reply.send(Ok(self.stats()))),
                other => other.refuse(error),
            }
        }
        closing
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
        metrics.rest(without_lane, refused, ended, take(&mut counts.dropped), take(&mut counts.keys_evicted));
    }

    /// Hands deliveries out. What nobody takes comes back in the next commit.
    fn hand_out(&mut self) {
        let Self { core, sinks, returned, shared, .. } = self;
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
                if let Some(Sink::Pull(reply)) = sink {
                    // What comes back here, because nobody waits any more, is given back as it is dropped.
                    drop(reply.send(Ok(Pulled::new(deliveries, Arc::clone(shared)))));
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
        let state = self.core.state();
        self.shared.metrics.stats(Now {
            up: true,
            lanes: self.core.lane_views(),
            active_sessions: state.active_sessions(),
            feed_offset: self.shared.feed.head(),
            feed_oldest: self.shared.feed.oldest(),
            workers: self.core.workers() as u64,
            task_bytes: state.task_bytes(),
            disk_bytes: self.shared.catalog.bytes() + self.shared.snapshot_bytes(),
        })
    }

    fn finish(&mut self, snapshot_until: Option<Instant>) -> Result<()> {
        let unavailable = |error: std::io::Error| Error::Unavailable(error.to_string());
        self.shared.stop_helpers();
        if let Some(why) = self.shared.poison() {
            // What is in memory may be ahead of what is on disk; a snapshot of it would make that true.
            return Err(Error::Unavailable(why));
        }
        self.log.dirty().sync().map_err(unavailable)?;
        let (dir, epoch) = (&self.shared.places.snapshots, self.shared.epoch);
        let too_late = || snapshot_until.is_some_and(|until| Instant::now() >= until);
        let (position, now) = (self.log.position(), self.core.now());
        // No time, or a full disk, is no reason not to close: the log has everything.
        if let Err(error) = snapshot::write(dir, epoch, self.core.state(), position, now, too_late) {
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
