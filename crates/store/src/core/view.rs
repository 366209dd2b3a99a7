//! What operators see: the state and the queues as wire types. Reads only.

use serde_json::value::RawValue;
use squall_protocol::dead_letter::FailedAttempt;
use squall_protocol::lane::ByPriority;
use squall_protocol::{
    DeadLetter, LaneView, Page, Replay, SessionId, SessionState, SessionView, TaskId, TaskState, TaskView, Time,
};

use super::state::{Phase, Session, Task};
use super::verbs::dead_letters::matches;
use super::{Core, Scope, session};
use crate::{Error, ListDeadLetters, ListSessions, ListTasks, Result, SessionsPage, TasksPage};

/// Items on one page at most.
const MAX_PAGE: usize = 1_000;

/// Finished tasks that one list looks at: a filter that almost nothing matches must not hold up everybody else.
const MAX_LOOKED: usize = 2_000;

/// Tasks that one list puts into the order of their ids.
const MAX_INDEXED: usize = 20_000;

impl Core {
    /// Shows a task.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn task_view(&self, scope: Scope, id: TaskId) -> Result<TaskView> {
        let Some((_, task)) = self.find(scope, id) else {
            return Err(Error::NotFound { what: "task", id: id.to_string() });
        };
        let finished = matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. });
        let payload = if finished { None } else { raw(&task.body.payload) };
        Ok(TaskView { payload, ..self.show_task(id, task) })
    }

    /// Lists what is over, newest first; `None`: so much had to be put in order first that the caller must ask again.
    pub fn task_list(&mut self, scope: Scope, list: &ListTasks) -> Option<TasksPage> {
        if !self.state.index_ended(MAX_INDEXED) {
            return None;
        }
        let limit = list.limit.clamp(1, MAX_PAGE);
        let mut page = TasksPage::default();
        for (looked, (id, task)) in self.state.ended_between(list.first(), list.end()).enumerate() {
            if page.items.len() == limit || looked == MAX_LOOKED {
                // What was looked at last is behind us; the next look goes on from there.
                return Some(page);
            }
            page.next = Some(id);
            let wanted = scope.has(task.tenant)
                && list.wants(self.state_of(task), &task.body.lane, &task.body.kind, task.body.session.as_ref());
            if wanted {
                page.items.push(self.show_task(id, task));
            }
        }
        page.next = None;
        Some(page)
    }

    fn state_of(&self, task: &Task) -> TaskState {
        match task.phase {
            Phase::Waiting { due } if due > self.now => TaskState::Delayed,
            Phase::Waiting { .. } => TaskState::Ready,
            Phase::Leased { .. } => TaskState::Leased,
            Phase::Dead { .. } => TaskState::Dead,
            Phase::Done { .. } => TaskState::Done,
            Phase::Cancelled { .. } => TaskState::Cancelled,
        }
    }

    fn show_task(&self, id: TaskId, task: &Task) -> TaskView {
        TaskView {
            id,
            tenant: task.body.tenant.to_string(),
            state: self.state_of(task),
            lane: task.body.lane.to_string(),
            kind: task.body.kind.to_string(),
            priority: task.body.priority,
            attempts: task.attempts,
            key: task.body.key.as_deref().map(str::to_owned),
            session: task.body.session.clone(),
            created_at: task.body.created_at,
            due_at: match task.phase {
                Phase::Waiting { due } if due > self.now => Some(due),
                _ => None,
            },
            deadline_at: task.body.deadline_at,
            lease_expires_at: match task.phase {
                Phase::Leased { expires, .. } => Some(expires),
                _ => None,
            },
            finished_at: match task.phase {
                Phase::Dead { at, .. } | Phase::Done { at } | Phase::Cancelled { at } => Some(at),
                Phase::Waiting { .. } | Phase::Leased { .. } => None,
            },
            last_error: task
                .history
                .as_ref()
                .and_then(|history| history.failures.back())
                .map(|(_, _, why)| why.to_string()),
            payload: None,
        }
    }

    /// Shows a session.
    ///
    /// # Errors
    /// `SessionNotFound`.
    pub fn session_view(&self, scope: Scope, id: &SessionId) -> Result<SessionView> {
        Ok(self.show_session(id, self.find_session(scope, id)?))
    }

    /// Lists sessions, newest first.
    #[must_use]
    pub fn session_list(&self, scope: Scope, list: &ListSessions) -> SessionsPage {
        let before = list.after.unwrap_or(u64::MAX);
        let limit = list.limit.clamp(1, MAX_PAGE);
        let wanted = |held: &Session| {
            scope.has(held.tenant)
                && list.state.is_none_or(|state| held.state == state)
                && list.in_range(held.created_at)
        };
        let mut found = self.state.sessions_before(before).filter(|(_, held)| wanted(held)).take(limit + 1);
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and_then(|_| page.last()).map(|(_, held)| held.seq);
        let items = page.into_iter().map(|(id, held)| (held.seq, self.show_session(id, held))).collect();
        SessionsPage { items, next }
    }

    fn show_session(&self, id: &SessionId, held: &Session) -> SessionView {
        let active = held.state == SessionState::Active;
        SessionView {
            id: id.clone(),
            tenant: self.state.tenants.name(held.tenant).to_string(),
            state: held.state,
            created_at: held.created_at,
            last_activity_at: held.last_activity_at,
            expires_at: active.then(|| session::expires_at(held.last_activity_at, held.idle_timeout_ms)),
            ended_at: held.ended_at,
            reason: held.reason.as_deref().map(str::to_owned),
            idle_timeout_ms: held.idle_timeout_ms,
            metadata: serde_json::from_str(&held.metadata).unwrap_or_default(),
            tasks: held.tasks,
        }
    }

    /// Shows a lane by name.
    ///
    /// # Errors
    /// `UnknownLane`.
    pub fn lane_view(&self, lane: &str) -> Result<LaneView> {
        Ok(self.show_lane(self.lane_number(lane)?))
    }

    /// Shows all lanes that are configured, or still have tasks.
    #[must_use]
    pub fn lane_views(&self) -> Vec<LaneView> {
        let mut views: Vec<LaneView> = (0..self.scheduler.lanes.len() as u32)
            .filter(|&number| {
                let lane = &self.scheduler.lanes[number as usize];
                lane.configured || lane.depth() + lane.leased + self.state.dead_of_lane(number) > 0
            })
            .map(|number| self.show_lane(number))
            .collect();
        views.sort_by(|a, b| a.lane.cmp(&b.lane));
        views
    }

    pub(super) fn show_lane(&self, number: u32) -> LaneView {
        let lane = &self.scheduler.lanes[number as usize];
        let paused = self.is_paused(number);
        let [high, normal, low] = lane.ready;
        let oldest = lane.oldest_ready_ms(&self.scheduler.marks, self.now);
        let mut workers = 0;
        let mut credit = 0;
        for (_, taker) in self.takers.iter() {
            if taker.lanes.iter().any(|(served, _)| *served == number) {
                workers += u64::from(taker.worker.is_some());
                credit += u64::from(taker.credit);
            }
        }
        LaneView {
            lane: self.state.lanes.name(number).to_string(),
            paused,
            paused_until: self.state.lane(number).paused.flatten().filter(|_| paused),
            ready: ByPriority { high, normal, low },
            delayed: lane.delayed,
            leased: lane.leased,
            oldest_ready_ms: ByPriority { high: oldest[0], normal: oldest[1], low: oldest[2] },
            dead_letters: self.state.dead_of_lane(number),
            workers,
            credit,
            concurrency: lane.settings.concurrency,
            max_depth: lane.settings.max_depth,
        }
    }

    /// Connected workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.takers.workers()
    }

    /// All workers and pulls: their numbers, and whether they have something that would have to return.
    pub fn takers(&self) -> impl Iterator<Item = (u32, bool)> {
        self.takers.iter().map(|(index, taker)| (index, taker.held > 0 || taker.worker.is_none()))
    }

    /// Shows one dead letter, with its payload.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn dead_letter_view(&self, scope: Scope, id: TaskId) -> Result<DeadLetter> {
        let slot = self.find_dead(scope, id)?;
        let shown = self.state.task(slot).and_then(|task| show_dead(task, true));
        shown.ok_or_else(|| Error::NotFound { what: "dead letter", id: id.to_string() })
    }

    /// Lists dead letters, oldest first.
    ///
    /// # Errors
    /// `Invalid` for a cursor that is not one.
    pub fn dead_letter_list(&self, scope: Scope, list: &ListDeadLetters) -> Result<Page<DeadLetter>> {
        let after = cursor(list.cursor.as_deref())?.unwrap_or(0);
        let limit = list.limit.clamp(1, MAX_PAGE);
        let mut found =
            self.state.dead_after(after).filter(|(_, _, task)| scope.has(task.tenant) && matches(&list.filter, task));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and_then(|_| page.last()).map(|(order, ..)| order.to_string());
        Ok(Page { items: page.into_iter().filter_map(|(_, _, task)| show_dead(task, list.payload)).collect(), next })
    }
}

fn show_dead(task: &Task, payload: bool) -> Option<DeadLetter> {
    let Phase::Dead { reason, at, .. } = task.phase else { return None };
    let history = task.history.as_deref();
    let failures = history.into_iter().flat_map(|history| &history.failures);
    let replays = history.into_iter().flat_map(|history| &history.replays);
    let body = &task.body;
    Some(DeadLetter {
        id: body.id,
        tenant: body.tenant.to_string(),
        lane: body.lane.to_string(),
        kind: body.kind.to_string(),
        priority: body.priority,
        key: body.key.as_deref().map(str::to_owned),
        session: body.session.clone(),
        reason,
        detail: history.map(|history| history.detail.to_string()).unwrap_or_default(),
        attempts: task.attempts,
        failures: failures
            .map(|(attempt, at, why)| FailedAttempt { attempt: *attempt, at: *at, reason: why.to_string() })
            .collect(),
        created_at: body.created_at,
        dead_at: at,
        replays: replays.map(|(at, by)| Replay { at: *at, by: by.to_string() }).collect(),
        payload: if payload { raw(&body.payload) } else { None },
    })
}

/// A payload as JSON; the gateway has checked it, so that `None` only hides a defect.
pub(crate) fn raw(payload: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(payload.to_owned()).ok()
}

/// A cursor that a list gave.
///
/// # Errors
/// `Invalid` for one that no list gave.
pub(crate) fn cursor(text: Option<&str>) -> Result<Option<u64>> {
    let parse =
        |text: &str| text.parse().map_err(|_| Error::Invalid(format!("{text:?} is not a cursor that a list gave")));
    text.map(parse).transpose()
}

/// For how long something is left, zero when it is over.
#[must_use]
pub fn left_ms(until: Time, now: Time) -> u64 {
    until.since_ms(now)
}
