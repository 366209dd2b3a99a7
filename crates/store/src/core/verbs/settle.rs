//! Acknowledging, refusing and extending leases.

use squall_protocol::{DeadReason, NackMode};

use crate::core::counts::Outcome;
use crate::core::records::{Record, level_of};
use crate::core::state::{Phase, Slot};
use crate::core::{Core, Scope, scheduler::Stage};
use crate::{Error, Holder, Result, SettleVerb, Settled, Settlement};

/// What a settlement takes in the log at most: a reason, a session, a key, a kind, and a lane that is paused.
const RECORD_BYTES: usize = 2_048;

impl Core {
    /// Decides on one settlement.
    ///
    /// # Errors
    /// `NotHeld`, and `Full` when even the reserve of the disk is used up.
    pub fn settle(&mut self, scope: Scope, holder: Holder, settlement: Settlement) -> Result<Settled> {
        let slot = self.held(scope, holder, &settlement)?;
        self.check_room(RECORD_BYTES, false)?;
        match settlement.verb {
            SettleVerb::Ack => {
                self.ack(slot);
                Ok(Settled::Done)
            }
            SettleVerb::Nack { mode, delay_ms, reason, pause_lane_ms } => {
                if let (Some(ms), Some(task)) = (pause_lane_ms, self.state.task(slot)) {
                    let lane = task.lane;
                    self.pause_at_least(lane, ms, "asked for by a worker");
                }
                let reason = reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("nack");
                Ok(match mode {
                    NackMode::Fail => self.fail(slot, reason, delay_ms, Outcome::Retried),
                    NackMode::Release => self.release(slot, delay_ms),
                    NackMode::Fatal => self.bury(slot, DeadReason::Fatal, reason, true),
                })
            }
            SettleVerb::Extend { for_ms } => {
                let expires = self.now.plus_ms(for_ms);
                let Some(task) = self.state.task(slot) else { return Ok(Settled::Done) };
                let id = task.body.id.0;
                self.record(&Record::Extended { id, expires_at: expires.0 });
                self.scheduler.extend(slot, expires, &mut self.timers);
                Ok(Settled::Extended(expires))
            }
        }
    }

    fn held(&self, scope: Scope, holder: Holder, settlement: &Settlement) -> Result<Slot> {
        let id = settlement.id;
        let no = |why| Error::NotHeld { id: id.to_string(), why };
        let Some(slot) = self.state.find(id) else {
            return Err(no("there is no such task, or it was finished long ago"));
        };
        let Some(task) = self.state.task(slot).filter(|task| scope.has(task.tenant)) else {
            return Err(no("there is no such task, or it was finished long ago"));
        };
        let Phase::Leased { receipt, by_receipt, .. } = task.phase else {
            return Err(no(match task.phase {
                Phase::Done { .. } => "it is done",
                Phase::Cancelled { .. } => "it was cancelled",
                Phase::Dead { .. } => "it is among the dead letters",
                _ => "the lease expired or was given back",
            }));
        };
        let fine = match holder {
            Holder::Worker(connection) => {
                let mark = self.scheduler.mark(slot);
                !by_receipt
                    && mark.stage == Stage::Leased
                    && self.takers.get(mark.place).is_some_and(|taker| taker.worker == Some(connection))
            }
            Holder::Receipts => by_receipt && settlement.receipt.is_some_and(|shown| shown.0 == receipt),
        };
        if fine { Ok(slot) } else { Err(no("somebody else holds it")) }
    }

    fn ack(&mut self, slot: Slot) {
        self.leave_lease(slot);
        let Some(task) = self.state.task(slot) else { return };
        let (lane, level) = (task.lane, level_of(task.body.priority));
        // Only a task with a key or a session has something to leave behind.
        let before = (task.body.key.is_some() || task.body.session.is_some()).then(|| task.clone());
        self.record_task(slot, None, |id| Record::Done { id });
        if let Some(before) = before {
            self.exit(slot, &before);
        }
        self.counts.add(lane, level, Outcome::Done);
    }
}
