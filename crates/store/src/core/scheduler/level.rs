//! The ready tasks of one lane and one priority: a queue for each tenant, served in turn, each in the order of becoming ready.
//!
//! A task that is bound to one worker (session affinity) lies in that worker's own queue, which takes its turn among the
//! tenants'. Tasks that left by another door than the front are recognised by their ticket and swept later.

use std::collections::VecDeque;

use squall_protocol::Time;

use super::{Mark, Stage};
use crate::core::state::Slot;

/// Whose queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Any worker may take from it that serves this tenant.
    Tenant(u32),
    /// Only this taker may.
    Taker(u32),
    /// Given back.
    Nobody,
}

/// Who wants a task.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Want {
    /// The taker's index.
    pub taker: u32,
    /// Only tasks of this tenant.
    pub tenant: Option<u32>,
}

impl Want {
    fn may(self, owner: Owner) -> bool {
        match owner {
            Owner::Tenant(tenant) => self.tenant.is_none_or(|only| only == tenant),
            Owner::Taker(taker) => taker == self.taker,
            Owner::Nobody => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub slot: Slot,
    pub ticket: u32,
    /// Since when nothing but a worker is missing.
    pub since: Time,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    live: usize,
}

#[derive(Debug, Default)]
pub(super) struct Level {
    queues: Vec<Queue>,
    /// Queues that have a live entry, in the order of their turns.
    turn: VecDeque<u32>,
    eligible: usize,
}

fn is_live(entry: &Entry, marks: &[Mark]) -> bool {
    let mark = &marks[entry.slot as usize];
    mark.stage == Stage::Eligible && mark.ticket == entry.ticket
}

impl Level {
    pub(super) fn eligible(&self) -> usize {
        self.eligible
    }

    /// Queues an entry, behind all that have waited as long or longer; one that was `given_back`, before those that have waited as long.
    pub(super) fn push(&mut self, queue: u32, entry: Entry, given_back: bool) {
        let index = queue as usize;
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, Queue::default);
        }
        let q = &mut self.queues[index];
        let before = |other: &Entry| other.since < entry.since || (other.since == entry.since && !given_back);
        if q.entries.back().is_none_or(before) {
            q.entries.push_back(entry);
        } else {
            let at = q.entries.partition_point(before);
            q.entries.insert(at, entry);
        }
        q.live += 1;
        if q.live == 1 {
            self.turn.push_back(queue);
        }
        self.eligible += 1;
    }

    /// Counts an entry out that left by another door; the caller has changed its ticket.
    pub(super) fn withdraw(&mut self, queue: u32, marks: &[Mark]) {
        let q = &mut self.queues[queue as usize];
        q.live -= 1;
        self.eligible -= 1;
        if q.live == 0 {
            q.entries.clear();
            self.turn.retain(|&other| other != queue);
        } else if q.entries.len() > 2 * q.live + 64 {
            q.entries.retain(|entry| is_live(entry, marks));
        }
    }

    /// The next task for `want` when the queues take turns: place in the turn, and the entry.
    pub(super) fn next(&mut self, want: Want, owners: &[Owner], marks: &[Mark]) -> Option<(usize, Entry)> {
        let at = self.turn.iter().position(|&queue| want.may(owners[queue as usize]))?;
        Some((at, self.front(self.turn[at], marks)?))
    }

    /// The task for `want` that has waited longest.
    pub(super) fn oldest(&mut self, want: Want, owners: &[Owner], marks: &[Mark]) -> Option<(usize, Entry)> {
        let mut oldest: Option<(usize, Entry)> = None;
        for at in 0..self.turn.len() {
            let queue = self.turn[at];
            if !want.may(owners[queue as usize]) {
                continue;
            }
            if let Some(entry) = self.front(queue, marks)
                && oldest.is_none_or(|(_, best)| entry.since < best.since)
            {
                oldest = Some((at, entry));
            }
        }
        oldest
    }

    /// Since when the longest waiting task of all waits.
    pub(super) fn oldest_since(&self, marks: &[Mark]) -> Option<Time> {
        let fronts = self.turn.iter().filter_map(|&queue| {
            self.queues[queue as usize].entries.iter().find(|entry| is_live(entry, marks)).map(|entry| entry.since)
        });
        fronts.min()
    }

    fn front(&mut self, queue: u32, marks: &[Mark]) -> Option<Entry> {
        let entries = &mut self.queues[queue as usize].entries;
        while let Some(entry) = entries.front() {
            if is_live(entry, marks) {
                return Some(*entry);
            }
            entries.pop_front();
        }
        None
    }

    /// Takes what [`Level::next`] or [`Level::oldest`] showed, and ends that queue's turn.
    pub(super) fn take(&mut self, at: usize) {
        let Some(queue) = self.turn.remove(at) else { return };
        let q = &mut self.queues[queue as usize];
        q.entries.pop_front();
        q.live -= 1;
        self.eligible -= 1;
        if q.live > 0 {
            self.turn.push_back(queue);
        } else {
            q.entries.clear();
            // A burst should not keep its memory for ever.
            if q.entries.capacity() > 4_096 {
                q.entries = VecDeque::new();
            }
        }
    }

    /// Empties a queue; the caller queues its live entries elsewhere.
    pub(super) fn drain(&mut self, queue: u32, marks: &[Mark]) -> Vec<Entry> {
        let Some(q) = self.queues.get_mut(queue as usize) else { return Vec::new() };
        let entries: Vec<Entry> = q.entries.drain(..).filter(|entry| is_live(entry, marks)).collect();
        self.eligible -= entries.len();
        q.live = 0;
        self.turn.retain(|&other| other != queue);
        entries
    }
}
