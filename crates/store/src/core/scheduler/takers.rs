//! Who takes tasks: connected workers with credit, and pulls over HTTP that wait. Volatile, and known by a small number.

use hashbrown::HashMap;
use smallvec::SmallVec;
use squall_protocol::{ConnectionId, Time};

use super::level::Want;
use crate::Delivery;

/// One of them.
#[derive(Debug)]
pub(in crate::core) struct Taker {
    /// A worker's connection; `None`: a pull.
    pub worker: Option<ConnectionId>,
    /// Only tasks of this tenant.
    pub tenant: Option<u32>,
    /// Tasks that it would still take.
    pub credit: u32,
    /// The lanes it serves, and whether it stands in their line just now.
    pub lanes: SmallVec<[(u32, bool); 4]>,
    /// Leased to it in this commit.
    pub out: Vec<Delivery>,
    /// Leases that it has.
    pub held: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::core) struct Takers {
    slots: Vec<Option<Taker>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    by_connection: HashMap<ConnectionId, u32>,
    /// Those that have something in `out`.
    pub touched: Vec<u32>,
}

impl Takers {
    pub(in crate::core) fn add(
        &mut self,
        worker: Option<ConnectionId>,
        tenant: Option<u32>,
        lanes: impl IntoIterator<Item = u32>,
        credit: u32,
    ) -> u32 {
        let mut served: SmallVec<[(u32, bool); 4]> = SmallVec::new();
        for lane in lanes {
            if !served.iter().any(|(other, _)| *other == lane) {
                served.push((lane, false));
            }
        }
        let taker = Taker { worker, tenant, credit, lanes: served, out: Vec::new(), held: 0 };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(taker);
                index
            }
            None => {
                self.slots.push(Some(taker));
                self.generations.push(0);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(id) = worker {
            self.by_connection.insert(id, index);
        }
        index
    }

    pub(in crate::core) fn remove(&mut self, index: u32) -> Option<Taker> {
        let taker = self.slots.get_mut(index as usize)?.take()?;
        if let Some(id) = taker.worker {
            self.by_connection.remove(&id);
        }
        self.generations[index as usize] = self.generations[index as usize].wrapping_add(1);
        self.free.push(index);
        Some(taker)
    }

    pub(in crate::core) fn get(&self, index: u32) -> Option<&Taker> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub(in crate::core) fn get_mut(&mut self, index: u32) -> Option<&mut Taker> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Tells a taker from the next one in the same place.
    pub(in crate::core) fn generation(&self, index: u32) -> u32 {
        self.generations.get(index as usize).copied().unwrap_or(0)
    }

    pub(in crate::core) fn of_connection(&self, id: ConnectionId) -> Option<u32> {
        self.by_connection.get(&id).copied()
    }

    pub(in crate::core) fn workers(&self) -> usize {
        self.by_connection.len()
    }

    pub(in crate::core) fn iter(&self) -> impl Iterator<Item = (u32, &Taker)> {
        self.slots.iter().enumerate().filter_map(|(index, taker)| Some((index as u32, taker.as_ref()?)))
    }

    pub(in crate::core) fn want(&self, index: u32) -> Option<Want> {
        let taker = self.get(index)?;
        (taker.credit > 0).then_some(Want { taker: index, tenant: taker.tenant })
    }

    /// Hands a delivery to a taker; it goes out after the commit.
    pub(in crate::core) fn deliver(&mut self, index: u32, delivery: Delivery) {
        let Some(taker) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { return };
        taker.credit -= 1;
        taker.held += 1;
        if taker.out.is_empty() {
            self.touched.push(index);
        }
        taker.out.push(delivery);
    }
}

/// When a pull stops waiting.
#[must_use]
pub(in crate::core) fn wait_until(now: Time, wait_ms: u64) -> Time {
    now.plus_ms(wait_ms)
}
