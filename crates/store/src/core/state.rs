//! What is durable: tasks, sessions, dead letters, idempotency keys, pauses and rates. Changed only by [`State::apply`],
//! so that replay, the snapshot folder and the live engine cannot disagree. Queues and timers are derived from it elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap, HashTable};
use squall_protocol::session::SessionTasks;
use squall_protocol::{DeadReason, SessionId, SessionState, TaskId, Time};
use uuid::Uuid;

use super::names::Names;
use super::records::{Published, Record, Space, level_of, priority_of};
use crate::TaskBody;

/// Where a task lies in memory; free again once the task is forgotten.
pub type Slot = u32;

/// Failed attempts that are kept with a task.
pub const MAX_FAILURES: usize = 16;

/// A finished task keeps its body as it is when the payload is at most this long, and loses the payload otherwise.
const KEEP_PAYLOAD_BYTES: usize = 1_024;

/// What a task costs in memory besides its texts; measured, see `docs/decisions/0001-embedded-engine.md`.
const TASK_OVERHEAD_BYTES: u64 = 420;

/// How much is remembered of what is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Finished tasks.
    pub finished_tasks: usize,
    /// Idempotency keys.
    pub idempotency_keys: usize,
    /// Ended sessions.
    pub remember_ended: usize,
}

/// One task that is not forgotten yet.
#[derive(Clone, Debug)]
pub struct Task {
    /// What never changes.
    pub body: Arc<TaskBody>,
    /// Its lane's number.
    pub lane: u32,
    /// Its tenant's number.
    pub tenant: u32,
    /// Attempts that began and count.
    pub attempts: u32,
    /// Order of publishing, or of the last replay.
    pub seq: u64,
    /// Where it is.
    pub phase: Phase,
    /// What went wrong so far; most tasks have none.
    pub history: Option<Box<History>>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a worker, from `due` on.
    Waiting {
        /// Not before.
        due: Time,
    },
    /// A worker has it.
    Leased {
        /// Proof.
        receipt: u64,
        /// When it ends.
        expires: Time,
        /// Held by receipt, not by a connection.
        by_receipt: bool,
        /// Since when it had been waiting, so that a release puts it back where it was.
        due: Time,
    },
    /// Among the dead letters.
    Dead {
        /// Its place among them.
        order: u64,
        /// Why.
        reason: DeadReason,
        /// When.
        at: Time,
    },
    /// Done.
    Done {
        /// When.
        at: Time,
    },
    /// Withdrawn.
    Cancelled {
        /// When.
        at: Time,
    },
}

/// What went wrong with a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The last attempts that failed, oldest first: attempt, time, reason.
    pub failures: VecDeque<(u32, Time, Box<str>)>,
    /// Who replayed it, oldest first.
    pub replays: Vec<(Time, Box<str>)>,
    /// Why it is dead, in words.
    pub detail: Box<str>,
}

/// A session that is active or remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Order of creation.
    pub seq: u64,
    /// Whose.
    pub tenant: u32,
    /// Where it is.
    pub state: SessionState,
    /// When it was created.
    pub created_at: Time,
    /// The last sign of life.
    pub last_activity_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Why.
    pub reason: Option<Box<str>>,
    /// How long it may be idle.
    pub idle_timeout_ms: u64,
    /// JSON text of an object.
    pub metadata: Box<str>,
    /// What its tasks did.
    pub tasks: SessionTasks,
}

/// What is durable about a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Paused: for good, or until a time.
    pub paused: Option<Option<Time>>,
    /// Its rate limiter: the theoretical arrival time of the next delivery, nanoseconds since the epoch.
    pub tat_ns: u64,
}

/// A tenant's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(pub u32, pub Arc<str>);

#[derive(Hash)]
struct IdempotencyRef<'a>(u32, &'a str);

impl Equivalent<IdempotencyKey> for IdempotencyRef<'_> {
    fn equivalent(&self, key: &IdempotencyKey) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// What is done, cancelled or dead, by id. Derived; made when somebody asks for the first time and kept from then on, so that a store
/// whose history nobody reads pays nothing for it.
#[derive(Clone, Debug, Default)]
struct EndedTasks {
    by_id: BTreeMap<TaskId, Slot>,
    /// Slots below this one were looked at.
    scanned: usize,
}

/// The state. See the module.
#[derive(Clone, Debug)]
pub struct State {
    /// Lanes that ever were.
    pub lanes: Names,
    /// Tenants that ever were.
    pub tenants: Names,
    pub(super) tasks: Vec<Option<Task>>,
    free: Vec<Slot>,
    index: HashTable<(u32, Slot)>,
    pub(super) next_seq: u64,
    pub(super) next_dead: u64,
    pub(super) next_session: u64,
    pub(super) lane_states: Vec<LaneState>,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) session_order: BTreeMap<u64, SessionId>,
    pub(super) ended: VecDeque<SessionId>,
    active: HashMap<u32, u64>,
    pub(super) dead: BTreeMap<u64, Slot>,
    dead_by_lane: Vec<BTreeSet<u64>>,
    pub(super) idempotency: HashMap<IdempotencyKey, (Uuid, Time)>,
    pub(super) idempotency_order: VecDeque<(IdempotencyKey, Time)>,
    /// Keys that had to go before their time; counted, and not part of what is durable.
    evicted_keys: u64,
    pub(super) finished: VecDeque<Slot>,
    /// What is over, by id, as far as anybody asked for it.
    ended_tasks: Option<EndedTasks>,
    task_bytes: u64,
    limits: Limits,
    /// Records that named something unknown: only a damaged log has them.
    pub orphans: u64,
}

fn hash(id: Uuid) -> u32 {
    // The low half of a UUID version 7 is random but for two bits.
    let low = id.as_u64_pair().1;
    (low ^ (low >> 32)) as u32
}

const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn body_bytes(body: &TaskBody) -> u64 {
    TASK_OVERHEAD_BYTES + (body.payload.len() + body.kind.len() + body.key.as_deref().map_or(0, str::len)) as u64
}

impl State {
    /// An empty state.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            lanes: Names::default(),
            tenants: Names::default(),
            tasks: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            next_seq: 0,
            next_dead: 0,
            next_session: 0,
            lane_states: Vec::new(),
            sessions: HashMap::new(),
            session_order: BTreeMap::new(),
            ended: VecDeque::new(),
            active: HashMap::new(),
            dead: BTreeMap::new(),
            dead_by_lane: Vec::new(),
            idempotency: HashMap::new(),
            idempotency_order: VecDeque::new(),
            evicted_keys: 0,
            finished: VecDeque::new(),
            ended_tasks: None,
            task_bytes: 0,
            limits,
            orphans: 0,
        }
    }

    /// The slot of a task that is not forgotten.
    #[must_use]
    pub fn find(&self, id: TaskId) -> Option<Slot> {
        let short = hash(id.0);
        self.index
            .find(spread(short), |&(other, slot)| {
                other == short && self.tasks[slot as usize].as_ref().is_some_and(|task| task.body.id == id)
            })
            .map(|&(_, slot)| slot)
    }

    /// The task in a slot.
    #[must_use]
    pub fn task(&self, slot: Slot) -> Option<&Task> {
        self.tasks.get(slot as usize)?.as_ref()
    }

    /// All tasks that are not forgotten.
    pub fn tasks(&self) -> impl Iterator<Item = (Slot, &Task)> {
        self.tasks.iter().enumerate().filter_map(|(slot, task)| Some((slot as Slot, task.as_ref()?)))
    }

    /// Slots that exist, free ones included.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.tasks.len()
    }

    /// What is durable about a lane.
    #[must_use]
    pub fn lane(&self, lane: u32) -> LaneState {
        self.lane_states.get(lane as usize).copied().unwrap_or_default()
    }

    /// A session by its id.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// The id of the session that was created as the `seq`th.
    #[must_use]
    pub fn session_by_seq(&self, seq: u64) -> Option<&SessionId> {
        self.session_order.get(&seq)
    }

    /// Sessions older than `before`, newest first.
    pub fn sessions_before(&self, before: u64) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.session_order.range(..before).rev().filter_map(|(_, id)| Some((id, self.sessions.get(id)?)))
    }

    /// Active sessions in all.
    #[must_use]
    pub fn active_sessions(&self) -> u64 {
        self.active.values().sum()
    }

    /// Active sessions of one tenant.
    #[must_use]
    pub fn active_sessions_of(&self, tenant: u32) -> u64 {
        self.active.get(&tenant).copied().unwrap_or(0)
    }

    /// Dead letters that come after `after` (0: all), oldest first, each with its place.
    pub fn dead_after(&self, after: u64) -> impl Iterator<Item = (u64, Slot, &Task)> {
        self.dead.range(after.saturating_add(1)..).filter_map(|(&order, &slot)| Some((order, slot, self.task(slot)?)))
    }

    /// Puts up to `most` tasks into the order that [`State::ended_between`] lists; true when all of them are.
    pub fn index_ended(&mut self, most: usize) -> bool {
        let ended = self.ended_tasks.get_or_insert_default();
        let end = self.tasks.len().min(ended.scanned + most);
        for slot in ended.scanned..end {
            if let Some(task) = &self.tasks[slot]
                && matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. } | Phase::Dead { .. })
            {
                ended.by_id.insert(task.body.id, slot as Slot);
            }
        }
        ended.scanned = end;
        end == self.tasks.len()
    }

    /// Tasks that are over whose ids are at least `first` and below `end`, newest first.
    pub fn ended_between(&self, first: TaskId, end: TaskId) -> impl Iterator<Item = (TaskId, &Task)> {
        let range = self.ended_tasks.as_ref().filter(|_| first < end).map(|ended| ended.by_id.range(first..end));
        range.into_iter().flatten().rev().filter_map(|(&id, &slot)| Some((id, self.task(slot)?)))
    }

    /// Dead letters of one lane.
    #[must_use]
    pub fn dead_of_lane(&self, lane: u32) -> u64 {
        self.dead_by_lane.get(lane as usize).map_or(0, |dead| dead.len() as u64)
    }

    /// Dead letters of all lanes.
    #[must_use]
    pub fn dead_count(&self) -> u64 {
        self.dead.len() as u64
    }

    /// The oldest dead letter of a lane.
    #[must_use]
    pub fn oldest_dead(&self, lane: u32) -> Option<Slot> {
        let order = self.dead_by_lane.get(lane as usize)?.first()?;
        self.dead.get(order).copied()
    }

    /// The task that a tenant's idempotency key stands for, as long as it holds.
    #[must_use]
    pub fn idempotent(&self, tenant: u32, key: &str, now: Time) -> Option<TaskId> {
        let &(id, until) = self.idempotency.get(&IdempotencyRef(tenant, key))?;
        (until > now).then_some(TaskId(id))
    }

    /// Finished tasks that are remembered, in the order in which they finished.
    pub fn finished(&self) -> impl ExactSizeIterator<Item = Slot> {
        self.finished.iter().copied()
    }

    /// Ended sessions that are remembered, in the order in which they ended.
    pub fn ended(&self) -> impl ExactSizeIterator<Item = &SessionId> {
        self.ended.iter()
    }

    /// Idempotency keys: whose, which, the task, until when it holds. Those whose time is over may be among them.
    pub fn idempotency_keys(&self) -> impl Iterator<Item = (u32, &str, TaskId, Time)> {
        self.idempotency.iter().map(|(key, &(id, until))| (key.0, &*key.1, TaskId(id), until))
    }

    /// The next numbers that will be given: of tasks, of dead letters (counted from 1), of sessions.
    #[must_use]
    pub fn next_numbers(&self) -> [u64; 3] {
        [self.next_seq, self.next_dead + 1, self.next_session]
    }

    /// Idempotency keys that had to go before their time since the last look.
    pub fn take_evicted_keys(&mut self) -> u64 {
        std::mem::take(&mut self.evicted_keys)
    }

    /// Bytes of the tasks that wait, are leased or are dead.
    #[must_use]
    pub fn task_bytes(&self) -> u64 {
        self.task_bytes
    }

    /// What one more task would add to [`State::task_bytes`].
    #[must_use]
    pub fn task_cost(texts: usize) -> u64 {
        TASK_OVERHEAD_BYTES + texts as u64
    }

    /// Changes the state as the record says. The only way to change it. Returns the task's slot, if it is about one that is still known.
    ///
    /// A record about something unknown changes nothing: the log may have lost an earlier batch to a bad sector.
    pub fn apply(&mut self, record: &Record<'_>, at: Time) -> Option<Slot> {
        match record {
            Record::Published(task) => return Some(self.published(task, at)),
            Record::Leased { id, receipt, expires_at, by_receipt, tat_ns } => {
                let (slot, task) = self.task_mut(*id)?;
                let due = match task.phase {
                    Phase::Waiting { due } | Phase::Leased { due, .. } => due,
                    _ => at,
                };
                task.attempts += 1;
                task.phase =
                    Phase::Leased { receipt: *receipt, expires: Time(*expires_at), by_receipt: *by_receipt, due };
                let lane = task.lane;
                if let Some(tat_ns) = *tat_ns {
                    self.lane_mut(lane).tat_ns = tat_ns;
                }
                return Some(slot);
            }
            Record::Done { id } => return self.finish(*id, Phase::Done { at }),
            Record::Cancelled { id, .. } => return self.finish(*id, Phase::Cancelled { at }),
            Record::Extended { id, expires_at } => {
                let (slot, task) = self.task_mut(*id)?;
                if let Phase::Leased { expires, .. } = &mut task.phase {
                    *expires = Time(*expires_at);
                }
                return Some(slot);
            }
            Record::Retried { id, due_at, reason } => {
                let (slot, task) = self.task_mut(*id)?;
                let attempt = task.attempts;
                remember_failure(task, attempt, at, reason);
                task.phase = Phase::Waiting { due: Time(*due_at) };
                return Some(slot);
            }
            Record::Released { id, due_at } => {
                let (slot, task) = self.task_mut(*id)?;
                task.attempts = task.attempts.saturating_sub(1);
                task.phase = Phase::Waiting { due: Time(*due_at) };
                return Some(slot);
            }
            Record::Dead { id, reason, detail, failed } => {
                return self.died(*id, (*reason).into(), detail, *failed, at);
            }
            Record::Replayed { id, by, due_at } => return self.replayed(*id, by, Time(*due_at), at),
            Record::Purged { id } | Record::Dropped { id } => {
                let (slot, _) = self.task_mut(*id)?;
                self.leave_dead(slot);
                self.forget(slot);
                return None;
            }
            _ => self.apply_rest(record, at),
        }
        None
    }

    fn apply_rest(&mut self, record: &Record<'_>, at: Time) {
        match record {
            Record::Named { space, number, name } => match space {
                Space::Lane => self.lanes.set(*number, name),
                Space::Tenant => self.tenants.set(*number, name),
            },
            Record::SessionCreated { id, tenant, metadata, idle_timeout_ms } => {
                let Ok(id) = SessionId::new(id) else { return };
                let session = Session {
                    seq: self.next_session,
                    tenant: *tenant,
                    state: SessionState::Active,
                    created_at: at,
                    last_activity_at: at,
                    ended_at: None,
                    reason: None,
                    idle_timeout_ms: *idle_timeout_ms,
                    metadata: (*metadata).into(),
                    tasks: SessionTasks::default(),
                };
                self.next_session += 1;
                self.insert_session(id, session);
            }
            Record::SessionUpdated { id, metadata, .. } => {
                if let Some(session) = self.session_mut(id) {
                    session.metadata = (*metadata).into();
                    session.last_activity_at = at;
                }
            }
            Record::SessionTouched { id } => {
                if let Some(session) = self.session_mut(id) {
                    session.last_activity_at = at;
                }
            }
            Record::SessionEnded { id, state, reason, .. } => {
                let Some(session) = self.session_mut(id) else { return };
                if session.state != SessionState::Active {
                    return;
                }
                session.state = (*state).into();
                session.ended_at = Some(at);
                session.reason = reason.map(Into::into);
                let tenant = session.tenant;
                self.count_active(tenant, -1);
                if let Ok(id) = SessionId::new(id) {
                    self.ended.push_back(id);
                }
                self.trim_ended();
            }
            Record::LanePaused { lane, until, .. } => self.lane_mut(*lane).paused = Some(until.map(Time)),
            Record::LaneResumed { lane, .. } => self.lane_mut(*lane).paused = None,
            _ => {}
        }
    }

    fn published(&mut self, task: &Published<'_>, at: Time) -> Slot {
        let session = task.session.and_then(|id| SessionId::new(id).ok());
        if let Some(session) = task.session.and_then(|id| self.session_mut(id)) {
            session.last_activity_at = at;
            session.tasks.published += 1;
        }
        let body = task.body.clone().unwrap_or_else(|| {
            Arc::new(TaskBody {
                id: TaskId(task.id),
                tenant: self.tenants.name(task.tenant),
                lane: self.lanes.name(task.lane),
                kind: task.kind.into(),
                priority: priority_of(task.priority),
                payload: task.payload.into(),
                session,
                key: task.key.map(Into::into),
                created_at: at,
                deadline_at: task.deadline_at.map(Time),
                retry: task.retry.map(Into::into),
            })
        });
        if let Some((key, until)) = task.idempotency {
            self.remember_key(IdempotencyKey(task.tenant, key.into()), task.id, Time(until), at);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let phase = Phase::Waiting { due: Time(task.due_at) };
        self.insert_task(Task { body, lane: task.lane, tenant: task.tenant, attempts: 0, seq, phase, history: None })
    }

    fn died(&mut self, id: Uuid, reason: DeadReason, detail: &str, failed: bool, at: Time) -> Option<Slot> {
        let order = self.next_dead + 1;
        let (slot, task) = self.task_mut(id)?;
        if matches!(task.phase, Phase::Dead { .. } | Phase::Done { .. } | Phase::Cancelled { .. }) {
            return Some(slot);
        }
        if failed {
            let attempt = task.attempts;
            remember_failure(task, attempt, at, detail);
        }
        task.history.get_or_insert_default().detail = detail.into();
        task.phase = Phase::Dead { order, reason, at };
        let lane = task.lane;
        let session = task.body.session.clone();
        self.next_dead = order;
        self.enter_dead(lane, order, slot);
        self.note_ended(TaskId(id), slot);
        self.count_session(session, |tasks| tasks.dead += 1);
        Some(slot)
    }

    fn replayed(&mut self, id: Uuid, by: &str, due: Time, at: Time) -> Option<Slot> {
        let seq = self.next_seq;
        let (slot, task) = self.task_mut(id)?;
        task.attempts = 0;
        task.seq = seq;
        let history = task.history.get_or_insert_default();
        history.replays.push((at, by.into()));
        history.detail = Box::default();
        let session = task.body.session.clone();
        self.next_seq += 1;
        self.leave_dead(slot);
        self.note_not_ended(TaskId(id));
        if let Some(task) = self.tasks[slot as usize].as_mut() {
            task.phase = Phase::Waiting { due };
        }
        self.count_session(session, |tasks| tasks.dead = tasks.dead.saturating_sub(1));
        Some(slot)
    }

    fn finish(&mut self, id: Uuid, phase: Phase) -> Option<Slot> {
        let (slot, task) = self.task_mut(id)?;
        if matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. } | Phase::Dead { .. }) {
            return Some(slot);
        }
        task.phase = phase;
        let bytes = body_bytes(&task.body);
        let session = task.body.session.clone();
        if task.body.payload.len() > KEEP_PAYLOAD_BYTES {
            task.body = Arc::new(without_payload(&task.body));
        }
        self.task_bytes = self.task_bytes.saturating_sub(bytes);
        self.count_session(session, |tasks| match phase {
            Phase::Done { .. } => tasks.done += 1,
            _ => tasks.cancelled += 1,
        });
        self.finished.push_back(slot);
        self.note_ended(TaskId(id), slot);
        self.trim_finished();
        Some(slot)
    }

    fn note_ended(&mut self, id: TaskId, slot: Slot) {
        if let Some(ended) = &mut self.ended_tasks {
            ended.by_id.insert(id, slot);
        }
    }

    fn note_not_ended(&mut self, id: TaskId) {
        if let Some(ended) = &mut self.ended_tasks {
            ended.by_id.remove(&id);
        }
    }

    /// Puts a task in; for publishing, and for reading a snapshot.
    pub(super) fn insert_task(&mut self, task: Task) -> Slot {
        let short = hash(task.body.id.0);
        if !matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. }) {
            self.task_bytes += body_bytes(&task.body);
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.tasks[slot as usize] = Some(task);
                slot
            }
            None => {
                self.tasks.push(Some(task));
                (self.tasks.len() - 1) as Slot
            }
        };
        self.index.insert_unique(spread(short), (short, slot), |&(short, _)| spread(short));
        slot
    }

    /// Puts a session in; for creating one, and for reading a snapshot.
    pub(super) fn insert_session(&mut self, id: SessionId, session: Session) {
        if session.state == SessionState::Active {
            self.count_active(session.tenant, 1);
        }
        self.session_order.insert(session.seq, id.clone());
        self.sessions.insert(id, session);
    }

    pub(super) fn enter_dead(&mut self, lane: u32, order: u64, slot: Slot) {
        self.dead.insert(order, slot);
        let lane = lane as usize;
        if self.dead_by_lane.len() <= lane {
            self.dead_by_lane.resize_with(lane + 1, BTreeSet::new);
        }
        self.dead_by_lane[lane].insert(order);
    }

    fn leave_dead(&mut self, slot: Slot) {
        let Some(Task { phase: Phase::Dead { order, .. }, lane, .. }) = self.task(slot) else { return };
        let (order, lane) = (*order, *lane as usize);
        self.dead.remove(&order);
        if let Some(dead) = self.dead_by_lane.get_mut(lane) {
            dead.remove(&order);
        }
    }

    fn forget(&mut self, slot: Slot) {
        let Some(task) = self.tasks[slot as usize].take() else { return };
        self.note_not_ended(task.body.id);
        let short = hash(task.body.id.0);
        if let Ok(entry) = self.index.find_entry(spread(short), |&(_, other)| other == slot) {
            entry.remove();
        }
        if !matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. }) {
            self.task_bytes = self.task_bytes.saturating_sub(body_bytes(&task.body));
        }
        self.free.push(slot);
    }

    pub(super) fn trim_finished(&mut self) {
        while self.finished.len() > self.limits.finished_tasks {
            if let Some(slot) = self.finished.pop_front() {
                self.forget(slot);
            }
        }
    }

    pub(super) fn trim_ended(&mut self) {
        while self.ended.len() > self.limits.remember_ended {
            if let Some(id) = self.ended.pop_front()
                && let Some(session) = self.sessions.remove(&id)
            {
                self.session_order.remove(&session.seq);
            }
        }
    }

    pub(super) fn remember_key(&mut self, key: IdempotencyKey, id: Uuid, until: Time, now: Time) {
        self.idempotency.insert(key.clone(), (id, until));
        self.idempotency_order.push_back((key, until));
        while let Some((_, until)) = self.idempotency_order.front()
            && (*until <= now || self.idempotency_order.len() > self.limits.idempotency_keys)
        {
            if let Some((key, until)) = self.idempotency_order.pop_front()
                && self.idempotency.get(&key).is_some_and(|held| held.1 == until)
            {
                self.idempotency.remove(&key);
                self.evicted_keys += u64::from(until > now);
            }
        }
    }

    pub(super) fn lane_mut(&mut self, lane: u32) -> &mut LaneState {
        let lane = lane as usize;
        if self.lane_states.len() <= lane {
            self.lane_states.resize_with(lane + 1, LaneState::default);
        }
        &mut self.lane_states[lane]
    }

    fn task_mut(&mut self, id: Uuid) -> Option<(Slot, &mut Task)> {
        let Some(slot) = self.find(TaskId(id)) else {
            self.orphans += 1;
            return None;
        };
        self.tasks[slot as usize].as_mut().map(|task| (slot, task))
    }

    fn session_mut(&mut self, id: &str) -> Option<&mut Session> {
        let id = SessionId::new(id).ok()?;
        let found = self.sessions.get_mut(&id);
        if found.is_none() {
            self.orphans += 1;
        }
        found
    }

    fn count_session(&mut self, id: Option<SessionId>, count: impl FnOnce(&mut SessionTasks)) {
        if let Some(session) = id.and_then(|id| self.sessions.get_mut(&id)) {
            count(&mut session.tasks);
        }
    }

    fn count_active(&mut self, tenant: u32, by: i64) {
        let count = self.active.entry(tenant).or_insert(0);
        *count = count.saturating_add_signed(by);
    }
}

fn remember_failure(task: &mut Task, attempt: u32, at: Time, reason: &str) {
    let failures = &mut task.history.get_or_insert_default().failures;
    if failures.len() == MAX_FAILURES {
        failures.pop_front();
    }
    failures.push_back((attempt, at, reason.into()));
}

fn without_payload(body: &TaskBody) -> TaskBody {
    TaskBody {
        id: body.id,
        tenant: Arc::clone(&body.tenant),
        lane: Arc::clone(&body.lane),
        kind: body.kind.clone(),
        priority: body.priority,
        payload: Box::default(),
        session: body.session.clone(),
        key: body.key.clone(),
        created_at: body.created_at,
        deadline_at: body.deadline_at,
        retry: body.retry,
    }
}

/// The record of a task that is about to be published.
#[must_use]
pub fn published_record<'a>(
    body: &'a Arc<TaskBody>,
    (lane, tenant): (u32, u32),
    due: Time,
    idempotency: Option<(&'a str, u64)>,
) -> Record<'a> {
    Record::Published(Published {
        id: body.id.0,
        tenant,
        lane,
        kind: &body.kind,
        priority: level_of(body.priority),
        payload: &body.payload,
        session: body.session.as_ref().map(SessionId::as_str),
        key: body.key.as_deref(),
        due_at: due.0,
        deadline_at: body.deadline_at.map(|at| at.0),
        retry: body.retry.map(Into::into),
        idempotency,
        body: Some(Arc::clone(body)),
    })
}
