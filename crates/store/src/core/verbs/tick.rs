//! What happens by itself: delays that are over, leases and deadlines that end, sessions that are idle, pauses and pulls that end.

use squall_protocol::{DeadReason, SessionState};

use crate::core::counts::Outcome;
use crate::core::records::Record;
use crate::core::state::Phase;
use crate::core::timers::Timer;
use crate::core::{Core, TOO_LATE, scheduler::Stage, session};

/// What one timer may write, at most; when the disk is full, timers wait.
const RECORD_BYTES: usize = 2_048;

/// While the disk is full, a session that should end is looked at so often.
const FULL_RETRY_MS: u64 = 1_000;

impl Core {
    /// Does what is due.
    pub fn tick(&mut self) {
        while self.check_room(RECORD_BYTES, false).is_ok() {
            if let Some(slot) = self.scheduler.expired(self.now) {
                self.fail(slot, "lease expired", None, Outcome::Expired);
            } else if let Some(timer) = self.timers.pop(self.now) {
                self.fire(timer);
            } else {
                break;
            }
            self.journal.boundary();
        }
        let Self { timers, scheduler, takers, state, .. } = self;
        timers.sweep(|timer| match *timer {
            Timer::Wait(taker, generation) => takers.generation(taker) == generation,
            _ => scheduler.knows(timer, state),
        });
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Due(slot, ticket) => self.scheduler.due(slot, ticket, &self.state, self.now),
            Timer::Lease(slot, ticket) => {
                if self.scheduler.is_at(slot, ticket, Stage::Leased) {
                    self.fail(slot, "lease expired", None, Outcome::Expired);
                }
            }
            Timer::Deadline(slot, seq) => {
                // A worker that has the task may still finish it; if it fails or gives the task back, that is seen there.
                let waits = |phase| matches!(phase, Phase::Waiting { .. });
                if self.state.task(slot).is_some_and(|task| task.seq == seq && waits(task.phase)) {
                    self.bury(slot, DeadReason::DeadlineExceeded, TOO_LATE, false);
                }
            }
            Timer::Session(seq) => self.idle_session(seq),
            Timer::Wait(taker, generation) => {
                if self.takers.generation(taker) == generation && self.takers.get(taker).is_some() {
                    self.drop_taker(taker);
                    self.empty_pulls.push(taker);
                }
            }
            Timer::Resume(lane) => {
                if let Some(Some(until)) = self.state.lane(lane).paused
                    && until <= self.now
                {
                    self.record(&Record::LaneResumed { lane, reason: "the pause is over" });
                    self.scheduler.lanes[lane as usize].dirty = true;
                }
            }
            Timer::Rate(lane) => self.scheduler.lanes[lane as usize].dirty = true,
        }
    }

    fn idle_session(&mut self, seq: u64) {
        let Some(id) = self.state.session_by_seq(seq).cloned() else { return };
        let Some(held) = self.state.session(&id).filter(|held| held.state == SessionState::Active) else { return };
        let at = session::expires_at(held.last_activity_at, held.idle_timeout_ms);
        if at > self.now {
            self.timers.push(at, Timer::Session(seq));
            return;
        }
        if self.check_room(self.ending_bytes(&id), false).is_err() {
            // The disk is full: the slot is freed when there is room to say so.
            self.timers.push(self.now.plus_ms(FULL_RETRY_MS), Timer::Session(seq));
            return;
        }
        self.finish_session(&id, SessionState::TimedOut, Some("idle for too long"));
    }
}
