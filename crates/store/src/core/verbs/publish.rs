//! Accepting a task.

use std::sync::Arc;

use squall_protocol::task::Published;
use squall_protocol::{SessionState, TaskId};

use crate::core::counts::Outcome;
use crate::core::records::{Space, level_of};
use crate::core::state::{State, published_record};
use crate::core::{Core, Scope};
use crate::{Error, Result, TaskBody, TaskSpec};

/// A refused publisher may try again after so long: a lane that is full drains at a rate that nobody knows.
const LANE_FULL_RETRY_MS: u64 = 1_000;

/// What a record takes in the log besides its texts, at most.
const RECORD_BYTES: usize = 200;

/// Bytes of log that a task takes at most.
#[must_use]
pub fn publish_bytes(spec: &TaskSpec) -> usize {
    let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
    let texts = spec.payload.len() + spec.kind.len() + text(&spec.key) + text(&spec.idempotency_key);
    let dead = spec.dead.as_ref().map_or(0, |(_, detail)| RECORD_BYTES + spec.kind.len() + detail.len());
    RECORD_BYTES + texts + dead + spec.session.as_ref().map_or(0, |id| id.as_str().len())
}

impl Core {
    /// Decides on one task.
    ///
    /// # Errors
    /// As [`crate::Store::publish`] says.
    pub fn publish(&mut self, tenant: &Arc<str>, spec: TaskSpec) -> Result<Published> {
        let lane = match self.route(spec.lane.as_deref()) {
            Ok(lane) => lane,
            Err(error) => {
                self.counts.refused_without_lane += 1;
                return Err(error);
            }
        };
        let level = level_of(spec.priority.unwrap_or(self.scheduler.lanes[lane as usize].settings.priority));
        let answer = self.publish_to(lane, tenant, spec);
        match &answer {
            Ok(published) if published.duplicate => {}
            Ok(_) => self.counts.add(lane, level, Outcome::Published),
            Err(_) => self.counts.add(lane, level, Outcome::Refused),
        }
        answer
    }

    fn route(&self, asked: Option<&str>) -> Result<u32> {
        let configured = |&number: &u32| self.scheduler.lane(number).is_some_and(|lane| lane.configured);
        asked
            .and_then(|name| self.state.lanes.number(name))
            .filter(configured)
            .or(self.default_lane)
            .ok_or_else(|| Error::UnknownLane { lane: asked.unwrap_or_default().to_owned() })
    }

    fn publish_to(&mut self, lane: u32, tenant: &Arc<str>, spec: TaskSpec) -> Result<Published> {
        let now = self.now;
        let known = self.state.tenants.number(tenant);
        if let (Some(key), Some(number)) = (&spec.idempotency_key, known)
            && let Some(id) = self.state.idempotent(number, key, now)
        {
            return Ok(Published { id, duplicate: true });
        }
        if let Some(id) = &spec.session {
            let scope = known.map_or(Scope::Nothing, Scope::Tenant);
            let session = self.find_session(scope, id)?;
            if session.state != SessionState::Active {
                return Err(Error::SessionEnded { id: id.to_string(), state: session.state.as_str() });
            }
        }
        let queues = &self.scheduler.lanes[lane as usize];
        if spec.dead.is_none() && queues.depth() >= queues.settings.max_depth {
            return Err(Error::LaneFull {
                lane: self.state.lanes.name(lane).to_string(),
                max_depth: queues.settings.max_depth,
                retry_after_ms: LANE_FULL_RETRY_MS,
            });
        }
        let priority = spec.priority.unwrap_or(queues.settings.priority);
        let texts = spec.payload.len() + spec.kind.len() + spec.key.as_deref().map_or(0, str::len);
        let max = self.options.store.max_task_bytes;
        if self.state.task_bytes() + State::task_cost(texts) > max {
            return Err(Error::Full(format!("the {max} bytes of memory set aside for tasks are taken")));
        }
        self.check_room(publish_bytes(&spec), true)?;

        let number = match known {
            Some(number) => number,
            None => self.name(Space::Tenant, tenant),
        };
        let body = Arc::new(TaskBody {
            id: TaskId::at(now, self.rng.u128(..)),
            tenant: self.state.tenants.name(number),
            lane: self.state.lanes.name(lane),
            kind: spec.kind,
            priority,
            payload: spec.payload,
            session: spec.session,
            key: spec.key,
            created_at: now,
            deadline_at: spec.deadline_ms.map(|ms| now.plus_ms(ms)),
            retry: spec.retry,
        });
        let until = now.plus_ms(self.options.store.idempotency_window_ms).0;
        let idempotency = spec.idempotency_key.as_deref().map(|key| (key, until));
        let record = published_record(&body, (lane, number), now.plus_ms(spec.delay_ms), idempotency);
        if let Some(slot) = self.record(&record) {
            self.scheduler.enter(slot, &self.state, &mut self.timers, now);
            self.watch_deadline(slot);
            if let Some((reason, detail)) = &spec.dead {
                self.bury(slot, *reason, detail, false);
            }
        }
        Ok(Published { id: body.id, duplicate: false })
    }
}
