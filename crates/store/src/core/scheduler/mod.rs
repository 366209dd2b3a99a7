//! Which task goes next, lane by lane. Derived from the state and rebuilt after replay; nothing here is stored.
//!
//! Inside a lane: [`level`] by priority (strict, or shared out by [`weights`]), with aging across them; inside a level the
//! tenants take turns; inside a tenant the order of becoming ready. A task with an ordering key becomes ready only as the head of
//! its key, so keys take turns by themselves: the next of a key queues up when the one before is finished. [`rate`], concurrency
//! and pauses decide whether the lane delivers at all, [`takers`] who gets it.

pub(super) mod level;
pub(super) mod rate;
pub(super) mod takers;
mod weights;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hashbrown::{Equivalent, HashMap, HashSet};
use squall_protocol::{SessionId, Time};

use self::level::{Entry, Level, Owner, Want};
use self::rate::Rate;
use self::weights::Weights;
use super::state::{Phase, Slot, State, Task};
use super::timers::{Timer, Timers};
use crate::config::{Affinity, Lane, OnSessionEnd};

/// No taker.
pub(super) const NOBODY: u32 = u32::MAX;

/// Where a task stands in the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stage {
    /// Nowhere: finished, dead or forgotten.
    #[default]
    Out,
    /// Waits for its time.
    Delayed,
    /// Its time has come, but one with the same key is before it.
    Blocked,
    /// Waits for a worker only.
    Eligible,
    /// A worker has it.
    Leased,
}

/// What the scheduler knows of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// Changes with every step, so that what remembers the slot notices.
    pub ticket: u32,
    /// Eligible: its queue. Leased: its taker.
    pub place: u32,
    pub stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FlowKey {
    tenant: u32,
    session: bool,
    text: Box<str>,
}

#[derive(Hash)]
struct FlowRef<'a> {
    tenant: u32,
    session: bool,
    text: &'a str,
}

impl FlowRef<'_> {
    fn to_key(&self) -> FlowKey {
        FlowKey { tenant: self.tenant, session: self.session, text: self.text.into() }
    }
}

impl Equivalent<FlowKey> for FlowRef<'_> {
    fn equivalent(&self, key: &FlowKey) -> bool {
        self.tenant == key.tenant && self.session == key.session && *self.text == *key.text
    }
}

/// The queues of one lane.
#[derive(Debug)]
pub(super) struct LaneQueues {
    pub settings: Lane,
    /// Named in the configuration; a lane that only has tasks left from before takes no new ones.
    pub configured: bool,
    pub rate: Option<Rate>,
    levels: [Level; 3],
    weights: Option<Weights>,
    owners: Vec<Owner>,
    queue_of_tenant: HashMap<u32, u32>,
    queue_of_taker: HashMap<u32, u32>,
    /// The tasks of each key that are not finished, by order of publishing.
    flows: HashMap<FlowKey, VecDeque<(u64, Slot)>>,
    /// By level: since when, slot and ticket of the ready tasks that have a key, blocked by it or not, the oldest on top. Others in
    /// it may have left.
    keyed: [BinaryHeap<Reverse<(Time, Slot, u32)>>; 3],
    /// Which worker has a session.
    homes: HashMap<FlowKey, u32>,
    /// Leases in the order in which they end, unless they were extended.
    leases: VecDeque<(Time, Slot, u32)>,
    pub ready: [u64; 3],
    pub delayed: u64,
    pub leased: u64,
    /// Takers with credit, in the order of their turns.
    pub line: VecDeque<u32>,
    /// Something changed since it was last scheduled.
    pub dirty: bool,
    /// Nothing on a lower level can have aged before then.
    aging_check: Time,
    /// For when the last [`Timer::Rate`] was set.
    pub rate_timer: Time,
}

impl LaneQueues {
    fn new(settings: Lane, configured: bool) -> Self {
        Self {
            rate: Rate::of(&settings),
            weights: settings.weights.as_ref().map(Weights::new),
            settings,
            configured,
            levels: Default::default(),
            owners: Vec::new(),
            queue_of_tenant: HashMap::new(),
            queue_of_taker: HashMap::new(),
            flows: HashMap::new(),
            keyed: Default::default(),
            homes: HashMap::new(),
            leases: VecDeque::new(),
            ready: [0; 3],
            delayed: 0,
            leased: 0,
            line: VecDeque::new(),
            dirty: false,
            aging_check: Time(0),
            rate_timer: Time(0),
        }
    }

    /// Tasks that wait.
    pub(super) fn depth(&self) -> u64 {
        self.ready.iter().sum::<u64>() + self.delayed
    }

    pub(super) fn has_eligible(&self) -> bool {
        self.levels.iter().any(|level| level.eligible() > 0)
    }

    pub(super) fn may_lease(&self) -> bool {
        self.settings.concurrency == 0 || self.leased < u64::from(self.settings.concurrency)
    }

    fn flow<'a>(&self, task: &'a Task) -> Option<FlowRef<'a>> {
        if self.settings.affinity == Affinity::Session
            && let Some(session) = &task.body.session
        {
            return Some(FlowRef { tenant: task.tenant, session: true, text: session.as_str() });
        }
        task.body.key.as_deref().map(|text| FlowRef { tenant: task.tenant, session: false, text })
    }

    fn queue_for(&mut self, task: &Task) -> u32 {
        if let Some(flow) = self.flow(task)
            && flow.session
            && let Some(&home) = self.homes.get(&flow)
        {
            return claim(&mut self.queue_of_taker, &mut self.owners, home, Owner::Taker(home));
        }
        claim(&mut self.queue_of_tenant, &mut self.owners, task.tenant, Owner::Tenant(task.tenant))
    }

    /// Ages of the longest waiting ready tasks, counted from when their time had come. One that is blocked by its key waits too:
    /// otherwise a key that is stuck would not be seen.
    pub(super) fn oldest_ready_ms(&self, marks: &[Mark], now: Time) -> [u64; 3] {
        [0, 1, 2].map(|level| {
            let keyed = self.keyed[level].peek().map(|Reverse((since, ..))| *since);
            let oldest = [self.levels[level].oldest_since(marks), keyed].into_iter().flatten().min();
            oldest.map_or(0, |since| now.since_ms(since))
        })
    }

    /// A ready task of this level left. Keeps what is on top true, so that looking costs nothing, and forgets the rest when it
    /// outnumbers those that are there.
    fn forget_keyed(&mut self, level: usize, marks: &[Mark]) {
        let waits = |slot: Slot, ticket: u32| {
            let mark = &marks[slot as usize];
            mark.ticket == ticket && matches!(mark.stage, Stage::Blocked | Stage::Eligible)
        };
        let keyed = &mut self.keyed[level];
        while let Some(&Reverse((_, slot, ticket))) = keyed.peek()
            && !waits(slot, ticket)
        {
            keyed.pop();
        }
        if keyed.len() > 2 * self.ready[level] as usize + 64 {
            keyed.retain(|&Reverse((_, slot, ticket))| waits(slot, ticket));
        }
    }
}

fn claim(map: &mut HashMap<u32, u32>, owners: &mut Vec<Owner>, number: u32, owner: Owner) -> u32 {
    *map.entry(number).or_insert_with(|| {
        let free = owners.iter().position(|owner| *owner == Owner::Nobody);
        let queue = free.unwrap_or_else(|| {
            owners.push(Owner::Nobody);
            owners.len() - 1
        });
        owners[queue] = owner;
        queue as u32
    })
}

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    pub marks: Vec<Mark>,
    pub lanes: Vec<LaneQueues>,
    /// Unfinished tasks by session, for lanes that do something with them when it ends.
    of_session: HashMap<SessionId, HashSet<Slot>>,
}

impl Scheduler {
    pub(super) fn add_lane(&mut self, number: u32, settings: Lane, configured: bool) {
        while self.lanes.len() < number as usize {
            self.lanes.push(LaneQueues::new(Lane::default(), false));
        }
        let lane = LaneQueues::new(settings, configured);
        match self.lanes.get_mut(number as usize) {
            Some(place) => *place = lane,
            None => self.lanes.push(lane),
        }
    }

    pub(super) fn lane(&self, number: u32) -> Option<&LaneQueues> {
        self.lanes.get(number as usize)
    }

    pub(super) fn mark(&self, slot: Slot) -> Mark {
        self.marks.get(slot as usize).copied().unwrap_or_default()
    }

    fn mark_mut(&mut self, slot: Slot) -> &mut Mark {
        let slot = slot as usize;
        if self.marks.len() <= slot {
            self.marks.resize(slot + 1, Mark::default());
        }
        &mut self.marks[slot]
    }

    /// A task that was published or replayed, and now waits.
    pub(super) fn enter(&mut self, slot: Slot, state: &State, timers: &mut Timers, now: Time) {
        self.file(slot, state);
        self.place(slot, state, timers, now);
    }

    /// Puts a task in the order of its key and session. What is found at the start is all filed before any of it is placed: who is
    /// first of a key is known only then.
    pub(super) fn file(&mut self, slot: Slot, state: &State) {
        let Some(task) = state.task(slot) else { return };
        self.mark_mut(slot);
        let lane = &mut self.lanes[task.lane as usize];
        if let Some(flow) = lane.flow(task) {
            match lane.flows.get_mut(&flow) {
                Some(order) => {
                    let at = order.partition_point(|(seq, _)| *seq < task.seq);
                    order.insert(at, (task.seq, slot));
                }
                None => {
                    let key = flow.to_key();
                    lane.flows.insert(key, VecDeque::from([(task.seq, slot)]));
                }
            }
        }
        if lane.settings.on_session_end != OnSessionEnd::Keep
            && let Some(session) = &task.body.session
        {
            self.of_session.entry(session.clone()).or_default().insert(slot);
        }
    }

    /// Places a task that was filed: it waits, or is leased by receipt.
    pub(super) fn place(&mut self, slot: Slot, state: &State, timers: &mut Timers, now: Time) {
        let Some(task) = state.task(slot) else { return };
        let lane = &mut self.lanes[task.lane as usize];
        match task.phase {
            Phase::Waiting { .. } => self.wait(slot, task, timers, now, false),
            Phase::Leased { expires, .. } => {
                lane.leased += 1;
                let mark = &mut self.marks[slot as usize];
                *mark = Mark { ticket: mark.ticket.wrapping_add(1), place: NOBODY, stage: Stage::Leased };
                timers.push(expires, Timer::Lease(slot, mark.ticket));
            }
            _ => {}
        }
    }

    /// A task waits (again): until its time, for its turn, or for a worker.
    pub(super) fn wait(&mut self, slot: Slot, task: &Task, timers: &mut Timers, now: Time, given_back: bool) {
        let Phase::Waiting { due } = task.phase else { return };
        let lane = &mut self.lanes[task.lane as usize];
        let mark = &mut self.marks[slot as usize];
        mark.ticket = mark.ticket.wrapping_add(1);
        if due > now {
            mark.stage = Stage::Delayed;
            lane.delayed += 1;
            timers.push(due, Timer::Due(slot, mark.ticket));
            return;
        }
        lane.ready[task.body.priority as usize] += 1;
        self.note_keyed(slot, task, due);
        self.ready(slot, task, due, given_back);
    }

    /// A task's time has come: notes since when, if it has a key.
    fn note_keyed(&mut self, slot: Slot, task: &Task, since: Time) {
        let Self { marks, lanes, .. } = self;
        let lane = &mut lanes[task.lane as usize];
        if lane.flow(task).is_some() {
            lane.keyed[task.body.priority as usize].push(Reverse((since, slot, marks[slot as usize].ticket)));
        }
    }

    /// Its time has come: blocked by its key, or eligible. Counted as ready already.
    fn ready(&mut self, slot: Slot, task: &Task, since: Time, given_back: bool) {
        let lane = &mut self.lanes[task.lane as usize];
        let mark = &mut self.marks[slot as usize];
        if let Some(flow) = lane.flow(task)
            && lane.flows.get(&flow).and_then(VecDeque::front).is_some_and(|&(_, head)| head != slot)
        {
            mark.stage = Stage::Blocked;
            return;
        }
        let level = task.body.priority as usize;
        let queue = lane.queue_for(task);
        mark.stage = Stage::Eligible;
        mark.place = queue;
        lane.levels[level].push(queue, Entry { slot, ticket: mark.ticket, since }, given_back);
        lane.dirty = true;
        if level > 0 {
            lane.aging_check = lane.aging_check.min(since.plus_ms(lane.settings.aging_ms));
        }
    }

    /// The timer of a delayed task went off.
    pub(super) fn due(&mut self, slot: Slot, ticket: u32, state: &State, now: Time) {
        let mark = self.mark(slot);
        if mark.stage != Stage::Delayed || mark.ticket != ticket {
            return;
        }
        let Some(task) = state.task(slot) else { return };
        let lane = &mut self.lanes[task.lane as usize];
        lane.delayed -= 1;
        lane.ready[task.body.priority as usize] += 1;
        let Phase::Waiting { due } = task.phase else { return };
        self.note_keyed(slot, task, due.min(now));
        self.ready(slot, task, due.min(now), false);
    }

    /// Takes a task out of wherever it stands; its key stays blocked by it until [`Scheduler::exit`].
    pub(super) fn leave(&mut self, slot: Slot, task: &Task) {
        let level = task.body.priority as usize;
        let mark = self.mark(slot);
        let place = self.mark_mut(slot);
        place.stage = Stage::Out;
        place.ticket = mark.ticket.wrapping_add(1);
        let Self { marks, lanes, .. } = self;
        let lane = &mut lanes[task.lane as usize];
        match mark.stage {
            Stage::Out => {}
            Stage::Delayed => lane.delayed -= 1,
            Stage::Blocked => {
                lane.ready[level] -= 1;
                lane.forget_keyed(level, marks);
            }
            Stage::Eligible => {
                lane.ready[level] -= 1;
                lane.levels[level].withdraw(mark.place, marks);
                lane.forget_keyed(level, marks);
            }
            Stage::Leased => {
                lane.leased -= 1;
                lane.dirty = true;
                if lane.leases.len() > 2 * lane.leased as usize + 64 {
                    lane.leases.retain(|&(_, slot, ticket)| {
                        let mark = &marks[slot as usize];
                        mark.stage == Stage::Leased && mark.ticket == ticket
                    });
                }
            }
        }
    }

    /// A task is over: the next one of its key becomes the head. Call after [`Scheduler::leave`], while `task` is still known.
    pub(super) fn exit(&mut self, slot: Slot, task: &Task, state: &State, now: Time) {
        let lane = &mut self.lanes[task.lane as usize];
        if lane.settings.on_session_end != OnSessionEnd::Keep
            && let Some(session) = &task.body.session
            && let Some(tasks) = self.of_session.get_mut(session)
        {
            tasks.remove(&slot);
            if tasks.is_empty() {
                self.of_session.remove(session);
            }
        }
        let Some(flow) = lane.flow(task) else { return };
        let Some(order) = lane.flows.get_mut(&flow) else { return };
        let was_head = order.front().is_some_and(|&(_, head)| head == slot);
        if was_head {
            order.pop_front();
        } else if let Some(at) = order.iter().position(|&(_, other)| other == slot) {
            order.remove(at);
        }
        let head = order.front().map(|&(_, head)| head);
        match head {
            None => {
                lane.flows.remove(&flow);
            }
            Some(head) if was_head && self.marks[head as usize].stage == Stage::Blocked => {
                if let Some(task) = state.task(head) {
                    // From now on nothing but a worker is missing; it queues behind those that were ready before.
                    self.ready(head, task, now, false);
                }
            }
            Some(_) => {}
        }
    }

    /// The task that `want` gets next from a lane, if there is one. It is taken out of its queue and counts as leased.
    pub(super) fn pick(&mut self, lane: u32, want: Want, now: Time) -> Option<Slot> {
        let Self { marks, lanes, .. } = self;
        let lane = &mut lanes[lane as usize];
        let mut next: [Option<(usize, Entry)>; 3] = [None; 3];
        let strict = lane.weights.is_none();
        for (level, next) in next.iter_mut().enumerate() {
            if lane.levels[level].eligible() > 0 {
                *next = lane.levels[level].next(want, &lane.owners, marks);
                if strict && next.is_some() {
                    break;
                }
            }
        }
        let chosen = match &mut lane.weights {
            None => next.iter().position(Option::is_some),
            Some(weights) => weights.choose(next.map(|next| next.is_some())),
        }?;
        let (mut level, (mut at, mut entry)) = (chosen, next[chosen]?);
        let aging_ms = lane.settings.aging_ms;
        if aging_ms > 0 && chosen < 2 && now >= lane.aging_check {
            let mut check = Time(u64::MAX);
            for lower in chosen + 1..3 {
                let Some((place, old)) = lane.levels[lower].oldest(want, &lane.owners, marks) else { continue };
                check = check.min(old.since.plus_ms(aging_ms));
                let steps = (lower - chosen) as u64;
                if now.since_ms(old.since) >= aging_ms.saturating_mul(steps) && old.since < entry.since {
                    (level, at, entry) = (lower, place, old);
                }
            }
            // Only one that sees all of the lane, and all lower levels, may say that nothing has aged.
            if want.tenant.is_none() && chosen == 0 && lane.queue_of_taker.is_empty() {
                lane.aging_check = check;
            }
        }
        lane.levels[level].take(at);
        lane.ready[level] -= 1;
        lane.leased += 1;
        Some(entry.slot)
    }

    /// Notes which worker has the task that was just picked ([`NOBODY`]: whoever has the receipt), and until when. With `home`, the
    /// worker has its session from now on.
    pub(super) fn lease(&mut self, slot: Slot, task: &Task, worker: u32, expires: Time, home: bool) {
        let mark = &mut self.marks[slot as usize];
        *mark = Mark { ticket: mark.ticket.wrapping_add(1), place: worker, stage: Stage::Leased };
        let lane = &mut self.lanes[task.lane as usize];
        lane.leases.push_back((expires, slot, mark.ticket));
        lane.forget_keyed(task.body.priority as usize, &self.marks);
        if home
            && let Some(flow) = lane.flow(task)
            && flow.session
            && !lane.homes.contains_key(&flow)
        {
            lane.homes.insert(flow.to_key(), worker);
        }
    }

    /// A lease was extended: it leaves the order of the others.
    pub(super) fn extend(&mut self, slot: Slot, expires: Time, timers: &mut Timers) {
        let mark = self.mark_mut(slot);
        mark.ticket = mark.ticket.wrapping_add(1);
        timers.push(expires, Timer::Lease(slot, mark.ticket));
    }

    /// A lease that was not extended and has ended, in any lane.
    pub(super) fn expired(&mut self, now: Time) -> Option<Slot> {
        let Self { marks, lanes, .. } = self;
        for lane in lanes {
            while let Some(&(expires, slot, ticket)) = lane.leases.front() {
                let mark = &marks[slot as usize];
                let valid = mark.stage == Stage::Leased && mark.ticket == ticket;
                if valid && expires > now {
                    break;
                }
                lane.leases.pop_front();
                if valid {
                    return Some(slot);
                }
            }
        }
        None
    }

    /// When the first lease ends that was not extended; stale ones count.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.lanes.iter().filter_map(|lane| lane.leases.front().map(|&(expires, ..)| expires)).min()
    }

    /// All slots that a taker has leased.
    pub(super) fn held_by(&self, taker: u32) -> Vec<Slot> {
        let held = |mark: &Mark| mark.stage == Stage::Leased && mark.place == taker;
        self.marks.iter().enumerate().filter(|(_, mark)| held(mark)).map(|(slot, _)| slot as Slot).collect()
    }

    /// A taker is gone: what was kept for it is free for all, and its sessions have no home.
    pub(super) fn forget_taker(&mut self, taker: u32, state: &State) {
        let Self { marks, lanes, .. } = self;
        for lane in lanes {
            lane.homes.retain(|_, home| *home != taker);
            let Some(queue) = lane.queue_of_taker.remove(&taker) else { continue };
            for level in 0..3 {
                for entry in lane.levels[level].drain(queue, marks) {
                    let Some(task) = state.task(entry.slot) else { continue };
                    let queue = lane.queue_for(task);
                    marks[entry.slot as usize].place = queue;
                    lane.levels[level].push(queue, entry, false);
                    lane.dirty = true;
                }
            }
            lane.owners[queue as usize] = Owner::Nobody;
        }
    }

    /// A session ended: it has no home any more. Answers its unfinished tasks in lanes that do something about it, in order of publishing.
    pub(super) fn end_session(&mut self, tenant: u32, session: &SessionId, state: &State) -> Vec<Slot> {
        for lane in &mut self.lanes {
            if !lane.homes.is_empty() {
                lane.homes.remove(&FlowRef { tenant, session: true, text: session.as_str() });
            }
        }
        let mut slots: Vec<Slot> = self.of_session.get(session).into_iter().flatten().copied().collect();
        slots.sort_unstable_by_key(|&slot| state.task(slot).map(|task| task.seq));
        slots
    }

    /// How many unfinished tasks go with a session when it ends.
    pub(super) fn tasks_of_session(&self, session: &SessionId) -> usize {
        self.of_session.get(session).map_or(0, HashSet::len)
    }

    /// A lease whose worker is gone stays until it ends by itself.
    pub(super) fn orphan(&mut self, slot: Slot) {
        self.mark_mut(slot).place = NOBODY;
    }

    /// Whether a timer still means something.
    pub(super) fn knows(&self, timer: &Timer, state: &State) -> bool {
        match *timer {
            Timer::Due(slot, ticket) => self.is_at(slot, ticket, Stage::Delayed),
            Timer::Lease(slot, ticket) => self.is_at(slot, ticket, Stage::Leased),
            Timer::Deadline(slot, seq) => state.task(slot).is_some_and(|task| {
                task.seq == seq && matches!(task.phase, Phase::Waiting { .. } | Phase::Leased { .. })
            }),
            Timer::Session(seq) => state.session_by_seq(seq).is_some(),
            Timer::Wait(..) | Timer::Resume(_) | Timer::Rate(_) => true,
        }
    }

    pub(super) fn is_at(&self, slot: Slot, ticket: u32, stage: Stage) -> bool {
        let mark = self.mark(slot);
        mark.ticket == ticket && mark.stage == stage
    }

    /// Lanes that are to be scheduled, starting with another one each time.
    pub(super) fn dirty(&self, start: usize) -> Option<u32> {
        let count = self.lanes.len();
        (0..count).map(|i| (start + i) % count).find(|&i| self.lanes[i].dirty).map(|i| i as u32)
    }
}
