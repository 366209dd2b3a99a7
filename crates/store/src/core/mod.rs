//! The decisions, pure: what a command does to the state, which task goes to whom, what happens when time passes.
//!
//! [`Core`] is driven by a shell: [`Core::begin`] tells it the time, the verbs and [`Core::tick`] decide, [`Core::schedule`] leases,
//! and what was decided lies in the [`Journal`] until the shell has written it. No clock, no randomness of its own, no I/O: the
//! random numbers come from a seed. The shell gives out answers and deliveries only after the write.
//!
//! - [`state`]: what is durable, and how records change it; [`records`]: what they look like; [`image`]: a whole state as records;
//! - `scheduler`: the queues derived from it; [`timers`]: what happens by itself;
//! - [`retry`], [`session`]: the policies; `verbs`: one decision per file; [`view`]: what operators see.

pub mod counts;
pub mod image;
pub mod names;
pub mod records;
pub mod retry;
mod scheduler;
pub mod session;
pub mod state;
#[cfg(test)]
pub(crate) mod tests;
pub mod timers;
mod verbs;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use squall_protocol::{ConnectionId, DeadReason, SessionId, TaskId, Time};
use uuid::Uuid;

use self::counts::{Counts, Outcome};
use self::records::{Journal, Label, Record, Space, level_of};
use self::scheduler::Scheduler;
pub use self::scheduler::Stage;
use self::scheduler::takers::Takers;
use self::state::{Limits, Phase, Slot, State, Task};
use self::timers::{Timer, Timers};
pub use self::verbs::publish::publish_bytes;
use crate::config::{Lane, OnSessionEnd, Options};
use crate::{Delivery, Error, Result};

/// Leases in one commit at most; what is left goes into the next, so that answers do not wait for a long queue.
const MAX_LEASES_PER_COMMIT: usize = 8_192;

/// What is said of a task whose deadline passed while nobody worked on it.
const TOO_LATE: &str = "its deadline passed before it was done";

/// Whose things a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those of one tenant.
    Tenant(u32),
    /// None: a tenant that has nothing.
    Nothing,
}

impl Scope {
    /// Whether a tenant's things are in it.
    #[must_use]
    pub fn has(self, tenant: u32) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(only) => only == tenant,
            Self::Nothing => false,
        }
    }
}

/// How much the log still takes, as the shell found it before this commit.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that publishes, new sessions and replays may fill.
    pub publish: usize,
    /// Bytes that anything else may fill: the reserve.
    pub other: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { publish: usize::MAX, other: usize::MAX }
    }
}

/// Something to hand out after the commit.
#[derive(Debug)]
pub struct Handout {
    /// Whose: as [`Core::open_worker`] or [`Core::pull`] numbered it.
    pub taker: u32,
    /// The worker's connection; `None`: a pull, which is over with this.
    pub worker: Option<ConnectionId>,
    /// What it gets.
    pub deliveries: Vec<Delivery>,
}

/// The decisions and all that they need. See the module.
#[derive(Debug)]
pub struct Core {
    state: State,
    scheduler: Scheduler,
    takers: Takers,
    timers: Timers,
    options: Options,
    default_lane: Option<u32>,
    journal: Journal,
    counts: Counts,
    now: Time,
    room: Room,
    rng: fastrand::Rng,
    turn: usize,
    /// Pulls that are over without a delivery.
    empty_pulls: Vec<u32>,
    /// Leasing stopped because the disk was full.
    starved: bool,
}

/// The bounds of a state under these options.
#[must_use]
pub fn limits(options: &Options) -> Limits {
    Limits {
        finished_tasks: options.store.finished_tasks,
        idempotency_keys: options.store.idempotency_keys,
        // An answer to ending a session shows it.
        remember_ended: options.sessions.remember_ended.max(1),
    }
}

impl Core {
    /// Takes over a state that was empty or replayed, at `now`: names new lanes, rebuilds queues and timers, and returns the leases
    /// of connections, which did not outlive the process. What it decides lies in the journal.
    #[must_use]
    pub fn new(state: State, options: Options, now: Time, seed: u64) -> Self {
        let mut core = Self {
            state,
            scheduler: Scheduler::default(),
            takers: Takers::default(),
            timers: Timers::default(),
            options,
            default_lane: None,
            journal: Journal::default(),
            counts: Counts::default(),
            now,
            room: Room::default(),
            rng: fastrand::Rng::with_seed(seed),
            turn: 0,
            empty_pulls: Vec::new(),
            starved: false,
        };
        core.recover();
        core
    }

    fn recover(&mut self) {
        let configured: BTreeMap<String, Lane> = self.options.lanes.clone();
        for name in configured.keys() {
            self.name(Space::Lane, name);
        }
        let names: Vec<Arc<str>> = self.state.lanes.all().to_vec();
        for (number, name) in names.iter().enumerate() {
            let settings = configured.get(&**name);
            self.scheduler.add_lane(number as u32, settings.cloned().unwrap_or_default(), settings.is_some());
        }
        self.default_lane = self
            .options
            .default_lane
            .as_deref()
            .filter(|name| configured.contains_key(*name))
            .and_then(|name| self.state.lanes.number(name));
        self.counts.size(names.len());

        let mut open: Vec<(Time, u64, Slot)> = Vec::new();
        let mut orphaned: Vec<(u64, Slot)> = Vec::new();
        for (slot, task) in self.state.tasks() {
            match task.phase {
                Phase::Waiting { due } => open.push((due, task.seq, slot)),
                Phase::Leased { by_receipt, due, .. } => {
                    open.push((due, task.seq, slot));
                    if !by_receipt {
                        orphaned.push((task.seq, slot));
                    }
                }
                _ => {}
            }
        }
        open.sort_unstable();
        for &(_, _, slot) in &open {
            self.scheduler.file(slot, &self.state);
        }
        for &(_, _, slot) in &open {
            self.scheduler.place(slot, &self.state, &mut self.timers, self.now);
            self.watch_deadline(slot);
        }
        orphaned.sort_unstable();
        for (_, slot) in orphaned {
            self.fail(slot, "worker gone", None, Outcome::Retried);
            self.journal.boundary();
        }
        let sessions: Vec<(Time, u64)> = self
            .state
            .sessions_before(u64::MAX)
            .filter(|(_, held)| held.ended_at.is_none())
            .map(|(_, held)| (session::expires_at(held.last_activity_at, held.idle_timeout_ms), held.seq))
            .collect();
        for (at, seq) in sessions {
            self.timers.push(at, Timer::Session(seq));
        }
        for lane in 0..self.scheduler.lanes.len() as u32 {
            if let Some(Some(until)) = self.state.lane(lane).paused {
                self.timers.push(until, Timer::Resume(lane));
            }
        }
        self.counts = Counts::default();
        self.counts.size(names.len());
        self.state.take_evicted_keys();
    }

    /// Begins a commit: the time (which never runs backwards), and how much the log takes.
    pub fn begin(&mut self, now: Time, room: Room) {
        self.now = self.now.max(now);
        self.room = room;
        if std::mem::take(&mut self.starved) {
            for lane in &mut self.scheduler.lanes {
                lane.dirty = true;
            }
        }
    }

    /// Says anew how much the log takes, in the middle of a commit.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Whether a publish of this size still fits into this commit.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.check_room(bytes, true).is_ok()
    }

    /// The time of this commit.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// What is durable.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was decided and is not written yet.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// What happened since the last look.
    pub fn counts(&mut self) -> &mut Counts {
        self.counts.keys_evicted += self.state.take_evicted_keys();
        &mut self.counts
    }

    /// When something happens by itself at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        [self.timers.next(), self.scheduler.next_expiry()].into_iter().flatten().min()
    }

    /// Whether a lane has more to lease than one commit took.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.scheduler.dirty(0).is_some()
    }

    /// Whether any task waits for nothing but a worker, a free place in its lane, or its turn.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.scheduler.lanes.iter().any(|lane| lane.ready.iter().any(|&ready| ready > 0))
    }

    /// Where a task stands in the queues.
    #[must_use]
    pub fn stage(&self, slot: Slot) -> Stage {
        self.scheduler.mark(slot).stage
    }

    /// A caller's scope.
    #[must_use]
    pub fn scope(&self, tenant: Option<&str>) -> Scope {
        match tenant {
            None => Scope::All,
            Some(name) => self.state.tenants.number(name).map_or(Scope::Nothing, Scope::Tenant),
        }
    }

    /// The number of a name, a new one if need be.
    fn name(&mut self, space: Space, name: &str) -> u32 {
        let names = match space {
            Space::Lane => &self.state.lanes,
            Space::Tenant => &self.state.tenants,
        };
        if let Some(number) = names.number(name) {
            return number;
        }
        let number = names.next();
        self.record(&Record::Named { space, number, name });
        number
    }

    fn lane_number(&self, lane: &str) -> Result<u32> {
        let known = |&number: &u32| {
            self.scheduler.lane(number).is_some_and(|lane| lane.configured || lane.depth() + lane.leased > 0)
        };
        self.state.lanes.number(lane).filter(known).ok_or_else(|| Error::UnknownLane { lane: lane.to_owned() })
    }

    /// Writes a record without a label, and applies it.
    fn record(&mut self, record: &Record<'_>) -> Option<Slot> {
        self.journal.push(record, None);
        self.state.apply(record, self.now)
    }

    /// Writes a record about a task, labelled with the task, and applies it.
    fn record_task(&mut self, slot: Slot, worker: Option<Uuid>, make: impl FnOnce(Uuid) -> Record<'static>) {
        self.record_task_with(slot, worker, make);
    }

    fn record_task_with<'r>(&mut self, slot: Slot, worker: Option<Uuid>, make: impl FnOnce(Uuid) -> Record<'r>) {
        let Some(task) = self.state.task(slot) else { return };
        let record = make(task.body.id.0);
        let attempt = task.attempts + u32::from(matches!(record, Record::Leased { .. }));
        self.journal.push(&record, Some(&label(task, attempt, worker)));
        self.state.apply(&record, self.now);
    }

    /// What a released or failed lease, or one that ended, leaves behind in the scheduler's books.
    fn leave_lease(&mut self, slot: Slot) {
        let mark = self.scheduler.mark(slot);
        if mark.stage == Stage::Leased
            && let Some(taker) = self.takers.get_mut(mark.place)
        {
            taker.held = taker.held.saturating_sub(1);
        }
        if let Some(task) = self.state.task(slot) {
            self.scheduler.leave(slot, task);
        }
    }

    /// A task is over: its record was applied, its key goes on.
    fn exit(&mut self, slot: Slot, task: &Task) {
        self.scheduler.exit(slot, task, &self.state, self.now);
    }

    /// An attempt failed: another one, or the dead letters. The same decision for a nack, a lease that ended and a worker that is gone.
    fn fail(&mut self, slot: Slot, reason: &str, asked_ms: Option<u64>, outcome: Outcome) -> crate::Settled {
        let Some(task) = self.state.task(slot) else { return crate::Settled::Dead };
        let lane = &self.scheduler.lanes[task.lane as usize].settings;
        let policy = retry::effective(&lane.retry, task.body.retry.as_ref());
        let ended = lane.on_session_end != OnSessionEnd::Keep && self.session_is_over(task);
        let late = deadline(task).is_some_and(|at| at <= self.now);
        self.counts.add(task.lane, level_of(task.body.priority), outcome);
        if ended {
            return self.give_up_with_session(slot, Some(reason));
        }
        if late {
            return self.bury(slot, DeadReason::DeadlineExceeded, reason, true);
        }
        match retry::delay_ms(&policy, task.attempts, self.rng.f64()) {
            None => self.bury(slot, DeadReason::RetriesExhausted, reason, true),
            Some(delay_ms) => {
                let due = retry::due_at(self.now, delay_ms, asked_ms);
                self.leave_lease(slot);
                self.record_task_with(slot, None, |id| Record::Retried { id, due_at: due.0, reason });
                self.wait(slot, false);
                crate::Settled::Retry(due)
            }
        }
    }

    /// Gives a lease back; the attempt does not count.
    fn release(&mut self, slot: Slot, asked_ms: Option<u64>) -> crate::Settled {
        let Some(task) = self.state.task(slot) else { return crate::Settled::Dead };
        let Phase::Leased { due, .. } = task.phase else { return crate::Settled::Dead };
        let (lane, level) = (task.lane, level_of(task.body.priority));
        self.counts.add(lane, level, Outcome::Released);
        if self.scheduler.lanes[lane as usize].settings.on_session_end != OnSessionEnd::Keep
            && self.session_is_over(task)
        {
            return self.give_up_with_session(slot, None);
        }
        if deadline(task).is_some_and(|at| at <= self.now) {
            // While it was leased its timer went off for nothing, because its worker might still have finished it.
            return self.bury(slot, DeadReason::DeadlineExceeded, TOO_LATE, false);
        }
        // Without a wish it goes back to where it was, in front of what came later.
        let due = asked_ms.map_or(due, |ms| self.now.plus_ms(ms));
        self.leave_lease(slot);
        self.record_task(slot, None, |id| Record::Released { id, due_at: due.0 });
        self.wait(slot, asked_ms.is_none());
        crate::Settled::Retry(due.max(self.now))
    }

    fn wait(&mut self, slot: Slot, given_back: bool) {
        if let Some(task) = self.state.task(slot) {
            self.scheduler.wait(slot, task, &mut self.timers, self.now, given_back);
        }
    }

    /// Sends a task to the dead letters, from wherever it stands, and drops the lane's oldest if there are too many.
    fn bury(&mut self, slot: Slot, reason: DeadReason, detail: &str, failed: bool) -> crate::Settled {
        let Some(task) = self.state.task(slot) else { return crate::Settled::Dead };
        let (lane, level) = (task.lane, level_of(task.body.priority));
        let before = task.clone();
        self.leave_lease(slot);
        self.record_task_with(slot, None, |id| Record::Dead { id, reason: reason.into(), detail, failed });
        self.exit(slot, &before);
        self.counts.add(lane, level, Outcome::Dead);
        self.counts.died(lane, reason);
        while self.state.dead_of_lane(lane) > self.options.store.max_dead_letters
            && let Some(oldest) = self.state.oldest_dead(lane)
        {
            self.record_task(oldest, None, |id| Record::Dropped { id });
            self.counts.dropped += 1;
        }
        crate::Settled::Dead
    }

    /// Withdraws a task that waits or is leased.
    fn withdraw(&mut self, slot: Slot, reason: &str) {
        let Some(task) = self.state.task(slot) else { return };
        let (lane, level) = (task.lane, level_of(task.body.priority));
        let before = task.clone();
        self.leave_lease(slot);
        self.record_task_with(slot, None, |id| Record::Cancelled { id, reason });
        self.exit(slot, &before);
        self.counts.add(lane, level, Outcome::Cancelled);
    }

    fn session_is_over(&self, task: &Task) -> bool {
        task.body
            .session
            .as_ref()
            .is_some_and(|id| self.state.session(id).is_none_or(|session| session.ended_at.is_some()))
    }

    /// What the lane's policy says of a task whose session has ended; `failed`: its lease failed with these words.
    fn give_up_with_session(&mut self, slot: Slot, failed: Option<&str>) -> crate::Settled {
        let Some(task) = self.state.task(slot) else { return crate::Settled::Dead };
        match self.scheduler.lanes[task.lane as usize].settings.on_session_end {
            OnSessionEnd::DeadLetter => {
                let detail = failed.unwrap_or("its session ended");
                self.bury(slot, DeadReason::SessionEnded, detail, failed.is_some())
            }
            OnSessionEnd::Cancel | OnSessionEnd::Keep => {
                self.withdraw(slot, "its session ended");
                crate::Settled::Dead
            }
        }
    }

    fn watch_deadline(&mut self, slot: Slot) {
        if let Some(task) = self.state.task(slot)
            && let Some(at) = deadline(task)
        {
            self.timers.push(at, Timer::Deadline(slot, task.seq));
        }
    }

    /// Whether a change of this size still fits; `publish`: one that only adds.
    fn check_room(&self, bytes: usize, publish: bool) -> Result<()> {
        let room = if publish { self.room.publish } else { self.room.other };
        if self.journal.len().saturating_add(bytes) > room {
            return Err(Error::Full("the disk has no room for the log".to_owned()));
        }
        Ok(())
    }

    /// What goes to whom after the commit; pulls that got something are over.
    pub fn take_handouts(&mut self, mut give: impl FnMut(Handout)) {
        for taker in std::mem::take(&mut self.takers.touched) {
            let Some(held) = self.takers.get_mut(taker) else { continue };
            let deliveries = std::mem::take(&mut held.out);
            let worker = held.worker;
            give(Handout { taker, worker, deliveries });
            if worker.is_none() {
                self.end_pull(taker);
            }
        }
        for taker in std::mem::take(&mut self.empty_pulls) {
            give(Handout { taker, worker: None, deliveries: Vec::new() });
        }
    }

    /// The words that say where a task is.
    fn find(&self, scope: Scope, id: TaskId) -> Option<(Slot, &Task)> {
        let slot = self.state.find(id)?;
        let task = self.state.task(slot)?;
        scope.has(task.tenant).then_some((slot, task))
    }

    fn find_session(&self, scope: Scope, id: &SessionId) -> Result<&state::Session> {
        let found = self.state.session(id).filter(|session| scope.has(session.tenant));
        found.ok_or_else(|| Error::SessionNotFound { id: id.to_string() })
    }
}

/// When a task is no longer worth doing; whoever replays one thinks that it is.
pub(crate) fn deadline(task: &Task) -> Option<Time> {
    let replayed = task.history.as_ref().is_some_and(|history| !history.replays.is_empty());
    task.body.deadline_at.filter(|_| !replayed)
}

fn label(task: &Task, attempt: u32, worker: Option<Uuid>) -> Label<'_> {
    Label {
        tenant: task.tenant,
        lane: task.lane,
        kind: &task.body.kind,
        priority: level_of(task.body.priority),
        attempt,
        session: task.body.session.as_ref().map(SessionId::as_str),
        key: task.body.key.as_deref(),
        worker,
    }
}
