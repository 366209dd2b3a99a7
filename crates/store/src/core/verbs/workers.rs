//! Workers and pulls: who takes tasks, and what happens when they go.

use squall_protocol::ConnectionId;

use crate::core::Core;
use crate::core::counts::Outcome;
use crate::core::records::Space;
use crate::core::scheduler::takers::wait_until;
use crate::core::timers::Timer;
use crate::{Error, Result, WorkerSpec};

/// What a returned lease takes in the log, at most.
const RECORD_BYTES: usize = 2_048;

impl Core {
    /// Registers a worker; answers the number under which its deliveries come.
    ///
    /// # Errors
    /// `UnknownLane`; `Invalid` when the connection is registered already, or serves no lane.
    pub fn open_worker(&mut self, spec: &WorkerSpec) -> Result<u32> {
        if spec.lanes.is_empty() {
            return Err(Error::Invalid("a worker serves at least one lane".to_owned()));
        }
        if self.takers.of_connection(spec.id).is_some() {
            return Err(Error::Invalid(format!("the connection {} is a worker already", spec.id)));
        }
        let lanes = spec.lanes.iter().map(|lane| self.lane_number(lane)).collect::<Result<Vec<_>>>()?;
        let tenant = spec.tenant.as_deref().map(|tenant| self.name(Space::Tenant, tenant));
        Ok(self.takers.add(Some(spec.id), tenant, lanes, 0))
    }

    /// Gives a worker more credit. One that is gone is ignored.
    pub fn grant(&mut self, worker: ConnectionId, more: u32) {
        if let Some(taker) = self.takers.of_connection(worker)
            && let Some(held) = self.takers.get_mut(taker)
        {
            held.credit = held.credit.saturating_add(more);
            self.line_up(taker);
        }
    }

    /// A worker is gone: its leases return, each as a failed attempt, or uncounted with `release`. Answers its number.
    pub fn close_worker(&mut self, worker: ConnectionId, release: bool) -> Option<u32> {
        let taker = self.takers.of_connection(worker)?;
        let held = self.takers.get(taker).map_or(0, |taker| taker.held);
        if held > 0 {
            let mut slots = self.scheduler.held_by(taker);
            // The youngest first: each goes in front of the one before.
            slots.sort_unstable_by_key(|&slot| std::cmp::Reverse(self.state.task(slot).map(|task| task.seq)));
            for slot in slots {
                if self.check_room(RECORD_BYTES, false).is_err() {
                    // The disk is full to the last byte: the lease ends when its time is over and there is room to say so.
                    self.scheduler.orphan(slot);
                } else if release {
                    self.release(slot, None);
                } else {
                    self.fail(slot, "worker gone", None, Outcome::Retried);
                }
                self.journal.boundary();
            }
        }
        self.drop_taker(taker);
        self.scheduler.forget_taker(taker, &self.state);
        Some(taker)
    }

    /// Begins a pull; answers the number under which its deliveries come, in this commit or a later one.
    ///
    /// # Errors
    /// `UnknownLane`.
    pub fn pull(&mut self, tenant: Option<&str>, lane: &str, credit: u32, wait_ms: u64) -> Result<u32> {
        let lane = self.lane_number(lane)?;
        let tenant = tenant.map(|tenant| self.name(Space::Tenant, tenant));
        let taker = self.takers.add(None, tenant, [lane], credit.max(1));
        self.line_up(taker);
        // Even a pull that does not wait sees what this commit schedules: its timer is looked at in the next.
        self.timers.push(wait_until(self.now, wait_ms), Timer::Wait(taker, self.takers.generation(taker)));
        Ok(taker)
    }

    /// A pull is over.
    pub fn end_pull(&mut self, taker: u32) {
        if self.takers.get(taker).is_some_and(|taker| taker.worker.is_none()) {
            self.drop_taker(taker);
        }
    }

    /// The connection behind a number.
    #[must_use]
    pub fn worker_of(&self, taker: u32) -> Option<ConnectionId> {
        self.takers.get(taker)?.worker
    }

    /// Takes a taker off, and out of every line: its number will be another's.
    pub(in crate::core) fn drop_taker(&mut self, index: u32) {
        let Some(taker) = self.takers.remove(index) else { return };
        for (lane, listed) in taker.lanes {
            if listed {
                self.scheduler.lanes[lane as usize].line.retain(|&other| other != index);
            }
        }
    }

    /// A taker with credit stands in the line of each of its lanes, once.
    pub(in crate::core) fn line_up(&mut self, index: u32) {
        let Some(taker) = self.takers.get_mut(index) else { return };
        if taker.credit == 0 {
            return;
        }
        for (lane, listed) in &mut taker.lanes {
            let queues = &mut self.scheduler.lanes[*lane as usize];
            if !std::mem::replace(listed, true) {
                queues.line.push_back(index);
            }
            queues.dirty = true;
        }
    }
}
