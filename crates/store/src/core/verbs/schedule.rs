//! Leasing what is ready to whoever has credit, in the same commit that made it ready.

use squall_protocol::{Receipt, Time};

use crate::Delivery;
use crate::core::counts::Outcome;
use crate::core::records::{Record, level_of};
use crate::core::scheduler::NOBODY;
use crate::core::scheduler::level::Want;
use crate::core::state::Slot;
use crate::core::timers::Timer;
use crate::core::{Core, MAX_LEASES_PER_COMMIT};

/// What a lease takes in the log, at most.
const RECORD_BYTES: usize = 512;

impl Core {
    /// Leases from all lanes that changed, until the lanes, the credit or this commit's share are used up.
    pub fn schedule(&mut self) {
        let mut budget = MAX_LEASES_PER_COMMIT;
        self.turn = self.turn.wrapping_add(1);
        while budget > 0
            && let Some(lane) = self.scheduler.dirty(self.turn % self.scheduler.lanes.len().max(1))
        {
            self.scheduler.lanes[lane as usize].dirty = false;
            self.schedule_lane(lane, &mut budget);
            self.journal.boundary();
        }
    }

    fn schedule_lane(&mut self, lane: u32, budget: &mut usize) {
        while self.scheduler.lanes[lane as usize].has_eligible() {
            if *budget == 0 || self.check_room(RECORD_BYTES, false).is_err() {
                // Not forgotten: the next commit goes on, or the first one for which the disk has room again.
                self.scheduler.lanes[lane as usize].dirty = *budget == 0;
                self.starved |= *budget > 0;
                return;
            }
            if !self.scheduler.lanes[lane as usize].may_lease() || self.is_paused(lane) {
                return;
            }
            let tat_ns = match self.scheduler.lanes[lane as usize].rate {
                None => None,
                Some(rate) => match rate.take(self.state.lane(lane).tat_ns, self.now) {
                    Ok(tat_ns) => Some(tat_ns),
                    Err(later) => {
                        let queues = &mut self.scheduler.lanes[lane as usize];
                        if !queues.line.is_empty() && std::mem::replace(&mut queues.rate_timer, later) != later {
                            self.timers.push(later, Timer::Rate(lane));
                        }
                        return;
                    }
                },
            };
            let Some((slot, want)) = self.match_next(lane) else { return };
            self.lease(slot, want, lane, tat_ns);
            *budget -= 1;
        }
    }

    /// The next taker in line for which there is a task, and the task. Those without credit leave the line.
    fn match_next(&mut self, lane: u32) -> Option<(Slot, Want)> {
        let mut left = self.scheduler.lanes[lane as usize].line.len();
        while left > 0 {
            left -= 1;
            let line = &mut self.scheduler.lanes[lane as usize].line;
            let taker = line.pop_front()?;
            let Some(want) = self.takers.want(taker) else {
                if let Some(taker) = self.takers.get_mut(taker) {
                    for (served, listed) in &mut taker.lanes {
                        *listed &= *served != lane;
                    }
                }
                continue;
            };
            line.push_back(taker);
            if let Some(slot) = self.scheduler.pick(lane, want, self.now) {
                return Some((slot, want));
            }
        }
        None
    }

    fn lease(&mut self, slot: Slot, want: Want, lane: u32, tat_ns: Option<u64>) {
        let lease_ms = self.scheduler.lanes[lane as usize].settings.lease_ms;
        let receipt = self.rng.u64(..);
        let expires: Time = self.now.plus_ms(lease_ms);
        let worker = self.takers.get(want.taker).and_then(|taker| taker.worker);
        self.record_task(slot, worker.map(|id| id.0), |id| Record::Leased {
            id,
            receipt,
            expires_at: expires.0,
            by_receipt: worker.is_none(),
            tat_ns,
        });
        let Some(task) = self.state.task(slot) else { return };
        let home = worker.is_some() && !self.session_is_over(task);
        // A pull is over when this commit is; its number may be a worker's when the lease still runs.
        let holder = if worker.is_some() { want.taker } else { NOBODY };
        self.scheduler.lease(slot, task, holder, expires, home);
        self.counts.add(lane, level_of(task.body.priority), Outcome::Delivered);
        let delivery = Delivery {
            task: std::sync::Arc::clone(&task.body),
            receipt: Receipt(receipt),
            attempt: task.attempts,
            lease_expires_at: expires,
        };
        self.takers.deliver(want.taker, delivery);
    }
}
