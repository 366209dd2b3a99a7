//! Sessions: creating, updating, signs of life, ending.

use std::sync::Arc;

use serde_json::{Map, Value};
use squall_protocol::{EndSession, NewSession, SessionId, SessionState, Time, UpdateSession};

use crate::config::OnSessionEnd;
use crate::core::records::{Record, Space};
use crate::core::state::Phase;
use crate::core::timers::Timer;
use crate::core::{Core, Scope, session};
use crate::{Error, Result};

/// Sessions that are looked at for the time of the next free slot.
const LOOK_AT: usize = 1_000;

impl Core {
    /// Creates a session.
    ///
    /// # Errors
    /// `SessionExists`, `SessionLimit`, `TooLarge`, `Invalid`, `Full`.
    pub fn create_session(&mut self, tenant: &Arc<str>, new: NewSession) -> Result<SessionId> {
        let idle_timeout_ms = new.idle_timeout_ms.unwrap_or(self.options.sessions.idle_timeout_ms);
        session::check_idle_timeout(new.idle_timeout_ms)?;
        if let Some(id) = &new.id
            && self.state.session(id).is_some()
        {
            return Err(Error::SessionExists { id: id.to_string() });
        }
        let number = self.state.tenants.number(tenant);
        self.check_limit(number)?;
        let metadata = session::metadata_text(new.metadata)?;
        self.check_room(metadata.len() + 400, true)?;
        let number = match number {
            Some(number) => number,
            None => self.name(Space::Tenant, tenant),
        };
        let id = match new.id {
            Some(id) => id,
            None => self.new_session_id()?,
        };
        self.record(&Record::SessionCreated { id: id.as_str(), tenant: number, metadata: &metadata, idle_timeout_ms });
        if let Some(created) = self.state.session(&id) {
            let at = session::expires_at(created.last_activity_at, idle_timeout_ms);
            self.timers.push(at, Timer::Session(created.seq));
        }
        Ok(id)
    }

    fn new_session_id(&mut self) -> Result<SessionId> {
        let mut random = [0; 10];
        random.copy_from_slice(&self.rng.u128(..).to_le_bytes()[..10]);
        let id = uuid::Builder::from_unix_timestamp_millis(self.now.0, &random).into_uuid();
        SessionId::new(&id.to_string()).map_err(|error| Error::Invalid(error.to_string()))
    }

    fn check_limit(&mut self, tenant: Option<u32>) -> Result<()> {
        let sessions = &self.options.sessions;
        let of_tenant = tenant.map_or(0, |tenant| self.state.active_sessions_of(tenant));
        let (limit, of, only) = if of_tenant >= sessions.max_per_tenant {
            (sessions.max_per_tenant, "of this tenant", tenant)
        } else if self.state.active_sessions() >= sessions.max_concurrent {
            (sessions.max_concurrent, "of this gateway", None)
        } else {
            return Ok(());
        };
        self.counts.sessions_refused += 1;
        let next = self
            .state
            .sessions_before(u64::MAX)
            .filter(|(_, held)| held.state == SessionState::Active && only.is_none_or(|tenant| held.tenant == tenant))
            .take(LOOK_AT)
            .map(|(_, held)| session::expires_at(held.last_activity_at, held.idle_timeout_ms))
            .min();
        let retry_after_ms = next.map_or(sessions.idle_timeout_ms, |at: Time| at.since_ms(self.now).max(1));
        Err(Error::SessionLimit { limit, of, retry_after_ms })
    }

    fn active_session(&self, scope: Scope, id: &SessionId) -> Result<&crate::core::state::Session> {
        let found = self.find_session(scope, id)?;
        if found.state != SessionState::Active {
            return Err(Error::SessionEnded { id: id.to_string(), state: found.state.as_str() });
        }
        Ok(found)
    }

    /// Merges metadata.
    ///
    /// # Errors
    /// `SessionNotFound`, `SessionEnded`, `TooLarge`, `Full`.
    pub fn update_session(&mut self, scope: Scope, id: &SessionId, update: UpdateSession) -> Result<()> {
        let found = self.active_session(scope, id)?;
        let tenant = found.tenant;
        let mut metadata: Map<String, Value> = serde_json::from_str(&found.metadata).unwrap_or_default();
        session::merge(&mut metadata, update.metadata);
        let metadata = session::metadata_text(metadata)?;
        self.check_room(metadata.len() + 400, true)?;
        self.record(&Record::SessionUpdated { id: id.as_str(), tenant, metadata: &metadata });
        Ok(())
    }

    /// A sign of life.
    ///
    /// # Errors
    /// `SessionNotFound`, `SessionEnded`, `Full`.
    pub fn heartbeat(&mut self, scope: Scope, id: &SessionId) -> Result<()> {
        self.active_session(scope, id)?;
        self.check_room(200, false)?;
        self.record(&Record::SessionTouched { id: id.as_str() });
        Ok(())
    }

    /// Ends a session, and does with its waiting tasks what their lanes say.
    ///
    /// # Errors
    /// `SessionNotFound`, `SessionEnded`, `Invalid`, `Full`.
    pub fn end_session(&mut self, scope: Scope, id: &SessionId, end: &EndSession) -> Result<()> {
        session::check_end(end.status)?;
        self.active_session(scope, id)?;
        self.check_room(self.ending_bytes(id), false)?;
        self.finish_session(id, end.status, end.reason.as_deref());
        Ok(())
    }

    /// What ending a session takes in the log at most: its own record, and one for each task that goes with it.
    pub(in crate::core) fn ending_bytes(&self, id: &SessionId) -> usize {
        session::MAX_REASON_BYTES + 400 + self.scheduler.tasks_of_session(id) * 1_024
    }

    pub(in crate::core) fn finish_session(&mut self, id: &SessionId, state: SessionState, reason: Option<&str>) {
        let Some(tenant) = self.state.session(id).map(|held| held.tenant) else { return };
        let reason = reason.map(|reason| session::cut(reason, session::MAX_REASON_BYTES));
        self.record(&Record::SessionEnded { id: id.as_str(), tenant, state: state.into(), reason });
        match state {
            SessionState::Completed => self.counts.sessions_ended[0] += 1,
            SessionState::Failed => self.counts.sessions_ended[1] += 1,
            SessionState::TimedOut => self.counts.sessions_ended[2] += 1,
            SessionState::Active => {}
        }
        for slot in self.scheduler.end_session(tenant, id, &self.state) {
            let Some(task) = self.state.task(slot) else { continue };
            let policy = self.scheduler.lanes[task.lane as usize].settings.on_session_end;
            if matches!(task.phase, Phase::Waiting { .. }) && policy != OnSessionEnd::Keep {
                self.give_up_with_session(slot, None);
            }
        }
    }
}
