//! Dead letters: sending them back, deleting them.

use squall_protocol::dead_letter::Handled;
use squall_protocol::{DeadLetterFilter, TaskId, Time};

use crate::core::counts::Outcome;
use crate::core::records::{Record, level_of};
use crate::core::state::{Phase, Slot, Task};
use crate::core::{Core, Scope};
use crate::{Error, ReplayHow, Result, Which};

/// What a record takes in the log, at most.
const RECORD_BYTES: usize = 600;

impl Core {
    /// Sends dead letters back to their lanes.
    ///
    /// # Errors
    /// One by id: `NotFound`, `ReplayLimit`, `LaneFull`, `Full`. By filter: `Full` before the first.
    pub fn replay(&mut self, scope: Scope, which: &Which, how: &ReplayHow) -> Result<Handled> {
        self.check_room(RECORD_BYTES, true)?;
        match which {
            Which::One(id) => {
                let slot = self.find_dead(scope, *id)?;
                self.replay_one(slot, how, self.now)?;
                Ok(Handled { matched: 1, done: 1, refused: 0 })
            }
            Which::Filter(filter) => {
                let mut handled = Handled::default();
                for slot in self.matching(scope, filter) {
                    handled.matched += 1;
                    if how.limit.is_some_and(|limit| handled.done >= limit) {
                        continue;
                    }
                    let due = match how.rate_per_s {
                        Some(rate) if rate > 0.0 => self.now.plus_ms((handled.done as f64 * 1_000.0 / rate) as u64),
                        _ => self.now,
                    };
                    match self.replay_one(slot, how, due) {
                        Ok(()) => handled.done += 1,
                        Err(_) => handled.refused += 1,
                    }
                    self.journal.boundary();
                }
                Ok(handled)
            }
        }
    }

    fn replay_one(&mut self, slot: Slot, how: &ReplayHow, due: Time) -> Result<()> {
        let Some(task) = self.state.task(slot) else { return Ok(()) };
        let times = task.history.as_ref().map_or(0, |history| history.replays.len() as u32);
        if times >= self.options.store.max_replays {
            return Err(Error::ReplayLimit { id: task.body.id.to_string(), times });
        }
        let lane = task.lane;
        let queues = &self.scheduler.lanes[lane as usize];
        if queues.depth() >= queues.settings.max_depth {
            let (name, max_depth) = (self.state.lanes.name(lane).to_string(), queues.settings.max_depth);
            return Err(Error::LaneFull { lane: name, max_depth, retry_after_ms: 1_000 });
        }
        self.check_room(RECORD_BYTES, true)?;
        let level = level_of(task.body.priority);
        self.record_task_with(slot, None, |id| Record::Replayed { id, by: &how.by, due_at: due.0 });
        self.scheduler.enter(slot, &self.state, &mut self.timers, self.now);
        self.counts.add(lane, level, Outcome::Replayed);
        Ok(())
    }

    /// Deletes dead letters.
    ///
    /// # Errors
    /// One by id: `NotFound`. `Full`.
    pub fn purge(&mut self, scope: Scope, which: &Which) -> Result<Handled> {
        self.check_room(RECORD_BYTES, false)?;
        let slots = match which {
            Which::One(id) => vec![self.find_dead(scope, *id)?],
            Which::Filter(filter) => self.matching(scope, filter),
        };
        let mut handled = Handled { matched: slots.len() as u64, ..Handled::default() };
        for slot in slots {
            if self.check_room(RECORD_BYTES, false).is_err() {
                handled.refused += 1;
                continue;
            }
            self.record_task(slot, None, |id| Record::Purged { id });
            handled.done += 1;
            self.journal.boundary();
        }
        Ok(handled)
    }

    pub(in crate::core) fn find_dead(&self, scope: Scope, id: TaskId) -> Result<Slot> {
        self.find(scope, id)
            .filter(|(_, task)| matches!(task.phase, Phase::Dead { .. }))
            .map(|(slot, _)| slot)
            .ok_or_else(|| Error::NotFound { what: "dead letter", id: id.to_string() })
    }

    fn matching(&self, scope: Scope, filter: &DeadLetterFilter) -> Vec<Slot> {
        self.state
            .dead_after(0)
            .filter(|(_, _, task)| scope.has(task.tenant) && matches(filter, task))
            .map(|(_, slot, _)| slot)
            .collect()
    }
}

/// Whether a dead letter is meant.
pub(in crate::core) fn matches(filter: &DeadLetterFilter, task: &Task) -> bool {
    let Phase::Dead { reason, at, .. } = task.phase else { return false };
    filter.lane.as_deref().is_none_or(|lane| *task.body.lane == *lane)
        && filter.kind.as_deref().is_none_or(|kind| *task.body.kind == *kind)
        && filter.reason.is_none_or(|wanted| wanted == reason)
        && filter.session.as_ref().is_none_or(|session| task.body.session.as_ref() == Some(session))
        && filter.before.is_none_or(|before| at < before)
        && filter.since.is_none_or(|since| at >= since)
}
