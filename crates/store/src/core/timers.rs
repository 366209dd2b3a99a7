//! What happens when nobody says anything: one heap of times. Entries are not removed when they lose their meaning, but
//! recognised as stale by whoever pops them, and swept when they outnumber the living.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use squall_protocol::Time;

use super::state::Slot;

/// What a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A delayed task becomes ready; valid while the slot's ticket is this.
    Due(Slot, u32),
    /// A task's deadline passes; valid while the slot holds the task of this sequence number.
    Deadline(Slot, u64),
    /// A lease that was extended ends; valid while the slot's ticket is this.
    Lease(Slot, u32),
    /// A session may have been idle for too long: its sequence number.
    Session(u64),
    /// A pull over HTTP has waited long enough: taker, generation.
    Wait(u32, u32),
    /// A paused lane resumes.
    Resume(u32),
    /// A lane's rate allows the next delivery.
    Rate(u32),
}

/// The heap.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, Timer)>>,
    sweep_at: usize,
}

impl Timers {
    /// Adds a timer.
    pub fn push(&mut self, at: Time, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// The next timer that is due.
    pub fn pop(&mut self, now: Time) -> Option<Timer> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// When the next one is due, stale or not.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Sweeps out what `alive` does not know any more, when the heap has doubled since the last time.
    pub fn sweep(&mut self, alive: impl Fn(&Timer) -> bool) {
        if self.heap.len() < self.sweep_at.max(1_024) {
            return;
        }
        self.heap.retain(|Reverse((_, timer))| alive(timer));
        self.sweep_at = self.heap.len() * 2;
    }
}
