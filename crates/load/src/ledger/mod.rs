//! The ledger: what the storm itself published, what it was promised, what came back. Recording is done here, in one book
//! per core without locks; what it means is decided in [`classify`], pure, after the books are merged. Definitions and
//! their source (Jepsen's queue checkers) are in `docs/guide/ledger.md`.

mod classify;
mod label;

use std::collections::HashSet;

pub(crate) use classify::{Account, Class, Fate, Finding, classify, open_tasks};
pub(crate) use label::Label;
use squall_protocol::{NackMode, TaskId};

/// The most tasks one book records: 2³² numbers are shared among the cores. At some 60 bytes a task memory ends first.
const MOST_TASKS: usize = u32::MAX as usize / 64;

/// What became of an attempt to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Sent, and no answer (yet): it may or may not be there.
    Unknown,
    /// The gateway said that it is on disk.
    Acknowledged,
    /// The gateway said no.
    Refused,
    /// Never left: no connection.
    NotSent,
}

/// One attempt to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The task's id, once acknowledged; nil before.
    pub(crate) id: TaskId,
    /// Ordering key number from 1, unique in the run; 0 for none. Of two tasks with the same key, the one with the lower
    /// task number was published first, over the same connection or after the first was answered.
    pub(crate) key: u32,
    /// Index into the run's lanes.
    pub(crate) lane: u8,
    pub(crate) outcome: Outcome,
}

/// How a delivery ended for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Still in hand.
    Open,
    Acked,
    Nacked(NackMode),
    /// The worker dropped its connection on purpose.
    Vanished,
    /// The connection was lost while it was in hand.
    Lost,
    /// The gateway did not take the worker's word: no longer held.
    NotHeld,
}

/// One delivery to one of our workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    /// When, and when it ended, microseconds since the start of the run.
    pub(crate) at_us: u64,
    pub(crate) ended_us: u64,
    /// The task's number.
    pub(crate) n: u32,
    /// Which connection of ours, over all cores.
    pub(crate) connection: u32,
    /// How long the worker may take.
    pub(crate) lease_ms: u32,
    pub(crate) end: End,
}

/// A delivery of something that this run never published, or was told that it was not taken.
#[derive(Clone, Debug)]
pub(crate) struct Stray {
    pub(crate) id: TaskId,
    pub(crate) why: String,
}

/// The strays that are kept with their ids; more are counted.
const MOST_STRAYS: usize = 1_000;

/// Points at a delivery, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryRef(usize);

/// What one core saw. Task numbers are `index × cores + core`, so that no two cores hand out the same.
#[derive(Debug)]
pub(crate) struct Book {
    core: u32,
    cores: u32,
    attempts: Vec<Attempt>,
    deliveries: Vec<Delivered>,
    /// For each connection of this core's workers, when it was lost; connection numbers are `index × cores + core`.
    lost_at_us: Vec<Option<u64>>,
    strays: Vec<Stray>,
    strays_in_all: u64,
    foreign: u64,
    full: bool,
}

impl Book {
    pub(crate) const fn new(core: usize, cores: usize) -> Self {
        Self {
            core: core as u32,
            cores: cores as u32,
            attempts: Vec::new(),
            deliveries: Vec::new(),
            lost_at_us: Vec::new(),
            strays: Vec::new(),
            strays_in_all: 0,
            foreign: 0,
            full: false,
        }
    }

    /// Takes down an attempt before it is made, and gives it its number. `None` when the book is full: the run must end,
    /// because it could no longer account for what it does.
    pub(crate) fn attempt(&mut self, lane: u8, key: u32) -> Option<u32> {
        if self.attempts.len() >= MOST_TASKS {
            self.full = true;
            return None;
        }
        let n = self.attempts.len() as u32 * self.cores + self.core;
        let id = TaskId(uuid::Uuid::nil());
        self.attempts.push(Attempt { id, key, lane, outcome: Outcome::Unknown });
        Some(n)
    }

    fn own(&mut self, n: u32) -> &mut Attempt {
        &mut self.attempts[(n / self.cores) as usize]
    }

    pub(crate) fn acknowledged(&mut self, n: u32, id: TaskId) {
        let attempt = self.own(n);
        (attempt.id, attempt.outcome) = (id, Outcome::Acknowledged);
    }

    pub(crate) fn refused(&mut self, n: u32) {
        self.own(n).outcome = Outcome::Refused;
    }

    pub(crate) fn not_sent(&mut self, n: u32) {
        self.own(n).outcome = Outcome::NotSent;
    }

    /// A worker has a new connection.
    pub(crate) fn connected(&mut self) -> u32 {
        self.lost_at_us.push(None);
        (self.lost_at_us.len() as u32 - 1) * self.cores + self.core
    }

    /// That connection is gone; what was in hand is ended by its worker.
    pub(crate) fn disconnected(&mut self, connection: u32, now_us: u64) {
        self.lost_at_us[(connection / self.cores) as usize] = Some(now_us);
    }

    pub(crate) fn delivered(&mut self, n: u32, connection: u32, lease_ms: u32, now_us: u64) -> DeliveryRef {
        self.deliveries.push(Delivered { at_us: now_us, ended_us: now_us, n, connection, lease_ms, end: End::Open });
        DeliveryRef(self.deliveries.len() - 1)
    }

    pub(crate) fn ended(&mut self, delivery: DeliveryRef, end: End, now_us: u64) {
        let delivery = &mut self.deliveries[delivery.0];
        (delivery.end, delivery.ended_us) = (end, now_us);
    }

    /// A task of somebody else came by, on a gateway that is not ours alone.
    pub(crate) const fn foreign(&mut self) {
        self.foreign += 1;
    }

    pub(crate) fn stray(&mut self, id: TaskId, why: String) {
        self.strays_in_all += 1;
        if self.strays.len() < MOST_STRAYS {
            self.strays.push(Stray { id, why });
        }
    }
}

/// All books together.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By task number; `None` where a core got no further.
    attempts: Vec<Option<Attempt>>,
    /// By task number, then by time.
    deliveries: Vec<Delivered>,
    /// By connection number.
    lost_at_us: Vec<Option<u64>>,
    strays: Vec<Stray>,
    strays_in_all: u64,
    /// Deliveries of somebody else's tasks, which were given back.
    pub(crate) foreign: u64,
    /// A book was full.
    pub(crate) full: bool,
}

impl Ledger {
    pub(crate) fn merge(books: Vec<Book>) -> Self {
        let mut ledger = Self::default();
        for book in books {
            let number = |index: usize| index * book.cores as usize + book.core as usize;
            let needed = book.attempts.len().checked_sub(1).map_or(0, |last| number(last) + 1);
            ledger.attempts.resize(ledger.attempts.len().max(needed), None);
            for (index, attempt) in book.attempts.into_iter().enumerate() {
                ledger.attempts[number(index)] = Some(attempt);
            }
            let needed = book.lost_at_us.len().checked_sub(1).map_or(0, |last| number(last) + 1);
            ledger.lost_at_us.resize(ledger.lost_at_us.len().max(needed), None);
            for (index, lost) in book.lost_at_us.into_iter().enumerate() {
                ledger.lost_at_us[number(index)] = lost;
            }
            ledger.deliveries.extend(book.deliveries);
            ledger.strays.extend(book.strays);
            ledger.strays_in_all += book.strays_in_all;
            ledger.foreign += book.foreign;
            ledger.full |= book.full;
        }
        ledger.deliveries.sort_by_key(|delivery| (delivery.n, delivery.at_us));
        ledger
    }

    /// The ids of all tasks that were acknowledged.
    pub(crate) fn ids(&self) -> HashSet<TaskId> {
        let acknowledged = self.attempts.iter().flatten().filter(|attempt| !attempt.id.0.is_nil());
        acknowledged.map(|attempt| attempt.id).collect()
    }

    pub(crate) fn attempt(&self, n: u32) -> Option<&Attempt> {
        self.attempts.get(n as usize)?.as_ref()
    }

    /// Numbers of the tasks that were attempted, with what is known of them and their deliveries in order.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (u32, &Attempt, &[Delivered])> {
        let mut rest = self.deliveries.as_slice();
        self.attempts.iter().enumerate().filter_map(move |(n, attempt)| {
            let n = n as u32;
            // Deliveries of numbers that were never attempted lie in between; `classify` finds them by itself.
            let before = rest.partition_point(|delivery| delivery.n < n);
            let own = rest[before..].partition_point(|delivery| delivery.n == n);
            let (own, after) = rest[before..].split_at(own);
            rest = after;
            attempt.as_ref().map(|attempt| (n, attempt, own))
        })
    }
}
