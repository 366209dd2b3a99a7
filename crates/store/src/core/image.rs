//! A whole state as a list of entries, for snapshots: versioned like records, and independent of how the state lies in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use squall_protocol::session::SessionTasks;
use squall_protocol::{SessionId, SessionState, TaskId, Time};
use uuid::Uuid;

use super::records::{StoredReason, StoredRetry, StoredSessionState, level_of, priority_of};
use super::state::{History, IdempotencyKey, LaneState, Limits, Phase, Session, State, Task};
use crate::TaskBody;

/// One piece of a state. Like records, only ever extended by new variants at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry<'a> {
    /// The next numbers to give out; comes first.
    Counters {
        /// Of tasks.
        next_seq: u64,
        /// Of dead letters.
        next_dead: u64,
        /// Of sessions.
        next_session: u64,
    },
    /// A lane's number.
    Lane {
        /// Its name.
        name: &'a str,
        /// Whether it is paused.
        paused: bool,
        /// Until when.
        until: Option<u64>,
        /// Its rate limiter.
        tat_ns: u64,
    },
    /// A tenant's number.
    Tenant {
        /// Its name.
        name: &'a str,
    },
    /// A session; ended ones in the order in which they ended.
    #[serde(borrow)]
    Session(SessionEntry<'a>),
    /// A task; finished ones in the order in which they finished.
    Task(Box<TaskEntry<'a>>),
    /// An idempotency key, in the order in which they end.
    Idempotency {
        /// Whose.
        tenant: u32,
        /// The key.
        key: &'a str,
        /// What it stands for.
        id: Uuid,
        /// Until when.
        until: u64,
    },
}

/// A session in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionEntry<'a> {
    id: &'a str,
    seq: u64,
    tenant: u32,
    state: StoredSessionState,
    created_at: u64,
    last_activity_at: u64,
    ended_at: Option<u64>,
    reason: Option<&'a str>,
    idle_timeout_ms: u64,
    metadata: &'a str,
    tasks: [u64; 4],
}

/// A task in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskEntry<'a> {
    id: Uuid,
    tenant: u32,
    lane: u32,
    kind: &'a str,
    priority: u8,
    payload: &'a str,
    session: Option<&'a str>,
    key: Option<&'a str>,
    created_at: u64,
    deadline_at: Option<u64>,
    retry: Option<StoredRetry>,
    attempts: u32,
    seq: u64,
    phase: StoredPhase,
    failures: Vec<(u32, u64, &'a str)>,
    replays: Vec<(u64, &'a str)>,
    detail: &'a str,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum StoredPhase {
    Waiting { due: u64 },
    Leased { receipt: u64, expires: u64, by_receipt: bool, due: u64 },
    Dead { order: u64, reason: StoredReason, at: u64 },
    Done { at: u64 },
    Cancelled { at: u64 },
}

impl From<Phase> for StoredPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Waiting { due } => Self::Waiting { due: due.0 },
            Phase::Leased { receipt, expires, by_receipt, due } => {
                Self::Leased { receipt, expires: expires.0, by_receipt, due: due.0 }
            }
            Phase::Dead { order, reason, at } => Self::Dead { order, reason: reason.into(), at: at.0 },
            Phase::Done { at } => Self::Done { at: at.0 },
            Phase::Cancelled { at } => Self::Cancelled { at: at.0 },
        }
    }
}

impl From<StoredPhase> for Phase {
    fn from(phase: StoredPhase) -> Self {
        match phase {
            StoredPhase::Waiting { due } => Self::Waiting { due: Time(due) },
            StoredPhase::Leased { receipt, expires, by_receipt, due } => {
                Self::Leased { receipt, expires: Time(expires), by_receipt, due: Time(due) }
            }
            StoredPhase::Dead { order, reason, at } => Self::Dead { order, reason: reason.into(), at: Time(at) },
            StoredPhase::Done { at } => Self::Done { at: Time(at) },
            StoredPhase::Cancelled { at } => Self::Cancelled { at: Time(at) },
        }
    }
}

impl State {
    /// Shows the whole state, entry by entry, in an order that [`State::load`] can take.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn entries<E>(&self, mut each: impl FnMut(&Entry<'_>) -> Result<(), E>) -> Result<(), E> {
        let Self { next_seq, next_dead, next_session, .. } = *self;
        each(&Entry::Counters { next_seq, next_dead, next_session })?;
        for (number, name) in self.lanes.all().iter().enumerate() {
            let LaneState { paused, tat_ns } = self.lane(number as u32);
            let until = paused.flatten().map(|at| at.0);
            each(&Entry::Lane { name, paused: paused.is_some(), until, tat_ns })?;
        }
        for name in self.tenants.all() {
            each(&Entry::Tenant { name })?;
        }
        let active =
            self.session_order.values().filter(|id| self.sessions.get(*id).is_some_and(|s| s.ended_at.is_none()));
        for id in active.chain(&self.ended) {
            if let Some(session) = self.sessions.get(id) {
                each(&Entry::Session(session_entry(id, session)))?;
            }
        }
        for task in self.tasks.iter().flatten() {
            if !matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. }) {
                each(&Entry::Task(Box::new(task_entry(task))))?;
            }
        }
        for task in self.finished.iter().filter_map(|&slot| self.task(slot)) {
            each(&Entry::Task(Box::new(task_entry(task))))?;
        }
        for (key, until) in &self.idempotency_order {
            if let Some((id, held)) = self.idempotency.get(key)
                && held == until
            {
                each(&Entry::Idempotency { tenant: key.0, key: &key.1, id: *id, until: until.0 })?;
            }
        }
        Ok(())
    }

    /// Takes one entry that [`State::entries`] gave.
    pub fn load(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Counters { next_seq, next_dead, next_session } => {
                (self.next_seq, self.next_dead, self.next_session) = (next_seq, next_dead, next_session);
            }
            Entry::Lane { name, paused, until, tat_ns } => {
                let number = self.lanes.next();
                self.lanes.set(number, name);
                *self.lane_mut(number) = LaneState { paused: paused.then(|| until.map(Time)), tat_ns };
            }
            Entry::Tenant { name } => {
                let number = self.tenants.next();
                self.tenants.set(number, name);
            }
            Entry::Session(entry) => self.load_session(&entry),
            Entry::Task(entry) => self.load_task(&entry),
            Entry::Idempotency { tenant, key, id, until } => {
                self.remember_key(IdempotencyKey(tenant, key.into()), id, Time(until), Time(0));
            }
        }
    }

    /// An empty state with these bounds that takes all entries of `other`: what a snapshot makes of it.
    #[must_use]
    pub fn copied(other: &Self, limits: Limits) -> Self {
        let mut copy = Self::new(limits);
        let _: Result<(), std::convert::Infallible> = other.entries(|entry| {
            copy.load(entry.clone());
            Ok(())
        });
        copy
    }

    fn load_session(&mut self, entry: &SessionEntry<'_>) {
        let Ok(id) = SessionId::new(entry.id) else { return };
        let [published, done, dead, cancelled] = entry.tasks;
        let session = Session {
            seq: entry.seq,
            tenant: entry.tenant,
            state: entry.state.into(),
            created_at: Time(entry.created_at),
            last_activity_at: Time(entry.last_activity_at),
            ended_at: entry.ended_at.map(Time),
            reason: entry.reason.map(Into::into),
            idle_timeout_ms: entry.idle_timeout_ms,
            metadata: entry.metadata.into(),
            tasks: SessionTasks { published, done, dead, cancelled },
        };
        if session.state != SessionState::Active {
            self.ended.push_back(id.clone());
        }
        self.insert_session(id, session);
        self.trim_ended();
    }

    fn load_task(&mut self, entry: &TaskEntry<'_>) {
        let body = TaskBody {
            id: TaskId(entry.id),
            tenant: self.tenants.name(entry.tenant),
            lane: self.lanes.name(entry.lane),
            kind: entry.kind.into(),
            priority: priority_of(entry.priority),
            payload: entry.payload.into(),
            session: entry.session.and_then(|id| SessionId::new(id).ok()),
            key: entry.key.map(Into::into),
            created_at: Time(entry.created_at),
            deadline_at: entry.deadline_at.map(Time),
            retry: entry.retry.map(Into::into),
        };
        let failures: VecDeque<_> =
            entry.failures.iter().map(|&(attempt, at, reason)| (attempt, Time(at), reason.into())).collect();
        let replays: Vec<_> = entry.replays.iter().map(|&(at, by)| (Time(at), by.into())).collect();
        let history = History { failures, replays, detail: entry.detail.into() };
        let task = Task {
            body: Arc::new(body),
            lane: entry.lane,
            tenant: entry.tenant,
            attempts: entry.attempts,
            seq: entry.seq,
            phase: entry.phase.into(),
            history: (history != History::default()).then(|| Box::new(history)),
        };
        let (lane, phase) = (task.lane, task.phase);
        let slot = self.insert_task(task);
        match phase {
            Phase::Dead { order, .. } => self.enter_dead(lane, order, slot),
            Phase::Done { .. } | Phase::Cancelled { .. } => {
                self.finished.push_back(slot);
                self.trim_finished();
            }
            Phase::Waiting { .. } | Phase::Leased { .. } => {}
        }
    }
}

fn session_entry<'a>(id: &'a SessionId, session: &'a Session) -> SessionEntry<'a> {
    let SessionTasks { published, done, dead, cancelled } = session.tasks;
    SessionEntry {
        id: id.as_str(),
        seq: session.seq,
        tenant: session.tenant,
        state: session.state.into(),
        created_at: session.created_at.0,
        last_activity_at: session.last_activity_at.0,
        ended_at: session.ended_at.map(|at| at.0),
        reason: session.reason.as_deref(),
        idle_timeout_ms: session.idle_timeout_ms,
        metadata: &session.metadata,
        tasks: [published, done, dead, cancelled],
    }
}

fn task_entry(task: &Task) -> TaskEntry<'_> {
    let finished = matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. });
    let history = task.history.as_deref();
    TaskEntry {
        id: task.body.id.0,
        tenant: task.tenant,
        lane: task.lane,
        kind: &task.body.kind,
        priority: level_of(task.body.priority),
        payload: if finished { "" } else { &task.body.payload },
        session: task.body.session.as_ref().map(SessionId::as_str),
        key: task.body.key.as_deref(),
        created_at: task.body.created_at.0,
        deadline_at: task.body.deadline_at.map(|at| at.0),
        retry: task.body.retry.map(Into::into),
        attempts: task.attempts,
        seq: task.seq,
        phase: task.phase.into(),
        failures: history
            .map(|history| history.failures.iter().map(|(attempt, at, reason)| (*attempt, at.0, &**reason)).collect())
            .unwrap_or_default(),
        replays: history
            .map(|history| history.replays.iter().map(|(at, by)| (at.0, &**by)).collect())
            .unwrap_or_default(),
        detail: history.map_or("", |history| &history.detail),
    }
}
